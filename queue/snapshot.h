/* SPDX-License-Identifier: ISC */
/*
 * A small file that is read whole at the start and replaced whole when its
 * content has changed. A broken one is none.
 */
#ifndef QUEUE_SNAPSHOT_H
#define QUEUE_SNAPSHOT_H

#include "bytes.h"
#include "log.h"

/*
 * Puts CONTENT in the place of FOLDER's file NAME. DURABLE: it is on stable
 * storage when this returns. False after saying why in the log.
 */
bool snapshot_write(const char *folder, const char *name, const struct bytes *content, bool durable,
		    struct log *log);

/* Appends its content to TO; false: there is none, it is broken, or has more than MOST bytes. */
bool snapshot_read(const char *folder, const char *name, size_t most, struct bytes *to);

/* The same of a file that is open, and stays so. */
bool snapshot_take(int fd, size_t most, struct bytes *to);

#endif
