/* SPDX-License-Identifier: ISC */
/* Each member is looked at by itself, so that what is wrong can be said by its name. */
#include "import_envelope.h"

#include "address.h"
#include "clock.h"
#include "queue.h"
#include "words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	/* Of all states in one message to qmgr. Replies that would leave no room for the states
	   of the recipients that follow are left out. */
	STATES_MAX_BYTES = 640 << 10,
	STATE_BYTES = 48, /* without its reply */
};

struct reading {
	char *why;
	size_t size;
	const char *prefix; /* "recipients[3]." */
	size_t count;	    /* of recipients */
	bool utf8;	    /* SMTPUTF8 was given */
};

static bool wrong(struct reading *r, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool wrong(struct reading *r, const char *name, const char *format, ...)
{
	va_list args;
	int n = snprintf(r->why, r->size, "%s%s: ", r->prefix, name);

	va_start(args, format);
	if (n >= 0 && (size_t)n < r->size)
		vsnprintf(r->why + n, r->size - (size_t)n, format, args);
	va_end(args);
	return false;
}

/* -- members --------------------------------------------------------------------------- */

/* Missing and null are the empty text. Control characters have no place in an envelope. */
static bool take_text(struct reading *r, const json_t *o, const char *name, size_t max,
		      struct text *to)
{
	const json_t *value = json_object_get(o, name);

	*to = (struct text){"", 0};
	if (!value || json_is_null(value))
		return true;
	if (!json_is_string(value))
		return wrong(r, name, "is no text");
	*to = (struct text){json_string_value(value), json_string_length(value)};
	if (to->len > max)
		return wrong(r, name, "is longer than %zu bytes", max);
	for (size_t i = 0; i < to->len; i++)
		if ((unsigned char)to->data[i] < 0x20 || to->data[i] == 0x7f)
			return wrong(r, name, "holds a control character");
	return true;
}

/* What stands on the line of an SMTP command as it is (RFC 3461 section 4: no blanks in it). */
static bool take_token(struct reading *r, const json_t *o, const char *name, size_t max,
		       struct text *to)
{
	if (!take_text(r, o, name, max, to))
		return false;
	if (memchr(to->data, ' ', to->len))
		return wrong(r, name, "holds a blank");
	return r->utf8 || text_is_ascii(*to) || wrong(r, name, "needs \"smtputf8\": true");
}

static bool take_address(struct reading *r, const json_t *o, const char *name, bool needed,
			 struct address *to)
{
	struct text t;

	*to = (struct address){.len = 0};
	if (!take_text(r, o, name, ADDRESS_MAX, &t))
		return false;
	if (!t.len)
		return !needed || wrong(r, name, "is missing");
	if (address_read(t, to) != ADDRESS_FINE)
		return wrong(r, name, "is no address");
	return !to->utf8 || r->utf8 || wrong(r, name, "needs \"smtputf8\": true");
}

static bool take_number(struct reading *r, const json_t *o, const char *name, uint64_t max,
			uint64_t *to)
{
	const json_t *value = json_object_get(o, name);

	*to = 0;
	if (!value)
		return true;
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    (uint64_t)json_integer_value(value) > max)
		return wrong(r, name, "is no number from 0 to %llu", (unsigned long long)max);
	*to = (uint64_t)json_integer_value(value);
	return true;
}

static bool take_truth(struct reading *r, const json_t *o, const char *name, bool *to)
{
	const json_t *value = json_object_get(o, name);

	*to = json_is_true(value);
	return !value || json_is_boolean(value) || wrong(r, name, "is neither true nor false");
}

static bool take_word(struct reading *r, const json_t *o, const char *name, enum word_kind kind,
		      const char *wanted, uint8_t *to)
{
	struct text word;

	*to = 0;
	if (!take_text(r, o, name, 32, &word))
		return false;
	return !word.len || word_read(kind, word, to) || wrong(r, name, "is not %s", wanted);
}

static bool take_words(struct reading *r, const json_t *o, const char *name, enum word_set set,
		       const char *wanted, uint8_t *to)
{
	const json_t *list = json_object_get(o, name);

	*to = 0;
	return !list || words_read(set, list, to) || wrong(r, name, "is no list of %s", wanted);
}

