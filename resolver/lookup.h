/* SPDX-License-Identifier: ISC */
/*
 * Single lookups (a name, a type) through libunbound, validated, with one
 * bounded cache; the same question under way is asked once. Deadlines are
 * the caller's: lookup_cancel() at any time.
 */
#ifndef RESOLVER_LOOKUP_H
#define RESOLVER_LOOKUP_H

#include "config.h"
#include "dns_packet.h"
#include "loop.h"

struct lookups;
struct question;

enum lookup_status {
	LOOKUP_FOUND,
	LOOKUP_EMPTY,	/* the name is there, such records are not */
	LOOKUP_NO_NAME, /* NXDOMAIN */
	LOOKUP_FAILED,	/* SERVFAIL, no answer, bogus, malformed: try again later */
};

struct lookup_result {
	enum lookup_status status;
	bool secure;			 /* validated by DNSSEC */
	bool bogus;			 /* of LOOKUP_FAILED: DNSSEC says that it is not genuine */
	uint32_t ttl_s;			 /* left, at least 0 */
	const char *why;		 /* of LOOKUP_FAILED, for people; as long as the answer */
	const struct dns_answer *answer; /* of LOOKUP_FOUND; until the callback returns */
};

/* One who waits. Embedded in its owner; not moved until done() or lookup_cancel(). */
struct lookup {
	struct lookup *next, **prev;
	struct question *question;
	void (*done)(void *arg, const struct lookup_result *result);
	void *arg;
};

/*
 * Makes the resolver and primes it: call it before the jail, since the trust
 * anchor is a file. *ERROR is set, and NULL returned, when it cannot be.
 */
struct lookups *lookups_new(struct loop *loop, const struct config *config, const char **error);
void lookups_free(struct lookups **lookups);

/* Takes up a new configuration's forwarders; questions under way are asked again. False: it cannot.
 */
bool lookups_reload(struct lookups *lookups, const struct config *config, const char **error);

/* NAME is a host name (dns_name_is_host). done() follows once, never from within. */
void lookup_start(struct lookups *lookups, struct lookup *l, const char *name, uint16_t type,
		  void (*done)(void *arg, const struct lookup_result *result), void *arg);

/* No done() any more. Harmless when it came, or nothing was started. */
void lookup_cancel(struct lookup *l);

#endif
