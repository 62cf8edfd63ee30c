/* SPDX-License-Identifier: ISC */
/* The questions of the named points. */
#include "policy.h"

#include "lookup.h"
#include "mem.h"
#include "rights_check.h"

#include <stdlib.h>

struct policy {
	struct lookups *lookups;
};

struct question {
	struct policy *policy;
	struct rights_check *rights;
	void (*done)(void *owner, const struct reply *r);
	void *owner;
	bool inside, over; /* policy_ask() runs; DONE was called */
};

struct policy *policy_new(struct loop *loop)
{
	struct policy *p = mem_new(1, sizeof *p);

	p->lookups = lookups_new(loop);
	return p;
}

void policy_peer(struct policy *p, struct channel *c)
{
	if (channel_peer(c) == PEER_TABLE)
		lookups_open(p->lookups, c);
}

void policy_gone(struct policy *p, struct channel *c)
{
	if (channel_peer(c) == PEER_TABLE)
		lookups_gone(p->lookups);
}

void policy_serve(struct policy *p, const struct message *m)
{
	lookups_serve(p->lookups, &m->looked_up);
}

static void question_settle(struct question *q, const struct reply *r)
{
	struct question done = *q;

	q->over = true;
	if (!done.inside)
		free(q);
	done.done(done.owner, r);
}

static void rights_settled(void *owner, const struct reply *r)
{
	struct question *q = owner;

	q->rights = NULL;
	question_settle(q, r);
}

static bool needs_rights(const struct session *s, enum session_point point)
{
	return session_identity(s).len && !text_equals(session_identity(s), "bounce") &&
	       (point == POINT_HEADER || (point == POINT_SENDER && !session_is_handed_in(s)));
}

struct question *policy_ask(struct policy *p, const struct session *s, enum session_point point,
			    void (*done)(void *owner, const struct reply *r), void *owner)
{
	bool header = point == POINT_HEADER;

	if (!needs_rights(s, point)) {
		done(owner, NULL);
		return NULL;
	}
	struct question *q = mem_new(1, sizeof *q);

	*q = (struct question){.policy = p, .done = done, .owner = owner, .inside = true};
	const struct rights_ask ask = {
	    .config = session_config(s),
	    .lookups = p->lookups,
	    .login = session_identity(s),
	    .sender =
		header && !session_is_handed_in(s) ? (struct text){NULL, 0} : session_sender(s),
	    .header = header ? session_header(s) : (struct text){NULL, 0},
	    .done = rights_settled,
	    .owner = q,
	};
	struct rights_check *check = rights_check_start(&ask);

	q->inside = false;
	if (q->over) {
		free(q);
		return NULL;
	}
	q->rights = check;
	return q;
}

void policy_cancel(struct question **question)
{
	if (!*question)
		return;
	rights_check_cancel(&(*question)->rights);
	free(*question);
	*question = NULL;
}
