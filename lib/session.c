/* SPDX-License-Identifier: ISC */
/* The session engine: steps, questions, time. */
#include "session_engine.h"

#include "must.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct reply reply_timeout = REPLY(421, "4.4.2", "Error: timeout exceeded");
static const struct reply reply_drain =
    REPLY(421, "4.3.2", "Server is shutting down, try again later");
static const struct reply reply_early = REPLY(554, "5.5.1", "Error: you spoke before the greeting");

void session_change(struct session *s, enum session_step step)
{
	if (s->step == STEP_OVER)
		return;
	s->step = (uint8_t)step;
	s->command_deadline = monotime_add(s->now.mono, s->setup.config->timeout_command);
}

/* -- saying ------------------------------------------------------------------ */

static void keep_verdict(struct session *s, const struct reply *r)
{
	if (!s->verdict)
		s->verdict = mem_new(1, sizeof *s->verdict);
	s->verdict->code = r->code;
	text_copy(s->verdict->dsn, sizeof s->verdict->dsn, text_of(r->dsn));
	text_copy(s->verdict->text, sizeof s->verdict->text, r->text);
}

void session_say(struct session *s, const struct reply *r)
{
	if (s->step == STEP_OVER)
		return;
	if (s->setup.out)
		reply_write(s->setup.out, r, false);
	else
		keep_verdict(s, r);
	if (r->code >= 500)
		s->errors++;
}

void session_sayf(struct session *s, uint16_t code, const char *dsn, const char *format, ...)
{
	char text[REPLY_TEXT_MAX + 1];
	va_list args;

	va_start(args, format);
	int n = vsnprintf(text, sizeof text, format, args);

	va_end(args);
	if (n > 0)
		session_say(s, &(struct reply){code, dsn, {text, strlen(text)}});
}

void session_close(struct session *s, const struct reply *r)
{
	session_say(s, r);
	session_auth_end(s);
	transaction_end(s);
	session_change(s, STEP_OVER);
}

void session_reject(struct session *s, const char *stage, struct text to, const struct reply *r)
{
	char line[REPLY_LINE_MAX];
	const struct text values[] = {
	    text_of(stage),
	    session_client(s),
	    reply_line(r, line),
	    session_sender(s),
	    to,
	    text_of(!s->setup.out ? "local"
		    : s->esmtp	  ? "ESMTP"
				  : "SMTP"),
	    text_of(s->helo),
	};

	s->setup.face->event(s->setup.owner, EVENT_reject, s->t ? s->t->id : 0, values,
			     sizeof values / sizeof *values);
	if (s->t && r->code >= 500 && strcmp(stage, "RCPT") != 0)
		s->t->rejected = true;
	session_say(s, r);
}

/* -- questions ---------------------------------------------------------------- */

void session_ask(struct session *s, enum session_point point)
{
	must(!s->point);
	s->point = (uint8_t)point;
	s->setup.face->ask(s->setup.owner, point);
}

bool session_wait(struct session *s, const struct reply *r, void (*again)(struct session *s))
{
	enum { FIRST_US = 10000, LONGEST_US = 320000 };

	if (r != &reply_not_yet || !s->setup.out || s->draining)
		return false;
	s->again = again;
	s->again_us = !s->again_us		 ? FIRST_US
		      : s->again_us < LONGEST_US ? 2 * s->again_us
						 : LONGEST_US;
	s->again_at = monotime_add(s->now.mono, (struct duration){s->again_us});
	return true;
}

static void ask_again(struct session *s)
{
	void (*again)(struct session *) = s->again;

	s->again = NULL;
	again(s);
	if (s->again)
		return;
	s->again_us = 0;
	s->command_deadline = monotime_add(s->now.mono, s->setup.config->timeout_command);
}

static void client_answered(struct session *s, const struct reply *r)
{
	if (r) {
		session_close(s, r);
		return;
	}
	if (s->early) {
		/* RFC 5321 4.3.1: the sender "SHOULD wait" for the greeting; who does not is a
		 * robot. */
		session_reject(s, "CONNECT", (struct text){0}, &reply_early);
		session_change(s, STEP_OVER);
		return;
	}
	session_sayf(s, 220, NULL, "%.*s ESMTP", (int)s->setup.config->hostname.len,
		     s->setup.config->hostname.data);
	session_change(s, STEP_START);
}

