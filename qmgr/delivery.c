/* SPDX-License-Identifier: ISC */
/*
 * Deliveries: jobs go to workers with their content. What becomes of them is
 * in outcome.c.
 */
#include "qmgr.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	BACKLOG_HIGH = 16 << 20, /* bytes of jobs that a worker has not read yet: no more for now */
	BACKLOG_LOW = 4 << 20,
	CONTENT_MAX = 16 << 20, /* bytes of mail kept in memory for delivery */
	FILES_HIGH = 64,	/* or so many open files on their way */
	SHORT_SAID_US = 60 * 1000 * 1000,
};

/* -- time ------------------------------------------------------------------------ */

struct walltime wall_of(const struct qmgr *q, int64_t mono_us)
{
	return (struct walltime){loop_wall(q->loop).us + (mono_us - now_us(q))};
}

/* A clock that was set far back or forward moves a retry by no more than the longest wait. */
int64_t mono_of(const struct qmgr *q, struct walltime wall)
{
	int64_t wait = wall.us - loop_wall(q->loop).us;
	int64_t longest = q->d->config->retry_longest.us * 2;

	return now_us(q) + (wait > longest ? longest : wait);
}

/* -- recipients end ---------------------------------------------------------------- */

struct body_remove {
	struct work work;
	struct queue *queue;
	uint64_t id;
};

static void body_remove_run(void *arg)
{
	struct body_remove *b = arg;

	queue_body_remove(b->queue, b->id);
}

void mail_remove(struct qmgr *q, struct mail *mail)
{
	bytes_add(&q->removed, &mail->id, sizeof mail->id);
	queue_message_forget(q->queue, &mail->location);
	if (mail->body_in_file) {
		struct body_remove *b = mem_new(1, sizeof *b);

		b->work = (struct work){.run = body_remove_run, .done = free, .arg = b};
		b->queue = q->queue;
		b->id = mail->id;
		pool_add(q->readers, &b->work);
	}
	mail_free(&q->mails, mail);
}

static void outcome_to_disk(struct qmgr *q, const struct recipient *r, uint16_t code,
			    struct text dsn, struct text text, struct walltime at,
			    struct walltime next)
{
	store_outcome(q, &(struct queue_outcome){.id = r->mail->id,
						 .recipient = r->number,
						 .kind = (enum queue_kind)r->kind,
						 .flags = r->flags,
						 .attempts = r->attempts,
						 .code = code,
						 .dsn = dsn,
						 .text = text,
						 .at = at,
						 .next = next});
}

void recipient_finish_at(struct qmgr *q, struct recipient *r, enum queue_kind kind, uint8_t flags,
			 uint16_t code, struct text dsn, struct text text, struct walltime at)
{
	struct mail *mail = r->mail;

	r->kind = (uint8_t)kind;
	r->code = code;
	r->flags = (uint8_t)((r->flags & ~QUEUE_OWED_DELAY) | flags);
	mail_count_held(&q->mails, r, kind == QUEUE_HELD);
	if (kind == QUEUE_HELD)
		r->state = RECIPIENT_HELD;
	else
		r->state = queue_settled(kind, r->flags) ? RECIPIENT_ENDING : RECIPIENT_OWED;
	outcome_to_disk(q, r, code, dsn, text, at, (struct walltime){0});
	if (r->state == RECIPIENT_OWED)
		report_owe(q, mail, false);
}

void recipient_finish(struct qmgr *q, struct recipient *r, enum queue_kind kind, uint8_t flags,
		      uint16_t code, struct text dsn, struct text text)
{
	recipient_finish_at(q, r, kind, flags, code, dsn, text, loop_wall(q->loop));
}

void recipient_record(struct qmgr *q, struct recipient *r, enum queue_kind kind, uint16_t code,
		      struct text dsn, struct text text, int64_t due_us)
{
	r->kind = (uint8_t)kind;
	r->code = code;
	outcome_to_disk(q, r, code, dsn, text, loop_wall(q->loop),
			due_us ? wall_of(q, due_us) : (struct walltime){0});
}

