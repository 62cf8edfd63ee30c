/* SPDX-License-Identifier: ISC */
/*
 * Logins by Dovecot's auth socket: its client protocol 1.2, lines of fields
 * divided by tabs. What clients say goes there as it is, but for LOGIN, which
 * becomes PLAIN. One connection, opened by master; numbers on it are ours.
 */
#include "checker.h"

#include "base64.h"
#include "mem.h"
#include "scram.h"
#include "stream.h"
#include "token_message.h"

#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum {
	LINE_MAX_BYTES = 32768,
	GREETING_SECONDS = 10,
	AGAIN_SECONDS = 5, /* until the next try to connect, if nobody logs in before */
	BACKLOG_MAX_BYTES = 4 * 1024 * 1024,
};

enum stage {
	STAGE_BEGIN,	/* its first response is due */
	STAGE_NAME,	/* LOGIN: its name is due */
	STAGE_PASSWORD, /* LOGIN: its password is due */
	STAGE_GOES_ON,	/* Dovecot waits for its next response */
	STAGE_THERE,	/* Dovecot's turn, or it waits for its own here */
};

struct dovecot {
	struct stream *stream; /* NULL: no connection */
	struct timer timer;    /* the greeting is late, or it is time to connect again */
	uint32_t next_id;
	uint8_t mechanisms; /* as the greeting names them */
	bool ready, asked;
	char path[512];	  /* of the socket that the connection leads to */
	char fault[1024]; /* why there is no connection */
};

static void dovecot_go(struct exchange *x, bool has_initial, struct text initial);

/* -- the connection ------------------------------------------------------------------- */

static void ask(struct checker *self)
{
	struct dovecot *dovecot = self->dovecot;

	if (dovecot->asked || dovecot->stream)
		return;
	dovecot->asked = true;
	channel_send_handle_ask(self->d->master, &(struct msg_handle_ask){.role = HANDLE_DOVECOT});
}

static struct exchange *exchange_of(const struct checker *self, uint64_t id)
{
	for (size_t i = 0; i < EXCHANGE_BUCKETS; i++)
		for (struct exchange *x = self->by_id[i]; x; x = x->next_id)
			if (x->dovecot_id == id)
				return x;
	return NULL;
}

/* Whoever was there hears that nothing could be checked. */
static void connection_lost(struct checker *self, const char *why)
{
	struct dovecot *dovecot = self->dovecot;

	if (strcmp(why, dovecot->fault) != 0)
		log_warning(self->d->log, "nobody can log in: %s", why);
	snprintf(dovecot->fault, sizeof dovecot->fault, "%s", why);
	dovecot->ready = false;
	stream_free(&dovecot->stream);
	timer_set(&dovecot->timer, SECONDS(AGAIN_SECONDS));
	for (size_t i = 0; i < EXCHANGE_BUCKETS; i++)
		for (struct exchange *x = self->by_id[i], *next; x; x = next) {
			next = x->next_id;
			if (!x->dovecot_id)
				continue;
			x->dovecot_id = 0;
			/* Where it is for the client to speak he hears of it then. */
			if (!x->client_turn)
				exchange_end(x, AUTH_TEMPORARY, dovecot->fault);
		}
	awaiting_go_on(self, dovecot_go);
}

static void fired(void *arg)
{
	struct checker *self = arg;

	if (self->dovecot->stream)
		connection_lost(self, "Dovecot does not greet");
	else
		ask(self);
}

/* -- what Dovecot says ------------------------------------------------------------------ */

static bool next_field(struct text *line, struct text *field)
{
	ptrdiff_t tab = text_find(*line, '\t');

	if (!line->data)
		return false;
	*field = (struct text){line->data, tab < 0 ? line->len : (size_t)tab};
	*line = tab < 0 ? (struct text){NULL, 0}
			: (struct text){line->data + tab + 1, line->len - (size_t)tab - 1};
	return true;
}

static bool field_value(struct text field, const char *name, struct text *value)
{
	size_t n = strlen(name);

	if (field.len < n || memcmp(field.data, name, n) != 0)
		return false;
	*value = (struct text){field.data + n, field.len - n};
	return true;
}

static void take_mechanism(struct dovecot *dovecot, struct text line)
{
	struct text name = {NULL, 0};

	if (!next_field(&line, &name))
		return;
	unsigned mechanism = sasl_mechanism_of(name) &
			     (SASL_PLAIN | SASL_SCRAM_SHA_256 | SASL_EXTERNAL | SASL_TOKENS);

	/* LOGIN is ours, and goes on as PLAIN. */
	if (mechanism == SASL_PLAIN)
		mechanism |= SASL_LOGIN;
	dovecot->mechanisms |= (uint8_t)mechanism;
}

