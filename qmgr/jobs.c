/* SPDX-License-Identifier: ISC */
/* Slots and jobs: the right to a connection, and what travels over it. */
#include "scheduler_private.h"

#include "mem.h"
#include "message.h"
#include "must.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

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
		slot->site->idling++;
		return;
	}
	slot->site->idling--;
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

void slot_wants(struct scheduler *s, struct slot *slot, uint32_t jobs, int64_t now_us)
{
	slot->wants = jobs;
	slot_idle(s, slot, false, now_us);
	if (jobs)
		slot_idle(s, slot, true, now_us);
}

static struct worker *choose_worker(struct scheduler *s, const struct site *site)
{
	size_t n = s->worker_count;
	size_t first = n ? (site->link.hash + site->slots / SPREAD_SLOTS) % n : 0;

	for (size_t i = 0; i < n; i++) {
		struct worker *w = &s->workers[(first + i) % n];

		if (w->channel && w->told && !w->choked && (w->kind == PEER_LOCAL) == site->local)
			return w;
	}
	return NULL;
}

/*
 * A connection that hangs is gone for minutes. So sites that have not answered,
 * or not since they failed, have more than one each only up to a quarter of
 * all, and together leave an eighth to the others; and one that falls silent
 * gets few more until it answers. Sites without any that wait for one come
 * before those that have some. This machine's mailboxes are no stranger, and
 * not silent when a few commands of users take long.
 */
static bool site_may_open(struct scheduler *s, struct site *site)
{
	uint32_t limit = (uint32_t)s->config->limit_deliveries;
	uint32_t left = s->slot_count < limit ? limit - s->slot_count : 0;
	uint32_t part = site->slots ? limit / 4 : limit - limit / 8 - 1;
	bool first = site->hungry_prev && site->hungry == HUNGRY_NONE;
	uint32_t kept = first ? 0 : s->hungry[HUNGRY_NONE].count;
	uint32_t at_once = limit / 4 < FIRST_WINDOW ? limit / 4 : FIRST_WINDOW;
	bool silent = site->slots && site->opened && site->opened >= at_once;
	bool strange = !site->proven && s->strange && s->strange >= part;

	if (!site->local && (silent || strange)) {
		site_hunger(s, site, HUNGRY_STRANGE);
		return false;
	}
	if (left > kept)
		return true;
	site_hunger(s, site, site->slots ? HUNGRY_MORE : HUNGRY_NONE);
	return false;
}

struct slot *slot_new(struct scheduler *s, struct site *site)
{
	struct worker *worker = choose_worker(s, site);
	uint32_t number = s->slot_lowest;

	if (!site_may_open(s, site))
		return NULL;
	if (!worker) { /* a tick tries again */
		site_hunger(s, site, site->slots ? HUNGRY_MORE : HUNGRY_NONE);
		return NULL;
	}
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
	s->strange += !site->proven;
	site->opened++;
	site->slots++;
	worker->slots++;
	return slot;
}

void slot_close(struct scheduler *s, struct slot *slot)
{
	if (slot->closing)
		return;
	slot_wants(s, slot, 0, 0);
	slot->closing = true;
	slot->site->closing++;
	s->closing++;
	s->face.close_slot(s->face.owner, slot);
}

void hungry_wake(struct scheduler *s)
{
	for (int i = 0; i < HUNGRY_LISTS; i++) {
		uint32_t left = s->freed, looks = s->hungry[i].count;

		for (struct site *site = s->hungry[i].first, *next; looks && left; site = next) {
			next = site->hungry_next;
			looks--;
			if (!site->ready || site->down_until_us) {
				site_feed(s, site);
				continue;
			}
			site_pump_later(s, site);
			left--;
			if (i != HUNGRY_STRANGE)
				continue;
			/* It may be one that can have no more before it answers: the next ones'
			 * turn comes first then. */
			site_feed(s, site);
			site_hunger(s, site, HUNGRY_STRANGE);
		}
	}
	s->freed = 0;
}

