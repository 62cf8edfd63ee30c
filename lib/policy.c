/* SPDX-License-Identifier: ISC */
/* The questions of the named points. */
#include "policy.h"

#include "address.h"
#include "lookup.h"
#include "mem.h"
#include "rewrite.h"
#include "rights_check.h"
#include "sender_find.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	TABLE_WAIT_S = 20,
	COUNT_WAIT_S = 5, /* then the message goes through: counts are no reason to lose mail */
};

struct policy {
	struct lookups *lookups, *counts, *users;
	struct names *names;
	struct channel *limits; /* NULL while there is none */
	struct frozen *frozen;
};

/* A refusal that is said once it is counted. */
struct refusal {
	uint16_t code;
	char dsn[12], text[REPLY_TEXT_MAX + 1];
};

struct question {
	struct policy *policy;
	struct session *session;
	struct rights_check *rights;
	struct lookup *count, *user;
	struct rewrite *rewrite;
	struct sender_find *find;
	bool rewrites;		 /* once all else has been asked, unless it is refused */
	bool chooses;		 /* and then, since the sender may be another one by then */
	bool counts;		 /* once its sender has the right, or has not, it is counted */
	struct refusal *refusal; /* owned; NULL: none so far */
	void (*done)(void *owner, const struct reply *r);
	void *owner;
	bool inside, over; /* policy_ask() runs; DONE was called */
};

struct policy *policy_new(struct loop *loop)
{
	struct policy *p = mem_new(1, sizeof *p);

	p->lookups = lookups_new(loop, TABLE_FAILED, TABLE_FAILED, SECONDS(TABLE_WAIT_S));
	p->counts = lookups_new(loop, COUNT_FINE, COUNT_REFUSE, SECONDS(COUNT_WAIT_S));
	p->users = lookups_new(loop, TABLE_FAILED, TABLE_FAILED, SECONDS(TABLE_WAIT_S));
	p->names = names_new(loop);
	p->frozen = frozen_new();
	return p;
}

void policy_peer(struct policy *p, struct channel *c)
{
	if (channel_peer(c) == PEER_TABLE)
		lookups_open(p->lookups, c);
	else if (channel_peer(c) == PEER_RESOLVER)
		names_open(p->names, c);
	else if (channel_peer(c) == PEER_LOCAL)
		lookups_open(p->users, c);
	if (channel_peer(c) != PEER_LIMITS)
		return;
	lookups_open(p->counts, c);
	p->limits = c;
}

void policy_gone(struct policy *p, struct channel *c)
{
	if (channel_peer(c) == PEER_TABLE)
		lookups_gone(p->lookups);
	else if (channel_peer(c) == PEER_RESOLVER)
		names_gone(p->names);
	else if (channel_peer(c) == PEER_LOCAL)
		lookups_gone(p->users);
	if (channel_peer(c) != PEER_LIMITS)
		return;
	p->limits = NULL;
	lookups_gone(p->counts);
}

void policy_serve(struct policy *p, const struct message *m)
{
	if (m->type == MSG_frozen)
		frozen_take(p->frozen, m->frozen.logins);
	else if (m->type == MSG_looked_up)
		lookups_serve(p->lookups, m->looked_up.query, m->looked_up.verdict,
			      m->looked_up.value);
	else if (m->type == MSG_user_is)
		lookups_serve(p->users, m->user_is.query, m->user_is.verdict,
			      (struct text){NULL, 0});
	else if (m->type == MSG_name_is)
		names_serve(p->names, &m->name_is);
	else
		lookups_serve(p->counts, m->count_is.query, m->count_is.verdict,
			      m->count_is.reason);
}

struct names *policy_names(const struct policy *p)
{
	return p->names;
}

static void rewrite_settled(void *owner, const struct reply *r);
static void choose(struct question *q);

static void question_settle(struct question *q, const struct reply *r)
{
	struct question done = *q;

	if (q->rewrites && !r) {
		q->rewrites = false;
		struct rewrite *rewrite = rewrite_start(
		    q->policy->lookups, q->session, session_asks(q->session), rewrite_settled, q);

		/* What is settled from within is over, and Q may be gone. */
		if (rewrite)
			q->rewrite = rewrite;
		return;
	}
	if (q->chooses && !r) {
		q->chooses = false;
		choose(q);
		return;
	}
	q->over = true;
	q->refusal = NULL;
	if (!done.inside)
		free(q);
	done.done(done.owner, r);
	free(done.refusal);
}

