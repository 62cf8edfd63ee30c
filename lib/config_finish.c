/* SPDX-License-Identifier: ISC */
/* What only the whole of a configuration can tell: overlaps, doubled names, times that contradict.
 */
#include "config_finish.h"

#include "config_local.h"
#include "config_row.h"
#include "config_source.h"
#include "config_value.h"
#include "config_virtual.h"
#include "mem.h"
#include "must.h"
#include "route_login.h"
#include "route_tls.h"
#include "tables.h"

#include <stdlib.h>
#include <string.h>

enum {
	QUEUE_PATH_MAX_BYTES = 95, /* QUEUE/control must fit into a socket's address */
	SITES_MAX = 1000,
	ENDPOINTS_MAX = 1024,
	TLS_MAX = 256,
	SHOWN_MAX = 64,
};

struct whole {
	struct config *config;
	const struct place *ports;
	struct config_errors *errors;
};

#define WRONG(w, at, ...) config_errors_add((w)->errors, false, (at).line, (at).column, __VA_ARGS__)

void *config_list_grow(struct arena *arena, struct setting_list *list, size_t size)
{
	if ((list->count & (list->count - 1)) == 0) {
		void *items = arena_alloc(arena, size * (list->count ? list->count * 2 : 1));

		must(items);
		if (list->count)
			memcpy(items, list->items, size * list->count);
		list->items = items;
	}
	return (char *)list->items + size * list->count++;
}

bool config_errors_matter(const struct config_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		if (!errors->items[i].warning)
			return true;
	return false;
}

static bool endpoints_overlap(const struct endpoint *a, const struct endpoint *b)
{
	static const uint8_t zeros[16];

	if (a->port != b->port)
		return false;
	if (a->any || b->any || memcmp(a->address, b->address, 16) == 0)
		return true;
	if (host_address_is_ipv4(a->address) != host_address_is_ipv4(b->address))
		return false;
	size_t skip = host_address_is_ipv4(a->address) ? 12 : 0;

	return memcmp(a->address + skip, zeros, 16 - skip) == 0 ||
	       memcmp(b->address + skip, zeros, 16 - skip) == 0;
}

static void check_listens(struct whole *w)
{
	struct setting_list seen = {0};

	if (!w->config->listen_count)
		config_errors_add(
		    w->errors, true, 0, 0,
		    "no listen block: nothing can come in; listen smtp { address = *:25 }");
	for (size_t i = 0; i < w->config->listen_count; i++)
		for (size_t j = 0; j < w->config->listens[i].address.count; j++) {
			const struct endpoint *now = &w->config->listens[i].address.items[j];
			const struct endpoint *const *old = seen.items;

			for (size_t k = 0; k < seen.count; k++)
				if (endpoints_overlap(old[k], now)) {
					WRONG(w, w->ports[seen.count],
					      "port %u is taken already by the address on line %u",
					      now->port, w->ports[k].line);
					break;
				}
			*(const struct endpoint **)config_list_grow(
			    w->config->arena, &seen, sizeof(struct endpoint *)) = now;
			if (seen.count > ENDPOINTS_MAX) {
				WRONG(w, w->ports[seen.count - 1],
				      "more than 1024 addresses to listen on");
				return;
			}
		}
}

static int compare_routes(const void *a, const void *b)
{
	const struct config_route *const *x = a, *const *y = b;
	int d = text_order_case((*x)->label, (*y)->label);

	if (d)
		return d;
	return ((*x)->line > (*y)->line) - ((*x)->line < (*y)->line);
}

static void index_routes(struct whole *w)
{
	size_t count = w->config->route_count;
	const struct config_route **by_name =
	    arena_alloc(w->config->arena, (count + 1) * sizeof(struct config_route *));
	char word[SHOWN_BYTES];

	must(by_name);
	for (size_t i = 0; i < count; i++)
		by_name[i] = &w->config->routes[i];
	qsort(by_name, count, sizeof(struct config_route *), compare_routes);
	for (size_t i = 1; i < count; i++)
		if (text_equal(by_name[i]->label, by_name[i - 1]->label))
			config_errors_add(w->errors, false, by_name[i]->line, 1,
					  "route %s stands twice; the first is on line %u",
					  shown(word, by_name[i]->label), by_name[i - 1]->line);
	w->config->by_name = by_name;
}

