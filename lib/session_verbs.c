/* SPDX-License-Identifier: ISC */
/* The session engine's commands: a verb, the steps in which it is legal, its handler. */
#include "session_engine.h"

#include <stdio.h>
#include <stdlib.h>

static const struct reply reply_ok = REPLY(250, "2.0.0", "Ok");

static void say_syntax(struct session *s, const char *form)
{
	session_sayf(s, 501, "5.5.4", "Syntax: %s", form);
}

static bool greet(struct session *s, struct text args, const char *form)
{
	if (!address_is_greeting(args)) {
		/* RFC 2034: no enhanced code in "any response to HELO or EHLO". */
		session_sayf(s, 501, NULL, "Syntax: %s", form);
		return false;
	}
	/* RFC 5321 4.1.4: a new EHLO clears all state "exactly as if a RSET command had been
	 * issued". */
	transaction_end(s);
	free(s->helo);
	s->helo = mem_copy(args.data, args.len);
	session_change(s, STEP_READY);
	return true;
}

static void verb_helo(struct session *s, struct text args)
{
	if (!greet(s, args, "HELO hostname"))
		return;
	s->esmtp = false;
	session_say(s, &(struct reply){250, NULL, s->setup.config->hostname});
}

static void verb_ehlo(struct session *s, struct text args)
{
	char size[40], auth[128];

	if (!greet(s, args, "EHLO hostname"))
		return;
	s->esmtp = true;
	snprintf(size, sizeof size, "SIZE %llu",
		 (unsigned long long)s->setup.config->limit_message);
	struct text lines[] = {
	    s->setup.config->hostname,
	    TEXT("PIPELINING"),
	    text_of(size),
	    TEXT("8BITMIME"),
	    TEXT("ENHANCEDSTATUSCODES"),
	    TEXT("DSN"),
	    TEXT("SMTPUTF8"),
	    TEXT(""),
	    TEXT(""),
	    TEXT(""),
	};
	size_t count = sizeof lines / sizeof *lines - 3;

	/* RFC 3207 4.2: it "MUST NOT" be offered once TLS is there. Not as the last line, where
	 * GNU SASL's client does not see it. */
	if (s->setup.offers_tls && !s->tls)
		lines[count++] = text_of("STARTTLS");
	if (s->tls)
		lines[count++] = text_of("REQUIRETLS");
	lines[count++] = text_of("CHUNKING");
	/* RFC 4954 section 4.3: what is not offered is not named. */
	lines[count] = (struct text){auth, session_auth_offer(s, auth, sizeof auth)};
	count += lines[count].len > 0;
	for (size_t i = 0; i < count; i++)
		reply_write(s->setup.out, &(struct reply){250, NULL, lines[i]}, i + 1 < count);
}

static void verb_rset(struct session *s, struct text args)
{
	if (args.len) {
		say_syntax(s, "RSET");
		return;
	}
	transaction_end(s);
	session_change(s, s->step == STEP_START ? STEP_START : STEP_READY);
	session_say(s, &reply_ok);
}

static void verb_noop(struct session *s, struct text args)
{
	(void)args; /* RFC 5321 4.1.1.9: of a parameter, servers "SHOULD ignore it" */
	session_say(s, &reply_ok);
}

static void verb_quit(struct session *s, struct text args)
{
	static const struct reply bye = REPLY(221, "2.0.0", "Bye");

	if (args.len) {
		say_syntax(s, "QUIT");
		return;
	}
	s->has_quit = true;
	session_close(s, &bye);
}

static void verb_vrfy(struct session *s, struct text args)
{
	/* RFC 5321 3.5.3: 252 for "could not be verified", so that nobody harvests addresses. */
	static const struct reply reply =
	    REPLY(252, "2.0.0", "Cannot VRFY user, but will take a message and try to deliver it");

	if (!args.len)
		say_syntax(s, "VRFY address");
	else
		session_say(s, &reply);
}

static void verb_help(struct session *s, struct text args)
{
	static const struct reply reply = REPLY(
	    214, "2.0.0", "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT (RFC 5321)");

	(void)args;
	session_say(s, &reply);
}

static void verb_starttls(struct session *s, struct text args)
{
	static const struct reply reply_active =
	    REPLY(503, "5.5.1", "Error: TLS is active already");
	static const struct reply reply_order =
	    REPLY(503, "5.5.1", "Error: STARTTLS comes behind EHLO, before AUTH and MAIL");

	if (s->tls)
		session_say(s, &reply_active);
	else if (!s->setup.offers_tls)
		session_verb_unimplemented(s, args);
	else if (args.len) /* RFC 3207 4: 501, "no parameters allowed" */
		say_syntax(s, "STARTTLS");
	else if (s->step != STEP_READY ||
		 s->logged_in) /* a transaction would be half the client's own */
		session_say(s, &reply_order);
	else
		session_ask(s, POINT_TLS);
}

void session_tls_answered(struct session *s, const struct reply *r)
{
	static const struct reply reply_go = REPLY(220, "2.0.0", "Ready to start TLS");

	session_say(s, r ? r : &reply_go);
	if (!r)
		session_change(s, STEP_TLS);
}

