/* SPDX-License-Identifier: ISC */
/*
 * Outcomes: what workers say became of their jobs goes to disk. A worker can
 * settle only what it was handed.
 */
#include "qmgr.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>

/* A person asked for something while it was in flight. */
static bool carry_out_wish(struct qmgr *q, struct recipient *r,
			   const struct rec_outcome_recipient *o)
{
	uint8_t wish = r->wish;
	bool frozen = wish == ACTION_HOLD && r->mail->submitter->frozen;

	r->wish = 0;
	if (wish != ACTION_HOLD && wish != ACTION_DELETE && wish != ACTION_BOUNCE)
		return false;
	scheduler_remove(q->scheduler, r, wish == ACTION_HOLD ? RECIPIENT_HELD : RECIPIENT_ENDING);
	recipient_finish(q, r,
			 wish == ACTION_HOLD	 ? QUEUE_HELD
			 : wish == ACTION_DELETE ? QUEUE_REMOVED
						 : QUEUE_FAILED,
			 wish == ACTION_BOUNCE && !(r->flags & FLAG_NO_FAILURE) ? QUEUE_OWED_FAILURE
										: 0,
			 frozen ? 0 : o->code, frozen ? text_of(FROZEN_DSN) : o->dsn,
			 frozen ? text_of(FROZEN_TEXT) : o->reply);
	return true;
}

/* "mx.example[192.0.2.1]:25 said: 550 ...": report.c takes it apart again. */
static struct text reply_with_relay(const struct msg_outcome *m,
				    const struct rec_outcome_recipient *o, char *to, size_t size)
{
	if (!o->code || !m->relay.len || text_equals(m->relay, "none"))
		return o->reply;
	int n = snprintf(to, size, "%.*s said: %.*s", (int)m->relay.len, m->relay.data,
			 (int)o->reply.len, o->reply.data);

	return (struct text){to, n < (int)size ? (size_t)n : size - 1};
}

static void outcome_deferred(struct qmgr *q, struct recipient *r, enum failure_scope scope,
			     const struct rec_outcome_recipient *o, struct text text)
{
	int64_t due = 0;
	bool alone = scope != SCOPE_SITE && scope != SCOPE_DOMAIN;

	if (alone && scope != SCOPE_NOBODY && r->attempts < UINT16_MAX)
		r->attempts++;
	scheduler_outcome(q->scheduler, r, OUTCOME_DEFERRED, scope, now_us(q), &due);
	mail_drop_content(r->mail);
	if (!carry_out_wish(q, r, o) && alone && scope != SCOPE_NOBODY)
		recipient_record(q, r, QUEUE_DEFERRED, o->code, o->dsn, text, due);
}

static void outcome_final(struct qmgr *q, struct recipient *r,
			  const struct rec_outcome_recipient *o, struct text text)
{
	uint8_t owed = 0;
	int64_t due;

	if (r->attempts < UINT16_MAX)
		r->attempts++;
	scheduler_outcome(q->scheduler, r, (enum outcome_kind)o->kind, SCOPE_NONE, now_us(q), &due);
	r->said = true;
	if (o->kind == OUTCOME_EXPANDED)
		return; /* expand.c closes it, with those who take its place */
	if (o->kind == OUTCOME_FAILED) {
		q->counters.failed++;
		if (o->code >= 500)
			takeover_failed(q, r->mail);
		/* Who had it deleted meanwhile wants no report of it. */
		bool silent = (r->flags & FLAG_NO_FAILURE) || r->wish == ACTION_DELETE;

		owed = silent ? 0 : QUEUE_OWED_FAILURE;
	} else {
		q->counters.relayed++;
		/* RFC 3461 section 5.2.2: a next hop that took NOTIFY over makes the report itself.
		 */
		owed = (r->flags & FLAG_WANTS_SUCCESS) && !o->receiver_dsn ? QUEUE_OWED_SUCCESS : 0;
	}
	recipient_finish(q, r, (enum queue_kind)o->kind, owed, o->code, o->dsn, text);
}

/* A job that this qmgr never made, or gave up: its recipients may still be open. */
static struct job *outcome_adopt(struct qmgr *q, struct worker *w, const struct msg_outcome *m)
{
	struct mail *mail = mail_find(&q->mails, m->id);
	uint32_t *numbers, count = 0;
	struct wire_list list = m->recipients;
	struct rec_outcome_recipient o;

