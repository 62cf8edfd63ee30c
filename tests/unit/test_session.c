/* SPDX-License-Identifier: ISC */
/* Replays of SMTP sessions: what a client sends, and all that it must hear. */
#include "envelope.h"
#include "session_host.h"

struct replay {
	const char *name, *more, *address, *input, *output;
	const char *body; /* of the last message, NULL: not looked at */
	unsigned messages;
};

#define BARE "550 5.5.2 Error: bare <CR> or <LF> in the message\r\n"

static const struct replay replays[] = {
    {"pipelined", 0, US, START "DATA\r\nSubject: x\r\n\r\nhi\r\n..dot\r\n.\r\nQUIT\r\n",
     START_IS DATA_IS QUEUED "221 2.0.0 Bye\r\n", "hi\r\n.dot\r\n", 1},
    {"helo", 0, US, "HELO c\r\nMAIL FROM:<>\r\n" RCPT "DATA\r\n.\r\n",
     GREET "250 mx.test\r\n" MAIL_IS RCPT_IS DATA_IS QUEUED, "", 1},
    {"helo takes no parameters", 0, US, "HELO c\r\nMAIL FROM:<> SIZE=1\r\n",
     GREET "250 mx.test\r\n555 5.5.4 Error: parameter not recognized\r\n", 0, 0},
    {"order", 0, US, "MAIL FROM:<>\r\n" EHLO RCPT "DATA\r\n" MAIL "DATA\r\n" MAIL,
     GREET "503 5.5.1 Error: send EHLO or HELO first\r\n"
	   "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 65536\r\n250-8BITMIME\r\n"
	   "250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n"
	   "503 5.5.1 Error: need MAIL command\r\n503 5.5.1 Error: need MAIL command\r\n" MAIL_IS
	   "503 5.5.1 Error: need RCPT command\r\n503 5.5.1 Error: nested MAIL command\r\n",
     0, 0},
    {"verbs", 0, US, "vrfy a\r\nEXPN l\r\nhelp\r\nNOOP x\r\nRSET\r\nETRN x\r\nFOO\r\nRSET x\r\n",
     GREET "252 2.0.0 Cannot VRFY user, but will take a message and try to deliver it\r\n"
	   "502 5.5.1 Error: command not implemented\r\n"
	   "214 2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT (RFC 5321)\r\n" OK OK
	   "502 5.5.1 Error: command not implemented\r\n500 5.5.2 Error: command not recognized\r\n"
	   "501 5.5.4 Syntax: RSET\r\n",
     0, 0},
    {"relay rule", 0, THEM,
     EHLO MAIL RCPT
     "RCPT TO:<x@Customer.Example>\r\nRCPT TO:<x%y@customer.example>\r\n"
     "RCPT TO:<\"x@y\"@customer.example>\r\nRCPT TO:<@d.example:x@customer.example>\r\n",
     EHLO_IS MAIL_IS "550 5.7.1 <c@d.example>: Relay access denied\r\n" RCPT_IS
		     "550 5.7.1 <x%y@customer.example>: Relay access denied\r\n"
		     "550 5.7.1 <\"x@y\"@customer.example>: Relay access denied\r\n" RCPT_IS,
     0, 0},
    {"postmaster", 0, THEM,
     EHLO MAIL "RCPT TO:<PostMaster>\r\nRCPT TO:<postmaster@mx.test>\r\nRCPT TO:<other>\r\n",
     EHLO_IS MAIL_IS RCPT_IS RCPT_IS "501 5.1.3 Error: bad address syntax\r\n", 0, 0},
    {"reject route", 0, US, EHLO MAIL "RCPT TO:<a@no.customer.example>\r\nDATA\r\n",
     EHLO_IS MAIL_IS "550 5.7.1 go away\r\n554 5.5.1 Error: no valid recipients\r\n", 0, 0},
    {"dsn", 0, US,
     EHLO "MAIL FROM:<a@b.example> RET=HDRS ENVID=x+2By BODY=8BITMIME SIZE=10\r\n"
	  "RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+40d\r\n"
	  "RCPT TO:<c@d.example> NOTIFY=NEVER,DELAY\r\nRCPT TO:<c@d.example> ORCPT=rfc822;a+0Ab\r\n"
	  "RCPT TO:<c@d.example> FOO=1\r\n",
     EHLO_IS MAIL_IS RCPT_IS "501 5.5.4 Error: bad parameter value\r\n"
			     "501 5.5.4 Error: bad parameter value\r\n"
			     "555 5.5.4 Error: parameter not recognized\r\n",
     0, 0},
    {"size", 0, US,
     EHLO "MAIL FROM:<a@b.example> SIZE=65537\r\nMAIL FROM:<a@b.example> SIZE=-1\r\n"
	  "MAIL FROM:<a@b.example> SIZE=99999999999999999999\r\n",
     EHLO_IS "552 5.3.4 Error: message size exceeds fixed limit\r\n"
	     "501 5.5.4 Error: bad parameter value\r\n501 5.5.4 Error: bad parameter value\r\n",
     0, 0},
    {"utf8", 0, US,
     EHLO "MAIL FROM:<\xc3\xa4@b.example>\r\nMAIL FROM:<\xc3\xa4@b.example> SMTPUTF8\r\nRCPT "
	  "TO:<\xff@b.example>\r\n",
     EHLO_IS "553 5.6.7 Error: address needs SMTPUTF8, which was not given\r\n" MAIL_IS
	     "501 5.1.3 Error: bad address syntax\r\n",
     0, 0},
    /* SMTP smuggling: none of these ends data, and none of it is run as a command. */
    {"LF.LF", 0, US, START "DATA\r\nA: b\r\n\r\nx\n.\nMAIL FROM:<evil@x>\r\n.\r\nNOOP\r\n",
     START_IS DATA_IS BARE OK, 0, 0},
    {"LF.CRLF", 0, US, START "DATA\r\nA: b\r\n\r\nx\n.\r\nMAIL FROM:<evil@x>\r\n.\r\nNOOP\r\n",
     START_IS DATA_IS BARE OK, 0, 0},
    {"CRLF.LF", 0, US, START "DATA\r\nA: b\r\n\r\nx\r\n.\nMAIL FROM:<evil@x>\r\n.\r\nNOOP\r\n",
     START_IS DATA_IS BARE OK, 0, 0},
    {"CR.CR", 0, US, START "DATA\r\nA: b\r\n\r\nx\r.\rMAIL FROM:<evil@x>\r\n.\r\nNOOP\r\n",
     START_IS DATA_IS BARE OK, 0, 0},
    {"CRLF.CR", 0, US, START "DATA\r\nA: b\r\n\r\nx\r\n.\rMAIL FROM:<evil@x>\r\n.\r\nNOOP\r\n",
     START_IS DATA_IS BARE OK, 0, 0},
    {"CR CRLF.CRLF", 0, US, START "DATA\r\nA: b\r\n\r\nx\r\r\n.\r\nNOOP\r\n",
     START_IS DATA_IS BARE OK, 0, 0},
    {"normalised", "bare-newline = normalise\n", US,
     START "DATA\r\nA: b\r\n\r\nx\n.\ny\rz\r\n.\r\nNOOP\r\n", START_IS DATA_IS QUEUED OK,
     "x\r\n.\r\ny\r\nz\r\n", 1},
    {"normalised header", "bare-newline = normalise\n", US, START "DATA\r\nA: b\n\nx\r\n.\r\n",
     START_IS DATA_IS QUEUED, "x\r\n", 1},
    {"bare LF command", 0, US, EHLO "NOOP\nNOOP\r\n",
     EHLO_IS "550 5.5.2 Error: bare <LF> received\r\n", 0, 0},
    {"bare CR command", 0, US, EHLO "NOOP\rX\r\nNOOP\r\n",
     EHLO_IS "550 5.5.2 Error: bare <CR> or <NUL> in a command\r\n" OK, 0, 0},
    {"alpaca", 0, US, "POST / HTTP/1.1\r\nHost: x\r\n",
     GREET "421 4.7.0 Error: this is no web server\r\n", 0, 0},
    {"header line", 0, US, EHLO "Host: x\r\nNOOP\r\n",
     EHLO_IS "421 4.7.0 Error: this is no web server\r\n", 0, 0},
    {"errors", 0, US, "A\r\nB\r\nC\r\nD\r\nE\r\nF\r\n",
     GREET "500 5.5.2 Error: command not recognized\r\n500 5.5.2 Error: command not recognized\r\n"
	   "500 5.5.2 Error: command not recognized\r\n500 5.5.2 Error: command not recognized\r\n"
	   "500 5.5.2 Error: command not recognized\r\n500 5.5.2 Error: command not recognized\r\n"
	   "421 4.7.0 Error: too many errors\r\n",
     0, 0},
    {"idle", 0, US,
     "NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n",
     GREET OK OK OK OK OK OK OK OK OK OK
     "421 4.7.0 Error: too many commands that bring no mail\r\n",
     0, 0},
    {"bdat", 0, US, START "BDAT 6\r\nA: b\r\nBDAT 7 LAST\r\n\r\n.\r\nx\rNOOP\r\n",
     START_IS OK "550 5.5.2 Error: bare <CR> or <LF> in the message\r\n" OK, 0, 0},
    {"bdat whole", 0, US,
     START "BDAT 3\r\nA: BDAT 6\r\nb\r\n\r\nxBDAT 6 LAST\r\n\r\n.\r\n.NOOP\r\n",
     START_IS OK OK QUEUED OK, "x\r\n.\r\n.\r\n", 1},
    {"bdat 0 last", 0, US, START "BDAT 6\r\nA: b\r\nBDAT 0 LAST\r\nNOOP\r\n", START_IS OK QUEUED OK,
     "", 1},
    {"bdat refused eats", 0, US, EHLO "BDAT 6\r\nNOOP\r\nNOOP\r\n",
     EHLO_IS "503 5.5.1 Error: need MAIL and RCPT commands\r\n" OK, 0, 0},
    {"bdat numbers", 0, US, START "BDAT -1\r\nBDAT 18446744073709551616\r\nBDAT 1x\r\nBDAT\r\n",
     START_IS "501 5.5.4 Syntax: BDAT size [LAST]\r\n501 5.5.4 Syntax: BDAT size [LAST]\r\n"
	      "501 5.5.4 Syntax: BDAT size [LAST]\r\n501 5.5.4 Syntax: BDAT size [LAST]\r\n",
     0, 0},
    {"bdat then data", 0, US, START "BDAT 2\r\nA:DATA\r\nRCPT TO:<x@y.example>\r\nRSET\r\nDATA\r\n",
     START_IS OK "503 5.5.1 Error: a message sent with BDAT is under way\r\n"
		 "503 5.5.1 Error: a message sent with BDAT is under way\r\n" OK
		 "503 5.5.1 Error: need MAIL command\r\n",
     0, 0},
    {"no header", 0, US, START "DATA\r\nhello world\r\nmore\r\n.\r\n", START_IS DATA_IS QUEUED,
     "hello world\r\nmore\r\n", 1},
    {"bad paths", 0, US,
     EHLO "MAIL FROM:a@b\r\nMAIL FROM:<a@b\r\nMAIL FROM:<a b@c>\r\nMAIL a@b\r\n",
     EHLO_IS "501 5.1.7 Error: bad address syntax\r\n501 5.1.7 Error: bad address syntax\r\n"
	     "501 5.1.7 Error: bad address syntax\r\n501 5.5.4 Syntax: MAIL FROM:<address>\r\n",
     0, 0},
    {"bad greeting", 0, US, "EHLO\r\nEHLO a b\r\nHELO (x)\r\n",
     GREET
     "501 Syntax: EHLO hostname\r\n501 Syntax: EHLO hostname\r\n501 Syntax: HELO hostname\r\n",
     0, 0},
};

