/* SPDX-License-Identifier: ISC */
/* Replays of AUTH (RFC 4954): what a client sends, and all that it must hear. */
#include "envelope.h"
#include "session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct host {
	struct session *session;
	struct bytes out, prelude, envelope, log;
	struct moment now;
	unsigned exchanges, dropped, steps;
	unsigned recipients, refused, spent;
	bool later; /* answers come when answer() is called */
	char login[64];
};

/*
 * A checker that knows ann, with password pw: PLAIN in one response, LOGIN
 * in two; bob is disabled, cat's check is broken, dan has tried too often,
 * "bad" is no message.
 */
static void answer(struct host *h)
{
	struct session_auth said = session_auth(h->session);
	static const struct {
		struct text said;
		enum auth_verdict verdict;
	} rows[] = {
	    {TEXT("\0ann\0pw"), AUTH_GOOD},	 {TEXT("\0bob\0pw"), AUTH_DISABLED},
	    {TEXT("\0cat\0pw"), AUTH_TEMPORARY}, {TEXT("\0dan\0pw"), AUTH_LATER},
	    {TEXT("bad"), AUTH_MALFORMED},	 {TEXT("pw"), AUTH_GOOD},
	};

	if (said.begins && !said.has_initial) {
		session_auth_challenge(h->session, h->now,
				       said.mechanism == SASL_LOGIN ? text_of("Username:")
								    : (struct text){NULL, 0});
		return;
	}
	if (said.mechanism == SASL_LOGIN && text_equals(said.data, "ann")) {
		session_auth_challenge(h->session, h->now, text_of("Password:"));
		return;
	}
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (text_equal(said.data, rows[i].said)) {
			session_auth_done(h->session, h->now, rows[i].verdict, text_of("ann"));
			return;
		}
	session_auth_done(h->session, h->now, AUTH_WRONG, text_of(""));
}

static void ask(void *owner, enum session_point point)
{
	static const struct reply ok = REPLY(250, "2.0.0", "Ok: queued");
	static const struct reply no = REPLY(553, "5.7.1", "Error: not yours");
	struct host *h = owner;

	if (point == POINT_AUTH) {
		h->exchanges += session_auth(h->session).begins;
		h->steps++;
		if (!h->later)
			answer(h);
		return;
	}
	if (point == POINT_DATA) {
		struct session_message m = session_message(h->session);

		h->prelude.start = h->prelude.end = h->envelope.start = h->envelope.end = 0;
		bytes_add(&h->prelude, m.prelude.data, m.prelude.len);
		bytes_add(&h->envelope, m.envelope.data, m.envelope.len);
		session_passed_on(h->session);
	}
	if (point == POINT_SENDER && text_equals(session_sender(h->session), "no@sender.example"))
		session_answer(h->session, h->now, &no);
	else
		session_answer(h->session, h->now, point == POINT_DATA ? &ok : NULL);
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
	struct host *h = owner;
	char line[2048];
	size_t n = event_print(line, sizeof line, event_row((unsigned)what), values, count);

	(void)id;
	bytes_add(&h->log, line, n);
	bytes_add(&h->log, "\n", 1);
}

static unsigned mechanisms(void *owner)
{
	(void)owner;
	return SASL_ALL;
}

static void auth_drop(void *owner)
{
	((struct host *)owner)->dropped++;
}

static void spent(void *owner, uint32_t recipients, uint32_t refused)
{
	struct host *h = owner;

	h->recipients += recipients;
	h->refused += refused;
	h->spent++;
}

static const struct session_face face = {ask,	open_message, take_body, drop,
					 event, mechanisms,   auth_drop, spent};

static void host_begin(struct host *h, const char *more, const char *address, bool auth, bool needs)
{
	struct config_errors errors = {0};
	char text[1024];

	snprintf(text, sizeof text,
		 "hostname = mx.test\nauth { users = /u clear = %s }\nlimits { errors = 30 }\n",
		 more ? more : "loopback");
	struct config *config = config_read(text_of(text), &errors);
	struct session_setup setup = {.face = &face,
				      .owner = h,
				      .config = config,
				      .out = &h->out,
				      .submitter = text_of("net:x"),
				      .seed = 7,
				      .auth = auth,
				      .needs_login = needs};

	assert_non_null(config);
	config_errors_free(&errors);
	h->now = (struct moment){{1000000}, {1790000000000000}};
	assert_true(host_address_parse(text_of(address), setup.address));
	h->session = session_new(&setup, h->now);
	config_drop(&config);
	session_begin(h->session);
}

