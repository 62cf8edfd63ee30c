/* SPDX-License-Identifier: ISC */
/* The sites of domains; each is asked for once. */
#include "site.h"

#include "filter.h"
#include "mem.h"
#include "next_hops.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 4096, HOSTS_MAX = 32, ANSWER_BYTES = 16384 };

/* The names that a domain's site is known by. */
struct site_names {
	struct site_names *next;
	struct text domain, route;		  /* route: that a sender chose, or empty */
	struct text names[HOSTS_MAX + HOSTS_MAX]; /* hosts, then site blocks */
	size_t count;
};

struct site_finder {
	const struct config *config;
	struct arena *arena;
	struct site_names *buckets[BUCKETS];
	struct __res_state resolver;
	bool resolver_ready;
};

struct site_finder *site_finder_new(const struct config *config)
{
	struct site_finder *f = mem_new(1, sizeof *f);

	f->config = config;
	f->arena = arena_new(SIZE_MAX / 2);
	return f;
}

void site_finder_free(struct site_finder **finder)
{
	struct site_finder *f = *finder;

	*finder = NULL;
	if (!f)
		return;
	if (f->resolver_ready)
		res_nclose(&f->resolver);
	arena_free(&f->arena);
	free(f);
}

static void add_name(struct site_finder *f, struct site_names *s, struct text name)
{
	char *copy;

	if (s->count == sizeof s->names / sizeof *s->names)
		return;
	copy = arena_copy(f->arena, name.data, name.len);
	if (copy)
		s->names[s->count++] = (struct text){copy, name.len};
}

/* Asks the configured servers where there are any; res_state holds IPv4 ones only. */
static bool resolver_start(struct site_finder *f)
{
	const struct endpoints *forward = &f->config->resolver_forward;
	int count = 0;

	if (f->resolver_ready)
		return true;
	if (res_ninit(&f->resolver) != 0)
		return false;
	f->resolver.retrans = 3;
	f->resolver.retry = 2;
	f->resolver.options &= ~(unsigned long)(RES_DEFNAMES | RES_DNSRCH);
	for (size_t i = 0; i < forward->count && count < MAXNS; i++) {
		struct sockaddr_in *to = &f->resolver.nsaddr_list[count];

		if (!host_address_is_ipv4(forward->items[i].address))
			continue;
		*to = (struct sockaddr_in){.sin_family = AF_INET,
					   .sin_port = htons(forward->items[i].port)};
		memcpy(&to->sin_addr, forward->items[i].address + 12, 4);
		count++;
	}
	if (count)
		f->resolver.nscount = count;
	f->resolver_ready = true;
	return true;
}

static void add_mx_hosts(struct site_finder *f, struct site_names *s)
{
	unsigned char answer[ANSWER_BYTES];
	char domain[256], host[NS_MAXDNAME];
	ns_msg message;
	ns_rr record;
	size_t before = s->count;

	if (s->domain.len >= sizeof domain || !resolver_start(f))
		return;
	text_copy(domain, sizeof domain, s->domain);
	int len = res_nquery(&f->resolver, domain, ns_c_in, ns_t_mx, answer, sizeof answer);

	if (len > 0 && len <= (int)sizeof answer && ns_initparse(answer, len, &message) == 0)
		for (int i = 0; i < ns_msg_count(message, ns_s_an) && s->count < HOSTS_MAX; i++)
			if (ns_parserr(&message, ns_s_an, i, &record) == 0 &&
			    ns_rr_type(record) == ns_t_mx && ns_rr_rdlen(record) > 2 &&
			    dn_expand(ns_msg_base(message), ns_msg_end(message),
				      ns_rr_rdata(record) + 2, host, sizeof host) > 0)
				add_name(f, s, text_of(host));
	/* RFC 5321 5.1: without MX the domain is its own. */
	if (s->count == before)
		add_name(f, s, s->domain);
}

/* The one that the route names, or all of them. */
static void add_route_hosts(struct site_finder *f, struct site_names *s, struct text target)
{
	struct next_hops hops = next_hops_of(target);
	struct next_hop hop;

	if (!target_is_list(target))
		add_name(f, s, target);
	else
		while (next_hops_next(&hops, &hop))
			add_name(f, s, hop.host);
}

/* Site blocks under which one of the hosts falls. */
static void add_blocks(struct site_finder *f, struct site_names *s)
{
	size_t hosts = s->count;

	for (size_t i = 0; i < f->config->site_count; i++) {
		const struct config_site *block = &f->config->sites[i];
		bool fits = false;

		for (size_t j = 0; j < block->mx.count && !fits; j++)
			for (size_t k = 0; k < hosts && !fits; k++)
				fits = domain_matches(block->mx.items[j], s->names[k]);
		if (fits)
			add_name(f, s, block->label);
	}
}

static struct site_names *names_of(struct site_finder *f, struct text domain, struct text chosen)
{
	uint32_t hash = 5381;

	for (size_t i = 0; i < domain.len; i++)
		hash = hash * 33 + (unsigned char)ascii_lower(domain.data[i]);
	struct site_names **bucket = &f->buckets[hash % BUCKETS];

	for (struct site_names *s = *bucket; s; s = s->next)
		if (text_equal_case(s->domain, domain) && text_equal(s->route, chosen))
			return s;
	struct site_names *s = arena_alloc(f->arena, sizeof *s);
	char *copy = arena_copy(f->arena, domain.data, domain.len);
	char *copy_of_route = arena_copy(f->arena, chosen.data, chosen.len);
	const struct config_route *route = config_route_of(f->config, domain, chosen);

	if (!s || !copy || !copy_of_route)
		return NULL;
	s->domain = (struct text){copy, domain.len};
	s->route = (struct text){copy_of_route, chosen.len};
	if (route->kind == ROUTE_HOP && route->how == HOP_MX && !route_is_lost(route))
		add_mx_hosts(f, s);
	else if (route->kind == ROUTE_HOP)
		add_route_hosts(f, s, route->target);
	add_blocks(f, s);
	s->next = *bucket;
	*bucket = s;
	return s;
}

bool site_finder_needs_routes(const struct site_finder *f)
{
	for (size_t i = 0; i < f->config->route_count; i++)
		if (route_is_named(&f->config->routes[i]))
			return true;
	return false;
}

bool site_finder_matches(void *arg, struct text domain, struct text route, struct text pattern)
{
	struct site_names *s = names_of(arg, domain, route);
	struct network network;
	char error[256];
	/* A path, of a UNIX socket, has slashes too. */
	bool is_network = text_find(pattern, '/') > 0 &&
			  filter_network_read(pattern, &network, error, sizeof error);

	for (size_t i = 0; s && i < s->count; i++)
		if (is_network ? filter_in_network(&network, s->names[i])
			       : filter_glob(pattern, s->names[i]))
			return true;
	return false;
}
