/* SPDX-License-Identifier: ISC */
/*
 * The session engine: a session in pieces of any size and with answers that
 * come late, from a stranger or a friend, or mail handed in whole. The first
 * byte: 1 normalises bare newlines, 2 late answers, 4 refusals and a lost
 * client, the rest how long the pieces are; the second one is an enum variant. Every reply is whole
 * and well-formed, what is handed over holds CRLF lines only, and nothing is kept.
 */
#include "envelope.h"
#include "must.h"
#include "session.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum variant {
	VARIANT_STRANGER = 1,
	VARIANT_HANDIN = 2, /* lines: sender, +ENVID or none, recipients, an empty one, content */
	VARIANT_REPAIRS = 4,
	VARIANT_DRAIN = 8,   /* half-way */
	VARIANT_CLOSED = 16, /* no mail is taken; with refusals: not yet, three times over */
	VARIANT_HOLD = 32,   /* the body's file is late */
	VARIANT_SLOW = 64,   /* an hour a piece */
	VARIANT_ABORT =
	    128, /* the answer at the end of data is lost; with refusals see verdict() */
};

struct host {
	struct session *session;
	struct bytes out, body;
	struct moment now;
	bool later, open;
	uint8_t choice, variant, not_yet;
};

static const char config_text[] =
    "hostname = mx.test\nrelay-from = { 10.0.0.0/8 }\nrelay-to = { c.d }\n"
    "route no.d { to = \"reject: no\" }\nroute gone.d { to = \"reject: 550 5.1.1 gone\" }\n"
    "postmaster = ann@c.d\nsource a { ipv4 = 192.0.2.1 }\nsender .b.c { source = a }\n"
    "limits { message = 64K header = 4K recipients = 100 errors = 30 idle-commands = 60 received = "
    "25 }\n";

static void check_lines(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		must(at[i] != '\n' || (i > 0 && at[i - 1] == '\r'));
		must(at[i] != '\r' || (i + 1 < len && at[i + 1] == '\n'));
		must(at[i] != '\0');
	}
}

/* Refusals at the end of data, at the header (8) and of the client (16); else of all but the
 * client. */
static const struct reply *verdict(const struct host *h, enum session_point point)
{
	static const struct reply ok = REPLY(250, "2.0.0", "Ok"), no = REPLY(451, "4.3.0", "no");
	bool refuses = (h->choice & 4) != 0;

	if (refuses && (h->variant & VARIANT_ABORT))
		return point == POINT_DATA || (point == POINT_HEADER && (h->choice & 8)) ||
			       (point == POINT_CLIENT && (h->choice & 16))
			   ? &no
			   : NULL;
	if (h->variant & VARIANT_ABORT)
		return NULL;
	if (refuses && h->later && point != POINT_CLIENT)
		return &no;
	return point == POINT_DATA ? &ok : NULL;
}

static void give_answer(struct host *h, enum session_point point)
{
	const struct reply *r = verdict(h, point);

	if (point == POINT_DATA && r)
		h->open = false;
	session_answer(h->session, h->now, r);
}

/* What a host asks its neighbours about. */
static void look_at_header(struct host *h)
{
	struct session *s = h->session;
	struct text header = session_header(s);

	check_lines((const uint8_t *)header.data, header.len);
	must(session_recipients(s) > 0 && session_recipients(s) <= 100);
	must(session_is_handed_in(s) == ((h->variant & VARIANT_HANDIN) != 0));
	must(!session_is_handed_in(s) || session_is_trusted(s));
	must(session_identity(s).len <= 255 && session_address(s));
	must(session_has_all(s) || session_asks(s) == POINT_HEADER);
	if (h->choice & 8)
		session_hold_message(s, session_sender(s));
}

static void ask(void *owner, enum session_point point)
{
	struct host *h = owner;

	if (point == POINT_DATA) {
		struct session_message m = session_message(h->session);
		struct envelope e;

		must(envelope_decode(m.envelope, &e));
		check_lines((const uint8_t *)m.prelude.data, m.prelude.len);
		check_lines(h->body.data, h->body.end);
		must(m.prelude.len <= PRELUDE_MAX && m.id == 36);
		if (h->choice & 32)
			session_passed_on(h->session);
	}
	if (point == POINT_HEADER)
		look_at_header(h);
	must(h->open == (point == POINT_DATA || point == POINT_HEADER));
	if (point != POINT_HEADER && h->later)
		return;
	give_answer(h, point);
}

static uint64_t open_message(void *owner, const struct reply **refusal)
{
	struct host *h = owner;

	static const struct reply closed = REPLY(451, "4.3.2", "not now"),
				  over = REPLY(421, "4.3.2", "not any more");

	must(!h->open);
	if ((h->variant & VARIANT_CLOSED) && (h->choice & 4) && h->not_yet < 3) {
		h->not_yet++;
		*refusal = &reply_not_yet;
		return 0;
	}
	if (h->variant & VARIANT_CLOSED) {
		*refusal = h->later ? &over : &closed;
		return 0;
	}
	if (h->variant & VARIANT_HOLD)
		session_hold(h->session, true);
	h->open = true;
	h->body.start = h->body.end = 0;
	return 36;
}

static void take_body(void *owner, const uint8_t *data, size_t len)
{
	struct host *h = owner;

	must(h->open);
	bytes_add(&h->body, data, len);
}

static void drop(void *owner)
{
	struct host *h = owner;

	must(h->open);
	h->open = false;
}

static void event(void *owner, enum event_kind what, uint64_t id, const struct text *values,
		  size_t count)
{
	char line[512];

	(void)owner;
	(void)id;
	event_print(line, sizeof line, event_row((unsigned)what), values, count);
}

