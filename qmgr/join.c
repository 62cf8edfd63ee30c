/* SPDX-License-Identifier: ISC */
/*
 * A domain is known when all have answered who were asked about it: resolver
 * (site and hop), and table, where TLS policies stand in one. An answer that
 * comes first waits here. One whose route is gone is not known before there is such a route. A join
 * lives until all are there, or until the scheduler does not wait for the domain any more.
 */
#include "qmgr.h"

#include "mem.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
	JOIN_SITE = 1,
	JOIN_TABLE = 2,
	/* A table is seen without a reload, so what it said is asked for again that often. */
	TABLE_LIFETIME_S = 60,
	TABLE_WAIT_S = 10,
};

struct join {
	struct table_link link; /* by query */
	struct qmgr *q;
	uint64_t query;	    /* the scheduler's */
	unsigned waits;	    /* for JOIN_x */
	struct bytes frame; /* site_is, encoded */
	struct policy_find *find;
	bool broken; /* the table, or what it says of the domain */
	bool lost;   /* the route that its senders chose */
	char why[300];
};

static void join_free(struct join *j)
{
	policy_find_cancel(&j->find);
	table_remove(&j->q->joins, &j->link);
	bytes_free(&j->frame);
	free(j);
}

static struct join *join_of(const struct qmgr *q, uint64_t query)
{
	struct table_link *link = table_first(&q->joins, table_hash_number(&q->joins, query));

	for (; link; link = table_again(link))
		if (ITEM_OF(link, struct join, link)->query == query)
			return ITEM_OF(link, struct join, link);
	return NULL;
}

/* Without its policy no mail goes to a domain: it might be one that is never to be sent in the
 * clear. What resolver says is final is so all the same. */
static void join_settle(struct join *j)
{
	struct message m;
	bool fine = message_decode(bytes_at(&j->frame), bytes_len(&j->frame), MSG_site_is, &m);

	if (fine && j->broken && m.site_is.verdict == HOP_FOUND) {
		m.site_is.verdict = HOP_TEMPORARY;
		m.site_is.code = 451;
		m.site_is.dsn = text_of("4.3.5");
		m.site_is.reason = text_of(j->why);
	}
	if (fine && m.site_is.lifetime_s > TABLE_LIFETIME_S)
		m.site_is.lifetime_s = TABLE_LIFETIME_S;
	if (fine)
		delivery_site_settle(j->q, &m.site_is);
	join_free(j);
}

static void join_came(struct join *j, unsigned what)
{
	j->waits &= ~what;
	if (!j->waits)
		join_settle(j);
}

static void table_said(void *arg, const struct policy_found *found)
{
	struct join *j = arg;
	struct domain *d = scheduler_asked(j->q->scheduler, j->query);

	j->find = NULL;
	if (!d) {
		join_free(j);
		return;
	}
	j->broken = found->verdict == TABLE_FAILED;
	if (j->broken)
		snprintf(j->why, sizeof j->why, "tls-policies: %.*s: %s",
			 (int)(found->key.len < 100 ? found->key.len : 100), found->key.data,
			 found->why);
	domain_set_policy(d, found->verdict == TABLE_FOUND ? found->words : (struct text){NULL, 0},
			  found->names_domain);
	join_came(j, JOIN_TABLE);
}

void join_begin(struct qmgr *q, const struct domain *d)
{
	const struct config_route *route = domain_route(q->d->config, d);
	bool lost = route_is_lost(route), table = policy_has_table(q->d->config, route);

	if (join_of(q, d->query))
		return; /* resolver is asked again */
	if (!table && !lost) {
		struct domain *asked = scheduler_asked(q->scheduler, d->query);

		if (asked)
			domain_set_policy(asked, (struct text){NULL, 0}, false);
		return;
	}
	struct join *j = mem_new(1, sizeof *j);

	j->q = q;
	j->query = d->query;
	j->lost = lost;
	j->waits = JOIN_SITE | JOIN_TABLE;
	table_add(&q->joins, &j->link, table_hash_number(&q->joins, j->query));
	/* It may be answered from within, and then has no site yet: the join stays. */
	if (table)
		j->find =
		    policy_find_start(q->lookups, q->d->config, route, d->name, table_said, j);
}

bool join_site_is(struct qmgr *q, const struct msg_site_is *m)
{
	struct join *j = join_of(q, m->query);

	if (!j)
		return false;
	if (!scheduler_asked(q->scheduler, m->query)) {
		join_free(j);
		return true;
	}
	j->frame.start = j->frame.end = 0;
	message_encode(&j->frame, MSG_site_is, m);
	join_came(j, JOIN_SITE);
	return true;
}

/* The scheduler must not be answered from within its question, and nobody else need be asked. */
static void join_lost(struct join *j)
{
	const struct domain *d = scheduler_asked(j->q->scheduler, j->query);
	char why[100];

	snprintf(why, sizeof why, "there is no route %.*s, by which its sender had it go",
		 (int)d->route.len, d->route.data);
	scheduler_no_site(j->q->scheduler, j->query, false, 451, text_of("4.3.5"), text_of(why),
			  TABLE_LIFETIME_S, now_us(j->q));
	join_free(j);
}

void joins_tick(struct qmgr *q)
{
	for (size_t i = 0; i < q->joins.size; i++)
		for (struct table_link *l = q->joins.slots[i], *next; l; l = next) {
			struct join *j = ITEM_OF(l, struct join, link);

			next = l->next;
			if (!scheduler_asked(q->scheduler, j->query))
				join_free(j);
			else if (j->lost)
				join_lost(j);
		}
}

void joins_init(struct qmgr *q)
{
	table_init(&q->joins);
	q->lookups = lookups_new(q->loop, TABLE_FAILED, TABLE_FAILED, SECONDS(TABLE_WAIT_S));
}

void joins_free(struct qmgr *q)
{
	for (size_t i = 0; i < q->joins.size; i++)
		while (q->joins.slots[i])
			join_free(ITEM_OF(q->joins.slots[i], struct join, link));
	table_free(&q->joins);
	lookups_free(&q->lookups);
}

void join_looked_up(struct channel *c, const struct message *m)
{
	lookups_serve(qmgr_of(c)->lookups, m->looked_up.query, m->looked_up.verdict,
		      m->looked_up.value);
}
