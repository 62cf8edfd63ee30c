/* SPDX-License-Identifier: ISC */
/*
 * A worker's memory for mail on its way in (limits memory): header blocks, bodies that are not in
 * a file, lists of recipients, unread input, over all its clients together. Each holder says how
 * much it holds. Who holds nothing, as idle clients do, is never in the way, and never refused
 * anything but to begin a message.
 */
#ifndef LIB_BUDGET_H
#define LIB_BUDGET_H

#include "clock.h"
#include "reply.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct budget {
	uint64_t most, held;	      /* octets */
	struct monotime scarce_since; /* 0: it is not */
};

/* *HELD is what the holder said last, and becomes NOW. */
void budget_hold(struct budget *b, size_t *held, size_t now);

/*
 * What a message that would begin now is told: NULL, go on; while seven eighths are taken
 * reply_not_yet, and after two seconds of that 452 4.3.1.
 */
const struct reply *budget_refusal(struct budget *b, struct monotime now);

/* All is taken: what grows has to give up. */
bool budget_is_spent(const struct budget *b);
extern const struct reply reply_no_memory;

#endif
