/* SPDX-License-Identifier: ISC */
/*
 * veredus route: what would become of a mail, by the configuration that is
 * served, the resolver that deliveries ask, and the sites as they are. It
 * changes nothing.
 */
#include "qmgr.h"

#include "address.h"
#include "config_source.h"
#include "idna.h"
#include "mem.h"
#include "policy_row.h"
#include "route_login.h"
#include "route_tls.h"
#include "sender_find.h"
#include "sts.h"
#include "way.h"

#include <stdlib.h>
#include <string.h>

/* Among fetcher's questions those of this file. */
#define OF_ROUTE (UINT64_C(1) << 63)

enum { POLICY_US = 6 * 1000 * 1000 };

struct route_query {
	struct route_query *next;
	struct channel *control;
	struct config *config;		  /* the one that it began with */
	const struct config_route *route; /* within it, or the fallback */
	uint64_t query;
	uint32_t request;
	struct sender_find *sender; /* what is said of the sender, before all else */
	struct sender_choice choice;
	uint8_t sender_by; /* enum sender_by */
	struct policy_find *find;
	struct policy_row *row; /* that it found; NULL: none */
	struct bytes path;	/* path_is, encoded; empty until it comes */
	/* What fetcher says of its MTA-STS policy, as far as it has. */
	struct sts_policy *sts; /* owned */
	uint64_t fetched_wall;
	int64_t sts_asked_us; /* of fetcher; 0: it is not waited for any more */
	bool sts_asked;	      /* one would count by this route */
	char sender_key[ADDRESS_MAX + 1];
	char domain[256], key[256], words[POLICY_ROW_BYTES + 1], why[256], sts_why[257];
};

static void route_free(struct route_query *rq)
{
	sender_find_cancel(&rq->sender);
	policy_find_cancel(&rq->find);
	policy_row_drop(&rq->row);
	bytes_free(&rq->path);
	config_drop(&rq->config);
	free(rq->sts);
	free(rq);
}

static struct text cut(struct text t, size_t max)
{
	return (struct text){t.data, t.len < max ? t.len : max};
}

/* What the configuration says, as far as it goes. */
static struct msg_route_is route_begin(const struct route_query *rq)
{
	const struct config_route *r = rq->route;
	const struct config_route *tls = rq->row ? policy_row_route(rq->row) : r;
	struct text domain = text_of(rq->domain);

	return (struct msg_route_is){
	    .request = rq->request,
	    .domain = domain,
	    .route = cut(r->label, 255),
	    .to = cut(r->to, 1024),
	    .kind = (uint8_t)r->kind,
	    .how = (uint8_t)(r->kind == ROUTE_LOCAL ? HOP_LOCAL : r->how),
	    .target = r->how == HOP_MX ? domain : r->target,
	    .port = r->port,
	    .source = config_source_chosen(rq->config, r, rq->choice.source),
	    .tls = (uint8_t)route_policy(tls),
	    .tls_key = text_of(rq->key),
	    .tls_row = text_of(rq->words),
	    .tls_why = text_of(rq->why),
	    .login = cut(r->login, 255),
	    .sender_by = rq->sender_by,
	    .sender_key = text_of(rq->sender_key),
	    .sender_source = rq->choice.source,
	    .sender_route = rq->choice.route,
	};
}

static void route_refuse(struct channel *c, uint32_t request, const char *error)
{
	channel_send_route_is(c,
			      &(struct msg_route_is){.request = request, .error = text_of(error)});
}

const char *route_domain(const struct qmgr *q, struct text t, char *domain, size_t size)
{
	struct address a;

	if (text_find(t, '@') < 0) {
		if (!t.len || t.len >= size || !text_is_utf8(t))
			return "it is neither an address nor a domain";
		text_copy(domain, size, t);
	} else if (address_read(t, &a) != ADDRESS_FINE) {
		return "it is no address";
	} else {
		text_copy(domain, size, domain_of(q, t));
	}
	char ascii[IDNA_BYTES];
	struct text made = idna_ascii(text_of(domain), ascii);

	if (made.len && made.data == ascii)
		text_copy(domain, size, made);
	for (char *c = domain; *c; c++)
		*c = ascii_lower(*c);
	return NULL;
}

static void route_look(struct qmgr *q, struct route_query *rq);

static void route_table_said(void *arg, const struct policy_found *found)
{
	struct route_query *rq = arg;

	rq->find = NULL;
	text_copy(rq->key, sizeof rq->key, found->key);
	if (found->verdict == TABLE_FAILED)
		text_copy(rq->why, sizeof rq->why, text_of(found->why));
	if (found->verdict == TABLE_FOUND) {
		rq->row = policy_row_new(rq->route, found->words, rq->why);
		text_copy(rq->words, sizeof rq->words, found->words);
	}
	route_look(qmgr_of(rq->control), rq);
}

