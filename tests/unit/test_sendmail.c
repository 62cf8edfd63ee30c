/* SPDX-License-Identifier: ISC */
/* What sendmail(1) makes of its command line, and of the mail on its standard input. */
#include "mem.h"
#include "ctl/sendmail_encode.h"
#include "ctl/sendmail_header.h"
#include "ctl/sendmail_options.h"
#include "ctl/sendmail_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* -- options -------------------------------------------------------------------------------- */

/* Splits at blanks; "_" is the empty argument. */
static bool read_line(const char *line, struct sendmail_options *o, char *kept)
{
	static char *argv[32];
	int argc = 0;

	strcpy(kept, line);
	for (char *save = NULL, *w = strtok_r(kept, " ", &save); w;
	     w = strtok_r(NULL, " ", &save)) {
		if (strcmp(w, "_") == 0)
			*w = '\0';
		argv[argc++] = w;
	}
	argv[argc] = NULL;
	return sendmail_options_read(argc, argv, o);
}

/* As callers write it: mode, -t, dots, sender, how many recipients. */
static const struct {
	const char *line;
	char mode;
	bool header, dots;
	const char *sender;
	int recipients;
} lines[] = {
    {"root", 'm', false, true, NULL, 1},
    {"-FCronDaemon -i -B8BITMIME -oem root", 'm', false, false, NULL, 1}, /* cron */
    {"-t -i", 'm', true, false, NULL, 0},				  /* PHP */
    {"-t -i -fann@example.net", 'm', true, false, "ann@example.net", 0},
    {"-oi -oem -t -f ann", 'm', true, false, "ann", 0},
    {"-oi -t", 'm', true, false, NULL, 0},
    {"-ti", 'm', true, false, NULL, 0},
    {"-itf x@y", 'm', true, false, "x@y", 0},
    {"-i -f _ root", 'm', false, false, "", 1},
    {"-i -f <> root", 'm', false, false, "<>", 1},
    {"-i -- -odd@example.net", 'm', false, false, NULL, 1},
    {"-i a -t b", 'm', false, false, NULL, 3}, /* behind an address all are addresses */
    {"-bm -om -e m -d0.1 -h 3 -p x -X /log -L me -A c -M x -n -U -G -v r", 'm', false, true, NULL,
     1},
    {"-O IgnoreDots=true r", 'm', false, false, NULL, 1},
    {"-O DeliveryMode=b -odb -oQ/q -o7 r", 'm', false, true, NULL, 1},
    {"-bs", 's', false, true, NULL, 0},
    {"-bp", 'p', false, true, NULL, 0},
    {"-bi", 'i', false, true, NULL, 0},
    {"-I", 'i', false, true, NULL, 0},
    {"-bv ann bob", 'v', false, true, NULL, 2},
    {"-q", 'q', false, true, NULL, 0},
    {"-q30m", 'q', false, true, NULL, 0},
    {"-qIABC", 'q', false, true, NULL, 0},
    {"-r ann -", 'm', false, true, "ann", 1},
};

static void test_options(void **state)
{
	struct sendmail_options o;
	char kept[256];

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		if (!read_line(lines[i].line, &o, kept))
			fail_msg("%s: %s", lines[i].line, o.why);
		if ((char)o.mode != lines[i].mode || o.from_header != lines[i].header ||
		    o.dots != lines[i].dots || o.recipient_count != lines[i].recipients)
			fail_msg("%s: -b%c, header %d, dots %d, %d recipients", lines[i].line,
				 (char)o.mode, o.from_header, o.dots, o.recipient_count);
		if (lines[i].sender)
			assert_string_equal(o.sender, lines[i].sender);
		else
			assert_null(o.sender);
	}
}

