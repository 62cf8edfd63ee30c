/* SPDX-License-Identifier: ISC */
/*
 * Asking a neighbour: a daemon's questions to table, limits or resolver, under way.
 * Each is answered once; with a verdict of its own when there is no such
 * neighbour, when it ends, or when it takes too long.
 */
#ifndef LIB_LOOKUP_H
#define LIB_LOOKUP_H

#include "channel.h"

struct lookups;
struct lookup;

/* VALUE lives until it returns. VERDICT is an enum table_verdict, or an enum count_verdict. */
typedef void lookup_answer(void *owner, uint8_t verdict, struct text value);

/* FAILED is the verdict where there is none within WAIT; a verdict above MOST is FAILED too. */
struct lookups *lookups_new(struct loop *loop, uint8_t failed, uint8_t most, struct duration wait);

/* Nobody is answered any more. Takes NULL, leaves NULL. */
void lookups_free(struct lookups **lookups);

/* The channel to the neighbour, and its end. */
void lookups_open(struct lookups *l, struct channel *c);
void lookups_gone(struct lookups *l);

/* What the neighbour said. An answer that nobody waits for is ignored. */
void lookups_serve(struct lookups *l, uint64_t query, uint8_t verdict, struct text value);

/*
 * Asks what stands at KEY in TABLE. ANSWER is called later, or from within: then NULL is
 * returned. A key longer than any that a table can hold is TABLE_ABSENT.
 */
struct lookup *lookup_ask(struct lookups *l, struct text table, struct text key,
			  lookup_answer *answer, void *owner);

/* Asks limits whether a message may be sent; M's query is filled in. As lookup_ask(). */
struct lookup *lookup_count(struct lookups *l, struct msg_count_ask *m, lookup_answer *answer,
			    void *owner);

/* Asks resolver what the client at ADDRESS (16 bytes) is called; VERDICT is an enum hop_verdict.
 * The neighbour must be there. */
struct lookup *lookup_name(struct lookups *l, const uint8_t *address, lookup_answer *answer,
			   void *owner);

/* Asks local whether there can be mail for ADDRESS; VERDICT is an enum table_verdict. As
 * lookup_ask(). */
struct lookup *lookup_user(struct lookups *l, struct text address, lookup_answer *answer,
			   void *owner);

/* Is there such a neighbour now? */
bool lookups_are_open(const struct lookups *l);

/* Takes NULL, leaves NULL: the answer is wanted no more. */
void lookup_cancel(struct lookup **lookup);

#endif
