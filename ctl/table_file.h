/* SPDX-License-Identifier: ISC */
/* Writing Berkeley DB files, as postmap(1) does. */
#ifndef CTL_TABLE_FILE_H
#define CTL_TABLE_FILE_H

#include "tables.h"

#include <sys/stat.h>

/*
 * Writes what is in TEXT, a table_text, to PATH, of TYPE hash or btree: to a
 * new file beside it, which is synced and takes PATH's place whole. Owner and
 * mode are those of SOURCE, the text's file; root becomes that owner first, so
 * that nobody who may write to the folder has root write elsewhere. How many
 * keys; below zero: WHAT tells what went wrong, and PATH is as it was.
 */
ptrdiff_t table_file_write(const char *path, enum table_type type, const struct table_text *text,
			   const struct stat *source, char *what, size_t size);

#endif