static void test_options_refused(void **state)
{
	static const char *const refused[] = {
	    "-bt",
	    "-bd",
	    "-bD",
	    "-bl",
	    "-bz",
	    "-z",
	    "-f",
	    "-Nnever,delay x",
	    "-N x",
	    "-N _ x",
	    "-N delay,delayed x",
	    "-R some x",
	    "-B 9BIT x",
	    "-V a\tb x",
	    "-qI",
	    "-qSx",
	    "-qR",
	    "-V",
	    "--help",
	};
	struct sendmail_options o;
	char kept[256];

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		if (read_line(refused[i], &o, kept))
			fail_msg("%s is taken", refused[i]);
		assert_true(strlen(o.why) > 5);
	}
	assert_true(read_line("-Nsuccess,Delay -R hdrs -V id -B7bit -qRexample.org", &o, kept));
	assert_int_equal(o.notify, NOTIFY_SUCCESS | NOTIFY_DELAY);
	assert_int_equal(o.ret, RET_HDRS);
	assert_string_equal(o.envid, "id");
	assert_int_equal(o.body, BODY_SAID_7BIT);
	assert_int_equal(o.flush_by, 'R');
	assert_string_equal(o.flush, "example.org");
}

/* -- text ------------------------------------------------------------------------------------- */

static const struct {
	const char *from;
	size_t len;
	const char *kept, *cut; /* with -i, and without; NULL: the same */
} texts[] = {
    {"a\nb\n", 4, "a\r\nb\r\n", NULL},
    {"a\r\nb\r\n", 6, "a\r\nb\r\n", NULL},
    {"a\rb\r", 4, "a\r\nb\r\n", NULL},
    {"a\r\r\nb", 5, "a\r\n\r\nb\r\n", NULL},
    {"a", 1, "a\r\n", NULL},
    {"", 0, "", NULL},
    {"\n\n", 2, "\r\n\r\n", NULL},
    {"a\0b\0\n", 5, "ab\r\n", NULL},
    {"a\n.\nb\n", 6, "a\r\n.\r\nb\r\n", "a\r\n"},
    {"a\r\n.\r\nb\r\n", 9, "a\r\n.\r\nb\r\n", "a\r\n"},
    {"a\n.", 3, "a\r\n.\r\n", "a\r\n"},
    {".\n", 2, ".\r\n", ""},
    {"..\n.b\n", 6, "..\r\n.b\r\n", NULL},
    {"50%\r.\r100%\n", 11, "50%\r\n.\r\n100%\r\n", NULL}, /* a progress bar is no end */
    {"a\r.\nb\n", 6, "a\r\n.\r\nb\r\n", NULL},
    {"a\n.\rb\n", 6, "a\r\n.\r\nb\r\n", NULL},
};

static void lines_make(const char *from, size_t len, bool dots, size_t piece, struct bytes *to)
{
	struct mail_lines l = {.dots = dots};

	for (size_t i = 0; i < len; i += piece)
		mail_lines_take(&l, (const uint8_t *)from + i, len - i < piece ? len - i : piece,
				to);
	mail_lines_end(&l, to);
}

static void test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		for (unsigned way = 0; way < 4; way++) {
			bool dots = (way & 1) != 0;
			const char *wanted = dots && texts[i].cut ? texts[i].cut : texts[i].kept;
			struct bytes to = {0};

			lines_make(texts[i].from, texts[i].len, dots, way & 2 ? 1 : 1000, &to);
			if (!text_equals(bytes_text(&to), wanted))
				fail_msg("row %zu, way %u: %.*s", i, way, (int)bytes_len(&to),
					 (const char *)bytes_at(&to));
			bytes_free(&to);
		}
	struct mail_lines l = {.dots = false};
	struct bytes to = {0};

	mail_lines_take(&l, (const uint8_t *)"ab\xc3\xa9\n", 5, &to);
	assert_true(l.eight);
	bytes_free(&to);
}

