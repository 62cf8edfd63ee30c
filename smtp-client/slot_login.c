/* SPDX-License-Identifier: ISC */
/* Logging in at a relay. */
#include "slot_login.h"

#include "base64.h"
#include "slot_private.h"
#include "slot_words.h"
#include "tls_link.h"
#include "tls_plan.h"

#include <string.h>

enum { CHECKER_PATIENCE_S = 60 }; /* a token may have to be fetched */

/* -- failures ------------------------------------------------------------------------------ */

/*
 * What the relay refuses the login with is no verdict on the mail: it is
 * tried again, with a status that says so (RFC 3463 section 3.8: "X.7.8
 * Authentication credentials invalid" of RFC 4954 section 6, and its kin).
 */
static const char *status_of(const struct reply *r)
{
	if (r->enhanced && strncmp(r->dsn + 1, ".7.", 3) == 0)
		return NULL;
	switch (r->code) {
	case 535:
		return "4.7.8";
	case 534:
		return "4.7.9";
	case 538:
		return "4.7.11";
	case 432:
		return "4.7.12";
	default:
		return "4.7.0";
	}
}

/* Said once a minute; the host is not to blame towards other mail. */
void slot_login_trouble(struct slot *s, const struct reply *why)
{
	struct reply said = *why;
	const char *status = status_of(why);
	char relay[RELAY_BYTES];
	size_t len = host_relay(s->attempt.host, relay);

	if (status && (why->code || !why->enhanced))
		text_copy(said.dsn, sizeof said.dsn, text_of(status));
	said.enhanced = true;
	slot_trouble(s, &said);
	s->login_trouble = true;
	if (logins_may_say(s->worker->logins, loop_now(s->worker->daemon->loop),
			   s->route->fingerprint))
		LOG(s->worker->daemon->log, login_to_failed, 0, {relay, len}, s->route->login,
		    {said.text, said.len});
}

/*
 * RFC 4954 section 4: "If the client wishes to cancel the authentication exchange, it issues a line
 * with a single "*"". A QUIT would be taken for a response, and count as a wrong password.
 */
static void login_cancel(struct slot *s)
{
	if (s->stream && s->state == SLOT_OPEN && dialog_is_answered(&s->dialog) && !s->dialog.up &&
	    reply_class(dialog_trouble(&s->dialog)) == 3)
		PUT(stream_out(s->stream), "*\r\n");
}

/* GO_ON: another host may think otherwise. */
static void login_fail(struct slot *s, const struct reply *why, bool go_on)
{
	slot_login_trouble(s, why);
	login_cancel(s);
	login_end(&s->login, RELAY_GONE);
	slot_leave_host(s);
	if (go_on)
		slot_try_next(s);
	else
		slot_exhausted(s);
}

static void login_fail_by(struct slot *s, const char *dsn, const char *what)
{
	const struct reply why = words_make(dsn, what);

	login_fail(s, &why, false);
}

/* RFC 3463 section 3.4, X.3.0: of this mail system, and not of the relay, which did nothing wrong.
 */
static void login_fail_ours(struct slot *s, const char *what)
{
	s->ours = !s->tls_trouble && !s->login_trouble;
	login_fail_by(s, "4.3.0", what);
}

void slot_login_late(struct slot *s)
{
	login_fail_ours(s, "the checker does not answer");
}

/* -- what the checker says ------------------------------------------------------------------- */

static void login_say(void *arg, const struct msg_relay_say *m)
{
	struct slot *s = arg;
	bool first = !s->login_said;
	const char *name = sasl_name(m->mechanism);

	if (first &&
	    (!(m->mechanism & s->login.mechanisms) || (m->mechanism & (m->mechanism - 1u)))) {
		login_fail_ours(s, "the checker chose a mechanism that is not offered");
		return;
	}
	s->login_said = true;
	if (first)
		dialog_auth(&s->dialog, text_of(name), m->has_response ? &m->response : NULL);
	else
		dialog_auth_respond(&s->dialog, &m->response);
	stream_wipe_sent(s->stream);
	slot_step_done(s);
}

