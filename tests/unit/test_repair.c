/* SPDX-License-Identifier: ISC */
/* Header blocks as they come, and as they go out (RFC 6409). */
#include "repair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define DATE "Date: Sat, 21 Nov 2026 22:05:00 +0000\r\n"
#define ID "Message-ID: <1@c.example>\r\n"
#define FROM "From: ann@x.example\r\n"
#define BEST DATE ID FROM
#define NEW_DATE "Date: NOW\r\n"
#define NEW_ID "Message-ID: <new@mx.example>\r\n"

struct row {
	const char *more; /* in the submission block */
	const char *sender, *login;
	const char *block;
	const char *out; /* "554 ...": the refusal */
	bool smtputf8;
};

#define ANN "ann@x.example"

static const struct row rows[] = {
    {"", ANN, "", BEST "Subject: x\r\n\r\n", BEST "Subject: x\r\n\r\n", 0},
    {"", ANN, "", BEST, BEST, 0},
    {"", ANN, "", FROM "\r\n", NEW_DATE NEW_ID FROM "\r\n", 0},
    {"", ANN, "", "\r\n", NEW_DATE NEW_ID "From: <ann@x.example>\r\n\r\n", 0},
    /* Broken ones. */
    {"", ANN, "", "Date: yesterday\r\nX: y\r\n" ID FROM, NEW_DATE "X: y\r\n" ID FROM, 0},
    {"", ANN, "", DATE "message-id: 1\r\n" FROM, NEW_ID DATE FROM, 0},
    {"", ANN, "", DATE ID "From: a@b <c@d>\r\n", "From: <ann@x.example>\r\n" DATE ID, 0},
    {"", ANN, "", DATE ID "From: <>\r\n", "From: <ann@x.example>\r\n" DATE ID, 0},
    {"", ANN, "", DATE ID "From: nobody:;\r\n", "From: <ann@x.example>\r\n" DATE ID, 0},
    {"", "", "ann@x.example", DATE ID, "From: <ann@x.example>\r\n" DATE ID, 0},
    {"", "", "uid:1", DATE ID,
     "554 5.6.0 Error: the From field is missing, and no sender can stand for it", 0},
    {"date = keep message-id = keep from = keep\n", ANN, "", "Date: x\r\n\r\n", "Date: x\r\n\r\n",
     0},
    {"date = refuse\n", ANN, "", ID FROM, "554 5.6.0 Error: the Date field is missing", 0},
    {"date = refuse\n", ANN, "", "Date: x\r\n" ID FROM, "554 5.6.0 Error: the Date field is broken",
     0},
    {"message-id = refuse\n", ANN, "", DATE FROM,
     "554 5.6.0 Error: the Message-ID field is missing", 0},
    {"from = refuse\n", ANN, "", DATE ID "From: a b\r\n",
     "554 5.6.0 Error: the From field is broken", 0},
    /* Blind copies. */
    {"", ANN, "",
     BEST "Bcc: secret@x.example,\r\n\tother@x.example\r\nTo: a@b.c\r\nresent-bcc: q\r\n\r\n",
     BEST "To: a@b.c\r\n\r\n", 0},
    /* Who sends for whom. */
    {"", "bob@x.example", "", BEST, "Sender: <bob@x.example>\r\n" BEST, 0},
    {"", "bob@x.example", "ann@x.example", BEST, BEST, 0},
    {"", "ann@X.example", "", DATE ID "From: Ann <Ann+list@x.example>\r\n",
     DATE ID "From: Ann <Ann+list@x.example>\r\n", 0},
    {"", "bounce@x.example", "bob@x.example", BEST, "Sender: <bob@x.example>\r\n" BEST, 0},
    {"", "bob@x.example", "uid:7", BEST, "Sender: <bob@x.example>\r\n" BEST, 0},
    {"", "bob@x.example", "", BEST "Sender: eve@x.example\r\n", BEST "Sender: eve@x.example\r\n",
     0},
    {"add-sender = no\n", "bob@x.example", "", BEST, BEST, 0},
    {"", "", "", BEST, BEST, 0},
    {"", ANN, "", DATE ID "From: ann@x.example, eve@x.example\r\n",
     "Sender: <ann@x.example>\r\n" DATE ID "From: ann@x.example, eve@x.example\r\n", 0},
    /* Without a domain. */
    {"", ANN, "", BEST "To: joe, Bob (x) <bob>,\r\n\t\"a b\", e: f, g@h.i;\r\n\r\n",
     BEST "To: joe@mx.example, Bob (x) <bob@mx.example>,\r\n\t\"a b\"@mx.example, e: f@mx.example, "
	  "g@h.i;\r\n\r\n",
     0},
    {"domain = x.example\n", ANN, "", DATE ID "From: Ann <ann> (me)\r\n",
     DATE ID "From: Ann <ann@x.example> (me)\r\n", 0},
    {"domain = x.example\n", ANN, "",
     BEST "To: a@sales, b@localhost, c@known, d@relay, e@[1.2.3.4], f @ sales (c)\r\n",
     BEST "To: a@sales.x.example, b@x.example, c@known, d@relay, e@[1.2.3.4], f @ sales.x.example "
	  "(c)\r\n",
     0},
    {"unqualified = refuse\n", ANN, "", BEST "Cc: joe\r\n",
     "554 5.1.0 Error: an address in the Cc field has no full domain", 0},
    {"unqualified = keep\n", ANN, "", BEST "Cc: joe\r\n", BEST "Cc: joe\r\n", 0},
    {"", ANN, "", BEST "To: \xc3\xa4@sales\r\n", BEST "To: \xc3\xa4@sales.mx.example\r\n", true},
    /* What is no list. */
    {"", ANN, "", BEST "To: a@b.c d@e.f\r\n", "554 5.6.0 Error: bad address syntax in the To field",
     0},
    {"", ANN, "", BEST "Sender: a@b.c, d@e.f\r\n",
     "554 5.6.0 Error: bad address syntax in the Sender field", 0},
    {"addresses = keep\n", ANN, "", BEST "To: joe, a@b.c d@e.f\r\n",
     BEST "To: joe, a@b.c d@e.f\r\n", 0},
    {"", ANN, "", BEST "To:\r\nCc: <>\r\nReply-To: x:;\r\n",
     BEST "To:\r\nCc: <>\r\nReply-To: x:;\r\n", 0},
    /* Doubled. */
    {"", ANN, "", BEST FROM, "554 5.6.0 Error: more than one From field in the header", 0},
    {"", ANN, "", BEST "subject: a\r\nSubject: b\r\n",
     "554 5.6.0 Error: more than one Subject field in the header", 0},
    {"duplicates = keep\n", ANN, "", BEST FROM, BEST FROM, 0},
    {"", ANN, "", BEST "Comments: a\r\nComments: b\r\nReceived: a\r\nReceived: b\r\n",
     BEST "Comments: a\r\nComments: b\r\nReceived: a\r\nReceived: b\r\n", 0},
    /* Not ASCII. */
    {"", ANN, "", BEST "Subject: \xc3\xa4\r\n",
     "550 5.6.9 Error: the header is not ASCII, and SMTPUTF8 was not given", 0},
    {"", ANN, "", BEST "Subject: \xc3\xa4\r\n", BEST "Subject: \xc3\xa4\r\n", true},
    {"", ANN, "", BEST "Subject: \xe4\r\n", "550 5.6.9 Error: the header is no UTF-8", true},
    {"eight-bit-header = keep\n", ANN, "", BEST "Subject: \xe4\r\n", BEST "Subject: \xe4\r\n", 0},
/* What is signed. */
#define SIGNED(names) "DKIM-Signature: v=1; b=ab\r\n cd; h =" names "; ch=to;bh=x\r\n"
    {"", "bob@x.example", "", SIGNED("From: Date\r\n :message-ID:SENDER:to") FROM "To: joe\r\n",
     SIGNED("From: Date\r\n :message-ID:SENDER:to") FROM "To: joe\r\n", 0},
    {"", "bob@x.example", "", SIGNED("from") FROM "To: joe\r\n",
     NEW_DATE NEW_ID "Sender: <bob@x.example>\r\n" SIGNED("from") FROM "To: joe@mx.example\r\n", 0},
    {"", ANN, "", SIGNED("from:bcc") BEST "Bcc: a@b.c\r\n",
     "554 5.7.7 Error: the Bcc field is part of a signature", 0},
    {"", ANN, "", SIGNED("from:bcc") BEST, SIGNED("from:bcc") BEST, 0},
    {"", ANN, "", SIGNED("from:date:message-id") "To: a@b.c\r\n",
     "From: <ann@x.example>\r\n" SIGNED("from:date:message-id") "To: a@b.c\r\n", 0},
    {"from = refuse\n", ANN, "", SIGNED("from") "To: a@b.c\r\n",
     "554 5.6.0 Error: the From field is missing", 0},
    {"", ANN, "", SIGNED("from:to") BEST "Bcc: a@b.c\r\n", SIGNED("from:to") BEST, 0},
    {"unqualified = refuse\n", ANN, "", SIGNED("to") BEST "To: joe\r\n",
     "554 5.1.0 Error: an address in the To field has no full domain", 0},
    {"", ANN, "",
     "DKIM-Signature: h\r\nDKIM-Signature: h=\r\nDKIM-Signature: v=1; x=h=date\r\n" BEST,
     "DKIM-Signature: h\r\nDKIM-Signature: h=\r\nDKIM-Signature: v=1; x=h=date\r\n" BEST, 0},
};

