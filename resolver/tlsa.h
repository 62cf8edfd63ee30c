/* SPDX-License-Identifier: ISC */
/*
 * A TLSA record set as a delivery may use it (RFC 6698, RFC 7671, RFC 7672
 * section 3.1): which of its records authenticate an SMTP server, and why
 * the others do not. Untrusted records in, a bounded set out.
 */
#ifndef RESOLVER_TLSA_H
#define RESOLVER_TLSA_H

#include "dns_packet.h"
#include "message.h"

enum {
	TLSA_KEPT_MAX = 32,	/* records kept, usable ones first */
	TLSA_USABLE_MAX = 16,	/* of these; as messages.def has it */
	TLSA_DATA_MAX = 4096,	/* octets of a usable one's data; likewise */
	TLSA_SET_BYTES = 8192,	/* octets of all usable ones' data */
	TLSA_SHOWN_BYTES = 256, /* octets kept of one that is of no use */
};

struct tlsa_record {
	uint8_t usage, selector, matching;
	uint8_t fault;	/* enum tlsa_fault */
	uint32_t given; /* octets of data in the DNS; DATA may have fewer when it is of no use */
	struct text data;
};

/* One allocation, for free(). */
struct tlsa_set {
	enum tlsa_state
	    state;    /* TLSA_USABLE, TLSA_UNUSABLE; TLSA_FAILED: what is of use is too large */
	size_t bytes; /* of the usable ones' data */
	size_t usable, count; /* usable ones stand first */
	struct tlsa_record records[];
};

/* Of an answer with at least one record. */
struct tlsa_set *tlsa_set_new(const struct dns_answer *answer);

#endif
