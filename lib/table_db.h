/* SPDX-License-Identifier: ISC */
/*
 * Berkeley DB files (hash and btree, versions 4 and 5) without Berkeley DB: what
 * postmap(1) or `veredus table make` wrote, read from memory. The library
 * trusts the numbers that it finds in a file; here a file is looked through
 * page by page, each number is checked, and whatever stands in it costs no
 * more than its length. So a hostile one ends in a fault, not in a process
 * that dies at each look.
 *
 * A NUL at the end of a key or a value, which Postfix adds, is left out.
 */
#ifndef LIB_TABLE_DB_H
#define LIB_TABLE_DB_H

#include "table_text.h"

enum table_db_type { TABLE_DB_HASH, TABLE_DB_BTREE };

struct table_db;

/* As table_text_read(); FAULT is told line 0. */
struct table_db *table_db_read(enum table_db_type type, struct bytes *content, table_fault *fault,
			       void *owner);
void table_db_free(struct table_db **table);

/* Keys compare without case; of two that are alike then the first in the file counts. */
bool table_db_find(const struct table_db *table, struct text key, struct bytes *value);
bool table_db_next(const struct table_db *table, size_t *at, struct text *key, struct bytes *value);

#endif
