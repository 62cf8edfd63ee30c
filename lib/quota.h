/* SPDX-License-Identifier: ISC */
/* How much a mailbox may hold. */
#ifndef LIB_QUOTA_H
#define LIB_QUOTA_H

#include "text.h"

#include <stdbool.h>
#include <stdint.h>

struct quota {
	uint64_t bytes, messages; /* 0: no bound */
	bool named;		  /* a table has said so: 0 counts, whatever was before */
};

static inline bool quota_is_set(const struct quota *q)
{
	return q->bytes || q->messages;
}

/*
 * WORDS of a table, "quota=50M quota-messages=1000", in place of what *TO has; one that is not
 * named stays. NULL, or what is wrong, and *TO may have changed.
 */
const char *quota_read(struct text words, struct quota *to);

#endif
