/* SPDX-License-Identifier: ISC */
/* What a client's session wants: AUTH, answers to its questions, a place for its message. */
#include "client_private.h"

#include "must.h"
#include "queue_id.h"
#include "tls_link.h"

#include <stdio.h>

/* -- AUTH ----------------------------------------------------------------------------- */

/* What may be due after an answer that came later; from within the session nothing is. */
static void client_answered(struct client *c)
{
	if (!c->in_session)
		client_after(c);
}

static void login_challenged(void *owner, struct text challenge)
{
	struct client *c = owner;

	session_auth_challenge(c->session, moment_of(c), challenge);
	client_answered(c);
}

static void login_done(void *owner, enum auth_verdict verdict, struct text login)
{
	struct client *c = owner;

	c->login = NULL;
	/* The checker may not have heard of it yet. */
	if (verdict == AUTH_GOOD && frozen_has(policy_frozen(c->all->policy), login))
		verdict = AUTH_DISABLED;
	session_auth_done(c->session, moment_of(c), verdict, login);
	client_answered(c);
}

const struct auth_face client_auth_face = {
    .challenge = login_challenged,
    .done = login_done,
};

static void ask_login(struct client *c)
{
	struct session_auth said = session_auth(c->session);
	const struct tls_facts *tls = stream_tls(c->stream);
	struct auth_client client = {.address = c->address, .tls = tls != NULL};
	uint8_t binding[32];

	if (client.tls && tls_link_exporter(stream_tls_link(c->stream), binding))
		client.binding = (struct text){(const char *)binding, sizeof binding};
	if (tls)
		client.identity = tls->identity;
	auth_link_bring(c->all->logins, &c->login, c, &said, &client);
}

static unsigned client_mechanisms(void *owner)
{
	struct client *c = owner;

	return auth_link_mechanisms(c->all->logins);
}

static void client_auth_drop(void *owner)
{
	struct client *c = owner;

	auth_exchange_drop(&c->login);
}

/* -- questions ------------------------------------------------------------------------ */

/* Is there no room for one more message? */
static const struct reply *mail_refusal(struct client *c)
{
	struct clients *all = c->all;
	const struct reply *r = intake_refusal(all->intake);

	budget_hold(&all->budget, &all->backlog, intake_backlog(all->intake));
	return r ? r : budget_refusal(&all->budget, loop_now(all->d->loop));
}

static void ask_data(struct client *c)
{
	struct session_message m = session_message(c->session);
	struct intake_message *message = c->message;

	/* settled() may come from within: it finds nothing left to free. */
	if (intake_submit(message, 0, m.envelope, m.prelude))
		session_passed_on(c->session);
}

/* Something came that the session waited for: a chunk may be complete and only its end be
 * outstanding. From within the session it sees to that itself. */
static void client_goes_on(struct client *c)
{
	if (c->in_session)
		return;
	c->in_session = true;
	session_input(c->session, moment_of(c), NULL, 0);
	c->in_session = false;
	client_after(c);
}

static void question_answered(void *owner, const struct reply *r)
{
	struct client *c = owner;
	bool within = c->in_session;

	c->question = NULL;
	/* What the answer leads to, a refusal at the end of data, may end the client: not before
	 * the session has returned. */
	c->in_session = true;
	session_answer(c->session, moment_of(c), r);
	c->in_session = within;
	client_goes_on(c);
}

static void ask_policy(struct client *c, enum session_point point)
{
	struct question *q = policy_ask(c->all->policy, c->session, point, question_answered, c);

	if (q)
		c->question = q;
}

static void client_ask(void *owner, enum session_point point);

/* What the client is called, for its mail's Received. */
static void client_named(void *owner)
{
	struct client *c = owner;

	if (session_asks(c->session) != POINT_SENDER)
		return;
	bool within = c->in_session;

	c->in_session = true;
	client_ask(c, POINT_SENDER);
	c->in_session = within;
	client_goes_on(c);
}

