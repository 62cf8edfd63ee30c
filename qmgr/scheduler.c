/* SPDX-License-Identifier: ISC */
/* Who goes next, and when. */
#include "scheduler_private.h"

#include "mem.h"
#include "must.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct scheduler *scheduler_new(const struct scheduler_face *face, struct mails *mails,
				uint64_t seed)
{
	struct scheduler *s = mem_new(1, sizeof *s);

	s->face = *face;
	s->mails = mails;
	s->random = seed | 1;
	s->life = (uint32_t)(seed >> 16);
	/* Jobs of this life are never taken for those of an earlier one. */
	s->next_job = (seed << 32) & INT64_MAX;
	s->flush_at = WHEEL_SLOTS;
	s->newest_idle = &s->oldest_idle;
	s->pump_end = &s->pump;
	s->answers_end = &s->answers;
	for (int i = 0; i < HUNGRY_LISTS; i++)
		s->hungry[i].end = &s->hungry[i].first;
	table_init(&s->domains);
	table_init(&s->lanes);
	table_init(&s->asked);
	table_init(&s->sites);
	table_init(&s->shares);
	table_init(&s->jobs);
	return s;
}

static void jobs_and_slots_free(struct scheduler *s)
{
	for (size_t i = 0; i < s->jobs.size; i++)
		while (s->jobs.slots[i]) {
			struct job *job = ITEM_OF(s->jobs.slots[i], struct job, link);

			table_remove(&s->jobs, &job->link);
			free(job->hop);
			free(job);
		}
	for (uint32_t i = 0; i < s->slot_size; i++)
		if (s->slots[i]) {
			free(s->slots[i]->hop);
			free(s->slots[i]);
		}
}

void scheduler_free(struct scheduler **s)
{
	if (!*s)
		return;
	jobs_and_slots_free(*s);
	answers_free(*s);
	lanes_free(*s);
	table_free(&(*s)->domains);
	table_free(&(*s)->lanes);
	table_free(&(*s)->asked);
	table_free(&(*s)->sites);
	table_free(&(*s)->shares);
	table_free(&(*s)->jobs);
	config_drop(&(*s)->config);
	free((*s)->slots);
	free(*s);
	*s = NULL;
}

/* xorshift64*: for jitter and for choosing among equals, never for secrets. */
uint64_t scheduler_random(struct scheduler *s)
{
	s->random ^= s->random >> 12;
	s->random ^= s->random << 25;
	s->random ^= s->random >> 27;
	return s->random * 0x2545f4914f6cdd1du;
}

int64_t scheduler_backoff(struct scheduler *s, uint32_t n)
{
	int64_t first = s->config->retry_first.us, longest = s->config->retry_longest.us;
	int64_t wait = first;

	for (uint32_t i = 1; i < n && wait < longest; i++)
		wait *= 2;
	if (wait > longest)
		wait = longest;
	/* A quarter to both sides, so that what failed together does not come back together. */
	return wait - wait / 4 + (int64_t)(scheduler_random(s) % (uint64_t)(wait / 2 + 1));
}

static void domain_forget_route(void *arg, struct table_link *link)
{
	struct domain *d = ITEM_OF(link, struct domain, link);

	d->until_us = 0;
	/* A site that is down serves nobody: what waits there may have another way now. */
	bool waits = d->state == DOMAIN_KNOWN && d->lane_count && d->site->down_until_us;

	if (d->state != DOMAIN_ASKED && !waits)
		return;
	/* What is asked for follows the old route: its answer must not count. */
	domain_unplace(arg, d);
	if (d->lane_count)
		domain_ask(arg, d);
	else
		domain_collect(arg, d);
}

void scheduler_configure(struct scheduler *s, const struct config *config)
{
	struct config *old = s->config;

	s->config = config_keep(config);
	config_drop(&old);
	for (size_t at = 0; table_slice(&s->domains, &at, domain_forget_route, s);)
		;
	sites_configure(s);
	for (size_t i = 0; i < config->source_count; i++)
		mails_know_source(s->mails, config->sources[i].label);
	for (size_t i = 0; i < config->pool_count; i++)
		mails_know_source(s->mails, config->pools[i].label);
	for (size_t i = 0; i < config->route_count; i++)
		if (route_is_named(&config->routes[i]))
			mails_know_source(s->mails, config->routes[i].label);
}

