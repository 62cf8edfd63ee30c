/* SPDX-License-Identifier: ISC */
/* TLS policies of routes. */
#include "route_tls.h"

#include "config_row.h"
#include "next_hops.h"
#include "route_login.h"

enum { NAMES_MAX = 64 };

enum tls_policy route_policy(const struct config_route *route)
{
	if (route->tls != POLICY_DEFAULT)
		return (enum tls_policy)route->tls;
	/* A password goes to nobody who has not proved himself. */
	if (route->login.len)
		return POLICY_VERIFY;
	/* A mail store is mostly this machine's own, and has no TLSA records. */
	return hop_is_lmtp(route->how) ? POLICY_MAY : POLICY_DANE;
}

const char *policy_name(enum tls_policy policy)
{
	return setting_words(TYPE_WORD_POLICY)[policy];
}

bool policy_asks_tlsa(enum tls_policy policy)
{
	return policy == POLICY_DANE || policy == POLICY_DANE_ONLY;
}

bool route_names_domain(const struct config_route *route)
{
	return route_policy(route) == POLICY_VERIFY && !route->tls_names.count &&
	       route->how == HOP_MX;
}

/* One of them is enough: what an address can't prove, mail for it would wait for for ever. */
static bool target_is_address(const struct config_route *r)
{
	uint8_t address[16];
	struct next_hops hops = next_hops_of(r->target);
	struct next_hop hop;
	bool found = false;

	if (!target_is_list(r->target))
		return r->kind == ROUTE_HOP && r->how != HOP_MX &&
		       host_address_parse(r->target, address);
	while (!found && next_hops_next(&hops, &hop))
		found = hop.literal;
	return found;
}

const char *route_policy_fault(const struct config_route *r)
{
	if (r->tls == POLICY_FINGERPRINT && !r->tls_fingerprints.count)
		return "tls = fingerprint needs tls-fingerprints";
	if (r->tls != POLICY_FINGERPRINT && r->tls_fingerprints.count)
		return "tls-fingerprints count with tls = fingerprint only";
	if (route_policy(r) != POLICY_VERIFY && r->tls_names.count)
		return "tls-names count with tls = verify only";
	if (r->tls_names.count > NAMES_MAX || r->tls_fingerprints.count > NAMES_MAX)
		return "more than 64 tls-names or tls-fingerprints";
	if (r->tls == POLICY_DANE_ONLY && target_is_address(r))
		return "an address has no TLSA records, which tls = dane-only needs";
	if (route_policy(r) == POLICY_VERIFY && !r->tls_names.count && target_is_address(r))
		return "tls = verify needs tls-names where the target is an address";
	return NULL;
}

static bool texts_equal(const struct texts *a, const struct texts *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!text_equal_case(a->items[i], b->items[i]))
			return false;
	return true;
}

bool route_policy_same(const struct config_route *x, struct text a, const struct config_route *y,
		       struct text b)
{
	enum tls_policy policy = route_policy(x);

	if (policy != route_policy(y) || x->fingerprint != y->fingerprint ||
	    !text_equal(x->tls_certificate, y->tls_certificate) ||
	    !text_equal(x->tls_key, y->tls_key))
		return false;
	if (policy == POLICY_FINGERPRINT)
		return texts_equal(&x->tls_fingerprints, &y->tls_fingerprints);
	if (policy != POLICY_VERIFY)
		return true;
	if (!texts_equal(&x->tls_names, &y->tls_names) || x->how != y->how)
		return false;
	return x->tls_names.count ||
	       (x->how == HOP_MX ? text_equal_case(a, b) : text_equal_case(x->target, y->target));
}

size_t route_policy_key(const struct config *config, const struct config_route *route,
			struct text domain, char *to)
{
	enum tls_policy policy = route_policy(route);
	bool named = route_names_domain(route);
	size_t login = route_login_key(route, to), room = ROUTE_KEY_BYTES - login;
	int n;

	to += login;
	if (policy == POLICY_DANE && !route->tls_key.len)
		return login;
	/* Under a certificate of ours a policy is a route's own, too. */
	if (policy != POLICY_VERIFY && policy != POLICY_FINGERPRINT && !route->tls_key.len)
		n = snprintf(to, room, " tls=%s", policy_name(policy));
	else /* the number of a route is another one's after a reload */
		n = snprintf(to, room, " tls=%s:%u.%zu%s%.*s", policy_name(policy),
			     config->generation, (size_t)(route - config->routes), named ? ":" : "",
			     named ? (int)domain.len : 0, domain.data);
	return login + ((size_t)n < room ? (size_t)n : room - 1);
}
