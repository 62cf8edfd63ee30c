/* SPDX-License-Identifier: ISC */
/*
 * Other addresses in place of those that a session was told: one lookup after
 * the other in the tables of `rewrite`. Begins when rights and rates have been
 * asked about what the client said.
 *
 *   at RCPT        1. canonical (submitted mail alone)
 *                  2. bcc-recipients
 *                  3. virtual, and again what it gives, until nothing is found
 *   at the header  1. the same for mail that was handed in whole
 *                  2. the sender: canonical (submitted), masquerade, bcc-senders, bcc
 *                  3. addresses in the header: canonical (submitted), masquerade
 *                  4. fields taken off, fields put in front
 *
 * Reports of our own making have step 3 of their recipients and no more. A key
 * is looked for as Postfix does: user+tag@domain, user@domain, of our own
 * names user+tag and user, then @domain; what was found without the tag gets
 * it again. A table that fails, and one that says what is no address, is 451
 * 4.3.5: nothing is guessed.
 */
#ifndef LIB_REWRITE_H
#define LIB_REWRITE_H

#include "lookup.h"
#include "session.h"

struct rewrite;

enum {
	REWRITE_EXPANSION_MAX = 1000, /* addresses on the way from one recipient */
	REWRITE_HEADER_MAX = 500,     /* addresses of a header that are looked up; others stay */
};

/* R is NULL when all was done, and lives until it returns. */
typedef void rewrite_done(void *owner, const struct reply *r);

/* Is there something to do at POINT of S? One branch for who has no such settings. */
bool rewrite_is_due(const struct session *s, enum session_point point);

/* At POINT_RECIPIENT or POINT_HEADER. NULL: DONE was called from within. */
struct rewrite *rewrite_start(struct lookups *lookups, struct session *s, enum session_point point,
			      rewrite_done *done, void *owner);

/* Takes NULL, leaves NULL; DONE is not called. */
void rewrite_cancel(struct rewrite **rewrite);

#endif
