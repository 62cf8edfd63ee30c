/* SPDX-License-Identifier: ISC */
/*
 * Asking the table process: a daemon's questions under way. Each is answered
 * once, with TABLE_FAILED when there is no table process, when it ends, or
 * when it takes longer than LOOKUP_WAIT_S.
 */
#ifndef LIB_LOOKUP_H
#define LIB_LOOKUP_H

#include "channel.h"

struct lookups;
struct lookup;

enum { LOOKUP_WAIT_S = 20 };

/* VALUE lives until it returns. */
typedef void lookup_answer(void *owner, enum table_verdict verdict, struct text value);

struct lookups *lookups_new(struct loop *loop);

/* The channel to the table process, and its end. */
void lookups_open(struct lookups *l, struct channel *c);
void lookups_gone(struct lookups *l);

/* What the serve row of looked_up calls. An answer that nobody waits for is ignored. */
void lookups_serve(struct lookups *l, const struct msg_looked_up *m);

/*
 * Asks what stands at KEY in TABLE. ANSWER is called later, or from within: then NULL is
 * returned. A key longer than any that a table can hold is TABLE_ABSENT.
 */
struct lookup *lookup_ask(struct lookups *l, struct text table, struct text key,
			  lookup_answer *answer, void *owner);

/* Takes NULL, leaves NULL: the answer is wanted no more. */
void lookup_cancel(struct lookup **lookup);

#endif
