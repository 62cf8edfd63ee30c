/* SPDX-License-Identifier: ISC */
/* The course of SMTP sessions: what waits, what comes too late or too often, names, TLS, and how
 * they end. */
#include "envelope.h"
#include "session_host.h"

/* Runs the clock on to the next thing that is due, and gives what is LEFT of INPUT. */
static size_t pass_time(struct host *h, const char *input, size_t left)
{
	h->now.mono = session_deadline(h->session);
	session_expire(h->session, h->now);
	return session_input(h->session, h->now, (const uint8_t *)input, left);
}

/* "Not yet" is no reply: the client waits, what it pipelined waits too, and the answer is asked for
 * again, ever less often. */
static void test_not_yet(void **state)
{
	static const struct {
		const char *input, *before, *after;
		bool sender;
	} rows[] = {
	    {START "NOOP\r\n", EHLO_IS, MAIL_IS RCPT_IS OK, true},
	    {START "DATA\r\n\r\nb\r\n.\r\nNOOP\r\n", START_IS, DATA_IS QUEUED OK, false},
	    {START "BDAT 5 LAST\r\n\r\nb\r\nNOOP\r\n", START_IS, QUEUED OK, false},
	    {START "BDAT 0 LAST\r\n", START_IS, QUEUED, false},
	    {START "BDAT 0\r\nNOOP\r\n", START_IS, OK OK, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct host h = {0};
		size_t len = strlen(rows[i].input);

		h.sender_answer = rows[i].sender ? &reply_not_yet : NULL;
		h.open_answer = &reply_not_yet;
		h.no_id = !rows[i].sender;
		host_begin(&h, NULL, US);
		int64_t began = h.now.mono.us;
		size_t at = session_input(h.session, h.now, (const uint8_t *)rows[i].input, len);

		assert_true(session_blocked(h.session));
		assert_int_equal(session_deadline(h.session).us - began, 10000);
		for (int times = 0; times < 8; times++)
			assert_int_equal(pass_time(&h, rows[i].input + at, len - at), 0);
		/* 10, 20, ... 320 ms, and 320 for ever. */
		assert_int_equal(h.now.mono.us - began, 630000 + 2 * 320000);
		assert_string_equal(string_in(&h.out), rows[i].before);
		h.sender_answer = NULL;
		h.no_id = false;
		assert_int_equal(pass_time(&h, rows[i].input + at, len - at), len - at);
		assert_string_equal(string_in(&h.out) + strlen(rows[i].before), rows[i].after);
		assert_false(session_blocked(h.session));
		/* Its own time-out is what counts again. */
		assert_int_equal(session_deadline(h.session).us - h.now.mono.us, 300000000);
		host_end(&h);
	}
}

static void test_not_yet_ends(void **state)
{
	static const struct reply closed = REPLY(451, "4.3.2", "closed");
	struct host h = {.sender_answer = &reply_not_yet};

	(void)state;
	host_begin(&h, NULL, US);
	give(&h, EHLO MAIL, strlen(EHLO MAIL), 100);
	h.sender_answer = &closed;
	pass_time(&h, "", 0);
	assert_string_equal(string_in(&h.out), EHLO_IS "451 4.3.2 closed\r\n");
	/* A stop does not wait for it. */
	h.sender_answer = &reply_not_yet;
	give(&h, MAIL, strlen(MAIL), 100);
	session_drain(h.session, h.now);
	assert_true(session_is_over(h.session));
	assert_non_null(strstr(string_in(&h.out), "closed\r\n421 4.3.2 "));
	host_end(&h);
	/* Nor does a client that goes. */
	h = (struct host){.no_id = true, .open_answer = &reply_not_yet};
	host_begin(&h, NULL, US);
	give(&h, START "DATA\r\n", strlen(START "DATA\r\n"), 100);
	session_lost(h.session);
	assert_true(session_is_over(h.session));
	assert_int_equal(session_deadline(h.session).us, INT64_MAX);
	host_end(&h);
}

static void test_deadlines(void **state)
{
	struct host h = {0};

	(void)state;
	host_begin(&h, "timeout { command = 10s transaction = 60s }\n", US);
	give(&h, EHLO, strlen(EHLO), 100);
	assert_int_equal(session_deadline(h.session).us, 11000000);
	/* An octet of a command does not put it off. */
	h.now.mono.us = 5000000;
	give(&h, "N", 1, 1);
	assert_int_equal(session_deadline(h.session).us, 11000000);
	h.now.mono.us = 12000000;
	session_expire(h.session, h.now);
	assert_true(session_is_over(h.session));
	assert_string_equal(string_in(&h.out), EHLO_IS "421 4.4.2 Error: timeout exceeded\r\n");
	assert_non_null(strstr(string_in(&h.log), "timeout after EHLO from unknown[10.1.2.3]"));
	host_end(&h);
}

/* An octet now and then keeps a session for the transaction's time, not for ever. */
static void test_dripper(void **state)
{
	struct host h = {0};
	int octets = 0;

	(void)state;
	host_begin(&h, "timeout { command = 10s transaction = 60s }\n", US);
	give(&h, START "DATA\r\n\r\n", strlen(START "DATA\r\n\r\n"), 100);
	while (!session_is_over(h.session) && octets < 1000) {
		h.now.mono.us += 5000000;
		give(&h, "x", 1, 1);
		session_expire(h.session, h.now);
		octets++;
	}
	assert_in_range(octets, 11, 13);
	assert_non_null(strstr(string_in(&h.log), "timeout after DATA"));
	assert_int_equal(h.dropped, 1);
	host_end(&h);
}

static void test_unread_replies(void **state)
{
	struct host h = {0};
	struct bytes in = {0};

	(void)state;
	host_begin(&h, NULL, US);
	repeat(&in, EHLO MAIL, 1);
	for (int i = 0; i < 20000; i++) {
		char line[40];

		snprintf(line, sizeof line, "RCPT TO:<c%d@d.example>\r\n", i);
		repeat(&in, line, 1);
	}
	size_t n = session_input(h.session, h.now, in.data, in.end);

	assert_true(n < in.end);
	assert_true(session_blocked(h.session));
	assert_true(bytes_len(&h.out) < SESSION_OUT_MAX + 1024);
	h.out.start = h.out.end = 0;
	assert_true(session_input(h.session, h.now, in.data + n, in.end - n) > 0);
	host_end(&h);
	bytes_free(&in);
}

/* The same recipient again and again is one; a thousand times are forgiven, then it is an error.
 * Empty chunks bring no mail either. */
static void test_repeats(void **state)
{
	struct host h = {0};
	int times = 0;

	(void)state;
	host_begin(&h, NULL, US);
	give(&h, START, strlen(START), 100);
	for (; !session_is_over(h.session) && times < 2000; times++) {
		h.out.start = h.out.end = 0;
		give(&h, RCPT, strlen(RCPT), 100);
	}
	assert_int_equal(times, 1006);
	assert_string_equal(string_in(&h.out), RCPT_IS "421 4.7.0 Error: too many errors\r\n");
	host_end(&h);
	h = (struct host){0};
	host_begin(&h, NULL, US);
	give(&h, START, strlen(START), 100);
	for (times = 0; !session_is_over(h.session) && times < 100; times++)
		give(&h, "BDAT 0\r\n", 8, 8);
	assert_int_equal(times, 10); /* EHLO was the first */
	assert_non_null(strstr(string_in(&h.out), "421 4.7.0 Error: too many commands that"));
	host_end(&h);
}

static void test_early_talker(void **state)
{
	struct host h = {0};

	(void)state;
	host_make(&h, NULL, US);
	assert_int_equal(session_input(h.session, h.now, (const uint8_t *)"EHLO x\r\n", 8), 0);
	session_begin(h.session);
	assert_string_equal(string_in(&h.out),
			    "554 5.5.1 Error: you spoke before the greeting\r\n");
	assert_true(session_is_over(h.session));
	host_end(&h);
}

static void test_drain(void **state)
{
	struct host h = {0};

	(void)state;
	host_begin(&h, NULL, US);
	give(&h, START "DATA\r\n\r\nx", strlen(START "DATA\r\n\r\nx"), 100);
	session_drain(h.session, h.now);
	assert_false(session_is_over(h.session));
	give(&h, "\r\n.\r\n", 5, 5);
	assert_non_null(strstr(string_in(&h.out), QUEUED "421 4.3.2 "));
	assert_true(session_is_over(h.session));
	host_end(&h);
}

/* Held in its last chunk, whose octets are all there: who has closed his half by then is owed the
 * reply. */
static void test_all_is_there(void **state)
{
	struct host h = {.hold_body = true};

	(void)state;
	host_begin(&h, NULL, US);
	give(&h, START "BDAT 5\r\n\r\nabc", sizeof START "BDAT 5\r\n\r\nabc" - 1, 1000);
	assert_false(session_has_all(h.session));
	session_hold(h.session, false);
	session_input(h.session, h.now, NULL, 0);
	give(&h, "BDAT 4 LAST\r\nabc", 16, 1000);
	assert_false(session_has_all(h.session));
	session_hold(h.session, false);
	give(&h, "d", 1, 1);
	assert_true(session_has_all(h.session));
	assert_int_equal(h.messages, 0);
	session_hold(h.session, false);
	session_input(h.session, h.now, NULL, 0);
	assert_int_equal(h.messages, 1);
	assert_string_equal(string_in(&h.out), START_IS OK QUEUED);
	host_end(&h);
}

static void test_lost(void **state)
{
	struct host h = {0};

	(void)state;
	host_begin(&h, NULL, US);
	give(&h, START "DATA\r\nA: b\r\n", strlen(START "DATA\r\nA: b\r\n"), 100);
	session_lost(h.session);
	assert_int_equal(h.dropped, 1);
	assert_non_null(
	    strstr(string_in(&h.log), "lost connection after DATA from unknown[10.1.2.3]"));
	host_end(&h);
}

static void test_reject_line(void **state)
{
	struct host h = {0};

	(void)state;
	host_begin(&h, NULL, THEM);
	give(&h, EHLO MAIL RCPT, strlen(EHLO MAIL RCPT), 100);
	assert_string_equal(
	    string_in(&h.log),
	    "reject: RCPT from unknown[192.0.2.7]: 550 5.7.1 <c@d.example>: Relay access "
	    "denied; from=<a@b.example> to=<c@d.example> proto=ESMTP helo=<c.example>\n");
	host_end(&h);
}

/* Once it is known what the client is called: RFC 5321 4.4, TCP-info. */
static void test_named(void **state)
{
#define CONTENT "DATA\r\nA: b\r\n\r\nx\r\n.\r\n"
	static const char mail[] = START CONTENT;
	static const char others[] = EHLO MAIL "RCPT TO:<c@customer.example>\r\n" CONTENT;
	struct host h = {0};

	(void)state;
	host_begin(&h, NULL, US);
	session_named(h.session, text_of("host.client.example"));
	session_named(h.session, text_of("another.example")); /* the first one stays */
	give(&h, mail, strlen(mail), 100);
	assert_ptr_equal(
	    strstr(string_in(&h.prelude),
		   "Received: from c.example (host.client.example [10.1.2.3])\r\n\tby "),
	    h.prelude.data);
	assert_non_null(strstr(string_in(&h.log), "client=host.client.example[10.1.2.3]\n"));
	host_end(&h);
	h = (struct host){0};
	host_begin(&h, NULL, "2001:db8::7");
	session_named(h.session, text_of(""));
	give(&h, others, strlen(others), 100);
	assert_ptr_equal(
	    strstr(string_in(&h.prelude), "Received: from c.example ([IPv6:2001:db8::7])\r\n\tby "),
	    h.prelude.data);
	session_named(h.session, text_of("six.example"));
	give(&h, others, strlen(others), 100);
	assert_ptr_equal(
	    strstr(string_in(&h.prelude),
		   "Received: from c.example (six.example [IPv6:2001:db8::7])\r\n\tby "),
	    h.prelude.data);
	assert_non_null(strstr(string_in(&h.log), "client=six.example[2001:db8::7]\n"));
	host_end(&h);
}

/* What the session has said since the last look. */
static void hears(struct host *h, const char *what)
{
	char *said = strndup((const char *)h->out.data, h->out.end);

	assert_string_equal(said, what);
	free(said);
	h->out.start = h->out.end = 0;
}

static size_t speaks(struct host *h, const char *what)
{
	return session_input(h->session, h->now, (const uint8_t *)what, strlen(what));
}

/* RFC 3207 4.2: nothing behind the command is taken, and nothing before it is remembered. */
static void test_starttls(void **state)
{
	static const struct tls_facts facts = {.version = TEXT("TLSv1.3"), .cipher = TEXT("TLS_X")};
	static const char offer[] = "STARTTLS\r\n";
	struct host h = {.offers_tls = true};

	(void)state;
	host_begin(&h, NULL, US);
	speaks(&h, "EHLO c.example\r\n");
	bytes_add(&h.out, "", 1);
	assert_non_null(strstr((const char *)h.out.data, "250-STARTTLS\r\n"));
	h.out.start = h.out.end = 0;
	speaks(&h, "STARTTLS now\r\nMAIL FROM:<a@b.example>\r\nSTARTTLS\r\nRSET\r\n");
	hears(&h, "501 5.5.4 Syntax: STARTTLS\r\n250 2.1.0 Ok\r\n"
		  "503 5.5.1 Error: STARTTLS comes behind EHLO, before AUTH and MAIL\r\n"
		  "250 2.0.0 Ok\r\n");
	assert_int_equal(speaks(&h, "STARTTLS\r\nMAIL FROM:<a@b.example>\r\n"), sizeof offer - 1);
	hears(&h, "220 2.0.0 Ready to start TLS\r\n");
	assert_true(session_wants_tls(h.session) && session_blocked(h.session));
	assert_int_equal(speaks(&h, "MAIL FROM:<a@b.example>\r\n"), 0);
	session_secured(h.session, h.now, &facts);
	assert_false(session_wants_tls(h.session) || session_blocked(h.session));
	speaks(&h, "MAIL FROM:<a@b.example>\r\n");
	hears(&h, "503 5.5.1 Error: send EHLO or HELO first\r\n");
	speaks(&h, "HELO c.example\r\nSTARTTLS\r\n");
	hears(&h, "250 mx.test\r\n503 5.5.1 Error: TLS is active already\r\n");
	speaks(&h, EHLO);
	h.out.start = h.out.end = 0;
	speaks(&h, MAIL RCPT "DATA\r\n\r\nx\r\n.\r\n");
	assert_int_equal(h.messages, 1);
	bytes_add(&h.prelude, "", 1);
	assert_non_null(strstr((const char *)h.prelude.data,
			       "with ESMTPS\r\n\t(using TLSv1.3 with cipher TLS_X) id "));
	host_end(&h);
}

/* RFC 8689 section 2: offered and taken within TLS alone; section 4.1: it goes before the header
 * field. */
static void test_requiretls(void **state)
{
	static const struct tls_facts facts = {.version = TEXT("TLSv1.3"), .cipher = TEXT("TLS_X")};
	static const struct {
		const char *mail, *header, *more;
		uint8_t tls;
	} rows[] = {
	    {" REQUIRETLS", "", NULL, MAIL_TLS_REQUIRED},
	    {" requiretls", "TLS-Required: No\r\n", NULL, MAIL_TLS_REQUIRED},
	    {"", "TLS-Required: No\r\n", NULL, MAIL_TLS_OPTIONAL},
	    {"", "TLS-Required: No\r\n", "heed-tls-required = no\n", MAIL_TLS_ANY},
	    {" REQUIRETLS", "", "heed-tls-required = no\n", MAIL_TLS_REQUIRED},
	    {"", "TLS-Required: No\r\ntls-required: no\r\n", NULL, MAIL_TLS_ANY},
	    {"", "", NULL, MAIL_TLS_ANY},
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct host h = {.offers_tls = true};
		struct envelope e;

		host_begin(&h, rows[i].more, US);
		speaks(&h, EHLO "MAIL FROM:<a@b.example> REQUIRETLS\r\n");
		assert_null(strstr(string_in(&h.out), "250-REQUIRETLS"));
		assert_non_null(
		    strstr(string_in(&h.out),
			   "555 5.5.4 Error: REQUIRETLS is offered under TLS only\r\n"));
		speaks(&h, "STARTTLS\r\n");
		session_secured(h.session, h.now, &facts);
		h.out.start = h.out.end = 0;
		speaks(&h, EHLO "MAIL FROM:<a@b.example> REQUIRETLS=1\r\n");
		assert_non_null(strstr(string_in(&h.out), "250-REQUIRETLS\r\n"));
		assert_non_null(
		    strstr(string_in(&h.out), "501 5.5.4 Error: bad parameter value\r\n"));
		snprintf(text, sizeof text,
			 "MAIL FROM:<a@b.example>%s\r\n" RCPT "DATA\r\n%s\r\nx\r\n.\r\n",
			 rows[i].mail, rows[i].header);
		speaks(&h, text);
		assert_int_equal(h.messages, 1);
		assert_true(envelope_decode(
		    (struct text){(const char *)h.envelope.data, h.envelope.end}, &e));
		assert_int_equal(e.tls, rows[i].tls);
		host_end(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_not_yet),	   cmocka_unit_test(test_not_yet_ends),
	    cmocka_unit_test(test_deadlines),	   cmocka_unit_test(test_dripper),
	    cmocka_unit_test(test_unread_replies), cmocka_unit_test(test_repeats),
	    cmocka_unit_test(test_early_talker),   cmocka_unit_test(test_drain),
	    cmocka_unit_test(test_starttls),	   cmocka_unit_test(test_requiretls),
	    cmocka_unit_test(test_all_is_there),   cmocka_unit_test(test_lost),
	    cmocka_unit_test(test_reject_line),	   cmocka_unit_test(test_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
