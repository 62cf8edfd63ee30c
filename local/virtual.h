/* SPDX-License-Identifier: ISC */
/* Which line of a virtual domain's table an address comes to. */
#ifndef LOCAL_VIRTUAL_H
#define LOCAL_VIRTUAL_H

#include "answers.h"
#include "config_virtual.h"
#include "table_files.h"

struct virtual_found {
	char path[VIRTUAL_PATH_MAX + 1]; /* of the mailbox, below the domain's root */
	struct quota quota;
	bool untagged; /* it is the line of the address without its tag */
};

/*
 * The mailbox of ADDRESS, which is in V's domain. The address itself counts first, then without its
 * tag, then the local parts alone, then @domain; patterns are tried with the first two alone.
 * TABLE_FAILED also when the table can't be read, or was written a moment ago and does not have the
 * address: perhaps it is not whole yet, and nobody is called unknown. Of patterns and networks
 * ANSWERS have what is known: TABLE_FAILED, too, if that is nothing yet.
 */
enum table_verdict virtual_find(struct table_files *all, const struct config *config,
				const struct config_virtual *v, struct answers *answers,
				struct text address, struct virtual_found *to);

#endif
