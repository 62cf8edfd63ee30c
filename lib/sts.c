/* SPDX-License-Identifier: ISC */
/* MTA-STS policies. */
#include "sts.h"

#include "mem.h"
#include "next_hops.h"
#include "route_tls.h"

#include <string.h>

const char *sts_mode_name(uint8_t mode)
{
	static const char *const names[] = {
	    [STS_NONE] = "none", [STS_TESTING] = "testing", [STS_ENFORCE] = "enforce"};

	return mode <= STS_ENFORCE ? names[mode] : "?";
}

bool sts_next(struct text *mx, struct text *pattern)
{
	ptrdiff_t blank = text_find(*mx, ' ');
	size_t len = blank < 0 ? mx->len : (size_t)blank;

	*pattern = (struct text){mx->data, len};
	*mx = blank < 0 ? (struct text){NULL, 0}
			: (struct text){mx->data + len + 1, mx->len - len - 1};
	return pattern->len > 0;
}

/*
 * RFC 8461 section 4.1: "the wildcard character "*" may only be used to match
 * the entire left-most label in the presented identifier".
 */
static bool pattern_names(struct text pattern, struct text host)
{
	if (!text_starts_case(pattern, "*."))
		return text_equal_case(pattern, host);
	ptrdiff_t label = text_find(host, '.');

	return label > 0 &&
	       text_equal_case((struct text){pattern.data + 1, pattern.len - 1},
			       (struct text){host.data + label, host.len - (size_t)label});
}

bool sts_names(struct text mx, struct text host)
{
	struct text pattern;

	if (host.len && host.data[host.len - 1] == '.')
		host.len--;
	while (sts_next(&mx, &pattern))
		if (pattern_names(pattern, host))
			return true;
	return false;
}

static uint8_t mode_of(const struct sts_policy *p)
{
	return p ? p->mode : STS_NONE;
}

bool sts_same(const struct sts_policy *a, const struct sts_policy *b)
{
	if (mode_of(a) != mode_of(b))
		return false;
	return mode_of(a) == STS_NONE || text_equal_case(a->mx, b->mx);
}

struct sts_policy *sts_copy(const struct sts_policy *policy)
{
	if (!policy)
		return NULL;
	struct sts_policy *copy = mem_new(1, sizeof *copy + policy->id.len + policy->mx.len + 1);
	char *at = (char *)(copy + 1);

	*copy = *policy;
	if (policy->id.len)
		memcpy(at, policy->id.data, policy->id.len);
	copy->id.data = at;
	at += policy->id.len;
	if (policy->mx.len)
		memcpy(at, policy->mx.data, policy->mx.len);
	copy->mx.data = at;
	return copy;
}

/*
 * RFC 8461 section 3.4: "When sending mail via a "smart host" -- an
 * administratively configured intermediate SMTP relay, which is different
 * from the message recipient's server as determined from DNS -- compliant
 * senders MUST treat the smart host domain as the Policy Domain". Of several
 * next hops none has one here, and who has TLS without STARTTLS, none that would fit.
 */
struct text route_sts_domain(const struct config_route *route, struct text domain)
{
	uint8_t address[16];

	if (route->kind == ROUTE_HOP && route->how == HOP_MX)
		return domain;
	if (route->kind == ROUTE_HOP && route->how == HOP_HOST && !target_is_list(route->target) &&
	    !host_address_parse(route->target, address))
		return route->target;
	return (struct text){NULL, 0};
}

/* A route with a TLS policy of its own was written for that. */
bool route_asks_sts(const struct config_route *route)
{
	enum tls_policy policy = route_policy(route);

	return route->sts && (policy == POLICY_DANE || policy == POLICY_DEFAULT) &&
	       route_sts_domain(route, (struct text)TEXT("*")).len;
}

bool config_asks_sts(const struct config *config)
{
	bool all = false;

	for (size_t i = 0; i < config->route_count; i++) {
		all |= text_equals(config->routes[i].label, "*");
		if (route_asks_sts(&config->routes[i]))
			return true;
	}
	return !all; /* what no block names goes to its MX */
}
