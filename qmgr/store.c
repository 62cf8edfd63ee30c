/* SPDX-License-Identifier: ISC */
/*
 * Rounds of the queue. While the appender writes one batch, the next one
 * fills: one fdatasync serves all the messages that arrived while the last
 * one ran, and a lone client waits for its own sync and no timer.
 */
#include "qmgr.h"

#include "disk.h"
#include "mem.h"
#include "must.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LOAD_SLICE = 2000, /* messages handed over in a turn while loading */
	LATE_MAX = 20000,  /* outcomes without room before deliveries pause */
	READERS = 3,
	GATHER_PART = 4, /* of a sync's time */
	GATHER_LEAST_US = 1000,
	GATHER_MOST_US = 20000,
	GATHER_BURST = 16, /* messages */
	GATHER_BYTES = 1 << 20,
	REMOVED_KEEP = 64 << 10, /* bytes of an empty list kept for the next commit */
};

/* What waits for one commit. */
struct round {
	struct {
		struct engine *engine;
		struct mail *mail;
		uint64_t report;
	} * submits;
	struct {
		struct worker *worker;
		uint32_t life; /* of the worker: another process does not know the job */
		uint64_t job;
	} * jobs;
	size_t submit_count, submit_size, job_count, job_size;
};

struct late {
	struct late *next;
	struct queue_outcome_copy copy;
};

/* -- what the queue asks its owner ------------------------------------------------ */

static bool owner_placed(void *self, uint64_t id, const struct queue_location *location)
{
	struct qmgr *q = self;
	struct mail *mail = mail_find(&q->mails, id);

	if (!mail)
		return false;
	mail->location = *location;
	return true;
}

static struct queue_where owner_outcome(void *self, const struct queue_outcome *o,
					struct queue_where now, bool moved, struct queue_where old)
{
	struct qmgr *q = self;
	struct mail *mail = mail_find(&q->mails, o->id);
	struct recipient *r = mail ? mail_recipient(mail, o->recipient) : NULL;

	if (!r)
		return now;
	struct queue_where had = r->where;

	if (moved && (had.generation != old.generation || had.offset != old.offset))
		return now;
	r->where = now;
	if (!moved && o->kind == QUEUE_RELEASED) {
		r->releasing = false;
		scheduler_hurry(q->scheduler, r, now_us(q));
	}
	if (moved || !queue_settled(o->kind, o->flags))
		return had;
	if (r->state == RECIPIENT_ENDING || r->state == RECIPIENT_OWED) {
		if (mail_settle(&q->mails, r))
			mail_remove(q, mail);
	}
	return had;
}

static bool owner_locate(void *self, uint64_t id, struct queue_location *location)
{
	struct qmgr *q = self;
	struct mail *mail = mail_find(&q->mails, id);

	if (!mail || !mail->committed)
		return false;
	*location = mail->location;
	return true;
}

static void state_of(const struct qmgr *q, const struct recipient *r, struct queue_recipient *to)
{
	*to = (struct queue_recipient){.number = r->number,
				       .kind = (enum queue_kind)r->kind,
				       .flags = r->flags,
				       .attempts = r->attempts,
				       .code = r->code,
				       .where = r->where};
	if (r->state == RECIPIENT_WAITING)
		to->next = wall_of(q, r->due_us);
}

static uint32_t owner_open(void *self, uint64_t id, struct queue_recipient *open, uint32_t max)
{
	struct qmgr *q = self;
	struct mail *mail = mail_find(&q->mails, id);
	uint32_t n = 0;

	for (uint32_t i = 0; mail && i < mail->recipient_count && n < max; i++)
		if (mail->recipients[i].state != RECIPIENT_GONE)
			state_of(q, &mail->recipients[i], &open[n++]);
	return n;
}

static bool owner_recipient(void *self, uint64_t id, uint32_t number, struct queue_recipient *state)
{
	struct qmgr *q = self;
	struct mail *mail = mail_find(&q->mails, id);
	struct recipient *r = mail ? mail_recipient(mail, number) : NULL;

	if (r)
		state_of(q, r, state);
	return r != NULL;
}

