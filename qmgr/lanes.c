/* SPDX-License-Identifier: ISC */
/*
 * The scheduler's structure below its domains: lanes, shares and sites, made
 * when first needed and gone with their last recipient.
 */
#include "scheduler_private.h"

#include "mem.h"
#include "must.h"
#include "route_login.h"
#include "way.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { LOCAL_JOBS_EACH = 128, LOCAL_JOBS_MAX = 1280 };

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

static void site_time_not(struct scheduler *s, struct site *site)
{
	if (s->down_at == site)
		s->down_at = site->timed_next;
	*site->timed_prev = site->timed_next;
	if (site->timed_next)
		site->timed_next->timed_prev = site->timed_prev;
	site->timed_next = NULL;
	site->timed_prev = NULL;
}

void site_time(struct scheduler *s, struct site *site, bool timed)
{
	bool down = site->down_until_us != 0;

	if (timed && site->timed_prev && site->timed_down == down)
		return;
	if (site->timed_prev)
		site_time_not(s, site);
	if (!timed)
		return;
	struct site **list = down ? &s->down : &s->paced;

	site->timed_down = down;
	site->timed_next = *list;
	site->timed_prev = list;
	if (*list)
		(*list)->timed_prev = &site->timed_next;
	*list = site;
}

/* One of local's children can have several letters: more than it has children shall wait there. */
static uint32_t local_jobs(const struct config *config)
{
	uint32_t children = (uint32_t)config->local_deliveries;
	uint32_t jobs = children * LOCAL_JOBS_EACH;

	return jobs < LOCAL_JOBS_MAX ? jobs : LOCAL_JOBS_MAX;
}

struct site_limits site_limits(const struct config *config, struct text name)
{
	struct site_limits limits = {(uint32_t)config->limit_site_connections, 0};

	if (text_equals(name, LOCAL_SITE))
		return (struct site_limits){local_jobs(config), 0};
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

struct site *site_get(struct scheduler *s, struct text name)
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
	/* Nothing of this machine has to be felt out: the children bound what is done at once, and
	 * a few letters that take long leave the next one of its own. */
	site->window = site->local ? UINT32_MAX : FIRST_WINDOW;
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

void lane_leave_share(struct scheduler *s, struct lane *lane)
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

void lane_join_share(struct scheduler *s, struct lane *lane, struct site *site)
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
	domains_free(s);
	sites_free(s);
}
