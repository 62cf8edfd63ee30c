/* SPDX-License-Identifier: ISC */
/*
 * What stands behind a name in an aliases file, in a .forward and in a list
 * that :include: names: addresses, users, commands, files, lists; commas part
 * them, and in a .forward or a list the ends of lines. Quotes hold blanks and
 * commas together ("|/bin/x a, b"); a line that begins with # is skipped.
 */
#ifndef LIB_ALIAS_LIST_H
#define LIB_ALIAS_LIST_H

#include "text.h"

enum alias_kind {
	ALIAS_ADDRESS, /* user@domain, or a name of this machine */
	ALIAS_OWN,     /* \user: the mailbox, whatever his .forward says */
	ALIAS_COMMAND, /* without the | */
	ALIAS_FILE,    /* a path from / on */
	ALIAS_INCLUDE, /* the path of a list */
};

enum { ALIAS_VALUE_MAX = 900 };

struct alias_item {
	enum alias_kind kind;
	size_t len;
	char value[ALIAS_VALUE_MAX + 1]; /* NUL-terminated, no control characters */
};

enum alias_next { ALIAS_END, ALIAS_ITEM, ALIAS_FAULT };

/* Takes the next item off *LIST. LINES: it ends with its line. ALIAS_FAULT: *WHY says what is wrong
 * with it, and the list may be read on behind it. */
enum alias_next alias_next(struct text *list, bool lines, struct alias_item *item,
			   const char **why);

#endif