static const struct {
	const char *mail, *header, *body;
} headers[] = {
    {"To: a\r\n\r\nbody\r\n", "To: a\r\n\r\n", "body\r\n"},
    {"To: a\r\n b\r\nCc: c\r\n\r\n", "To: a\r\n b\r\nCc: c\r\n\r\n", ""},
    {"To: a\r\n", "To: a\r\n\r\n", ""},
    {"no header\r\n", "\r\n", "no header\r\n"},
    {"To: a\r\nno field\r\n", "To: a\r\n\r\n", "no field\r\n"},
    {" begins folded\r\n", "\r\n", " begins folded\r\n"},
    {"\r\nTo: a\r\n", "\r\n", "To: a\r\n"},
    {"From ann Sat Nov 21\r\nTo: a\r\n\r\nx\r\n", "To: a\r\n\r\n", "x\r\n"},
    {"From ann Sat Nov 21\r\nFrom bob\r\n", "\r\n", "From bob\r\n"},
};

static void test_header(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
		struct bytes mail = {0}, header = {0};
		size_t whole = strlen(headers[i].mail);
		bool done = false;

		for (size_t n = 0; n < whole; n++) {
			bytes_add(&mail, headers[i].mail + n, 1);
			/* It may end before the last octet, and then not again. */
			done = done || mail_header_take(&mail, false, &header);
		}
		if (!done)
			assert_true(mail_header_take(&mail, true, &header));
		assert_true(text_equals(bytes_text(&header), headers[i].header));
		assert_true(text_equals(bytes_text(&mail), headers[i].body));
		bytes_free(&mail);
		bytes_free(&header);
	}
}

static void fold(const char *unit, size_t count, size_t piece, struct bytes *to)
{
	size_t size = strlen(unit) * count;
	char *line = mem_new(size + 3, 1);
	struct mail_fold f = {.line = 0};

	for (size_t i = 0; i < count; i++)
		strcpy(line + i * strlen(unit), unit);
	strcpy(line + size, "\r\n");
	for (size_t i = 0; i < size + 2; i += piece)
		mail_fold_take(&f, (const uint8_t *)line + i,
			       size + 2 - i < piece ? size + 2 - i : piece, to);
	free(line);
}

static void test_fold(void **state)
{
	static const struct {
		const char *unit;
		size_t count, folds;
	} rows[] = {{"x", 998, 0},	  {"x", 999, 1},	{"x", 10000, 10},
		    {"\xc3\xa9", 499, 0}, {"\xc3\xa9", 500, 1}, {"\xf0\x9f\x90\x8e", 2000, 8}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (size_t piece = 1; piece < 20000; piece += 7919) {
			struct bytes to = {0};
			size_t folds = 0, line = 0;

			fold(rows[i].unit, rows[i].count, piece, &to);
			for (size_t n = 0; n < bytes_len(&to); n++) {
				line = bytes_at(&to)[n] == '\n' ? 0 : line + 1;
				assert_true(line <= MAIL_LINE_MAX + 1);
				folds += bytes_at(&to)[n] == '\n';
			}
			assert_true(text_is_utf8(bytes_text(&to)));
			if (folds - 1 != rows[i].folds)
				fail_msg("row %zu: %zu folds", i, folds - 1);
			/* Nothing is lost. */
			assert_int_equal(bytes_len(&to), rows[i].count * strlen(rows[i].unit) +
							     3 * (folds - 1) + 2);
			bytes_free(&to);
		}
}

/* -- recipients -------------------------------------------------------------------------------- */

/* Addresses a blank apart; NULL: the header is refused. */
static const struct {
	const char *header, *recipients;
} fields[] = {
    {"To: a@x.example\r\n", "a@x.example"},
    {"To: root\r\n", "root"},
    {"to: a@x.example, B <b@X.EXAMPLE>\r\nCC: \"c d\" <c@x.example>\r\nBcc: e@x.example\r\n",
     "a@x.example b@x.example c@x.example e@x.example"},
    {"To: a@x.example\r\nTo: a@x.example,\r\n b@x.example\r\n", "a@x.example b@x.example"},
    {"To: undisclosed-recipients:;\r\nBcc: a@x.example\r\n", "a@x.example"},
    {"To: friends: a@x.example, b@x.example;\r\n", "a@x.example b@x.example"},
    {"Bcc:\r\nTo: a\r\n", "a"},
    {"Subject: x\r\nReply-To: b\r\n", ""},
    {"Resent-To: r@x.example\r\nTo: a@x.example\r\nBcc: b@x.example\r\n", "r@x.example"},
    {"Resent-From: me\r\nResent-Bcc: s@x.example\r\nResent-To: r@x.example\r\nTo: a@x.example\r\n",
     "s@x.example r@x.example"},
    /* Who got it when it was resent before does not get it again. */
    {"Resent-From: me\r\nResent-To: r@x.example\r\nReceived: x\r\nResent-From: old\r\n"
     "Resent-To: old@x.example\r\nTo: a\r\n",
     "r@x.example"},
    {"Resent-From: me\r\nResent-To: r@x.example\r\nResent-From: old\r\nResent-To: "
     "old@x.example\r\n",
     "r@x.example"},
    {"To: a@x.example b@x.example\r\n", NULL},
    {"To: <a@x.example\r\n", NULL},
    {"To: -oQ/tmp@x.example\r\n", "-oQ/tmp@x.example"},
    {"To: |/bin/sh@x.example, `id`@x.example\r\n", "|/bin/sh@x.example `id`@x.example"},
};

static void test_recipients(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		struct recipients r = {.count = 0};
		char all[256] = "";
		bool fine = header_recipients(text_of(fields[i].header), &r);

		if (fine != (fields[i].recipients != NULL))
			fail_msg("row %zu: %s", i, r.why);
		for (size_t n = 0; n < r.count && fine; n++) {
			strcat(all, n ? " " : "");
			strcat(all, r.items[n]);
		}
		if (fine)
			assert_string_equal(all, fields[i].recipients);
		recipients_free(&r);
	}
}

