/* SPDX-License-Identifier: ISC */
/* Policies that could not be had, for reports on TLS (RFC 8460). */
#ifndef FETCHER_STS_FAILURE_H
#define FETCHER_STS_FAILURE_H

#include "sts_fetch.h"

/* Tells LIMITS of one attempt that failed. */
void sts_failure_count(struct channel *limits, struct text domain, const struct sts_fetched *r);

#endif
