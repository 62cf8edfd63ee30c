/* SPDX-License-Identifier: ISC */
/* The engine's side of qmgr's intake. */
#include "intake.h"

#include "budget.h"
#include "mem.h"
#include "must.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LEASE_COUNT = 8192,
	LEASE_LOW = 4096, /* fewer left: more are asked for */
	BUCKETS = 4096,
	AWAY_SECONDS = 30,
	FILE_BATCH_BYTES = 16384,
	PATIENCE_SECONDS = 10, /* so long "not yet" is said of a qmgr that is not there */
};

enum message_state {
	MESSAGE_INLINE,	 /* its body is in memory */
	MESSAGE_WAITING, /* for its file */
	MESSAGE_FILE,	 /* its body goes to the file */
	MESSAGE_BROKEN,	 /* the file could not be had or written, or its qmgr is gone */
	MESSAGE_SUBMITTED,
};

struct intake_message {
	struct intake *in;
	struct intake_message *next, **prev; /* in its bucket */
	const struct intake_face *face;
	void *owner; /* NULL: given up while submitted */
	uint64_t id;
	struct bytes body; /* while inline or waiting */
	uint64_t body_length;
	uint32_t crc;
	int fd;
	enum message_state state;
	const struct reply *broken; /* said at the end of data */
	bool in_doubt;		    /* submitted to a qmgr that is gone */
	bool ends; /* at its end of data while its file is awaited: what follows is kept for then */
	uint64_t report;
	struct bytes envelope, prelude;
};

struct intake {
	struct loop *loop;
	struct log *log;
	uint32_t (*checksum)(uint32_t crc, const void *data, size_t len);
	struct channel *qmgr; /* NULL while there is none */
	enum intake_state state;
	uint64_t next_id;
	uint32_t ids_left, ids_ahead; /* of this range, of the one behind it */
	uint64_t ahead;
	bool leasing;
	size_t unsettled, doubts;
	struct monotime short_since; /* of qmgr's word or of IDs; 0: it is not */
	struct timer away;
	struct intake_message *buckets[BUCKETS];
};

static const struct reply reply_full = REPLY(452, "4.3.1", "Error: insufficient system storage");
static const struct reply reply_broken = REPLY(451, "4.3.0", "Error: queue file write error");
static const struct reply reply_closed =
    REPLY(451, "4.3.2", "Error: not accepting mail now, try again later");

/* -- messages ------------------------------------------------------------------- */

static struct intake_message **bucket_of(struct intake *in, uint64_t id)
{
	/* IDs are given out in order: their low bits spread by themselves. */
	return &in->buckets[id % BUCKETS];
}

static struct intake_message *message_find(struct intake *in, uint64_t id)
{
	struct intake_message *m = *bucket_of(in, id);

	while (m && m->id != id)
		m = m->next;
	return m;
}

static void message_free(struct intake_message *m)
{
	*m->prev = m->next;
	if (m->next)
		m->next->prev = m->prev;
	if (m->state == MESSAGE_SUBMITTED)
		m->in->unsettled--;
	if (m->in_doubt && --m->in->doubts == 0)
		timer_clear(&m->in->away);
	if (m->fd >= 0)
		close(m->fd);
	bytes_free(&m->body);
	bytes_free(&m->envelope);
	bytes_free(&m->prelude);
	free(m);
}

static void message_break(struct intake_message *m, const struct reply *r)
{
	m->state = MESSAGE_BROKEN;
	m->broken = r;
	bytes_free(&m->body);
	if (m->fd < 0)
		return;
	close(m->fd);
	m->fd = -1;
	if (m->in->qmgr)
		channel_send_body_drop(m->in->qmgr, &(struct msg_body_drop){m->id});
}

/* Calls VISIT for each message; VISIT may free that one. */
static void messages_each(struct intake *in, void (*visit)(struct intake_message *m))
{
	for (size_t i = 0; i < BUCKETS; i++) {
		struct intake_message *next;

		for (struct intake_message *m = in->buckets[i]; m; m = next) {
			next = m->next;
			visit(m);
		}
	}
}

static void message_settle(struct intake_message *m, const struct reply *r)
{
	const struct intake_face *face = m->face;
	void *owner = m->owner;

	message_free(m);
	if (owner && r)
		face->settled(owner, r);
	else if (owner)
		face->lost(owner);
}

/* -- IDs -------------------------------------------------------------------------- */