static void host_end(struct host *h)
{
	session_free(&h->session);
	bytes_free(&h->out);
	bytes_free(&h->prelude);
	bytes_free(&h->envelope);
	bytes_free(&h->log);
}

static const char *string_in(struct bytes *b)
{
	bytes_room(b, 1)[0] = '\0';
	return b->data ? (const char *)bytes_at(b) : "";
}

static void give(struct host *h, const char *input, size_t step)
{
	struct bytes in = {0};
	size_t len = strlen(input);

	for (size_t at = 0; at < len; at += step) {
		bytes_add(&in, input + at, len - at < step ? len - at : step);
		bytes_take(&in, session_input(h->session, h->now, bytes_at(&in), bytes_len(&in)),
			   0);
	}
	bytes_free(&in);
}

#define HERE "127.0.0.1"
#define EHLO "EHLO c.example\r\n"
#define OFFER                                                                                      \
	"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n"                   \
	"250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-SMTPUTF8\r\n"
#define GREET "220 mx.test ESMTP\r\n"
#define EHLO_IS                                                                                    \
	GREET OFFER "250-CHUNKING\r\n250 AUTH SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2\r\n"
#define EHLO_BARE GREET OFFER "250 CHUNKING\r\n"
#define PLAIN "AUTH PLAIN AGFubgBwdw==\r\n"
#define GOOD "235 2.7.0 Authentication successful\r\n"
#define WRONG "535 5.7.8 Error: authentication credentials invalid\r\n"
#define MALFORMED "501 5.5.2 Error: malformed response\r\n"
#define NESTED "503 5.5.1 Error: already authenticated (RFC 4954 section 4)\r\n"
#define CLEAR "538 5.7.11 Error: encryption required for authentication\r\n"
#define TYPE "504 5.5.4 Error: unrecognized authentication type\r\n"
#define MAIL "MAIL FROM:<a@b.example>\r\n"
#define MAIL_IS "250 2.1.0 Ok\r\n"
#define LOGIN_NAME "334 VXNlcm5hbWU6\r\n"
#define LOGIN_PASSWORD "334 UGFzc3dvcmQ6\r\n"
#define BYE "421 4.7.0 Error: too many failed logins\r\n"