/* Its address stands on disk only. */
static void log_held(struct qmgr *q, const struct recipient *r, struct text why)
{
	char who[32];

	snprintf(who, sizeof who, "recipient %u", r->number);
	LOG(q->d->log, held, r->mail->id, text_of(who), why);
}

static void face_end(void *owner, struct recipient *r, const struct domain_verdict *v)
{
	struct qmgr *q = owner;
	/* Owed whatever NOTIFY says: report.c, which reads the address, logs it and settles in
	 * silence. */
	uint8_t owed = v->kind == QUEUE_FAILED ? QUEUE_OWED_FAILURE : 0;

	/* It was in flight when its login was frozen. */
	static const struct domain_verdict frozen = {QUEUE_HELD, 0, FROZEN_DSN, FROZEN_TEXT};

	if (v->kind == QUEUE_HELD && r->mail->submitter->frozen &&
	    strcmp(v->dsn, HELD_BY_WISH_DSN) == 0)
		v = &frozen;
	if (v->kind == QUEUE_FAILED)
		q->counters.failed++;
	if (v->kind == QUEUE_HELD)
		log_held(q, r, text_of(v->text));
	if (v->kind == QUEUE_REMOVED && v->code) /* by a route; a person's wish is in the log */
		LOG(q->d->log, discarded, r->mail->id, text_of(v->text));
	recipient_finish(q, r, v->kind, owed, v->code, text_of(v->dsn), text_of(v->text));
}

/* -- jobs ------------------------------------------------------------------------------- */

static uint8_t notify_flags(uint8_t notify)
{
	if (notify == NOTIFY_UNSET)
		return FLAG_NOTIFY_KNOWN;
	return (uint8_t)(FLAG_NOTIFY_KNOWN | (notify & NOTIFY_SUCCESS ? FLAG_WANTS_SUCCESS : 0) |
			 (notify & NOTIFY_FAILURE ? 0 : FLAG_NO_FAILURE) |
			 (notify & NOTIFY_DELAY ? 0 : FLAG_NO_DELAY));
}

/*
 * One transaction has one sender (RFC 5321 section 3.3): of a list with an owner and others only
 * those go together who have the first one's. *SENDER is that, empty when it is the message's.
 */
static void job_one_sender(struct qmgr *q, struct job *job, struct text envelope,
			   struct text *sender)
{
	struct envelope_iter it = envelope_recipients(envelope);
	struct envelope_recipient er;
	bool *keep = mem_new(job->count, sizeof *keep), all = true;
	uint32_t at = 0;

	for (uint32_t number = 0; at < job->count && envelope_next(&it, &er); number++) {
		if (job->recipients[at]->number != number)
			continue;
		if (!at)
			*sender = er.sender;
		keep[at] = text_equal(*sender, er.sender);
		all &= keep[at++];
	}
	if (!all)
		scheduler_job_keep(q->scheduler, job, keep);
	free(keep);
}

/* The job's recipients with their addresses, from the envelope; both are in order of number. */
static struct wire_list job_recipients(const struct job *job, struct text envelope,
				       struct bytes *to)
{
	struct envelope_iter it = envelope_recipients(envelope);
	struct envelope_recipient er;
	struct wire_list list = {0};

	for (uint32_t number = 0; list.count < job->count && envelope_next(&it, &er); number++) {
		struct recipient *r = job->recipients[list.count];

		if (r->number != number)
			continue;
		/* A report carries NOTIFY=NEVER (RFC 3461 section 6.1), yet the postmaster hears of
		 * its failure. */
		r->flags |= text_equals(job->mail->submitter->name, "bounce")
				? FLAG_NOTIFY_KNOWN
				: notify_flags(er.notify);
		rec_job_recipient_encode(to, &(struct rec_job_recipient){.number = number,
									 .address = er.address,
									 .orcpt = er.orcpt,
									 .notify = er.notify,
									 .original = er.original,
									 .target = er.target});
		list.count++;
	}
	list.items = (struct text){(const char *)to->data, to->end};
	return list;
}

static void backlog_low(struct channel *c)
{
	struct qmgr *q = qmgr_of(c);
	struct worker *w = daemon_peer_state(c);

	if (!w->choked)
		return;
	w->choked = false;
	scheduler_worker_reads(q->scheduler, w);
	store_kick(q);
}