void scheduler_set_workers(struct scheduler *s, struct worker *workers, size_t count)
{
	s->workers = workers;
	s->worker_count = count;
}

void scheduler_allow(struct scheduler *s, bool allow)
{
	s->allowed = allow;
}

/* -- recipients come and go --------------------------------------------------- */

void recipient_ready(struct scheduler *s, struct recipient *r, bool front)
{
	struct domain *d = r->lane->domain;

	lane_push(s, r->lane, r, front);
	if (d->state != DOMAIN_UNKNOWN)
		return;
	d->asked_for = r->mail->id;
	domain_ask(s, d);
}

/* Before the first tick too, what is added must lie ahead of the wheel. */
static void wheel_begin(struct scheduler *s, int64_t now_us)
{
	if (s->ticked)
		return;
	s->ticked = true;
	s->wheel_at = now_us / 1000000 - 1;
}

void scheduler_add(struct scheduler *s, struct recipient *r, struct text domain, int64_t due_us,
		   int64_t now_us)
{
	struct way way = way_of(s, r->mail, domain);
	struct domain *d = domain_get(s, domain, &way);

	r->lane = lane_get(s, d, r->mail->submitter);
	r->lane->count++;
	wheel_begin(s, now_us);
	if (due_us > now_us)
		wheel_add(s, r, due_us);
	else
		recipient_ready(s, r, false);
}

void scheduler_remove(struct scheduler *s, struct recipient *r, enum recipient_state state)
{
	struct lane *lane = r->lane;

	must(r->state == RECIPIENT_READY || r->state == RECIPIENT_WAITING);
	if (r->state == RECIPIENT_READY)
		lane_take(s, r);
	else
		wheel_take(s, r);
	r->state = (uint8_t)state;
	r->lane = NULL;
	lane_drop(s, lane);
}

void scheduler_hurry(struct scheduler *s, struct recipient *r, int64_t now_us)
{
	(void)now_us;
	if (r->state != RECIPIENT_WAITING || r->releasing)
		return;
	wheel_take(s, r);
	recipient_ready(s, r, false);
}

/* -- where domains go ------------------------------------------------------------ */

struct domain *scheduler_asked(const struct scheduler *s, uint64_t query)
{
	struct table_link *link = table_first(&s->asked, table_hash_number(&s->asked, query));

	for (; link; link = table_again(link))
		if (ITEM_OF(link, struct domain, asked)->query == query)
			return ITEM_OF(link, struct domain, asked);
	return NULL;
}

/* An answer that says it is good for no time at all would be asked for without end. */
static int64_t lifetime_us(uint32_t seconds)
{
	if (seconds < LIFETIME_LEAST_S)
		seconds = LIFETIME_LEAST_S;
	if (seconds > LIFETIME_MOST_S)
		seconds = LIFETIME_MOST_S;
	return (int64_t)seconds * 1000000;
}

void domain_answer(struct scheduler *s, uint64_t query, struct text site, struct text hop,
		   uint32_t lifetime_s, int64_t now_us)
{
	struct domain *d = scheduler_asked(s, query);

	if (!d)
		return;
	if (d->sts && d->sts_until_us <= now_us)
		domain_policy(d, NULL, 0);
	domain_place(s, d, site, hop);
	d->until_us = now_us + lifetime_us(lifetime_s);
	domain_collect(s, d);
}

void scheduler_policy_is(struct scheduler *s, uint64_t query, const struct sts_policy *policy,
			 int64_t until_us)
{
	struct domain *d = scheduler_asked(s, query);

	if (d)
		domain_policy(d, policy, until_us);
}

void scheduler_site_is(struct scheduler *s, uint64_t query, struct text site, struct text hop,
		       uint32_t lifetime_s, int64_t now_us)
{
	struct domain *d = scheduler_asked(s, query);

	if (!d || answer_waits(s, d, site, hop, lifetime_s, now_us))
		return;
	uint64_t mail = d->asked_for;

	domain_answer(s, query, site, hop, lifetime_s, now_us);
	answers_after(s, mail, now_us);
}

void scheduler_no_site(struct scheduler *s, uint64_t query, bool permanent, uint16_t code,
		       struct text dsn, struct text reason, uint32_t lifetime_s, int64_t now_us)
{
	struct domain *d = scheduler_asked(s, query);
	struct domain_verdict v = {.kind = QUEUE_FAILED, .code = code};