static void replay_one(const struct replay *r, size_t step)
{
	struct host h = {0};

	host_begin(&h, r->more, r->address);
	give(&h, r->input, strlen(r->input), step);
	if (strcmp(string_in(&h.out), r->output) != 0)
		fail_msg("%s in steps of %zu:\n%s\nexpected:\n%s", r->name, step, string_in(&h.out),
			 r->output);
	if (h.messages != r->messages)
		fail_msg("%s: %u messages", r->name, h.messages);
	if (r->body && r->messages && strcmp(string_in(&h.body), r->body) != 0)
		fail_msg("%s in steps of %zu: body is\n%s", r->name, step, string_in(&h.body));
	host_end(&h);
}

/* Every session whole, octet by octet, and in odd pieces: the replies never differ. */
static void test_replays(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof replays / sizeof *replays; i++)
		for (size_t step = 1; step <= 7; step += 2) {
			replay_one(&replays[i], step);
			replay_one(&replays[i], 100000);
		}
}

static void test_nul(void **state)
{
	static const char input[] = START "DATA\r\nA: b\r\n\r\nx\0y\r\n.\r\nNOOP \0\r\nNOOP\r\n";
	struct host h = {0};

	(void)state;
	host_begin(&h, NULL, US);
	give(&h, input, sizeof input - 1, 3);
	assert_string_equal(string_in(&h.out), START_IS DATA_IS
			    "550 5.5.2 Error: <NUL> in the message\r\n"
			    "550 5.5.2 Error: bare <CR> or <NUL> in a command\r\n" OK);
	assert_int_equal(h.dropped, 1);
	host_end(&h);
}

