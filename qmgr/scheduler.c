/* SPDX-License-Identifier: ISC */
/* Who goes next: slots, jobs, windows and back-off. */
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
	s->newest_idle = &s->oldest_idle;
	s->pump_end = &s->pump;
	for (int i = 0; i < 2; i++)
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
	if (d->state != DOMAIN_ASKED)
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
	if (d->state == DOMAIN_UNKNOWN)
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
	struct domain *d = domain_get(s, domain);

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
	if (r->state != RECIPIENT_WAITING)
		return;
	wheel_take(s, r);
	recipient_ready(s, r, false);
}

/* -- where domains go ------------------------------------------------------------ */

static struct domain *domain_asked(struct scheduler *s, uint64_t query)
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

void scheduler_site_is(struct scheduler *s, uint64_t query, struct text site, struct text hop,
		       uint32_t lifetime_s, int64_t now_us)
{
	struct domain *d = domain_asked(s, query);

	if (!d)
		return;
	domain_place(s, d, site, hop);
	d->until_us = now_us + lifetime_us(lifetime_s);
	domain_collect(s, d);
}

void scheduler_no_site(struct scheduler *s, uint64_t query, bool permanent, uint16_t code,
		       struct text dsn, struct text reason, uint32_t lifetime_s, int64_t now_us)
{
	struct domain *d = domain_asked(s, query);
	struct domain_verdict v = {.kind = QUEUE_FAILED, .code = code};

	if (!d)
		return;
	text_copy(v.dsn, sizeof v.dsn, dsn);
	text_copy(v.text, sizeof v.text, reason);
	if (permanent) {
		domain_stop(s, d, DOMAIN_ENDING, now_us + lifetime_us(lifetime_s), &v);
		return;
	}
	int64_t wait = scheduler_backoff(s, ++d->lookup_failures);

	domain_stop(s, d, DOMAIN_DOWN, now_us + wait, &v);
}

void scheduler_ask_again(struct scheduler *s)
{
	for (size_t i = 0; i < s->asked.size; i++)
		for (struct table_link *l = s->asked.slots[i]; l; l = l->next)
			s->face.ask(s->face.owner, ITEM_OF(l, struct domain, asked));
}

/* -- slots -------------------------------------------------------------------------- */

struct slot *scheduler_slot(const struct scheduler *s, uint32_t number)
{
	uint32_t at = number & SLOT_INDEX;
	struct slot *slot = at < s->slot_size ? s->slots[at] : NULL;

	return slot && slot->number == number ? slot : NULL;
}

static void slot_idle(struct scheduler *s, struct slot *slot, bool idle, int64_t now_us)
{
	if (idle == (slot->idle_prev != NULL))
		return;
	if (idle) {
		struct slot **head = &slot->site->idle;

		slot->idle_next = *head;
		slot->idle_prev = head;
		if (*head)
			(*head)->idle_prev = &slot->idle_next;
		*head = slot;
		slot->age_next = NULL;
		slot->age_prev = s->newest_idle;
		*s->newest_idle = slot;
		s->newest_idle = &slot->age_next;
		slot->idle_since_us = now_us;
		return;
	}
	*slot->idle_prev = slot->idle_next;
	if (slot->idle_next)
		slot->idle_next->idle_prev = slot->idle_prev;
	*slot->age_prev = slot->age_next;
	if (slot->age_next)
		slot->age_next->age_prev = slot->age_prev;
	else
		s->newest_idle = slot->age_prev;
	slot->idle_next = slot->age_next = NULL;
	slot->idle_prev = slot->age_prev = NULL;
}

static struct worker *choose_worker(struct scheduler *s, const struct site *site)
{
	size_t n = s->worker_count;
	size_t first = n ? (site->link.hash + site->slots / SPREAD_SLOTS) % n : 0;

	for (size_t i = 0; i < n; i++) {
		struct worker *w = &s->workers[(first + i) % n];

		if (w->channel && w->told)
			return w;
	}
	return NULL;
}

static struct slot *slot_new(struct scheduler *s, struct site *site)
{
	struct worker *worker = choose_worker(s, site);
	uint32_t number = s->slot_lowest;

