/* SPDX-License-Identifier: ISC */
/*
 * The scheduler's structure: domains, lanes, shares and sites, made when
 * first needed and gone with their last recipient.
 */
#include "scheduler_private.h"

#include "idna.h"
#include "mem.h"
#include "must.h"
#include "route_login.h"
#include "route_tls.h"
#include "way.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STS_KEY_BYTES = 48 };

static const int64_t STS_KEPT_US = INT64_C(3600) * 1000 * 1000;

/* -- sites ----------------------------------------------------------------- */

void site_pump_later(struct scheduler *s, struct site *site)
{
	if (site->pump_prev)
		return;
	site->pump_next = NULL;
	site->pump_prev = s->pump_end;
	*s->pump_end = site;
	s->pump_end = &site->pump_next;
}

void site_pump_not(struct scheduler *s, struct site *site)
{
	if (!site->pump_prev)
		return;
	*site->pump_prev = site->pump_next;
	if (site->pump_next)
		site->pump_next->pump_prev = site->pump_prev;
	else
		s->pump_end = site->pump_prev;
	site->pump_next = NULL;
	site->pump_prev = NULL;
}

void site_feed(struct scheduler *s, struct site *site)
{
	struct hungry *list = &s->hungry[site->hungry];

	if (!site->hungry_prev)
		return;
	*site->hungry_prev = site->hungry_next;
	if (site->hungry_next)
		site->hungry_next->hungry_prev = site->hungry_prev;
	else
		list->end = site->hungry_prev;
	site->hungry_next = NULL;
	site->hungry_prev = NULL;
	list->count--;
}

void site_hunger(struct scheduler *s, struct site *site, uint8_t which)
{
	struct hungry *list = &s->hungry[which];

	if (site->hungry_prev && site->hungry == which)
		return;
	site_feed(s, site);
	site->hungry = which;
	site->hungry_next = NULL;
	site->hungry_prev = list->end;
	*list->end = site;
	list->end = &site->hungry_next;
	list->count++;
}

/*
 * What waits for a fast site waits because we are busy, and would better wait
 * with its sender; what waits for a slow one, or for one that has not answered
 * yet, would wait there, too, and must not hold up the others' mail.
 */
void site_count_soon(struct scheduler *s, struct site *site)
{
	uint32_t soon = site->failures ? 0 : site->ready;

	if ((!site->proven || site->job_us > SLOW_US) && soon > SLOW_COUNT)
		soon = SLOW_COUNT;
	s->figures.ready_soon -= site->soon;
	s->figures.ready_soon += soon;
	site->soon = soon;
}

void site_prove(struct scheduler *s, struct site *site, bool proven)
{
	if (site->proven && !proven)
		s->strange += site->slots;
	else if (!site->proven && proven)
		s->strange -= site->slots;
	site->proven = proven;
	site_count_soon(s, site);
}

void site_time(struct scheduler *s, struct site *site, bool timed)
{
	if (timed == (site->timed_prev != NULL))
		return;
	if (timed) {
		site->timed_next = s->timed;
		site->timed_prev = &s->timed;
		if (s->timed)
			s->timed->timed_prev = &site->timed_next;
		s->timed = site;
		return;
	}
	*site->timed_prev = site->timed_next;
	if (site->timed_next)
		site->timed_next->timed_prev = site->timed_prev;
	site->timed_next = NULL;
	site->timed_prev = NULL;
}

struct site_limits site_limits(const struct config *config, struct text name)
{
	struct site_limits limits = {(uint32_t)config->limit_site_connections, 0};

	if (text_equals(name, LOCAL_SITE))
		return (struct site_limits){(uint32_t)config->local_deliveries, 0};
	name = route_site_alone(way_site_name(name));
	for (size_t i = 0; i < config->site_count; i++) {
		const struct config_site *c = &config->sites[i];

		if (!text_equal_case(c->label, name))
			continue;
		if (c->connections)
			limits.connections = (uint32_t)c->connections;
		limits.rate = c->rate;
	}
	return limits;
}