static struct config *make_config(const char *more)
{
	char text[1024];
	struct config_errors errors = {0};

	snprintf(text, sizeof text,
		 "hostname = mx.example\nrelay-to = { relay }\nroute known { to = mx }\n"
		 "limits { line = 998 }\nsubmission { %s }\n",
		 more);
	struct config *config = config_read(text_of(text), &errors);

	if (!config)
		fail_msg("%s", errors.items[0].text);
	config_errors_free(&errors);
	return config;
}

static struct repair make_repair(const struct config *config, const struct row *row)
{
	return (struct repair){.config = config,
			       .sender = text_of(row->sender),
			       .login = text_of(row->login),
			       .date = text_of("NOW"),
			       .message_id = text_of("new@mx.example"),
			       .smtputf8 = row->smtputf8};
}

static void test_blocks(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct config *config = make_config(rows[i].more);
		struct repair r = make_repair(config, &rows[i]);
		bool fine = repair_header(&r, text_of(rows[i].block));
		char line[REPLY_LINE_MAX];
		struct text out = {(const char *)r.header.data, r.header.end};

		if (!fine)
			out = reply_line(&r.refusal, line);
		if (!text_equals(out, rows[i].out))
			fail_msg("row %zu:\n%.*sinstead of\n%s", i, (int)out.len, out.data,
				 rows[i].out);
		bytes_free(&r.header);
		config_drop(&config);
	}
}

