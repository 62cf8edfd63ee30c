/* SPDX-License-Identifier: ISC */
/* maildirsize: reading, counting anew, adding. */
#include "maildirsize.h"

#include "clock.h"
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	FILE_MAX = 5120, /* octets, as Maildir++ has it; a longer one is made anew */
	STALE_S = 15 * 60,
	COUNT_S = 60, /* the longest that counting may take */
	FOLDERS_MAX = 10000,
	LOCK_TRIES = 20,
	LOCK_WAIT_MS = 250,
	LINE_BYTES = 64,
};

#define SUM_MOST (INT64_MAX / 4) /* two of these never overflow */

static const char file_name[] = "maildirsize";

struct sums {
	int64_t bytes, messages;
};

static int64_t add(int64_t a, int64_t b)
{
	int64_t sum = a + b;

	return sum > SUM_MOST ? SUM_MOST : sum < -SUM_MOST ? -SUM_MOST : sum;
}

/* -- the file ------------------------------------------------------------------------ */

static int file_open(int root, int flags, struct stat *st)
{
	int fd = openat(root, file_name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_nlink == 1 &&
	    st->st_uid == geteuid())
		return fd;
	close(fd);
	return -1;
}

static struct text line_take(struct text *t)
{
	ptrdiff_t end = text_find(*t, '\n');
	size_t len = end < 0 ? t->len : (size_t)end, used = end < 0 ? len : len + 1;
	struct text line = {t->data, len};

	*t = (struct text){t->data + used, t->len - used};
	return line;
}

/* "50000000S,1000C"; letters that are none of ours are somebody else's. */
static bool quota_line(struct text line, struct quota *to)
{
	bool any = false;

	while (line.len) {
		ptrdiff_t comma = text_find(line, ',');
		struct text part = {line.data, comma < 0 ? line.len : (size_t)comma};
		uint64_t n;

		if (part.len < 2 ||
		    !text_number((struct text){part.data, part.len - 1}, SUM_MOST, &n)) {
			*to = (struct quota){0};
			return false;
		}
		if (part.data[part.len - 1] == 'S')
			to->bytes = n;
		else if (part.data[part.len - 1] == 'C')
			to->messages = n;
		any = true;
		part.len += comma >= 0;
		line = (struct text){line.data + part.len, line.len - part.len};
	}
	return any;
}

/* A number, perhaps negative, and the blanks before it. */
static bool number_take(struct text *t, int64_t *to)
{
	size_t i = 0, from;
	uint64_t n;

	while (i < t->len && t->data[i] == ' ')
		i++;
	bool negative = i < t->len && t->data[i] == '-';

	from = i += negative;
	while (i < t->len && t->data[i] >= '0' && t->data[i] <= '9')
		i++;
	if (!text_number((struct text){t->data + from, i - from}, SUM_MOST, &n))
		return false;
	*to = negative ? -(int64_t)n : (int64_t)n;
	*t = (struct text){t->data + i, t->len - i};
	return true;
}

static bool change_line(struct text line, struct sums *to)
{
	int64_t bytes, messages;

	if (!number_take(&line, &bytes) || !number_take(&line, &messages) || text_trim(line).len)
		return false;
	to->bytes = add(to->bytes, bytes);
	to->messages = add(to->messages, messages);
	return true;
}

void maildirsize_read(struct text text, struct maildirsize *to)
{
	struct sums sums = {0};

	*to = (struct maildirsize){.fine = text.len <= FILE_MAX};
	to->fine &= quota_line(line_take(&text), &to->quota);
	while (to->fine && text.len) {
		/* One that has no end yet is half written. */
		to->fine = text_find(text, '\n') >= 0 && change_line(line_take(&text), &sums);
		to->lines++;
	}
	to->bytes = sums.bytes;
	to->messages = sums.messages;
	to->fine = to->fine && to->lines && sums.bytes >= 0 && sums.messages >= 0;
}