static void site_configure(const struct scheduler *s, struct site *site)
{
	struct site_limits limits = site_limits(s->config, site->name);

	/* A source may be another address now, or none: what was said to it counts no more. */
	if (site->down_until_us && way_site_name(site->name).len != site->name.len)
		site->down_until_us = 1;
	site->cap = limits.connections;
	site->rate = limits.rate;
	if (site->window > site->cap)
		site->window = site->cap;
}

void sites_configure(struct scheduler *s)
{
	for (size_t i = 0; i < s->sites.size; i++)
		for (struct table_link *l = s->sites.slots[i]; l; l = l->next)
			site_configure(s, ITEM_OF(l, struct site, link));
}

struct site *site_find(const struct scheduler *s, struct text name)
{
	struct table_link *link = table_first(&s->sites, table_hash_text(&s->sites, name));

	for (; link; link = table_again(link))
		if (text_equal(ITEM_OF(link, struct site, link)->name, name))
			return ITEM_OF(link, struct site, link);
	return NULL;
}

static struct site *site_get(struct scheduler *s, struct text name)
{
	struct site *site = site_find(s, name);

	if (site)
		return site;
	site = mem_new(1, sizeof *site + name.len + 1);
	char *copy = (char *)(site + 1);

	if (name.len)
		memcpy(copy, name.data, name.len);
	site->name = (struct text){copy, name.len};
	site->ring_end = &site->ring;
	site->local = text_equals(name, LOCAL_SITE);
	site->window = FIRST_WINDOW;
	site->threshold = UINT32_MAX;
	site_configure(s, site);
	table_add(&s->sites, &site->link, table_hash_text(&s->sites, name));
	return site;
}

bool site_collect(struct scheduler *s, struct site *site)
{
	/* One that is down is remembered: its next mail must not be its next attempt. */
	if (site->domains || site->shares || site->slots || site->down_until_us)
		return false;
	site_pump_not(s, site);
	site_time(s, site, false);
	site_feed(s, site);
	table_remove(&s->sites, &site->link);
	free(site);
	return true;
}

/* -- shares ------------------------------------------------------------------ */

static struct share *share_get(struct scheduler *s, struct site *site, struct submitter *submitter)
{
	uint64_t hash = table_hash_number(&s->shares, (uint64_t)(uintptr_t)site ^
							  (uint64_t)(uintptr_t)submitter << 20);
	struct table_link *link = table_first(&s->shares, hash);

	for (; link; link = table_again(link)) {
		struct share *share = ITEM_OF(link, struct share, link);

		if (share->site == site && share->submitter == submitter)
			return share;
	}
	struct share *share = mem_new(1, sizeof *share);

	share->site = site;
	share->submitter = submitter;
	share->lanes_end = &share->lanes;
	submitter->holders++;
	site->shares++;
	table_add(&s->shares, &share->link, hash);
	return share;
}

static void share_ring(struct share *share, bool in)
{
	struct site *site = share->site;

	if (in == (share->prev != NULL))
		return;
	if (in) {
		share->next = NULL;
		share->prev = site->ring_end;
		*site->ring_end = share;
		site->ring_end = &share->next;
		return;
	}
	*share->prev = share->next;
	if (share->next)
		share->next->prev = share->prev;
	else
		site->ring_end = share->prev;
	share->next = NULL;
	share->prev = NULL;
}

/* A lane is in its share's list exactly while it has ready recipients. */
static void lane_list(struct lane *lane, bool in)
{
	struct share *share = lane->share;

	if (!share || in == (lane->share_prev != NULL))
		return;
	if (in) {
		lane->share_next = NULL;
		lane->share_prev = share->lanes_end;
		*share->lanes_end = lane;
		share->lanes_end = &lane->share_next;
		share_ring(share, true);
		return;
	}
	*lane->share_prev = lane->share_next;
	if (lane->share_next)
		lane->share_next->share_prev = lane->share_prev;
	else
		share->lanes_end = lane->share_prev;
	lane->share_next = NULL;
	lane->share_prev = NULL;
	if (!share->lanes)
		share_ring(share, false);
}