const struct frozen *policy_frozen(const struct policy *p)
{
	return p->frozen;
}

void policy_note(struct policy *p, const struct session *s, uint32_t recipients, uint32_t refused)
{
	if (!p->limits || session_config(s)->takeover_then == TAKEOVER_OFF)
		return;
	channel_send_login_note(p->limits, &(struct msg_login_note){
					       .login = session_login(s),
					       .address = {(const char *)session_address(s), 16},
					       .recipients = recipients,
					       .refused = refused,
					   });
}

/* -- counts ---------------------------------------------------------------------- */

/* Is it bounce's? A user whose login is that word is a user like any other. */
static bool is_report(const struct session *s)
{
	return session_is_handed_in(s) && text_equals(session_identity(s), "bounce");
}

/* Has the configuration a rate for whoever this is? */
static bool needs_count(const struct session *s)
{
	const struct config *config = session_config(s);
	bool login = session_identity(s).len > 0;

	if (is_report(s))
		return false;
	if (login && config->rate_of[RATE_LOGIN])
		return true;
	return !session_is_handed_in(s) &&
	       config->rate_of[login || session_is_trusted(s) ? RATE_NETWORK : RATE_STRANGER];
}

/* Whatever limits says, it is not taken. */
static bool is_refused(const struct question *q)
{
	return q->refusal ||
	       (session_asks(q->session) == POINT_HEADER && session_is_refused(q->session));
}

static void count_answered(void *owner, uint8_t verdict, struct text reason)
{
	struct question *q = owner;
	char text[REPLY_TEXT_MAX + 1];
	struct reply r = {0, NULL, {text, 0}};

	q->count = NULL;
	snprintf(text, sizeof text, "Error: %.*s", (int)reason.len, reason.data);
	r.text = text_of(text);
	if (verdict == COUNT_HOLD && !is_refused(q))
		session_hold_message(q->session, reason);
	if (verdict == COUNT_DEFER) {
		r.code = 450;
		r.dsn = "4.7.1";
	} else if (verdict == COUNT_REFUSE) {
		r.code = 550;
		r.dsn = "5.7.1";
	}
	if (!r.code && q->refusal)
		r = (struct reply){q->refusal->code, q->refusal->dsn, text_of(q->refusal->text)};
	question_settle(q, r.code ? &r : NULL);
}

static void count(struct question *q)
{
	const struct session *s = q->session;
	struct msg_count_ask m = {.login = session_identity(s),
				  .trusted = session_is_trusted(s),
				  .recipients = session_recipients(s)};

	if (!session_is_handed_in(s))
		m.address = (struct text){(const char *)session_address(s), 16};
	struct lookup *lookup = lookup_count(q->policy->counts, &m, count_answered, q);

	if (lookup)
		q->count = lookup;
}

/* -- rights ---------------------------------------------------------------------- */

static void rights_settled(void *owner, const struct reply *r)
{
	struct question *q = owner;

	q->rights = NULL;
	if (!q->counts || (r ? r->code < 500 : session_asks(q->session) != POINT_HEADER)) {
		question_settle(q, r);
		return;
	}
	if (r) {
		q->refusal = mem_new(1, sizeof *q->refusal);
		q->refusal->code = r->code;
		text_copy(q->refusal->dsn, sizeof q->refusal->dsn, text_of(r->dsn));
		text_copy(q->refusal->text, sizeof q->refusal->text, r->text);
	}
	count(q);
}

static bool needs_rights(const struct session *s, enum session_point point)
{
	return session_identity(s).len && !is_report(s) &&
	       !(point == POINT_HEADER && session_is_refused(s)) &&
	       (point == POINT_HEADER || (point == POINT_SENDER && !session_is_handed_in(s)));
}

static void ask_rights(struct question *q, bool header)
{
	const struct session *s = q->session;
	const struct rights_ask ask = {
	    .config = session_config(s),
	    .lookups = q->policy->lookups,
	    .login = session_identity(s),
	    .sender =
		header && !session_is_handed_in(s) ? (struct text){NULL, 0} : session_sender(s),
	    .header = header ? session_header(s) : (struct text){NULL, 0},
	    .done = rights_settled,
	    .owner = q,
	};
	struct rights_check *check = rights_check_start(&ask);

	if (check)
		q->rights = check;
}