	if (!worker || s->slot_count >= s->config->limit_deliveries)
		return NULL;
	while (number < s->slot_size && s->slots[number])
		number++;
	if (number == s->slot_size) {
		uint32_t size = s->slot_size ? s->slot_size * 2 : 64;

		s->slots = mem_resize(s->slots, size, sizeof(struct slot *));
		for (uint32_t i = s->slot_size; i < size; i++)
			s->slots[i] = NULL;
		s->slot_size = size;
	}
	struct slot *slot = mem_new(1, sizeof *slot);

	/* What a worker still says of the slot that had this place before is not taken for this
	 * one's. */
	s->life += SLOT_INDEX + 1;
	slot->number = number | (s->life & ~(uint32_t)SLOT_INDEX);
	slot->site = site;
	slot->worker = worker;
	s->slots[number] = slot;
	s->slot_lowest = number + 1;
	s->slot_count++;
	s->figures.slots++;
	site->slots++;
	worker->slots++;
	return slot;
}

static void slot_close(struct scheduler *s, struct slot *slot)
{
	if (slot->closing)
		return;
	slot_idle(s, slot, false, 0);
	slot->closing = true;
	s->closing++;
	s->face.close_slot(s->face.owner, slot);
}

/* Sites without a connection are served next, before others grow. */
static void hungry_wake(struct scheduler *s, uint64_t count)
{
	struct site *site;

	for (; (site = s->hungry[0].first ? s->hungry[0].first : s->hungry[1].first) && count;
	     count--) {
		site_feed(s, site);
		site_pump_later(s, site);
	}
}

static void slot_free(struct scheduler *s, struct slot *slot)
{
	struct site *site = slot->site;

	slot_idle(s, slot, false, 0);
	for (size_t i = 0; slot->jobs && i < s->jobs.size; i++)
		for (struct table_link *l = s->jobs.slots[i]; l; l = l->next)
			if (ITEM_OF(l, struct job, link)->slot == slot)
				ITEM_OF(l, struct job, link)->slot = NULL;
	s->slots[slot->number & SLOT_INDEX] = NULL;
	if ((slot->number & SLOT_INDEX) < s->slot_lowest)
		s->slot_lowest = slot->number & SLOT_INDEX;
	s->closing -= slot->closing;
	s->slot_count--;
	s->figures.slots--;
	slot->worker->slots--;
	site->slots--;
	hungry_wake(s, 1);
	if (site->ready)
		site_pump_later(s, site);
	free(slot->hop);
	free(slot);
	site_collect(s, site);
}

void scheduler_slot_done(struct scheduler *s, struct slot *slot)
{
	slot_free(s, slot);
}

/*
 * All connections are taken: to a site without any, one gives that has
 * several, or had its one for long; to a site that would have more, one with
 * two more.
 */
static bool slot_yields(struct scheduler *s, const struct slot *slot)
{
	struct site *more = s->hungry[1].first;

	if (s->slot_count < s->config->limit_deliveries)
		return false;
	if (s->hungry[0].count > s->closing)
		return slot->site->slots > 1 || slot->sent >= YIELD_JOBS;
	if (!more || s->hungry[1].count <= s->closing)
		return false;
	if (slot->site->slots > more->slots + 1)
		return true;
	site_feed(s, more); /* perhaps to the next one in the list */
	site_hunger(s, more);
	return false;
}

void scheduler_want(struct scheduler *s, struct slot *slot, int64_t now_us)
{
	if (slot->closing)
		return;
	if (slot_yields(s, slot)) {
		slot_close(s, slot);
		return;
	}
	slot_idle(s, slot, true, now_us);
	if (slot->site->ready)
		site_pump_later(s, slot->site);
}

/* -- jobs ------------------------------------------------------------------------------ */

struct job *scheduler_job(const struct scheduler *s, uint64_t id)
{
	struct table_link *link = table_first(&s->jobs, table_hash_number(&s->jobs, id));

	for (; link; link = table_again(link))
		if (ITEM_OF(link, struct job, link)->id == id)
			return ITEM_OF(link, struct job, link);
	return NULL;
}

