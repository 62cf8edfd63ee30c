/* SPDX-License-Identifier: ISC */
/* The session engine's DATA, BDAT and end of data. */
#include "session_engine.h"

#include <stdio.h>
#include <string.h>

enum { PIECE_MAX = 65536 /* content taken before the host is looked at again */ };

static const struct reply reply_no_recipients = REPLY(554, "5.5.1", "Error: no valid recipients");
static const struct reply reply_need_rcpt = REPLY(503, "5.5.1", "Error: need RCPT command");

void transaction_refuse(struct session *s, const struct reply *r)
{
	struct transaction *t = s->t;

	if (t->refused)
		return;
	t->refused = arena_alloc(t->arena, sizeof *t->refused);
	if (!t->refused)
		return;
	t->refused->code = r->code;
	text_copy(t->refused->dsn, sizeof t->refused->dsn, text_of(r->dsn));
	text_copy(t->refused->text, sizeof t->refused->text, r->text);
}

/* Asks the host for an ID; false with *REFUSAL set when it has none. */
static bool open_content(struct session *s, const struct reply **refusal)
{
	uint64_t id = s->setup.face->open(s->setup.owner, refusal);

	if (!id)
		return false;
	s->t->id = id;
	s->t->began = s->now.mono;
	const struct text login[] = {session_client(s), text_of(sasl_name(s->auth_mechanism)),
				     s->setup.login};

	/* Mail of our own making has no client. */
	if (s->setup.out && s->logged_in)
		s->setup.face->event(s->setup.owner, EVENT_client_login, id, login, 3);
	else if (s->setup.out)
		s->setup.face->event(s->setup.owner, EVENT_client, id, login, 1);
	return true;
}

static void refuse_content(struct session *s, const struct reply *refusal)
{
	session_reject(s, "DATA", (struct text){NULL, 0}, refusal);
	transaction_end(s);
	session_change(s, STEP_READY);
}

/* False: refused, which was said, and the transaction is over. */
bool transaction_open(struct session *s)
{
	const struct reply *refusal = NULL;

	if (open_content(s, &refusal))
		return true;
	refuse_content(s, refusal);
	return false;
}

static void open_text(struct session *s)
{
	static const struct reply reply_go = REPLY(354, NULL, "End data with <CR><LF>.<CR><LF>");
	const struct reply *refusal = NULL;

	if (open_content(s, &refusal)) {
		session_change(s, STEP_TEXT);
		session_say(s, &reply_go);
	} else if (!session_wait(s, refusal, open_text)) {
		refuse_content(s, refusal);
	}
}

static const struct reply *no_recipient_reply(const struct session *s)
{
	return s->t->refused_count ? &reply_no_recipients : &reply_need_rcpt;
}

void session_verb_data(struct session *s, struct text args)
{
	static const struct reply reply_syntax = REPLY(501, "5.5.4", "Syntax: DATA");

	if (args.len)
		session_say(s, &reply_syntax);
	else if (!s->t->recipient_count)
		session_say(s, no_recipient_reply(s));
	else
		open_text(s);
}

/* -- content ------------------------------------------------------------------------- */

/* Who sends without end gets an end, although octets refused are to be eaten. */
static bool is_endless(struct session *s)
{
	static const struct reply reply = REPLY(421, "4.7.0", "Error: far too much data");
	uint64_t limit = s->setup.config->limit_message;

	if (!s->t->content.fault || s->t->content.octets < 2 * limit + 1048576)
		return false;
	session_close(s, &reply);
	return true;
}

static void settle_message(struct session *s);

static void ask_header(struct session *s)
{
	s->t->header_asked = true;
	if (!s->t->content.fault)
		transaction_repair(s);
	/* What is refused already is asked about, too: it counts. */
	session_ask(s, POINT_HEADER);
}

/* Content without dots; stops behind the header block when its question is outstanding. */
void transaction_content(struct session *s, const uint8_t *data, size_t len, size_t *used)
{
	struct content *c = &s->t->content;

	*used = 0;
	while (*used < len && !session_blocked(s)) {
		*used += content_take(c, data + *used, len - *used);
		if (c->in_body && !s->t->header_asked)
			ask_header(s);
	}
	s->command_deadline = monotime_add(s->now.mono, s->setup.config->timeout_command);
}

/*
 * How much of DATA is plain: up to and with the CRLF before the next line
 * that begins with a dot. A lone LF begins no line here, whatever the
 * settings: what other servers take for an end of data is content.
 */