static const struct {
	void (*answered)(struct session *s, const struct reply *r);
} points[] = {
    [POINT_CLIENT] = {client_answered},
    [POINT_SENDER] = {session_sender_answered},
    [POINT_RECIPIENT] = {session_recipient_answered},
    [POINT_TLS] = {session_tls_answered},
    [POINT_HEADER] = {session_header_answered},
    [POINT_DATA] = {session_data_answered},
};

void session_settle_drain(struct session *s)
{
	if (s->draining && !s->point && !s->t && s->step >= STEP_START && s->step != STEP_CHUNK &&
	    s->step != STEP_AUTH)
		session_close(s, &reply_drain);
}

void session_answer(struct session *s, struct moment now, const struct reply *r)
{
	enum session_point point = s->point;

	must(point != POINT_NONE && point != POINT_AUTH);
	s->point = POINT_NONE;
	s->now = now;
	s->command_deadline = monotime_add(now.mono, s->setup.config->timeout_command);
	points[point].answered(s, r);
	if (r && (r->code == 421 || r->code == 521) && point != POINT_HEADER) {
		transaction_end(s);
		session_change(s, STEP_OVER);
	}
	session_settle_drain(s);
}

enum session_point session_asks(const struct session *s)
{
	return s->point;
}

/* -- input -------------------------------------------------------------------- */

static void refuse_long_line(struct session *s)
{
	static const struct reply reply = REPLY(500, "5.5.2", "Error: command line too long");

	session_say(s, &reply);
	s->skipping_line = true;
}

static void refuse_bare(struct session *s)
{
	static const struct reply reply = REPLY(550, "5.5.2", "Error: bare <LF> received");

	/* Where such a client sees its lines end is anybody's guess: nothing behind it is run. */
	session_close(s, &reply);
}

/* A line that is whole: with its CRLF. */
static void take_line(struct session *s, const uint8_t *data, size_t len, bool crlf)
{
	static const struct reply reply_control =
	    REPLY(550, "5.5.2", "Error: bare <CR> or <NUL> in a command");
	struct text line = {(const char *)data, len - (crlf ? 2 : 1)};

	if (memchr(line.data, '\r', line.len) || memchr(line.data, '\0', line.len))
		session_say(s, &reply_control);
	else
		session_command(s, line);
	if (s->errors >= s->setup.config->limit_errors && s->step != STEP_OVER) {
		static const struct reply reply = REPLY(421, "4.7.0", "Error: too many errors");

		session_close(s, &reply);
	}
	s->command_deadline = monotime_add(s->now.mono, s->setup.config->timeout_command);
}

/* The rest of an over-long line is thrown away, never run as a command. */
static bool skip_line(struct session *s, const uint8_t *data, size_t len, size_t *used)
{
	const uint8_t *lf = memchr(data, '\n', len);

	if (!lf) {
		/* A last CR stays: its LF may be the next octet. */
		*used = data[len - 1] == '\r' ? len - 1 : len;
		return *used > 0;
	}
	*used = (size_t)(lf - data) + 1;
	if (*used > 1 && lf[-1] == '\r')
		s->skipping_line = false;
	return true;
}

static bool take_command(struct session *s, const uint8_t *data, size_t len, size_t *used)
{
	if (!len)
		return false;
	if (s->skipping_line)
		return skip_line(s, data, len, used);
	size_t window = len < SESSION_COMMAND_MAX ? len : SESSION_COMMAND_MAX;
	const uint8_t *lf = memchr(data, '\n', window);

	if (!lf) {
		if (window < SESSION_COMMAND_MAX)
			return false;
		refuse_long_line(s);
		return true;
	}
	bool crlf = lf > data && lf[-1] == '\r';

	*used = (size_t)(lf - data) + 1;
	if (!crlf && s->setup.config->bare_newline != NEWLINE_NORMALISE)
		refuse_bare(s);
	else
		take_line(s, data, *used, crlf);
	return true;
}

