/* SPDX-License-Identifier: ISC */
/* Purposes, and what each allows. */
#include "permission.h"

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

static const struct {
	unsigned peers; /* who may */
	unsigned methods;
	bool (*allows)(const struct config *config, struct text url);
} permissions[FETCH_PURPOSES] = {
    [FETCH_INTROSPECTION] = {PEER_CHECKER, 1u << FETCH_POST, is_introspection},
    [FETCH_TOKEN] = {PEER_CHECKER, 1u << FETCH_POST, is_token_endpoint},
};

bool fetch_is_allowed(const struct config *config, unsigned peer, const struct msg_fetch *m)
{
	return m->purpose < FETCH_PURPOSES && m->method <= FETCH_POST &&
	       (permissions[m->purpose].peers & peer) &&
	       (permissions[m->purpose].methods & (1u << m->method)) &&
	       permissions[m->purpose].allows(config, m->url);
}

struct text fetch_authorities(const struct config *config, enum fetch_purpose purpose)
{
	return purpose == FETCH_TOKEN ? config->tls_authorities : config->auth_introspection_ca;
}
