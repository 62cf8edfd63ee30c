/* SPDX-License-Identifier: ISC */
/*
 * Intake: session engines hand messages in, and learn what became of them.
 * An engine may use only ids that were leased to it, each once.
 */
#include "qmgr.h"

#include "mem.h"
#include "must.h"
#include "way.h"

#include <stdlib.h>
#include <string.h>

enum {
	LEASE_MAX = 65536,
	DOUBTS_MAX = 1000000,
	READY_HIGH = 200, /* messages ready at sites that take mail: intake slows */
	READY_LOW = 150,
	PACE_MS = 10, /* the longest that intake stands still for pace */
};

/* -- verdicts ----------------------------------------------------------------- */

static const struct {
	enum queue_result why;
	uint16_t code;
	const char *dsn, *reply;
} refusals[] = {
    {QUEUE_FULL, 452, "4.3.1", "Insufficient system storage"},
    {QUEUE_TOO_BIG, 452, "4.3.1", "The queue has reached its limit"},
    {QUEUE_ABORTED, 451, "4.3.0", "The message could not be stored"},
    {QUEUE_WAIT, 451, "4.3.2", "Not taking mail now"},
    /* Whether it is stored is not known: neither yes nor no may be said. */
    {QUEUE_IO, 0, "", ""},
    {QUEUE_OK, 451, "4.3.0", "The message could not be stored"},
};

void door_took(struct qmgr *q, struct engine *e, uint64_t id)
{
	if (e->kind == PEER_CONTROL)
		import_took(q, e, id);
	else if (e->channel)
		channel_send_settled(e->channel, &(struct msg_settled){.id = id, .committed = 1});
}

void door_refuse(struct engine *e, uint64_t id, enum queue_result why)
{
	size_t i = 0;

	while (refusals[i].why != why && refusals[i].why != QUEUE_OK)
		i++;
	if (e->kind == PEER_CONTROL)
		import_refuse(e, why);
	else if (e->channel)
		channel_send_settled(e->channel,
				     &(struct msg_settled){.id = id,
							   .code = refusals[i].code,
							   .dsn = text_of(refusals[i].dsn),
							   .reply = text_of(refusals[i].reply)});
}

static enum intake_state door_find_state(const struct qmgr *q)
{
	if (q->draining)
		return INTAKE_CLOSED;
	enum queue_result r = queue_intake(q->queue);

	if (r == QUEUE_FULL)
		return INTAKE_FULL;
	if (r == QUEUE_IO)
		return INTAKE_BROKEN;
	return q->mails.recipients >= q->d->config->queue_limit ? INTAKE_LIMIT : INTAKE_OPEN;
}

void door_state(struct qmgr *q)
{
	static const char *const words[] = {[INTAKE_OPEN] = "open",
					    [INTAKE_FULL] = "closed: the disk is full",
					    [INTAKE_LIMIT] = "closed: queue-limit is reached",
					    [INTAKE_BROKEN] = "closed: the disk can't be written",
					    [INTAKE_CLOSED] = "closed"};
	enum intake_state state = door_find_state(q);

	if (state == q->intake)
		return;
	q->intake = state;
	log_notice(q->d->log, "intake is %s", words[state]);
	for (size_t i = 0; i < q->engine_count; i++)
		if (q->engines[i].channel)
			channel_send_intake(q->engines[i].channel,
					    &(struct msg_intake){(uint8_t)state});
}

/* -- leases ---------------------------------------------------------------------- */

void door_lease(struct channel *c, const struct message *m)
{
	struct engine *e = daemon_peer_state(c);

	if (!m->lease.count || m->lease.count > LEASE_MAX || e->leases_wanted) {
		channel_end(c, "asked for too many ids");
		return;
	}
	e->leases_wanted = m->lease.count;
	lease_give(qmgr_of(c), e);
}

/* -- submit ------------------------------------------------------------------------- */

struct text domain_of(const struct qmgr *q, struct text address)
{
	struct text domain = address_domain(address);

	return domain.len && domain.len < QUEUE_DOMAIN_MAX ? domain : q->d->config->hostname;
}

static void recipient_domains(const struct qmgr *q, struct text envelope, struct text *domains,
			      uint32_t count)
{
	struct envelope_iter it = envelope_recipients(envelope);
	struct envelope_recipient r;

	for (uint32_t i = 0; i < count && envelope_next(&it, &r); i++)
		domains[i] = domain_of(q, r.address);
}