static bool take_early(struct session *s, const uint8_t *data, size_t len, size_t *used)
{
	(void)data;
	(void)used;
	s->early = s->early || len > 0;
	return false;
}

static bool take_nothing(struct session *s, const uint8_t *data, size_t len, size_t *used)
{
	(void)s;
	(void)data;
	(void)len;
	(void)used;
	return false;
}

static bool take_rest(struct session *s, const uint8_t *data, size_t len, size_t *used)
{
	(void)s;
	(void)data;
	*used = len;
	return false;
}

/* A step takes what it can; false when it needs more. */
static const struct {
	const char *name;
	bool (*take)(struct session *s, const uint8_t *data, size_t len, size_t *used);
} steps[STEP_COUNT] = {
    [STEP_CONNECTED] = {"CONNECT", take_early}, [STEP_START] = {"CONNECT", take_command},
    [STEP_READY] = {"EHLO", take_command},	[STEP_SENDER] = {"MAIL", take_command},
    [STEP_RECIPIENT] = {"RCPT", take_command},	[STEP_CHUNKS] = {"BDAT", take_command},
    [STEP_TEXT] = {"DATA", session_take_text},	[STEP_CHUNK] = {"BDAT", session_take_chunk},
    [STEP_AUTH] = {"AUTH", session_take_auth},	[STEP_SETTLE] = {"END-OF-MESSAGE", take_nothing},
    [STEP_TLS] = {"STARTTLS", take_nothing},	[STEP_OVER] = {"QUIT", take_rest},
};

bool session_asks_again(const struct session *s)
{
	return s->again != NULL;
}

bool session_blocked(const struct session *s)
{
	if (s->step == STEP_OVER)
		return false;
	return (s->point && s->point != POINT_CLIENT) || s->held || s->again ||
	       s->step == STEP_TLS || (s->setup.out && bytes_len(s->setup.out) > SESSION_OUT_MAX);
}

size_t session_input(struct session *s, struct moment now, const uint8_t *data, size_t len)
{
	static const uint8_t nothing;
	size_t at = 0, used;

	s->now = now;
	if (!len)
		data = &nothing;
	do {
		used = 0;
		if (session_blocked(s))
			break;
		bool more = steps[s->step].take(s, data + at, len - at, &used);

		at += used;
		if (!more)
			break;
		session_settle_drain(s);
	} while (at < len || (s->step == STEP_CHUNK && !s->chunk_left));
	return at;
}

bool session_wants_tls(const struct session *s)
{
	return s->step == STEP_TLS;
}

void session_secured(struct session *s, struct moment now, const struct tls_facts *facts)
{
	s->now = now;
	s->tls = facts;
	if (s->step != STEP_TLS)
		return;
	/* RFC 3207 4.2: the server "MUST discard any knowledge obtained from the client" before. */
	transaction_end(s);
	free(s->helo);
	s->helo = NULL;
	s->esmtp = false;
	session_change(s, STEP_START);
	session_settle_drain(s);
}

void session_hold(struct session *s, bool held)
{
	s->held = held;
}

/* -- time ---------------------------------------------------------------------- */

struct monotime session_deadline(const struct session *s)
{
	if (s->again)
		return s->again_at;
	if (s->point || s->held || s->step == STEP_OVER)
		return (struct monotime){INT64_MAX};
	if (!s->t)
		return s->command_deadline;
	/* A whole transaction is bounded too, or an octet a minute would last for ever: 1 KB/s at
	 * least. */
	struct duration allowed = s->setup.config->timeout_transaction;

	allowed.us += (int64_t)(s->t->content.octets / 1024) * 1000000;
	struct monotime end = monotime_add(s->t->began, allowed);

	return end.us < s->command_deadline.us ? end : s->command_deadline;
}

