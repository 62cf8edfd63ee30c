/* SPDX-License-Identifier: ISC */
/*
 * A recipient domain's MTA-STS policy (RFC 8461) as processes hand it on:
 * found by fetcher, held by qmgr for its domain, obeyed by smtp-client.
 */
#ifndef LIB_STS_H
#define LIB_STS_H

#include "config.h"
#include "message.h"

enum {
	STS_DOMAIN_MAX = 244,	       /* with "_mta-sts." before it still a name */
	STS_ID_MAX = 32,	       /* RFC 8461 section 3.1: 1*32(ALPHA / DIGIT) */
	STS_MX_BYTES = 4096,	       /* of all patterns with the blanks between */
	STS_MAX_AGE_MOST_S = 31557600, /* section 3.2 */
};

/* Texts are the owner's. */
struct sts_policy {
	uint8_t mode;	    /* enum sts_mode; STS_NONE: there is no policy, and the rest is empty */
	uint32_t max_age_s; /* as the domain says it */
	struct text id;	    /* of the TXT record that it was fetched for */
	struct text mx; /* patterns in lower case, a blank apart: "*.example.net mx.example.org" */
};

/* "enforce" */
const char *sts_mode_name(uint8_t mode);

/* Does one of the patterns name HOST? */
bool sts_names(struct text mx, struct text host);

/* The next pattern off MX; false at the end. */
bool sts_next(struct text *mx, struct text *pattern);

/* Would mail under one be sent to the same hosts under the same conditions as under the other? */
bool sts_same(const struct sts_policy *a, const struct sts_policy *b);

/* A copy in one allocation, for free(); NULL for NULL. */
struct sts_policy *sts_copy(const struct sts_policy *policy);

/* Whose policy counts for mail to DOMAIN by ROUTE: its own, or that of a next hop; empty: none. */
struct text route_sts_domain(const struct config_route *route, struct text domain);

/* Is that one to be asked for? */
bool route_asks_sts(const struct config_route *route);

/* By any route that CONFIG has? */
bool config_asks_sts(const struct config *config);

#endif