static const struct replay {
	const char *name, *clear, *address;
	bool auth, needs;
	const char *input, *output;
	unsigned exchanges, dropped;
} replays[] = {
    {"initial response", 0, HERE, 1, 1, EHLO PLAIN MAIL, EHLO_IS GOOD MAIL_IS, 1, 0},
    {"an empty challenge", 0, HERE, 1, 0, EHLO "auth plain\r\nAGFubgBwdw==\r\n",
     EHLO_IS "334 \r\n" GOOD, 1, 0},
    {"two challenges", 0, HERE, 1, 0, EHLO "AUTH LOGIN\r\nYW5u\r\ncHc=\r\n",
     EHLO_IS LOGIN_NAME LOGIN_PASSWORD GOOD, 1, 0},
    {"a name with the command", 0, HERE, 1, 0, EHLO "AUTH LOGIN YW5u\r\ncHc=\r\n",
     EHLO_IS LOGIN_PASSWORD GOOD, 1, 0},
    {"no octets", 0, HERE, 1, 0, EHLO "AUTH PLAIN =\r\n", EHLO_IS WRONG, 1, 0},
    {"an empty line", 0, HERE, 1, 0, EHLO "AUTH PLAIN\r\n\r\n", EHLO_IS "334 \r\n" WRONG, 1, 0},
    {"cancelled", 0, HERE, 1, 0, EHLO "AUTH PLAIN\r\n*\r\n" PLAIN,
     EHLO_IS "334 \r\n501 5.7.0 Authentication cancelled\r\n" GOOD, 2, 1},
    {"no base64", 0, HERE, 1, 0,
     EHLO "AUTH PLAIN ***\r\nAUTH PLAIN\r\nAGFubgBwdw\r\nAUTH PLAIN ==\r\nAUTH PLAIN\r\n=\r\n",
     EHLO_IS MALFORMED "334 \r\n" MALFORMED MALFORMED "334 \r\n" MALFORMED, 2, 2},
    {"bare newline", 0, HERE, 1, 0, EHLO "AUTH PLAIN\r\nAGFubgBwdw==\n",
     EHLO_IS "334 \r\n" MALFORMED, 1, 1},
    {"verdicts", 0, HERE, 1, 0,
     EHLO "AUTH PLAIN AGJvYgBwdw==\r\nAUTH PLAIN AGNhdABwdw==\r\nAUTH PLAIN AGRhbgBwdw==\r\n"
	  "AUTH PLAIN YmFk\r\n",
     EHLO_IS "535 5.7.13 Error: user account disabled\r\n"
	     "454 4.7.0 Temporary authentication failure\r\n"
	     "454 4.7.0 Error: too many logins now, try again later\r\n" MALFORMED,
     4, 0},
    {"a second time", 0, HERE, 1, 0, EHLO PLAIN PLAIN EHLO,
     EHLO_IS GOOD NESTED OFFER "250 CHUNKING\r\n", 1, 0},
    {"within a transaction", 0, HERE, 1, 0, EHLO MAIL PLAIN "RSET\r\n" PLAIN,
     EHLO_IS MAIL_IS "503 5.5.1 Error: bad sequence of commands\r\n250 2.0.0 Ok\r\n" GOOD, 1, 0},
    {"before EHLO", 0, HERE, 1, 0, PLAIN "HELO c\r\n" PLAIN,
     GREET "503 5.5.1 Error: send EHLO or HELO first\r\n250 mx.test\r\n503 5.5.1 Error: send EHLO "
	   "first\r\n",
     0, 0},
    {"unknown or not offered", 0, HERE, 1, 0,
     EHLO
     "AUTH CRAM-MD5\r\nAUTH SCRAM-SHA-256-PLUS\r\nAUTH EXTERNAL =\r\nAUTH\r\nAUTH PLAIN a b\r\n",
     EHLO_IS TYPE TYPE TYPE "501 5.5.4 Syntax: AUTH mechanism [initial-response]\r\n"
			    "501 5.5.4 Syntax: AUTH mechanism [initial-response]\r\n",
     0, 0},
    {"in the clear", 0, "192.0.2.7", 1, 1, EHLO PLAIN MAIL,
     EHLO_BARE CLEAR "530 5.7.0 Authentication required\r\n", 0, 0},
    {"never in the clear", "never", HERE, 1, 0, EHLO PLAIN, EHLO_BARE CLEAR, 0, 0},
    {"not configured", 0, HERE, 0, 0, EHLO PLAIN,
     EHLO_BARE "502 5.5.1 Error: command not implemented\r\n", 0, 0},
    {"AUTH= of MAIL", 0, HERE, 1, 0, EHLO "MAIL FROM:<a@b.example> AUTH=<>\r\n", EHLO_IS MAIL_IS, 0,
     0},
    {"AUTH= of MAIL, logged in", 0, HERE, 1, 0,
     EHLO PLAIN "MAIL FROM:<a@b.example> AUTH=e+3Dmc2\r\n", EHLO_IS GOOD MAIL_IS, 1, 0},
    {"AUTH= where AUTH is not offered", 0, "192.0.2.7", 1, 0,
     EHLO "MAIL FROM:<a@b.example> AUTH=<>\r\n",
     EHLO_BARE "555 5.5.4 Error: parameter not recognized\r\n", 0, 0},
    {"ten failures", 0, HERE, 1, 0,
     EHLO "AUTH PLAIN =\r\nAUTH PLAIN =\r\nAUTH PLAIN =\r\nAUTH PLAIN =\r\nAUTH PLAIN =\r\n"
	  "AUTH PLAIN =\r\nAUTH PLAIN =\r\nAUTH PLAIN =\r\nAUTH PLAIN =\r\nAUTH PLAIN =\r\n" PLAIN,
     EHLO_IS WRONG WRONG WRONG WRONG WRONG WRONG WRONG WRONG WRONG BYE, 10, 0},
    {"lost in the middle", 0, HERE, 1, 0, EHLO "AUTH LOGIN\r\n", EHLO_IS LOGIN_NAME, 1, 1},
    {"QUIT in the middle is a response", 0, HERE, 1, 0, EHLO "AUTH LOGIN\r\nQUIT\r\n",
     EHLO_IS LOGIN_NAME WRONG, 1, 0},
};

