/* SPDX-License-Identifier: ISC */
/* A recipient's domain as the DNS and certificates have it. */
#ifndef FETCHER_STS_DOMAIN_H
#define FETCHER_STS_DOMAIN_H

#include "text.h"

enum { STS_DOMAIN_MAX = 244 }; /* with "_mta-sts." before it still a name */

/* In lower case, in A-labels (RFC 5891); STS_DOMAIN_MAX + 1 bytes at TO. False: it can have no
 * policy. */
bool sts_domain_make(struct text domain, char *to);

#endif