	if (!d)
		return;
	text_copy(v.dsn, sizeof v.dsn, dsn);
	text_copy(v.text, sizeof v.text, reason);
	uint64_t mail = d->asked_for;

	if (permanent) {
		domain_stop(s, d, DOMAIN_ENDING, now_us + lifetime_us(lifetime_s), &v);
		answers_after(s, mail, now_us);
		return;
	}
	d->failed_us = now_us;
	int64_t wait = scheduler_backoff(s, ++d->lookup_failures);
	unsigned doubled = d->lookup_failures < 10 ? d->lookup_failures - 1 : 9;

	/* A name server that failed once is often well again at once. */
	if (wait > (int64_t)LOOKUP_FIRST_US << doubled)
		wait = (int64_t)LOOKUP_FIRST_US << doubled;
	domain_stop(s, d, DOMAIN_DOWN, now_us + wait, &v);
	answers_after(s, mail, now_us);
	if (s->face.domain_down)
		s->face.domain_down(s->face.owner, d, wait);
}

void domain_set_policy(struct domain *d, struct text words, bool names_domain)
{
	free(d->policy);
	d->policy = words.len ? mem_copy(words.data, words.len) : NULL;
	d->policy_names_domain = names_domain;
}

void scheduler_ask_again(struct scheduler *s)
{
	for (size_t i = 0; i < s->asked.size; i++)
		for (struct table_link *l = s->asked.slots[i]; l; l = l->next)
			s->face.ask(s->face.owner, ITEM_OF(l, struct domain, asked));
}

/* -- the pump -------------------------------------------------------------------------- */

/* A token bucket that holds a second's worth: what was not used is not saved up. */
static bool site_rate_allows(struct scheduler *s, struct site *site, int64_t now_us)
{
	if (!site->rate || site->next_send_us <= now_us)
		return true;
	site_time(s, site, true);
	return false;
}

static void site_rate_spend(struct site *site, int64_t now_us)
{
	if (!site->rate)
		return;
	int64_t gap = 60 * 1000000 / (int64_t)site->rate, burst = gap > 1000000 ? 0 : 1000000;

	if (site->next_send_us < now_us - burst)
		site->next_send_us = now_us - burst;
	site->next_send_us += gap;
}

/* A waiting connection to that hop, else any waiting one, else a new one. */
static struct slot *site_slot(struct scheduler *s, struct site *site, const char *hop)
{
	struct slot *slot = site->idle, *other = NULL;

	for (unsigned i = 0; slot; slot = slot->idle_next, i++) {
		if (slot->worker->choked)
			continue;
		if (i < 16 && strcmp(slot->hop, hop) == 0)
			return slot;
		if (!other)
			other = slot;
		if (i >= 16)
			break;
	}
	struct slot *fresh = site->slots < site->window ? slot_new(s, site) : NULL;

	/* One that is at its window, or has what it can use, waits for no more. */
	if (fresh || other || site->slots >= site->window)
		site_feed(s, site);
	return fresh ? fresh : other;
}

/* The next lane of the site in turn. What it leaves behind goes to the end of its share, that to
 * the ring's. */
static void site_rotate(struct lane *lane)
{
	struct share *share = lane->share;

	if (lane->share_prev && lane->share_next) {
		*lane->share_prev = lane->share_next;
		lane->share_next->share_prev = lane->share_prev;
		lane->share_next = NULL;
		lane->share_prev = share->lanes_end;
		*share->lanes_end = lane;
		share->lanes_end = &lane->share_next;
	}
	if (share->prev && share->next) {
		*share->prev = share->next;
		share->next->prev = share->prev;
		share->next = NULL;
		share->prev = share->site->ring_end;
		*share->site->ring_end = share;
		share->site->ring_end = &share->next;
	}
}

/* Since a reload, its first recipient's mail goes another way: it goes into that lane. */
static bool lane_has_moved(struct scheduler *s, struct lane *lane)
{
	struct domain *d = lane->domain;

	struct recipient *r = lane->ready;

	if (!s->config->source_count && !d->source.len && !d->route.len && !r->mail->route)
		return false;
	struct way now = domain_way(d), way = way_of(s, r->mail, d->name);

	if (way_equal(&now, &way))
		return false;
	lane_take(s, r);
	r->lane = lane_get(s, domain_get(s, d->name, &way), r->mail->submitter);
	r->lane->count++;
	recipient_ready(s, r, false);
	lane_drop(s, lane);
	return true;
}