static void check_replies(struct bytes *out)
{
	const uint8_t *at = out->data, *end = out->end ? out->data + out->end : at;

	while (at < end) {
		const uint8_t *lf = memchr(at, '\n', (size_t)(end - at));

		must(lf && lf - at >= 5 && lf - at < REPLY_LINE_MAX && lf[-1] == '\r');
		must(at[0] >= '2' && at[0] <= '5' && (at[3] == ' ' || at[3] == '-'));
		at = lf + 1;
	}
	out->start = out->end = 0;
}

/* Answers what is outstanding, as a host does in a later turn. */
static void answer_late(struct host *h)
{
	enum session_point point = session_asks(h->session);

	if (point)
		give_answer(h, point);
}

static struct text take_line(struct text *t)
{
	ptrdiff_t at = text_find(*t, '\n');
	size_t n = at < 0 ? t->len : (size_t)at;
	struct text line = {t->data, n};

	t->data += n + (at >= 0);
	t->len -= n + (at >= 0);
	return line;
}

/* As the door does with what bounce and pickup bring. */
static void hand_in(struct host *h, struct text t, uint8_t choice)
{
	struct session *s = h->session;
	struct text sender = take_line(&t);
	bool fine =
	    session_hand_sender(s, h->now, sender, choice & 1, choice >> 3, choice >> 1 & 3);
	struct text rcpt;
	uint8_t notify = NOTIFY_NEVER;

	/* "+ENVID" behind the sender. */
	if (fine && t.len && t.data[0] == '+') {
		struct text envid = take_line(&t);

		notify = choice;
		fine =
		    session_hand_dsn(s, (struct text){envid.data + 1, envid.len - 1}, choice >> 4);
	}
	while (fine && (rcpt = take_line(&t)).len)
		fine = session_hand_recipient(s, rcpt, notify);
	while (fine && t.len) {
		size_t n = session_hand_content(s, h->now, (const uint8_t *)t.data, t.len);

		must(n <= t.len);
		t.data += n;
		t.len -= n;
		session_hold(s, false);
		fine = n > 0 || !session_hand_verdict(s);
		if (!n)
			break;
	}
	if (fine)
		fine = session_hand_end(s, h->now);
	answer_late(h);
	must(fine || session_hand_verdict(s) || session_is_over(s));
}

/* The handshake, in no time; what came in clear behind STARTTLS is thrown away. */
static void secure(struct host *h, struct bytes *in)
{
	static const struct tls_facts facts = {
	    .version = TEXT("TLSv1.3"),
	    .cipher = TEXT("TLS_AES_128_GCM_SHA256"),
	};

	if (!session_wants_tls(h->session))
		return;
	bytes_free(in);
	session_secured(h->session, h->now, &facts);
	must(!session_wants_tls(h->session));
}

static void play(struct host *h, const uint8_t *data, size_t size, uint8_t choice)
{
	size_t step = 1 + (size_t)(choice >> 3) * 13;
	struct bytes in = {0};

	for (size_t at = 0; at < size; at += step) {
		bytes_add(&in, data + at, size - at < step ? size - at : step);
		for (int round = 0; round < 8; round++) {
			size_t n = session_input(h->session, h->now, bytes_at(&in), bytes_len(&in));

			must(n <= bytes_len(&in));
			bytes_take(&in, n, 0);
			check_replies(&h->out);
			answer_late(h);
			secure(h, &in);
			session_hold(h->session, false);
			must(session_deadline(h->session).us >= h->now.mono.us ||
			     session_asks_again(h->session));
		}
		if ((h->variant & VARIANT_DRAIN) && at >= size / 2)
			session_drain(h->session, h->now);
		must(!h->open || !session_is_over(h->session));
		h->now.mono.us += h->variant & VARIANT_SLOW ? INT64_C(3600000000) : 1000;
		session_expire(h->session, h->now);
	}
	bytes_free(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct session_face face = {ask,	open_message, take_body, drop,
						 event, NULL,	      NULL,	 NULL};
	struct config_errors errors = {0};
	char text[512];

	if (size < 2)
		return 0;
	strcpy(text, config_text);
	if (data[0] & 1)
		strcat(text, "bare-newline = normalise\n");
	struct config *config = config_read(text_of(text), &errors);
	struct host h = {
	    .later = (data[0] & 2) != 0, .now = {{1}, {1}}, .choice = data[0], .variant = data[1]};
	struct session_setup setup = {
	    .face = &face, .owner = &h, .config = config, .out = &h.out, .seed = 1};
	bool handin = (h.variant & VARIANT_HANDIN) != 0;

	must(config);
	must(host_address_parse(text_of(h.variant & VARIANT_STRANGER ? "2001:db8::1" : "10.0.0.1"),
				setup.address));
	setup.offers_tls = true;
	setup.repairs = h.variant & VARIANT_REPAIRS ? REPAIRS_FULL : REPAIRS_NONE;
	if (handin) {
		setup.out = NULL;
		setup.login = text_of("uid:1000");
		setup.submitter = setup.login;
	}
	h.session = session_new(&setup, h.now);
	config_drop(&config);
	session_begin(h.session);
	if (handin)
		hand_in(&h, (struct text){(const char *)data + 2, size - 2}, data[0]);
	else
		play(&h, data + 2, size - 2, data[0]);
	if (data[0] & 4)
		session_lost(h.session);
	session_free(&h.session);
	must(!h.open);
	bytes_free(&h.out);
	bytes_free(&h.body);
	config_errors_free(&errors);
	return 0;
}
