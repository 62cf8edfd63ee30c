/* SPDX-License-Identifier: ISC */
/*
 * The search for one host's TLSA records (RFC 7672 section 2.2.2 and 2.2.3),
 * after its addresses were looked up: below the name at the end of its CNAMEs
 * when all of that is secure, then below the name itself. What fails on the
 * way is TLSA_FAILED, and never taken for "there are none".
 */
#ifndef RESOLVER_DANE_H
#define RESOLVER_DANE_H

#include "lookup.h"
#include "tlsa.h"

/* Embedded in its owner, zeroed before dane_start(). */
struct dane {
	struct lookup lookup;
	struct lookups *lookups;
	void (*done)(void *arg);
	void *arg;
	const char *name, *alias; /* the owner's */
	uint16_t port;
	bool asked;	/* a TLSA question was asked */
	bool under_way; /* done() is to come */
	enum tlsa_state state;
	const char *base; /* NAME or ALIAS, below which SET stands, or the failed one; or NULL */
	struct tlsa_set *set; /* NULL: none */
	char *why;	      /* of TLSA_FAILED, or of a state without a question; NULL: none */
	uint32_t ttl_s;	      /* how long all of it holds */
};

/* What is known of the host: its name, and what its address lookups gave. */
struct dane_host {
	const char *name;
	const char *alias; /* where its CNAMEs end, or NULL without any; "" if no host name */
	bool secure;	   /* all of its addresses, with the CNAMEs before them */
	uint16_t port;
};

/*
 * DONE follows once, never from within; then state, base, set and why are
 * settled. The host's texts live as long as D. False: there is nothing to ask, D is settled,
 * and DONE is not called.
 */
bool dane_start(struct dane *d, struct lookups *lookups, const struct dane_host *host,
		void (*done)(void *arg), void *arg);

/* TLSA_FAILED since time is up; no done() any more. */
void dane_give_up(struct dane *d, const char *why);

/* No done() any more; harmless when nothing is under way. */
void dane_stop(struct dane *d);

/* Stops it and frees what it holds. */
void dane_clear(struct dane *d);

#endif
