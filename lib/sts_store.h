/* SPDX-License-Identifier: ISC */
/*
 * The policies that are known, by domain: each up to its max_age, bounded in
 * number and octets. Who was asked for longest ago goes first; of octets, among
 * those that are large, so that a few domains with long lists push out nobody
 * with an ordinary policy, a tenth of that size. fetcher has
 * them, in memory and in a file. No I/O, and no clock: times are seconds since 1970.
 */
#ifndef LIB_STS_STORE_H
#define LIB_STS_STORE_H

#include "bytes.h"
#include "sts.h"

#include <sys/queue.h>

enum {
	STS_STORED_MOST = 100000,	     /* policies */
	STS_STORED_BYTES = 16 * 1024 * 1024, /* of them all */
	STS_LARGE_BYTES = 1024,		     /* one that is larger makes room for others first */
	STS_FILE_BYTES_MAX = STS_STORED_BYTES + 64,
	STS_CLOCK_LEAST_S = 1767225600, /* 2026-01-01: a clock before that has not been set */
};

/* In the queue's folder; in that. */
#define STS_FOLDER_NAME "fetcher"
#define STS_FILE_NAME "sts"

/* One that is known. */
struct sts_known {
	TAILQ_ENTRY(sts_known) age;   /* the latest that was asked for last */
	TAILQ_ENTRY(sts_known) large; /* the same, of those that are */
	struct sts_known *next;	      /* in its bucket */
	struct sts_policy policy;     /* STS_NONE, too: the domain says so itself */
	int64_t fetched_s, asked_s;
	struct text domain; /* in lower case */
	size_t bytes;
};

struct sts_store;

struct sts_store *sts_store_new(void);
void sts_store_free(struct sts_store **store);

/* NULL: none is known, or it is older than its max_age by NOW_S: then it is forgotten. */
struct sts_known *sts_store_find(struct sts_store *store, struct text domain, int64_t now_s);

/*
 * How long it counts yet; 0 or less: it is too old. While the clock has not
 * been set, what was fetched before that does not age; what was fetched
 * meanwhile, or in what is the future now, counts as fetched at the first look
 * by a clock that is right: for too long rather than not at all.
 */
int64_t sts_store_left(struct sts_store *store, struct sts_known *known, int64_t now_s);

/* It was asked for. */
void sts_store_use(struct sts_store *store, struct sts_known *known, int64_t now_s);

/* Replaces what was known of the domain. */
struct sts_known *sts_store_put(struct sts_store *store, struct text domain,
				const struct sts_policy *policy, int64_t now_s);
void sts_store_forget(struct sts_store *store, struct sts_known *known);

/* All, whom nobody asked for for longest first. */
struct sts_known *sts_store_first(const struct sts_store *store);
size_t sts_store_count(const struct sts_store *store);

/* Does the file lack something? It was written. */
bool sts_store_changed(const struct sts_store *store);
void sts_store_saved(struct sts_store *store);
size_t sts_store_bytes(const struct sts_store *store); /* of the file, about */

/* The file's content. False: it is broken, and the store has what came before; what is too old is
 * left out. */
void sts_store_encode(const struct sts_store *store, struct bytes *to);
bool sts_store_decode(struct sts_store *store, struct text content, int64_t now_s);

#endif