static void backlog_look(struct worker *w)
{
	bool files = channel_descriptors(w->channel) >= FILES_HIGH;

	if (w->choked || (channel_backlog(w->channel) < BACKLOG_HIGH && !files))
		return;
	w->choked = true;
	w->choked_us = now_us(qmgr_of(w->channel));
	channel_when_drained(w->channel, files ? 0 : BACKLOG_LOW, backlog_low);
}

static void job_send(struct qmgr *q, struct job *job, const struct queue_placed *parts,
		     uint64_t body_length, int fd)
{
	struct envelope e;
	struct bytes recipients = {0};
	struct domain *d = job->domain;
	struct text sender = {NULL, 0};

	must(envelope_decode(parts->envelope, &e));
	if (e.own_senders)
		job_one_sender(q, job, parts->envelope, &sender);
	if (sender.len) { /* what the message's sender asked for is not the list's to ask */
		e.sender = sender;
		e.envid.len = e.ret = 0;
	}
	struct msg_job m = {.slot = job->slot->number,
			    .job = job->id,
			    .id = job->mail->id,
			    .site = job->slot->site->name,
			    .hop = text_of(job->hop),
			    .how = (uint8_t)d->how,
			    .target = text_of(d->target),
			    .port = d->port,
			    .domain = d->name,
			    .sender = e.sender,
			    .envid = e.envid,
			    .ret = e.ret,
			    .body_type = e.body_type,
			    .smtputf8 = e.smtputf8,
			    .arrival_wall = e.arrival_wall,
			    .active_wall = (uint64_t)loop_wall(q->loop).us,
			    .prelude = parts->prelude,
			    .body = parts->body,
			    .body_length = body_length,
			    .source = d->source,
			    .tls_row = text_of(d->policy),
			    .tls = d->tls,
			    .route = d->route};

	m.one_domain = 1;
	for (uint32_t i = 0; i < job->count; i++)
		m.one_domain &= job->recipients[i]->lane && job->recipients[i]->lane->domain == d;
	if (d->sts) {
		m.sts_mode = d->sts->mode;
		m.sts_max_age_s = d->sts->max_age_s;
		m.sts_id = d->sts->id;
		m.sts_mx = d->sts->mx;
	}

	m.recipients = job_recipients(job, parts->envelope, &recipients);
	channel_send(job->worker->channel, MSG_job, &m, fd);
	bytes_free(&recipients);
	backlog_look(job->worker);
}

/* Content that has to be read first. */
struct fetch {
	struct work work;
	struct qmgr *q;
	uint64_t job, id;
	struct queue_location location;
	struct queue_content content;
	bool has_file;
	int fd;
	enum queue_result result;
};

static void fetch_run(void *arg)
{
	struct fetch *f = arg;

	f->result = queue_read_message(f->q->queue, &f->location, &f->content);
	if (f->result != QUEUE_OK || !f->has_file)
		return;
	f->result = queue_body_open(f->q->queue, f->id, &f->fd);
	if (f->result == QUEUE_GONE) /* nobody moves it */
		f->result = QUEUE_DAMAGED;
}

/* What can't be read is held, so that a person sees it and nothing is lost by trying. Of whom
 * something was asked meanwhile, it is done when the job ends. */
static void fetch_failed(struct qmgr *q, struct job *job, enum queue_result why)
{
	char text[160];

	snprintf(text, sizeof text, "its content can't be read: %s", queue_result_text(why));
	for (uint32_t i = 0; i < job->count; i++) {
		struct recipient *r = job->recipients[i];
		int64_t due;

		if (r->wish)
			continue;
		scheduler_outcome(q->scheduler, r, OUTCOME_HELD, SCOPE_RECIPIENT, now_us(q), &due);
		log_held(q, r, text_of(text));
		recipient_finish(q, r, QUEUE_HELD, 0, 0, text_of("4.3.0"), text_of(text));
	}
}

