/* SPDX-License-Identifier: ISC */
/* Maildir: a file a letter, no locks. */
#include "mailbox.h"

#include "file.h"
#include "maildirsize.h"
#include "must.h"
#include "sync.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_BYTES = 200, HOST_BYTES = 80 };

bool mailbox_is_maildir(const char *path)
{
	size_t len = strlen(path);

	return len > 0 && path[len - 1] == '/';
}

void mailbox_failed(struct result *r, int error, const char *what)
{
	/* RFC 3463: X.2.2 mailbox full, X.3.1 mail system full. */
	const char *dsn = error == EDQUOT || error == EFBIG ? "4.2.2"
			  : error == ENOSPC		    ? "4.3.1"
							    : "4.2.0";

	result_set(r, OUTCOME_DEFERRED, 0, dsn, "the mailbox can't be written: %s: %s", what,
		   strerror(error));
}

void mailbox_full(struct result *r, const struct room *room)
{
	if (room->waits)
		result_set(r, OUTCOME_DEFERRED, 0, "4.2.2", "the mailbox has no room for it now");
	else
		result_set(r, OUTCOME_FAILED, 552, "5.2.2", "the mailbox is full");
}

/* Opens the folder NAME in DIR (AT_FDCWD: a path), which is made when there is none. */
static int folder(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (mkdirat(dir, name, 0700) != 0 && errno != EEXIST)
		return -1;
	if (dir != AT_FDCWD)
		(void)fsync(dir);
	else
		mailbox_parent_sync(name);
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void mailbox_parent_sync(const char *path)
{
	char name[PATH_MAX];
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	while (len > 1 && path[len - 1] != '/')
		len--;
	text_copy(name, sizeof name, (struct text){path, len});
	int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

bool mailbox_folders(const char *path, size_t root)
{
	char name[PATH_MAX];
	size_t end = strlen(path);

	text_copy(name, sizeof name, (struct text){path, root});
	int at = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	while (end > root && path[end - 1] == '/')
		end--;
	for (size_t from = root + 1; at >= 0 && from < end;) {
		const char *slash = memchr(path + from, '/', end - from);

		if (!slash)
			break;
		text_copy(name, sizeof name,
			  (struct text){path + from, (size_t)(slash - path) - from});
		int next = folder(at, name), error = errno;

		close(at);
		at = next;
		errno = error;
		from = (size_t)(slash - path) + 1;
	}
	if (at < 0)
		return false;
	close(at);
	return true;
}

/* As Maildir's inventor has it, "/" and ":" in the host's name are octal. */
static void host_put(char *to, size_t size, const char *host)
{
	size_t out = 0;

	for (const char *c = host; *c && out + 5 < size; c++) {
		if (*c == '/' || *c == ':')
			out += (size_t)snprintf(to + out, size - out, "\\%03o", (unsigned)*c);
		else
			to[out++] = *c;
	}
	to[out] = '\0';
}

/* Written, not yet synced; or -1 with errno. */
static int write_new(const struct letter *l, int tmp, const char *name)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(tmp, name, flags, 0600);

	/* Of an attempt that was cut off, or is heard by nobody: no other makes this name. */
	if (fd < 0 && errno == EEXIST && unlinkat(tmp, name, 0) == 0)
		fd = openat(tmp, name, flags, 0600);
	if (fd < 0 || letter_write(l, fd, LETTER_PLAIN))
		return fd;
	int error = errno;

	close(fd);
	unlinkat(tmp, name, 0);
	errno = error;
	return -1;
}

struct folders {
	int root; /* of the Maildir, whose folder the letter may be for */
	int tmp, new;
};

/* A folder that is not there is not made: its letters are for the Maildir itself. */
static int folder_choose(int root, const char *name)
{
	int fd = name && *name ? openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
			       : -1;

	return fd >= 0 ? fd : fcntl(root, F_DUPFD_CLOEXEC, 0);
}

/* The child may have a group that is lent to it for mailboxes (plan.c, folder_group()): a link
 * counts only if it leads to a folder of the user's own. */
static int part(int base, const char *name)
{
	int fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 || (errno != ELOOP && errno != ENOTDIR))
		return fd >= 0 ? fd : folder(base, name);
	fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (fstat(fd, &st) == 0 && st.st_uid == geteuid()))
		return fd;
	close(fd);
	errno = EPERM;
	return -1;
}

