/* SPDX-License-Identifier: ISC */
/* Delivery status notifications (bounce/report.h): whole outputs, and what hostile replies can't
 * do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "report.h"
#include "report_field.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct report_maker maker = {
    .hostname = TEXT("mail.example.net"),
    .postmaster = TEXT("hostmaster@example.net"),
    .now = {1790000000000000},
    .unique = "0123456789abcdef0123456789abcdef",
};

/* Builds the report and gives it as a string; the caller frees it. */
static char *build(struct msg_report *r, const struct rec_report_recipient *recipients,
		   size_t count, struct report_form *form)
{
	struct bytes list = {0}, out = {0};

	for (size_t i = 0; i < count; i++)
		rec_report_recipient_encode(&list, &recipients[i]);
	r->recipients.count = (uint32_t)count;
	r->recipients.items = bytes_text(&list);
	report_build(&maker, r, &out, form);
	char *text = mem_copy(bytes_at(&out), bytes_len(&out));

	assert_true(bytes_len(&out) <= REPORT_CONTENT_MAX);
	bytes_free(&list);
	bytes_free(&out);
	return text;
}

static const char failure[] =
    "Date: Mon, 21 Sep 2026 14:13:20 +0000\r\n"
    "From: \"Mail Delivery System\" <MAILER-DAEMON@mail.example.net>\r\n"
    "Subject: Undelivered Mail Returned to Sender\r\n"
    "To: <ann@example.org>\r\n"
    "Message-ID: <0123456789abcdef0123456789abcdef@mail.example.net>\r\n"
    "Auto-Submitted: auto-replied\r\n"
    "MIME-Version: 1.0\r\n"
    "Content-Type: multipart/report; report-type=delivery-status;\r\n"
    "    boundary=\"=_0123456789abcdef0123456789abcdef\"\r\n"
    "\r\n"
    "This is a MIME message.\r\n"
    "\r\n"
    "--=_0123456789abcdef0123456789abcdef\r\n"
    "Content-Description: Notification\r\n"
    "Content-Type: text/plain; charset=us-ascii\r\n"
    "\r\n"
    "This is the mail system at mail.example.net.\r\n"
    "\r\n"
    "Your message was not delivered to the following recipients. Delivery to them\r\n"
    "has ended; nothing more will be tried.\r\n"
    "\r\n"
    "  <bob@example.com>\r\n"
    "    mx.example.com[192.0.2.1]:25 said: 550 5.1.1 No such user here\r\n"
    "  <eve@example.com>\r\n"
    "    no answer for five days\r\n"
    "\r\n"
    "Details for programs, and the message or its header, follow.\r\n"
    "\r\n"
    "--=_0123456789abcdef0123456789abcdef\r\n"
    "Content-Description: Delivery report\r\n"
    "Content-Type: message/delivery-status\r\n"
    "\r\n"
    "Original-Envelope-Id: id=7+\r\n"
    "Reporting-MTA: dns; mail.example.net\r\n"
    "Arrival-Date: Mon, 21 Sep 2026 11:26:40 +0000\r\n"
    "X-Veredus-Queue-ID: 1KOF\r\n"
    "\r\n"
    "Original-Recipient: rfc822; Bob+alias@example.com\r\n"
    "Final-Recipient: rfc822; bob@example.com\r\n"
    "Action: failed\r\n"
    "Status: 5.1.1\r\n"
    "Remote-MTA: dns; mx.example.com\r\n"
    "Diagnostic-Code: smtp; 550 5.1.1 No such user here\r\n"
    "Last-Attempt-Date: Mon, 21 Sep 2026 14:13:19 +0000\r\n"
    "\r\n"
    "Final-Recipient: rfc822; eve@example.com\r\n"
    "Action: failed\r\n"
    "Status: 4.4.7\r\n"
    "Diagnostic-Code: X-Veredus; no answer for five days\r\n"
    "\r\n"
    "--=_0123456789abcdef0123456789abcdef\r\n"
    "Content-Description: Original message\r\n"
    "Content-Type: message/rfc822\r\n"
    "\r\n"
    "Subject: hello\r\n"
    "\r\n"
    "Hello Bob.\r\n"
    "\r\n"
    "--=_0123456789abcdef0123456789abcdef--\r\n";

