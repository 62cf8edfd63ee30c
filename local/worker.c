/* SPDX-License-Identifier: ISC */
/* The worker: slots, jobs, outcomes, the log, draining. */
#include "worker.h"

#include "delays.h"
#include "mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AGAIN_MS = 1000 }; /* there was no process to be had */

static void job_advance(struct job *job);
static void run_waiting(void *arg);

struct worker *worker_new(struct daemon *d)
{
	struct worker *w = mem_new(1, sizeof *w);

	w->daemon = d;
	w->planner.aliases.log = d->log;
	w->planner.virtuals.log = d->log;
	w->planner.unprivileged = d->unprivileged;
	w->waiting_end = &w->waiting;
	timer_init(&w->again, d->loop, run_waiting, w);
	return w;
}

/* -- tables -------------------------------------------------------------------------- */

static struct job **job_find(struct worker *w, uint64_t number)
{
	struct job **at = &w->jobs;

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

static struct slot **slot_find(struct worker *w, uint32_t number)
{
	struct slot **at = &w->slots;

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

static void drain_check(struct worker *w)
{
	if (!w->draining || w->drained || w->children || w->waiting || (w->job_count && w->qmgr))
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
	const struct delays d = {job->arrival, job->active, job->begun, job->sending,
				 loop_wall(w->daemon->loop)};

	b->start = b->end = 0;
	delays_put_total(b, &d);
	size_t len = b->end;

	delays_put(b, &d);
	const char *text = (const char *)b->data;

	if (r->original.len && !text_equal_case(r->original, r->address))
		LOG(w->daemon->log, delivery_orig, job->id, r->address, r->original,
		    text_of("local"), {text, len}, {text + len, b->end - len},
		    text_of(r->result.dsn), status_word(r->result.kind), text_of(r->result.reply));
	else
		LOG(w->daemon->log, delivery, job->id, r->address, text_of("local"), {text, len},
		    {text + len, b->end - len}, text_of(r->result.dsn), status_word(r->result.kind),
		    text_of(r->result.reply), text_of("none"), text_of("none"));
}

static void outcome_send(struct worker *w, const struct job *job)
{
	if (!w->qmgr)
		return;
	struct msg_outcome m = job_outcome(job, &w->items);

	channel_send_outcome(w->qmgr, &m);
}

static void job_finish(struct job *job)
{
	struct worker *w = job->worker;
	struct slot *s = job->slot;

	job->finished = true;
	if (job->fd >= 0)
		close(job->fd);
	job->fd = -1;
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

/* -- recipients, one after the other ----------------------------------------------------- */

/* One frame tells qmgr of all of a job: a second large list waits for its next attempt. */
static void bound_additions(const struct job *job, struct result *result)
{
	size_t bytes = bytes_len(&result->additions);
	uint32_t count = result->added;

	for (uint32_t i = 0; i < job->at; i++) {
		bytes += bytes_len(&job->recipients[i].result.additions);
		count += job->recipients[i].result.added;
	}
	if (bytes <= RESULT_BYTES_MAX && count <= RESULT_ADDITIONS_MAX)
		return;
	result_free(result);
	result_set(result, OUTCOME_DEFERRED, 0, "4.3.2", "another large list goes first");
}

static void recipient_settle(struct job *job, struct result *result)
{
	struct recipient *r = &job->recipients[job->at];

	bound_additions(job, result);

	r->result = *result;
	*result = (struct result){0};
	r->settled = true;
	recipient_log(job->worker, job, r);
	job->at++;
}

static void child_done(void *owner, struct result *result)
{
	struct job *job = owner;
	struct worker *w = job->worker;

	w->children--;
	recipient_settle(job, result);
	job_advance(job);
	run_waiting(w);
}

static void job_wait(struct job *job)
{
	struct worker *w = job->worker;

	job->waiting = true;
	job->next_waiting = NULL;
	*w->waiting_end = job;
	w->waiting_end = &job->next_waiting;
}

/* False: it must wait for a process. */
static bool recipient_begin(struct job *job)
{
	struct worker *w = job->worker;
	struct recipient *r = &job->recipients[job->at];
	struct result result = {0};

	if (w->children >= job->config->local_deliveries)
		return false;
	struct order *order = plan_recipient(&w->planner, job, r, &result);

	if (!order) {
		recipient_settle(job, &result);
		return true;
	}
	job->sending = loop_wall(w->daemon->loop);
	if (child_start(&job->child, w->daemon->loop, order, child_done, job)) {
		w->children++;
	} else if (w->children) {
		free(order);
		return false;
	} else {
		/* Nothing will end and free what is missing: it is told as it is. */
		result_set(&result, OUTCOME_DEFERRED, 0, "4.3.2", "no process for it: %s",
			   strerror(errno));
		recipient_settle(job, &result);
	}
	free(order);
	return true;
}

static void job_advance(struct job *job)
{
	while (job->at < job->count) {
		if (!recipient_begin(job)) {
			job_wait(job);
			return;
		}
		if (job->child.runs)
			return;
	}
	job_finish(job);
}

static void run_waiting(void *arg)
{
	struct worker *w = arg;

	while (w->waiting && w->children < w->daemon->config->local_deliveries) {
		struct job *job = w->waiting;
		uint64_t before = w->children;

		w->waiting = job->next_waiting;
		if (!w->waiting)
			w->waiting_end = &w->waiting;
		job->waiting = false;
		job_advance(job);
		if (w->waiting && job->waiting && w->children == before)
			break;
	}
	if (w->waiting && !timer_is_set(&w->again))
		timer_set(&w->again, MILLISECONDS(AGAIN_MS));
}

/* -- what qmgr says ------------------------------------------------------------------------ */

/* A body that this process had no descriptor for: another time. */
static void job_defer_all(struct job *job)
{
	while (job->at < job->count) {
		struct result r = {0};

		result_set(&r, OUTCOME_DEFERRED, 0, "4.3.2",
			   "too many open files; it is tried again");
		recipient_settle(job, &r);
	}
}

static struct slot *slot_open(struct worker *w, uint32_t number)
{
	struct slot *s = mem_new(1, sizeof *s);

	s->number = number;
	s->next = w->slots;
	w->slots = s;
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
	job->next = w->jobs;
	w->jobs = job;
	w->job_count++;
	job->slot = s ? s : slot_open(w, m->slot);
	job->slot->job = job;
	if (fd_lost)
		job_defer_all(job);
	job_advance(job);
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

	for (const struct job *job = w->jobs; job; job = job->next) {
		if (job->finished)
			continue;
		struct msg_in_flight m = job_in_flight(job, &w->items);

		channel_send_in_flight(w->qmgr, &m);
		count++;
	}
	for (const struct job *job = w->jobs; job; job = job->next)
		if (job->finished)
			outcome_send(w, job);
	channel_send_in_flight_end(w->qmgr, &(struct msg_in_flight_end){count});
}

void worker_set_qmgr(struct worker *w, struct channel *qmgr)
{
	w->qmgr = NULL;
	while (w->slots) /* they were the old one's; what runs goes on to its outcome */
		slot_end(w, &w->slots, 0);
	w->qmgr = qmgr;
	if (qmgr)
		tell_new_qmgr(w);
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
	daemon_drained(w->daemon, (uint32_t)w->children);
}

void worker_drain(struct worker *w, struct duration limit)
{
	struct slot **at = &w->slots;

	w->draining = true;
	timer_init(&w->drain_limit, w->daemon->loop, drain_limit, w);
	timer_set(&w->drain_limit, limit);
	while (*at) {
		if ((*at)->job)
			at = &(*at)->next;
		else
			slot_end(w, at, 0);
	}
	drain_check(w);
}
