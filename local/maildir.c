/* SPDX-License-Identifier: ISC */
/* Maildir: a file a letter, no locks. */
#include "mailbox.h"

#include "file.h"

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
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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

/* Written and synced, or -1 with errno. */
static int write_new(const struct letter *l, int tmp, const char *name)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(tmp, name, flags, 0600);

	/* Of an attempt that was cut off: nobody else makes this name. */
	if (fd < 0 && errno == EEXIST && unlinkat(tmp, name, 0) == 0)
		fd = openat(tmp, name, flags, 0600);
	if (fd < 0)
		return -1;
	if (letter_write(l, fd, LETTER_PLAIN) && fsync(fd) == 0)
		return fd;
	int error = errno;

	close(fd);
	unlinkat(tmp, name, 0);
	errno = error;
	return -1;
}

/* True when it is there, be it from before. */
static bool show(int tmp, const char *name, int new, const char *final, bool *before)
{
	*before = false;
	if (linkat(tmp, name, new, final, 0) == 0)
		return unlinkat(tmp, name, 0) == 0 || true;
	if (errno == EEXIST) {
		*before = true;
		unlinkat(tmp, name, 0);
		return true;
	}
	/* Some file systems have no links. */
	if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK)
		return false;
	if (renameat2(tmp, name, new, final, RENAME_NOREPLACE) == 0)
		return true;
	*before = errno == EEXIST;
	if (*before)
		unlinkat(tmp, name, 0);
	return *before;
}

struct folders {
	int root, tmp, new;
};

static bool folders_open(struct folders *f, const char *path)
{
	f->root = folder(AT_FDCWD, path);
	f->tmp = f->root < 0 ? -1 : folder(f->root, "tmp");
	f->new = f->tmp < 0 ? -1 : folder(f->root, "new");
	int cur = f->new < 0 ? -1 : folder(f->root, "cur");

	if (cur < 0)
		return false;
	close(cur);
	return true;
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

static void deliver(const struct letter *l, const struct folders *f, const char *host,
		    const struct mailbox_face *face, struct result *r)
{
	char name[NAME_BYTES], final[NAME_BYTES + 32], safe[HOST_BYTES];
	struct stat st;
	bool before;

	host_put(safe, sizeof safe, host);
	snprintf(name, sizeof name, "%lld.V%016llxR%u.%s", (long long)(l->arrival.us / 1000000),
		 (unsigned long long)l->id, l->number, safe);
	int fd = write_new(l, f->tmp, name);

	if (fd < 0 || fstat(fd, &st) != 0) {
		mailbox_failed(r, errno, "tmp");
		if (fd >= 0)
			close(fd);
		return;
	}
	close(fd);
	/* Maildir++: who counts a quota reads the size from the name. */
	snprintf(final, sizeof final, "%s,S=%lld", name, (long long)st.st_size);
	if (!face->still_wanted(face->arg)) {
		unlinkat(f->tmp, name, 0);
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.2", "the delivery was interrupted");
		return;
	}
	if (!show(f->tmp, name, f->new, final, &before) || fsync(f->new) != 0) {
		int error = errno;

		unlinkat(f->tmp, name, 0);
		mailbox_failed(r, error, "new");
		return;
	}
	result_set(r, OUTCOME_DELIVERED, 250, "2.0.0",
		   before ? "delivered to maildir by an earlier attempt" : "delivered to maildir");
}

void maildir_deliver(const struct letter *l, const char *path, const char *host,
		     const struct mailbox_face *face, struct result *r)
{
	struct folders f = {-1, -1, -1};

	if (folders_open(&f, path))
		deliver(l, &f, host, face, r);
	else
		mailbox_failed(r, errno, path);
	folders_close(&f);
}
