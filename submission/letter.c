/* SPDX-License-Identifier: ISC */
/* One mail on its way through the door: fed to a session, submitted, answered with `handed`. */
#include "submission.h"

#include "mem.h"
#include "queue_id.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LETTERS_MAX = 256, PIECE_BYTES = 65536 };

struct letter {
	struct submission *self;
	struct letter *next, **prev;
	struct channel *from; /* NULL: gone */
	struct session *session;
	struct intake_message *message;
	struct bytes content; /* inline, or the piece read last */
	uint64_t left;	      /* still to be read from fd */
	uint64_t token, report, id;
	uint64_t number; /* what pickup calls it; 0: nothing */
	uint32_t uid;
	int fd;
	struct question *question;
	size_t held; /* memory, as the budget knows it */
	bool settled, taken, feeding, ended;
};

static struct moment moment_of(const struct letter *l)
{
	const struct loop *loop = l->self->d->loop;

	return (struct moment){loop_now(loop), loop_wall(loop)};
}

static void letter_free(struct letter *l)
{
	struct submission *self = l->self;

	policy_cancel(&l->question);
	session_free(&l->session);
	intake_drop(&l->message);
	budget_hold(server_budget(self->d), &l->held, 0);
	bytes_free(&l->content);
	if (l->fd >= 0)
		close(l->fd);
	*l->prev = l->next;
	if (l->next)
		l->next->prev = l->prev;
	free(l);
	if (--self->count == 0)
		server_settle(self->d);
}

static void say_handed(struct channel *to, uint64_t token, uint64_t id, uint16_t code,
		       const char *dsn, const char *text)
{
	char reply[REPLY_TEXT_MAX + 16];
	int n = snprintf(reply, sizeof reply, "%s %s", dsn, text);

	channel_send_handed(to, &(struct msg_handed){
				    .token = token,
				    .taken = code < 300,
				    .id = code < 300 ? id : 0,
				    .code = code,
				    .reply = {reply, n > 0 ? strlen(reply) : 0},
				});
}

/* The session has its verdict, or will have none. */
static void letter_finish(struct letter *l)
{
	struct submission *self = l->self;
	const struct session_verdict *v = session_hand_verdict(l->session);

	/* Whoever brought it may not have heard: then it comes again. */
	if (l->taken && l->number) {
		self->taken[self->taken_next] = (struct taken){l->number, l->id, l->uid};
		self->taken_next = (self->taken_next + 1) % TAKEN_MAX;
	}

	/* The engine says 250 at MAIL too: only qmgr's counts. */
	if (l->from && v && (l->taken || v->code >= 400))
		say_handed(l->from, l->token, l->id, v->code, v->dsn, v->text);
	else if (l->from)
		say_handed(l->from, l->token, 0, 451, "4.3.0", "Error: the queue went away");
	letter_free(l);
}

/* -- feeding ---------------------------------------------------------------------------- */