static void test_recipients_of_arguments(void **state)
{
	struct recipients r = {.count = 0};
	char address[32];

	(void)state;
	assert_true(recipients_add_list(&r, text_of("ann")));
	assert_true(recipients_add_list(&r, text_of("a@x.example, Bob <b@x.example>")));
	assert_true(recipients_add_list(&r, text_of("ann")));
	assert_int_equal(r.count, 3);
	assert_false(recipients_add_list(&r, text_of("")));
	assert_false(recipients_add_list(&r, text_of("a@x.example\nBcc: b")));
	assert_false(recipients_add_list(&r, text_of("a b c")));
	assert_true(strlen(r.why) > 5);
	assert_false(r.utf8);
	for (unsigned i = 3; i < 1000; i++) {
		snprintf(address, sizeof address, "u%u@x.example", i);
		assert_true(recipients_add(&r, text_of(address)));
	}
	assert_false(recipients_add(&r, text_of("one.more@x.example")));
	recipients_free(&r);
	assert_true(recipients_add(&r, text_of("\xc3\xa9@x.example")));
	assert_true(r.utf8);
	recipients_free(&r);
}

static void test_blind(void **state)
{
	struct bytes to = {0};

	(void)state;
	header_without_blind(
	    text_of("To: a\r\nBCC: b,\r\n c\r\nSubject: Bcc: x\r\nResent-Bcc: d\r\n\r\n"), &to);
	assert_true(text_equals(bytes_text(&to), "To: a\r\nSubject: Bcc: x\r\n\r\n"));
	bytes_free(&to);
	assert_int_equal(header_long_line(text_of("a\r\nb\r\n")), 0);
}

