/* SPDX-License-Identifier: ISC */
/*
 * Lists of a user's own: ~/.forward, and what :include: names. Read in a child
 * that has become that user, in whole, and only if nobody else can have written it.
 */
#ifndef LOCAL_LIST_FILE_H
#define LOCAL_LIST_FILE_H

#include "letter.h"
#include "result.h"
#include "user.h"

enum { LIST_BYTES_MAX = 1024 * 1024 };

enum list_found {
	LIST_FOUND,
	LIST_ABSENT,
	LIST_UNUSABLE, /* somebody else may have written it, or it makes no sense: *WHY */
	LIST_FAILED,   /* not now: *WHY */
};

/*
 * What U's ~/.forward says for the mail L, to R as additions. A name or address that is U's own is
 * his mailbox.
 */
enum list_found forward_read(const struct user *u, const struct letter *l, struct result *r,
			     const char **why);

/*
 * The same of a list at PATH, which an alias or (FORWARD) the user's .forward names: addresses,
 * commands, files.
 */
enum list_found include_read(const char *path, bool forward, const struct user *u,
			     const struct letter *l, struct result *r, const char **why);

/*
 * Does the list (still) say TARGET? What it has U do counts only if nobody but him and root can
 * have written that: else LIST_UNUSABLE.
 */
enum list_found include_has(const char *path, bool forward, const struct user *u,
			    const struct letter *l, struct text target, const char **why);

/* Does the .forward (still) say TARGET, a command or file as it stands in an envelope? */
bool forward_has(const struct user *u, const struct letter *l, struct text target);

#endif