static size_t text_run(const struct transaction *t, const uint8_t *data, size_t len)
{
	for (size_t at = 0; at < len;) {
		const uint8_t *lf = memchr(data + at, '\n', len - at);

		if (!lf)
			return len;
		at = (size_t)(lf - data) + 1;
		bool crlf = at > 1 ? lf[-1] == '\r' : t->last_cr;

		if (crlf && at < len && data[at] == '.')
			return at;
	}
	return len;
}

bool session_take_text(struct session *s, const uint8_t *data, size_t len, size_t *used)
{
	struct transaction *t = s->t;
	size_t dot = 0, taken = 0;

	if (!len || is_endless(s))
		return false;
	if (t->line_start && data[0] == '.') {
		if (len < 3 && (len == 1 || data[1] == '\r'))
			return false;
		if (data[1] == '\r' && data[2] == '\n') {
			*used = 3;
			session_end_of_data(s);
			return true;
		}
		/* RFC 5321 4.5.2: the first of the line is "deleted" when others follow. */
		dot = 1;
		t->line_start = false;
		t->last_cr = false;
	}
	size_t piece = len - dot < PIECE_MAX ? len - dot : PIECE_MAX;

	data += dot;
	transaction_content(s, data, text_run(t, data, piece), &taken);
	*used = dot + taken;
	if (taken) {
		t->line_start =
		    data[taken - 1] == '\n' && (taken > 1 ? data[taken - 2] == '\r' : t->last_cr);
		t->last_cr = data[taken - 1] == '\r';
	}
	return true;
}

/* -- BDAT (RFC 3030 section 2) --------------------------------------------------------- */

static bool read_bdat(struct text args, uint64_t *size, bool *last)
{
	ptrdiff_t space = text_find(args, ' ');
	struct text number = {args.data, space < 0 ? args.len : (size_t)space};
	struct text rest = text_trim((struct text){args.data + number.len, args.len - number.len});

	*last = text_equal_case(rest, text_of("LAST"));
	/* chunk-size ::= 1*DIGIT; what does not fit 63 bits is no size. */
	return (*last || !rest.len) && number.len <= 20 && text_number(number, INT64_MAX, size);
}

static const struct reply *refuse_bdat(struct session *s)
{
	static const struct reply reply_order =
	    REPLY(503, "5.5.1", "Error: need MAIL and RCPT commands");

	if (!s->t)
		return &reply_order;
	return s->t->recipient_count ? NULL : no_recipient_reply(s);
}

static void open_chunk(struct session *s);

static void open_chunk_again(struct session *s)
{
	size_t used = 0;

	open_chunk(s);
	/* An empty chunk is complete, and no input may come to say so. */
	if (s->step == STEP_CHUNK && !s->chunk_left)
		session_take_chunk(s, NULL, 0, &used);
}

static void open_chunk(struct session *s)
{
	const struct reply *refusal = NULL;

	if (!s->chunk_refusal && !s->t->id && !open_content(s, &refusal)) {
		if (session_wait(s, refusal, open_chunk_again))
			return;
		s->chunk_refusal = refusal;
	}
	if (s->chunk_refusal && s->chunk_left > s->setup.config->limit_message) {
		session_close(s, s->chunk_refusal);
		return;
	}
	/* The octets are on their way and are eaten even when they are not wanted. */
	session_change(s, STEP_CHUNK);
}

void session_verb_bdat(struct session *s, struct text args)
{
	static const struct reply reply_syntax = REPLY(501, "5.5.4", "Syntax: BDAT size [LAST]");

	if (!read_bdat(args, &s->chunk_left, &s->chunk_last)) {
		s->chunk_left = 0;
		session_say(s, &reply_syntax);
		return;
	}
	if (!s->chunk_left && !s->chunk_last && session_idles(s))
		return;
	s->chunk_refusal = refuse_bdat(s);
	open_chunk(s);
}

static void chunk_done(struct session *s)
{
	const struct reply *refusal = s->chunk_refusal;

	s->chunk_refusal = NULL;
	if (refusal) {
		session_reject(s, "BDAT", (struct text){NULL, 0}, refusal);
		transaction_end(s);
		session_change(s, s->helo ? STEP_READY : STEP_START);
	} else if (s->chunk_last) {
		session_end_of_data(s);
	} else if (s->t->content.fault || s->t->refused) {
		/* RFC 3030 section 2: we "MUST be prepared to accept and discard" the chunks
		 * behind a failed one; they get 503. */
		session_end_of_data(s);
	} else {
		session_change(s, STEP_CHUNKS);
		session_sayf(s, 250, "2.0.0", "Ok");
	}
}

