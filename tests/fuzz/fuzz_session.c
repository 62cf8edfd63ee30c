/* SPDX-License-Identifier: ISC */
/*
 * The session engine: a session in pieces of any size and with answers that
 * come late. Every reply is whole and well-formed, what is handed over holds
 * CRLF lines only, and nothing is kept.
 */
#include "envelope.h"
#include "must.h"
#include "session.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct host {
	struct session *session;
	struct bytes out, body;
	struct moment now;
	bool later, open;
};

static const char config_text[] =
    "hostname = mx.test\nrelay-from = { 10.0.0.0/8 }\nrelay-to = { c.d }\n"
    "route no.d { to = \"reject: no\" }\n"
    "limits { message = 64K header = 4K recipients = 100 errors = 1000 idle-commands = 1000 }\n";

static void check_lines(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		must(at[i] != '\n' || (i > 0 && at[i - 1] == '\r'));
		must(at[i] != '\r' || (i + 1 < len && at[i + 1] == '\n'));
		must(at[i] != '\0');
	}
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
	}
	must(h->open == (point == POINT_DATA || point == POINT_HEADER));
	if (point != POINT_HEADER && h->later)
		return;
	if (point == POINT_DATA)
		h->open = false;
	session_answer(h->session, h->now,
		       point == POINT_DATA ? &(struct reply)REPLY(250, "2.0.0", "Ok") : NULL);
}

static uint64_t open_message(void *owner, const struct reply **refusal)
{
	struct host *h = owner;

	(void)refusal;
	must(!h->open);
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
static void answer(struct host *h, uint8_t choice)
{
	static const struct reply ok = REPLY(250, "2.0.0", "Ok"), no = REPLY(451, "4.3.0", "no");
	enum session_point point = session_asks(h->session);

	if (!point)
		return;
	if (point == POINT_DATA)
		h->open = false;
	if (choice & 4)
		session_answer(h->session, h->now, point == POINT_CLIENT ? NULL : &no);
	else
		session_answer(h->session, h->now, point == POINT_DATA ? &ok : NULL);
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
			answer(h, choice);
		}
		must(!h->open || !session_is_over(h->session));
		h->now.mono.us += 1000;
		session_expire(h->session, h->now);
	}
	bytes_free(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct session_face face = {ask, open_message, take_body, drop, event};
	struct config_errors errors = {0};
	char text[512];

	if (size < 1)
		return 0;
	strcpy(text, config_text);
	if (data[0] & 1)
		strcat(text, "bare-newline = normalise\n");
	struct config *config = config_read(text_of(text), &errors);
	struct host h = {.later = (data[0] & 2) != 0, .now = {{1}, {1}}};
	struct session_setup setup = {
	    .face = &face, .owner = &h, .config = config, .out = &h.out, .seed = 1};

	must(config);
	must(host_address_parse(text_of("10.0.0.1"), setup.address));
	h.session = session_new(&setup, h.now);
	config_drop(&config);
	session_begin(h.session);
	play(&h, data + 1, size - 1, data[0]);
	if (data[0] & 4)
		session_lost(h.session);
	session_free(&h.session);
	must(!h.open);
	bytes_free(&h.out);
	bytes_free(&h.body);
	config_errors_free(&errors);
	return 0;
}
