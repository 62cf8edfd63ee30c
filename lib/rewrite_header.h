/* SPDX-License-Identifier: ISC */
/*
 * The header block rewritten: addresses replaced where they stand, domains
 * masqueraded, fields taken off and put in front. Pure. What the h= tag of a
 * DKIM-Signature names stays as it is (RFC 6376 5.4.2), nor is a field put
 * in front that it names. A field that would have too long a line stays, too.
 */
#ifndef LIB_REWRITE_HEADER_H
#define LIB_REWRITE_HEADER_H

#include "address.h"
#include "bytes.h"
#include "config.h"

/* An address of the header, canonical, and what goes in its place. Owned by an arena. */
struct header_address {
	struct text said, to; /* TO is empty: it stays */
	bool sender;	      /* as a sender's field has it; else a recipient's */
};

struct header_addresses {
	struct header_address *items; /* room for MOST, the caller's */
	size_t count, most;
};

/* Finds the addresses of BLOCK, each once a kind; texts are copied to ARENA. */
void header_addresses_read(struct header_addresses *list, struct text block, struct arena *arena);

struct header_change {
	const struct header_addresses *addresses;
	const struct config_header *rules; /* NULL: none */
	size_t line_most;		   /* octets of a line, without CRLF */
	bool utf8;			   /* addresses that are not ASCII are allowed */
	struct bytes header;		   /* what comes out: the caller's to free */
};

void header_change(struct header_change *c, struct text block);

/* Shortens the domain of A as the rules say. True: it was. */
bool header_masquerade(const struct config_header *rules, struct address *a);

/* What is wrong with a word of `add` or `remove`; NULL: nothing. */
const char *header_rule_fault(struct text word, bool add);

#endif