/* Nothing when there is no file. */
static void file_read(int root, struct maildirsize *k, time_t *written)
{
	char block[FILE_MAX + 1];
	struct stat st;
	int fd = file_open(root, O_RDONLY, &st);

	*k = (struct maildirsize){0};
	if (fd < 0)
		return;
	ssize_t n = read(fd, block, sizeof block);

	close(fd);
	*written = st.st_mtime;
	if (n > 0)
		maildirsize_read((struct text){block, (size_t)n}, k);
}

/* -- counting ------------------------------------------------------------------------ */

struct count {
	struct sums sums;
	uint64_t state; /* of all folders' times: another one, and something came or went */
	struct monotime until;
	bool names; /* else the folders' times alone */
};

/* ",S=2048" of "1795.M1P2.host,S=2048:2,S"; false: the name does not say. */
static bool size_in_name(const char *name, int64_t *size)
{
	const char *at = strstr(name, ",S="), *colon = strchr(name, ':');
	size_t digits;
	uint64_t n;

	if (!at || (colon && colon < at))
		return false;
	at += 3;
	digits = strspn(at, "0123456789");
	if (!text_number((struct text){at, digits}, SUM_MOST, &n))
		return false;
	*size = (int64_t)n;
	return true;
}

/* Marked as deleted: the letter "T" among the flags. */
static bool is_trashed(const char *name)
{
	const char *flags = strstr(name, ":2,");

	return flags && strchr(flags + 3, 'T');
}

static bool count_letters(struct count *c, DIR *dir)
{
	struct stat st;
	int64_t size;

	for (struct dirent *e; (errno = 0, e = readdir(dir));) {
		if (e->d_name[0] == '.' || is_trashed(e->d_name))
			continue;
		if (monotime_read().us > c->until.us) {
			errno = ETIME;
			return false;
		}
		if (!size_in_name(e->d_name, &size)) {
			if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
			    !S_ISREG(st.st_mode))
				continue;
			size = st.st_size;
		}
		c->sums.bytes = add(c->sums.bytes, size);
		c->sums.messages = add(c->sums.messages, 1);
	}
	return errno == 0;
}