static void route_sts_ask(struct qmgr *q, struct route_query *rq)
{
	if (!q->fetcher) {
		text_copy(rq->sts_why, sizeof rq->sts_why, text_of("the fetcher does not run"));
		return;
	}
	rq->sts_asked_us = now_us(q);
	channel_send_sts_ask(
	    q->fetcher,
	    &(struct msg_sts_ask){.query = rq->query | OF_ROUTE,
				  .domain = route_sts_domain(rq->route, text_of(rq->domain))});
}

/* Takes it out of the list, and frees it. */
static void route_end(struct qmgr *q, struct route_query *rq)
{
	struct route_query **at = &q->routes;

	while (*at != rq)
		at = &(*at)->next;
	*at = rq->next;
	route_free(rq);
}

static void route_fail(struct qmgr *q, struct route_query *rq, const char *error)
{
	route_refuse(rq->control, rq->request, error);
	route_end(q, rq);
}

/* The route is known: what is looked up for it. */
static void route_go(struct qmgr *q, struct route_query *rq)
{
	rq->route = config_route_of(rq->config, text_of(rq->domain), rq->choice.route);
	struct msg_route_is is = route_begin(rq);

	if (rq->route->kind != ROUTE_HOP) {
		channel_send_route_is(rq->control, &is);
		route_end(q, rq);
		return;
	}
	if (!q->resolver) {
		route_fail(q, rq, "the resolver does not run; try again in a moment");
		return;
	}
	if (policy_has_table(rq->config, rq->route))
		rq->find = policy_find_start(q->lookups, rq->config, rq->route, text_of(rq->domain),
					     route_table_said, rq);
	channel_send_path_ask(q->resolver, &(struct msg_path_ask){.query = rq->query,
								  .how = is.how,
								  .target = is.target,
								  .port = is.port});
	rq->sts_asked = route_asks_sts(rq->route);
	if (rq->sts_asked)
		route_sts_ask(q, rq);
}

void sender_found_text(const struct sender_found *found, char *to, size_t size)
{
	snprintf(to, size,
		 "mail of that sender is answered 451 4.3.5 now: sender-routes, %.*s: %.100s",
		 (int)(found->key.len < 100 ? found->key.len : 100), found->key.data, found->why);
}

static void route_sender_said(void *arg, const struct sender_found *found)
{
	struct route_query *rq = arg;
	struct qmgr *q = qmgr_of(rq->control);
	char error[256];

	rq->sender = NULL;
	if (found->verdict == TABLE_FAILED) {
		sender_found_text(found, error, sizeof error);
		route_fail(q, rq, error);
		return;
	}
	rq->sender_by = found->verdict != TABLE_FOUND ? SENDER_NOBODY
			: found->table		      ? SENDER_TABLE
						      : SENDER_BLOCK;
	rq->choice = found->choice;
	if (found->verdict == TABLE_FOUND)
		text_copy(rq->sender_key, sizeof rq->sender_key, found->key);
	route_go(q, rq);
}

void route_ask(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	const struct msg_route_ask *ask = &m->route_ask;
	struct route_query *rq = mem_new(1, sizeof *rq);
	const char *error = route_domain(q, ask->address, rq->domain, sizeof rq->domain);

	for (const struct route_query *other = q->routes; other; other = other->next)
		if (other->control == c)
			error = "one question at a time";
	rq->control = c;
	rq->request = ask->request;
	rq->config = config_keep(q->d->config);
	rq->query = ++q->last_route;
	rq->next = q->routes;
	q->routes = rq;
	if (error) {
		route_fail(q, rq, error);
	} else if (!ask->has_sender) {
		route_go(q, rq);
	} else {
		struct sender_find *find = sender_find_start(q->lookups, rq->config, ask->sender,
							     ask->login, route_sender_said, rq);

		/* Answered from within, it may be gone. */
		if (find)
			rq->sender = find;
	}
}

/* -- its policy ------------------------------------------------------------------------------ */

bool route_policy_is(struct qmgr *q, const struct msg_sts_is *m)
{
	struct route_query *rq = q->routes;

	if (!(m->query & OF_ROUTE))
		return false;
	while (rq && (rq->query != (m->query & ~OF_ROUTE) || !rq->sts_asked_us))
		rq = rq->next;
	if (!rq)
		return true; /* too late */
	free(rq->sts);
	rq->sts = sts_copy(&(struct sts_policy){.mode = m->mode <= STS_ENFORCE ? m->mode : STS_NONE,
						.max_age_s = m->max_age_s,
						.id = m->id,
						.mx = m->mx});
	rq->fetched_wall = m->fetched_wall;
	text_copy(rq->sts_why, sizeof rq->sts_why, m->why);
	rq->sts_asked_us = 0;
	route_look(q, rq);
	return true;
}

/* Deliveries wait for longer; a person is told that it takes long. */
static void route_sts_give_up(struct qmgr *q, struct route_query *rq, const char *why)
{
	text_copy(rq->sts_why, sizeof rq->sts_why, text_of(why));
	rq->sts_asked_us = 0;
	route_look(q, rq);
}