static void client_ask(void *owner, enum session_point point)
{
	/* RFC 3207 4: 454, "TLS not available due to temporary reason" */
	static const struct reply reply_no_tls =
	    REPLY(454, "4.7.0", "TLS not available due to temporary reason");
	struct client *c = owner;
	const struct reply *refusal;

	switch (point) {
	case POINT_CLIENT:
		if (!c->awaiting_limits && c->implicit)
			client_start_tls(c);
		else if (!c->awaiting_limits)
			session_answer(c->session, moment_of(c), NULL);
		return;
	case POINT_TLS:
		session_answer(c->session, moment_of(c),
			       tls_is_ready(c->all->tls) ? NULL : &reply_no_tls);
		return;
	case POINT_SENDER:
		refusal = mail_refusal(c);
		if (refusal)
			session_answer(c->session, moment_of(c), refusal);
		else if (!caller_wait(c->caller, client_named, c))
			ask_policy(c, point);
		return;
	case POINT_HEADER:
		ask_policy(c, point);
		return;
	case POINT_DATA:
		ask_data(c);
		return;
	case POINT_AUTH:
		ask_login(c);
		return;
	case POINT_RECIPIENT:
		if (budget_is_spent(&c->all->budget))
			session_answer(c->session, moment_of(c), &reply_no_memory);
		else
			ask_policy(c, point);
		return;
	case POINT_NONE:
		break;
	}
	session_answer(c->session, moment_of(c), NULL);
}

/* -- the message ---------------------------------------------------------------------- */

static void message_settled(void *owner, const struct reply *r)
{
	struct client *c = owner;
	char text[64], id[QUEUE_ID_BYTES];
	struct reply ok = {250, "2.0.0", {text, 0}};

	c->message = NULL;
	if (r->code < 300) {
		int n = snprintf(text, sizeof text, "Ok: queued as %s", queue_id_print(c->id, id));

		ok.text.len = n > 0 ? (size_t)n : 0;
		r = &ok;
	}
	session_hold(c->session, false);
	session_answer(c->session, moment_of(c), r);
	if (!c->in_session)
		client_after(c);
}

static void message_lost(void *owner)
{
	struct client *c = owner;

	c->message = NULL;
	/* Neither 250 nor 4xx is known to be true: the client will try again or not, as it would
	 * after a cut line. */
	session_abort(c->session);
	if (!c->in_session)
		client_after(c);
}

static void message_went_on(void *owner)
{
	struct client *c = owner;

	session_hold(c->session, false);
	client_goes_on(c);
}

static const struct intake_face intake_face = {
    .settled = message_settled,
    .lost = message_lost,
    .went_on = message_went_on,
};

static uint64_t client_open(void *owner, const struct reply **refusal)
{
	static const struct reply later =
	    REPLY(451, "4.3.2", "Error: not accepting mail now, try again later");
	struct client *c = owner;

	must(!c->message);
	*refusal = mail_refusal(c);
	if (*refusal)
		return 0;
	c->message = intake_begin(c->all->intake, &intake_face, c);
	if (!c->message) {
		*refusal = &later;
		return 0;
	}
	c->id = intake_id(c->message);
	return c->id;
}

static void client_body(void *owner, const uint8_t *data, size_t len)
{
	struct client *c = owner;

	intake_body(c->message, data, len);
	if (intake_is_waiting(c->message))
		session_hold(c->session, true);
}

static void client_drop(void *owner)
{
	struct client *c = owner;

	intake_drop(&c->message);
	if (c->session)
		session_hold(c->session, false);
}

/* -- the rest ------------------------------------------------------------------------- */

static void client_event(void *owner, enum event_kind what, uint64_t id, const struct text *values,
			 size_t count)
{
	struct client *c = owner;

	log_event(c->all->d->log, what, id, values, count);
}

static void client_spent(void *owner, uint32_t recipients, uint32_t refused)
{
	const struct client *c = owner;

	policy_note(c->all->policy, c->session, recipients, refused);
}

const struct session_face client_session_face = {
    .ask = client_ask,
    .open = client_open,
    .body = client_body,
    .drop = client_drop,
    .event = client_event,
    .mechanisms = client_mechanisms,
    .auth_drop = client_auth_drop,
    .spent = client_spent,
};
