/* SPDX-License-Identifier: ISC */
/*
 * From a next hop to the hosts that take its mail (RFC 5321 section 5.1):
 * MX records, or the domain itself without any; null MX (RFC 7505); our own
 * name and addresses left out; addresses of every host, and its TLSA records
 * (dane.h) where they count. Bounded in hosts, addresses and time.
 */
#ifndef RESOLVER_MX_H
#define RESOLVER_MX_H

#include "dane.h"
#include "own.h"

enum {
	MX_HOSTS_MAX = 20,
	MX_ADDRESSES_MAX = 8, /* of a host and family, and of a host as told */
	MX_TOLD_MAX = 64,     /* addresses in all */
	LIFETIME_LEAST_S = 30,
	LIFETIME_MOST_S = 3600,
	LIFETIME_FAILED_S = 60, /* the most for a failure */
};

struct mx;

struct mx_addresses {
	struct lookup lookup;
	uint8_t items[MX_ADDRESSES_MAX][16];
	size_t count;
	bool failed, insecure;
	bool bogus; /* failed, since DNSSEC says that the answer is not genuine */
	char *why;  /* of a failure; else NULL */
};

struct mx_host {
	char name[DNS_NAME_BYTES];
	uint16_t preference;
	uint16_t port;
	uint16_t weight; /* of a route's list (next_hops.h); else 0 */
	struct mx *mx;
	struct mx_addresses v4, v6;
	unsigned left; /* address lookups under way */
	char *alias;   /* where its CNAMEs end ("" if no host name), NULL without any */
	struct dane dane;
};

/* What to look up. Texts are the caller's until mx_start() returns. */
struct mx_question {
	enum hop_how how;
	struct text target;
	uint16_t port;
	bool addresses; /* wanted; else the MX set is enough */
	bool tlsa;	/* wanted, too */
};

/* Valid during the callback. */
struct mx_result {
	enum hop_verdict verdict;
	uint16_t code; /* of a failure, with dsn and reason */
	const char *dsn;
	const char *reason;
	const char *canonical; /* where the domain's CNAMEs end, all secure; else "" */
	uint32_t lifetime_s;
	bool secure;   /* the MX set was validated */
	bool bogus;    /* the MX set was found not to be genuine */
	bool by_mx;    /* the hosts come from DNS; else it is the route's host or an address */
	bool implicit; /* there is no MX: the domain is its own host */
	uint16_t port;
	const struct mx_host *hosts; /* by preference, then name */
	size_t count;
	size_t seen; /* with those left out, which stand behind them: for people to see */
};

/*
 * DONE follows once, never from within; the mx is gone after it. CONFIG and
 * OWN must live until then.
 */
struct mx *mx_start(struct loop *loop, struct lookups *lookups, const struct own *own,
		    const struct config *config, const struct mx_question *question,
		    void (*done)(void *arg, const struct mx_result *result), void *arg);

/* Ends it without done(). Takes NULL, leaves NULL. */
void mx_cancel(struct mx **mx);

/* One address to be tried. */
struct mx_told {
	const struct mx_host *host;
	const uint8_t *address; /* NULL: a UNIX socket, whose path is the host's name */
	bool secure;
	bool vouched; /* its name alone is */
};

/*
 * The addresses in the order in which they are to be tried: preference, then
 * by chance among equals (section 5.1: "MUST randomize"; weights are smtp-client's); within a host
 * by family as PREFER says, then by chance. Fills TOLD (MX_TOLD_MAX) and returns how many.
 */
size_t mx_tell(const struct mx_result *result, enum family_word prefer, struct mx_told *told);

#endif
