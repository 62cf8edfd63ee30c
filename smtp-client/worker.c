/* SPDX-License-Identifier: ISC */
/* The worker: tables of slots and jobs, outcomes, the log, draining. */
#include "worker.h"

#include "delays.h"
#include "file.h"
#include "mem.h"
#include "must.h"
#include "probe.h"
#include "results.h"
#include "slot.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CERTIFICATES_WAIT_S = 3 }; /* less than qmgr waits for those who do not tell */

static void certificates_late(void *arg);

struct worker *worker_new(struct daemon *d)
{
	struct worker *w = mem_new(1, sizeof *w);

	w->daemon = d;
	w->hosts = hosts_new(d->loop);
	w->logins = logins_new();
	w->failures = failures_new();
	w->results = results_new(d->loop, d->log);
	w->tls = tls_client_new(d->log);
	timer_init(&w->certificates, d->loop, certificates_late, w);
	return w;
}

void worker_trust(struct worker *w, int fd)
{
	struct bytes pem = {0};

	if (!file_take(fd, AUTHORITIES_BYTES_MAX, &pem))
		log_error(w->daemon->log, "tls-authorities: the file cannot be read");
	else if (w->tls && !tls_client_trust(w->tls, bytes_text(&pem)))
		log_error(w->daemon->log, "tls-authorities: the file holds no certificates");
	bytes_free(&pem);
}

void worker_ask_socket(struct worker *w, struct text path)
{
	channel_send_socket_ask(w->daemon->master, &(struct msg_socket_ask){path});
}

void worker_socket(struct worker *w, const struct msg_handle *m, int fd)
{
	for (struct slot *s = w->slots; s; s = s->next)
		if (slot_awaits_socket(s, m->name)) {
			slot_socket(s, fd, m->index);
			return;
		}
	close(fd); /* its time was up */
}

/* -- tables ------------------------------------------------------------------------ */

static struct slot **slot_bucket(struct worker *w, uint32_t number)
{
	return &w->slot_buckets[number % TABLE_BUCKETS];
}

static struct slot *slot_find(struct worker *w, uint32_t number)
{
	struct slot *s = *slot_bucket(w, number);

	while (s && s->number != number)
		s = s->hash_next;
	return s;
}

static void slot_hide(struct worker *w, struct slot *s)
{
	struct slot **at = slot_bucket(w, s->number);

	if (!s->known)
		return;
	while (*at != s)
		at = &(*at)->hash_next;
	*at = s->hash_next;
	s->known = false;
}

static struct slot *slot_open(struct worker *w, uint32_t number)
{
	struct slot *s = slot_new(w, number);
	struct slot **bucket = slot_bucket(w, number);

	s->hash_next = *bucket;
	*bucket = s;
	s->next = w->slots;
	s->prev = &w->slots;
	if (s->next)
		s->next->prev = &s->next;
	w->slots = s;
	w->slot_count++;
	return s;
}

static struct job **job_bucket(struct worker *w, uint64_t number)
{
	return &w->job_buckets[number % TABLE_BUCKETS];
}

static struct job *job_find(struct worker *w, uint64_t number)
{
	struct job *job = *job_bucket(w, number);

	while (job && job->number != number)
		job = job->hash_next;
	return job;
}

static void job_add(struct worker *w, struct job *job)
{
	struct job **bucket = job_bucket(w, job->number);

	job->hash_next = *bucket;
	*bucket = job;
	w->job_count++;
}

void worker_forget_job(struct worker *w, struct job *job)
{
	struct job **at = job_bucket(w, job->number);

	while (*at != job)
		at = &(*at)->hash_next;
	*at = job->hash_next;
	w->job_count--;
	job_free(&job);
}

/* -- the log -------------------------------------------------------------------------- */

static struct text status_word(unsigned kind)
{
	static const struct text sent = TEXT("sent"), deferred = TEXT("deferred"),
				 bounced = TEXT("bounced");

	if (kind == OUTCOME_RELAYED || kind == OUTCOME_DELIVERED)
		return sent;
	return kind == OUTCOME_FAILED ? bounced : deferred;
}