/* -- a recipient's state -------------------------------------------------------------------- */

/* A reply is another server's text: what is odd in it is no reason to refuse the mail. */
static struct text reply_of(const json_t *o, const char *name, char *to, size_t max)
{
	const json_t *value = json_object_get(o, name);
	size_t len = json_is_string(value) ? json_string_length(value) : 0;

	len = len > max ? max : len;
	for (size_t i = 0; i < len; i++) {
		char c = json_string_value(value)[i];

		to[i] = c;
		if ((unsigned char)c < 0x20 || c == 0x7f)
			to[i] = ' ';
	}
	return (struct text){to, len};
}

static bool read_kind(struct reading *r, const json_t *o, struct rec_import_state *s)
{
	uint8_t owed, kind;

	if (!take_word(r, o, "state", WORD_STATE, "ready, deferred, held or report", &kind) ||
	    !take_words(r, o, "owed", WORDS_OWED, "failure, delay, success", &owed))
		return false;
	s->kind = kind;
	s->flags |= owed;
	if (!text_equals(text_of(word_of(WORD_STATE, kind)), "report"))
		return !(owed & (QUEUE_OWED_FAILURE | QUEUE_OWED_SUCCESS)) ||
		       wrong(r, "owed", "a recipient that waits is owed nothing but \"delay\"");
	if (!take_word(r, o, "outcome", WORD_OUTCOME, "failed, relayed or delivered", &s->kind))
		return false;
	if (!s->kind)
		return wrong(r, "outcome", "is missing");
	uint8_t due = s->kind == QUEUE_FAILED ? QUEUE_OWED_FAILURE : QUEUE_OWED_SUCCESS;

	return owed == due || wrong(r, "owed", "does not fit the outcome");
}

/* False: as wrong() said. A recipient that was never tried needs no state. */
static bool put_state(struct reading *r, const json_t *o, uint32_t number,
		      struct import_envelope *to)
{
	char reply[QUEUE_TEXT_MAX], dsn[QUEUE_DSN_MAX];
	struct rec_import_state s = {.number = number};
	uint64_t attempts, code;
	bool noticed;

	if (!take_number(r, o, "attempts", UINT16_MAX, &attempts) ||
	    !take_number(r, o, "code", 999, &code) ||
	    !take_number(r, o, "last_attempt_us", INT64_MAX, &s.at_wall) ||
	    !take_number(r, o, "next_attempt_us", INT64_MAX, &s.next_wall) ||
	    !take_truth(r, o, "noticed", &noticed) || !read_kind(r, o, &s))
		return false;
	s.flags |= noticed ? QUEUE_NOTICED : 0;
	s.attempts = (uint16_t)attempts;
	s.code = (uint16_t)code;
	s.dsn = reply_of(o, "dsn", dsn, sizeof dsn);
	size_t needed = bytes_len(&to->state_items) + (r->count - number) * STATE_BYTES;

	if (STATES_MAX_BYTES - needed >= sizeof reply)
		s.reply = reply_of(o, "reply", reply, sizeof reply);
	if (s.kind == QUEUE_WAITING) {
		if (!s.flags && !s.attempts && !s.reply.len)
			return true;
		s.kind = QUEUE_DEFERRED;
		s.next_wall = 0;
	}
	rec_import_state_encode(&to->state_items, &s);
	to->state_count++;
	return true;
}

static bool put_recipient(struct reading *r, const json_t *o, uint32_t number,
			  struct import_envelope *to)
{
	struct envelope_recipient er = {0};
	struct address address, original, sender;

	if (!json_is_object(o))
		return wrong(r, "", "is no object");
	if (!take_address(r, o, "address", true, &address) ||
	    !take_address(r, o, "original", false, &original) ||
	    !take_address(r, o, "sender", false, &sender) ||
	    !take_token(r, o, "orcpt", ORCPT_MAX, &er.orcpt) ||
	    !take_words(r, o, "notify", WORDS_NOTIFY, "NEVER, or SUCCESS, FAILURE, DELAY",
			&er.notify))
		return false;
	/* RFC 3461 section 4.1: NEVER must stand by itself. */
	if ((er.notify & NOTIFY_NEVER) && er.notify != NOTIFY_NEVER)
		return wrong(r, "notify", "NEVER stands alone");
	er.address = address_text(&address);
	er.original = address_text(&original);
	er.sender = address_text(&sender);
	envelope_put_recipient(&to->envelope, &er);
	return put_state(r, o, number, to);
}