/* What a policy needs and does not have would fail for every message. */
static void check_policies(struct whole *w)
{
	for (size_t i = 0; i < w->config->route_count; i++) {
		const struct config_route *r = &w->config->routes[i];
		char word[SHOWN_BYTES];
		const char *why = NULL;

		if (!r->to.len && !config_errors_matter(w->errors))
			why = "to has no next hop";
		else if (route_is_named(r) && r->kind != ROUTE_HOP)
			why = "one that senders name leads to a next hop";
		else
			why = route_policy_fault(r);
		if (why)
			config_errors_add(w->errors, false, r->line, 1, "route %s: %s",
					  shown(word, r->label), why);
	}
}

/* Both files, and each pair of them once. */
static void gather_shown(struct whole *w)
{
	static const struct text before = TEXT("route ");
	struct config *c = w->config;
	struct setting_list list = {0};
	char word[SHOWN_BYTES];

	for (size_t i = 0; i < c->route_count; i++) {
		const struct config_route *r = &c->routes[i];

		if (!r->tls_certificate.len != !r->tls_key.len)
			config_errors_add(w->errors, false, r->line, 1,
					  "route %s: tls-certificate and tls-key stand together",
					  shown(word, r->label));
		if (!r->tls_certificate.len || !r->tls_key.len || config_shown(c, r).len)
			continue;
		if (list.count == SHOWN_MAX) {
			config_errors_add(w->errors, false, r->line, 1,
					  "route %s: more than %d certificates are shown",
					  shown(word, r->label), SHOWN_MAX);
			return;
		}
		struct config_tls *one = config_list_grow(c->arena, &list, sizeof *one);
		char *label = arena_alloc(c->arena, before.len + r->label.len);

		must(label);
		memcpy(label, before.data, before.len);
		memcpy(label + before.len, r->label.data, r->label.len);
		*one = (struct config_tls){.label = {label, before.len + r->label.len},
					   .line = r->line,
					   .certificate = r->tls_certificate,
					   .key = r->tls_key};
		c->shown = list.items;
		c->shown_count = list.count;
	}
}

static int compare_texts(const void *a, const void *b)
{
	return text_order_case(*(const struct text *)a, *(const struct text *)b);
}

/* Sorted for lookups, and *.example.net as the .example.net that it means. */
static void index_relay_to(struct texts *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (text_starts_case(list->items[i], "*."))
			list->items[i] =
			    (struct text){list->items[i].data + 1, list->items[i].len - 1};
	if (list->count)
		qsort(list->items, list->count, sizeof *list->items, compare_texts);
}

static void check_sites(struct whole *w)
{
	const struct config *c = w->config;
	char word[SHOWN_BYTES];

	if (c->site_count > SITES_MAX) {
		config_errors_add(w->errors, false, c->sites[SITES_MAX].line, 1,
				  "more than 1000 sites");
		return;
	}
	for (size_t i = 0; i < c->site_count; i++)
		for (size_t j = 0; j < i; j++)
			if (text_equal(c->sites[i].label, c->sites[j].label)) {
				config_errors_add(w->errors, false, c->sites[i].line, 1,
						  "site %s stands twice; the first is on line %u",
						  shown(word, c->sites[i].label), c->sites[j].line);
				break;
			}
}

/* Blocks of one name are one server with several keys: what is asked of its clients stands in all
 * of them alike. Whether the keys are of different kinds tls_check.c sees. */
static void check_namesake(struct whole *w, const struct config_tls *first,
			   const struct config_tls *next)
{
	const char *what = first->minimum != next->minimum		    ? "minimum"
			   : !text_equal(first->client_ca, next->client_ca) ? "client-ca"
									    : NULL;
	char word[SHOWN_BYTES];

	if (what)
		config_errors_add(w->errors, false, next->line, 1,
				  "tls %s: another %s than in the block of that name on line %u",
				  shown(word, next->label), what, first->line);
}

