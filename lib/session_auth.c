/* SPDX-License-Identifier: ISC */
/*
 * The session engine's AUTH (RFC 4954): offers, lines, replies. What stands
 * in the lines is the host's to judge: each goes to it by POINT_AUTH.
 */
#include "session_engine.h"

#include "base64.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

enum {
	AUTH_LINE_MAX = 12288 + 2, /* RFC 4954 section 4, with CRLF */
	AUTH_FAILURES_MAX = 10,	   /* of a session; then it is closed */
};

static const struct reply reply_malformed = REPLY(501, "5.5.2", "Error: malformed response");

/* What an exchange holds, and only while it lasts: an idle session is to stay small. */
struct auth {
	struct bytes data; /* what the client said last, decoded */
	uint8_t mechanism;
	bool begins, has_initial;
};

/* -- what is offered ----------------------------------------------------------------- */

/* May a password be said here? */
static bool is_private(const struct session *s)
{
	return s->tls || (s->setup.config->auth_clear == CLEAR_LOOPBACK &&
			  host_address_is_loopback(s->setup.address));
}

static unsigned offered(const struct session *s)
{
	unsigned all;

	if (!s->setup.auth || s->logged_in)
		return 0;
	all = s->setup.face->mechanisms(s->setup.owner);
	/* A channel binding and a certificate are TLS's to give. */
	if (!s->tls || !s->tls->binds)
		all &= ~(unsigned)SASL_SCRAM_SHA_256_PLUS;
	if (!s->tls || !s->tls->identity.len)
		all &= ~(unsigned)SASL_EXTERNAL;
	return all;
}

size_t session_auth_offer(const struct session *s, char *to, size_t size)
{
	unsigned all = is_private(s) ? offered(s) : 0;
	size_t n = 0;

	if (!all)
		return 0;
	n += text_copy(to, size, text_of("AUTH"));
	for (unsigned bit = 1; bit <= SASL_ALL; bit <<= 1) {
		if (!(all & bit))
			continue;
		n += text_copy(to + n, size - n, text_of(" "));
		n += text_copy(to + n, size - n, text_of(sasl_name(bit)));
	}
	return n;
}

bool session_takes_auth_parameter(const struct session *s)
{
	return s->logged_in || (is_private(s) && offered(s));
}

/* -- an exchange ------------------------------------------------------------------------ */

static void auth_forget(struct session *s)
{
	struct auth *a = s->auth;

	if (!a)
		return;
	s->auth = NULL;
	if (a->data.data)
		explicit_bzero(a->data.data, a->data.size);
	bytes_free(&a->data);
	free(a);
}

void session_auth_end(struct session *s)
{
	if (!s->auth)
		return;
	auth_forget(s);
	s->setup.face->auth_drop(s->setup.owner);
}

/* Back to where AUTH was said; REPLY is said there. */
static void auth_over(struct session *s, const struct reply *r)
{
	static const struct reply too_many = REPLY(421, "4.7.0", "Error: too many failed logins");

	session_change(s, STEP_READY);
	if (++s->auth_failures >= AUTH_FAILURES_MAX)
		session_close(s, &too_many);
	else
		session_say(s, r);
}

/* What the client said, in base64; false when it is none. */
static bool auth_decode(struct session *s, struct text line)
{
	struct bytes *to = &s->auth->data;
	size_t n = 0;

	if (to->data)
		explicit_bzero(to->data, to->size);
	to->start = to->end = 0;
	bool good = base64_read(line, bytes_room(to, SASL_MESSAGE_MAX), SASL_MESSAGE_MAX, &n);

	to->end = n;
	return good;
}

static const struct reply *auth_refusal(struct session *s, unsigned mechanism)
{
	static const struct reply nested =
	    REPLY(503, "5.5.1", "Error: already authenticated (RFC 4954 section 4)");
	static const struct reply no_ehlo = REPLY(503, "5.5.1", "Error: send EHLO first");
	static const struct reply clear =
	    REPLY(538, "5.7.11", "Error: encryption required for authentication");
	static const struct reply unknown =
	    REPLY(504, "5.5.4", "Error: unrecognized authentication type");

	if (s->logged_in)
		return &nested;
	if (!s->esmtp)
		return &no_ehlo;
	if (!is_private(s))
		return &clear;
	return mechanism & offered(s) ? NULL : &unknown;
}

void session_verb_auth(struct session *s, struct text args)
{
	static const struct reply syntax =
	    REPLY(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]");
	ptrdiff_t blank = text_find(args, ' ');
	struct text name = {args.data, blank < 0 ? args.len : (size_t)blank};
	struct text initial = text_trim((struct text){args.data + name.len, args.len - name.len});
	unsigned mechanism = sasl_mechanism_of(name);

	if (!s->setup.auth) {
		session_verb_unimplemented(s, args);
		return;
	}
	if (!name.len || text_find(initial, ' ') >= 0) {
		session_say(s, &syntax);
		return;
	}
	const struct reply *refusal = auth_refusal(s, mechanism);

	if (refusal) {
		session_reject(s, "AUTH", (struct text){NULL, 0}, refusal);
		return;
	}
	s->auth = mem_new(1, sizeof *s->auth);
	s->auth->mechanism = (uint8_t)mechanism;
	s->auth->begins = true;
	s->auth->has_initial = initial.len > 0;
	/* RFC 4954 section 4: "=" is a response of no octets. */
	if (text_equals(initial, "="))
		initial.len = 0;
	if (!auth_decode(s, initial)) {
		auth_forget(s);
		auth_over(s, &reply_malformed);
		return;
	}
	session_change(s, STEP_AUTH);
	session_ask(s, POINT_AUTH);
}