static bool put_recipients(struct reading *r, const json_t *list, struct import_envelope *to)
{
	char prefix[48];
	size_t count = json_array_size(list);

	if (!count || count > RECIPIENTS_MAX)
		return wrong(r, "recipients", "is no list of 1 to %d", RECIPIENTS_MAX);
	r->count = count;
	for (size_t i = 0; i < count; i++) {
		struct reading one = *r;

		snprintf(prefix, sizeof prefix, "recipients[%zu].", i);
		one.prefix = prefix;
		if (!put_recipient(&one, json_array_get(list, i), (uint32_t)i, to))
			return false;
		if (bytes_len(&to->envelope) > ENVELOPE_MAX)
			return wrong(r, "recipients", "are more than an envelope can hold");
	}
	return true;
}

/* -- the message ---------------------------------------------------------------------------- */

static bool read_head(struct reading *r, const json_t *o, struct address *sender,
		      struct envelope *e)
{
	bool utf8;

	if (!take_truth(r, o, "smtputf8", &utf8))
		return false;
	r->utf8 = utf8;
	e->smtputf8 = utf8;
	if (!json_object_get(o, "sender"))
		return wrong(r, "sender", "is missing");
	if (!take_address(r, o, "sender", false, sender) ||
	    !take_text(r, o, "submitter", SUBMITTER_MAX, &e->submitter) ||
	    !take_text(r, o, "login", 255, &e->login) ||
	    !take_text(r, o, "client", 320, &e->client) ||
	    !take_text(r, o, "helo", 255, &e->helo) ||
	    !take_text(r, o, "protocol", 32, &e->protocol) ||
	    !take_token(r, o, "envid", ENVID_MAX, &e->envid) ||
	    !take_text(r, o, "message_id", 250, &e->message_id) ||
	    !take_word(r, o, "ret", WORD_RET, "FULL or HDRS", &e->ret) ||
	    !take_word(r, o, "body", WORD_BODY, "7BIT or 8BITMIME", &e->body_type) ||
	    !take_word(r, o, "tls", WORD_TLS, "required or optional", &e->tls) ||
	    !take_text(r, o, "source", SOURCE_MAX, &e->source) ||
	    !take_text(r, o, "route", ROUTE_NAME_MAX, &e->route) ||
	    !take_number(r, o, "arrival_us", INT64_MAX, &e->arrival_wall))
		return false;
	if (e->route.len && !text_starts_case(e->route, ROUTE_MARK))
		return wrong(r, "route", "is no name of a route: @NAME");
	/* It would need receivers with CHUNKING, and no import can tell lines from bytes. */
	if (e->body_type == BODY_BINARYMIME)
		return wrong(r, "body", "is not 7BIT or 8BITMIME");
	e->sender = address_text(sender);
	return true;
}

bool import_envelope_read(const json_t *file, struct import_envelope *to, char *why, size_t size)
{
	struct reading r = {.why = why, .size = size, .prefix = ""};
	uint64_t now = (uint64_t)walltime_read().us;
	struct envelope e = {0}, again;
	struct address sender;

	if (!json_is_object(file))
		return wrong(&r, "the file", "is no object");
	if (!take_text(&r, file, "queue_id", 32, &to->origin) || !read_head(&r, file, &sender, &e))
		return false;
	if (!e.submitter.len)
		e.submitter = text_of("import");
	/* Its age counts from then; one from the future would never expire. */
	if (!e.arrival_wall || e.arrival_wall > now)
		e.arrival_wall = now;
	envelope_put_head(&to->envelope, &e);
	if (!put_recipients(&r, json_object_get(file, "recipients"), to))
		return false;
	return envelope_decode(bytes_text(&to->envelope), &again) ||
	       wrong(&r, "the file", "makes no envelope");
}

void import_envelope_free(struct import_envelope *e)
{
	bytes_free(&e->envelope);
	bytes_free(&e->state_items);
}
