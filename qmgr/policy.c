/* SPDX-License-Identifier: ISC */
/*
 * MTA-STS policies of domains: fetcher is asked beside the resolver, and a
 * domain is known when both have answered. A fetcher that is there and looks
 * for a policy says so, and has a minute for it (RFC 8461 section 3.3). One that
 * says nothing for some seconds, because it is away or stands still, is not
 * waited for: then counts what it has on disk (section 5.1: what is cached), and
 * a domain that has no policy there goes without, as if none could be fetched.
 */
#include "qmgr.h"

#include "kept.h"
#include "mem.h"
#include "sts.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* Its own limit is a minute; this one is for a fetcher that is lost. */
	PATIENCE_US = 75 * 1000 * 1000,
	SILENT_US = 5 * 1000 * 1000, /* it is away, being started again, or stands still */
	UNKNOWN_S = 60,		     /* a domain without an answer is asked for again */
	/* A question that the resolver never answered is one that nobody has any more. */
	FORGET_US = 400 * 1000 * 1000,
	SAID_S = 3600,
};

/* A domain's question, until both answers are there; the policy's domain may be its relay's. */
struct policy_ask {
	struct table_link link; /* by query */
	uint64_t query;
	int64_t asked_us, until_us;
	bool settled, site_known;
	bool heard;	     /* by fetcher, which is looking for it */
	uint32_t lifetime_s; /* of what is settled or known */
	char *domain, *site, *hop;
	size_t site_len, hop_len;
};

static struct policy_ask *ask_find(const struct qmgr *q, uint64_t query)
{
	struct table_link *link = NULL;

	if (q->policy_asks.size) /* made with the first question */
		link = table_first(&q->policy_asks, table_hash_number(&q->policy_asks, query));
	for (; link; link = table_again(link))
		if (ITEM_OF(link, struct policy_ask, link)->query == query)
			return ITEM_OF(link, struct policy_ask, link);
	return NULL;
}

static void ask_free(struct qmgr *q, struct policy_ask *a)
{
	table_remove(&q->policy_asks, &a->link);
	free(a->domain);
	free(a->site);
	free(a->hop);
	free(a);
}

static void ask_send(struct qmgr *q, struct policy_ask *a)
{
	a->heard = false;
	a->until_us = now_us(q) + SILENT_US;
	if (q->fetcher)
		channel_send_sts_ask(
		    q->fetcher,
		    &(struct msg_sts_ask){.query = a->query, .domain = text_of(a->domain)});
}

static void asks_each(struct qmgr *q, void (*visit)(void *arg, struct table_link *link))
{
	/* An item may go while it is visited; the slots stay. */
	for (size_t i = 0; i < q->policy_asks.size; i++)
		for (struct table_link *l = q->policy_asks.slots[i], *next; l; l = next) {
			next = l->next;
			visit(q, l);
		}
}

void policy_begin(struct qmgr *q, const struct domain *d)
{
	struct policy_ask *a = ask_find(q, d->query);
	const struct config_route *route = domain_route(q->d->config, d);
	struct text domain = route_sts_domain(route, d->name);

	if (a || !route_asks_sts(route))
		return;
	if (!q->policy_asks.size)
		table_init(&q->policy_asks);
	a = mem_new(1, sizeof *a);
	a->query = d->query;
	a->asked_us = now_us(q);
	a->domain = mem_copy(domain.data, domain.len);
	table_add(&q->policy_asks, &a->link, table_hash_number(&q->policy_asks, a->query));
	ask_send(q, a);
}

/* Both are there. */
static void ask_give(struct qmgr *q, struct policy_ask *a)
{
	scheduler_site_is(q->scheduler, a->query, (struct text){a->site, a->site_len},
			  (struct text){a->hop, a->hop_len}, a->lifetime_s, now_us(q));
	ask_free(q, a);
}

static void ask_settle(struct qmgr *q, struct policy_ask *a, uint32_t lifetime_s)
{
	a->settled = true;
	if (!a->site_known || lifetime_s < a->lifetime_s)
		a->lifetime_s = lifetime_s;
	if (a->site_known)
		ask_give(q, a);
}