static void check_tls(struct whole *w)
{
	const struct config *c = w->config;
	char word[SHOWN_BYTES];

	if (c->tls_count > TLS_MAX) {
		config_errors_add(w->errors, false, c->tls[TLS_MAX].line, 1,
				  "more than %d tls blocks", TLS_MAX);
		return;
	}
	for (size_t i = 0; i < c->tls_count; i++)
		for (size_t j = 0; j < i; j++)
			if (text_equal(c->tls[i].label, c->tls[j].label)) {
				check_namesake(w, &c->tls[j], &c->tls[i]);
				break;
			}
	for (size_t i = 0; i < c->listen_count && !c->tls_count; i++)
		if (c->listens[i].role != HANDLE_LISTEN_SMTP)
			config_errors_add(
			    w->errors, false, c->listens[i].line, 1,
			    "listen %s needs a tls block: tls %s { certificate = PATH key = PATH }",
			    shown(word, c->listens[i].label), "mail.example.net");
}

static bool rate_is_doubled(const struct rate_list *r)
{
	for (size_t i = 0; i < r->count; i++)
		for (size_t j = 0; j < i; j++)
			if (r->items[i].period == r->items[j].period)
				return true;
	return false;
}

static void check_rates(struct whole *w)
{
	static const char *const labels[RATE_KINDS] = {"login", "network", "stranger"};
	struct config *c = w->config;
	char word[SHOWN_BYTES];

	for (size_t i = 0; i < c->rate_count; i++) {
		const struct config_rate *r = &c->rates[i];
		size_t who = 0;

		while (who < RATE_KINDS && !text_equals(r->label, labels[who]))
			who++;
		if (who == RATE_KINDS)
			config_errors_add(w->errors, false, r->line, 1,
					  "rate %s: it is none of login, network, stranger",
					  shown(word, r->label));
		else if (c->rate_of[who])
			config_errors_add(w->errors, false, r->line, 1,
					  "rate %s stands twice; the first is on line %u",
					  labels[who], c->rate_of[who]->line);
		else
			c->rate_of[who] = r;
		if (rate_is_doubled(&r->messages) || rate_is_doubled(&r->recipients))
			config_errors_add(w->errors, false, r->line, 1,
					  "rate %s: two rates for the same time",
					  shown(word, r->label));
	}
}

static uint32_t line_of(const struct whole *w, enum setting_block block, const char *name)
{
	for (size_t i = 0; i < setting_count; i++)
		if (setting_rows[i].block == block &&
		    text_equals(text_of(name), setting_rows[i].name))
			return w->config->lines[i];
	return 0;
}

static void check_takeover(struct whole *w)
{
	const struct config *c = w->config;
	const struct {
		const char *name;
		const struct rate_list *rates;
	} rows[] = {{"limits", &c->takeover_limits},
		    {"networks", &c->takeover_networks},
		    {"refused", &c->takeover_refused}};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rate_is_doubled(rows[i].rates))
			config_errors_add(
			    w->errors, false, line_of(w, BLOCK_takeover, rows[i].name), 1,
			    "takeover: %s has two rates for the same time", rows[i].name);
	for (size_t i = 0; i < c->takeover_networks.count; i++)
		if (c->takeover_networks.items[i].count > TAKEOVER_NETWORKS_MOST)
			config_errors_add(w->errors, false, line_of(w, BLOCK_takeover, "networks"),
					  1, "takeover: networks are counted up to %d",
					  TAKEOVER_NETWORKS_MOST);
}

static void check_tlsrpt(struct whole *w)
{
	const struct config *c = w->config;
	const char *idle = c->tlsrpt_organization.len ? "organization"
			   : c->tlsrpt_sender.len     ? "sender"
			   : c->tlsrpt_internal_hosts ? "internal-hosts"
						      : NULL;

	if (idle && !c->tlsrpt_contact.len)
		config_errors_add(
		    w->errors, true, line_of(w, BLOCK_tlsrpt, idle), 1,
		    "tlsrpt: without a contact no report is made, and %s does nothing", idle);
}