static struct job *job_new(struct scheduler *s, uint64_t id, struct mail *mail, uint32_t room)
{
	struct job *job = mem_new(1, sizeof *job + room * sizeof(struct recipient *));

	job->id = id;
	job->mail = mail;
	table_add(&s->jobs, &job->link, table_hash_number(&s->jobs, id));
	return job;
}

static void job_take(struct scheduler *s, struct job *job, struct recipient *r)
{
	if (r->state == RECIPIENT_READY)
		lane_take(s, r);
	else
		wheel_take(s, r);
	r->state = RECIPIENT_FLYING;
	r->job = job;
	job->recipients[job->count++] = r;
	s->figures.flying++;
	domain_flies(r->lane->domain, true);
}

/* May R travel with the first one: the same connection, and the same site's permission? */
static bool same_transaction(const struct recipient *r, const struct domain *d)
{
	const struct domain *other = r->state == RECIPIENT_READY ? r->lane->domain : NULL;

	return other && (other == d || (other->state == DOMAIN_KNOWN && other->site == d->site &&
					strcmp(other->hop, d->hop) == 0 && other->how == d->how &&
					other->port == d->port));
}

static struct job *job_make(struct scheduler *s, struct lane *lane)
{
	struct mail *mail = lane->ready->mail;
	uint32_t most = (uint32_t)s->config->limit_recipients, n = 0;
	struct domain *d = lane->domain;
	/* Those before it were looked at when they were the first; a look at all for each is
	 * quadratic. */
	uint32_t first = (uint32_t)(lane->ready - mail->recipients);
	uint32_t end =
	    mail->recipient_count - first < LOOK_MAX ? mail->recipient_count : first + LOOK_MAX;

	if (most > 1000)
		most = 1000; /* of the message between processes */
	for (uint32_t i = first; i < end && n < most; i++)
		n += same_transaction(&mail->recipients[i], d);
	struct job *job = job_new(s, ++s->next_job, mail, n);

	job->domain = d;
	for (uint32_t i = first; i < end && job->count < n; i++)
		if (same_transaction(&mail->recipients[i], d))
			job_take(s, job, &mail->recipients[i]);
	return job;
}

struct job *scheduler_adopt(struct scheduler *s, struct worker *worker, uint64_t id,
			    struct mail *mail, const uint32_t *numbers, uint32_t count)
{
	struct job *job;

	if (scheduler_job(s, id))
		return NULL;
	job = job_new(s, id, mail, count);
	job->worker = worker;
	for (uint32_t i = 0; i < count; i++) {
		struct recipient *r = mail_recipient(mail, numbers[i]);

		if (r && (r->state == RECIPIENT_READY || r->state == RECIPIENT_WAITING))
			job_take(s, job, r);
	}
	if (job->count) {
		job->domain = job->recipients[0]->lane->domain;
		return job;
	}
	table_remove(&s->jobs, &job->link);
	free(job);
	return NULL;
}

static void flying_ends(struct scheduler *s, struct recipient *r)
{
	must(r->state == RECIPIENT_FLYING);
	s->figures.flying--;
	domain_flies(r->lane->domain, false);
}

/* It answers for single messages, be it with a refusal: there is somebody. */
static void site_answers(struct scheduler *s, struct site *site, int64_t now_us)
{
	site->served_us = now_us;
	if (site->failures || site->down_until_us)
		s->face.site_up(s->face.owner, site);
	site->failures = 0;
	site_prove(s, site, true);
	if (!site->down_until_us)
		return;
	site->down_until_us = 0;
	site->grown = 0;
	if (site->ready)
		site_pump_later(s, site);
}

void scheduler_outcome(struct scheduler *s, struct recipient *r, enum outcome_kind kind,
		       enum failure_scope scope, int64_t now_us, int64_t *due_us)
{
	struct lane *lane = r->lane;
	bool taken = kind == OUTCOME_RELAYED || kind == OUTCOME_DELIVERED;