static void job_log(struct worker *w, const struct job *job)
{
	struct bytes *b = &w->items;

	const struct delays d = {job->arrival, job->active, job->begun, job->sending, job->done};

	b->start = b->end = 0;
	delays_put_total(b, &d);
	size_t delay_len = b->end;

	delays_put(b, &d);
	const char *text = (const char *)b->data;

	for (uint32_t i = 0; i < job->recipient_count; i++) {
		const struct recipient *r = &job->recipients[i];

		const struct text values[] = {
		    r->address,	       job->relay,
		    {text, delay_len}, {text + delay_len, b->end - delay_len},
		    text_of(r->dsn),   status_word(r->kind),
		    job_reply(job, r), job->tls,
		    job->policy,       job->source_name};
		bool from = job->source_name.len > 0 && !job->unsourced;

		log_event(w->daemon->log, from ? EVENT_delivery_from : EVENT_delivery, job->id,
			  values, from ? 10 : 9);
	}
}

/* -- outcomes ---------------------------------------------------------------------------- */

static void outcome_send(struct worker *w, const struct job *job)
{
	if (!w->qmgr)
		return;
	struct msg_outcome m = job_outcome(job, &w->items);

	channel_send_outcome(w->qmgr, &m);
}

void worker_finish_job(struct worker *w, struct job *job)
{
	job->done = loop_wall(w->daemon->loop);
	job->finished = true;
	job->content.len = 0;
	if (job->fd >= 0)
		close(job->fd);
	job->fd = -1;
	outcome_send(w, job);
	job_log(w, job);
}

static void drain_check(struct worker *w)
{
	if (!w->draining || w->drained || w->slot_count || (w->job_count && w->qmgr))
		return;
	w->drained = true;
	timer_clear(&w->drain_limit);
	timer_clear(&w->dot_limit);
	results_send(w->results);
	daemon_drained(w->daemon, w->cut);
}

bool worker_recorded(struct worker *w, uint64_t number)
{
	struct job *job = job_find(w, number);

	if (!job || !job->finished)
		return false;
	worker_forget_job(w, job);
	drain_check(w);
	return true;
}

/* -- slots and jobs ------------------------------------------------------------------------ */

static void bury_slots(void *arg)
{
	struct worker *w = arg;

	while (w->dead) {
		struct slot *s = w->dead;

		w->dead = s->next;
		slot_free(s);
	}
	drain_check(w);
}

void worker_slot_ended(struct worker *w, struct slot *s)
{
	if (s->known && w->qmgr)
		channel_send_slot_done(w->qmgr, &(struct msg_slot_done){s->number, 0});
	slot_hide(w, s);
	*s->prev = s->next;
	if (s->next)
		s->next->prev = s->prev;
	s->prev = NULL;
	s->next = w->dead;
	w->dead = s;
	w->slot_count--;
	turn_end_schedule(&w->bury, w->daemon->loop, bury_slots, w);
}

/* While draining nothing new is begun: the slot goes back with its job. */
static void hand_back(struct worker *w, const struct msg_job *m, int fd)
{
	if (fd >= 0)
		close(fd);
	if (!slot_find(w, m->slot))
		channel_send_slot_done(w->qmgr, &(struct msg_slot_done){m->slot, m->job});
}

