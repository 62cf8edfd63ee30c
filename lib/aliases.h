/* SPDX-License-Identifier: ISC */
/*
 * An aliases file, read as it is: "name: item, item"; a line that begins with
 * blanks goes on with the one before, one that begins with # is skipped. Names
 * compare without case, and may be quoted. Whole in memory.
 */
#ifndef LIB_ALIASES_H
#define LIB_ALIASES_H

#include "alias_list.h"
#include "tables.h"

struct aliases;

enum aliases_found {
	ALIASES_FOUND,
	ALIASES_ABSENT,
	ALIASES_BROKEN, /* it is there, and can't be read: its mail waits until that is mended */
};

/* Takes over CONTENT's memory. FAULT (may be NULL) hears of what is wrong, as far as
 * TABLE_FAULTS_MAX; those names are broken, all others count. */
struct aliases *aliases_read(struct bytes *content, table_fault *fault, void *owner);
void aliases_free(struct aliases **aliases);

/*
 * The same of CONTENT as TABLE, whose name the configuration has, is written: text, hash or btree,
 * as newaliases(1) and Postfix's postalias(1) make them. NULL: it is no such table, which FAULT
 * was told.
 */
struct aliases *aliases_read_table(struct text table, struct bytes *content, table_fault *fault,
				   void *owner);

/* What stands behind NAME, for alias_next() without lines; lives as long as ALIASES. */
enum aliases_found aliases_find(const struct aliases *aliases, struct text name, struct text *list);

size_t aliases_count(const struct aliases *aliases);

/* The alias at *AT, counted from 0 in the order of names, each name once; false at the end. */
bool aliases_next(const struct aliases *aliases, size_t *at, struct text *name, struct text *list);

/* What is wrong with what stands behind a pattern or a network; NULL: nothing. */
const char *alias_pattern_fault(struct text list);

/*
 * Reads TABLE's file, of patterns or networks, and tells FAULT what is wrong. How many there are;
 * -1 with errno as aliases_load().
 */
ptrdiff_t alias_patterns_check(struct text table, size_t most, table_fault *fault, void *owner);

/*
 * Reads TABLE's file, of at most MOST octets, and tells FAULT what is wrong. The aliases, which the
 * caller frees; NULL with errno: it can't be read, EBADMSG when FAULT was told why.
 */
struct aliases *aliases_load(struct text table, size_t most, table_fault *fault, void *owner);

#endif