void session_verb_unimplemented(struct session *s, struct text args)
{
	static const struct reply reply = REPLY(502, "5.5.1", "Error: command not implemented");

	(void)args;
	session_say(s, &reply);
}

/* A browser can be made to post to port 25 with commands in the body: never talk to one (ALPACA).
 */
static void verb_foreign(struct session *s, struct text args)
{
	static const struct reply reply = REPLY(421, "4.7.0", "Error: this is no web server");

	(void)args;
	session_close(s, &reply);
}

enum { IDLE = 1 /* brings no mail */ };

static const struct verb {
	struct text name;
	unsigned steps;
	void (*handler)(struct session *s, struct text args);
	unsigned flags;
} verbs[] = {
    {TEXT("MAIL"), AT_READY, session_verb_mail, 0},
    {TEXT("RCPT"), AT_SENDER | AT_RECIPIENT, session_verb_rcpt, 0},
    {TEXT("DATA"), AT_SENDER | AT_RECIPIENT, session_verb_data, 0},
    /* Its octets follow whether it is legal or not, so it looks at the step itself. */
    {TEXT("BDAT"), AT_ANY, session_verb_bdat, 0},
    {TEXT("EHLO"), AT_ANY, verb_ehlo, IDLE},
    {TEXT("HELO"), AT_ANY, verb_helo, IDLE},
    {TEXT("RSET"), AT_ANY, verb_rset, IDLE},
    {TEXT("NOOP"), AT_ANY, verb_noop, IDLE},
    {TEXT("QUIT"), AT_ANY, verb_quit, 0},
    {TEXT("VRFY"), AT_ANY, verb_vrfy, IDLE},
    {TEXT("HELP"), AT_ANY, verb_help, IDLE},
    {TEXT("EXPN"), AT_ANY, session_verb_unimplemented, IDLE},
    {TEXT("ETRN"), AT_ANY, session_verb_unimplemented, IDLE},
    {TEXT("TURN"), AT_ANY, session_verb_unimplemented, IDLE},
    {TEXT("SEND"), AT_ANY, session_verb_unimplemented, IDLE},
    {TEXT("SOML"), AT_ANY, session_verb_unimplemented, IDLE},
    {TEXT("SAML"), AT_ANY, session_verb_unimplemented, IDLE},
    {TEXT("AUTH"), AT_READY, session_verb_auth, IDLE},
    /* Where it is not offered it is unknown at any step, so it looks at the step itself. */
    {TEXT("STARTTLS"), AT_ANY, verb_starttls, IDLE},
    {TEXT("GET"), AT_ANY, verb_foreign, 0},
    {TEXT("POST"), AT_ANY, verb_foreign, 0},
    {TEXT("PUT"), AT_ANY, verb_foreign, 0},
    {TEXT("HEAD"), AT_ANY, verb_foreign, 0},
    {TEXT("OPTIONS"), AT_ANY, verb_foreign, 0},
    {TEXT("CONNECT"), AT_ANY, verb_foreign, 0},
};

static const struct verb *verb_find(struct text name)
{
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (text_equal_case(name, verbs[i].name))
			return &verbs[i];
	return NULL;
}

static void say_order(struct session *s, const struct verb *v)
{
	const char *what = "Error: bad sequence of commands";

	if (s->step == STEP_START)
		what = "Error: send EHLO or HELO first";
	else if (v->handler == session_verb_mail)
		what = "Error: nested MAIL command";
	else if (s->step == STEP_CHUNKS)
		what = "Error: a message sent with BDAT is under way";
	else if (s->step == STEP_READY)
		what = "Error: need MAIL command";
	session_say(s, &(struct reply){503, "5.5.1", text_of(what)});
}

static void unknown_verb(struct session *s, struct text name)
{
	static const struct reply reply = REPLY(500, "5.5.2", "Error: command not recognized");

	/* "Host:", "Subject:": a header line, so no SMTP client is speaking. */
	if (name.len > 1 && name.data[name.len - 1] == ':')
		verb_foreign(s, name);
	else
		session_say(s, &reply);
}

bool session_idles(struct session *s)
{
	static const struct reply too_idle =
	    REPLY(421, "4.7.0", "Error: too many commands that bring no mail");

	if (++s->idle_commands <= s->setup.config->limit_idle_commands)
		return false;
	session_close(s, &too_idle);
	return true;
}

void session_command(struct session *s, struct text line)
{
	ptrdiff_t space = text_find(line, ' ');
	struct text name = {line.data, space < 0 ? line.len : (size_t)space};
	struct text args = text_trim((struct text){line.data + name.len, line.len - name.len});

	/* RFC 5321 4.1.1: trailing white space "SHOULD" be tolerated. */
	name = text_trim(name);
	const struct verb *v = verb_find(name);

	if (!v) {
		unknown_verb(s, name);
		return;
	}
	if (v->flags & IDLE && session_idles(s))
		return;
	if (!(v->steps & 1u << s->step))
		say_order(s, v);
	else
		v->handler(s, args);
}
