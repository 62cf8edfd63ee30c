/* SPDX-License-Identifier: ISC */
/*
 * Import: the veredus command hands messages in over the control socket, each
 * with the state that its recipients had where it comes from. That state
 * travels in the commit record, so there is no moment in which a held
 * recipient is not held. A large body is written by the command itself into a
 * file that it is given, as engines do; this loop never touches it.
 */
#include "qmgr.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <unistd.h>

/* Something for a thread: making a body's file, or making it safe. */
struct import_work {
	struct work work;
	struct qmgr *q;
	struct control *control;
	uint64_t id, length;
	struct bytes frame; /* the import that waits for it */
	int fd;
	enum queue_result result;
};

static const char *refusal(enum queue_result why)
{
	return why == QUEUE_FULL      ? "the disk is full"
	       : why == QUEUE_TOO_BIG ? "it is too large for segments of this size"
	       : why == QUEUE_DAMAGED ? "its body did not arrive whole"
	       : why == QUEUE_WAIT    ? "veredus is stopping"
	       : why == QUEUE_IO
		   ? "the disk failed while it was written: it may be in the queue or not"
		   : "it could not be written";
}

/* Why nothing is taken now; NULL: it is. */
static const char *closed(const struct qmgr *q, uint32_t recipients)
{
	if (q->draining)
		return "veredus is stopping";
	if (door_over_limit(q, recipients))
		return "queue-limit is reached";
	return q->intake == INTAKE_FULL	    ? "the disk is full"
	       : q->intake == INTAKE_BROKEN ? "the disk cannot be written"
					    : NULL;
}

/* The request is over; false when nobody waits for its answer, and then CONTROL is gone. */
static bool request_ends(struct control *control, uint32_t *request)
{
	*request = control->importing;
	control->importing = 0;
	if (control->engine.channel)
		return true;
	free(control);
	return false;
}

static void answer(struct control *control, uint64_t id, bool again, const char *error)
{
	struct msg_imported m = {.id = id, .again = again, .error = text_of(error)};

	if (request_ends(control, &m.request))
		channel_send_imported(control->engine.channel, &m);
}

static void file_forget(struct qmgr *q, struct control *control)
{
	if (control->file)
		door_body_refused(q, control->file);
	control->file = 0;
}

/* The id that it has; 0: it was not taken of late. */
static uint64_t known_id(const struct qmgr *q, uint64_t key)
{
	for (size_t i = 0; key && i < IMPORTS_KNOWN; i++)
		if (q->imports[i].key == key)
			return q->imports[i].id;
	return 0;
}

void import_took(struct qmgr *q, struct engine *e, uint64_t id)
{
	struct control *control = (struct control *)e;

	if (control->key)
		q->imports[q->imports_at++ % IMPORTS_KNOWN] =
		    (struct import_known){control->key, id};
	answer(control, id, false, NULL);
}

void import_refuse(struct engine *e, enum queue_result why)
{
	answer((struct control *)e, 0, false, refusal(why));
}

void import_gone(struct qmgr *q, struct control *control)
{
	control->engine.channel = NULL;
	if (control->importing) /* whoever ends the request frees it */
		return;
	file_forget(q, control);
	free(control);
}

static void work_start(struct qmgr *q, struct control *control, uint64_t id,
		       const struct msg_import *m, void (*run)(void *), void (*done)(void *))
{
	struct import_work *w = mem_new(1, sizeof *w);

	w->work = (struct work){.run = run, .done = done, .arg = w};
	w->q = q;
	w->control = control;
	w->id = id;
	w->fd = -1;
	if (m) {
		w->length = m->body_length;
		message_encode(&w->frame, MSG_import, m);
	}
	pool_add(q->readers, &w->work);
}

/* -- a file for a large body -------------------------------------------------------------- */

static void open_run(void *arg)
{
	struct import_work *w = arg;

	w->result = queue_body_create(w->q->queue, w->id, &w->fd);
}

static void open_done(void *arg)
{
	struct import_work *w = arg;
	struct control *control = w->control;
	struct channel *c = control->engine.channel;
	bool made = w->result == QUEUE_OK;
	struct msg_import_file m = {0};

	if (made && !c) {
		close(w->fd);
		door_body_refused(w->q, w->id);
	}
	if (request_ends(control, &m.request)) {
		control->file = made ? w->id : 0;
		m.error = text_of(
		    made ? NULL : refusal(w->result == QUEUE_FULL ? QUEUE_FULL : QUEUE_ABORTED));
		channel_send(c, MSG_import_file, &m, made ? w->fd : -1);
	}
	free(w);
}

void import_open(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct control *control = daemon_peer_state(c);
	struct msg_import_file a = {.request = m->import_open.request};
	uint64_t id;

	if (!control || control->importing || control->file || !a.request) {
		channel_end(c, "imports out of turn");
		return;
	}
	const char *why = closed(q, 1);

	a.error = text_of(why);
	a.again = !why && queue_ids_take(q->queue, 1, &id) != QUEUE_OK;
	if (why || a.again) {
		store_kick(q);
		channel_send_import_file(c, &a);
		return;
	}
	control->importing = a.request;
	work_start(q, control, id, NULL, open_run, open_done);
}

void import_drop(struct channel *c, const struct message *m)
{
	struct control *control = daemon_peer_state(c);

	if (!control || control->importing || !control->file || !m->import_drop.request)
		channel_end(c, "drops an import out of turn");
	else
		file_forget(qmgr_of(c), control);
}

/* -- the message -------------------------------------------------------------------------- */

