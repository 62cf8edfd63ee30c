/* SPDX-License-Identifier: ISC */
/* Looking up in a configuration that was read: routes, domains, networks, addresses. */
#include "config.h"
#include "envelope.h"

#include <string.h>

static bool network_contains(const struct network *n, const uint8_t *address)
{
	unsigned whole = n->bits / 8, rest = n->bits % 8;

	/* ::/0 is all of IPv6; that IPv4 is written inside of it here makes it no part of that. */
	if (n->bits < 96 && host_address_is_ipv4(address))
		return false;
	if (memcmp(n->address, address, whole) != 0)
		return false;
	return !rest || ((n->address[whole] ^ address[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

bool networks_contain(const struct networks *networks, const uint8_t *address)
{
	for (size_t i = 0; i < networks->count; i++)
		if (network_contains(&networks->items[i], address))
			return true;
	return false;
}

bool config_has_logins(const struct config *config)
{
	return config->auth_users.len || config->auth_dovecot.len || config->auth_pam.len ||
	       config->auth_introspection.len;
}

size_t config_certificates(const struct config *config)
{
	return config->tls_count + config->shown_count;
}

const struct config_tls *config_certificate(const struct config *config, size_t index)
{
	return index < config->tls_count ? &config->tls[index]
					 : &config->shown[index - config->tls_count];
}

struct text config_shown(const struct config *config, const struct config_route *route)
{
	for (size_t i = 0; route->tls_key.len && i < config->shown_count; i++)
		if (text_equal(config->shown[i].certificate, route->tls_certificate) &&
		    text_equal(config->shown[i].key, route->tls_key))
			return config->shown[i].label;
	return (struct text){NULL, 0};
}

bool config_relays_from(const struct config *config, const uint8_t *address)
{
	return networks_contain(&config->relay_from, address);
}

bool domain_matches(struct text pattern, struct text name)
{
	if (text_equals(pattern, "*"))
		return true;
	if (text_starts_case(pattern, "*."))
		pattern = (struct text){pattern.data + 1, pattern.len - 1};
	if (pattern.len && pattern.data[0] == '.')
		return name.len > pattern.len && text_ends_case(name, pattern);
	return text_equal_case(pattern, name);
}

static const struct config_route *route_named(const struct config *config, struct text name)
{
	size_t low = 0, high = config->route_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int d = text_order_case(name, config->by_name[middle]->label);

		if (!d)
			return config->by_name[middle];
		if (d < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static bool domain_listed(const struct texts *list, struct text name)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int d = text_order_case(name, list->items[middle]);

		if (!d)
			return true;
		if (d < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

/* The next shorter .suffix of NAME: of "a.b.c" it is ".b.c", of that ".c"; false at the end. */
static bool shorten(struct text *name)
{
	struct text t = *name;

	do {
		if (!t.len)
			return false;
		t.data++;
		t.len--;
	} while (!t.len || t.data[0] != '.');
	*name = t;
	return true;
}

const struct config_route *config_route(const struct config *config, struct text domain)
{
	static const struct config_route fallback = {.label = TEXT("*"),
						     .to = TEXT("mx"),
						     .kind = ROUTE_HOP,
						     .how = HOP_MX,
						     .port = 25,
						     .sts = 1};
	const struct config_route *found = route_named(config, domain);

	while (!found && shorten(&domain))
		found = route_named(config, domain);
	if (!found)
		found = route_named(config, (struct text)TEXT("*"));
	return found ? found : &fallback;
}

const struct config_route *config_route_named(const struct config *config, struct text name)
{
	return text_starts_case(name, ROUTE_MARK) ? route_named(config, name) : NULL;
}

bool route_is_named(const struct config_route *route)
{
	return text_starts_case(route->label, ROUTE_MARK);
}

bool route_is_lost(const struct config_route *route)
{
	return text_equals(route->label, ROUTE_MARK);
}

const struct config_route *config_route_of(const struct config *config, struct text domain,
					   struct text chosen)
{
	/* Mail that waits for its relay must not go to the world's MX when that is renamed. */
	static const struct config_route lost = {.label = TEXT(ROUTE_MARK),
						 .to = TEXT("mx"),
						 .kind = ROUTE_HOP,
						 .how = HOP_MX,
						 .port = 25};
	const struct config_route *route = config_route(config, domain);

	if (!chosen.len || !text_equals(route->label, "*") || route->kind == ROUTE_LOCAL)
		return route;
	route = config_route_named(config, chosen);
	return route ? route : &lost;
}

bool config_has_local(const struct config *config)
{
	for (size_t i = 0; i < config->route_count; i++)
		if (config->routes[i].kind == ROUTE_LOCAL)
			return true;
	return false;
}

static bool domain_within(const struct texts *list, struct text domain)
{
	if (domain_listed(list, domain))
		return true;
	while (shorten(&domain))
		if (domain_listed(list, domain))
			return true;
	return false;
}

bool config_rewrites_all_of(const struct config *config, struct text domain)
{
	return config->rewrite_virtual_domains.count &&
	       domain_within(&config->rewrite_virtual_domains, domain);
}

bool config_relays_to(const struct config *config, struct text domain)
{
	return config_route(config, domain)->kind == ROUTE_LOCAL ||
	       domain_within(&config->relay_to, domain) || config_rewrites_all_of(config, domain);
}

struct text config_own_domain(const struct config *config)
{
	return config->submission_domain.len ? config->submission_domain : config->hostname;
}
