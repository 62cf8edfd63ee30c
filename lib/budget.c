/* SPDX-License-Identifier: ISC */
/* Bounding the memory of a worker. */
#include "budget.h"

#include "must.h"

enum { PATIENCE_SECONDS = 2 };

/* RFC 3463 X.3.1: "Mail system full". */
const struct reply reply_no_memory =
    REPLY(452, "4.3.1", "Error: too much mail is coming in, try again later");

/* The last eighth is for messages that have begun. */
static bool is_scarce(const struct budget *b)
{
	return b->held >= b->most - b->most / 8;
}

void budget_hold(struct budget *b, size_t *held, size_t now)
{
	must(*held <= b->held);
	b->held = b->held - *held + now;
	*held = now;
	if (!is_scarce(b))
		b->scarce_since.us = 0;
}

const struct reply *budget_refusal(struct budget *b, struct monotime now)
{
	if (!is_scarce(b))
		return NULL;
	if (!b->scarce_since.us)
		b->scarce_since = now;
	return monotime_since(now, b->scarce_since).us < SECONDS(PATIENCE_SECONDS).us
		   ? &reply_not_yet
		   : &reply_no_memory;
}

bool budget_is_spent(const struct budget *b)
{
	return b->held >= b->most;
}
