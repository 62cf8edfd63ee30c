/* SPDX-License-Identifier: ISC */
/* Writing Berkeley DB files, as postmap(1) does. */
#ifndef CTL_TABLE_FILE_H
#define CTL_TABLE_FILE_H

#include "tables.h"

#include <sys/stat.h>

/* Gives a key and a value, whose memory lives up to the next call, each key once; false at the end.
 */
typedef bool table_source(void *self, struct text *key, struct text *value);

/*
 * Writes what SOURCE gives to PATH, of TYPE hash or btree: to a
 * new file beside it, which is synced and takes PATH's place whole. Owner and
 * mode are those of ST, the text's file; root becomes that owner first, so
 * that nobody who may write to the folder has root write elsewhere. How many
 * keys; below zero: WHAT tells what went wrong, and PATH is as it was.
 */
ptrdiff_t table_file_write(const char *path, enum table_type type, table_source *source, void *self,
			   const struct stat *st, char *what, size_t size);

#endif