static const struct rec_report_recipient failed[] = {
    {.address = TEXT("bob@example.com"),
     .orcpt = TEXT("rfc822;Bob+2Balias@example.com"),
     .action = REPORT_FAILED,
     .code = 550,
     .dsn = TEXT("5.1.1"),
     .reply = TEXT("550 5.1.1 No such user here"),
     .relay = TEXT("mx.example.com[192.0.2.1]:25"),
     .attempt_wall = 1789999999000000},
    {.address = TEXT("eve@example.com"),
     .action = REPORT_FAILED,
     .dsn = TEXT("4.4.7"),
     .reply = TEXT("no answer for five days"),
     .relay = TEXT("none")},
};

static struct msg_report report_about(struct text to)
{
	return (struct msg_report){
	    .report = 5,
	    .id = 73455,
	    .to = to,
	    .envid = TEXT("id+3D7+2B"),
	    .arrival_wall = 1789990000000000,
	    .prelude = TEXT("Subject: hello\r\n\r\n"),
	    .body = TEXT("Hello Bob.\r\n"),
	};
}

static void a_failure_returns_the_message(void **state)
{
	struct msg_report r = report_about((struct text)TEXT("ann@example.org"));
	struct report_form form;
	char *text = build(&r, failed, 2, &form);

	(void)state;
	assert_string_equal(text, failure);
	assert_true(text_equals(form.to, "ann@example.org"));
	assert_int_equal(form.body_type, BODY_7BIT);
	assert_int_equal(form.smtputf8, 0);
	free(text);
}

static const char *part(const char *text, int number)
{
	while (number-- > 0)
		text = strstr(text + 1, "\r\n--=_0123456789abcdef0123456789abcdef");
	assert_non_null(text);
	return text;
}

static const char headers_part[] = "\r\n--=_0123456789abcdef0123456789abcdef\r\n"
				   "Content-Description: Original message\r\n"
				   "Content-Type: text/rfc822-headers\r\n"
				   "\r\n"
				   "Subject: hello\r\n"
				   "\r\n--=_0123456789abcdef0123456789abcdef--\r\n";

static void ret_hdrs_and_cut_bodies_return_the_header(void **state)
{
	struct report_form form;

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct msg_report r = report_about((struct text)TEXT("ann@example.org"));

		if (i == 0)
			r.body_cut = 1;
		else if (i == 1)
			r.ret = RET_HDRS;
		else /* RFC 8689 section 5: whatever RET says */
			r.tls = MAIL_TLS_REQUIRED;
		if (i == 3)
			r.ret = RET_FULL;
		char *text = build(&r, failed, 1, &form);

		assert_string_equal(part(text, 3), headers_part);
		assert_int_equal(form.tls, i > 1 ? MAIL_TLS_REQUIRED : MAIL_TLS_ANY);
		free(text);
	}
}

static void a_delay_says_until_when(void **state)
{
	struct msg_report r = report_about((struct text)TEXT("ann@example.org"));
	struct rec_report_recipient rcpt = failed[1];
	struct report_form form;

	(void)state;
	r.ret = RET_FULL; /* holds for failures alone */
	r.expires_wall = 1790400000000000;
	rcpt.action = REPORT_DELAYED;
	char *text = build(&r, &rcpt, 1, &form);

	assert_non_null(strstr(text, "\r\nSubject: Delayed Mail (still being retried)\r\n"));
	assert_non_null(strstr(text, "\r\nAction: delayed\r\nStatus: 4.4.7\r\n"));
	assert_non_null(strstr(text, "\r\nWill-Retry-Until: Sat, 26 Sep 2026 05:20:00 +0000\r\n"));
	assert_non_null(strstr(text, "tried until Sat, 26 Sep 2026 05:20:00 +0000.\r\n"));
	assert_string_equal(part(text, 3), headers_part);
	free(text);
}

static void success_has_words_of_its_own(void **state)
{
	struct msg_report r = report_about((struct text)TEXT("ann@example.org"));
	struct rec_report_recipient rcpt = {.address = TEXT("bob@example.com"),
					    .action = REPORT_RELAYED,
					    .code = 250,
					    .dsn = TEXT("not one"),
					    .reply = TEXT("2.0.0 Ok")};
	struct report_form form;
	char *text = build(&r, &rcpt, 1, &form);

	(void)state;
	assert_non_null(strstr(text, "\r\nSubject: Successful Mail Delivery Report\r\n"));
	assert_non_null(strstr(text, "\r\nAction: relayed\r\nStatus: 2.0.0\r\n"));
	assert_string_equal(part(text, 3), headers_part);
	free(text);
}

