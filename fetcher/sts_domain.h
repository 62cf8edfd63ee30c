/* SPDX-License-Identifier: ISC */
/* A recipient's domain as the DNS and certificates have it. */
#ifndef FETCHER_STS_DOMAIN_H
#define FETCHER_STS_DOMAIN_H

#include "sts.h"

/* In lower case, in A-labels (RFC 5891); STS_DOMAIN_MAX + 1 bytes at TO. False: it can have no
 * policy. */
bool sts_domain_make(struct text domain, char *to);

#endif
