/* SPDX-License-Identifier: ISC */
/* Purposes, and what each allows. */
#include "permission.h"

#include <string.h>

static bool is_introspection(const struct config *config, struct text url)
{
	return config->auth_introspection.len && text_equal(url, config->auth_introspection);
}

/* One of those that a route asks for its tokens. */
static bool is_token_endpoint(const struct config *config, struct text url)
{
	for (size_t i = 0; i < config->route_count; i++)
		if (config->routes[i].token_endpoint.len &&
		    text_equal(url, config->routes[i].token_endpoint))
			return true;
	return false;
}

/*
 * Whom to report to is for strangers to say, in their DNS records, and limits
 * reads those: any https address will do. What is said there, and to which
 * addresses, is bound instead (below, and fetch_goes_inside()).
 */
static bool is_report_target(const struct config *config, struct text url)
{
	(void)url;
	return config->tlsrpt_contact.len > 0;
}

/* RFC 8460 section 5.4: a compressed report, and nothing else about it. */
static bool is_report(const struct msg_fetch *m)
{
	struct wire_list fields = m->fields;
	struct rec_field field;

	return m->fields.count == 1 && list_next_field(&fields, &field) &&
	       text_equals(field.name, "Content-Type") &&
	       text_equals(field.value, "application/tlsrpt+gzip") && m->body.len > 18 &&
	       memcmp(m->body.data, "\x1f\x8b\x08", 3) == 0;
}

static const struct {
	unsigned peers; /* who may */
	unsigned methods;
	bool (*allows)(const struct config *config, struct text url);
	bool (*fits)(const struct msg_fetch *m); /* NULL: whatever is said there */
} permissions[FETCH_PURPOSES] = {
    [FETCH_INTROSPECTION] = {PEER_CHECKER, 1u << FETCH_POST, is_introspection, NULL},
    [FETCH_TOKEN] = {PEER_CHECKER, 1u << FETCH_POST, is_token_endpoint, NULL},
    [FETCH_TLS_REPORT] = {PEER_LIMITS, 1u << FETCH_POST, is_report_target, is_report},
};

bool fetch_is_allowed(const struct config *config, unsigned peer, const struct msg_fetch *m)
{
	return m->purpose < FETCH_PURPOSES && m->method <= FETCH_POST &&
	       (permissions[m->purpose].peers & peer) &&
	       (permissions[m->purpose].methods & (1u << m->method)) &&
	       permissions[m->purpose].allows(config, m->url) &&
	       (!permissions[m->purpose].fits || permissions[m->purpose].fits(m));
}

/* Loopback, private, link-local, shared, multicast and their like (RFC 6890). */
bool fetch_is_internal(const uint8_t *a)
{
	/* 2000::/3 has been given out; within it 2002::/16 and 2001::/23 lead elsewhere. */
	if (!host_address_is_ipv4(a))
		return (a[0] & 0xe0) != 0x20 || (a[0] == 0x20 && a[1] == 2) ||
		       (a[0] == 0x20 && a[1] == 1 && a[2] < 2);
	a += 12;
	return a[0] == 0 || a[0] == 10 || a[0] == 127 || a[0] >= 224 ||
	       (a[0] == 100 && (a[1] & 0xc0) == 64) || (a[0] == 169 && a[1] == 254) ||
	       (a[0] == 172 && (a[1] & 0xf0) == 16) || (a[0] == 192 && a[1] == 168) ||
	       (a[0] == 192 && a[1] == 0 && a[2] == 0) || (a[0] == 198 && (a[1] & 0xfe) == 18);
}

bool fetch_goes_inside(const struct config *config, enum fetch_purpose purpose)
{
	return purpose != FETCH_TLS_REPORT || config->tlsrpt_internal_hosts;
}

struct text fetch_authorities(const struct config *config, enum fetch_purpose purpose)
{
	return purpose == FETCH_INTROSPECTION ? config->auth_introspection_ca
					      : config->tls_authorities;
}
