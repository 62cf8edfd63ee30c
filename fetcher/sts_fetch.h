/* SPDX-License-Identifier: ISC */
/*
 * Fetching policy files: https://mta-sts.DOMAIN/.well-known/mta-sts.txt (RFC 8461
 * section 3.3), some at a time; the others wait for their turn. What hangs
 * costs one place for as long as its own time runs.
 */
#ifndef FETCHER_STS_FETCH_H
#define FETCHER_STS_FETCH_H

#include "channel.h"
#include "sts_policy.h"

#include <openssl/x509.h>

enum { STS_FETCHES_MAX = 128 }; /* at once */

struct sts_fetches;
struct sts_fetch;

/* Texts live until the callback returns. */
struct sts_fetched {
	const struct sts_policy *policy; /* without an id; NULL: there is none */
	enum sts_fault fault;
	struct text why; /* there is none */
};

/* Before the jail. *LOOKUPS numbers the questions to resolver. NULL: libcurl cannot start. */
struct sts_fetches *sts_fetches_new(struct loop *loop, uint64_t *lookups);

/* Whose signatures count, as PEM; returns how many they are. */
size_t sts_fetches_trust(struct sts_fetches *all, struct text pem);

/* It came: open questions are asked of it; or went (NULL). */
void sts_fetches_set_resolver(struct sts_fetches *all, struct channel *resolver);

/* Its answer; false: it is to no question of these. */
bool sts_fetches_hosts(struct sts_fetches *all, const struct msg_hosts_are *answer);

/* DONE follows once, by UNTIL at the latest, never from within; gone after it. */
struct sts_fetch *sts_fetch_start(struct sts_fetches *all, struct text domain,
				  struct monotime until,
				  void (*done)(void *arg, const struct sts_fetched *result),
				  void *arg);

#endif