bool policy_site_is(struct qmgr *q, const struct msg_site_is *m)
{
	struct policy_ask *a = ask_find(q, m->query);

	if (!a) {
		/* By its route it has none, whatever it had before. */
		scheduler_policy_is(q->scheduler, m->query, NULL, 0);
		return false;
	}
	if (m->verdict != HOP_FOUND) {
		ask_free(q, a);
		return false;
	}
	if (a->site_known) /* asked of two resolvers */
		return true;
	a->site_known = true;
	a->site = mem_copy(m->site.data, m->site.len);
	a->hop = mem_copy(m->hop.data, m->hop.len);
	a->site_len = m->site.len;
	a->hop_len = m->hop.len;
	if (!a->settled || m->lifetime_s < a->lifetime_s)
		a->lifetime_s = m->lifetime_s;
	if (a->settled)
		ask_give(q, a);
	return true;
}

/* A policy that fetcher tells; the texts are the message's. */
static struct sts_policy policy_of(const struct msg_sts_is *m)
{
	return (struct sts_policy){.mode = m->mode <= STS_ENFORCE ? m->mode : STS_NONE,
				   .max_age_s = m->max_age_s,
				   .id = m->id,
				   .mx = m->mx};
}

void policy_is(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	const struct msg_sts_is *is = &m->sts_is;
	struct sts_policy policy = policy_of(is);

	kept_forget(q->kept);
	if (route_policy_is(q, is))
		return;
	struct policy_ask *a = ask_find(q, is->query);

	if (!a || a->settled)
		return;
	scheduler_policy_is(q->scheduler, a->query, &policy,
			    now_us(q) + is->left_s * INT64_C(1000000));
	ask_settle(q, a, is->lifetime_s);
}

void policy_heard(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct policy_ask *a = ask_find(q, m->sts_heard.query);

	kept_forget(q->kept);
	if (!a || a->settled || a->heard)
		return;
	a->heard = true;
	a->until_us = now_us(q) + PATIENCE_US;
}

static void ask_again(void *arg, struct table_link *link)
{
	struct policy_ask *a = ITEM_OF(link, struct policy_ask, link);

	if (!a->settled)
		ask_send(arg, a);
}

void policy_fetcher(struct qmgr *q, struct channel *c)
{
	q->fetcher = c;
	asks_each(q, ask_again);
	route_fetcher(q);
}

/* What fetcher has kept decides, as soon as it is read. */
static void ask_settle_by_disk(struct qmgr *q, struct policy_ask *a)
{
	const struct sts_policy *policy;
	int64_t left_s;

	if (!kept_ready(q->kept))
		return;
	policy = kept_find(q->kept, text_of(a->domain), &left_s);
	if (policy)
		scheduler_policy_is(q->scheduler, a->query, policy,
				    now_us(q) + left_s * INT64_C(1000000));
	ask_settle(q, a, UNKNOWN_S);
}

static void fetcher_say(struct qmgr *q)
{
	int64_t now = now_us(q);

	if (q->policy_said_us && now - q->policy_said_us < SECONDS(SAID_S).us)
		return;
	q->policy_said_us = now;
	log_warning(q->d->log,
		    "fetcher %s: of MTA-STS policies count those that are known, here or on disk; "
		    "mail to other domains goes without",
		    q->fetcher ? "does not answer" : "is away");
}

static void ask_look(void *arg, struct table_link *link)
{
	struct policy_ask *a = ITEM_OF(link, struct policy_ask, link);
	struct qmgr *q = arg;
	int64_t now = now_us(q);

	if (a->settled ? now - a->asked_us > FORGET_US : now < a->until_us) {
		if (a->settled)
			ask_free(q, a);
		return;
	}
	fetcher_say(q);
	ask_settle_by_disk(q, a);
}

void policy_tick(struct qmgr *q)
{
	if (q->policy_asks.count)
		asks_each(q, ask_look);
}