static void owner_damage(void *self, const struct queue_damage *damage)
{
	struct qmgr *q = self;
	char what[128];
	struct mail *mail = damage->id ? mail_find(&q->mails, damage->id) : NULL;

	snprintf(what, sizeof what, "segment %08x, %u bytes at %u can't be read",
		 damage->generation, damage->length, damage->offset);
	LOG(q->d->log, damage, damage->id, text_of(what));
	if (mail)
		mail->damaged = q->damage_seen = true; /* ageing_hold_damaged() holds it */
}

void recipient_enter(struct qmgr *q, struct recipient *r, struct text domain, int64_t due_us)
{
	switch ((enum queue_kind)r->kind) {
	case QUEUE_HELD:
		r->state = RECIPIENT_HELD;
		mail_count_held(&q->mails, r, true);
		break;
	case QUEUE_WAITING:
	case QUEUE_DEFERRED:
	case QUEUE_RELEASED:
		scheduler_add(q->scheduler, r, domain, due_us, now_us(q));
		break;
	case QUEUE_RELAYED:
	case QUEUE_DELIVERED:
	case QUEUE_FAILED:
	case QUEUE_EXPANDED:
	case QUEUE_REMOVED:
	case QUEUE_KINDS:
		r->state = RECIPIENT_OWED;
		break;
	}
}

/* A recipient as recovery found it, on its way again. */
static void entry_recipient(struct qmgr *q, struct recipient *r, const struct queue_recipient *from)
{
	r->number = from->number;
	r->kind = (uint8_t)from->kind;
	r->flags = from->flags;
	r->attempts = from->attempts;
	r->code = from->code;
	r->where = from->where;
	recipient_enter(q, r, from->domain, from->next.us ? mono_of(q, from->next) : 0);
}

static void owner_entry(void *self, const struct queue_entry *e)
{
	struct qmgr *q = self;
	bool owed = false;

	if (mail_find(&q->mails, e->id))
		return;
	struct mail *mail = mail_new(&q->mails, e->id, e->submitter, e->open_count);

	mail->arrival_wall = e->arrival.us;
	mail->size_bytes = (int64_t)e->size_bytes;
	mail->location = e->location;
	mail->body_in_file = e->body_in_file;
	mail->committed = true;
	mail->damaged = e->damaged;
	q->damage_seen |= e->damaged;
	/* Numbers first: the scheduler looks through the whole array. */
	for (uint32_t i = 0; i < e->open_count; i++)
		mail->recipients[i].number = e->open[i].number;
	for (uint32_t i = 0; i < e->open_count; i++) {
		entry_recipient(q, &mail->recipients[i], &e->open[i]);
		owed |= mail->recipients[i].state == RECIPIENT_OWED ||
			(e->open[i].flags & QUEUE_OWED_DELAY);
	}
	if (owed)
		report_owe(q, mail, false);
}

/* -- what waits for the commit --------------------------------------------------------- */

void store_await_submit(struct qmgr *q, struct engine *e, struct mail *mail, uint64_t report)
{
	struct round *r = q->filling;

	if (r->submit_count == r->submit_size) {
		r->submit_size = r->submit_size ? r->submit_size * 2 : 64;
		r->submits = mem_resize(r->submits, r->submit_size, sizeof *r->submits);
	}
	r->submits[r->submit_count].engine = e;
	r->submits[r->submit_count].mail = mail;
	r->submits[r->submit_count++].report = report;
	store_kick(q);
}

void store_await_job(struct qmgr *q, struct worker *w, uint64_t job)
{
	struct round *r = q->filling;

	if (r->job_count == r->job_size) {
		r->job_size = r->job_size ? r->job_size * 2 : 64;
		r->jobs = mem_resize(r->jobs, r->job_size, sizeof *r->jobs);
	}
	r->jobs[r->job_count].worker = w;
	r->jobs[r->job_count].life = w->life;
	r->jobs[r->job_count++].job = job;
	store_kick(q);
}

static void late_add(struct qmgr *q, const struct queue_outcome *o)
{
	struct late *late = mem_new(1, sizeof *late);
	struct queue_outcome_copy *c = &late->copy;

	c->outcome = *o;
	c->outcome.dsn = (struct text){c->dsn, text_copy(c->dsn, sizeof c->dsn, o->dsn)};
	c->outcome.text = (struct text){c->text, text_copy(c->text, sizeof c->text, o->text)};
	*q->late_end = late;
	q->late_end = &late->next;
	q->late_count++;
}

