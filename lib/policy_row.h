/* SPDX-License-Identifier: ISC */
/*
 * A TLS policy from a table (tls-policies): the words behind a domain,
 * "verify names=mx.example,*.example.net", as a route that is like the
 * domain's own but for its TLS.
 */
#ifndef LIB_POLICY_ROW_H
#define LIB_POLICY_ROW_H

#include "config.h"

enum { POLICY_ROW_BYTES = 4096, POLICY_WHY_BYTES = 200 };

struct policy_row; /* never changes; shared by holders */

/*
 * WORDS over BASE, of which it holds no more than copies of texts' places: BASE's
 * configuration must outlive it. NULL: they are no policy, or none that fits
 * where BASE leads to; WHY (POLICY_WHY_BYTES) says why.
 */
struct policy_row *policy_row_new(const struct config_route *base, struct text words, char *why);
struct policy_row *policy_row_keep(struct policy_row *row);
void policy_row_drop(struct policy_row **row); /* takes NULL, leaves NULL */

/* Its label is "table". As long as ROW is held. */
const struct config_route *policy_row_route(const struct policy_row *row);

#endif