static void lane_leave_share(struct scheduler *s, struct lane *lane)
{
	struct share *share = lane->share;

	if (!share)
		return;
	struct site *site = share->site;

	lane_list(lane, false);
	site->ready -= lane->ready_count;
	site_count_soon(s, site);
	lane->share = NULL;
	if (--share->lanes_total)
		return;
	table_remove(&s->shares, &share->link);
	submitter_drop(s->mails, share->submitter);
	free(share);
	site->shares--;
}

static void lane_join_share(struct scheduler *s, struct lane *lane, struct site *site)
{
	lane->share = share_get(s, site, lane->submitter);
	lane->share->lanes_total++;
	site->ready += lane->ready_count;
	site_count_soon(s, site);
	if (lane->ready_count) {
		lane_list(lane, true);
		site_pump_later(s, site);
	}
}

/* -- lanes -------------------------------------------------------------------- */

struct lane *lane_get(struct scheduler *s, struct domain *domain, struct submitter *submitter)
{
	uint64_t hash = table_hash_number(&s->lanes, (uint64_t)(uintptr_t)domain ^
							 (uint64_t)(uintptr_t)submitter << 20);
	struct table_link *link = table_first(&s->lanes, hash);

	for (; link; link = table_again(link)) {
		struct lane *known = ITEM_OF(link, struct lane, link);

		if (known->domain == domain && known->submitter == submitter)
			return known;
	}
	struct lane *lane = mem_new(1, sizeof *lane);

	lane->domain = domain;
	lane->submitter = submitter;
	submitter->holders++;
	lane->ready_end = &lane->ready;
	lane->next = domain->lanes;
	lane->prev = &domain->lanes;
	if (lane->next)
		lane->next->prev = &lane->next;
	domain->lanes = lane;
	domain->lane_count++;
	table_add(&s->lanes, &lane->link, hash);
	if (domain->state == DOMAIN_KNOWN)
		lane_join_share(s, lane, domain->site);
	return lane;
}

void lane_push(struct scheduler *s, struct lane *lane, struct recipient *r, bool front)
{
	r->state = RECIPIENT_READY;
	if (front) {
		r->next = lane->ready;
		r->prev = &lane->ready;
		if (r->next)
			r->next->prev = &r->next;
		else
			lane->ready_end = &r->next;
		lane->ready = r;
	} else {
		r->next = NULL;
		r->prev = lane->ready_end;
		*lane->ready_end = r;
		lane->ready_end = &r->next;
	}
	lane->ready_count++;
	s->figures.ready++;
	if (!lane->share)
		return;
	struct site *site = lane->share->site;

	site->ready++;
	site_count_soon(s, site);
	lane_list(lane, true);
	site_pump_later(s, site);
}

void lane_take(struct scheduler *s, struct recipient *r)
{
	struct lane *lane = r->lane;

	must(r->state == RECIPIENT_READY);
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		lane->ready_end = r->prev;
	r->next = NULL;
	r->prev = NULL;
	lane->ready_count--;
	s->figures.ready--;
	if (!lane->share)
		return;
	lane->share->site->ready--;
	site_count_soon(s, lane->share->site);
	if (!lane->ready_count)
		lane_list(lane, false);
}

void lane_drop(struct scheduler *s, struct lane *lane)
{
	if (--lane->count)
		return;
	struct domain *d = lane->domain;

	lane_leave_share(s, lane);
	*lane->prev = lane->next;
	if (lane->next)
		lane->next->prev = lane->prev;
	table_remove(&s->lanes, &lane->link);
	submitter_drop(s->mails, lane->submitter);
	free(lane);
	d->lane_count--;
	domain_collect(s, d);
}

/* -- domains --------------------------------------------------------------------- */

/* What flies and waits is counted with the domain, so that it moves with it from site to site. */
void domain_flies(struct domain *d, bool flies)
{
	uint32_t by = flies ? 1 : UINT32_MAX;

	d->flying += by;
	if (d->site)
		d->site->flying += by;
}