void store_outcome(struct qmgr *q, const struct queue_outcome *o)
{
	if (q->late || queue_add_outcome(q->queue, o) != QUEUE_OK)
		late_add(q, o);
	store_kick(q);
}

static void late_retry(struct qmgr *q)
{
	while (q->late && queue_add_outcome(q->queue, &q->late->copy.outcome) == QUEUE_OK) {
		struct late *late = q->late;

		q->late = late->next;
		if (!q->late)
			q->late_end = &q->late;
		q->late_count--;
		free(late);
	}
}

bool store_congested(const struct qmgr *q)
{
	return q->late_count > LATE_MAX;
}

/* -- the round ------------------------------------------------------------------------------ */

static void refuse_mail(struct qmgr *q, struct mail *mail)
{
	for (uint32_t i = 0; i < mail->recipient_count; i++)
		mail->recipients[i].state = RECIPIENT_GONE;
	q->mails.recipients -= mail->open_count;
	mail->open_count = 0;
	mail_free(&q->mails, mail);
}

static void log_queued(struct qmgr *q, const struct mail *mail, const struct envelope *e)
{
	char size[24], count[16];

	snprintf(size, sizeof size, "%lld", (long long)mail->size_bytes);
	snprintf(count, sizeof count, "%u", e->recipient_count);
	LOG(q->d->log, queued, mail->id, e->sender, text_of(size), text_of(count));
}

static void submit_done(struct qmgr *q, struct engine *e, struct mail *mail, uint64_t report,
			enum queue_result result)
{
	struct envelope envelope;
	struct text bytes = mail->content->placed.envelope;

	if (result != QUEUE_OK) {
		if (e)
			door_refuse(e, mail->id, result);
		/* After QUEUE_IO its record may be there all the same. */
		if (mail->body_in_file && result != QUEUE_IO)
			door_body_refused(q, mail->id);
		if (report)
			report_refused(q, report);
		refuse_mail(q, mail);
		return;
	}
	mail->committed = true;
	q->counters.accepted++;
	if (e)
		door_took(q, e, mail->id);
	if (report)
		report_committed(q, report, mail->id);
	must(envelope_decode(bytes, &envelope));
	log_queued(q, mail, &envelope);
	if (envelope.hold.len && mail->recipients[0].kind == QUEUE_HELD)
		LOG(q->d->log, held, mail->id, {NULL, 0}, envelope.hold);
	delivery_release(q, mail, bytes);
}

/*
 * Has it been recorded anew since, in the batch being filled or among the late ones? The attempts
 * in memory grow, and the notice counts as sent, only together with such a record.
 */
static bool outcome_is_old(const struct recipient *r, const struct queue_outcome *o)
{
	return r->kind != o->kind || r->attempts > o->attempts ||
	       (r->flags & ~o->flags & QUEUE_NOTICED);
}

/* The newest outcome counts, so one that another has taken the place of must not come after it. */
static void again(void *arg, const struct queue_outcome *o)
{
	struct qmgr *q = arg;
	struct mail *mail = mail_find(&q->mails, o->id);
	struct recipient *r = mail ? mail_recipient(mail, o->recipient) : NULL;

	if (r && !outcome_is_old(r, o))
		late_add(q, o);
}

/* Jobs whose outcomes were in a commit that failed wait for the next one. */
static void jobs_done(struct qmgr *q, struct round *r, bool durable)
{
	for (size_t i = 0; i < r->job_count; i++) {
		struct worker *w = r->jobs[i].worker;

		if (r->jobs[i].life != w->life)
			continue;
		if (!durable)
			store_await_job(q, w, r->jobs[i].job);
		else if (w->channel)
			channel_send_recorded(w->channel, &(struct msg_recorded){r->jobs[i].job});
	}
	r->job_count = 0;
}

static void append_run(void *arg)
{
	struct qmgr *q = arg;

	q->append_result = queue_batch_write(q->queue, q->flying_batch);
}