static void test_received_and_envelope(void **state)
{
	static const char input[] =
	    "EHLO c.example\r\nMAIL FROM:<A@B.example> ENVID=e RET=FULL SMTPUTF8\r\n"
	    "RCPT TO:<x@Y.example> NOTIFY=FAILURE ORCPT=rfc822;o\r\nRCPT TO:<x@y.EXAMPLE>\r\n"
	    "DATA\r\nMessage-ID:\r\n <1@2>\r\n\r\nb\r\n.\r\n";
	struct host h = {0};
	struct envelope e;
	struct envelope_recipient r;

	(void)state;
	setenv("TZ", "UTC", 1);
	host_begin(&h, NULL, US);
	give(&h, input, sizeof input - 1, 1000);
	assert_string_equal(
	    string_in(&h.prelude),
	    "Received: from c.example ([10.1.2.3])\r\n\tby mx.test with UTF8SMTP id 10\r\n"
	    "\tfor <x@y.example>;\r\n\tMon, 21 Sep 2026 14:13:20 +0000\r\n"
	    "Message-ID:\r\n <1@2>\r\n\r\n");
	struct text data = {(const char *)h.envelope.data, h.envelope.end};

	assert_true(envelope_decode(data, &e));
	assert_int_equal(e.recipient_count, 1);
	assert_true(text_equals(e.sender, "A@b.example"));
	assert_true(text_equals(e.envid, "e"));
	assert_true(text_equals(e.message_id, "1@2"));
	assert_true(text_equals(e.protocol, "UTF8SMTP"));
	assert_int_equal(e.ret, RET_FULL);
	assert_int_equal(e.smtputf8, 1);
	struct envelope_iter it = envelope_recipients(data);

	assert_true(envelope_next(&it, &r));
	assert_true(text_equals(r.address, "x@y.example"));
	assert_true(text_equals(r.orcpt, "rfc822;o"));
	assert_int_equal(r.notify, NOTIFY_FAILURE);
	host_end(&h);
}