static enum queue_result submit_add(struct qmgr *q, const struct msg_submit *m,
				    const struct envelope *e, struct text submitter,
				    const struct queue_outcome *settles, size_t settle_count,
				    struct queue_placed *placed)
{
	struct text *domains = mem_new(e->recipient_count, sizeof *domains);
	struct queue_message qm = {.id = m->id,
				   .arrival = {(int64_t)e->arrival_wall},
				   .submitter = submitter,
				   .envelope = m->envelope,
				   .prelude = m->prelude,
				   .body = m->body,
				   .body_length = m->body_length,
				   .body_crc = m->body_crc,
				   .body_in_file = m->body_in_file != 0,
				   .recipient_count = e->recipient_count,
				   .domains = domains,
				   .settles = settles,
				   .settle_count = settle_count};

	recipient_domains(q, m->envelope, domains, e->recipient_count);
	enum queue_result r = queue_add_message(q->queue, &qm, placed);

	free(domains);
	return r;
}

enum queue_result door_put(struct qmgr *q, struct engine *e, const struct msg_submit *m,
			   const struct queue_outcome *settles, size_t settle_count,
			   struct mail **put)
{
	struct envelope envelope;
	struct queue_placed placed;

	must(envelope_decode(m->envelope, &envelope));
	char room[QUEUE_SUBMITTER_MAX];
	struct way way = {envelope.source, envelope.tls, envelope.route};
	struct text submitter = way_store(room, envelope.submitter, &way);
	enum queue_result r =
	    submit_add(q, m, &envelope, submitter, settles, settle_count, &placed);

	if (r != QUEUE_OK)
		return r;
	struct mail *mail = mail_new(&q->mails, m->id, submitter, envelope.recipient_count);

	mail->arrival_wall = (int64_t)envelope.arrival_wall;
	mail->size_bytes = (int64_t)(m->prelude.len + m->body_length);
	mail->body_in_file = m->body_in_file != 0;
	mail_keep_content(&q->mails, mail, queue_batch_filling(q->queue), &placed);
	store_await_submit(q, e, mail, m->report);
	*put = mail;
	return r;
}

void door_states(struct qmgr *q, struct mail *mail, const struct queue_outcome *o, size_t count)
{
	for (; count; count--, o++) {
		struct recipient *r = &mail->recipients[o->recipient];

		r->kind = (uint8_t)o->kind;
		r->flags = o->flags;
		r->attempts = o->attempts;
		r->code = o->code;
		r->due_us = o->next.us ? mono_of(q, o->next) : 0;
	}
}

/* Mail that is to be held is so by its own commit: there is no instant in which it is free. */
static enum queue_result submit_held(struct qmgr *q, struct engine *e, const struct msg_submit *m,
				     const struct envelope *envelope, struct mail **put)
{
	struct queue_outcome *held = mem_new(envelope->recipient_count, sizeof *held);

	for (uint32_t i = 0; i < envelope->recipient_count; i++)
		held[i] = (struct queue_outcome){.id = m->id,
						 .recipient = i,
						 .kind = QUEUE_HELD,
						 .dsn = text_of("4.7.1"),
						 .text = envelope->hold,
						 .at = {(int64_t)envelope->arrival_wall}};
	enum queue_result r = door_put(q, e, m, held, envelope->recipient_count, put);

	if (r == QUEUE_OK)
		door_states(q, *put, held, envelope->recipient_count);
	free(held);
	return r;
}

static void submit_refuse(struct qmgr *q, struct engine *e, const struct msg_submit *m,
			  enum queue_result why)
{
	door_refuse(e, m->id, why);
	if (m->report)
		report_refused(q, m->report);
	if (m->body_in_file)
		door_body_remove(q, e, m->id);
}

/* What a full queue owes its senders must not wait for room in it. */
bool door_over_limit(const struct qmgr *q, uint32_t recipients)
{
	return q->mails.recipients + recipients > q->d->config->queue_limit;
}

/* True when it was taken or refused; false when it must be tried again after the next seal. */
static bool submit_try(struct qmgr *q, struct engine *e, const struct msg_submit *m)
{
	const struct queue_outcome *settles = NULL;
	struct envelope envelope;
	struct mail *mail;

	must(envelope_decode(m->envelope, &envelope));
	if (m->report && !report_known(q, m->report)) {
		door_refuse(e, m->id,
			    QUEUE_ABORTED); /* given up meanwhile and made anew, or here twice */
		if (m->body_in_file)
			door_body_remove(q, e, m->id);
		return true;
	}
	bool over = !m->report && door_over_limit(q, envelope.recipient_count);

	if (q->draining || over) {
		submit_refuse(q, e, m, q->draining ? QUEUE_WAIT : QUEUE_TOO_BIG);
		return true;
	}
	size_t settle_count = m->report ? report_settles(q, m->report, &settles) : 0;
	enum queue_result r = envelope.hold.len && !m->report
				  ? submit_held(q, e, m, &envelope, &mail)
				  : door_put(q, e, m, settles, settle_count, &mail);

	if (r == QUEUE_BATCH_FULL || r == QUEUE_WAIT)
		return false;
	if (r != QUEUE_OK)
		submit_refuse(q, e, m, r == QUEUE_IO ? QUEUE_ABORTED : r);
	else if (m->report)
		report_taken(q, m->report);
	return true;
}

