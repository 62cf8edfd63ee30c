/* SPDX-License-Identifier: ISC */
/*
 * One UTC day's sessions with receivers, counted for reports (RFC 8460): by
 * domain, by policy, failures by what tells them apart. Bounded in domains, in
 * bytes, in policies and kinds of failure of a domain: of failures that are
 * too various the rest is one row; when there is no room, domains of which all
 * sessions went well make room for those with failures, and what is not
 * counted is counted as such.
 */
#ifndef LIMITS_TLS_DAY_H
#define LIMITS_TLS_DAY_H

#include "bytes.h"
#include "message.h"
#include "siphash.h"

enum {
	TLS_DOMAINS_MOST = 10000,
	TLS_BYTES_MOST = 32 * 1024 * 1024, /* of a day, as encoded */
	TLS_POLICIES_MOST = 8,		   /* of a domain */
	TLS_ROWS_MOST = 48,		   /* of a domain: kinds of failure */
	TLS_TOLD_MOST = 4,
};

/* Failures that are alike. */
struct tls_row {
	uint8_t type; /* enum tls_result_type */
	char *mx, *reason;
	bool connected; /* receiver and own are known */
	uint8_t receiver[16], own[16];
	uint64_t count;
};

struct tls_applied {
	uint8_t found;	     /* enum tls_found */
	char *domain, *text; /* text: lines, each ended by LF */
	uint64_t fine, failed;
	uint64_t rest; /* of failed: in no row */
	struct tls_row *rows;
	size_t row_count;
};

struct tls_domain {
	struct tls_domain *next; /* in its bucket */
	char *name;		 /* lower case */
	struct tls_applied *policies;
	size_t policy_count, row_count, bytes;
	/* What became of its report: whom it was brought to, as hashes, and that nothing is left
	 * to do. */
	uint64_t told[TLS_TOLD_MOST];
	uint8_t told_count;
	bool done;
	/* Not on disk: it is under way; how often that failed, and when it is tried again. */
	bool busy;
	uint8_t tries;
	int64_t again_s; /* since 1970 */
};

struct tls_day;

/* NUMBER: days since 1970. KEY: SIPHASH_KEY_BYTES, of this process. */
struct tls_day *tls_day_new(const uint8_t *key, int64_t number);
void tls_day_free(struct tls_day **day); /* takes NULL, leaves NULL */

int64_t tls_day_number(const struct tls_day *day);
void tls_day_renumber(struct tls_day *day, int64_t number); /* the clock was wrong */
size_t tls_day_count(const struct tls_day *day);	    /* domains */

/* Counts what RESULT says. False: it is none, and its sender is broken. */
bool tls_day_add(struct tls_day *day, const struct rec_tls_result *result);

/* Sessions that found no room. */
uint64_t tls_day_lost(const struct tls_day *day);

/* All of them in some order: I from 0 to below tls_day_count(). Valid until the next add. */
struct tls_domain *tls_day_domain(const struct tls_day *day, size_t i);
struct tls_domain *tls_day_find(const struct tls_day *day, struct text name);

/* Its sessions by all its policies, and how many of them *FAILED. */
uint64_t tls_domain_sessions(const struct tls_domain *domain, uint64_t *failed);

/* On disk, and back. NULL: it is none. */
void tls_day_encode(const struct tls_day *day, struct bytes *to);
struct tls_day *tls_day_decode(const uint8_t *key, struct wire_reader *in);

#endif
