/* SPDX-License-Identifier: ISC */
/*
 * The TXT records of a name, for those that publish something there (MTA-STS,
 * TLS reporting). Whether they are secure is not told: nobody asks for more
 * than a hint where to look further.
 */
#ifndef RESOLVER_TXT_H
#define RESOLVER_TXT_H

#include "lookup.h"
#include "message.h"

struct txt;

/* As messages.def has it; and of all records together, so that thousands of answers out of the
 * cache leave no large backlog. */
enum { TXT_RECORDS_MAX = 16, TXT_SHOWN_BYTES = 1024, TXT_LIST_BYTES = 4096 };

/* Texts live until the callback returns. */
struct txt_result {
	enum hop_verdict verdict; /* HOP_FOUND: there are some; HOP_PERMANENT: there are none */
	const char *why;	  /* of HOP_TEMPORARY, for people */
	uint32_t lifetime_s;
	const struct dns_answer *answer; /* of HOP_FOUND */
};

/*
 * DONE follows once, never from within; gone after it. A name that cannot be
 * one has no records.
 */
struct txt *txt_start(struct loop *loop, struct lookups *lookups, struct text name,
		      struct duration timeout,
		      void (*done)(void *arg, const struct txt_result *result), void *arg);

/* Ends it without done(). Takes NULL, leaves NULL. */
void txt_cancel(struct txt **txt);

/* Appends the answer's records as rec_txt, as many as fit; returns how many. */
uint32_t txt_put(struct bytes *items, const struct dns_answer *answer);

#endif
