/* SPDX-License-Identifier: ISC */
/*
 * An aliases file, read as it is: "name: item, item"; a line that begins with
 * blanks goes on with the one before, one that begins with # is skipped. Names
 * compare without case, and may be quoted. Whole in memory.
 */
#ifndef LIB_ALIASES_H
#define LIB_ALIASES_H

#include "alias_list.h"
#include "bytes.h"
#include "table_text.h"

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

/* What stands behind NAME, for alias_next() without lines; lives as long as ALIASES. */
enum aliases_found aliases_find(const struct aliases *aliases, struct text name, struct text *list);

size_t aliases_count(const struct aliases *aliases);

/*
 * What `newaliases` does: reads the file at PATH, of at most MOST octets, and
 * tells FAULT what is wrong. The number of aliases; -1 with errno: it can't be read.
 */
ptrdiff_t aliases_check(const char *path, size_t most, table_fault *fault, void *owner);

#endif
