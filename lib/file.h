/* SPDX-License-Identifier: ISC */
/* Small files, whole: those that master opened, and those that are written. */
#ifndef LIB_FILE_H
#define LIB_FILE_H

#include "bytes.h"

#include <stdbool.h>
#include <sys/stat.h>

/*
 * Reads FD from its beginning and closes it. One piece of memory is used, so
 * that whoever wipes TO has wiped all there was. False: it cannot be read, is
 * empty or has more than MOST bytes.
 */
bool file_take(int fd, size_t most, struct bytes *to);

/* Writes all of DATA at FD's place; false with errno. */
bool file_write(int fd, const void *data, size_t len);

/* Is it the file that A was, with nothing changed since? */
bool file_is_same(const struct stat *a, const struct stat *b);

#endif