bool worker_job(struct worker *w, const struct msg_job *m, int fd, bool fd_lost)
{
	struct slot *s = slot_find(w, m->slot);

	/* One ahead of a slot that drains goes back from there. */
	if (w->draining && !s) {
		hand_back(w, m, fd);
		return true;
	}
	if (job_find(w, m->job) || w->job_count >= JOBS_MAX || (!s && w->slot_count >= SLOTS_MAX)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	struct job *job = job_new(m, fd, fd_lost);

	if (!job)
		return false;
	job_set_config(job, w->daemon->config);
	job_add(w, job);
	if (!s)
		s = slot_open(w, m->slot);
	if (slot_take_job(s, job))
		return true;
	worker_forget_job(w, job);
	return false;
}

void worker_slot_close(struct worker *w, uint32_t number)
{
	struct slot *s = slot_find(w, number);

	/* A slot whose first job never came, or one that ended because we stop: it is qmgr's
	 * already. */
	if (!s && !w->draining)
		channel_send_slot_done(w->qmgr, &(struct msg_slot_done){number, 0});
	if (!s)
		return;
	if (!s->closing)
		slot_close(s);
}

/* -- qmgr comes and goes --------------------------------------------------------------------- */

/*
 * Slots were the old qmgr's. What runs, or is on its way, goes on to its outcome and ends
 * there; what waits was never begun, and a new qmgr will schedule it.
 */
static void orphan_slots(struct worker *w)
{
	struct slot *next;

	for (struct slot *s = w->slots; s; s = next) {
		next = s->next;
		slot_hide(w, s);
		slot_forget_ahead(s);
		if (!s->closing)
			slot_close(s);
	}
}

static void tell_job(struct worker *w, const struct job *job, uint32_t *count)
{
	struct msg_in_flight m = job_in_flight(job, &w->items);

	channel_send_in_flight(w->qmgr, &m);
	++*count;
}

/* The end comes last: with it qmgr begins to schedule, and must know by then what is settled. */
static void tell_new_qmgr(struct worker *w)
{
	uint32_t count = 0;

	for (const struct slot *s = w->slots; s; s = s->next) {
		if (s->job)
			tell_job(w, s->job, &count);
		for (uint8_t i = 0; i < s->sent; i++)
			tell_job(w, s->ahead[i], &count);
	}
	for (size_t i = 0; i < TABLE_BUCKETS; i++)
		for (const struct job *job = w->job_buckets[i]; job; job = job->hash_next)
			if (job->finished)
				outcome_send(w, job);
	channel_send_in_flight_end(w->qmgr, &(struct msg_in_flight_end){count});
}

/* Jobs come when it has been told. */
static void tell_now(struct worker *w)
{
	bool tell = w->telling && w->qmgr;

	timer_clear(&w->certificates);
	w->telling = false;
	if (tell)
		tell_new_qmgr(w);
}

static void certificates_late(void *arg)
{
	tell_now(arg);
}

void worker_has_certificates(struct worker *w)
{
	tell_now(w);
}

void worker_set_keeper(struct worker *w, struct channel *keeper)
{
	w->keeper = keeper;
	if (w->tls)
		tls_client_keeper(w->tls, keeper);
}

/* At the start what a route shows may not be here yet, and its mail would fail for that alone. */
void worker_set_qmgr(struct worker *w, struct channel *qmgr)
{
	bool wait = w->daemon->config && w->daemon->config->shown_count && w->tls &&
		    !tls_client_is_told(w->tls);

	w->qmgr = NULL;
	probes_end(w);
	orphan_slots(w);
	w->qmgr = qmgr;
	w->telling = qmgr != NULL;
	if (qmgr && wait)
		timer_set(&w->certificates, SECONDS(CERTIFICATES_WAIT_S));
	else
		tell_now(w);
	drain_check(w);
}

/* -- draining -------------------------------------------------------------------------------- */

static void cut_slots(struct worker *w, bool past_dot)
{
	struct slot *next;

	for (struct slot *s = w->slots; s; s = next) {
		next = s->next;
		if (slot_cut(s, past_dot))
			w->cut++;
	}
}

static void drain_limit(void *arg)
{
	cut_slots(arg, false);
}

static void dot_limit(void *arg)
{
	struct worker *w = arg;

	cut_slots(w, true);
	if (w->drained)
		return;
	/* What qmgr has not recorded by now it will hear of as in flight at a crash. */
	w->drained = true;
	results_send(w->results);
	daemon_drained(w->daemon, w->cut);
}

void worker_drain(struct worker *w, struct duration limit)
{
	struct duration first = w->daemon->config->timeout_drain;
	struct slot *next;

	w->draining = true;
	timer_init(&w->drain_limit, w->daemon->loop, drain_limit, w);
	timer_init(&w->dot_limit, w->daemon->loop, dot_limit, w);
	timer_set(&w->drain_limit, first.us < limit.us ? first : limit);
	timer_set(&w->dot_limit, limit);
	for (struct slot *s = w->slots; s; s = next) {
		next = s->next;
		if (!s->closing)
			slot_close(s);
	}
	drain_check(w);
}