/* Starts one job for the site; false when there is nothing to do or no way to do it now. */
static bool site_serve(struct scheduler *s, struct site *site, int64_t now_us)
{
	struct lane *lane = site->ring ? site->ring->lanes : NULL;

	if (!lane || site->down_until_us)
		return false;
	if (lane->domain->until_us <= now_us) {
		lane->domain->asked_for = lane->ready->mail->id;
		domain_ask(s, lane->domain);
		return true;
	}
	if (lane_has_moved(s, lane))
		return true;
	struct slot *slot =
	    site_rate_allows(s, site, now_us) ? site_slot(s, site, lane->domain->hop) : NULL;

	if (!slot)
		return false;
	site_rate_spend(site, now_us);
	/* A new one's first job was not asked for. */
	slot_wants(s, slot, slot->wants ? slot->wants - 1 : 0, now_us);
	site_rotate(lane);
	struct job *job = job_make(s, lane);

	if (!slot->hop || strcmp(slot->hop, lane->domain->hop) != 0) {
		free(slot->hop);
		slot->hop = mem_copy(lane->domain->hop, strlen(lane->domain->hop));
	}
	job->slot = slot;
	job->hop = mem_copy(slot->hop, strlen(slot->hop));
	job->worker = slot->worker;
	job->started_us = now_us;
	slot->jobs++;
	slot->sent++;
	s->face.start(s->face.owner, job);
	return true;
}

bool scheduler_pump(struct scheduler *s, int64_t now_us, unsigned budget)
{
	answers_due(s, now_us);
	hungry_wake(s);
	while (s->allowed && s->pump && budget) {
		struct site *site = s->pump;

		/* Out of the list first: what it does may put it in again, or free it. */
		site_pump_not(s, site);
		site->shares++; /* keeps it */
		unsigned turn = budget < TURN_JOBS ? budget : TURN_JOBS;

		while (turn && site_serve(s, site, now_us)) {
			turn--;
			budget--;
		}
		bool more = !turn && site->ring && !site->down_until_us;

		site->shares--;
		if (!site_collect(s, site) && more)
			site_pump_later(s, site);
	}
	/* Connections that found nothing to do make room for sites that found none. */
	while (s->oldest_idle && !s->pump && s->slot_count >= s->config->limit_deliveries &&
	       s->hungry[HUNGRY_NONE].count + s->hungry[HUNGRY_MORE].count > s->closing)
		slot_close(s, s->oldest_idle);
	return s->allowed && s->pump;
}

/* -- time -------------------------------------------------------------------------------- */

static void site_wake(struct scheduler *s, struct site *site, int64_t now_us)
{
	if (site->down_until_us > now_us || site->next_send_us > now_us)
		return;
	site_time(s, site, false);
	if (site->down_until_us) {
		site->down_until_us = 0;
		site->grown = 0;
	}
	if (!site_collect(s, site))
		site_pump_later(s, site);
}

/* Those with a rate are few, and each tick is for them. Those that are down may be as many as a
 * list of dead addresses has receivers: a part of them in a tick, and none much too late. */
static void sites_wake(struct scheduler *s, int64_t now_us)
{
	for (struct site *site = s->paced, *next; site; site = next) {
		next = site->timed_next;
		site_wake(s, site, now_us);
	}
	if (!s->down_at)
		s->down_at = s->down;
	struct site *site;

	for (unsigned looks = WAKE_MAX; (site = s->down_at) && looks; looks--) {
		s->down_at = site->timed_next;
		site_wake(s, site, now_us);
	}
}

static void domains_wake(struct scheduler *s, int64_t now_us)
{
	unsigned budget = END_MAX, looks = WAKE_MAX;

	if (!s->timed_at)
		s->timed_at = s->timed_domains;
	for (struct domain *d; (d = s->timed_at) && looks; looks--) {
		s->timed_at = d->timed_next;
		if (d->until_us > now_us) {
			if (d->state == DOMAIN_ENDING)
				domain_end_some(s, d, &budget);
			continue;
		}
		domain_unplace(s, d);
		if (d->lane_count)
			domain_ask(s, d);
		else
			domain_collect(s, d);
	}
}

struct sweep {
	struct scheduler *s;
	int64_t now_us;
};