/* Nothing is wrong with the message or its site: its recipients wait by themselves. */
static void fetch_postpone(struct qmgr *q, struct job *job, enum queue_result why)
{
	if (!q->short_said_us || now_us(q) - q->short_said_us >= SHORT_SAID_US) {
		q->short_said_us = now_us(q);
		log_warning(q->d->log, "content can't be read, deliveries wait: %s",
			    queue_result_text(why));
	}
	job->failed = true; /* what its site thinks is not known */
	for (uint32_t i = 0; i < job->count; i++) {
		struct recipient *r = job->recipients[i];
		int64_t due;

		if (!r->wish)
			scheduler_outcome(q->scheduler, r, OUTCOME_DEFERRED, SCOPE_NOBODY,
					  now_us(q), &due);
	}
}

/* A worker ends the channel over a job for nobody, and would get it again and again. */
static bool names_all(const struct queue_content *content, const struct job *job)
{
	return job->count && job->recipients[job->count - 1]->number < content->recipient_count;
}

static void fetch_done(void *arg)
{
	struct fetch *f = arg;
	struct qmgr *q = f->q;
	struct job *job = scheduler_job(q->scheduler, f->job);

	if (job && f->result == QUEUE_GONE && mail_moved(job->mail, &f->location)) {
		f->location = job->mail->location;
		pool_add(q->readers, &f->work);
		return;
	}
	if (job && f->result == QUEUE_OK && !names_all(&f->content, job))
		f->result = QUEUE_DAMAGED;
	if (job && f->result == QUEUE_OK && job_may_begin(job)) {
		struct queue_placed parts = {f->content.envelope, f->content.prelude,
					     f->content.body};

		job_send(q, job, &parts, f->content.body_length, f->fd);
		f->fd = -1;
	} else if (job) {
		struct slot *slot = job->slot;

		if (f->result == QUEUE_SHORT)
			fetch_postpone(q, job, f->result);
		else if (f->result != QUEUE_OK)
			fetch_failed(q, job, f->result);
		scheduler_job_done(q->scheduler, job, false, now_us(q));
		if (slot)
			scheduler_want(q->scheduler, slot, now_us(q));
	}
	if (f->fd >= 0)
		close(f->fd);
	store_kick(q);
	queue_content_free(&f->content);
	free(f);
}

static void face_start(void *owner, struct job *job)
{
	struct qmgr *q = owner;
	struct mail *mail = job->mail;

	if (mail->content && !mail->body_in_file) {
		job_send(q, job, &mail->content->placed, mail->content->placed.body.len, -1);
		/* All of it is under way: should it come back, it is read from disk. */
		if (job->count == mail->open_count)
			mail_drop_content(mail);
		return;
	}
	struct fetch *f = mem_new(1, sizeof *f);

	f->work = (struct work){.run = fetch_run, .done = fetch_done, .arg = f};
	f->q = q;
	f->job = job->id;
	f->id = mail->id;
	f->location = mail->location;
	f->has_file = mail->body_in_file;
	f->fd = -1;
	pool_add(q->readers, &f->work);
}

static void face_close_slot(void *owner, struct slot *slot)
{
	(void)owner;
	if (slot->worker->channel)
		channel_send_slot_close(slot->worker->channel,
					&(struct msg_slot_close){slot->number});
}

void delivery_release(struct qmgr *q, struct mail *mail, struct text envelope)
{
	struct envelope_iter it = envelope_recipients(envelope);
	struct envelope_recipient er;
	bool owed = false;

	for (uint32_t i = 0; i < mail->recipient_count && envelope_next(&it, &er); i++) {
		struct recipient *r = &mail->recipients[i];

		/* Ready now, unless it was imported with a state of its own. */
		recipient_enter(q, r, domain_of(q, er.address), r->due_us);
		owed |= r->state == RECIPIENT_OWED || (r->flags & QUEUE_OWED_DELAY);
	}
	if (owed)
		report_owe(q, mail, false);
	if (mail->submitter->frozen)
		takeover_hold(q, mail);
}

/* -- what workers say ---------------------------------------------------------------------- */