void domain_waits(struct domain *d, bool waits)
{
	uint32_t by = waits ? 1 : UINT32_MAX;

	d->waiting += by;
	if (d->site)
		d->site->waiting += by;
}

struct way domain_way(const struct domain *d)
{
	return (struct way){d->source, d->tls};
}

struct domain *domain_get(struct scheduler *s, struct text name, const struct way *way)
{
	char ascii[IDNA_BYTES];

	/* Routes, policies and certificates are for the name as DNS has it. One that has no such
	 * form is asked for as it is, and found to be none. */
	if (!text_is_ascii(name)) {
		struct text made = idna_ascii(name, ascii);

		name = made.len ? made : name;
	}
	uint64_t hash = table_hash_text(&s->domains, name);
	struct table_link *link = table_first(&s->domains, hash);

	for (; link; link = table_again(link)) {
		struct domain *known = ITEM_OF(link, struct domain, link);
		struct way its = domain_way(known);

		if (way_equal(&its, way) && text_equal(known->name, name))
			return known;
	}
	struct domain *d = mem_new(1, sizeof *d + name.len + way->source.len + 1);
	char *copy = (char *)(d + 1);

	if (name.len)
		memcpy(copy, name.data, name.len);
	if (way->source.len)
		memcpy(copy + name.len, way->source.data, way->source.len);
	d->name = (struct text){copy, name.len};
	d->source = (struct text){copy + name.len, way->source.len};
	d->tls = way->tls;
	table_add(&s->domains, &d->link, hash);
	return d;
}

static void domain_time(struct scheduler *s, struct domain *d, bool timed)
{
	if (timed == (d->timed_prev != NULL))
		return;
	if (timed) {
		d->timed_next = s->timed_domains;
		d->timed_prev = &s->timed_domains;
		if (s->timed_domains)
			s->timed_domains->timed_prev = &d->timed_next;
		s->timed_domains = d;
		return;
	}
	if (s->timed_at == d)
		s->timed_at = d->timed_next;
	*d->timed_prev = d->timed_next;
	if (d->timed_next)
		d->timed_next->timed_prev = d->timed_prev;
	d->timed_next = NULL;
	d->timed_prev = NULL;
}

static void domain_free(struct scheduler *s, struct domain *d)
{
	struct site *site = d->site;

	domain_time(s, d, false);
	table_remove(&s->domains, &d->link);
	free(d->hop);
	free(d->target);
	free(d->policy);
	free(d->verdict);
	free(d->sts);
	free(d);
	if (site) {
		site->domains--;
		site_collect(s, site);
	}
}

void domain_collect(struct scheduler *s, struct domain *d)
{
	/* What is known of it is kept for the next mail, within bounds, until domain_sweep(). */
	bool keep = (d->state == DOMAIN_KNOWN || d->state == DOMAIN_DOWN) &&
		    s->domains.count < DOMAINS_KEPT;

	if (!d->lane_count && d->state != DOMAIN_ASKED && !keep)
		domain_free(s, d);
}

void domain_sweep(struct scheduler *s, struct domain *d, int64_t now_us)
{
	/* A policy is known a while longer, should fetcher be away when it is asked for again. */
	bool known = d->sts && d->sts_until_us > now_us && s->domains.count < DOMAINS_KEPT / 2 &&
		     now_us - d->until_us < STS_KEPT_US;

	if (!d->lane_count && d->state != DOMAIN_ASKED && d->until_us <= now_us && !known)
		domain_free(s, d);
}

/* Lanes leave the site that the domain had, waiting for an answer. */
void domain_unplace(struct scheduler *s, struct domain *d)
{
	if (d->state == DOMAIN_ASKED)
		table_remove(&s->asked, &d->asked);
	for (struct lane *lane = d->lanes; lane; lane = lane->next)
		lane_leave_share(s, lane);
	d->state = DOMAIN_UNKNOWN;
	domain_time(s, d, false);
	free(d->verdict);
	d->verdict = NULL;
}