static void sweep_domain(void *arg, struct table_link *link)
{
	struct sweep *sweep = arg;

	domain_sweep(sweep->s, ITEM_OF(link, struct domain, link), sweep->now_us);
}

void scheduler_tick(struct scheduler *s, int64_t now_us)
{
	wheel_begin(s, now_us);
	wheel_turn(s, now_us);
	(void)wheel_flush_some(s);
	sites_wake(s, now_us);
	domains_wake(s, now_us);
	answers_due(s, now_us);
	/* Once a tick for all that are free, whoever freed them: a worker that came, a reload with
	 * a higher limit, or sites that were woken in vain leave free ones that nobody is woken
	 * for. */
	if (s->slot_count < s->config->limit_deliveries)
		s->freed = (uint32_t)s->config->limit_deliveries - s->slot_count;
	while (s->oldest_idle && s->oldest_idle->idle_since_us + IDLE_US <= now_us)
		slot_close(s, s->oldest_idle);
	for (int i = 0; i < 64; i++)
		if (!table_slice(&s->domains, &s->sweep_at, sweep_domain,
				 &(struct sweep){s, now_us}))
			s->sweep_at = 0;
}

uint32_t scheduler_flush(struct scheduler *s, int64_t now_us)
{
	uint32_t count = 0;

	for (struct site *site = s->down; site; site = site->timed_next)
		if (site->down_until_us) {
			site->down_until_us = now_us;
			count += site->ready;
		}
	for (struct domain *d = s->timed_domains; d; d = d->timed_next)
		if (d->state == DOMAIN_DOWN)
			d->until_us = now_us;
	count += (uint32_t)s->figures.waiting;
	wheel_flush(s);
	return count - wheel_flush_some(s);
}

void scheduler_flush_of(struct scheduler *s, struct recipient *r, int64_t now_us)
{
	struct domain *d = r->lane ? r->lane->domain : NULL;

	(void)s;
	if (!d)
		return;
	if (d->state == DOMAIN_DOWN)
		d->until_us = now_us;
	if (d->site && d->site->down_until_us)
		d->site->down_until_us = now_us;
}

/* -- looking at it ------------------------------------------------------------------------- */

struct scheduler_figures scheduler_figures(const struct scheduler *s)
{
	return s->figures;
}

static uint64_t site_weight(const struct site *site)
{
	return (uint64_t)site->ready + site->waiting + site->flying;
}

size_t scheduler_top(const struct scheduler *s, const struct site **to, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < s->sites.size; i++)
		for (struct table_link *l = s->sites.slots[i]; l; l = l->next) {
			const struct site *site = ITEM_OF(l, struct site, link);
			size_t at = n < max ? n++ : max;

			for (; at > 0 && site_weight(to[at - 1]) < site_weight(site); at--)
				if (at < max)
					to[at] = to[at - 1];
			if (at < max)
				to[at] = site;
		}
	return n;
}

size_t scheduler_down_domains(const struct scheduler *s, const struct domain **to, size_t max)
{
	size_t n = 0;

	for (const struct domain *d = s->timed_domains; d && n < max; d = d->timed_next)
		if (d->lane_count && d->verdict)
			to[n++] = d;
	return n;
}

const struct domain *scheduler_domain(const struct scheduler *s, struct text name,
				      const struct domain *last)
{
	struct table_link *link =
	    last ? table_again((struct table_link *)(uintptr_t)&last->link)
		 : table_first(&s->domains, table_hash_text(&s->domains, name));
	for (; link; link = table_again(link))
		if (text_equal(ITEM_OF(link, struct domain, link)->name, name))
			return ITEM_OF(link, struct domain, link);
	return NULL;
}

uint32_t domain_recipients(const struct domain *d)
{
	uint32_t count = 0;

	for (const struct lane *lane = d->lanes; lane; lane = lane->next)
		count += lane->count;
	return count;
}

struct text scheduler_reason(const struct recipient *r)
{
	if (!r->lane)
		return (struct text){NULL, 0};
	const struct domain *d = r->lane->domain;

	if (d->verdict)
		return text_of(d->verdict->text);
	return d->site && d->site->failures ? text_of(d->site->last_error) : (struct text){NULL, 0};
}

int64_t scheduler_failed_us(const struct recipient *r)
{
	if (!scheduler_reason(r).len)
		return 0;
	const struct domain *d = r->lane->domain;

	return d->verdict ? d->failed_us : d->site->failed_us;
}