static void test_from(void **state)
{
	static const struct {
		const char *header, *name, *sender, *added;
	} rows[] = {
	    {"To: a\r\n\r\n", "", "ann", "From: <ann>\r\n"},
	    {"To: a\r\n\r\n", "Ann B.", "ann", "From: \"Ann B.\" <ann>\r\n"},
	    {"From: x\r\n\r\n", "Ann", "ann", ""},
	    {"\r\n", "", "", "From: <MAILER-DAEMON>\r\n"},
	    {"\r\n", "a\"b\\c", "x", "From: \"a\\\"b\\\\c\" <x>\r\n"},
	    {"\r\n", "Ann\r\nBcc: eve@x.example", "ann",
	     "From: \"AnnBcc: eve@x.example\" <ann>\r\n"},
	    {"\r\n", "\xc3\x84nn", "ann", "From: =?utf-8?B?w4Rubg==?= <ann>\r\n"},
	    {"\r\n", "bad \xff", "ann", "From: \"bad\" <ann>\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct bytes to = {0};

		header_put_from(text_of(rows[i].header), text_of(rows[i].name),
				text_of(rows[i].sender), &to);
		if (!text_equals(bytes_text(&to), rows[i].added))
			fail_msg("row %zu: %.*s", i, (int)bytes_len(&to),
				 (const char *)bytes_at(&to));
		bytes_free(&to);
	}
}

static void test_encode(void **state)
{
	static const struct {
		const char *from, *to;
	} rows[] = {
	    {"Subject: plain\r\n\r\n", "Subject: plain\r\n\r\n"},
	    {"Subject: Gr\xc3\xbc\xc3\x9f Gott all\r\n\r\n",
	     "Subject: =?utf-8?B?R3LDvMOf?= Gott all\r\n\r\n"},
	    /* Blanks between two such words are part of the text: between encoded words they
	       vanish. */
	    {"Subject: \xc3\xa4 \xc3\xb6 u\r\n\r\n", "Subject: =?utf-8?B?w6Qgw7Y=?= u\r\n\r\n"},
	    {"Subject: \xe4\r\n\r\n", "Subject: =?unknown-8bit?B?5A==?=\r\n\r\n"},
	    {"To: J\xc3\xb6rg <j@x.example>, \"M\xc3\xbcller, A\" <m@x.example>,\r\n "
	     "b@x.example\r\n\r\n",
	     "To: =?utf-8?B?SsO2cmc=?= <j@x.example>, =?utf-8?B?TcO8bGxlciwgQQ==?= "
	     "<m@x.example>,\r\n "
	     "b@x.example\r\n\r\n"},
	    {"To: \xc3\xb6@x.example\r\n\r\n", "To: \xc3\xb6@x.example\r\n\r\n"},
	    {"To: a@x.example (\xc3\xb6)\r\n\r\n", "To: a@x.example (\xc3\xb6)\r\n\r\n"},
	    {"To: g: \xc3\xb6 <a@x.example>;\r\n\r\n",
	     "To: g: =?utf-8?B?w7Y=?= <a@x.example>;\r\n\r\n"},
	    {"Content-Type: text/plain; name=\xc3\xb6\r\n\r\n",
	     "Content-Type: text/plain; name=\xc3\xb6\r\n\r\n"},
	    {"DKIM-Signature: x\r\nSubject: \xc3\xb6\r\n\r\n",
	     "DKIM-Signature: x\r\nSubject: \xc3\xb6\r\n\r\n"},
	    {"Subject:\r\n \xc3\xb6\r\n\ta\r\n\r\n",
	     "Subject:\r\n =?utf-8?B?w7Y=?=\r\n\ta\r\n\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct bytes to = {0};

		header_encode(text_of(rows[i].from), &to);
		if (!text_equals(bytes_text(&to), rows[i].to))
			fail_msg("row %zu: %.*s", i, (int)bytes_len(&to),
				 (const char *)bytes_at(&to));
		bytes_free(&to);
	}
	/* A long one: words of at most 75 characters, no character in two of them. */
	char subject[120] = "Subject: ";
	struct bytes to = {0};

	for (unsigned i = 0; i < 48; i++)
		strcat(subject, "\xc3\xa4");
	strcat(subject, "\r\n\r\n");
	header_encode(text_of(subject), &to);
	assert_non_null(memmem(bytes_at(&to), bytes_len(&to), "?=\r\n =?utf-8?B?", 15));
	bytes_free(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_options),
	    cmocka_unit_test(test_options_refused),
	    cmocka_unit_test(test_lines),
	    cmocka_unit_test(test_header),
	    cmocka_unit_test(test_fold),
	    cmocka_unit_test(test_recipients),
	    cmocka_unit_test(test_recipients_of_arguments),
	    cmocka_unit_test(test_blind),
	    cmocka_unit_test(test_from),
	    cmocka_unit_test(test_encode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
