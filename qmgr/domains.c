/* SPDX-License-Identifier: ISC */
/*
 * The scheduler's domains: what is known of where the mail for each goes, the
 * key of its connections, and the site that its lanes belong to meanwhile.
 */
#include "scheduler_private.h"

#include "idna.h"
#include "mem.h"
#include "route_login.h"
#include "route_tls.h"
#include "way.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STS_KEY_BYTES = 48 };

static const int64_t STS_KEPT_US = INT64_C(3600) * 1000 * 1000;

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
	return (struct way){d->source, d->tls, d->route};
}

const struct config_route *domain_route(const struct config *config, const struct domain *d)
{
	return config_route_of(config, d->name, d->route);
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
	struct domain *d = mem_new(1, sizeof *d + name.len + way->source.len + way->route.len + 1);
	char *copy = (char *)(d + 1);

	if (name.len)
		memcpy(copy, name.data, name.len);
	if (way->source.len)
		memcpy(copy + name.len, way->source.data, way->source.len);
	d->name = (struct text){copy, name.len};
	d->source = (struct text){copy + name.len, way->source.len};
	copy += name.len + way->source.len;
	if (way->route.len)
		memcpy(copy, way->route.data, way->route.len);
	d->route = (struct text){copy, way->route.len};
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
	const struct config_route *route = domain_route(s->config, d);
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

	name = route_login_site(domain_route(s->config, d), name, login);

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
static bool domain_follow_route(struct scheduler *s, struct domain *d)
{
	const struct config_route *route = domain_route(s->config, d);
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
	    (d->state == DOMAIN_UNKNOWN && d->timed_prev) || domain_follow_route(s, d))
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

void domains_free(struct scheduler *s)
{
	for (size_t i = 0; i < s->domains.size; i++)
		while (s->domains.slots[i]) {
			struct domain *d = ITEM_OF(s->domains.slots[i], struct domain, link);

			d->site = NULL;
			domain_free(s, d);
		}
}
