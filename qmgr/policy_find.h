/* SPDX-License-Identifier: ISC */
/*
 * The TLS policy that the table tls-policies has for a domain: at the domain
 * itself, else at the longest .suffix of it, else at *. The more exact wins
 * over a route that has a tls of its own, and of two that are alike the table;
 * a table that can't be asked is a failure and no absence.
 */
#ifndef QMGR_POLICY_FIND_H
#define QMGR_POLICY_FIND_H

#include "config.h"
#include "lookup.h"

struct policy_find;

struct policy_found {
	uint8_t verdict;   /* enum table_verdict; of a broken entry TABLE_FAILED */
	struct text key;   /* of TABLE_FOUND, and of a broken entry */
	struct text words; /* as policy_row.h takes them */
	bool names_domain; /* it looks for the domain itself in the certificate */
	const char *why;   /* of TABLE_FAILED */
};

/* Texts live until it returns. The find is gone then. */
typedef void policy_done(void *arg, const struct policy_found *found);

/* Is there a table for such a route: for mail that goes over SMTP? */
bool policy_has_table(const struct config *config, const struct config_route *route);

/* ROUTE is CONFIG's, that DOMAIN's mail goes by. DONE follows once, perhaps from within: then NULL
 * is returned. */
struct policy_find *policy_find_start(struct lookups *lookups, const struct config *config,
				      const struct config_route *route, struct text domain,
				      policy_done *done, void *arg);
void policy_find_cancel(struct policy_find **find); /* takes NULL, leaves NULL */

#endif