/* Keeps the submit and reads no more from this engine until it has found room. */
static void submit_stash(struct qmgr *q, struct engine *e, const struct msg_submit *m)
{
	message_encode(&e->stash, MSG_submit, m);
	if (e->channel)
		channel_pause(e->channel);
	store_kick(q);
}

static void stash_retry(struct qmgr *q, struct engine *e)
{
	struct message m;

	if (!bytes_len(&e->stash))
		return;
	must(message_decode(bytes_at(&e->stash), bytes_len(&e->stash), MSG_submit, &m));
	if (!submit_try(q, e, &m.submit))
		return;
	bytes_free(&e->stash);
	if (e->channel && !q->congested)
		channel_resume(e->channel);
}

void door_stashes(struct qmgr *q)
{
	for (size_t i = 0; i < q->engine_count; i++)
		stash_retry(q, &q->engines[i]);
}

/* Its engine is gone, or in doubt of it over a new channel and told no: it must not be stored
 * later. */
static void stash_drop(struct qmgr *q, struct engine *e)
{
	struct message m;

	if (!bytes_len(&e->stash))
		return;
	must(message_decode(bytes_at(&e->stash), bytes_len(&e->stash), MSG_submit, &m));
	submit_refuse(q, e, &m.submit, QUEUE_ABORTED);
	bytes_free(&e->stash);
}

void door_stashes_refuse(struct qmgr *q, enum queue_result why)
{
	struct message m;

	for (size_t i = 0; i < q->engine_count; i++) {
		struct engine *e = &q->engines[i];

		if (!bytes_len(&e->stash))
			continue;
		must(message_decode(bytes_at(&e->stash), bytes_len(&e->stash), MSG_submit, &m));
		submit_refuse(q, e, &m.submit, why);
		bytes_free(&e->stash);
		if (e->channel && !q->congested)
			channel_resume(e->channel);
	}
}

/* A submit whose body is in a file: the file is made safe first, in a thread. */
struct file_submit {
	struct work work;
	struct qmgr *q;
	struct engine *e;
	struct bytes frame;
	uint64_t id, length;
	uint32_t life; /* of the engine's channel */
	enum queue_result result;
};

static void file_submit_run(void *arg)
{
	struct file_submit *f = arg;

	f->result = queue_body_finish(f->q->queue, f->id, f->length);
}

static void file_submit_done(void *arg)
{
	struct file_submit *f = arg;
	struct message m;

	must(message_decode(bytes_at(&f->frame), bytes_len(&f->frame), MSG_submit, &m));
	if (f->life != f->e->life) {
		door_body_remove(f->q, f->e, f->id); /* as stash_drop() */
	} else if (mail_find(&f->q->mails, f->id)) {
		if (f->e->channel)
			channel_end(f->e->channel, "submitted an id twice");
	} else if (f->result != QUEUE_OK) {
		submit_refuse(f->q, f->e, &m.submit,
			      f->result == QUEUE_FULL ? QUEUE_FULL : QUEUE_ABORTED);
	} else if (bytes_len(&f->e->stash) || !submit_try(f->q, f->e, &m.submit)) {
		if (!bytes_len(&f->e->stash)) {
			submit_stash(f->q, f->e, &m.submit);
		} else { /* behind another one: through the thread again, which takes its time */
			pool_add(f->q->readers, &f->work);
			return;
		}
	}
	bytes_free(&f->frame);
	free(f);
}

static void submit_file(struct qmgr *q, struct engine *e, const struct msg_submit *m)
{
	struct file_submit *f = mem_new(1, sizeof *f);

	f->work = (struct work){.run = file_submit_run, .done = file_submit_done, .arg = f};
	f->q = q;
	f->e = e;
	f->life = e->life;
	f->id = m->id;
	f->length = m->body_length;
	message_encode(&f->frame, MSG_submit, m);
	pool_add(q->readers, &f->work);
}

static const char *submit_fault(struct qmgr *q, struct engine *e, const struct msg_submit *m)
{
	struct envelope envelope;

	if (m->id >= e->forgotten && !lease_holds(e, m->id))
		return "submitted an id that is not its own";
	if (mail_find(&q->mails, m->id))
		return "submitted an id twice";
	if (!envelope_decode(m->envelope, &envelope))
		return "submitted a malformed envelope";
	if (m->body_in_file > 1 ||
	    (m->body_in_file ? m->body.len > 0 : m->body_length != m->body.len))
		return "submitted a body that is not as said";
	if (m->report && e->kind != PEER_SUBMISSION)
		return "submitted a report";
	return NULL;
}

