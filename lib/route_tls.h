/* SPDX-License-Identifier: ISC */
/*
 * What a route asks of TLS, and which domains' mail may share a connection:
 * one that was opened under a policy carries no mail of another.
 */
#ifndef LIB_ROUTE_TLS_H
#define LIB_ROUTE_TLS_H

#include "config.h"

/* The policy, where nothing was said the default: dane, and may over LMTP. */
enum tls_policy route_policy(const struct config_route *route);

/* As the configuration spells it. */
const char *policy_name(enum tls_policy policy);

/* What its policy needs and does not have, so that it would fail for every message; NULL: nothing.
 */
const char *route_policy_fault(const struct config_route *route);

/* Does it want to know about TLSA records? */
bool policy_asks_tlsa(enum tls_policy policy);

/* Is the domain of the recipients the name that is looked for in the certificate? */
bool route_names_domain(const struct config_route *route);

/* Would mail for the domain A by route X be sent under the same conditions as mail for B by Y? */
bool route_policy_same(const struct config_route *x, struct text a, const struct config_route *y,
		       struct text b);

/*
 * What a hop's name is lengthened by, so that equal names have equal policies:
 * nothing for the default, " tls=encrypt", " tls=verify:2.7:example.net"; and
 * before that " login=FINGERPRINT", so that no login's connection carries another's mail.
 * ROUTE is of CONFIG. ROUTE_KEY_BYTES at TO; returns its length.
 */
enum { ROUTE_KEY_BYTES = 320 }; /* a domain of 255 octets and the rest */
size_t route_policy_key(const struct config *config, const struct config_route *route,
			struct text domain, char *to);

#endif