static void log_end(struct session *s, const char *reason)
{
	const struct text values[] = {text_of(reason), text_of(steps[s->step].name),
				      session_client(s)};

	s->setup.face->event(s->setup.owner, EVENT_session_end, s->t ? s->t->id : 0, values, 3);
}

void session_expire(struct session *s, struct moment now)
{
	if (session_deadline(s).us > now.mono.us)
		return;
	s->now = now;
	if (s->again) {
		ask_again(s);
		return;
	}
	log_end(s, "timeout");
	session_close(s, &reply_timeout);
}

void session_lost(struct session *s)
{
	if (s->step == STEP_OVER)
		return;
	if (s->t && s->t->id)
		log_end(s, "lost connection");
	session_abort(s);
}

void session_abort(struct session *s)
{
	s->point = POINT_NONE;
	session_auth_end(s);
	transaction_end(s);
	session_change(s, STEP_OVER);
}

void session_drain(struct session *s, struct moment now)
{
	s->now = now;
	s->draining = true;
	/* Without content a transaction has cost its sender nothing. */
	if (s->t && !s->t->id && !s->point)
		transaction_end(s);
	if (s->step == STEP_SENDER || s->step == STEP_RECIPIENT)
		session_change(s, STEP_READY);
	session_settle_drain(s);
}

/* -- life ---------------------------------------------------------------------- */

struct session *session_new(const struct session_setup *setup, struct moment now)
{
	struct session *s = mem_new(1, sizeof *s);
	char address[46];

	s->setup = *setup;
	s->setup.config = config_keep(setup->config);
	s->setup.submitter = s->setup.login = (struct text){NULL, 0};
	/* One piece for both: an idle session is to stay small. */
	char *texts = mem_new(setup->submitter.len + setup->login.len + 1, 1);

	if (setup->submitter.len)
		memcpy(texts, setup->submitter.data, setup->submitter.len);
	if (setup->login.len)
		memcpy(texts + setup->submitter.len, setup->login.data, setup->login.len);
	s->submitter = (struct text){texts, setup->submitter.len};
	s->setup.login = (struct text){texts + setup->submitter.len, setup->login.len};
	s->now = now;
	s->trusted = !setup->out || config_relays_from(setup->config, setup->address);
	if (setup->out)
		snprintf(s->client, sizeof s->client, "unknown[%s]",
			 host_address_print(setup->address, address));
	else
		text_copy(s->client, sizeof s->client, text_of("local"));
	session_change(s, STEP_CONNECTED);
	return s;
}

void session_begin(struct session *s)
{
	must(!s->setup.auth || (s->setup.face->mechanisms && s->setup.face->auth_drop));
	if (s->setup.out)
		session_ask(s, POINT_CLIENT);
	else
		session_change(s, STEP_READY);
}

void session_free(struct session **s)
{
	if (!*s)
		return;
	session_auth_end(*s);
	transaction_end(*s);
	config_drop(&(*s)->setup.config);
	free((char *)(uintptr_t)(*s)->submitter.data);
	free((*s)->verdict);
	free((*s)->helo);
	free((*s)->name);
	free((*s)->named);
	free(*s);
	*s = NULL;
}

bool session_is_over(const struct session *s)
{
	return s->step == STEP_OVER;
}

bool session_has_quit(const struct session *s)
{
	return s->has_quit;
}

struct text session_client(const struct session *s)
{
	return text_of(s->named ? s->named : s->client);
}

void session_named(struct session *s, struct text name)
{
	char address[46], client[320];

	must(s->setup.out);
	if (s->name || !name.len || name.len > 255)
		return;
	s->name = mem_copy(name.data, name.len);
	int n = snprintf(client, sizeof client, "%s[%s]", s->name,
			 host_address_print(s->setup.address, address));

	s->named = mem_copy(client, n > 0 ? (size_t)n : 0);
}

struct text session_login(const struct session *s)
{
	return s->logged_in ? s->setup.login : (struct text){NULL, 0};
}

const struct config *session_config(const struct session *s)
{
	return s->setup.config;
}

struct text session_sender(const struct session *s)
{
	return s->t ? s->t->sender : (struct text){NULL, 0};
}
