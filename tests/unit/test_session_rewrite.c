/* SPDX-License-Identifier: ISC */
/* What rewriting may change of a transaction: recipients, sender, header, blind copies. */
#include "session.h"

#include "address.h"
#include "envelope.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct host {
	struct session *session;
	struct moment now;
	struct bytes out;
	const struct text *expansion;
	size_t expansion_count, blind;
	bool full, again;
	char envelope[4096]; /* of the message: "sender: recipient/orcpt/notify ..." */
	char prelude[4096];
};

static void note_message(struct host *h)
{
	struct session_message m = session_message(h->session);
	struct envelope e;
	struct envelope_recipient r;
	struct envelope_iter it = envelope_recipients(m.envelope);
	size_t n;

	assert_true(envelope_decode(m.envelope, &e));
	n = (size_t)snprintf(h->envelope, sizeof h->envelope, "%.*s:", (int)e.sender.len,
			     e.sender.data);
	while (envelope_next(&it, &r) && n < sizeof h->envelope)
		n += (size_t)snprintf(h->envelope + n, sizeof h->envelope - n, " %.*s/%.*s/%u",
				      (int)r.address.len, r.address.data, (int)r.orcpt.len,
				      r.orcpt.data, r.notify);
	text_copy(h->prelude, sizeof h->prelude, m.prelude);
	session_passed_on(h->session);
}

static void change_header(struct host *h)
{
	struct bytes header = {0};

	bytes_add(&header, "X-New: 1\r\n\r\n", 12);
	session_set_header(h->session, &header);
	session_set_sender(h->session, text_of("new@b.example"));
	if (h->again) {
		session_recipients_again(h->session);
		while (session_recipient_again(h->session)) {
			struct text t = address_text(session_pending(h->session));

			assert_true(session_expand(h->session, &t, 1));
		}
	}
	for (size_t i = 0; i < h->blind; i++) {
		char address[40];

		snprintf(address, sizeof address, "blind%zu@b.example", i);
		if (!session_add_blind(h->session, text_of(address)))
			h->full = true;
		/* The same again is the same one. */
		assert_int_equal(session_add_blind(h->session, text_of("blind0@b.example")), true);
	}
}

static void ask(void *owner, enum session_point point)
{
	static const struct reply ok = REPLY(250, "2.0.0", "Ok: queued");
	static const struct reply full = REPLY(452, "4.5.3", "full");
	struct host *h = owner;
	bool fits = true;

	if (point == POINT_RECIPIENT && h->expansion_count)
		fits = session_expand(h->session, h->expansion, h->expansion_count);
	if (point == POINT_HEADER)
		change_header(h);
	if (point == POINT_DATA)
		note_message(h);
	session_answer(h->session, h->now, point == POINT_DATA ? &ok : fits ? NULL : &full);
}

static uint64_t open_message(void *owner, const struct reply **refusal)
{
	(void)owner;
	(void)refusal;
	return 36;
}

static void ignore(void *owner)
{
	(void)owner;
}

static void body(void *owner, const uint8_t *data, size_t len)
{
	(void)owner;
	(void)data;
	(void)len;
}

static void event(void *owner, enum event_kind what, uint64_t id, const struct text *values,
		  size_t count)
{
	(void)owner;
	(void)what;
	(void)id;
	(void)values;
	(void)count;
}

static const struct session_face face = {
    .ask = ask, .open = open_message, .body = body, .drop = ignore, .event = event};

/* One session with INPUT; what it said is in H's out. */
static void play(struct host *h, const char *input)
{
	struct config_errors errors = {0};
	struct config *config =
	    config_read(text_of("hostname = mx.test\nrelay-from = { 10.0.0.0/8 }\n"), &errors);
	struct session_setup setup = {
	    .face = &face, .owner = h, .config = config, .out = &h->out, .role = 1};

	assert_non_null(config);
	config_errors_free(&errors);
	assert_true(host_address_parse(text_of("10.0.0.1"), setup.address));
	h->now = (struct moment){{1000000}, {1790000000000000}};
	h->session = session_new(&setup, h->now);
	config_drop(&config);
	session_begin(h->session);
	assert_int_equal(session_role(h->session), 1);
	assert_int_equal(session_input(h->session, h->now, (const uint8_t *)input, strlen(input)),
			 strlen(input));
	bytes_add(&h->out, "", 1);
	session_free(&h->session);
}

#define BEGIN "EHLO c\r\nMAIL FROM:<old@b.example>\r\n"
#define RCPT "RCPT TO:<said@d.example> NOTIFY=FAILURE ORCPT=rfc822;o@d.example\r\n"
#define CONTENT "DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n"

static void recipients_sender_and_header(void **state)
{
	static const struct text two[] = {TEXT("a@x.example"), TEXT("b@x.example")};
	struct host h = {.expansion = two, .expansion_count = 2, .blind = 2};

	(void)state;
	play(&h, BEGIN RCPT "RCPT TO:<other@d.example>\r\n" CONTENT);
	assert_string_equal(h.envelope, "new@b.example: a@x.example/rfc822;o@d.example/4 "
					"b@x.example/rfc822;o@d.example/4 blind0@b.example//1 "
					"blind1@b.example//1");
	assert_non_null(strstr(h.prelude, "\r\nX-New: 1\r\n\r\n"));
	assert_null(strstr(h.prelude, "Subject"));
	assert_null(strstr(h.prelude, "blind"));
	bytes_free(&h.out);
}

/* Put anew they are what they were. */
static void the_same_again(void **state)
{
	struct host h = {.again = true};

	(void)state;
	play(&h, BEGIN RCPT "RCPT TO:<other@d.example>\r\n" CONTENT);
	assert_string_equal(h.envelope, "new@b.example: said@d.example/rfc822;o@d.example/4 "
					"other@d.example//0");
	bytes_free(&h.out);
}

/* A recipient that stands for too many is refused whole; blind copies are bounded. */
static void bounds(void **state)
{
	struct text *many = mem_new(RECIPIENTS_MAX + 1, sizeof *many);
	struct host h = {.expansion = many, .expansion_count = RECIPIENTS_MAX + 1};

	(void)state;
	for (size_t i = 0; i <= RECIPIENTS_MAX; i++)
		many[i] = text_of("a@x.example");
	play(&h, BEGIN RCPT "DATA\r\n");
	assert_non_null(strstr((char *)bytes_at(&h.out), "\r\n452 4.5.3 full\r\n554 5.5.1 "));
	bytes_free(&h.out);
	free(many);
	h = (struct host){.blind = 4000};
	play(&h, BEGIN RCPT CONTENT);
	assert_true(h.full);
	bytes_free(&h.out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(recipients_sender_and_header),
	    cmocka_unit_test(the_same_again),
	    cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
