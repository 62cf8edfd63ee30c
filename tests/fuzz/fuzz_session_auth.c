/* SPDX-License-Identifier: ISC */
/*
 * The session engine's AUTH: a session in pieces, with a checker that answers
 * what the first bytes say, at once or late. Replies are whole lines, an
 * exchange that begins ends once, and nobody is logged in without a verdict.
 */
#include "base64.h"
#include "must.h"
#include "session.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ANSWERS = 8 };

struct host {
	struct session *session;
	struct bytes out;
	struct moment now;
	const uint8_t *answers; /* ANSWERS of them: a verdict, or above that a challenge's length */
	unsigned next;
	bool later, open, good;
};

static void answer(struct host *h)
{
	static const char text[256] = "challenge";
	uint8_t a = h->answers[h->next++ % ANSWERS];
	struct session_auth said = session_auth(h->session);

	must(said.data.len <= SASL_MESSAGE_MAX && said.mechanism && h->open);
	if (a >= AUTH_VERDICTS + 2) {
		session_auth_challenge(h->session, h->now, (struct text){text, a});
		return;
	}
	h->open = false;
	h->good = h->good || a == AUTH_GOOD;
	session_auth_done(h->session, h->now, (enum auth_verdict)a, text_of("ann@example.net"));
}

static void ask(void *owner, enum session_point point)
{
	static const struct reply ok = REPLY(250, "2.0.0", "Ok");
	struct host *h = owner;

	if (point != POINT_AUTH) {
		session_answer(h->session, h->now, point == POINT_DATA ? &ok : NULL);
		return;
	}
	if (session_auth(h->session).begins) {
		must(!h->open && !h->good);
		h->open = true;
	}
	if (!h->later)
		answer(h);
}

static uint64_t open_message(void *owner, const struct reply **refusal)
{
	(void)owner;
	(void)refusal;
	return 36;
}

static void take_body(void *owner, const uint8_t *data, size_t len)
{
	(void)owner;
	(void)data;
	(void)len;
}

static void drop(void *owner)
{
	(void)owner;
}

static void event(void *owner, enum event_kind what, uint64_t id, const struct text *values,
		  size_t count)
{
	char line[512];

	(void)owner;
	(void)id;
	event_print(line, sizeof line, event_row((unsigned)what), values, count);
}

static unsigned mechanisms(void *owner)
{
	(void)owner;
	return SASL_ALL;
}

static void spent(void *owner, uint32_t recipients, uint32_t refused)
{
	(void)owner;
	must(recipients || refused);
}

static void auth_drop(void *owner)
{
	struct host *h = owner;

	must(h->open);
	h->open = false;
}

static void check_replies(struct bytes *out)
{
	const uint8_t *at = out->data, *end = out->end ? out->data + out->end : at;
	uint8_t decoded[SASL_MESSAGE_MAX];
	size_t n;

	while (at < end) {
		const uint8_t *lf = memchr(at, '\n', (size_t)(end - at));

		must(lf && lf - at >= 5 && lf[-1] == '\r');
		must(at[0] >= '2' && at[0] <= '5' && (at[3] == ' ' || at[3] == '-'));
		if (memcmp(at, "334 ", 4) == 0)
			must(base64_read((struct text){(const char *)at + 4, (size_t)(lf - at) - 5},
					 decoded, sizeof decoded, &n));
		at = lf + 1;
	}
	out->start = out->end = 0;
}

static void play(struct host *h, const uint8_t *data, size_t size, size_t step)
{
	struct bytes in = {0};

	for (size_t at = 0; at < size; at += step) {
		bytes_add(&in, data + at, size - at < step ? size - at : step);
		for (int round = 0; round < 8; round++) {
			size_t n = session_input(h->session, h->now, bytes_at(&in), bytes_len(&in));

			bytes_take(&in, n, 0);
			check_replies(&h->out);
			if (session_asks(h->session) == POINT_AUTH)
				answer(h);
			check_replies(&h->out);
		}
		must((session_login(h->session).len > 0) == h->good);
		h->now.mono.us += 1000;
	}
	bytes_free(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct session_face face = {ask,	open_message, take_body, drop,
						 event, mechanisms,   auth_drop, spent};
	static const char text[] = "hostname = mx.test\nauth { users = /u clear = loopback }\n"
				   "limits { errors = 60 }\n";
	struct config_errors errors = {0};

	if (size < ANSWERS + 1)
		return 0;
	struct config *config = config_read(text_of(text), &errors);
	struct host h = {.answers = data, .now = {{1}, {1}}, .later = (data[ANSWERS] & 1) != 0};
	struct session_setup setup = {.face = &face,
				      .owner = &h,
				      .config = config,
				      .out = &h.out,
				      .seed = 1,
				      .auth = true,
				      .needs_login = (data[ANSWERS] & 2) != 0};

	must(config && host_address_parse(text_of("127.0.0.1"), setup.address));
	h.session = session_new(&setup, h.now);
	config_drop(&config);
	session_begin(h.session);
	play(&h, data + ANSWERS + 1, size - ANSWERS - 1, 1 + (size_t)(data[ANSWERS] >> 2) * 13);
	if (data[ANSWERS] & 1)
		session_lost(h.session);
	session_free(&h.session);
	must(!h.open);
	bytes_free(&h.out);
	config_errors_free(&errors);
	return 0;
}