void door_submit(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct engine *e = daemon_peer_state(c);
	const char *fault = submit_fault(q, e, &m->submit);

	if (fault)
		channel_end(c, fault);
	else if (!lease_holds(e,
			      m->submit.id)) /* of a lease long ago: perhaps its own, perhaps not */
		door_refuse(e, m->submit.id, QUEUE_WAIT);
	else if (!lease_use(e, m->submit.id))
		channel_end(c, "submitted an id twice");
	else if (m->submit.body_in_file)
		submit_file(q, e, &m->submit);
	else if (!submit_try(q, e, &m->submit))
		submit_stash(q, e, &m->submit);
}

/* -- doubts -------------------------------------------------------------------------------- */

static void doubts_answer(struct qmgr *q, struct engine *e)
{
	struct wire_reader in = wire_reader_over(e->doubts.data, e->doubts.end);

	while (in.at < in.end) {
		uint64_t id = wire_u64(&in);
		struct mail *mail = mail_find(&q->mails, id);

		if (mail && mail->committed)
			door_took(q, e, id);
		else if (!mail)
			door_refuse(e, id, QUEUE_ABORTED);
	}
	bytes_free(&e->doubts);
}

void door_in_doubt(struct channel *c, const struct message *m)
{
	struct engine *e = daemon_peer_state(c);

	if (bytes_len(&e->doubts) / sizeof(uint64_t) >= DOUBTS_MAX)
		channel_end(c, "has too many doubts");
	else
		wire_put_u64(&e->doubts, m->in_doubt.id);
}

void door_in_doubt_end(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);

	(void)m;
	if (q->loaded)
		doubts_answer(q, daemon_peer_state(c));
}

void door_loaded(struct qmgr *q)
{
	for (size_t i = 0; i < q->engine_count; i++)
		doubts_answer(q, &q->engines[i]);
}

/* -- peers and pace -------------------------------------------------------------------------------
 */

void door_peer(struct qmgr *q, struct channel *c)
{
	struct engine *e = NULL;

	for (size_t i = 0; i < q->engine_count; i++)
		if (q->engines[i].kind == channel_peer(c) &&
		    q->engines[i].instance == channel_instance(c))
			e = &q->engines[i];
	if (!e && q->engine_count == ENGINES_MAX) {
		channel_end(c, "is one engine too many");
		return;
	}
	if (!e) {
		e = &q->engines[q->engine_count++];
		e->kind = channel_peer(c);
		e->instance = channel_instance(c);
	}
	e->channel = c;
	e->life++;
	e->leases_wanted = 0;
	bytes_free(&e->doubts);
	daemon_set_peer_state(c, e);
	channel_send_intake(c, &(struct msg_intake){(uint8_t)q->intake});
	if (q->congested || bytes_len(&e->stash))
		channel_pause(c);
}

void door_gone(struct qmgr *q, struct channel *c)
{
	for (size_t i = 0; i < q->engine_count; i++)
		if (q->engines[i].channel == c) {
			q->engines[i].channel = NULL;
			q->engines[i].life++;
			stash_drop(q, &q->engines[i]);
		}
}

void door_round(struct qmgr *q)
{
	for (size_t i = 0; i < q->engine_count; i++) {
		lease_give(q, &q->engines[i]);
		stash_retry(q, &q->engines[i]);
	}
}

static void door_flow(struct qmgr *q, bool open)
{
	q->congested = !open;
	for (size_t i = 0; i < q->engine_count; i++) {
		struct engine *e = &q->engines[i];

		if (!e->channel)
			continue;
		if (!open)
			channel_pause(e->channel);
		else if (!bytes_len(&e->stash))
			channel_resume(e->channel);
	}
}

static void pace_over(void *arg)
{
	struct qmgr *q = arg;

	door_flow(q, true);
}

/*
 * While sites that take mail have more ready than they can be given at once,
 * mail that comes in only waits here instead of with its sender: intake is
 * read more slowly, but never stands still for longer than PACE_MS.
 */
void door_pace(struct qmgr *q)
{
	uint64_t ready = scheduler_figures(q->scheduler).ready_soon;

	/* What a commit has just set free is no backlog: with a slow disk and many clients that is
	 * hundreds at once, and while intake stood still for them the disk would, too. */
	ready -= ready < q->burst ? ready : q->burst;

	if (!q->pace.loop)
		timer_init(&q->pace, q->loop, pace_over, q);
	if (!q->congested && q->delivering && ready > READY_HIGH && !timer_is_set(&q->pace)) {
		door_flow(q, false);
		timer_set(&q->pace, MILLISECONDS(PACE_MS));
	} else if (q->congested && ready < READY_LOW) {
		timer_clear(&q->pace);
		door_flow(q, true);
	}
}
