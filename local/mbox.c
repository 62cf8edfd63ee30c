/* SPDX-License-Identifier: ISC */
/*
 * mbox: one file that several programs write. Who holds both locks may append; what was there
 * before is never touched, and what could not be written whole is cut off again.
 */
#include "mailbox.h"

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	LOCK_TRIES = 20,
	LOCK_WAIT_MS = 250,
	LOCK_STALE_S = 600, /* a lock file so old was left behind */
	HOST_BYTES = 65,
	OWNER_BYTES = 96,
};

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* -- the lock file ------------------------------------------------------------------ */

enum dotlock { DOTLOCK_HELD, DOTLOCK_IMPOSSIBLE, DOTLOCK_BUSY };

/* "PID HOST": others read the number alone. */
static size_t owner_put(char *to, size_t size, pid_t pid)
{
	char host[HOST_BYTES] = "";

	if (gethostname(host, sizeof host - 1) != 0)
		host[0] = '\0';
	return (size_t)snprintf(to, size, "%ld %s\n", (long)pid, host);
}

/* Was it made on this machine by a process that has ended? */
static bool owner_is_gone(const char *lock)
{
	char said[OWNER_BYTES] = "", mine[OWNER_BYTES];
	int fd = open(lock, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, said, sizeof said - 1);

	if (fd >= 0)
		close(fd);
	long pid = n > 0 ? strtol(said, NULL, 10) : 0;

	if (pid <= 0 || pid > INT_MAX)
		return false;
	owner_put(mine, sizeof mine, (pid_t)pid);
	return strcmp(said, mine) == 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

static void dotlock_break_stale(const char *lock)
{
	struct stat st;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (lstat(lock, &st) == 0 &&
	    (now.tv_sec - st.st_mtime > LOCK_STALE_S || owner_is_gone(lock)))
		unlink(lock);
}

/* With its owner in it from the first moment, where the file system can do that: whoever is killed
 * leaves no lock without one. False with errno. */
static bool lock_make(const char *lock)
{
	char folder[PATH_MAX], owner[OWNER_BYTES], self[64];
	size_t len = owner_put(owner, sizeof owner, getpid());
	const char *slash = strrchr(lock, '/');
	bool made = false;

	text_copy(folder, sizeof folder,
		  (struct text){lock, slash && slash > lock ? (size_t)(slash - lock) : 1});
	int fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

	if (fd >= 0) {
		snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
		made = file_write(fd, owner, len) &&
		       linkat(AT_FDCWD, self, AT_FDCWD, lock, AT_SYMLINK_FOLLOW) == 0;
		int error = errno;

		close(fd);
		errno = error;
		if (made || errno == EEXIST)
			return made;
	}
	fd = open(lock, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	/* Without it, it is one whose age counts. */
	(void)file_write(fd, owner, len);
	close(fd);
	return true;
}

/* Where the folder is not ours to write, no program that runs as this user can have made one. */
static enum dotlock dotlock_take(const char *lock)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (lock_make(lock))
			return DOTLOCK_HELD;
		if (errno != EEXIST)
			return DOTLOCK_IMPOSSIBLE;
		dotlock_break_stale(lock);
		if (access(lock, F_OK) == 0)
			pause_ms(LOCK_WAIT_MS);
	}
	return DOTLOCK_BUSY;
}

/* -- the file ----------------------------------------------------------------------- */

static bool lock_file(int fd)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	for (int i = 0; i < LOCK_TRIES; i++) {
		if (fcntl(fd, F_SETLK, &whole) == 0)
			return true;
		if (errno != EAGAIN && errno != EACCES && errno != EINTR)
			return false;
		pause_ms(LOCK_WAIT_MS);
	}
	errno = EAGAIN;
	return false;
}

/*
 * A file that is nothing but this user's own: behind a link could be anybody's, and behind a
 * second name a file that its owner never meant for mail.
 */
static const char *file_fault(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "it is no regular file";
	if (st->st_nlink != 1)
		return "it has more than one name";
	if (st->st_uid != geteuid())
		return "it belongs to another user";
	return NULL;
}

/* Is it still what stands at PATH? Somebody may have replaced it before we had the lock. */
static bool file_is_at(const char *path, const struct stat *st)
{
	struct stat now;

	return lstat(path, &now) == 0 && now.st_dev == st->st_dev && now.st_ino == st->st_ino;
}

/* The last letter there was perhaps cut: ours begins on a line of its own, behind an empty one. */
static bool end_last(int fd, off_t size)
{
	char end[2] = "\n\n";
	ssize_t want = size < 2 ? (ssize_t)size : 2;

	if (!size)
		return true;
	if (pread(fd, end + 2 - want, (size_t)want, size - want) != want)
		return false;
	if (end[1] != '\n')
		return file_write(fd, "\n\n", 2);
	return end[0] == '\n' || size == 1 || file_write(fd, "\n", 1);
}

static void append(const struct letter *l, int fd, const char *path, const struct room *room,
		   const struct mailbox_face *face, struct result *r)
{
	struct stat st;
	const char *fault = fstat(fd, &st) != 0 ? strerror(errno) : file_fault(&st);

	if (!fault && !file_is_at(path, &st))
		fault = "it was replaced meanwhile";
	if (fault) {
		result_set(r, OUTCOME_DEFERRED, 0, "4.2.0", "the mailbox can't be used: %s: %s",
			   path, fault);
		return;
	}
	uint64_t size = l->prelude.len + (l->fd >= 0 ? l->body_length : l->body.len);

	uint64_t most = room->quota.bytes;

	if (most && (size > most || (uint64_t)st.st_size > most - size)) {
		mailbox_full(r, room);
		return;
	}
	if (!face->still_wanted(face->arg)) {
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.2", "the delivery was interrupted");
		return;
	}
	/* New perhaps, be it of an attempt that was cut off: its name is made to last. */
	if (!st.st_size)
		mailbox_parent_sync(path);
	if (lseek(fd, 0, SEEK_END) == st.st_size && end_last(fd, st.st_size) &&
	    letter_write(l, fd, LETTER_MBOX) && fsync(fd) == 0) {
		result_set(r, OUTCOME_DELIVERED, 250, "2.0.0", "delivered to mailbox");
		return;
	}
	int error = errno;

	if (ftruncate(fd, st.st_size) == 0)
		(void)fsync(fd);
	mailbox_failed(r, error, path);
}

/* Opened before it is locked. */
static int file_open(const char *path)
{
	int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd = open(path, flags);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	fd = open(path, flags | O_CREAT | O_EXCL, 0600);
	return fd < 0 && errno == EEXIST ? open(path, flags) : fd;
}

void mbox_deliver(const struct letter *l, const char *path, const struct room *room,
		  const struct mailbox_face *face, struct result *r)
{
	char lock[PATH_MAX];
	int n = snprintf(lock, sizeof lock, "%s.lock", path);

	if (n < 0 || (size_t)n >= sizeof lock) {
		mailbox_failed(r, ENAMETOOLONG, path);
		return;
	}
	enum dotlock dotlock = dotlock_take(lock);

	if (dotlock == DOTLOCK_BUSY) {
		result_set(r, OUTCOME_DEFERRED, 0, "4.2.0", "the mailbox is locked: %s", lock);
		return;
	}
	int fd = file_open(path);

	if (fd < 0)
		mailbox_failed(r, errno, path);
	else if (!lock_file(fd))
		mailbox_failed(r, errno, path);
	else
		append(l, fd, path, room, face, r);
	if (fd >= 0)
		close(fd);
	if (dotlock == DOTLOCK_HELD)
		unlink(lock);
}