/* Nothing but what is missing, and nothing refused. */
static void test_ours(void **state)
{
	struct config *config = make_config("date = refuse from = refuse");
	struct repair r = make_repair(config, &rows[0]);

	(void)state;
	r.ours = true;
	assert_true(
	    repair_header(&r, text_of("From: a b\r\nFrom: \xe4\r\nTo: joe\r\nBcc: x\r\n\r\n")));
	assert_true(r.own_id);
	assert_true(text_equals((struct text){(const char *)r.header.data, r.header.end},
				NEW_DATE NEW_ID
				"From: a b\r\nFrom: \xe4\r\nTo: joe\r\nBcc: x\r\n\r\n"));
	bytes_free(&r.header);
	config_drop(&config);
}

/* Completing must not make a header, or a line, of any length. */
static void test_growth(void **state)
{
	enum { MANY = 30000 };
	static char block[64 + 2 * MANY + 4 * MANY];
	struct config *config = make_config("domain = a-rather-long-name.mx.example");
	struct repair r = make_repair(config, &rows[0]);

	(void)state;
	strcpy(block, BEST "To: ");
	for (size_t n = strlen(block), i = 0; i < 60; i++, n += 2)
		strcpy(block + n, "a,");
	strcat(block, "b\r\n\r\n");
	assert_false(repair_header(&r, text_of(block)));
	assert_string_equal(r.why, "Error: no room for domains in the To field");
	bytes_free(&r.header);
	strcpy(block, BEST "To: ");
	for (size_t n = strlen(block), i = 0; i < MANY; i++, n += 5)
		strcpy(block + n, "a,\r\n ");
	strcat(block, "b\r\n\r\n");
	assert_false(repair_header(&r, text_of(block)));
	assert_int_equal(r.refusal.code, 552);
	assert_true(r.header.end < 2 * PRELUDE_MAX);
	bytes_free(&r.header);
	config_drop(&config);
}

static void test_envelope(void **state)
{
	static const struct {
		const char *more, *in, *out;
	} envelopes[] = {
	    {"", "joe", "joe@mx.example"},
	    {"domain = x.example", "joe", "joe@x.example"},
	    {"", "joe@sales", "joe@sales.mx.example"},
	    {"", "joe@localhost", "joe@mx.example"},
	    {"", "joe@known", "joe@known"},
	    {"", "joe@x.example", "joe@x.example"},
	    {"", "joe@[192.0.2.1]", "joe@[192.0.2.1]"},
	    {"unqualified = refuse", "joe", NULL},
	    {"unqualified = refuse", "joe@sales", NULL},
	    {"unqualified = refuse", "joe@x.example", "joe@x.example"},
	    {"unqualified = keep", "joe", NULL},
	    {"unqualified = keep", "joe@sales", "joe@sales"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof envelopes / sizeof *envelopes; i++) {
		struct config *config = make_config(envelopes[i].more);
		struct address a;

		address_read(text_of(envelopes[i].in), &a);
		bool fine = repair_address(config, &a);

		if (fine != (envelopes[i].out != NULL) ||
		    (fine && !text_equals(address_text(&a), envelopes[i].out)))
			fail_msg("row %zu: %s", i, a.text);
		config_drop(&config);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_blocks),
	    cmocka_unit_test(test_ours),
	    cmocka_unit_test(test_growth),
	    cmocka_unit_test(test_envelope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