static void login_done(void *arg, const struct msg_relay_done *m)
{
	struct slot *s = arg;
	struct reply why = {.enhanced = true};

	if (m->again && !s->login.tried && dialog_is_answered(&s->dialog)) {
		s->login.tried = true;
		slot_follow(s, dialog_login_again(&s->dialog));
		return;
	}
	if (!m->dsn.len) { /* as the receiver said */
		why = *dialog_trouble(&s->dialog);
		login_fail(s, &why, reply_class(&why) == 4);
		return;
	}
	text_copy(why.dsn, sizeof why.dsn, m->dsn);
	why.len = (uint16_t)text_copy(why.text, sizeof why.text, m->reason);
	for (size_t i = 0; i < why.len; i++)
		if ((unsigned char)why.text[i] < ' ' || (unsigned char)why.text[i] > '~')
			why.text[i] = '?';
	s->ours = text_equals(m->dsn, "4.3.0") && !s->tls_trouble && !s->login_trouble;
	login_fail(s, &why, false);
}

/* -- what the receiver says -------------------------------------------------------------------- */

/* How safe this connection is; false: not for a login. */
static bool safety_of(const struct slot *s, uint8_t *safety)
{
	const struct tls_facts *tls = stream_tls(s->stream);

	if (tls && tls->proof != PROOF_NONE)
		*safety = RELAY_PROVED;
	else if (tls && (s->route->tls == POLICY_ENCRYPT || s->route->tls == POLICY_MAY))
		*safety = RELAY_ENCRYPTED;
	else if (!tls && s->route->tls == POLICY_MAY &&
		 host_address_is_loopback(s->attempt.host->address))
		*safety = RELAY_CLEAR;
	else
		return false;
	return true;
}

static void login_start(struct slot *s)
{
	struct login *l = &s->login;

	l->route = s->route;
	l->mechanisms = (uint16_t)s->dialog.offers.mechanisms;
	l->binding_len = 0;
	s->login_said = false;
	if (!safety_of(s, &l->safety)) {
		login_fail_by(s, "4.7.5", "it has not proved who it is, and hears no password");
		return;
	}
	if (!l->mechanisms) {
		login_fail_by(s, "4.7.4", "the relay offers no login (AUTH) that we know");
		return;
	}
	if (stream_tls_link(s->stream) && tls_link_exporter(stream_tls_link(s->stream), l->binding))
		l->binding_len = 32;
	login_begin(l, s->worker->logins);
	slot_set_deadline(s, SECONDS(CHECKER_PATIENCE_S));
}

static void login_challenged(struct slot *s)
{
	uint8_t challenge[SASL_MESSAGE_MAX];
	struct text t = text_trim(s->dialog.challenge);
	size_t len = 0;

	/* Some servers say 334 and nothing where an empty challenge is due, others "334 =". */
	if (t.len && !text_equals(t, "=") && !base64_read(t, challenge, sizeof challenge, &len)) {
		login_fail_by(s, "4.5.0", "protocol error: a challenge that is no base64");
		return;
	}
	if (!login_is_open(&s->login)) {
		login_fail_by(s, "4.5.0", "protocol error: a challenge that was not asked for");
		return;
	}
	login_step(&s->login, (struct text){(const char *)challenge, len});
	slot_set_deadline(s, SECONDS(CHECKER_PATIENCE_S));
}

/* RFC 4954 section 6: what says that the name, the password or the token is not the right one. */
static bool is_refusal(const struct reply *r)
{
	return r->code == 535 || r->code == 534 || r->code == 538 || r->code == 432 ||
	       (reply_class(r) == 5 && r->code != 500 && r->code != 502 && r->code != 503);
}

static void login_judged(struct slot *s)
{
	const struct reply *r = dialog_trouble(&s->dialog);

	if (reply_class(r) == 2 && s->login.final) {
		login_end(&s->login, RELAY_GOOD);
		s->login.tried = false;
		slot_follow(s, dialog_logged_in(&s->dialog));
	} else if (reply_class(r) == 2) {
		/* RFC 5802 section 3: who does not know the password can't prove that he does. */
		login_fail_by(s, "4.7.0", "the relay took the login without proving itself");
	} else if (login_is_open(&s->login) && is_refusal(r)) {
		/* Done follows: with another secret, or with this reply. */
		login_end(&s->login, RELAY_REFUSED);
		slot_set_deadline(s, SECONDS(CHECKER_PATIENCE_S));
	} else {
		const struct reply why = *r;

		login_fail(s, &why, reply_class(&why) == 4);
	}
}

void slot_login_follow(struct slot *s, enum dialog_says says)
{
	if (says == DIALOG_LOGIN)
		login_start(s);
	else if (says == DIALOG_CHALLENGE)
		login_challenged(s);
	else
		login_judged(s);
}

void slot_login_init(struct slot *s)
{
	s->login.say = login_say;
	s->login.done = login_done;
	s->login.arg = s;
}