static void take_done(struct checker *self)
{
	struct dovecot *dovecot = self->dovecot;

	timer_clear(&dovecot->timer);
	dovecot->ready = true;
	dovecot->fault[0] = '\0';
	checker_offer(self, dovecot->mechanisms);
	awaiting_go_on(self, dovecot_go);
}

static void take_cont(struct exchange *x, struct text line)
{
	uint8_t challenge[SASL_MESSAGE_MAX];
	struct text field = {NULL, 0};
	size_t n = 0;

	next_field(&line, &field);
	if (!base64_read(field, challenge, sizeof challenge, &n)) {
		exchange_end(x, AUTH_TEMPORARY, "Dovecot sent a challenge that is none");
		return;
	}
	/* A token's error: a client need not wait for the end. */
	if (x->mechanism & SASL_TOKENS)
		exchange_count_failure(x, "Dovecot: the token was refused");
	x->stage = STAGE_GOES_ON;
	exchange_challenge(x, (struct text){(const char *)challenge, n});
}

static void take_ok(struct exchange *x, struct text line)
{
	struct text field, user = {NULL, 0};

	x->dovecot_id = 0;
	while (next_field(&line, &field))
		(void)field_value(field, "user=", &user);
	/* \001 escapes what no name has (passwd_file.h). */
	if (passwd_name_fault(user)) {
		exchange_end(x, AUTH_TEMPORARY, "Dovecot names a user as nobody can be called");
		return;
	}
	if (exchange_name(x, user))
		exchange_end(x, AUTH_GOOD, NULL);
}

static void take_fail(struct exchange *x, struct text line)
{
	enum auth_verdict verdict = AUTH_WRONG;
	struct text field, value, reason = TEXT("wrong password, or no such user");
	char why[200];

	x->dovecot_id = 0;
	while (next_field(&line, &field)) {
		if (text_equals(field, "temp") || text_equals(field, "code=temp_fail"))
			verdict = AUTH_TEMPORARY;
		else if (text_equals(field, "user_disabled") ||
			 text_equals(field, "code=user_disabled"))
			verdict = AUTH_DISABLED;
		else if (field_value(field, "reason=", &value))
			reason = value;
		else if (field_value(field, "user=", &value) && !passwd_name_fault(value))
			text_copy(x->name, sizeof x->name, value);
	}
	snprintf(why, sizeof why, "Dovecot: %.*s%.*s", verdict == AUTH_DISABLED ? 10 : 0,
		 "disabled; ", (int)(reason.len < 150 ? reason.len : 150), reason.data);
	exchange_end(x, verdict, verdict == AUTH_WRONG && x->why ? x->why : why);
}

/* False: Dovecot speaks another protocol. */
static bool take_line(struct checker *self, struct text line)
{
	struct text verb = {NULL, 0}, number = {NULL, 0};
	uint64_t id = 0;

	next_field(&line, &verb);
	if (text_equals(verb, "VERSION"))
		return next_field(&line, &number) && text_equals(number, "1");
	if (text_equals(verb, "MECH"))
		take_mechanism(self->dovecot, line);
	else if (text_equals(verb, "DONE"))
		take_done(self);
	bool cont = text_equals(verb, "CONT"), ok = text_equals(verb, "OK");

	if (!cont && !ok && !text_equals(verb, "FAIL"))
		return true; /* SPID, CUID, COOKIE, and what later versions add */
	if (!next_field(&line, &number) || !text_number(number, UINT32_MAX, &id) || !id)
		return false;
	struct exchange *x = exchange_of(self, id);

	if (!x || x->stage != STAGE_THERE)
		return true; /* given up meanwhile */
	if (cont)
		take_cont(x, line);
	else if (ok)
		take_ok(x, line);
	else
		take_fail(x, line);
	return true;
}

static size_t on_input(void *owner, const uint8_t *data, size_t len)
{
	struct checker *self = owner;
	size_t at = 0;

	while (at < len && self->dovecot->stream) {
		const uint8_t *lf = memchr(data + at, '\n', len - at);

		if (!lf) {
			if (len - at > LINE_MAX_BYTES)
				connection_lost(self, "Dovecot sends a line that is too long");
			break;
		}
		size_t end = (size_t)(lf - data);

		if (!take_line(self, (struct text){(const char *)data + at, end - at})) {
			connection_lost(self, "Dovecot speaks another protocol");
			break;
		}
		at = end + 1;
	}
	return self->dovecot->stream ? at : len;
}

static void on_ended(void *owner, int error)
{
	(void)error;
	connection_lost(owner, "Dovecot closed the connection");
}

static const struct stream_face stream_face = {.input = on_input, .ended = on_ended};

