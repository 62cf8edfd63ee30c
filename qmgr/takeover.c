/* SPDX-License-Identifier: ISC */
/*
 * Frozen logins: limits says which ones, here their mail is held. What it
 * needs to find them is counted: recipients that receivers refused. The
 * veredus command asks and acts through us, since it has no way to limits.
 */
#include "qmgr.h"

#include "mem.h"
#include "submitter.h"

#include <stdlib.h>
#include <string.h>

enum {
	SLICE_SLOTS = 4096, /* of the table of messages, in one go */
	SLICE_MS = 2,
	AGAIN_MS = 100,	   /* while it is loading, or the disk does not keep up */
	PENDING_MOST = 16, /* as many as there can be connections of the command */
	FAILURES_AT_ONCE = 1000,
	TICKS = 10, /* of qmgr's, between two reports to limits */
};

/* A person's wish that limits has not answered. */
struct pending {
	struct channel *control; /* NULL: free */
	uint32_t request;
	uint64_t query;
};

struct takeover {
	struct channel *limits; /* NULL while there is none */
	struct frozen *frozen;
	struct bytes logins; /* the list as it came */
	uint32_t login_count;
	struct submitter *failing;
	struct pending pending[PENDING_MOST];
	uint64_t last_query;
	struct timer sweep;
	size_t at;  /* of the table */
	bool found; /* this pass has held something */
	unsigned ticks;
};

/* -- holding ------------------------------------------------------------------------------ */

void takeover_hold(struct qmgr *q, struct mail *mail)
{
	bool held = false;

	for (uint32_t i = 0; i < mail->recipient_count; i++) {
		struct recipient *r = &mail->recipients[i];

		if (r->state == RECIPIENT_FLYING && !r->wish) {
			r->wish = ACTION_HOLD;
			held = true;
		}
		if (r->state != RECIPIENT_READY && r->state != RECIPIENT_WAITING)
			continue;
		scheduler_remove(q->scheduler, r, RECIPIENT_HELD);
		recipient_finish(q, r, QUEUE_HELD, 0, 0, text_of(FROZEN_DSN), text_of(FROZEN_TEXT));
		held = true;
	}
	if (!held)
		return;
	q->takeover->found = true;
	LOG(q->d->log, held, mail->id, {NULL, 0}, text_of(FROZEN_TEXT));
}

static void sweep_mail(void *arg, struct table_link *link)
{
	struct mail *mail = ITEM_OF(link, struct mail, link);

	if (mail->submitter->frozen && mail->committed)
		takeover_hold(arg, mail);
}

static void sweep_slice(void *arg)
{
	struct qmgr *q = arg;
	struct takeover *t = q->takeover;

	if (!q->loaded || store_congested(q)) {
		timer_set(&t->sweep, MILLISECONDS(AGAIN_MS));
		return;
	}
	for (int i = 0; i < SLICE_SLOTS; i++) {
		if (table_slice(&q->mails.by_id, &t->at, sweep_mail, q))
			continue;
		/* A table that grew meanwhile may have moved some: once more, until none is found.
		 */
		t->at = 0;
		if (!t->found)
			return;
		t->found = false;
		break;
	}
	store_kick(q);
	timer_set(&t->sweep, MILLISECONDS(SLICE_MS));
}

static void mark(void *arg, struct table_link *link)
{
	const struct takeover *t = arg;
	struct submitter *s = ITEM_OF(link, struct submitter, link);

	s->frozen = frozen_has(t->frozen, submitter_login(s->name));
}

void takeover_frozen(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct takeover *t = q->takeover;

	frozen_take(t->frozen, m->frozen.logins);
	t->logins.start = t->logins.end = 0;
	bytes_add(&t->logins, m->frozen.logins.items.data, m->frozen.logins.items.len);
	t->login_count = m->frozen.logins.count;
	q->mails.frozen = t->frozen;
	for (size_t at = 0; table_slice(&q->mails.submitters, &at, mark, t);)
		;
	t->at = 0;
	t->found = false;
	if (frozen_count(t->frozen))
		timer_set(&t->sweep, (struct duration){0});
}

/* -- what receivers refused ----------------------------------------------------------------- */

void takeover_failed(struct qmgr *q, struct mail *mail)
{
	struct takeover *t = q->takeover;
	struct submitter *s = mail->submitter;

	if (!t->limits || !submitter_login(s->name).len)
		return;
	if (!s->failures++) {
		s->holders++;
		s->failing = t->failing;
		t->failing = s;
	}
}