static void replay(const struct replay *r, size_t step)
{
	struct host h = {0};

	host_begin(&h, r->clear, r->address, r->auth, r->needs);
	give(&h, r->input, step);
	if (strcmp(string_in(&h.out), r->output) != 0)
		fail_msg("%s (in pieces of %zu): %s", r->name, step, string_in(&h.out));
	session_lost(h.session);
	assert_int_equal(h.exchanges, r->exchanges);
	if (h.dropped != r->dropped)
		fail_msg("%s: %u dropped", r->name, h.dropped);
	/* What was said in secret stands in no log line. */
	assert_null(strstr(string_in(&h.log), "AGFubg"));
	host_end(&h);
}

static void test_replays(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof replays / sizeof *replays; i++) {
		replay(&replays[i], 1);
		replay(&replays[i], 7);
		replay(&replays[i], 100000);
	}
}

static void test_lengths(void **state)
{
	static char input[13000];
	struct host h = {0};
	size_t n = 0;

	(void)state;
	host_begin(&h, NULL, HERE, true, false);
	n += (size_t)sprintf(input, EHLO "AUTH PLAIN\r\n");
	memset(input + n, 'A', 12288);
	strcpy(input + n + 12288, "\r\n");
	give(&h, input, 1000);
	assert_string_equal(string_in(&h.out), EHLO_IS "334 \r\n" WRONG);
	h.out.start = h.out.end = 0;
	memset(input, 'A', sizeof input);
	memcpy(input, "AUTH PLAIN\r\n", 12);
	strcpy(input + 12 + 12289, "\r\nNOOP\r\n");
	give(&h, input, 1000);
	assert_string_equal(string_in(&h.out), "334 \r\n500 5.5.6 Error: authentication exchange "
					       "line is too long\r\n250 2.0.0 Ok\r\n");
	assert_int_equal(h.dropped, 1);
	host_end(&h);
}

static void test_received_and_envelope(void **state)
{
	struct host h = {0};
	struct envelope e;

	(void)state;
	host_begin(&h, NULL, HERE, true, true);
	give(&h,
	     EHLO PLAIN MAIL "RCPT TO:<c@d.example>\r\nDATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n"
			     "MAIL FROM:<a@b.example> SMTPUTF8\r\nRCPT TO:<c@d.example>\r\n",
	     100000);
	assert_non_null(strstr(string_in(&h.prelude), " with ESMTPA id "));
	assert_true(envelope_decode(bytes_text(&h.envelope), &e));
	assert_true(text_equals(e.login, "ann"));
	assert_true(text_equals(e.submitter, "login:ann"));
	assert_true(text_equals(e.protocol, "ESMTPA"));
	assert_true(text_equals(session_login(h.session), "ann"));
	assert_non_null(
	    strstr(string_in(&h.log),
		   "client=unknown[127.0.0.1], sasl_method=PLAIN, sasl_username=ann\n"));
	give(&h, "DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n", 100000);
	assert_non_null(strstr(string_in(&h.prelude), " with UTF8SMTPA id "));
	host_end(&h);
}

#define CONTENT "DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n"
#define RCPT "RCPT TO:<c@d.example>\r\n"