/* The next piece of a content that is a file. False when the file is not what was said. */
static bool refill(struct letter *l)
{
	size_t want = l->left < PIECE_BYTES ? (size_t)l->left : PIECE_BYTES;
	ssize_t n;

	do {
		n = read(l->fd, bytes_room(&l->content, want), want);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false;
	l->content.end += (size_t)n;
	l->left -= (uint64_t)n;
	return true;
}

/* False: refused. */
static bool feed(struct letter *l)
{
	while (bytes_len(&l->content) || l->left) {
		if (!bytes_len(&l->content) && !refill(l))
			return false;
		size_t n = session_hand_content(l->session, moment_of(l), bytes_at(&l->content),
						bytes_len(&l->content));

		bytes_take(&l->content, n, PIECE_BYTES);
		if (bytes_len(&l->content))
			return session_blocked(l->session);
	}
	/* The last octet may be the header block's, and a question about that be out. */
	if (session_blocked(l->session))
		return true;
	l->ended = true;
	return session_hand_end(l->session, moment_of(l));
}

/* Goes on as far as it can; the letter may be gone when it returns. */
static void letter_go_on(struct letter *l)
{
	l->feeding = true;
	bool fine = feed(l);

	l->feeding = false;
	budget_hold(server_budget(l->self->d), &l->held,
		    l->content.size + session_held(l->session) +
			(l->message ? intake_held(l->message) : 0));
	if (!fine || l->settled)
		letter_finish(l);
}

/* -- faces -------------------------------------------------------------------------------- */

static void message_settled(void *owner, const struct reply *r)
{
	struct letter *l = owner;

	l->message = NULL;
	l->settled = true;
	l->taken = r->code < 300;
	session_hold(l->session, false);
	session_answer(l->session, moment_of(l), r);
	if (!l->feeding)
		letter_finish(l);
}

static void message_lost(void *owner)
{
	struct letter *l = owner;

	l->message = NULL;
	l->settled = true;
	session_abort(l->session);
	if (!l->feeding)
		letter_finish(l);
}

static void message_went_on(void *owner)
{
	struct letter *l = owner;

	session_hold(l->session, false);
	if (!l->feeding)
		letter_go_on(l);
}

static const struct intake_face intake_face = {
    .settled = message_settled,
    .lost = message_lost,
    .went_on = message_went_on,
};

static void letter_answered(void *owner, const struct reply *r)
{
	struct letter *l = owner;
	bool within = l->feeding;

	l->question = NULL;
	l->feeding = true; /* what is settled from within is seen to below */
	session_answer(l->session, moment_of(l), r);
	l->feeding = within;
	if (within)
		return;
	if (!l->ended)
		letter_go_on(l);
	else if (l->settled || session_asks(l->session) != POINT_DATA)
		letter_finish(l);
}

static void letter_ask(void *owner, enum session_point point)
{
	struct letter *l = owner;

	if (point == POINT_DATA) {
		struct session_message m = session_message(l->session);

		if (intake_submit(l->message, l->report, m.envelope, m.prelude))
			session_passed_on(l->session);
	} else if (point == POINT_SENDER) {
		const struct intake *in = server_intake(l->self->d);
		bool taken = l->report && intake_is_limited(in);

		session_answer(l->session, moment_of(l), taken ? NULL : intake_refusal(in));
	} else if (point == POINT_HEADER) {
		struct question *q =
		    policy_ask(server_policy(l->self->d), l->session, point, letter_answered, l);

		if (q)
			l->question = q;
	} else {
		session_answer(l->session, moment_of(l), NULL);
	}
}

static uint64_t letter_open(void *owner, const struct reply **refusal)
{
	static const struct reply later = REPLY(451, "4.3.2", "Error: not accepting mail now");
	struct letter *l = owner;
	struct intake *in = server_intake(l->self->d);

	l->message = intake_begin(in, &intake_face, l);
	if (l->message) {
		l->id = intake_id(l->message);
		return l->id;
	}
	*refusal = intake_refusal(in);
	if (!*refusal)
		*refusal = &later;
	return 0;
}

static void letter_body(void *owner, const uint8_t *data, size_t len)
{
	struct letter *l = owner;

	intake_body(l->message, data, len);
	if (intake_is_waiting(l->message))
		session_hold(l->session, true);
}

static void letter_drop(void *owner)
{
	struct letter *l = owner;

	intake_drop(&l->message);
}

static void letter_event(void *owner, enum event_kind what, uint64_t id, const struct text *values,
			 size_t count)
{
	struct letter *l = owner;

	log_event(l->self->d->log, what, id, values, count);
}

static const struct session_face session_face = {
    .ask = letter_ask,
    .open = letter_open,
    .body = letter_body,
    .drop = letter_drop,
    .event = letter_event,
};

/* -- coming and going ----------------------------------------------------------------------- */

static bool put_recipients(struct letter *l, struct wire_list list)
{
	struct rec_handin_recipient r;

	while (list_next_handin_recipient(&list, &r))
		if (!session_hand_recipient(l->session, r.address, r.notify))
			return false;
	return true;
}

/* Mail of our own making: reports, and notices to the postmaster. */
static bool is_ours(const struct channel *from)
{
	return (channel_peer(from) & (PEER_BOUNCE | PEER_LIMITS)) != 0;
}

static struct letter *letter_make(struct submission *self, struct channel *from,
				  const struct msg_handin *m, uint32_t uid, int fd)
{
	struct letter *l = mem_new(1, sizeof *l);
	struct text login = is_ours(from) ? text_of("bounce") : m->login;

	*l = (struct letter){.self = self,
			     .next = self->letters,
			     .prev = &self->letters,
			     .from = from,
			     .token = m->token,
			     .report = channel_peer(from) == PEER_BOUNCE ? m->report : 0,
			     .number = is_ours(from) ? 0 : m->number,
			     .uid = uid,
			     .left = fd >= 0 ? m->content_length : 0,
			     .fd = fd};
	if (l->next)
		l->next->prev = &l->next;
	self->letters = l;
	self->count++;
	bytes_add(&l->content, m->content.data, m->content.len);
	l->session = session_new(
	    &(struct session_setup){
		.face = &session_face,
		.owner = l,
		.config = self->d->config,
		.login = login,
		.submitter = login,
		.seed = server_seed(self->d),
		.repairs = is_ours(from) ? REPAIRS_OURS : REPAIRS_FULL,
	    },
	    moment_of(l));
	session_begin(l->session);
	return l;
}

/* "uid:1000", as it will stand in Received and be looked up as a login. */
static bool is_user(struct text login, uint32_t *uid)
{
	uint64_t number;

	if (login.len <= 4 || memcmp(login.data, "uid:", 4) != 0 ||
	    !text_number((struct text){login.data + 4, login.len - 4}, UINT32_MAX, &number))
		return false;
	*uid = (uint32_t)number;
	return true;
}

/*
 * A pickup that was restarted brings what the one before had brought: what is
 * still under way is told to it, what is in the queue is not queued again.
 */
static bool is_here_already(struct submission *self, struct channel *from,
			    const struct msg_handin *m, uint32_t uid)
{
	for (struct letter *l = self->letters; l; l = l->next)
		if (l->number == m->number && l->uid == uid) {
			l->from = from;
			l->token = m->token;
			return true;
		}
	for (size_t i = 0; i < TAKEN_MAX; i++)
		if (self->taken[i].number == m->number && self->taken[i].uid == uid) {
			say_handed(from, m->token, self->taken[i].id, 250, "2.0.0",
				   "Ok: it is queued");
			return true;
		}
	return false;
}

void letter_new(struct submission *self, struct channel *from, const struct msg_handin *m, int fd,
		bool fd_lost)
{
	uint32_t uid = 0;

	/* A uid is what makes it one's own: without it, or with content twice, the bringer is
	 * broken. */
	if ((!is_ours(from) && !is_user(m->login, &uid)) || (fd >= 0 && m->content.len)) {
		channel_end(from, "handed in what is no mail of its own");
		if (fd >= 0)
			close(fd);
		return;
	}
	if (!is_ours(from) && m->number && is_here_already(self, from, m, uid)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (server_is_draining(self->d) || budget_is_spent(server_budget(self->d)) ||
	    self->count >= LETTERS_MAX || fd_lost) {
		say_handed(from, m->token, 0, 451, "4.3.2", "Error: not accepting mail now");
		if (fd >= 0)
			close(fd);
		return;
	}
	struct letter *l = letter_make(self, from, m, uid, fd);

	if (!session_hand_sender(l->session, moment_of(l), m->sender, m->smtputf8 != 0,
				 m->body_type, m->tls) ||
	    !session_hand_dsn(l->session, m->envid, m->ret) || !put_recipients(l, m->recipients)) {
		letter_finish(l);
		return;
	}
	letter_go_on(l);
}

void letter_ours(struct submission *self, struct channel *from, uint64_t token, struct text sender,
		 struct text to, const struct bytes *content)
{
	struct bytes recipients = {0};

	/* RFC 3461 section 6.1: nobody is told of its failure. */
	rec_handin_recipient_encode(&recipients, &(struct rec_handin_recipient){to, NOTIFY_NEVER});
	letter_new(self, from,
		   &(struct msg_handin){
		       .token = token,
		       .sender = sender,
		       .recipients = {1, bytes_text(&recipients)},
		       .content = bytes_text(content),
		       .content_length = bytes_len(content),
		   },
		   -1, false);
	bytes_free(&recipients);
}

bool hourly_take(const struct submission *self, struct hourly *kind, unsigned most)
{
	struct monotime now = loop_now(self->d->loop);

	if (!kind->since.us || seconds_of(monotime_since(now, kind->since)) >= 3600)
		*kind = (struct hourly){now, 0};
	return ++kind->count <= most;
}

void letters_forget(struct submission *self, const struct channel *from)
{
	for (struct letter *l = self->letters; l; l = l->next)
		if (l->from == from)
			l->from = NULL;
}

uint32_t letters_left(void *own)
{
	return ((struct submission *)own)->count;
}

uint32_t letters_cut(void *own)
{
	struct submission *self = own;
	uint32_t left = self->count;

	while (self->letters)
		letter_free(self->letters);
	return left;
}