/* Its new/ or cur/. One that is not there is empty. */
static bool count_part(struct count *c, int folder, const char *part)
{
	int fd = openat(folder, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	bool fine = true;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
	if (fstat(fd, &st) != 0) {
		close(fd);
		return false;
	}
	c->state =
	    c->state * 31 + (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec;
	DIR *dir = c->names ? fdopendir(fd) : NULL;

	if (dir) {
		fine = count_letters(c, dir);
		closedir(dir);
	} else {
		close(fd);
		fine = !c->names;
	}
	return fine;
}

static bool count_folder(struct count *c, int root, const char *name)
{
	int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
	bool fine = count_part(c, fd, "new") && count_part(c, fd, "cur");

	close(fd);
	return fine;
}

/* The Maildir itself, and its folders: those of one dot, without slashes. */
static bool count_all(struct count *c, int root)
{
	int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	unsigned folders = 0;
	bool fine = dir && count_folder(c, root, ".");

	if (!dir && fd >= 0)
		close(fd);
	while (fine) {
		errno = 0;
		struct dirent *e = readdir(dir);

		if (!e) {
			fine = errno == 0;
			break;
		}
		if (e->d_name[0] != '.' || !e->d_name[1] || strcmp(e->d_name, "..") == 0 ||
		    strcmp(e->d_name, ".Trash") == 0)
			continue;
		if (++folders > FOLDERS_MAX) {
			errno = E2BIG;
			fine = false;
		} else {
			fine = count_folder(c, root, e->d_name);
		}
	}
	int error = errno;

	if (dir)
		closedir(dir);
	errno = error;
	return fine;
}

/* A new one in the old one's place, whatever that is; a folder stays, and nothing is kept. */
static void file_make(int root, const struct quota *quota, const struct sums *sums)
{
	char name[LINE_BYTES], text[2 * LINE_BYTES] = "";
	size_t len = 0;

	snprintf(name, sizeof name, "tmp/%lld.%ld.maildirsize", (long long)time(NULL),
		 (long)getpid());
	if (quota->bytes)
		len += (size_t)snprintf(text + len, sizeof text - len, "%lluS",
					(unsigned long long)quota->bytes);
	if (quota->messages)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%lluC", len ? "," : "",
					(unsigned long long)quota->messages);
	len += (size_t)snprintf(text + len, sizeof text - len, "\n%lld %lld\n",
				(long long)sums->bytes, (long long)sums->messages);
	int fd = openat(root, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	bool fine = file_write(fd, text, len);

	close(fd);
	if (!fine || renameat(root, name, root, file_name) != 0)
		unlinkat(root, name, 0);
}

static bool count_anew(int root, const struct quota *quota, struct sums *sums)
{
	struct count c = {.until = monotime_add(monotime_read(), SECONDS(COUNT_S)), .names = true};
	struct count again = {.until = c.until};

	if (!count_all(&c, root))
		return false;
	*sums = c.sums;
	/* What others did meanwhile was seen or not: such a sum is good for now only. */
	if (count_all(&again, root) && again.state == c.state)
		file_make(root, quota, sums);
	return true;
}

/* -- what callers ask ------------------------------------------------------------------ */

/* Beside each other two deliveries both see the last room that there is. Whoever holds the lock
 * for ever (it is the user's folder) keeps nobody: a quota is worth less than mail. */
static void lock(int root)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(root, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
			return;
		nanosleep(&(struct timespec){0, LOCK_WAIT_MS * 1000000L}, NULL);
	}
}

static bool is_over(const struct quota *quota, const struct sums *sums, uint64_t size)
{
	uint64_t bytes = (uint64_t)sums->bytes, messages = (uint64_t)sums->messages;

	return (quota->bytes && (size > quota->bytes || bytes > quota->bytes - size)) ||
	       (quota->messages && messages >= quota->messages);
}

enum quota_verdict maildirsize_look(int root, const struct quota *limit, uint64_t size)
{
	struct maildirsize k;
	struct quota quota = *limit;
	time_t written = 0;

	if (limit->named && !quota_is_set(limit))
		return QUOTA_FITS;
	file_read(root, &k, &written);
	if (!quota_is_set(&quota) && !quota_is_set(&k.quota))
		return QUOTA_FITS;
	lock(root);
	file_read(root, &k, &written);
	if (!quota_is_set(&quota))
		quota = k.quota;
	if (!quota_is_set(&quota))
		return QUOTA_FITS;
	bool same = k.fine && k.quota.bytes == quota.bytes && k.quota.messages == quota.messages;
	struct sums sums = {k.bytes, k.messages};
	time_t age = time(NULL) - written;

	if (same && !is_over(&quota, &sums, size))
		return QUOTA_FITS;
	/* Maildir++: what one line says that is new is so. */
	if (same && k.lines == 1 && age >= 0 && age < STALE_S)
		return QUOTA_OVER;
	if (!count_anew(root, &quota, &sums))
		return QUOTA_FAILED;
	return is_over(&quota, &sums, size) ? QUOTA_OVER : QUOTA_FITS;
}

void maildirsize_add(int root, int64_t bytes, int64_t messages)
{
	char line[LINE_BYTES];
	struct stat st;
	int fd = file_open(root, O_WRONLY | O_APPEND, &st);

	if (fd < 0)
		return;
	int n = snprintf(line, sizeof line, "%lld %lld\n", (long long)bytes, (long long)messages);

	/* In one piece: readers see the line or not. */
	(void)!write(fd, line, (size_t)n);
	close(fd);
}

void maildirsize_unlock(int root)
{
	(void)flock(root, LOCK_UN);
}