/* Called after each change of qmgr, its word or the IDs. */
static void note_short(struct intake *in)
{
	if (in->state != INTAKE_CLOSED && (in->ids_left || in->ids_ahead))
		in->short_since.us = 0;
	else if (!in->short_since.us)
		in->short_since = loop_now(in->loop);
}

/* Starting, or out of IDs: a matter of milliseconds, of which a client need not hear. */
static const struct reply *short_reply(const struct intake *in)
{
	struct duration is = monotime_since(loop_now(in->loop), in->short_since);

	return is.us < SECONDS(PATIENCE_SECONDS).us ? &reply_not_yet : &reply_closed;
}

static void lease_more(struct intake *in)
{
	if (!in->qmgr || in->leasing || in->ids_ahead || in->ids_left > LEASE_LOW)
		return;
	in->leasing = true;
	channel_send_lease(in->qmgr, &(struct msg_lease){LEASE_COUNT});
}

static uint64_t next_id(struct intake *in)
{
	if (!in->ids_left) {
		in->next_id = in->ahead;
		in->ids_left = in->ids_ahead;
		in->ids_ahead = 0;
	}
	if (!in->ids_left)
		return 0;
	in->ids_left--;
	uint64_t id = in->next_id++;

	note_short(in);
	lease_more(in);
	return id;
}

static void serve_leased(struct intake *in, struct channel *c, const struct msg_leased *m)
{
	if (!in->leasing || !m->first || !m->count || m->count > LEASE_COUNT ||
	    m->first > UINT64_MAX - m->count) {
		channel_end(c, "leased what was not asked for");
		return;
	}
	in->leasing = false;
	if (!in->ids_left) {
		in->next_id = m->first;
		in->ids_left = m->count;
	} else {
		in->ahead = m->first;
		in->ids_ahead = m->count;
	}
	note_short(in);
	lease_more(in);
}

/* Its file is there, or will not come. */
static void go_on(struct intake_message *m)
{
	if (!m->ends) {
		m->face->went_on(m->owner);
		return;
	}
	intake_submit(m, m->report, (struct text){(const char *)m->envelope.data, m->envelope.end},
		      (struct text){(const char *)m->prelude.data, m->prelude.end});
}

/* -- qmgr comes and goes ------------------------------------------------------------ */

static void doubt(struct intake_message *m)
{
	if (m->state == MESSAGE_SUBMITTED) {
		m->in->doubts += !m->in_doubt;
		m->in_doubt = true;
		return;
	}
	/* Its ID belongs to the old qmgr's lease and its file to nobody. */
	bool waited = m->state == MESSAGE_WAITING;

	message_break(m, &reply_broken);
	if (waited)
		go_on(m);
}

static void send_doubt(struct intake_message *m)
{
	if (m->in_doubt)
		channel_send_in_doubt(m->in->qmgr, &(struct msg_in_doubt){m->id});
}

static void give_up(struct intake_message *m)
{
	if (m->in_doubt)
		message_settle(m, NULL);
}

static void away_fired(void *arg)
{
	messages_each(arg, give_up);
}

void intake_gone(struct intake *in)
{
	in->qmgr = NULL;
	in->state = INTAKE_CLOSED;
	in->ids_left = in->ids_ahead = 0;
	in->leasing = false;
	note_short(in);
	messages_each(in, doubt);
	if (in->doubts && !timer_is_set(&in->away))
		timer_set(&in->away, SECONDS(AWAY_SECONDS));
}

void intake_open(struct intake *in, struct channel *qmgr)
{
	if (in->qmgr)
		intake_gone(in);
	in->qmgr = qmgr;
	in->state = INTAKE_CLOSED;
	uint32_t count = (uint32_t)in->doubts;

	messages_each(in, send_doubt);
	channel_send_in_doubt_end(qmgr, &(struct msg_in_doubt_end){count});
	lease_more(in);
}

struct intake *intake_new(struct loop *loop, struct log *log,
			  uint32_t (*checksum)(uint32_t crc, const void *data, size_t len))
{
	struct intake *in = mem_new(1, sizeof *in);

	in->loop = loop;
	in->log = log;
	in->checksum = checksum;
	in->state = INTAKE_CLOSED;
	timer_init(&in->away, loop, away_fired, in);
	note_short(in);
	return in;
}

void intake_free(struct intake **in)
{
	if (!*in)
		return;
	messages_each(*in, message_free);
	timer_clear(&(*in)->away);
	free(*in);
	*in = NULL;
}