/* -- users of this machine --------------------------------------------------------- */

static void user_answered(void *owner, uint8_t verdict, struct text value)
{
	static const struct reply later =
	    REPLY(451, "4.3.5", "Error: users can't be looked up now, try again later");
	struct question *q = owner;
	struct text address = address_text(session_pending(q->session));
	char text[REPLY_TEXT_MAX + 1];
	struct reply unknown = {550, "5.1.1", {text, 0}};

	(void)value;
	q->user = NULL;
	snprintf(text, sizeof text, "<%.*s>: there is no such user here",
		 (int)(address.len < 320 ? address.len : 320), address.data);
	unknown.text = text_of(text);
	question_settle(q, verdict == TABLE_FOUND    ? NULL
			   : verdict == TABLE_ABSENT ? &unknown
						     : &later);
}

/* Is it the address of a mailbox here? Reports are queued first: they fail as they must. */
static bool needs_user(const struct session *s, enum session_point point)
{
	return point == POINT_RECIPIENT && !session_is_handed_in(s) &&
	       config_route(session_config(s), address_host(session_pending(s)))->kind ==
		   ROUTE_LOCAL;
}

static void ask_user(struct question *q)
{
	struct lookup *lookup = lookup_user(
	    q->policy->users, address_text(session_pending(q->session)), user_answered, q);

	if (lookup)
		q->user = lookup;
}

/* -- the table sender-routes ------------------------------------------------------- */

static bool needs_choice(const struct session *s, enum session_point point)
{
	return point == POINT_HEADER && session_config(s)->sender_routes.len &&
	       !session_is_refused(s);
}

/* Mail that would go another way than its sender's must not be taken. */
static void chosen(void *owner, const struct sender_found *found)
{
	static const struct reply later = REPLY(
	    451, "4.3.5", "Error: the sender's route can't be looked up now, try again later");
	struct question *q = owner;

	q->find = NULL;
	if (found->verdict != TABLE_FAILED)
		session_choose(q->session, &found->choice);
	question_settle(q, found->verdict == TABLE_FAILED ? &later : NULL);
}

static void choose(struct question *q)
{
	struct session *s = q->session;
	struct sender_find *find =
	    sender_find_start(q->policy->lookups, session_config(s), session_sender(s),
			      session_identity(s), chosen, q);

	/* What is settled from within is over, and Q may be gone. */
	if (find)
		q->find = find;
}

/* The last thing that is asked about; but whom a recipient is after it, local knows. */
static void rewrite_settled(void *owner, const struct reply *r)
{
	struct question *q = owner;

	q->rewrite = NULL;
	if (!r && !session_is_expanded(q->session) &&
	    needs_user(q->session, session_asks(q->session)))
		ask_user(q);
	else
		question_settle(q, r);
}

struct question *policy_ask(struct policy *p, struct session *s, enum session_point point,
			    void (*done)(void *owner, const struct reply *r), void *owner)
{
	bool rights = needs_rights(s, point), counts = needs_count(s), user = needs_user(s, point);

	bool rewrites = rewrite_is_due(s, point), chooses = needs_choice(s, point);

	if (!rights && !user && !rewrites && !chooses && !(counts && point == POINT_HEADER)) {
		done(owner, NULL);
		return NULL;
	}
	struct question *q = mem_new(1, sizeof *q);

	*q = (struct question){.policy = p,
			       .session = s,
			       .counts = counts,
			       .rewrites = rewrites,
			       .chooses = chooses,
			       .done = done,
			       .owner = owner,
			       .inside = true};
	if (point == POINT_RECIPIENT && rewrites)
		question_settle(q, NULL);
	else if (user)
		ask_user(q);
	else if (rights)
		ask_rights(q, point == POINT_HEADER);
	else if (counts)
		count(q);
	else
		question_settle(q, NULL);
	q->inside = false;
	if (!q->over)
		return q;
	free(q);
	return NULL;
}

void policy_cancel(struct question **question)
{
	if (!*question)
		return;
	rights_check_cancel(&(*question)->rights);
	lookup_cancel(&(*question)->count);
	lookup_cancel(&(*question)->user);
	rewrite_cancel(&(*question)->rewrite);
	sender_find_cancel(&(*question)->find);
	free((*question)->refusal);
	free(*question);
	*question = NULL;
}