static void double_bounces_go_to_the_postmaster(void **state)
{
	struct msg_report r = report_about((struct text)TEXT(""));
	struct report_form form;

	(void)state;
	r.double_bounce = 1;
	char *text = build(&r, failed, 1, &form);

	assert_true(text_equals(form.to, "hostmaster@example.net"));
	assert_non_null(strstr(text, "\r\nTo: <hostmaster@example.net>\r\n"));
	assert_non_null(strstr(text, "(Double Bounce)\r\n"));
	free(text);
}

/* A receiver's words, a stranger's ORCPT and ENVID stay within their lines. */
static void nobody_adds_lines(void **state)
{
	struct msg_report r =
	    report_about((struct text)TEXT("ann@example.org>\r\nBcc: <eve@example"));
	struct rec_report_recipient rcpt = failed[0];
	struct report_form form;

	(void)state;
	r.envid = (struct text)TEXT("a+0D+0ABcc: x");
	rcpt.orcpt = (struct text)TEXT("rfc822;a+0D+0AAction: delivered");
	rcpt.reply = (struct text)TEXT("550 no\r\nAction: delivered\r\n\r\n"
				       "--=_0123456789abcdef0123456789abcdef--\r\n\x1b[2J\x9b[2J");
	rcpt.relay = (struct text)TEXT("mx\r\nAction: delivered[192.0.2.1]:25");
	rcpt.dsn = (struct text)TEXT("5.1\r\nX:y");
	char *text = build(&r, &rcpt, 1, &form);

	assert_null(strstr(text, "\nAction: delivered"));
	assert_null(strstr(text, "\nBcc"));
	assert_null(strstr(text, "Original-Envelope-Id"));
	assert_null(strstr(text, "Original-Recipient"));
	assert_null(strchr(text, '\x1b'));
	assert_null(strchr(text, '\x9b'));
	assert_non_null(strstr(text, "\\x0d\\x0aAction"));
	assert_non_null(strstr(text, "\r\nStatus: 5.0.0\r\n"));
	free(text);
}

static void long_words_are_folded(void **state)
{
	struct msg_report r = report_about((struct text)TEXT("ann@example.org"));
	struct rec_report_recipient rcpt = failed[0];
	struct report_form form;
	char reply[512];

	(void)state;
	for (int blanks = 0; blanks < 2; blanks++) {
		for (size_t i = 0; i < sizeof reply; i++)
			reply[i] = blanks && i % 10 == 9 ? ' ' : '\x01';
		rcpt.reply = (struct text){reply, sizeof reply};
		char *text = build(&r, &rcpt, 1, &form);
		size_t longest = 0;

		for (const char *line = text; *line; line = strstr(line, "\r\n") + 2) {
			size_t len = strcspn(line, "\r\n");

			longest = len > longest ? len : longest;
		}
		assert_true(longest <= (blanks ? 78u : 600u));
		free(text);
	}
}

static void utf8_takes_the_forms_of_rfc_6533(void **state)
{
	struct msg_report r = report_about((struct text)TEXT("j\xc3\xb6rg@example.org"));
	struct rec_report_recipient rcpt = failed[0];
	struct report_form form;

	(void)state;
	r.smtputf8 = 1;
	r.body_cut = 1;
	rcpt.address = (struct text)TEXT("d\xc3\xb6rte@example.com");
	rcpt.orcpt = (struct text)TEXT("utf-8;d\xc3\xb6rte@example.com");
	char *text = build(&r, &rcpt, 1, &form);

	assert_int_equal(form.smtputf8, 1);
	assert_int_equal(form.body_type, BODY_8BITMIME);
	assert_non_null(strstr(text, "report-type=global-delivery-status;"));
	assert_non_null(strstr(text, "\r\nContent-Transfer-Encoding: 8bit\r\n\r\nThis is a MIME"));
	assert_non_null(strstr(text, "\r\nContent-Type: message/global-delivery-status\r\n"));
	assert_non_null(strstr(text, "\r\nContent-Type: message/global-headers\r\n"));
	assert_non_null(strstr(text, "\r\nOriginal-Recipient: utf-8; d\xc3\xb6rte@example.com\r\n"
				     "Final-Recipient: utf-8; d\xc3\xb6rte@example.com\r\n"));
	free(text);
	/* and without SMTPUTF8 the machine-readable part stays ASCII */
	r.smtputf8 = 0;
	r.to = (struct text)TEXT("ann@example.org");
	text = build(&r, &rcpt, 1, &form);
	assert_true(text_is_ascii(text_of(text)));
	assert_int_equal(form.body_type, BODY_7BIT);
	assert_non_null(strstr(text, "\r\nFinal-Recipient: utf-8; d\\x{F6}rte@example.com\r\n"));
	free(text);
}