	must(r->state == RECIPIENT_FLYING);
	if (kind != OUTCOME_HELD && scope != SCOPE_SITE && scope != SCOPE_DOMAIN &&
	    !r->job->failed) {
		lane->domain->failures = 0;
		if (r->job->slot)
			site_answers(s, r->job->slot->site, now_us);
	}
	flying_ends(s, r);
	r->crashes = 0;
	if (kind != OUTCOME_DEFERRED) {
		if (taken && lane->domain->site)
			lane->domain->site->relayed++;
		r->state = RECIPIENT_ENDING;
		r->lane = NULL;
		lane_drop(s, lane);
		return;
	}
	if (scope == SCOPE_SITE || scope == SCOPE_DOMAIN) {
		/* Behind the others: one that fails again and again must not hold them up. */
		recipient_ready(s, r, false);
		return;
	}
	*due_us = now_us + scheduler_backoff(s, r->attempts);
	wheel_add(s, r, *due_us);
}

static void site_grow(struct site *site)
{
	if (++site->grown < site->window || site->window >= site->cap)
		return;
	site->grown = 0;
	site->window++;
}

static void hold_crashed(struct scheduler *s, struct recipient *r)
{
	static const struct domain_verdict v = {
	    QUEUE_HELD, 0, "4.3.0", "was in flight at three crashes of the delivering process"};

	if (r->crashes < CRASHES_MAX)
		return;
	r->crashes = 0; /* a person who releases it gives it three more */
	scheduler_remove(s, r, RECIPIENT_HELD);
	s->face.end(s->face.owner, r, &v);
}

void scheduler_job_done(struct scheduler *s, struct job *job, bool relayed, int64_t now_us)
{
	(void)now_us;
	struct slot *slot = job->slot;

	for (uint32_t i = 0; i < job->count; i++) {
		struct recipient *r = job->recipients[i];

		if (!r || r->state != RECIPIENT_FLYING || r->job != job)
			continue;
		flying_ends(s, r);
		/* Those of a crash behind the others: they may be its cause. */
		recipient_ready(s, r, !r->crashes);
		hold_crashed(s, r);
	}
	if (slot) {
		slot->jobs--;
		if (relayed)
			site_grow(slot->site);
		if (slot->site->ready)
			site_pump_later(s, slot->site);
	}
	table_remove(&s->jobs, &job->link);
	free(job);
}

static void site_goes_down(struct scheduler *s, struct site *site, int64_t now_us)
{
	int64_t wait = scheduler_backoff(s, site->failures);

	site_prove(s, site, false);
	site->down_until_us = now_us + wait;
	site->window = 1;
	site_time(s, site, true);
	while (site->idle)
		slot_close(s, site->idle);
	s->face.site_down(s->face.owner, site, wait);
}

void scheduler_failed(struct scheduler *s, struct job *job, enum failure_scope scope,
		      struct text reason, int64_t now_us)
{
	struct domain *d = job->domain;
	struct site *site = job->slot ? job->slot->site : d->site;

	job->failed = true;
	if (scope == SCOPE_DOMAIN) {
		/* Jobs that were under way together fail together: that is one failure. */
		if (d->state == DOMAIN_DOWN || d->state == DOMAIN_ENDING)
			return;
		struct domain_verdict v = {.kind = QUEUE_DEFERRED};
		int64_t wait = scheduler_backoff(s, ++d->failures);

		text_copy(v.text, sizeof v.text, reason);
		domain_stop(s, d, DOMAIN_DOWN, now_us + wait, &v);
		return;
	}
	if (!site || site->down_until_us)
		return;
	text_copy(site->last_error, sizeof site->last_error, reason);
	/* Others of its connections are served: trust it with fewer, do not give it up. */
	if (site->window > 1 && site->served_us && now_us - site->served_us < SERVED_US) {
		site->window /= 2;
		site->grown = 0;
		return;
	}
	site->failures++;
	site_goes_down(s, site, now_us);
}

