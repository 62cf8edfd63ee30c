/* SPDX-License-Identifier: ISC */
/* The tables of virtual domains as they are now: read again whenever they have changed. */
#ifndef LOCAL_VIRTUAL_H
#define LOCAL_VIRTUAL_H

#include "config_virtual.h"
#include "log.h"
#include "message.h"

struct virtual_table;

struct virtuals {
	struct log *log;
	struct virtual_table *first; /* of files that are or were in the configuration */
};

void virtuals_free(struct virtuals *v);

/*
 * Where the mailbox of ADDRESS, which is in V's domain, lies below its root, to TO. The address
 * itself counts first, then without its tag, then the local parts alone, then @domain.
 * TABLE_FAILED also when the table can't be read, or was written a moment ago and does not have
 * the address: perhaps it is not whole yet, and nobody is called unknown.
 */
enum table_verdict virtual_find(struct virtuals *all, const struct config *config,
				const struct config_virtual *v, struct text address, char *to,
				size_t size);

#endif
