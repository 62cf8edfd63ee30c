/* SPDX-License-Identifier: ISC */
/*
 * fsync(2) of several files and folders at once. One after the other each
 * would wait for a commit of the file system of its own, or at least for the
 * disk to empty its cache; together they share both.
 */
#ifndef LOCAL_SYNC_H
#define LOCAL_SYNC_H

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>

enum { SYNC_MAX = 32 };

/* Of one child, for all its life: what the kernel holds for it goes with the process. */
struct sync {
	aio_context_t context;
	bool refused; /* the kernel has no such calls, or no room */
};

/* Syncs each of the COUNT descriptors; *ERRORS gets 0 or an errno for each. */
void sync_all(struct sync *s, const int *fds, int *errors, uint32_t count);

#endif