/* The service is a file's name in PAM's folder. */
static void check_pam(struct whole *w)
{
	struct text t = w->config->auth_pam;
	bool good = t.len <= 64;
	char word[SHOWN_BYTES];

	for (size_t i = 0; i < t.len; i++)
		good = good && (ascii_is_alnum(t.data[i]) || t.data[i] == '-' || t.data[i] == '_');
	if (!good)
		WRONG(w, ((struct place){line_of(w, BLOCK_auth, "pam"), 1}),
		      "pam: \"%s\" is no name of a service", shown(word, t));
}

/* RFC 6749 section 3.3: what a scope is made of; it stands in JSON as it is. */
static void check_introspection(struct whole *w)
{
	/* Those without a default. */
	static const char *const names[] = {"introspection-client", "introspection-secret-file",
					    "introspection-scope", "introspection-audience"};
	struct text scope = w->config->auth_introspection_scope;

	for (size_t i = 0; i < scope.len; i++)
		if (scope.data[i] < ' ' || scope.data[i] > '~' || strchr("\"\\", scope.data[i])) {
			WRONG(
			    w, ((struct place){line_of(w, BLOCK_auth, "introspection-scope"), 1}),
			    "introspection-scope: a scope has neither quotes nor backslashes, and "
			    "is ASCII");
			break;
		}
	for (size_t i = 0; i < sizeof names / sizeof *names && !w->config->auth_introspection.len;
	     i++)
		if (line_of(w, BLOCK_auth, names[i]))
			config_errors_add(w->errors, true, line_of(w, BLOCK_auth, names[i]), 1,
					  "auth: %s does nothing without introspection", names[i]);
}

static void check_auth(struct whole *w)
{
	const struct config *c = w->config;

	const char *second = c->auth_pam.len ? "pam" : "dovecot";

	if ((c->auth_users.len > 0) + (c->auth_dovecot.len > 0) + (c->auth_pam.len > 0) > 1)
		WRONG(w, ((struct place){line_of(w, BLOCK_auth, second), 1}),
		      "auth: users, dovecot or pam, one of them");
	check_pam(w);
	check_introspection(w);
	if (c->auth_smtp && !config_has_logins(c))
		config_errors_add(w->errors, true, line_of(w, BLOCK_auth, "smtp"), 1,
				  "auth: AUTH is not offered, since there is neither users, "
				  "dovecot, pam nor introspection to say who may log in");
}

static void check_times(struct whole *w)
{
	const struct config *c = w->config;

	if (c->retry_first.us > c->retry_longest.us)
		config_errors_add(w->errors, false, line_of(w, BLOCK_retry, "first"), 1,
				  "retry: first is longer than longest");
	if (c->retry_notice.us >= c->retry_expire.us && c->retry_notice.us)
		config_errors_add(w->errors, true, line_of(w, BLOCK_retry, "notice"), 1,
				  "retry: mail expires before its notice of a delay");
	if (c->limit_header > c->limit_message)
		config_errors_add(w->errors, false, line_of(w, BLOCK_limits, "header"), 1,
				  "limits: header is larger than message");
	if (c->queue.len > QUEUE_PATH_MAX_BYTES)
		config_errors_add(
		    w->errors, false, line_of(w, BLOCK_top, "queue"), 1,
		    "queue: a path of more than %d bytes leaves no room for the control "
		    "socket's name",
		    QUEUE_PATH_MAX_BYTES);
}

void config_finish(struct config *config, const struct place *ports, struct config_errors *errors)
{
	struct whole w = {config, ports, errors};

	check_listens(&w);
	check_sites(&w);
	check_auth(&w);
	check_tls(&w);
	check_rates(&w);
	check_takeover(&w);
	check_tlsrpt(&w);
	/* A value that could not be read is zero here, and would be complained of twice. */
	if (!config_errors_matter(errors))
		check_times(&w);
	check_policies(&w);
	index_routes(&w);
	config_source_finish(config, errors);
	gather_shown(&w);
	route_logins_finish(config, errors);
	config_local_finish(config, errors);
	index_relay_to(&config->relay_to);
	index_relay_to(&config->rewrite_virtual_domains);
	config_virtual_finish(config, errors);
	config_headers_finish(config, errors);
	config_tables_finish(config, errors);
}