void scheduler_worker_died(struct scheduler *s, struct worker *worker, int64_t now_us)
{
	for (size_t i = 0; i < s->jobs.size; i++)
		for (struct table_link *l = s->jobs.slots[i], *next; l; l = next) {
			struct job *job = ITEM_OF(l, struct job, link);

			next = l->next;
			if (job->worker != worker)
				continue;
			for (uint32_t k = 0; k < job->count; k++)
				if (job->recipients[k] &&
				    job->recipients[k]->state == RECIPIENT_FLYING &&
				    job->recipients[k]->job == job)
					job->recipients[k]->crashes++;
			scheduler_job_done(s, job, false, now_us);
		}
	for (uint32_t i = 0; i < s->slot_size; i++)
		if (s->slots[i] && s->slots[i]->worker == worker)
			slot_free(s, s->slots[i]);
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
	struct slot *slot = site->idle;

	for (unsigned i = 0; slot && i < 16 && strcmp(slot->hop, hop) != 0; i++)
		slot = slot->idle_next;
	if (!slot)
		slot = site->idle;
	if (slot && strcmp(slot->hop, hop) == 0)
		return slot;
	struct slot *fresh = site->slots < site->window ? slot_new(s, site) : NULL;

	if (fresh || slot)
		return fresh ? fresh : slot;
	if (site->slots < site->window)
		site_hunger(s, site);
	return NULL;
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

/* Starts one job for the site; false when there is nothing to do or no way to do it now. */
static bool site_serve(struct scheduler *s, struct site *site, int64_t now_us)
{
	struct lane *lane = site->ring ? site->ring->lanes : NULL;

	if (!lane || site->down_until_us)
		return false;
	if (lane->domain->until_us <= now_us) {
		domain_ask(s, lane->domain);
		return true;
	}
	struct slot *slot =
	    site_rate_allows(s, site, now_us) ? site_slot(s, site, lane->domain->hop) : NULL;

	if (!slot)
		return false;
	site_rate_spend(site, now_us);
	slot_idle(s, slot, false, now_us);
	site_rotate(lane);
	struct job *job = job_make(s, lane);

	if (!slot->hop || strcmp(slot->hop, lane->domain->hop) != 0) {
		free(slot->hop);
		slot->hop = mem_copy(lane->domain->hop, strlen(lane->domain->hop));
	}
	job->slot = slot;
	job->worker = slot->worker;
	slot->jobs++;
	slot->sent++;
	s->face.start(s->face.owner, job);
	return true;
}

bool scheduler_pump(struct scheduler *s, int64_t now_us, unsigned budget)
{
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
	       s->hungry[0].count + s->hungry[1].count > s->closing)
		slot_close(s, s->oldest_idle);
	return s->allowed && s->pump;
}

/* -- time -------------------------------------------------------------------------------- */

static void sites_wake(struct scheduler *s, int64_t now_us)
{
	for (struct site *site = s->timed, *next; site; site = next) {
		next = site->timed_next;
		if (site->down_until_us > now_us || site->next_send_us > now_us)
			continue;
		site_time(s, site, false);
		if (site->down_until_us) {
			site->down_until_us = 0;
			site->grown = 0;
		}
		if (!site_collect(s, site))
			site_pump_later(s, site);
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
	sites_wake(s, now_us);
	domains_wake(s, now_us);
	if (s->slot_count < s->config->limit_deliveries)
		hungry_wake(s, s->config->limit_deliveries - s->slot_count);
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

	for (struct site *site = s->timed; site; site = site->timed_next)
		if (site->down_until_us) {
			site->down_until_us = now_us;
			count += site->ready;
		}
	for (struct domain *d = s->timed_domains; d; d = d->timed_next)
		if (d->state == DOMAIN_DOWN)
			d->until_us = now_us;
	for (size_t i = 0; i < WHEEL_SLOTS; i++)
		while (s->wheel[i]) {
			scheduler_hurry(s, s->wheel[i], now_us);
			count++;
		}
	return count;
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

struct text scheduler_reason(const struct recipient *r)
{
	if (!r->lane)
		return (struct text){NULL, 0};
	const struct domain *d = r->lane->domain;

	if (d->verdict)
		return text_of(d->verdict->text);
	return d->site && d->site->failures ? text_of(d->site->last_error) : (struct text){NULL, 0};
}
