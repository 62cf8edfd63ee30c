/* SPDX-License-Identifier: ISC */
/* The real disk: system calls, whole writes, interrupted calls made again. */
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int disk_open(void *self, int dir, const char *name, int flags)
{
	(void)self;
	int fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : fd;
}

static int disk_folder(void *self, int dir, const char *name)
{
	if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST && errno != EROFS)
		return -errno;
	return disk_open(self, dir, name, O_RDONLY | O_DIRECTORY);
}

static void disk_close(void *self, int fd)
{
	(void)self;
	(void)close(fd);
}

static int disk_write(void *self, int fd, const void *data, size_t len, uint64_t offset)
{
	const uint8_t *at = data;

	(void)self;
	while (len > 0) {
		ssize_t n = pwrite(fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		at += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int64_t disk_read(void *self, int fd, void *data, size_t len, uint64_t offset)
{
	uint8_t *at = data;
	size_t got = 0;

	(void)self;
	while (got < len) {
		ssize_t n = pread(fd, at + got, len - got, (off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (int64_t)got;
}

static int disk_sync(void *self, int fd)
{
	(void)self;
	/* Not made again after EINTR either: what became of the first one is not known. */
	return fdatasync(fd) < 0 ? -errno : 0;
}

static int disk_sync_folder(void *self, int dir)
{
	(void)self;
	return fsync(dir) < 0 ? -errno : 0;
}

static int disk_truncate(void *self, int fd, uint64_t size)
{
	(void)self;
	return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

static int disk_allocate(void *self, int fd, uint64_t size)
{
	(void)self;
	return -posix_fallocate(fd, 0, (off_t)size);
}

static int64_t disk_size(void *self, int fd)
{
	struct stat st;

	(void)self;
	return fstat(fd, &st) < 0 ? -errno : (int64_t)st.st_size;
}

static int disk_lock(void *self, int fd)
{
	(void)self;
	return flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

static int disk_rename(void *self, int from_dir, const char *from, int to_dir, const char *to)
{
	(void)self;
	return renameat(from_dir, from, to_dir, to) < 0 ? -errno : 0;
}

static int disk_unlink(void *self, int dir, const char *name)
{
	(void)self;
	return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

static int disk_list(void *self, int dir, void (*name)(void *arg, const char *name), void *arg)
{
	(void)self;
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	DIR *stream = fdopendir(fd);

	if (!stream) {
		int error = errno;

		(void)close(fd);
		return -error;
	}
	struct dirent *entry = NULL;

	errno = 0;
	while ((entry = readdir(stream))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			name(arg, entry->d_name);
		errno = 0;
	}
	int error = errno;

	(void)closedir(stream);
	return -error;
}

const struct disk *disk_real(void)
{
	static const struct disk real = {
	    .open = disk_open,
	    .folder = disk_folder,
	    .close = disk_close,
	    .write = disk_write,
	    .read = disk_read,
	    .sync = disk_sync,
	    .sync_folder = disk_sync_folder,
	    .truncate = disk_truncate,
	    .allocate = disk_allocate,
	    .size = disk_size,
	    .lock = disk_lock,
	    .rename = disk_rename,
	    .unlink = disk_unlink,
	    .list = disk_list,
	};

	return &real;
}