static void slot_free(struct scheduler *s, struct slot *slot)
{
	struct site *site = slot->site;

	slot_wants(s, slot, 0, 0);
	for (size_t i = 0; slot->jobs && i < s->jobs.size; i++)
		for (struct table_link *l = s->jobs.slots[i]; l; l = l->next)
			if (ITEM_OF(l, struct job, link)->slot == slot)
				ITEM_OF(l, struct job, link)->slot = NULL;
	s->slots[slot->number & SLOT_INDEX] = NULL;
	if ((slot->number & SLOT_INDEX) < s->slot_lowest)
		s->slot_lowest = slot->number & SLOT_INDEX;
	s->closing -= slot->closing;
	site->closing -= slot->closing;
	s->slot_count--;
	s->figures.slots--;
	s->strange -= !site->proven;
	slot->worker->slots--;
	if (!--site->slots) {
		site->opened = 0;
		site_feed(s, site); /* it would have one, no longer one more */
	}
	s->freed++;
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
	struct site *more = s->hungry[HUNGRY_MORE].first;

	if (slot->site->slots - slot->site->closing > slot->site->window)
		return true; /* it is trusted with fewer by now */
	if (s->slot_count < s->config->limit_deliveries)
		return false;
	if (s->hungry[HUNGRY_NONE].count > s->closing)
		return slot->site->slots > 1 || slot->sent >= YIELD_JOBS;
	if (!more || s->hungry[HUNGRY_MORE].count <= s->closing)
		return false;
	if (slot->site->slots > more->slots + 1)
		return true;
	site_feed(s, more); /* perhaps to the next one in the list */
	site_hunger(s, more, HUNGRY_MORE);
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
	slot_wants(s, slot, slot->wants + 1, now_us);
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

struct job *job_make(struct scheduler *s, struct lane *lane)
{
	struct mail *mail = lane->ready->mail;
	uint32_t most = (uint32_t)s->config->limit_recipients, n = 0;
	struct domain *d = lane->domain;
	/* Of very many, those before it were looked at when they were the first: a look at all for
	 * each is quadratic. */
	uint32_t first =
	    mail->recipient_count <= LOOK_BACK_MAX ? 0 : (uint32_t)(lane->ready - mail->recipients);
	uint32_t end =
	    mail->recipient_count - first < LOOK_MAX ? mail->recipient_count : first + LOOK_MAX;

	/* Beside another submitter a turn is as large as every receiver must take (RFC 5321
	 * section 4.5.3.1.8); else as the message between processes allows. */
	bool beside = lane->share->site->ring && lane->share->site->ring->next;
	uint32_t turn = beside ? TURN_RECIPIENTS : 1000;

	/* One after the other in a slot: several slots are faster. */
	if (lane->share->site->local)
		turn = LOCAL_RECIPIENTS;
	if (most > turn)
		most = turn;
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
	site->opened = 0;
	if (site->failures || site->down_until_us)
		s->face.site_up(s->face.owner, site);
	site->failures = 0;
	if (!site->proven) {
		site_prove(s, site, true);
		s->freed += site->slots; /* its connections are no strange ones any more */
	}
	if (!site->down_until_us)
		return;
	site->down_until_us = 0;
	site->grown = 0;
	if (site->ready)
		site_pump_later(s, site);
}

/* A fault of ours is over in a moment, most times; one that stays does not make us turn in a
 * circle. */
static int64_t wait_ours(struct scheduler *s, struct recipient *r)
{
	int64_t wait = (int64_t)OURS_FIRST_US << r->ours, most = scheduler_backoff(s, r->attempts);

	if (r->ours < OURS_DOUBLED_MOST)
		r->ours++;
	return wait < most ? wait : most;
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
	if (scope != SCOPE_NOBODY)
		r->ours = 0;
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
	*due_us =
	    now_us + (scope == SCOPE_NOBODY ? wait_ours(s, r) : scheduler_backoff(s, r->attempts));
	wheel_add(s, r, *due_us);
}

/*
 * Twice as wide a round up to where it failed last, then by one a round; only
 * while it is the window that mail waits for.
 */
static void site_grow(struct site *site)
{
	uint32_t open = site->slots - site->closing;
	uint32_t unused = site->idling + (open < site->window ? site->window - open : 0);

	if (site->window >= site->cap || site->ready <= unused)
		return;
	if (site->window >= site->threshold && ++site->grown < site->window)
		return;
	site->grown = 0;
	site->window++;
}

/* An eighth of each job's time counts, so that one alone says little. */
static void site_clock(struct scheduler *s, struct site *site, int64_t took_us)
{
	site->job_us += (took_us - site->job_us) / 8;
	site_count_soon(s, site);
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

/* Who came back without an outcome, and for whom a person asked for something meanwhile. */
static void grant_wish(struct scheduler *s, struct recipient *r)
{
	static const struct domain_verdict verdicts[] = {
	    [ACTION_HOLD] = {QUEUE_HELD, 0, HELD_BY_WISH_DSN, "held by a person"},
	    [ACTION_DELETE] = {QUEUE_REMOVED, 0, "2.0.0", "deleted by the administrator"},
	    [ACTION_BOUNCE] = {QUEUE_FAILED, 0, "5.7.0", "returned by the administrator"},
	};
	uint8_t wish = r->wish;

	if (wish != ACTION_HOLD && wish != ACTION_DELETE && wish != ACTION_BOUNCE)
		return;
	r->wish = 0;
	scheduler_remove(s, r, wish == ACTION_HOLD ? RECIPIENT_HELD : RECIPIENT_ENDING);
	s->face.end(s->face.owner, r, &verdicts[wish]);
}

static void recipient_back(struct scheduler *s, struct recipient *r)
{
	flying_ends(s, r);
	/* Those of a crash behind the others: they may be its cause. */
	recipient_ready(s, r, !r->crashes);
	if (r->wish)
		grant_wish(s, r);
	else
		hold_crashed(s, r);
}

void scheduler_job_keep(struct scheduler *s, struct job *job, const bool *keep)
{
	uint32_t kept = 0;

	/* From the last on, so that in the lane the first one is the first again. */
	for (uint32_t i = job->count; i-- > 0;)
		if (!keep[i])
			recipient_back(s, job->recipients[i]);
	for (uint32_t i = 0; i < job->count; i++)
		if (keep[i])
			job->recipients[kept++] = job->recipients[i];
	job->count = kept;
}

bool job_may_begin(const struct job *job)
{
	const struct domain *d = job->domain;

	return job->slot && !job->slot->closing && job->worker->channel &&
	       d->state == DOMAIN_KNOWN && strcmp(job->hop, d->hop) == 0;
}

void scheduler_job_done(struct scheduler *s, struct job *job, bool relayed, int64_t now_us)
{
	struct slot *slot = job->slot;

	for (uint32_t i = 0; i < job->count; i++) {
		struct recipient *r = job->recipients[i];

		if (r && r->state == RECIPIENT_FLYING && r->job == job)
			recipient_back(s, r);
	}
	if (slot) {
		slot->jobs--;
		if (relayed) {
			site_clock(s, slot->site, now_us - job->started_us);
			site_grow(slot->site);
		}
		if (slot->site->ready)
			site_pump_later(s, slot->site);
	}
	table_remove(&s->jobs, &job->link);
	free(job->hop);
	free(job);
}

static void site_goes_down(struct scheduler *s, struct site *site, int64_t now_us)
{
	int64_t wait = scheduler_backoff(s, site->failures);

	site_prove(s, site, false);
	site->down_until_us = now_us + wait;
	site->threshold = site->window / 2 > FIRST_WINDOW ? site->window / 2 : FIRST_WINDOW;
	site->window = 1;
	site_time(s, site, true);
	while (site->idle)
		slot_close(s, site->idle);
	s->face.site_down(s->face.owner, site, wait);
}

/*
 * A fault of ours on the way to SITE. Each recipient waits longer each time, but of many there is
 * always one: one that lasts would make connections for nothing without end, and is no different
 * from a site that is down.
 */
static bool ours_lasts(struct site *site, int64_t now_us)
{
	bool rested = !site->failures && now_us - site->ours_us > OURS_REST_US;

	if (rested || site->served_us >= site->ours_since_us) {
		site->ours_since_us = now_us;
		site->ours = 0;
	}
	site->ours_us = now_us;
	return ++site->ours >= OURS_MANY && now_us - site->ours_since_us >= OURS_LONG_US;
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

		d->failed_us = now_us;

		text_copy(v.text, sizeof v.text, reason);
		domain_stop(s, d, DOMAIN_DOWN, now_us + wait, &v);
		return;
	}
	if (!site || site->down_until_us || (scope == SCOPE_NOBODY && !ours_lasts(site, now_us)))
		return;
	text_copy(site->last_error, sizeof site->last_error, reason);
	site->failed_us = now_us;
	bool served = site->served_us && now_us - site->served_us < SERVED_US;

	/* A receiver that takes ten connections refuses all others at once: one failure, not
	 * many. */
	if (served && site->shrunk_us && job->started_us <= site->shrunk_us)
		return;
	/* Others of its connections are served: trust it with fewer, do not give it up. */
	if (served && site->window > 1) {
		site->window /= 2;
		site->threshold = site->window;
		site->grown = 0;
		site->shrunk_us = now_us;
		return;
	}
	site->failures++;
	site_goes_down(s, site, now_us);
}

void scheduler_worker_reads(struct scheduler *s, const struct worker *worker)
{
	for (uint32_t i = 0; i < s->slot_size; i++) {
		struct slot *slot = s->slots[i];

		if (slot && slot->worker == worker && slot->idle_prev && slot->site->ready)
			site_pump_later(s, slot->site);
	}
}

void scheduler_worker_away(struct scheduler *s, struct worker *worker)
{
	for (uint32_t i = 0; i < s->slot_size; i++)
		if (s->slots[i] && s->slots[i]->worker == worker)
			slot_free(s, s->slots[i]);
}

void scheduler_worker_back(struct scheduler *s, struct worker *worker, int64_t now_us)
{
	for (size_t i = 0; i < s->jobs.size; i++)
		for (struct table_link *l = s->jobs.slots[i], *next; l; l = next) {
			struct job *job = ITEM_OF(l, struct job, link);

			next = l->next;
			if (job->worker == worker && !job->told)
				scheduler_job_done(s, job, false, now_us);
			else if (job->worker == worker)
				job->told = false;
		}
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
	scheduler_worker_away(s, worker);
}