static void test_no_for_with_several(void **state)
{
	static const char input[] = START "RCPT TO:<e@f.example>\r\nDATA\r\n\r\nb\r\n.\r\n";
	struct host h = {0};

	(void)state;
	host_begin(&h, NULL, US);
	give(&h, input, sizeof input - 1, 1000);
	assert_int_equal(h.messages, 1);
	assert_null(strstr(string_in(&h.prelude), "for <"));
	host_end(&h);
}

struct bulk {
	const char *name, *start, *text;
	size_t times;
	const char *end, *reply;
};

/* What is refused at end of data is eaten first, and the session goes on. */
static void test_limits(void **state)
{
	static const struct bulk bulks[] = {
	    {"line 998", "\r\n", "x", 998, "\r\n.\r\n", QUEUED},
	    {"line 999", "\r\n", "x", 999, "\r\n.\r\n",
	     "550 5.6.0 Error: a line of the message is too long\r\n"},
	    {"header", "", "A: bbbbbbbbbbbbb\r\n", 300, "\r\n.\r\n",
	     "552 5.3.4 Error: the message's header is too large\r\n"},
	    {"size", "\r\n", "0123456789abcdefghijklmnopqrstuvwxyz\r\n", 2000, ".\r\n",
	     "552 5.3.4 Error: message size exceeds fixed limit\r\n"},
	    {"25 hops", "", "Received: x\r\n", 25, ".\r\n", QUEUED},
	    {"26 hops", "", "Received: x\r\n", 26, ".\r\n",
	     "554 5.4.6 Error: too many hops, the message loops\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bulks / sizeof *bulks; i++) {
		struct host h = {0};
		struct bytes in = {0}, want = {0};

		repeat(&in, START "DATA\r\n", 1);
		repeat(&in, bulks[i].start, 1);
		repeat(&in, bulks[i].text, bulks[i].times);
		repeat(&in, bulks[i].end, 1);
		repeat(&in, "NOOP\r\n", 1);
		repeat(&want, START_IS DATA_IS, 1);
		repeat(&want, bulks[i].reply, 1);
		repeat(&want, OK, 1);
		host_begin(&h, NULL, US);
		give(&h, (const char *)in.data, in.end, 4093);
		if (strcmp(string_in(&h.out), string_in(&want)) != 0)
			fail_msg("%s: %s", bulks[i].name, string_in(&h.out));
		host_end(&h);
		bytes_free(&in);
		bytes_free(&want);
	}
}

static void test_long_command_line(void **state)
{
	struct host h = {0};
	struct bytes in = {0};

	(void)state;
	repeat(&in, "NOOP ", 1);
	repeat(&in, "MAIL FROM:<a@b>\nNOOP\rx", 1000);
	repeat(&in, "\r\nNOOP\r\n", 1);
	host_begin(&h, NULL, US);
	/* An LF within the first 2048 octets would be refused by itself. */
	memset(in.data + 5, 'x', 3000);
	give(&h, (const char *)in.data, in.end, 1001);
	assert_string_equal(string_in(&h.out),
			    GREET "500 5.5.2 Error: command line too long\r\n" OK);
	host_end(&h);
	bytes_free(&in);
}

static void test_recipients(void **state)
{
	struct host h = {0};
	char line[64];

	(void)state;
	host_begin(&h, NULL, US);
	give(&h, EHLO MAIL, strlen(EHLO MAIL), 100);
	for (int i = 0; i < 102; i++) {
		h.out.start = h.out.end = 0;
		snprintf(line, sizeof line, "RCPT TO:<r%d@d.example>\r\n", i);
		give(&h, line, strlen(line), 100);
		assert_string_equal(string_in(&h.out),
				    i < 100 ? RCPT_IS : "452 4.5.3 Error: too many recipients\r\n");
	}
	host_end(&h);
}

static void test_answers_come_later(void **state)
{
	static const struct reply no = REPLY(550, "5.1.1", "no such user");
	static const struct reply later = REPLY(451, "4.3.0", "later");
	static const char input[] = START RCPT "DATA\r\n\r\nb\r\n.\r\nNOOP\r\n";
	struct host h = {.wait_recipient = true, .wait_data = true};
	const char *at = input;
	size_t left = sizeof input - 1, n;

	(void)state;
	host_begin(&h, NULL, US);
	n = session_input(h.session, h.now, (const uint8_t *)at, left);
	assert_string_equal(string_in(&h.out), EHLO_IS MAIL_IS);
	assert_int_equal(session_asks(h.session), POINT_RECIPIENT);
	assert_int_equal(session_input(h.session, h.now, (const uint8_t *)at + n, left - n), 0);
	session_answer(h.session, h.now, &no);
	at += n, left -= n;
	n = session_input(h.session, h.now, (const uint8_t *)at, left);
	session_answer(h.session, h.now, NULL);
	at += n, left -= n;
	n = session_input(h.session, h.now, (const uint8_t *)at, left);
	assert_int_equal(session_asks(h.session), POINT_DATA);
	assert_string_equal(string_in(&h.out),
			    EHLO_IS MAIL_IS "550 5.1.1 no such user\r\n" RCPT_IS DATA_IS);
	assert_int_equal(session_deadline(h.session).us, INT64_MAX);
	session_answer(h.session, h.now, &later);
	session_input(h.session, h.now, (const uint8_t *)at + n, left - n);
	assert_non_null(strstr(string_in(&h.out), "451 4.3.0 later\r\n250 2.0.0 Ok\r\n"));
	assert_int_equal(h.dropped, 0);
	host_end(&h);
}

static void test_intake_refuses(void **state)
{
	static const struct reply full = REPLY(452, "4.3.1", "full");
	struct host h = {.sender_answer = &full};

	(void)state;
	host_begin(&h, NULL, US);
	give(&h, EHLO MAIL RCPT, strlen(EHLO MAIL RCPT), 100);
	assert_string_equal(string_in(&h.out),
			    EHLO_IS "452 4.3.1 full\r\n503 5.5.1 Error: need MAIL command\r\n");
	host_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_replays),
	    cmocka_unit_test(test_nul),
	    cmocka_unit_test(test_received_and_envelope),
	    cmocka_unit_test(test_no_for_with_several),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_long_command_line),
	    cmocka_unit_test(test_recipients),
	    cmocka_unit_test(test_answers_come_later),
	    cmocka_unit_test(test_intake_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