static bool folders_open(struct folders *f, const char *path, const char *name)
{
	f->root = folder(AT_FDCWD, path);
	int base = f->root < 0 ? -1 : folder_choose(f->root, name);

	f->tmp = base < 0 ? -1 : part(base, "tmp");
	f->new = f->tmp < 0 ? -1 : part(base, "new");
	int cur = f->new < 0 ? -1 : part(base, "cur"), error = errno;

	if (base >= 0)
		close(base);
	if (cur >= 0)
		close(cur);
	errno = error;
	return cur >= 0;
}

static void folders_close(struct folders *f)
{
	if (f->new >= 0)
		close(f->new);
	if (f->tmp >= 0)
		close(f->tmp);
	if (f->root >= 0)
		close(f->root);
}

/* A letter on its way; result->kind is set when it goes no further. */
struct way {
	struct maildir_letter *of;
	struct folders *folders; /* maybe shared with letters in front */
	struct folders own;
	int fd; /* of the file in tmp/, or -1 */
	bool ended, before;
	off_t size;
	char name[NAME_BYTES], final[NAME_BYTES + 32];
};

static void way_end(struct way *w, int error, const char *what)
{
	mailbox_failed(w->of->result, error, what);
	w->ended = true;
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

static bool same_folder(const struct maildir_letter *a, const struct maildir_letter *b)
{
	return strcmp(a->path, b->path) == 0 &&
	       strcmp(a->folder ? a->folder : "", b->folder ? b->folder : "") == 0;
}

static struct folders *folders_of(struct way *ways, uint32_t at)
{
	struct maildir_letter *of = ways[at].of;

	for (uint32_t i = 0; i < at; i++)
		if (ways[i].folders == &ways[i].own && same_folder(ways[i].of, of))
			return &ways[i].own;
	return folders_open(&ways[at].own, of->path, of->folder) ? &ways[at].own : NULL;
}

static void way_begin(struct way *ways, uint32_t at, const char *host)
{
	struct way *w = &ways[at];
	const struct letter *l = w->of->letter;
	struct stat st;

	w->folders = folders_of(ways, at);
	if (!w->folders) {
		way_end(w, errno, w->of->path);
		return;
	}
	snprintf(w->name, sizeof w->name, "%lld.V%016llxR%u.%s",
		 (long long)(l->arrival.us / 1000000), (unsigned long long)l->id, l->number, host);
	w->fd = write_new(l, w->folders->tmp, w->name);
	if (w->fd < 0 || fstat(w->fd, &st) != 0) {
		way_end(w, errno, "tmp");
		return;
	}
	/* Maildir++: who counts a quota reads the size from the name. */
	w->size = st.st_size;
	snprintf(w->final, sizeof w->final, "%s,S=%lld", w->name, (long long)st.st_size);
}

/* Out of tmp/, unless a later attempt has done that, and maybe has its own file there. */
static void way_clear(const struct way *w)
{
	struct stat st;

	if (fstat(w->fd, &st) != 0 || st.st_nlink)
		unlinkat(w->folders->tmp, w->name, 0);
}

static void way_synced(struct way *w, int error)
{
	if (!error)
		return;
	way_clear(w);
	way_end(w, error, "tmp");
}

static void ways_sync(struct sync *s, struct way *ways, uint32_t count)
{
	int fds[MAILDIR_LETTERS_MAX], errors[MAILDIR_LETTERS_MAX];
	struct way *of[MAILDIR_LETTERS_MAX];
	uint32_t n = 0;

	for (uint32_t i = 0; i < count; i++)
		if (!ways[i].ended) {
			of[n] = &ways[i];
			fds[n++] = ways[i].fd;
		}
	sync_all(s, fds, errors, n);
	for (uint32_t i = 0; i < n; i++)
		way_synced(of[i], errors[i]);
}

static void way_drop(struct way *w)
{
	way_clear(w);
	w->ended = true;
}

/* Is there room? Else the result says what becomes of it. */
static bool way_fits(struct way *w)
{
	const struct room *room = &w->of->room;

	/* What an earlier attempt has brought has been counted. */
	if (faccessat(w->folders->new, w->final, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return true;
	switch (maildirsize_look(w->folders->root, &room->quota, (uint64_t)w->size)) {
	case QUOTA_FITS:
		return true;
	case QUOTA_OVER:
		mailbox_full(w->of->result, room);
		break;
	case QUOTA_FAILED:
		mailbox_failed(w->of->result, errno, "counting what is there");
		break;
	}
	way_drop(w);
	return false;
}

/* By its descriptor: local may have ended, and a later attempt be writing under this name. */
static bool link_new(const struct way *w)
{
	char self[64];
	struct stat st;

	snprintf(self, sizeof self, "/proc/self/fd/%d", w->fd);
	if (linkat(AT_FDCWD, self, w->folders->new, w->final, AT_SYMLINK_FOLLOW) == 0)
		return true;
	/* It has no name any more; or there is no /proc. */
	return errno == ENOENT && fstat(w->fd, &st) == 0 && st.st_nlink &&
	       linkat(w->folders->tmp, w->name, w->folders->new, w->final, 0) == 0;
}

/* True when it is there, be it from before. */
static bool show(struct way *w)
{
	bool shown = link_new(w);

	/* Some file systems have no links. */
	if (!shown &&
	    (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK) &&
	    renameat2(w->folders->tmp, w->name, w->folders->new, w->final, RENAME_NOREPLACE) == 0)
		return true;
	w->before = !shown && errno == EEXIST;
	if (!shown && !w->before)
		return false;
	way_clear(w);
	return true;
}

/* Counted first: should this end here, there seems to be less room, and Maildir++ counts anew
 * before it refuses anything. */
static void way_link(struct way *w)
{
	maildirsize_add(w->folders->root, w->size, 1);
	bool shown = show(w);
	int error = errno;

	if (!shown || w->before)
		maildirsize_add(w->folders->root, -w->size, -1);
	if (shown)
		return;
	way_clear(w);
	way_end(w, error, "new");
}

static void way_show(struct way *w, const struct mailbox_face *face)
{
	if (!face->still_wanted(face->arg)) {
		result_set(w->of->result, OUTCOME_DEFERRED, 0, "4.3.2",
			   "the delivery was interrupted");
		way_drop(w);
	} else if (way_fits(w)) {
		way_link(w);
	}
	maildirsize_unlock(w->folders->root);
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

static void way_settle(struct way *w, int error)
{
	w->ended = true;
	if (error)
		mailbox_failed(w->of->result, error, "new");
	else
		result_set(w->of->result, OUTCOME_DELIVERED, 250, "2.0.0",
			   w->before ? "delivered to maildir by an earlier attempt"
				     : "delivered to maildir");
}

/* Each new/ once, and with it all that lies in it. */
static void folders_sync(struct sync *s, struct way *ways, uint32_t count)
{
	int fds[MAILDIR_LETTERS_MAX], errors[MAILDIR_LETTERS_MAX];
	uint32_t at[MAILDIR_LETTERS_MAX], n = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t known = 0;

		if (ways[i].ended)
			continue;
		while (known < n && fds[known] != ways[i].folders->new)
			known++;
		at[i] = known;
		if (known == n)
			fds[n++] = ways[i].folders->new;
	}
	sync_all(s, fds, errors, n);
	for (uint32_t i = 0; i < count; i++)
		if (!ways[i].ended)
			way_settle(&ways[i], errors[at[i]]);
}

void maildir_deliver(struct maildir_letter *letters, uint32_t count, const char *host,
		     const struct mailbox_face *face)
{
	static struct way ways[MAILDIR_LETTERS_MAX]; /* in the child alone */
	struct sync sync = {0};
	char safe[HOST_BYTES];

	must(count <= MAILDIR_LETTERS_MAX);
	host_put(safe, sizeof safe, host);
	for (uint32_t i = 0; i < count; i++) {
		ways[i] = (struct way){.of = &letters[i], .own = {-1, -1, -1}, .fd = -1};
		way_begin(ways, i, safe);
	}
	ways_sync(&sync, ways, count);
	for (uint32_t i = 0; i < count; i++)
		if (!ways[i].ended)
			way_show(&ways[i], face);
	folders_sync(&sync, ways, count);
	for (uint32_t i = 0; i < count; i++)
		folders_close(&ways[i].own);
}