/* What a login's transactions came to is told once each, and nothing of who has none. */
static void test_spent(void **state)
{
	static const struct {
		const char *input;
		unsigned spent, recipients, refused;
	} rows[] = {
	    {EHLO MAIL RCPT CONTENT, 0, 0, 0},
	    {EHLO PLAIN MAIL RCPT "RCPT TO:<e@d.example>\r\n" CONTENT, 1, 2, 0},
	    {EHLO PLAIN MAIL RCPT "RCPT TO:<c d>\r\nRCPT TO:<e@d.example> X=1\r\n" CONTENT, 1, 1,
	     2},
	    {EHLO PLAIN MAIL "RCPT TO:<@>\r\n" RCPT "RSET\r\nQUIT\r\n", 1, 0, 1},
	    {EHLO PLAIN MAIL RCPT "QUIT\r\n", 0, 0, 0},
	    /* Refused whole: for its header, for its end. */
	    {EHLO PLAIN MAIL RCPT "DATA\r\nSubject: x\r\nSubject: y\r\n\r\nhi\r\n.\r\n", 1, 0, 1},
	    {EHLO PLAIN MAIL RCPT "DATA\r\nSubject: x\r\n\r\nhi\n.\r\n.\r\n", 1, 0, 1},
	    {EHLO PLAIN "MAIL FROM:<no@sender.example>\r\n" MAIL RCPT CONTENT, 2, 1, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct host h = {0};

		host_begin(&h, NULL, HERE, true, false);
		give(&h, rows[i].input, 100000);
		if (h.spent != rows[i].spent || h.recipients != rows[i].recipients ||
		    h.refused != rows[i].refused)
			fail_msg("%zu: %u times, %u recipients, %u refused: %s", i, h.spent,
				 h.recipients, h.refused, string_in(&h.out));
		host_end(&h);
	}
}

/* A login that is frozen meanwhile ends nothing and sends nothing, whatever the step. */
static void test_revoked(void **state)
{
	static const char *const before[] = {PLAIN, PLAIN MAIL, PLAIN MAIL RCPT};
	static const char *const after[] = {MAIL, RCPT, CONTENT};
	static const char no[] = "550 5.7.13 Error: user account disabled, ask your postmaster\r\n";

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct host h = {0};

		host_begin(&h, NULL, HERE, true, false);
		give(&h, EHLO, 100000);
		give(&h, before[i], 100000);
		session_revoke(h.session);
		h.out.start = h.out.end = 0;
		give(&h, after[i], 100000);
		assert_non_null(strstr(string_in(&h.out), no));
		h.out.start = h.out.end = 0;
		give(&h, "RSET\r\n" MAIL, 100000);
		assert_non_null(strstr(string_in(&h.out), no));
		assert_int_equal(bytes_len(&h.envelope), 0);
		host_end(&h);
	}
}

static void test_late_answers(void **state)
{
	struct host h = {.later = true};

	(void)state;
	host_begin(&h, NULL, HERE, true, false);
	give(&h, EHLO "AUTH LOGIN\r\n", 100000);
	assert_string_equal(string_in(&h.out), EHLO_IS);
	assert_true(session_blocked(h.session));
	assert_true(session_deadline(h.session).us == INT64_MAX);
	answer(&h);
	assert_false(session_blocked(h.session));
	/* The client has its time again, and no more. */
	h.now.mono.us += SECONDS(301).us;
	session_expire(h.session, h.now);
	assert_true(session_is_over(h.session));
	assert_int_equal(h.dropped, 1);
	host_end(&h);
}

static void test_drain(void **state)
{
	struct host h = {.later = true};

	(void)state;
	host_begin(&h, NULL, HERE, true, false);
	give(&h, EHLO PLAIN, 100000);
	session_drain(h.session, h.now);
	assert_false(session_is_over(h.session));
	answer(&h);
	assert_true(session_is_over(h.session));
	assert_string_equal(string_in(&h.out),
			    EHLO_IS GOOD "421 4.3.2 Server is shutting down, try again later\r\n");
	host_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_replays),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_received_and_envelope),
	    cmocka_unit_test(test_spent),
	    cmocka_unit_test(test_revoked),
	    cmocka_unit_test(test_late_answers),
	    cmocka_unit_test(test_drain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