void delivery_want(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct slot *slot = scheduler_slot(q->scheduler, m->want.slot);

	if (!slot || slot->worker->channel != c)
		return;
	uint32_t most =
	    slot->worker->kind == PEER_LOCAL ? LOCAL_SLOT_JOBS_MAX : (uint32_t)SLOT_JOBS_MAX;

	/* Else it could have all that waits for the site, to hold it by its own crashes. */
	if (slot->jobs + slot->wants >= most)
		channel_end(c, "wants more jobs than a slot may have");
	else
		scheduler_want(q->scheduler, slot, now_us(q));
}

void delivery_slot_done(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct slot *slot = scheduler_slot(q->scheduler, m->slot_done.slot);
	struct job *unused =
	    m->slot_done.unused_job ? scheduler_job(q->scheduler, m->slot_done.unused_job) : NULL;

	if (unused && unused->worker->channel == c)
		scheduler_job_done(q->scheduler, unused, false, now_us(q));
	if (slot && slot->worker->channel == c)
		scheduler_slot_done(q->scheduler, slot);
}

void delivery_job_back(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct job *job = scheduler_job(q->scheduler, m->job_back.job);

	if (job && job->worker->channel == c)
		scheduler_job_done(q->scheduler, job, false, now_us(q));
}

/* -- the resolver ------------------------------------------------------------------------------ */

static void face_ask(void *owner, const struct domain *d)
{
	struct qmgr *q = owner;

	join_begin(q, d);
	if (!q->resolver || route_is_lost(domain_route(q->d->config, d)))
		return; /* asked again when it is back; by nobody, at the next tick */
	policy_begin(q, d);
	channel_send_site_ask(q->resolver, &(struct msg_site_ask){.query = d->query,
								  .how = (uint8_t)d->how,
								  .target = text_of(d->target),
								  .port = d->port});
}

void delivery_site_settle(struct qmgr *q, const struct msg_site_is *a)
{
	struct msg_site_is m = *a;

	/* What is local, the route alone says. */
	if (m.verdict == HOP_FOUND && text_equals(m.site, LOCAL_SITE))
		m.verdict = HOP_TEMPORARY;
	if (policy_site_is(q, &m))
		return;
	if (m.verdict == HOP_FOUND)
		scheduler_site_is(q->scheduler, m.query, m.site, m.hop, m.lifetime_s, now_us(q));
	else
		scheduler_no_site(q->scheduler, m.query, m.verdict == HOP_PERMANENT, m.code, m.dsn,
				  m.reason, m.lifetime_s, now_us(q));
}

void delivery_site_is(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);

	if (!join_site_is(q, &m->site_is))
		delivery_site_settle(q, &m->site_is);
}

/* -- log lines of sites ------------------------------------------------------------------------ */

static void face_site_down(void *owner, const struct site *site, int64_t wait_us)
{
	struct qmgr *q = owner;
	char recipients[24], seconds[24];

	snprintf(recipients, sizeof recipients, "%u", site->ready + site->flying);
	snprintf(seconds, sizeof seconds, "%lld", (long long)(wait_us / 1000000));
	LOG(q->d->log, site_down, 0, site->name, text_of(site->last_error), text_of(recipients),
	    text_of(seconds));
}

static void face_domain_down(void *owner, const struct domain *d, int64_t wait_us)
{
	struct qmgr *q = owner;
	char seconds[24];

	snprintf(seconds, sizeof seconds, "%lld", (long long)(wait_us / 1000000));
	LOG(q->d->log, domain_down, 0, d->name, text_of(d->verdict->text), text_of(seconds));
}

static void face_site_up(void *owner, const struct site *site)
{
	struct qmgr *q = owner;

	LOG(q->d->log, site_up, 0, site->name);
}

/* -- start ------------------------------------------------------------------------------------- */

void delivery_init(struct qmgr *q)
{
	struct scheduler_face face = {.owner = q,
				      .ask = face_ask,
				      .start = face_start,
				      .close_slot = face_close_slot,
				      .end = face_end,
				      .site_down = face_site_down,
				      .site_up = face_site_up,
				      .domain_down = face_domain_down};

	mails_init(&q->mails, CONTENT_MAX);
	q->scheduler = scheduler_new(&face, &q->mails, q->d->epoch);
	scheduler_configure(q->scheduler, q->d->config);
	scheduler_set_workers(q->scheduler, q->workers, q->worker_count);
	workers_init(q);
}