/* People read: the report was sent, then its message went. */
static void log_removed(struct qmgr *q)
{
	uint64_t id;

	while (bytes_len(&q->removed)) {
		memcpy(&id, bytes_at(&q->removed), sizeof id);
		LOG(q->d->log, removed, id, {NULL, 0});
		bytes_take(&q->removed, sizeof id, REMOVED_KEEP);
	}
}

static void maintain_run(void *arg)
{
	struct qmgr *q = arg;

	queue_work_run(q->queue);
}

static void maintain_done(void *arg)
{
	struct qmgr *q = arg;

	q->maintaining = false;
	queue_work_done(q->queue);
	store_kick(q);
}

static void maintain(struct qmgr *q)
{
	if (q->maintaining || !queue_work_wanted(q->queue))
		return;
	q->maintaining = true;
	pool_add(q->maintainer, &q->maintain_work);
}

static void load(struct qmgr *q)
{
	enum queue_result r = q->loaded ? QUEUE_WAIT : queue_load_apply(q->queue, LOAD_SLICE);

	if (r == QUEUE_MORE)
		timer_set(&q->tick, (struct duration){0});
	if (r != QUEUE_OK)
		return;
	q->loaded = true;
	if (q->damage_seen)
		ageing_hold_damaged(q);
	door_loaded(q);
	workers_loaded(q);
}

/*
 * There is no room for the batch, or no disk: outcomes wait in it, but clients are not kept
 * waiting for that. Nothing of it was written, so the answer is a plain no.
 */
static void submits_withdraw(struct qmgr *q, enum queue_result why)
{
	struct round *r = q->filling;
	enum queue_result result = why == QUEUE_FULL ? QUEUE_FULL : QUEUE_ABORTED;

	queue_batch_withdraw(q->queue);
	for (size_t i = 0; i < r->submit_count; i++)
		submit_done(q, r->submits[i].engine, r->submits[i].mail, r->submits[i].report,
			    result);
	r->submit_count = 0;
	door_stashes_refuse(q, result);
}

static void gather_over(void *arg)
{
	store_kick(arg);
}

/*
 * After a slow sync the clients that it answered send anew, all at once: a batch that went before
 * they are there would take the disk for a few outcomes, and they would wait for all of it. So half
 * of a burst is waited for, for a quarter of the time that the last sync took. A quick disk and a
 * queue that rested do not wait, nor does a lone client once some commits have made the burst
 * small, nor does a batch that has much.
 */
static bool gathers(struct qmgr *q)
{
	int64_t most = monotime_since(q->append_end, q->append_begin).us / GATHER_PART;

	if (most < GATHER_LEAST_US || q->burst < GATHER_BURST ||
	    q->filling->submit_count >= q->burst / 2 || queue_batch_bytes(q->queue) >= GATHER_BYTES)
		return false;
	if (most > GATHER_MOST_US)
		most = GATHER_MOST_US;
	int64_t left = q->append_end.us + most - loop_now(q->loop).us;

	if (left <= 0)
		return false;
	if (!timer_is_set(&q->gather))
		timer_set(&q->gather, (struct duration){left});
	return true;
}

static void seal(struct qmgr *q)
{
	struct queue_batch *batch = NULL;

	if (q->flying || gathers(q))
		return;
	late_retry(q);
	expansions_round(q);
	queue_clean_apply(q->queue);
	door_stashes(q);
	enum queue_result result = queue_batch_seal(q->queue, &batch);

	if (result == QUEUE_FULL || result == QUEUE_IO) {
		submits_withdraw(q, result);
		result = queue_batch_seal(q->queue, &batch);
	}
	if (result != QUEUE_OK)
		return;
	if (!batch) {
		/* Nothing to write: jobs whose outcomes all were settled already. */
		if (!q->late)
			jobs_done(q, q->filling, true);
		return;
	}
	timer_clear(&q->gather);
	q->append_begin = loop_now(q->loop);
	q->flying = q->filling;
	q->filling = mem_new(1, sizeof *q->filling);
	q->flying_batch = batch;
	if (q->late) {
		/* Whose outcomes are still without room is not known: none is confirmed early. */
		struct round *now = q->flying;

		for (size_t i = 0; i < now->job_count; i++)
			if (now->jobs[i].life == now->jobs[i].worker->life)
				store_await_job(q, now->jobs[i].worker, now->jobs[i].job);
		now->job_count = 0;
	}
	pool_add(q->appender, &q->append_work);
	late_retry(q);
	door_round(q);
}

