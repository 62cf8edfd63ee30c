/* SPDX-License-Identifier: ISC */
/* Replays of SMTP sessions: what a client sends, and all that it must hear. */
#include "session.h"

#include "envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char base_config[] = "hostname = mx.test\n"
				  "relay-from = { 10.0.0.0/8 }\n"
				  "relay-to = { customer.example }\n"
				  "route no.customer.example { to = \"reject: go away\" }\n"
				  "limits { message = 64K header = 4K recipients = 100 errors = 6 "
				  "idle-commands = 10 received = 25 }\n";

struct host {
	struct session *session;
	struct bytes out, body, prelude, envelope, log;
	struct moment now;
	const struct reply *sender_answer, *recipient_answer, *open_answer;
	bool offers_tls;
	bool wait_data, wait_recipient, no_id;
	unsigned messages, opened, dropped;
};

static void ask(void *owner, enum session_point point)
{
	static const struct reply ok = REPLY(250, "2.0.0", "Ok: queued");
	struct host *h = owner;

	if (point == POINT_DATA) {
		struct session_message m = session_message(h->session);

		h->messages++;
		h->prelude.start = h->prelude.end = 0;
		bytes_add(&h->prelude, m.prelude.data, m.prelude.len);
		h->envelope.start = h->envelope.end = 0;
		bytes_add(&h->envelope, m.envelope.data, m.envelope.len);
		if (!h->wait_data)
			session_answer(h->session, h->now, &ok);
	} else if (point == POINT_SENDER) {
		session_answer(h->session, h->now, h->sender_answer);
	} else if (point == POINT_RECIPIENT) {
		if (!h->wait_recipient)
			session_answer(h->session, h->now, h->recipient_answer);
	} else {
		session_answer(h->session, h->now, NULL);
	}
}

static uint64_t open_message(void *owner, const struct reply **refusal)
{
	static const struct reply none = REPLY(451, "4.3.2", "no id");
	struct host *h = owner;

	*refusal = h->open_answer ? h->open_answer : &none;
	h->opened += !h->no_id;
	h->body.start = h->body.end = 0;
	return h->no_id ? 0 : 36;
}

static void take_body(void *owner, const uint8_t *data, size_t len)
{
	bytes_add(&((struct host *)owner)->body, data, len);
}

static void drop(void *owner)
{
	((struct host *)owner)->dropped++;
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

static const struct session_face face = {
    .ask = ask, .open = open_message, .body = take_body, .drop = drop, .event = event};

static struct config *make_config(const char *more)
{
	char text[2048];
	struct config_errors errors = {0};

	snprintf(text, sizeof text, "%s%s", base_config, more ? more : "");
	struct config *config = config_read(text_of(text), &errors);

	assert_non_null(config);
	config_errors_free(&errors);
	return config;
}

static void host_begin(struct host *h, const char *more, const char *address)
{
	struct config *config = make_config(more);
	struct session_setup setup = {.face = &face,
				      .owner = h,
				      .config = config,
				      .out = &h->out,
				      .submitter = text_of("net:x"),
				      .offers_tls = h->offers_tls,
				      .seed = 7};

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
	bytes_free(&h->body);
	bytes_free(&h->prelude);
	bytes_free(&h->envelope);
	bytes_free(&h->log);
}

static const char *string_in(struct bytes *b)
{
	bytes_room(b, 1)[0] = '\0';
	return b->data ? (const char *)bytes_at(b) : "";
}

/* Gives INPUT in pieces of STEP octets, as a stream does: what is left comes again. */
static void give(struct host *h, const char *input, size_t len, size_t step)
{
	struct bytes in = {0};

	for (size_t at = 0; at < len; at += step) {
		bytes_add(&in, input + at, len - at < step ? len - at : step);
		bytes_take(&in, session_input(h->session, h->now, bytes_at(&in), bytes_len(&in)),
			   0);
	}
	bytes_free(&in);
}

struct replay {
	const char *name, *more, *address, *input, *output;
	const char *body; /* of the last message, NULL: not looked at */
	unsigned messages;
};

#define GREET "220 mx.test ESMTP\r\n"
#define EHLO "EHLO c.example\r\n"
#define EHLO_IS                                                                                    \
	GREET "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 65536\r\n250-8BITMIME\r\n"                \
	      "250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n"
#define MAIL "MAIL FROM:<a@b.example>\r\n"
#define MAIL_IS "250 2.1.0 Ok\r\n"
#define RCPT "RCPT TO:<c@d.example>\r\n"
#define RCPT_IS "250 2.1.5 Ok\r\n"
#define DATA_IS "354 End data with <CR><LF>.<CR><LF>\r\n"
#define QUEUED "250 2.0.0 Ok: queued\r\n"
#define START EHLO MAIL RCPT
#define START_IS EHLO_IS MAIL_IS RCPT_IS
#define OK "250 2.0.0 Ok\r\n"
#define US "10.1.2.3"
#define THEM "192.0.2.7"
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

static void repeat(struct bytes *b, const char *text, size_t times)
{
	for (size_t i = 0; i < times; i++)
		bytes_add(b, text, strlen(text));
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
	struct config *config = make_config(NULL);
	struct session_setup setup = {.face = &face, .owner = &h, .config = config, .out = &h.out};

	h.session = session_new(&setup, h.now);
	config_drop(&config);
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
	    cmocka_unit_test(test_replays),
	    cmocka_unit_test(test_nul),
	    cmocka_unit_test(test_received_and_envelope),
	    cmocka_unit_test(test_no_for_with_several),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_long_command_line),
	    cmocka_unit_test(test_recipients),
	    cmocka_unit_test(test_answers_come_later),
	    cmocka_unit_test(test_intake_refuses),
	    cmocka_unit_test(test_not_yet),
	    cmocka_unit_test(test_not_yet_ends),
	    cmocka_unit_test(test_deadlines),
	    cmocka_unit_test(test_dripper),
	    cmocka_unit_test(test_unread_replies),
	    cmocka_unit_test(test_repeats),
	    cmocka_unit_test(test_early_talker),
	    cmocka_unit_test(test_drain),
	    cmocka_unit_test(test_starttls),
	    cmocka_unit_test(test_requiretls),
	    cmocka_unit_test(test_lost),
	    cmocka_unit_test(test_reject_line),
	    cmocka_unit_test(test_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