static void send_line(struct checker *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void send_line(struct checker *self, const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	int n = vsnprintf(line, sizeof line, format, args);

	va_end(args);
	if (n > 0 && (size_t)n < sizeof line)
		stream_write(self->dovecot->stream, line, (size_t)n);
}

void dovecot_arrived(struct checker *self, int fd, struct text path)
{
	struct dovecot *dovecot = self->dovecot;

	dovecot->asked = false;
	if (dovecot->stream && text_equals(path, dovecot->path)) {
		close(fd); /* a reload brings one unasked */
		return;
	}
	if (dovecot->stream)
		connection_lost(self, "another socket of Dovecot is configured");
	text_copy(dovecot->path, sizeof dovecot->path, path);
	dovecot->mechanisms = 0;
	dovecot->stream = stream_new(self->d->loop, fd, &stream_face, self);
	timer_set(&dovecot->timer, SECONDS(GREETING_SECONDS));
	send_line(self, "VERSION\t1\t2\nCPID\t%d\n", (int)getpid());
}

void dovecot_missing(struct checker *self, struct text why)
{
	char text[sizeof self->dovecot->fault];

	self->dovecot->asked = false;
	text_copy(text, sizeof text, why);
	connection_lost(self, text);
}

/* -- what clients say --------------------------------------------------------------------- */

static void put_response(struct checker *self, const struct bytes *response)
{
	struct bytes line = {0};

	base64_put(&line, bytes_at(response), bytes_len(response));
	bytes_add(&line, "\n", 1);
	stream_write(self->dovecot->stream, bytes_at(&line), bytes_len(&line));
	OPENSSL_cleanse(line.data, line.size);
	bytes_free(&line);
}

static void held_wipe(struct exchange *x)
{
	if (x->held.data)
		OPENSSL_cleanse(x->held.data, x->held.size);
	bytes_free(&x->held);
}

/*
 * Dovecot is to refuse a login that is shut, in its own time: it gets a password, or a proof, that
 * nobody has.
 */
static void spoil(struct exchange *x)
{
	struct text held = bytes_text(&x->held);
	bool scram = x->mechanism == SASL_SCRAM_SHA_256;
	size_t from = 0, to = held.len;

	x->why = exchange_shut(x);
	if (!x->why)
		return;
	for (size_t i = 0; i < held.len; i++)
		if (!scram && !held.data[i])
			from = i + 1;
		else if (scram && i + 3 <= held.len && memcmp(held.data + i, ",p=", 3) == 0)
			from = i + 3;
	/* The end of a proof in base64 has bits that must be nought. */
	if (scram)
		to = from && held.len > 4 ? held.len - 4 : 0;
	if (from >= to)
		return;
	uint8_t *secret = bytes_at(&x->held);

	(void)!getrandom(secret + from, to - from, 0);
	for (size_t i = from; i < to; i++)
		secret[i] = (uint8_t)('A' + secret[i] % 26);
}

/* Its turn has come: the first response, x->held, goes there. */
static void auth_send(void *arg)
{
	struct exchange *x = arg;
	struct checker *self = x->self;
	struct dovecot *dovecot = self->dovecot;
	unsigned mechanism = x->mechanism == SASL_LOGIN ? SASL_PLAIN : x->mechanism;
	char address[46], certified[LOGIN_MAX + 2] = "";

	if (!dovecot->ready) {
		exchange_end(x, AUTH_TEMPORARY, dovecot->fault);
		return;
	}
	if (stream_backlog(dovecot->stream) > BACKLOG_MAX_BYTES) {
		exchange_end(x, AUTH_LATER, "Dovecot does not keep up");
		return;
	}
	do
		x->dovecot_id = ++dovecot->next_id;
	while (!x->dovecot_id);
	x->stage = STAGE_THERE;
	if (x->mechanism == SASL_EXTERNAL)
		snprintf(certified, sizeof certified, "%s\t", x->name);
	/* "resp" has to be the last. A session takes no password but over TLS or from this
	 * machine. */
	send_line(self, "AUTH\t%u\t%s\tservice=smtp\tnologin\tsecured\trip=%s\t%s%s%sresp=",
		  (unsigned)x->dovecot_id, sasl_name(mechanism),
		  host_address_print(x->address, address), *certified ? "valid-client-cert\t" : "",
		  *certified ? "cert_username=" : "", certified);
	spoil(x);
	put_response(self, &x->held);
	held_wipe(x);
}

/* For the log and the guesses: PLAIN is "other NUL name NUL password". */
static struct text plain_name(struct text response)
{
	ptrdiff_t zero = text_find(response, '\0');

	if (zero < 0)
		return (struct text){NULL, 0};
	response.data += zero + 1;
	response.len -= (size_t)zero + 1;
	zero = text_find(response, '\0');
	response.len = zero < 0 ? 0 : (size_t)zero;
	return response;
}

/* SCRAM begins "n,,n=NAME,r=..." (RFC 5802 section 7). */
static struct text scram_name(struct text response)
{
	struct text name = {NULL, 0};

	for (size_t i = 0; i + 3 < response.len; i++)
		if (memcmp(response.data + i, ",n=", 3) == 0) {
			name = (struct text){response.data + i + 3, response.len - i - 3};
			break;
		}
	ptrdiff_t comma = name.len ? text_find(name, ',') : -1;

	name.len = comma < 0 ? 0 : (size_t)comma;
	return name;
}

/* Whom the first response names; false: it is none, and the exchange is over. */
static bool response_name(struct exchange *x, struct text response)
{
	struct text identity = bytes_text(&x->identity);
	struct token_message m;

	if (x->mechanism == SASL_PLAIN)
		return exchange_name(x, plain_name(response));
	if (x->mechanism == SASL_SCRAM_SHA_256)
		return exchange_name(x, scram_name(response));
	if (x->mechanism == SASL_EXTERNAL) {
		/* It becomes a field of Dovecot's line, and what it says is proven here. */
		if (!passwd_name_fault(identity) &&
		    (!response.len || passwd_same_name(response, identity)))
			return exchange_name(x, identity);
		exchange_end(x, AUTH_WRONG, "the certificate names nobody, or another");
		return false;
	}
	if (token_message_read(x->mechanism, response, &m) != TOKEN_MALFORMED)
		return exchange_name(x, text_of(m.name));
	exchange_end(x, AUTH_MALFORMED, "malformed");
	return false;
}

static void first_response(struct exchange *x, struct text response)
{
	if (!response_name(x, response))
		return;
	x->stage = STAGE_THERE;
	bytes_add(&x->held, response.data, response.len);
	exchange_wait(x, auth_send);
}

static void login_step(struct exchange *x, struct text response)
{
	if (x->stage == STAGE_NAME) {
		if (!exchange_name(x, response))
			return;
		x->stage = STAGE_PASSWORD;
		exchange_challenge(x, text_of("Password:"));
		return;
	}
	if (response.len > PASSWORD_MAX ||
	    memchr(response.data ? response.data : "", '\0', response.len)) {
		exchange_end(x, AUTH_MALFORMED, "malformed");
		return;
	}
	x->stage = STAGE_THERE;
	bytes_add(&x->held, "", 1);
	bytes_add(&x->held, x->name, strlen(x->name) + 1);
	bytes_add(&x->held, response.data, response.len);
	exchange_wait(x, auth_send);
}

static void dovecot_step(struct exchange *x, struct text response)
{
	struct checker *self = x->self;

	if (x->stage == STAGE_NAME || x->stage == STAGE_PASSWORD) {
		login_step(x, response);
	} else if (x->stage == STAGE_BEGIN) {
		first_response(x, response);
	} else if (!x->dovecot_id || !self->dovecot->ready) {
		exchange_end(x, AUTH_TEMPORARY, self->dovecot->fault);
	} else {
		x->stage = STAGE_THERE;
		bytes_add(&x->held, response.data, response.len);
		send_line(self, "CONT\t%u\t", (unsigned)x->dovecot_id);
		spoil(x);
		put_response(self, &x->held);
		held_wipe(x);
	}
}

static void dovecot_go(struct exchange *x, bool has_initial, struct text initial)
{
	struct checker *self = x->self;

	x->stage = STAGE_BEGIN;
	if (!self->dovecot->ready) {
		exchange_end(x, AUTH_TEMPORARY, self->dovecot->fault);
	} else if (x->mechanism == SASL_LOGIN) {
		x->stage = STAGE_NAME;
		if (has_initial)
			login_step(x, initial);
		else
			exchange_challenge(x, text_of("Username:"));
	} else if (has_initial) {
		first_response(x, initial);
	} else {
		exchange_challenge(x, (struct text){NULL, 0});
	}
}

static void dovecot_begin(struct exchange *x, bool has_initial, struct text initial)
{
	struct checker *self = x->self;

	if (self->dovecot->ready) {
		dovecot_go(x, has_initial, initial);
		return;
	}
	exchange_await(x, has_initial, initial);
	ask(self);
}

static void dovecot_drop(struct exchange *x)
{
	struct checker *self = x->self;

	if (x->dovecot_id && self->dovecot->stream)
		send_line(self, "CANCEL\t%u\n", (unsigned)x->dovecot_id);
	x->dovecot_id = 0;
}

const struct backend dovecot_backend = {dovecot_begin, dovecot_step, dovecot_drop};

void dovecot_init(struct checker *self)
{
	self->dovecot = mem_new(1, sizeof *self->dovecot);
	timer_init(&self->dovecot->timer, self->d->loop, fired, self);
}

void dovecot_start(struct checker *self)
{
	ask(self);
}