static void an_8bit_original_is_marked(void **state)
{
	struct msg_report r = report_about((struct text)TEXT("ann@example.org"));
	struct report_form form;

	(void)state;
	r.body = (struct text)TEXT("caf\xe9\r\n");
	char *text = build(&r, failed, 1, &form);

	assert_int_equal(form.body_type, BODY_8BITMIME);
	assert_int_equal(form.smtputf8, 0);
	assert_non_null(strstr(part(text, 3), "\r\nContent-Type: message/rfc822\r\n"
					      "Content-Transfer-Encoding: 8bit\r\n\r\nSubject"));
	free(text);
}

/* The worst that the schema lets through still makes a report that the door takes. */
static void the_worst_case_fits(void **state)
{
	enum { COUNT = 1000 };
	struct rec_report_recipient *all = mem_new(COUNT, sizeof *all);
	struct msg_report r = report_about((struct text)TEXT("ann@example.org"));
	char *big = mem_new(1, 262144);
	struct report_form form;

	(void)state;
	memset(big, '\x01', 262144);
	for (size_t i = 0; i < COUNT; i++) {
		all[i] = failed[0];
		all[i].address = (struct text){big, 512};
		all[i].reply = (struct text){big, 512};
		all[i].relay = (struct text){big, 320};
	}
	for (size_t i = 79; i < 262144; i += 80)
		big[i] = '\n';
	r.prelude = (struct text){big, 262144};
	r.body = (struct text){big, 65536};
	char *text = build(&r, all, COUNT, &form);

	assert_non_null(strstr(text, " more\r\n"));
	free(text);
	text = build(&r, failed, 1, &form);
	assert_non_null(strstr(part(text, 3), "message/rfc822"));
	free(text);
	free(big);
	free(all);
}

static void xtext_and_status(void **state)
{
	char to[32];

	(void)state;
	assert_true(xtext_decode(to, sizeof to, (struct text)TEXT("a+2Bb+3Dc")));
	assert_string_equal(to, "a+b=c");
	assert_false(xtext_decode(to, sizeof to, (struct text)TEXT("")));
	assert_false(xtext_decode(to, sizeof to, (struct text)TEXT("a+2")));
	assert_false(xtext_decode(to, sizeof to, (struct text)TEXT("a+2b")));
	assert_false(xtext_decode(to, sizeof to, (struct text)TEXT("a+0A")));
	assert_false(xtext_decode(to, 4, (struct text)TEXT("abcd")));
	assert_true(status_is_good((struct text)TEXT("5.1.1")));
	assert_true(status_is_good((struct text)TEXT("4.123.456")));
	assert_false(status_is_good((struct text)TEXT("3.1.1")));
	assert_false(status_is_good((struct text)TEXT("5.1")));
	assert_false(status_is_good((struct text)TEXT("5.1.1234")));
	assert_false(status_is_good((struct text)TEXT("5.1.1 ")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_failure_returns_the_message),
	    cmocka_unit_test(ret_hdrs_and_cut_bodies_return_the_header),
	    cmocka_unit_test(a_delay_says_until_when),
	    cmocka_unit_test(success_has_words_of_its_own),
	    cmocka_unit_test(double_bounces_go_to_the_postmaster),
	    cmocka_unit_test(nobody_adds_lines),
	    cmocka_unit_test(long_words_are_folded),
	    cmocka_unit_test(utf8_takes_the_forms_of_rfc_6533),
	    cmocka_unit_test(an_8bit_original_is_marked),
	    cmocka_unit_test(the_worst_case_fits),
	    cmocka_unit_test(xtext_and_status),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