static void append_done(void *arg)
{
	struct qmgr *q = arg;
	struct round *r = q->flying;
	enum queue_result result = q->append_result;

	q->flying = NULL;
	q->append_end = loop_now(q->loop);
	if (result != QUEUE_OK) {
		log_error(q->d->log, "a commit of %zu messages failed: %s", r->submit_count,
			  queue_result_text(result));
		queue_batch_outcomes(q->flying_batch, again, q);
	}
	queue_batch_done(q->queue, &q->flying_batch, result);
	expansions_committed(q, result == QUEUE_OK);
	/* The disk goes on while clients hear of what it has done. */
	if (result == QUEUE_OK)
		seal(q);
	/* Outcomes that had no room when the round was filled are not durable yet. */
	jobs_done(q, r, result == QUEUE_OK);
	for (size_t i = 0; i < r->submit_count; i++)
		submit_done(q, r->submits[i].engine, r->submits[i].mail, r->submits[i].report,
			    result);
	q->burst -= q->burst / 8;
	if (q->burst < r->submit_count)
		q->burst = r->submit_count;
	r->submit_count = 0;
	log_removed(q);
	free(r->submits);
	free(r->jobs);
	free(r);
	door_round(q);
	store_kick(q);
}

void store_turn(struct qmgr *q)
{
	load(q);
	seal(q);
	maintain(q);
	door_state(q);
}

static void store_turn_end(void *arg)
{
	qmgr_turn(arg);
}

void store_kick(struct qmgr *q)
{
	turn_end_schedule(&q->turn, q->loop, store_turn_end, q);
}

bool store_open(struct qmgr *q)
{
	struct queue_owner owner = {.self = q,
				    .entry = owner_entry,
				    .damage = owner_damage,
				    .placed = owner_placed,
				    .outcome = owner_outcome,
				    .locate = owner_locate,
				    .open = owner_open,
				    .recipient = owner_recipient};
	struct queue_options options = {.segment_bytes = (uint32_t)q->d->config->segment_size,
					.reserve_segments = (uint32_t)q->d->config->segment_reserve,
					.free_segments = 1,
					/* A million ids a second are never used up. */
					.first_id = (uint64_t)q->started.us / 1000000 << 20};
	char path[1024];
	int dir;

	/* In the jail the queue is the root; an ordinary user has no chroot. */
	text_copy(path, sizeof path - 8, q->d->config->queue);
	strcat(path, "/queue");
	dir = open(q->d->unprivileged ? path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		log_error(q->d->log, "cannot open the queue folder %s", path);
		return false;
	}
	q->late_end = &q->late;
	q->filling = mem_new(1, sizeof *q->filling);
	q->appender = pool_new(q->loop, 1);
	q->maintainer = pool_new(q->loop, 1);
	q->readers = pool_new(q->loop, READERS);
	q->bodies = pool_new(q->loop, 1);
	q->append_work = (struct work){.run = append_run, .done = append_done, .arg = q};
	timer_init(&q->gather, q->loop, gather_over, q);
	q->maintain_work = (struct work){.run = maintain_run, .done = maintain_done, .arg = q};
	enum queue_result r = queue_open(&q->queue, disk_real(), dir, &options, &owner);

	if (r != QUEUE_OK) {
		log_error(q->d->log, "cannot open the queue in %s: %s", path, queue_result_text(r));
		return false;
	}
	return true;
}

static void round_free(struct round **r)
{
	if (*r) {
		free((*r)->submits);
		free((*r)->jobs);
		free(*r);
	}
	*r = NULL;
}

void store_close(struct qmgr *q)
{
	timer_clear(&q->gather);
	pool_free(&q->appender);
	pool_free(&q->maintainer);
	pool_free(&q->readers);
	pool_free(&q->bodies); /* after readers, which may drop some */
	expansions_free(q);
	queue_close(&q->queue);
	round_free(&q->filling);
	round_free(&q->flying);
	while (q->late) {
		struct late *late = q->late;

		q->late = late->next;
		free(late);
	}
}