	if (!mail || !mail->committed)
		return NULL;
	numbers = mem_new(list.count, sizeof *numbers);
	while (list_next_outcome_recipient(&list, &o))
		if (workers_may_have(w, mail, o.number))
			numbers[count++] = o.number;
	struct job *job = scheduler_adopt(q->scheduler, w, m->job, mail, numbers, count);

	free(numbers);
	return job;
}

/* A person who wanted something of R meanwhile goes before that. */
static bool outcome_expands(const struct recipient *r, const struct rec_outcome_recipient *o)
{
	return o->kind == OUTCOME_EXPANDED && !r->wish;
}

/* The recipients of JOB that others take the place of come to NUMBERS; returns how many. */
static uint32_t outcome_apply(struct qmgr *q, struct job *job, const struct msg_outcome *m,
			      uint32_t *numbers)
{
	struct wire_list list = m->recipients;
	struct rec_outcome_recipient o;
	struct mail *mail = job->mail;
	uint32_t expanded = 0;
	bool relayed = false;
	char line[QUEUE_TEXT_MAX];

	if (m->scope == SCOPE_SITE || m->scope == SCOPE_DOMAIN || m->scope == SCOPE_NOBODY) {
		struct wire_list first = list;

		/* Of our faults, addresses that can't be sent are no sign that others can't. */
		if (list_next_outcome_recipient(&first, &o) &&
		    (m->scope != SCOPE_NOBODY || o.kind == OUTCOME_DEFERRED))
			scheduler_failed(q->scheduler, job, (enum failure_scope)m->scope,
					 reply_with_relay(m, &o, line, sizeof line), now_us(q));
	}
	if (m->scope == SCOPE_NOBODY)
		job->failed = true; /* as fetch_postpone() */
	while (list_next_outcome_recipient(&list, &o)) {
		struct recipient *r = mail_recipient(mail, o.number);

		if (!r || r->state != RECIPIENT_FLYING || r->job != job)
			continue;
		struct text text = reply_with_relay(m, &o, line, sizeof line);

		relayed |= o.kind == OUTCOME_RELAYED || o.kind == OUTCOME_DELIVERED;
		if (outcome_expands(r, &o))
			numbers[expanded++] = o.number;
		if (o.kind == OUTCOME_DEFERRED)
			outcome_deferred(q, r, (enum failure_scope)m->scope, &o, text);
		else if (o.kind == OUTCOME_EXPANDED && r->wish)
			outcome_deferred(q, r, SCOPE_NOBODY, &o, text);
		else
			outcome_final(q, r, &o, text);
	}
	scheduler_job_done(q->scheduler, job, relayed, now_us(q));
	return expanded;
}

static bool outcome_is_sound(const struct worker *w, const struct msg_outcome *m)
{
	unsigned most = w->kind == PEER_LOCAL ? OUTCOME_EXPANDED : OUTCOME_FAILED;
	struct wire_list list = m->recipients;
	struct rec_outcome_recipient o;

	while (list_next_outcome_recipient(&list, &o))
		if (o.kind < OUTCOME_RELAYED || o.kind > most || o.kind == OUTCOME_HELD)
			return false;
	return m->scope <= SCOPE_NOBODY && (w->kind == PEER_LOCAL || !m->added.count);
}

void outcome_take(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct worker *w = daemon_peer_state(c);

	workers_heard(q, w, c);
	struct job *job = scheduler_job(q->scheduler, m->outcome.job);

	if (!outcome_is_sound(w, &m->outcome) ||
	    (job && (job->worker != w || job->mail->id != m->outcome.id))) {
		channel_end(c, "sent an outcome that is not its own");
		return;
	}
	if (!job && w->claims)
		job = outcome_adopt(q, w, &m->outcome);
	uint32_t *numbers = job ? mem_new(job->count, sizeof *numbers) : NULL;
	uint32_t expanded = job ? outcome_apply(q, job, &m->outcome, numbers) : 0;

	if (expanded)
		expansion_add(q, w, &m->outcome, numbers, expanded);
	else
		store_await_job(q, w, m->outcome.job);
	free(numbers);
}
