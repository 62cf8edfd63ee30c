/* SPDX-License-Identifier: ISC */
/* The worker: slots, jobs, outcomes, the log, draining. */
#include "worker.h"

#include "delays.h"
#include "mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- tables -------------------------------------------------------------------------- */

static struct job **job_find(struct worker *w, uint64_t number)
{
	struct job **at = &w->jobs[number % PLACES];

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

static struct slot **slot_find(struct worker *w, uint32_t number)
{
	struct slot **at = &w->slots[number % PLACES];

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

static void drain_check(struct worker *w)
{
	if (!w->draining || w->drained || !crew_is_idle(&w->crew) || (w->job_count && w->qmgr))
		return;
	w->drained = true;
	timer_clear(&w->drain_limit);
	daemon_drained(w->daemon, 0);
}

static void slot_end(struct worker *w, struct slot **at, uint64_t unused)
{
	struct slot *s = *at;

	*at = s->next;
	w->slot_count--;
	if (s->job)
		s->job->slot = NULL;
	if (w->qmgr)
		channel_send_slot_done(w->qmgr, &(struct msg_slot_done){s->number, unused});
	free(s);
}

/* -- outcomes ------------------------------------------------------------------------ */

static struct text status_word(unsigned kind)
{
	return text_of(kind == OUTCOME_DELIVERED  ? "sent"
		       : kind == OUTCOME_EXPANDED ? "expanded"
		       : kind == OUTCOME_FAILED	  ? "bounced"
						  : "deferred");
}

static void recipient_log(struct worker *w, const struct job *job, const struct recipient *r)
{
	struct bytes *b = &w->items;
	const struct delays d = {job->arrival, job->active, job->begun, r->sending,
				 loop_wall(w->daemon->loop)};

	b->start = b->end = 0;
	delays_put_total(b, &d);
	size_t len = b->end;

	delays_put(b, &d);
	struct text all = bytes_text(b), total = {all.data, len};
	struct text each = {all.data + len, all.len - len};

	if (r->original.len && !text_equal_case(r->original, r->address))
		LOG(w->daemon->log, delivery_orig, job->id, r->address, r->original,
		    text_of("local"), total, each, text_of(r->result.dsn),
		    status_word(r->result.kind), text_of(r->result.reply));
	else
		LOG(w->daemon->log, delivery, job->id, r->address, text_of("local"), total, each,
		    text_of(r->result.dsn), status_word(r->result.kind), text_of(r->result.reply),
		    text_of("none"), text_of("none"));
}

static void outcome_send(struct worker *w, const struct job *job)
{
	if (!w->qmgr)
		return;
	struct msg_outcome m = job_outcome(job, &w->items);

	channel_send_outcome(w->qmgr, &m);
}

/* Jobs are small, as a rule; when they are not, fewer are here at once. */
static void pace(struct worker *w)
{
	bool full = w->held > (w->paused ? HELD_MAX / 2 : HELD_MAX);

	if (!w->qmgr || full == w->paused)
		return;
	w->paused = full;
	if (full)
		channel_pause(w->qmgr);
	else
		channel_resume(w->qmgr);
}

static uint64_t job_octets(const struct job *job)
{
	return sizeof *job + job->prelude.len + job->body.len;
}

static void job_finish(struct job *job)
{
	struct worker *w = job->worker;
	struct slot *s = job->slot;

	job->finished = true;
	if (job->fd >= 0)
		close(job->fd);
	job->fd = -1;
	w->held -= job_octets(job);
	pace(w);
	outcome_send(w, job);
	if (s) {
		job->slot = NULL;
		s->job = NULL;
		if (s->closing || w->draining)
			slot_end(w, slot_find(w, s->number), 0);
		else if (w->qmgr)
			channel_send_want(w->qmgr, &(struct msg_want){s->number});
	}
	drain_check(w);
}

/* -- recipients ---------------------------------------------------------------------------- */

/* One frame tells qmgr of all of a job: a second large list waits for its next attempt. */
static void bound_additions(struct job *job, struct result *result)
{
	size_t bytes = bytes_len(&result->additions);

	if (bytes <= RESULT_BYTES_MAX - job->added_bytes &&
	    result->added <= RESULT_ADDITIONS_MAX - job->added) {
		job->added_bytes += bytes;
		job->added += result->added;
		return;
	}
	result_free(result);
	result_set(result, OUTCOME_DEFERRED, 0, "4.3.2", "another large list goes first");
}

static void recipient_settle(void *owner, struct recipient *r, struct result *result)
{
	struct job *job = r->job;

	bound_additions(job, result);
	r->result = *result;
	*result = (struct result){0};
	recipient_log(owner, job, r);
	if (--job->open == 0)
		job_finish(job);
}

/* The crew has less to do. */
static void crew_idles(void *owner)
{
	drain_check(owner);
}

static const struct crew_face face = {recipient_settle, crew_idles};

struct worker *worker_new(struct daemon *d)
{
	struct worker *w = mem_new(1, sizeof *w);

