/* SPDX-License-Identifier: ISC */
/*
 * The disk as the queue sees it, so that a simulated one can lose, tear and
 * refuse. Each call answers 0 or more, or a negative errno. Descriptors are
 * the disk's own numbers; only queue_body_create() and queue_body_open() hand one out.
 * Names are single components. All calls may come from any thread.
 */
#ifndef QUEUE_DISK_H
#define QUEUE_DISK_H

#include <stddef.h>
#include <stdint.h>

struct disk {
	void *self;

	/* open(2) with O_CLOEXEC | O_NOFOLLOW added, mode 0600. A descriptor. */
	int (*open)(void *self, int dir, const char *name, int flags);
	/* A folder, made when it is missing (not synced). A descriptor. */
	int (*folder)(void *self, int dir, const char *name);
	void (*close)(void *self, int fd);

	/* All of it or an error. */
	int (*write)(void *self, int fd, const void *data, size_t len, uint64_t offset);
	/* Bytes read; fewer than LEN only at the end of the file. */
	int64_t (*read)(void *self, int fd, void *data, size_t len, uint64_t offset);
	int (*sync)(void *self, int fd);	 /* fdatasync(2) */
	int (*sync_folder)(void *self, int dir); /* fsync(2): entries made, moved and removed */
	int (*truncate)(void *self, int fd, uint64_t size);
	/* Space for SIZE bytes from the start; the file has that size then. */
	int (*allocate)(void *self, int fd, uint64_t size);
	int64_t (*size)(void *self, int fd);
	int (*lock)(void *self, int fd); /* flock(2), exclusive, -EWOULDBLOCK at once */

	int (*rename)(void *self, int from_dir, const char *from, int to_dir, const char *to);
	int (*unlink)(void *self, int dir, const char *name);
	/* Each name in the folder but . and .. */
	int (*list)(void *self, int dir, void (*name)(void *arg, const char *name), void *arg);
};

/* The operating system's. */
const struct disk *disk_real(void);

#endif