/* As route_policy_key(), of a policy out of a table: that may be longer than a key. */
static size_t table_policy_key(const struct scheduler *s, const struct domain *d, char *to)
{
	unsigned long long hash = table_hash_text(&s->domains, text_of(d->policy));
	int len = d->policy_names_domain ? (int)d->name.len : 0;
	int n = snprintf(to, ROUTE_KEY_BYTES, " tls=table:%016llx%s%.*s", hash, len ? ":" : "", len,
			 d->name.data);

	return n < ROUTE_KEY_BYTES ? (size_t)n : ROUTE_KEY_BYTES - 1;
}

void domain_policy(struct domain *d, const struct sts_policy *policy, int64_t until_us)
{
	free(d->sts);
	d->sts = policy && policy->mode != STS_NONE ? sts_copy(policy) : NULL;
	d->sts_until_us = until_us;
}

/*
 * Domains that name the same hosts under the same conditions share connections;
 * that of a host counts there, and not for whom (RFC 8461 section 4.2).
 */
static size_t sts_key(const struct scheduler *s, const struct domain *d, char *to)
{
	*to = '\0';
	if (!d->sts)
		return 0;
	return (size_t)snprintf(to, STS_KEY_BYTES, " sts=%s:%016llx", sts_mode_name(d->sts->mode),
				(unsigned long long)table_hash_text(&s->domains, d->sts->mx));
}

/* The key of a connection: where it leads to, under what TLS policy, which way. */
static char *connection_key(const struct scheduler *s, const struct domain *d, struct text hop)
{
	char policy[ROUTE_KEY_BYTES + STS_KEY_BYTES], way[WAY_HOP_BYTES];
	const struct config_route *route = config_route(s->config, d->name);
	struct way its = domain_way(d);
	size_t len = d->policy ? table_policy_key(s, d, policy)
			       : route_policy_key(s->config, route, d->name, policy);

	len += sts_key(s, d, policy + len);
	size_t way_len = way_hop_key(&its, way);
	char *key = mem_resize(NULL, hop.len + len + way_len + 1, 1);

	if (hop.len)
		memcpy(key, hop.data, hop.len);
	memcpy(key + hop.len, policy, len);
	memcpy(key + hop.len + len, way, way_len + 1);
	return key;
}

/* The site of that name for mail of this domain's source: limits are each source's own. */
static struct site *site_of(struct scheduler *s, const struct domain *d, struct text name)
{
	char key[SITE_NAME_BYTES + WAY_SITE_BYTES], login[ROUTE_SITE_BYTES];
	struct way way = domain_way(d);

	name = route_login_site(config_route(s->config, d->name), name, login);

	if (!d->source.len || name.len > SITE_NAME_BYTES)
		return site_get(s, name);
	memcpy(key, name.data, name.len);
	return site_get(s, (struct text){key, name.len + way_site_key(&way, key + name.len)});
}

void domain_place(struct scheduler *s, struct domain *d, struct text site_name, struct text hop)
{
	struct site *site = site_of(s, d, site_name);
	struct site *old = d->site;

	site->domains++;
	domain_unplace(s, d);
	if (old) {
		old->waiting -= d->waiting;
		old->flying -= d->flying;
	}
	site->waiting += d->waiting;
	site->flying += d->flying;
	d->site = site;
	d->state = DOMAIN_KNOWN;
	d->lookup_failures = 0;
	free(d->hop);
	d->hop = connection_key(s, d, hop);
	for (struct lane *lane = d->lanes; lane; lane = lane->next)
		lane_join_share(s, lane, site);
	if (old) {
		old->domains--;
		site_collect(s, old);
	}
}

void domain_stop(struct scheduler *s, struct domain *d, enum domain_state state, int64_t until_us,
		 const struct domain_verdict *verdict)
{
	domain_unplace(s, d);
	d->verdict = mem_new(1, sizeof *d->verdict);
	*d->verdict = *verdict;
	d->state = state;
	d->until_us = until_us;
	domain_time(s, d, true);
}