static void auth_line(struct session *s, struct text line)
{
	/* RFC 4954 section 4: a line of one "*" cancels, and the answer is 501. */
	static const struct reply cancelled = REPLY(501, "5.7.0", "Authentication cancelled");
	bool cancels = text_equals(line, "*");

	s->auth->begins = false;
	if (cancels || !auth_decode(s, line)) {
		session_auth_end(s);
		auth_over(s, cancels ? &cancelled : &reply_malformed);
		return;
	}
	session_ask(s, POINT_AUTH);
}

bool session_take_auth(struct session *s, const uint8_t *data, size_t len, size_t *used)
{
	static const struct reply too_long =
	    REPLY(500, "5.5.6", "Error: authentication exchange line is too long");
	size_t window = len < AUTH_LINE_MAX ? len : AUTH_LINE_MAX;
	const uint8_t *lf = window ? memchr(data, '\n', window) : NULL;

	if (!lf && window < AUTH_LINE_MAX)
		return false;
	if (!lf) {
		session_auth_end(s);
		auth_over(s, &too_long);
		s->skipping_line = true;
		return true;
	}
	*used = (size_t)(lf - data) + 1;
	if (lf > data && lf[-1] == '\r') {
		auth_line(s, (struct text){(const char *)data, *used - 2});
		return true;
	}
	/* A bare LF is no base64, and where else lines end for him is not looked into. */
	session_auth_end(s);
	auth_over(s, &reply_malformed);
	return true;
}

/* -- the host's answers -------------------------------------------------------------------- */

struct session_auth session_auth(const struct session *s)
{
	const struct auth *a = s->auth;

	must(s->point == POINT_AUTH && a);
	return (struct session_auth){
	    .begins = a->begins,
	    .mechanism = a->mechanism,
	    .has_initial = a->has_initial,
	    .data = bytes_text(&a->data),
	};
}

static void auth_answered(struct session *s, struct moment now)
{
	must(s->point == POINT_AUTH && s->auth);
	s->point = POINT_NONE;
	s->now = now;
}

void session_auth_challenge(struct session *s, struct moment now, struct text challenge)
{
	struct bytes *out = s->setup.out;

	auth_answered(s, now);
	/* Not by reply_write(): a challenge may be longer than other replies. */
	bytes_add(out, "334 ", 4);
	base64_put(out, challenge.data, challenge.len);
	bytes_add(out, "\r\n", 2);
	session_change(s, STEP_AUTH);
	session_settle_drain(s);
}

/* One piece for both, as session_new() made it. */
static void take_login(struct session *s, struct text login)
{
	static const char prefix[] = "login:";
	size_t before = sizeof prefix - 1;
	char *texts = mem_new(before + 2 * login.len + 1, 1);

	memcpy(texts, prefix, before);
	memcpy(texts + before, login.data, login.len);
	memcpy(texts + before + login.len, login.data, login.len);
	free((char *)(uintptr_t)s->submitter.data);
	s->submitter = (struct text){texts, before + login.len};
	s->setup.login = (struct text){texts + before + login.len, login.len};
	s->logged_in = true;
	s->trusted = true;
	/* Who signs in submits, whatever the port (RFC 6409 3.3). */
	s->setup.repairs = REPAIRS_FULL;
}

void session_auth_done(struct session *s, struct moment now, enum auth_verdict verdict,
		       struct text login)
{
	static const struct reply good = REPLY(235, "2.7.0", "Authentication successful");
	static const struct reply failures[AUTH_VERDICTS] = {
	    [AUTH_WRONG] = REPLY(535, "5.7.8", "Error: authentication credentials invalid"),
	    /* RFC 5248 section 2.4 */
	    [AUTH_DISABLED] = REPLY(535, "5.7.13", "Error: user account disabled"),
	    [AUTH_MALFORMED] = REPLY(501, "5.5.2", "Error: malformed response"),
	    [AUTH_TEMPORARY] = REPLY(454, "4.7.0", "Temporary authentication failure"),
	    [AUTH_LATER] = REPLY(454, "4.7.0", "Error: too many logins now, try again later"),
	};
	uint8_t mechanism = s->auth ? s->auth->mechanism : 0;

	auth_answered(s, now);
	auth_forget(s);
	if (verdict == AUTH_GOOD && login.len && login.len <= SUBMITTER_MAX - strlen("login:")) {
		take_login(s, login);
		s->auth_mechanism = mechanism;
		session_change(s, STEP_READY);
		session_say(s, &good);
	} else {
		auth_over(s, verdict > AUTH_GOOD && verdict < AUTH_VERDICTS
				 ? &failures[verdict]
				 : &failures[AUTH_TEMPORARY]);
	}
	session_settle_drain(s);
}