const struct reply *intake_refusal(const struct intake *in)
{
	switch (in->state) {
	case INTAKE_OPEN:
		return in->ids_left || in->ids_ahead ? NULL : short_reply(in);
	case INTAKE_FULL:
	case INTAKE_LIMIT:
		return &reply_full;
	case INTAKE_BROKEN:
		return &reply_broken;
	case INTAKE_CLOSED:
		break;
	}
	return short_reply(in);
}

bool intake_is_limited(const struct intake *in)
{
	return in->state == INTAKE_LIMIT && (in->ids_left || in->ids_ahead);
}

size_t intake_unsettled(const struct intake *in)
{
	return in->unsettled;
}

/* -- the way of a message ------------------------------------------------------------- */

struct intake_message *intake_begin(struct intake *in, const struct intake_face *face, void *owner)
{
	if (intake_refusal(in))
		return NULL;
	uint64_t id = next_id(in);

	if (!id)
		return NULL;
	struct intake_message *m = mem_new(1, sizeof *m);
	struct intake_message **bucket = bucket_of(in, id);

	*m = (struct intake_message){.in = in,
				     .face = face,
				     .owner = owner,
				     .id = id,
				     .fd = -1,
				     .next = *bucket,
				     .prev = bucket};
	if (m->next)
		m->next->prev = &m->next;
	*bucket = m;
	return m;
}

uint64_t intake_id(const struct intake_message *m)
{
	return m->id;
}

bool intake_is_waiting(const struct intake_message *m)
{
	return m->state == MESSAGE_WAITING;
}

static void write_file(struct intake_message *m, const uint8_t *data, size_t len)
{
	m->crc = m->in->checksum(m->crc, data, len);
	while (len) {
		ssize_t n = write(m->fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			/* ENOSPC and EDQUOT are full, everything else is broken. */
			bool full = n < 0 && (errno == ENOSPC || errno == EDQUOT);

			message_break(m, full ? &reply_full : &reply_broken);
			return;
		}
		data += n;
		len -= (size_t)n;
	}
}

static void flush_file(struct intake_message *m)
{
	struct bytes rest = m->body;

	m->body = (struct bytes){0};
	if (m->state == MESSAGE_FILE && bytes_len(&rest))
		write_file(m, bytes_at(&rest), bytes_len(&rest));
	bytes_free(&rest);
}

/* Lines with dots come one by one: a write for each would let a few clients stop all others. */
static void add_to_file(struct intake_message *m, const uint8_t *data, size_t len)
{
	if (len < FILE_BATCH_BYTES)
		bytes_add(&m->body, data, len);
	if (len >= FILE_BATCH_BYTES || bytes_len(&m->body) >= FILE_BATCH_BYTES)
		flush_file(m);
	if (len >= FILE_BATCH_BYTES && m->state == MESSAGE_FILE)
		write_file(m, data, len);
}

void intake_body(struct intake_message *m, const uint8_t *data, size_t len)
{
	if (m->state == MESSAGE_BROKEN)
		return;
	must(m->state != MESSAGE_SUBMITTED);
	m->body_length += len;
	if (m->state == MESSAGE_FILE) {
		add_to_file(m, data, len);
		return;
	}
	if (!m->body.size)
		bytes_room(&m->body, len > 4096 ? len : 4096);
	bytes_add(&m->body, data, len);
	if (m->state == MESSAGE_INLINE && bytes_len(&m->body) > INLINE_BODY_MAX) {
		m->state = MESSAGE_WAITING;
		channel_send_body_open(m->in->qmgr, &(struct msg_body_open){m->id});
	}
}

static void serve_body_file(struct intake *in, struct channel *c, const struct message *msg)
{
	struct intake_message *m = message_find(in, msg->body_file.id);

	if (!m || m->state != MESSAGE_WAITING) {
		/* Given up in the meantime, or hostile: one file less either way. */
		if (msg->fd >= 0)
			close(msg->fd);
		if (m)
			channel_end(c, "sent a file that was not asked for");
		return;
	}
	if (msg->fd < 0) {
		const struct reply *why = intake_refusal(in);

		if (msg->fd_lost) /* qmgr has made it */
			channel_send_body_drop(c, &(struct msg_body_drop){m->id});
		message_break(m, msg->body_file.full ? &reply_full : why ? why : &reply_broken);
	} else {
		m->fd = msg->fd;
		m->state = MESSAGE_FILE;
		write_file(m, bytes_at(&m->body), bytes_len(&m->body));
		bytes_free(&m->body);
	}
	go_on(m);
}

