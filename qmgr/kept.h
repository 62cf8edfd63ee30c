/* SPDX-License-Identifier: ISC */
/*
 * The MTA-STS policies that fetcher keeps on disk, for the time in which it
 * does not answer: RFC 8461 section 5.1 has a sender apply what it has
 * cached, and the cache is fetcher's. Read once, by master's descriptor, and
 * forgotten when fetcher is heard of again.
 */
#ifndef QMGR_KEPT_H
#define QMGR_KEPT_H

#include "sts_store.h"

struct kept;
struct qmgr;

/* For qmgr's whole life. */
struct kept *kept_new(struct qmgr *q);

/* Are they here? Asks for them when they are not; some seconds without an answer count as none. */
bool kept_ready(struct kept *k);

/* The policy of DOMAIN that counts yet, for *LEFT_S; NULL: none does. Only when they are ready. */
const struct sts_policy *kept_find(struct kept *k, struct text domain, int64_t *left_s);

/* fetcher answers. */
void kept_forget(struct kept *k);

/* Master's answer: the file, which is ours, or an errno. */
void kept_handle(struct kept *k, int fd, unsigned error);

#endif
