/* SPDX-License-Identifier: ISC */
/*
 * What the process table has said while one plan is made (plan.h). Patterns are
 * not tried here, where a stranger's text would meet them in a process that may
 * become any user: local asks. A plan is made as far as what is known goes; what
 * it lacked is asked for, and then it is made anew. So each plan knows more than
 * the one before, and the last one lacks nothing.
 */
#ifndef LOCAL_ANSWERS_H
#define LOCAL_ANSWERS_H

#include "lookup.h"
#include "table_text.h"

enum {
	ANSWERS_MAX = 4000, /* for one plan, and of octets: */
	ANSWERS_BYTES_MAX = 1024 * 1024,
};

struct answers;

/* All that was asked for is there. May free the answers. */
typedef void answers_ready(void *owner);

struct answers *answers_new(struct lookups *lookups, answers_ready *ready, void *owner);

/* Takes NULL, leaves NULL: what is asked for is wanted no more. */
void answers_free(struct answers **answers);

/*
 * What stands at KEY in TABLE; *VALUE lives as long as the answers. What is not known yet is wanted
 * from here on, and TABLE_FAILED for now; beyond the bounds nothing more is wanted. A is NULL where
 * nobody can be asked: TABLE_FAILED.
 */
enum table_verdict answers_find(struct answers *a, struct text table, struct text key,
				struct text *value);

/* Is something wanted? Then what was found out so far counts for nothing. NULL: no. */
bool answers_lack(const struct answers *a);

/* Were they too many? */
bool answers_are_too_many(const struct answers *a);

/* Asks for all that is wanted. False: READY will be called; true: it was answered at once. */
bool answers_ask(struct answers *a);

#endif