void intake_shed(struct intake_message *m)
{
	if (m->state == MESSAGE_INLINE || m->state == MESSAGE_FILE)
		message_break(m, &reply_no_memory);
}

size_t intake_held(const struct intake_message *m)
{
	return sizeof *m + m->body.size + m->envelope.size + m->prelude.size;
}

size_t intake_backlog(const struct intake *in)
{
	return in->qmgr ? channel_backlog(in->qmgr) : 0;
}

static void keep_until_file(struct intake_message *m, uint64_t report, struct text envelope,
			    struct text prelude)
{
	m->ends = true;
	m->report = report;
	bytes_add(&m->envelope, envelope.data, envelope.len);
	bytes_add(&m->prelude, prelude.data, prelude.len);
}

bool intake_submit(struct intake_message *m, uint64_t report, struct text envelope,
		   struct text prelude)
{
	must(m->state != MESSAGE_SUBMITTED);
	if (m->state == MESSAGE_WAITING) {
		keep_until_file(m, report, envelope, prelude);
		return true;
	}
	if (m->state == MESSAGE_FILE)
		flush_file(m);
	if (m->state == MESSAGE_BROKEN || !m->in->qmgr) {
		const struct reply *r = m->state == MESSAGE_BROKEN ? m->broken : &reply_closed;

		message_settle(m, r);
		return false;
	}
	if (envelope.len > ENVELOPE_MAX || prelude.len > PRELUDE_MAX) {
		static const struct reply too_much = REPLY(552, "5.3.4", "Error: header too large");

		message_settle(m, &too_much);
		return false;
	}
	bool in_file = m->state == MESSAGE_FILE;

	channel_send_submit(m->in->qmgr, &(struct msg_submit){
					     .id = m->id,
					     .report = report,
					     .envelope = envelope,
					     .prelude = prelude,
					     .body = {(const char *)m->body.data, m->body.end},
					     .body_length = m->body_length,
					     .body_crc = in_file ? m->crc : 0,
					     .body_in_file = in_file,
					 });
	m->state = MESSAGE_SUBMITTED;
	m->in->unsettled++;
	bytes_free(&m->body);
	bytes_free(&m->envelope);
	bytes_free(&m->prelude);
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
	return true;
}

static void serve_settled(struct intake *in, struct channel *c, const struct msg_settled *s)
{
	struct intake_message *m = message_find(in, s->id);
	char dsn[12];

	if (!m || m->state != MESSAGE_SUBMITTED) {
		/* After the 30 seconds a late verdict finds nobody. */
		if (m)
			channel_end(c, "settled what was not submitted");
		return;
	}
	if (s->committed) {
		static const struct reply ok = REPLY(250, "2.0.0", "Ok");

		message_settle(m, &ok);
		return;
	}
	if (!s->code) { /* whether it is stored is not known: neither yes nor no may be said */
		message_settle(m, NULL);
		return;
	}
	text_copy(dsn, sizeof dsn, s->dsn);
	bool sane = s->code >= 400 && s->code < 600 && dsn[0] == (char)('0' + s->code / 100);
	struct reply r = {s->code, dsn, s->reply};

	message_settle(m, sane ? &r : &reply_broken);
}

void intake_drop(struct intake_message **m)
{
	struct intake_message *one = *m;

	*m = NULL;
	if (!one)
		return;
	if (one->state == MESSAGE_SUBMITTED) {
		one->owner = NULL;
		return;
	}
	if (one->in->qmgr && (one->state == MESSAGE_WAITING || one->state == MESSAGE_FILE))
		channel_send_body_drop(one->in->qmgr, &(struct msg_body_drop){one->id});
	message_free(one);
}

static void serve_state(struct intake *in, enum intake_state state)
{
	in->state = state;
	note_short(in);
}

void intake_serve(struct intake *in, struct channel *c, const struct message *m)
{
	if (c != in->qmgr) {
		if (m->fd >= 0)
			close(m->fd);
		return;
	}
	if (m->type == MSG_leased)
		serve_leased(in, c, &m->leased);
	else if (m->type == MSG_body_file)
		serve_body_file(in, c, m);
	else if (m->type == MSG_settled)
		serve_settled(in, c, &m->settled);
	else if (m->type == MSG_intake && m->intake.state <= INTAKE_CLOSED)
		serve_state(in, (enum intake_state)m->intake.state);
	else
		channel_end(c, "sent an intake state that is none");
}