	w->daemon = d;
	w->table = lookups_new(d->loop, TABLE_FAILED, TABLE_FAILED, SECONDS(TABLE_WAIT_S));
	crew_init(&w->crew, d, w->table, &face);
	w->inquiries.planner = &w->crew.planner;
	w->inquiries.table = w->table;
	return w;
}

/* -- what qmgr says ------------------------------------------------------------------------ */

/* A body that this process had no descriptor for: another time. */
static void job_defer_all(struct job *job)
{
	for (uint32_t i = 0, count = job->count; i < count; i++) {
		struct result r = {0};

		result_set(&r, OUTCOME_DEFERRED, 0, "4.3.2",
			   "too many open files; it is tried again");
		recipient_settle(job->worker, &job->recipients[i], &r);
	}
}

static struct slot *slot_open(struct worker *w, uint32_t number)
{
	struct slot *s = mem_new(1, sizeof *s);

	s->number = number;
	s->next = w->slots[number % PLACES];
	w->slots[number % PLACES] = s;
	w->slot_count++;
	return s;
}

bool worker_job(struct worker *w, const struct msg_job *m, int fd, bool fd_lost)
{
	struct slot *s = *slot_find(w, m->slot);

	if (w->draining) {
		if (fd >= 0)
			close(fd);
		if (!s)
			channel_send_slot_done(w->qmgr, &(struct msg_slot_done){m->slot, m->job});
		else
			slot_end(w, slot_find(w, m->slot), m->job);
		return true;
	}
	if (*job_find(w, m->job) || w->job_count >= JOBS_MAX || (s && s->job) ||
	    (!s && w->slot_count >= SLOTS_MAX)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	struct msg_job copy = *m;

	if (fd_lost) /* as if it had none */
		copy.body_length = 0;
	struct job *job = job_new(&copy, fd);

	if (!job)
		return false;
	job->worker = w;
	job->config = config_keep(w->daemon->config);
	job->begun = loop_wall(w->daemon->loop);
	job->next = w->jobs[job->number % PLACES];
	w->jobs[job->number % PLACES] = job;
	w->job_count++;
	w->held += job_octets(job);
	pace(w);
	job->slot = s ? s : slot_open(w, m->slot);
	job->slot->job = job;
	if (fd_lost)
		job_defer_all(job);
	else
		for (uint32_t i = 0; i < job->count; i++)
			crew_add(&w->crew, &job->recipients[i]);
	return true;
}

bool worker_recorded(struct worker *w, uint64_t number)
{
	struct job **at = job_find(w, number), *job = *at;

	if (!job || !job->finished)
		return false;
	*at = job->next;
	w->job_count--;
	job_free(&job);
	drain_check(w);
	return true;
}

void worker_slot_close(struct worker *w, uint32_t number)
{
	struct slot **at = slot_find(w, number);

	if (!*at && !w->draining)
		channel_send_slot_done(w->qmgr, &(struct msg_slot_done){number, 0});
	else if (*at && (*at)->job)
		(*at)->closing = true;
	else if (*at)
		slot_end(w, at, 0);
}

/* -- qmgr comes and goes ------------------------------------------------------------------- */

static void tell_new_qmgr(struct worker *w)
{
	uint32_t count = 0;

	for (size_t i = 0; i < PLACES; i++)
		for (const struct job *job = w->jobs[i]; job; job = job->next) {
			if (job->finished)
				continue;
			struct msg_in_flight m = job_in_flight(job, &w->items);

			channel_send_in_flight(w->qmgr, &m);
			count++;
		}
	for (size_t i = 0; i < PLACES; i++)
		for (const struct job *job = w->jobs[i]; job; job = job->next)
			if (job->finished)
				outcome_send(w, job);
	channel_send_in_flight_end(w->qmgr, &(struct msg_in_flight_end){count});
}

void worker_set_qmgr(struct worker *w, struct channel *qmgr)
{
	w->qmgr = NULL;
	for (size_t i = 0; i < PLACES; i++)
		while (w->slots[i]) /* the old one's; what runs goes on to its outcome */
			slot_end(w, &w->slots[i], 0);
	w->qmgr = qmgr;
	w->paused = false;
	if (qmgr)
		tell_new_qmgr(w);
	pace(w);
	drain_check(w);
}

/* -- draining -------------------------------------------------------------------------------- */

/* Children that still run are let be: they see that we are gone before they deliver. */
static void drain_limit(void *arg)
{
	struct worker *w = arg;

	if (w->drained)
		return;
	w->drained = true;
	daemon_drained(w->daemon, w->crew.children);
}

/* Qmgr has the slot's job back, as if it had never been here. */
static void job_return(struct worker *w, struct slot **slot)
{
	struct job *job = (*slot)->job, **at = job_find(w, job->number);

	for (uint32_t i = 0; i < job->count; i++)
		crew_remove(&w->crew, &job->recipients[i]);
	slot_end(w, slot, job->number);
	*at = job->next;
	w->job_count--;
	w->held -= job_octets(job);
	job_free(&job);
}

static bool job_has_begun(const struct job *job)
{
	if (job->open < job->count)
		return true;
	for (uint32_t i = 0; i < job->count; i++)
		if (job->recipients[i].sending.us)
			return true;
	return false;
}

static void slots_drain(struct worker *w, struct slot **at)
{
	while (*at) {
		if (!(*at)->job)
			slot_end(w, at, 0);
		else if (w->qmgr && !job_has_begun((*at)->job))
			job_return(w, at);
		else
			at = &(*at)->next;
	}
}

void worker_drain(struct worker *w, struct duration limit)
{
	w->draining = true;
	timer_init(&w->drain_limit, w->daemon->loop, drain_limit, w);
	timer_set(&w->drain_limit, limit);
	for (size_t i = 0; i < PLACES; i++)
		slots_drain(w, &w->slots[i]);
	drain_check(w);
}