static bool state_fits(const struct rec_import_state *s)
{
	uint8_t may = QUEUE_NOTICED, owed = 0;

	if (s->kind == QUEUE_DEFERRED || s->kind == QUEUE_HELD)
		may |= QUEUE_OWED_DELAY;
	else if (s->kind == QUEUE_FAILED)
		owed = QUEUE_OWED_FAILURE;
	else if (s->kind == QUEUE_RELAYED || s->kind == QUEUE_DELIVERED)
		owed = QUEUE_OWED_SUCCESS;
	else
		return false;
	return !(s->flags & ~(may | owed)) && (s->flags & owed) == owed &&
	       s->at_wall <= INT64_MAX && s->next_wall <= INT64_MAX;
}

static bool states_fit(struct wire_list states, uint32_t recipients)
{
	struct rec_import_state s;
	uint32_t next = 0;

	while (list_next_import_state(&states, &s)) {
		if (s.number < next || s.number >= recipients || !state_fits(&s))
			return false;
		next = s.number + 1;
	}
	return true;
}

static const char *import_fault(const struct control *control, const struct msg_import *m)
{
	struct envelope e;

	if (!control || control->importing || !m->request)
		return "imports out of turn";
	if (!envelope_decode(m->envelope, &e))
		return "imported a malformed envelope";
	if (m->body_in_file > 1 || m->body_in_file != (control->file != 0) ||
	    (m->body_in_file ? m->body.len > 0 : m->body_length != m->body.len))
		return "imported a body that is not as said";
	if (!states_fit(m->states, e.recipient_count))
		return "imported a state that is none";
	return NULL;
}

/* What the recipients come with, as outcomes of the message's own commit. */
static struct queue_outcome *import_outcomes(struct wire_list states, uint64_t id)
{
	struct queue_outcome *all = mem_new((size_t)states.count + 1, sizeof *all), *o = all;
	struct rec_import_state s;

	for (; list_next_import_state(&states, &s); o++)
		*o = (struct queue_outcome){.id = id,
					    .recipient = s.number,
					    .kind = (enum queue_kind)s.kind,
					    .flags = s.flags,
					    .attempts = s.attempts,
					    .code = s.code,
					    .dsn = s.dsn,
					    .text = s.reply,
					    .at = {(int64_t)s.at_wall},
					    .next = {(int64_t)s.next_wall}};
	return all;
}

static void import_log(struct qmgr *q, const struct control *control, const struct msg_import *m,
		       uint64_t id)
{
	struct envelope e;
	char uid[16];

	must(envelope_decode(m->envelope, &e));
	snprintf(uid, sizeof uid, "%u", (unsigned)control->uid);
	LOG(q->d->log, imported, id, text_of(uid), m->origin);
	LOG(q->d->log, message_id, id, e.message_id);
}

static enum queue_result import_put(struct qmgr *q, struct control *control,
				    const struct msg_import *m, uint64_t id)
{
	struct msg_submit s = {.id = id,
			       .envelope = m->envelope,
			       .prelude = m->prelude,
			       .body = m->body,
			       .body_length = m->body_length,
			       .body_crc = m->body_crc,
			       .body_in_file = m->body_in_file};
	struct queue_outcome *outcomes = import_outcomes(m->states, id);
	struct mail *mail;
	enum queue_result r = door_put(q, &control->engine, &s, outcomes, m->states.count, &mail);

	if (r == QUEUE_OK) {
		door_states(q, mail, outcomes, m->states.count);
		import_log(q, control, m, id);
		control->file = 0;
	}
	free(outcomes);
	return r;
}

/* Into the batch; the commit answers. Or the answer is given here. */
static void import_try(struct qmgr *q, struct control *control, const struct msg_import *m,
		       uint64_t id)
{
	struct envelope e;

	must(envelope_decode(m->envelope, &e));
	const char *why = closed(q, e.recipient_count);
	enum queue_result r = why ? QUEUE_ABORTED : import_put(q, control, m, id);
	bool again = r == QUEUE_BATCH_FULL || r == QUEUE_WAIT;

	if (r == QUEUE_OK)
		return;
	if (!again || !control->engine.channel)
		file_forget(q, control);
	store_kick(q);
	answer(control, 0, again,
	       again ? NULL
	       : why ? why
		     : refusal(r == QUEUE_IO ? QUEUE_ABORTED : r));
}

static void finish_run(void *arg)
{
	struct import_work *w = arg;

	w->result = queue_body_finish(w->q->queue, w->id, w->length);
}

static void finish_done(void *arg)
{
	struct import_work *w = arg;
	struct message m;

	must(message_decode(bytes_at(&w->frame), bytes_len(&w->frame), MSG_import, &m));
	/* One that nobody can be told of would be imported again. */
	if (!w->control->engine.channel)
		w->result = QUEUE_ABORTED;
	if (w->result == QUEUE_OK) {
		import_try(w->q, w->control, &m.import, w->id);
	} else {
		file_forget(w->q, w->control);
		answer(w->control, 0, false,
		       refusal(w->result == QUEUE_IO ? QUEUE_ABORTED : w->result));
	}
	bytes_free(&w->frame);
	free(w);
}

void import_mail(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct control *control = daemon_peer_state(c);
	const char *fault = import_fault(control, &m->import);
	uint64_t id;

	if (fault) {
		channel_end(c, fault);
		return;
	}
	control->importing = m->import.request;
	control->key = m->import.key;
	/* The command was killed before it had renamed the file. */
	if ((id = known_id(q, m->import.key))) {
		file_forget(q, control);
		answer(control, id, false, NULL);
	} else if (m->import.body_in_file) {
		work_start(q, control, control->file, &m->import, finish_run, finish_done);
	} else if (queue_ids_take(q->queue, 1, &id) == QUEUE_OK) {
		import_try(q, control, &m->import, id);
	} else {
		store_kick(q);
		answer(control, 0, true, NULL);
	}
}