/* What a route says without any lookup. True when the domain is settled by it. */
static bool domain_route(struct scheduler *s, struct domain *d)
{
	const struct config_route *route = config_route(s->config, d->name);
	struct domain_verdict v = {.kind = QUEUE_FAILED, .code = 550, .dsn = "5.7.1"};
	struct text target = route->target;

	if (route->kind == ROUTE_REJECT)
		snprintf(v.text, sizeof v.text, "%.*s", (int)route->reject.len, route->reject.data);
	else if (route->kind == ROUTE_DISCARD)
		v = (struct domain_verdict){QUEUE_REMOVED, 250, "2.0.0", "discarded by route"};
	if (route->kind == ROUTE_REJECT || route->kind == ROUTE_DISCARD) {
		domain_stop(s, d, DOMAIN_ENDING, INT64_MAX, &v);
		return true;
	}
	bool local = route->kind == ROUTE_LOCAL;

	d->how = local ? HOP_LOCAL : route->how;
	d->port = local ? 0 : route->port;
	if (!local && route->how == HOP_MX)
		target = d->name;
	free(d->target);
	d->target = mem_copy(target.data, target.len);
	if (!local)
		return false;
	/* Nobody need be asked where this machine is. */
	domain_place(s, d, text_of(LOCAL_SITE), text_of(LOCAL_SITE));
	d->until_us = INT64_MAX;
	return true;
}

void domain_ask(struct scheduler *s, struct domain *d)
{
	if (d->state == DOMAIN_ASKED || d->state == DOMAIN_ENDING ||
	    (d->state == DOMAIN_UNKNOWN && d->timed_prev) || domain_route(s, d))
		return;
	domain_unplace(s, d);
	if (s->asked.count >= ASKED_MAX) {
		d->until_us = 0;
		domain_time(s, d, true);
		return;
	}
	d->state = DOMAIN_ASKED;
	d->answered = false;
	d->query = ++s->next_query;
	table_add(&s->asked, &d->asked, table_hash_number(&s->asked, d->query));
	s->face.ask(s->face.owner, d);
}

void domain_end_some(struct scheduler *s, struct domain *d, unsigned *budget)
{
	struct domain_verdict v = *d->verdict;

	for (struct lane *lane = d->lanes, *next; lane && *budget; lane = next) {
		next = lane->next;
		while (*budget && lane->ready) {
			struct recipient *r = lane->ready;
			bool last = lane->count == 1;

			--*budget;
			scheduler_remove(s, r,
					 v.kind == QUEUE_HELD ? RECIPIENT_HELD : RECIPIENT_ENDING);
			s->face.end(s->face.owner, r, &v);
			if (last && !next)
				return; /* the domain may have gone with it */
			if (last)
				break;
		}
	}
}

static void sites_free(struct scheduler *s)
{
	for (size_t i = 0; i < s->sites.size; i++)
		while (s->sites.slots[i]) {
			struct site *site = ITEM_OF(s->sites.slots[i], struct site, link);

			table_remove(&s->sites, &site->link);
			free(site);
		}
}

void lanes_free(struct scheduler *s)
{
	for (size_t i = 0; i < s->shares.size; i++)
		while (s->shares.slots[i]) {
			struct share *share = ITEM_OF(s->shares.slots[i], struct share, link);

			table_remove(&s->shares, &share->link);
			submitter_drop(s->mails, share->submitter);
			free(share);
		}
	for (size_t i = 0; i < s->lanes.size; i++)
		while (s->lanes.slots[i]) {
			struct lane *lane = ITEM_OF(s->lanes.slots[i], struct lane, link);

			table_remove(&s->lanes, &lane->link);
			submitter_drop(s->mails, lane->submitter);
			free(lane);
		}
	for (size_t i = 0; i < s->domains.size; i++)
		while (s->domains.slots[i]) {
			struct domain *d = ITEM_OF(s->domains.slots[i], struct domain, link);

			d->site = NULL;
			domain_free(s, d);
		}
	sites_free(s);
}
