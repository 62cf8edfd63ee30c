/* SPDX-License-Identifier: ISC */
/*
 * Which site a domain's mail goes to, for site= in filters: the fixed next
 * hop of its route, or its MX hosts, asked of the configured name servers
 * (else the system's), and the site block that these fall under.
 */
#ifndef CTL_SITE_H
#define CTL_SITE_H

#include "config.h"

struct site_finder;

struct site_finder *site_finder_new(const struct config *config);
void site_finder_free(struct site_finder **finder); /* takes NULL, leaves NULL */

/* True when the site block's name, the next hop or an MX host of DOMAIN fits PATTERN. ARG: the
 * finder. */
bool site_finder_matches(void *arg, struct text domain, struct text route, struct text pattern);

/* Must the route that senders chose be known for that? */
bool site_finder_needs_routes(const struct site_finder *f);

#endif