bool session_take_chunk(struct session *s, const uint8_t *data, size_t len, size_t *used)
{
	size_t n = len < PIECE_MAX ? len : PIECE_MAX;

	if (n > s->chunk_left)
		n = (size_t)s->chunk_left;
	if (!s->chunk_left) {
		chunk_done(s);
		return true;
	}
	if (!n)
		return false;
	if (s->chunk_refusal) {
		*used = n;
		s->command_deadline = monotime_add(s->now.mono, s->setup.config->timeout_command);
	} else {
		if (is_endless(s))
			return false;
		transaction_content(s, data, n, used);
	}
	s->chunk_left -= *used;
	return true;
}

/* -- the end --------------------------------------------------------------------------- */

static const struct reply *fault_reply(const struct session *s)
{
	static const struct reply replies[] = {
	    [CONTENT_BARE] = REPLY(550, "5.5.2", "Error: bare <CR> or <LF> in the message"),
	    [CONTENT_NUL] = REPLY(550, "5.5.2", "Error: <NUL> in the message"),
	    [CONTENT_LINE] = REPLY(550, "5.6.0", "Error: a line of the message is too long"),
	    [CONTENT_HEADER] = REPLY(552, "5.3.4", "Error: the message's header is too large"),
	    [CONTENT_SIZE] = REPLY(552, "5.3.4", "Error: message size exceeds fixed limit"),
	    [CONTENT_SHED] =
		REPLY(452, "4.3.1", "Error: too much mail is coming in, try again later"),
	};

	return s->t->content.fault ? &replies[s->t->content.fault] : NULL;
}

static void refuse_message(struct session *s, const struct reply *r)
{
	session_reject(s, "END-OF-MESSAGE", s->t->first_recipient, r);
	transaction_end(s);
	session_change(s, r->code == 421 || r->code == 521 ? STEP_OVER : STEP_READY);
}

/* All is there, and the header was looked at. */
static void settle_message(struct session *s)
{
	static const struct reply reply_loop =
	    REPLY(554, "5.4.6", "Error: too many hops, the message loops");
	struct transaction *t = s->t;

	if (s->revoked) {
		refuse_message(s, &reply_revoked);
		return;
	}
	if (t->refused) {
		struct session_verdict v = *t->refused;

		refuse_message(s, &(struct reply){v.code, v.dsn, text_of(v.text)});
		return;
	}
	struct header_facts facts = header_read_facts(
	    (struct text){(const char *)t->content.head.data, t->content.head.end});

	if (facts.received > s->setup.config->limit_received) {
		refuse_message(s, &reply_loop);
		return;
	}
	/* RFC 8689 section 4.1: with REQUIRETLS "the TLS-Required header field MUST be ignored". */
	if (facts.tls_optional && !t->tls && s->setup.config->heed_tls_required)
		t->tls = MAIL_TLS_OPTIONAL;
	transaction_make_prelude(s, &facts);
	transaction_add_blind(s);
	transaction_make_envelope(s);
	s->setup.face->event(s->setup.owner, EVENT_message_id, t->id, &t->message_id, 1);
	session_ask(s, POINT_DATA);
}

void session_header_answered(struct session *s, const struct reply *r)
{
	if (r) {
		s->t->refused = NULL;
		transaction_refuse(s, r);
	}
	if (s->t->ended)
		settle_message(s);
}

void session_end_of_data(struct session *s)
{
	struct transaction *t = s->t;

	content_end(&t->content);
	const struct reply *fault = fault_reply(s);

	if (fault) {
		refuse_message(s, fault);
		return;
	}
	session_change(s, STEP_SETTLE);
	t->ended = true;
	/* A header block without a body behind it ends here. */
	if (!t->header_asked)
		ask_header(s);
	else
		settle_message(s);
}

struct session_message session_message(const struct session *s)
{
	const struct transaction *t = s->t;

	return (struct session_message){
	    .id = t->id,
	    .envelope = {(const char *)t->envelope.data, t->envelope.end},
	    .prelude = {(const char *)t->prelude.data, t->prelude.end},
	};
}

void session_data_answered(struct session *s, const struct reply *r)
{
	if (!r) {
		session_abort(s);
		return;
	}
	if (r->code < 300) {
		s->idle_commands = 0;
		s->messages++;
		s->t->taken = true;
		session_say(s, r);
	} else {
		session_reject(s, "END-OF-MESSAGE", s->t->first_recipient, r);
	}
	s->t->id = 0; /* handed over: nothing to drop */
	transaction_end(s);
	session_change(s, STEP_READY);
}
