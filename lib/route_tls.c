/* SPDX-License-Identifier: ISC */
/* TLS policies of routes. */
#include "route_tls.h"

#include "config_row.h"

enum tls_policy route_policy(const struct config_route *route)
{
	if (route->tls != POLICY_DEFAULT)
		return (enum tls_policy)route->tls;
	/* A mail store is mostly this machine's own, and has no TLSA records. */
	return route->how == HOP_LMTP ? POLICY_MAY : POLICY_DANE;
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

	if (policy != route_policy(y))
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
	int n;

	*to = '\0';
	if (policy == POLICY_DANE)
		return 0;
	if (policy != POLICY_VERIFY && policy != POLICY_FINGERPRINT)
		n = snprintf(to, ROUTE_KEY_BYTES, " tls=%s", policy_name(policy));
	else /* the number of a route is another one's after a reload */
		n = snprintf(to, ROUTE_KEY_BYTES, " tls=%s:%u.%zu%s%.*s", policy_name(policy),
			     config->generation, (size_t)(route - config->routes), named ? ":" : "",
			     named ? (int)domain.len : 0, domain.data);
	return n < ROUTE_KEY_BYTES ? (size_t)n : ROUTE_KEY_BYTES - 1;
}