/* Takes up to FAILURES_AT_ONCE off the list, and tells limits if it is there. */
static void tell_failures(struct qmgr *q)
{
	struct takeover *t = q->takeover;
	struct bytes items = {0};
	uint32_t count = 0;

	while (t->failing && count < FAILURES_AT_ONCE) {
		struct submitter *s = t->failing;

		rec_login_failures_encode(
		    &items, &(struct rec_login_failures){submitter_login(s->name), s->failures});
		count++;
		t->failing = s->failing;
		s->failures = 0;
		submitter_drop(&q->mails, s);
	}
	if (count && t->limits)
		channel_send_failures(t->limits,
				      &(struct msg_failures){{count, bytes_text(&items)}});
	bytes_free(&items);
}

void takeover_tick(struct qmgr *q)
{
	struct takeover *t = q->takeover;

	if (++t->ticks % TICKS)
		return;
	while (t->failing)
		tell_failures(q);
}

/* -- a person ---------------------------------------------------------------------------------- */

static void say_acted(struct channel *c, uint32_t request, enum login_result result)
{
	channel_send_login_acted(c, &(struct msg_login_acted){request, (uint8_t)result});
}

void takeover_act(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct takeover *t = q->takeover;
	const struct control *control = daemon_peer_state(c);
	struct pending *p = NULL;

	for (size_t i = 0; i < PENDING_MOST; i++) {
		if (t->pending[i].control == c) {
			channel_end(c, "asked before it was answered");
			return;
		}
		if (!t->pending[i].control)
			p = &t->pending[i];
	}
	if ((m->login_act.action != LOGIN_FREEZE && m->login_act.action != LOGIN_RELEASE) ||
	    !m->login_act.login.len ||
	    memchr(m->login_act.login.data, '\0', m->login_act.login.len)) {
		channel_end(c, "asked for an unknown action");
		return;
	}
	if (!t->limits || !p) {
		say_acted(c, m->login_act.request, LOGIN_AWAY);
		return;
	}
	*p = (struct pending){c, m->login_act.request, ++t->last_query};
	channel_send_login_settle(t->limits, &(struct msg_login_settle){
						 .query = p->query,
						 .action = m->login_act.action,
						 .uid = (uint32_t)control->uid,
						 .login = m->login_act.login,
					     });
}

void takeover_settled(struct channel *c, const struct message *m)
{
	struct takeover *t = qmgr_of(c)->takeover;

	for (size_t i = 0; i < PENDING_MOST; i++) {
		struct pending *p = &t->pending[i];

		if (!p->control || p->query != m->login_settled.query)
			continue;
		say_acted(p->control, p->request, (enum login_result)m->login_settled.result);
		p->control = NULL;
	}
}

void takeover_ask(struct channel *c, const struct message *m)
{
	const struct takeover *t = qmgr_of(c)->takeover;

	channel_send_logins_are(c, &(struct msg_logins_are){
				       .request = m->logins_ask.request,
				       .known = frozen_known(t->frozen),
				       .logins = {t->login_count, bytes_text(&t->logins)},
				   });
}

/* -- life -------------------------------------------------------------------------------------- */

void takeover_peer(struct qmgr *q, struct channel *c)
{
	q->takeover->limits = c;
}

void takeover_gone(struct qmgr *q, struct channel *c)
{
	struct takeover *t = q->takeover;
	bool limits = c == t->limits;

	if (limits)
		t->limits = NULL;
	for (size_t i = 0; i < PENDING_MOST; i++) {
		struct pending *p = &t->pending[i];

		if (limits && p->control)
			say_acted(p->control, p->request, LOGIN_AWAY);
		if (limits || p->control == c)
			p->control = NULL;
	}
}

void takeover_free(struct qmgr *q)
{
	struct takeover *t = q->takeover;

	q->takeover = NULL;
	if (!t)
		return;
	timer_clear(&t->sweep);
	frozen_free(&t->frozen);
	bytes_free(&t->logins);
	free(t);
}

void takeover_init(struct qmgr *q)
{
	struct takeover *t = q->takeover = mem_new(1, sizeof *t);

	t->frozen = frozen_new();
	timer_init(&t->sweep, q->loop, sweep_slice, q);
}