void route_fetcher(struct qmgr *q)
{
	for (struct route_query *rq = q->routes, *next; rq; rq = next) {
		next = rq->next;
		if (rq->sts_asked_us)
			route_sts_give_up(q, rq, "the fetcher ended meanwhile");
	}
}

void route_tick(struct qmgr *q)
{
	for (struct route_query *rq = q->routes, *next; rq; rq = next) {
		next = rq->next;
		if (rq->sts_asked_us && now_us(q) - rq->sts_asked_us > POLICY_US)
			route_sts_give_up(q, rq, "not known yet: it takes long to be fetched");
	}
}

/* -- the answer ------------------------------------------------------------------------------ */

/* Takes the first out of the list that belongs to CONTROL, or answers QUERY (0: any). */
static struct route_query *route_take(struct qmgr *q, const struct channel *control, uint64_t query)
{
	for (struct route_query **at = &q->routes; *at; at = &(*at)->next) {
		struct route_query *rq = *at;

		if ((control && rq->control != control) || (query && rq->query != query))
			continue;
		*at = rq->next;
		return rq;
	}
	return NULL;
}

static void route_site(const struct qmgr *q, const struct config *config, struct msg_route_is *is)
{
	char name[256 + WAY_SITE_BYTES];
	const struct config_source *source = config_source(config, is->source);
	struct site_limits limits = site_limits(config, is->site);
	size_t len = text_copy(name, 256, is->site);

	/* Of a pool each source has its own. */
	if (source)
		len += way_site_key(&(struct way){.source = source->label}, name + len);
	const struct site *site = site_find(q->scheduler, (struct text){name, len});

	is->site_connections = limits.connections;
	is->site_rate = limits.rate;
	is->site_messages = (uint32_t)config->limit_site_messages;
	if (!site)
		return;
	is->site_known = 1;
	is->window = site->window;
	is->connections = site->slots;
	is->ready = site->ready;
	is->deferred = site->waiting;
	is->in_flight = site->flying;
	is->next_wall = site->down_until_us ? (uint64_t)wall_of(q, site->down_until_us).us : 0;
	is->last_error = text_of(site->failures ? site->last_error : "");
}

static void route_sts_put(const struct route_query *rq, struct msg_route_is *is)
{
	is->sts_asked = rq->sts_asked;
	is->sts_why = text_of(rq->sts_why);
	if (!rq->sts)
		return;
	is->sts_mode = rq->sts->mode;
	is->sts_max_age_s = rq->sts->max_age_s;
	is->sts_id = rq->sts->id;
	is->sts_mx = rq->sts->mx;
	is->sts_fetched_wall = rq->fetched_wall;
}

/* All that was asked for is there. */
static void route_answer(struct qmgr *q, struct route_query *asked)
{
	struct route_query *rq = route_take(q, NULL, asked->query);
	struct message m;
	char site[ROUTE_SITE_BYTES];

	if (!rq || !message_decode(bytes_at(&rq->path), bytes_len(&rq->path), MSG_path_is, &m))
		return;
	const struct msg_path_is *p = &m.path_is;
	struct msg_route_is is = route_begin(rq);

	is.verdict = p->verdict <= HOP_PERMANENT ? p->verdict : HOP_TEMPORARY;
	is.code = p->code;
	is.dsn = p->dsn;
	is.reason = p->reason;
	is.site = route_login_site(rq->route, p->site, site);
	is.hop = p->hop;
	is.lifetime_s = p->lifetime_s;
	is.origin = p->origin;
	is.dnssec = p->dnssec;
	is.hosts = p->hosts;
	route_sts_put(rq, &is);
	if (is.site.len)
		route_site(q, rq->config, &is);
	channel_send_route_is(rq->control, &is);
	try_remember(rq->control, rq->domain, &rq->sts);
	route_free(rq);
}

static void route_look(struct qmgr *q, struct route_query *rq)
{
	if (bytes_len(&rq->path) && !rq->find && !rq->sts_asked_us)
		route_answer(q, rq);
}

void route_path_is(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct route_query *rq = q->routes;

	while (rq && (rq->query != m->path_is.query || rq->sender))
		rq = rq->next;
	if (!rq || bytes_len(&rq->path)) /* who asked has left */
		return;
	message_encode(&rq->path, MSG_path_is, &m->path_is);
	route_look(q, rq);
}

void route_control_gone(struct qmgr *q, const struct channel *c)
{
	struct route_query *rq = route_take(q, c, 0);

	if (rq)
		route_free(rq);
}

void route_resolver_gone(struct qmgr *q)
{
	struct route_query *rq;

	while ((rq = route_take(q, NULL, 0))) {
		route_refuse(rq->control, rq->request, "the resolver ended meanwhile; try again");
		route_free(rq);
	}
}
