/* SPDX-License-Identifier: ISC */
/* Replies of receivers, good and hostile. */
#include "reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Reads INPUT to its end; the last step that was no REPLY_MORE, or REPLY_MORE when there was none.
 */
static enum reply_step read_all(struct reply_reader *r, const char *input, size_t len)
{
	enum reply_step last = REPLY_MORE;

	memset(r, 0, sizeof *r);
	for (size_t at = 0; at < len;) {
		enum reply_step step;
		/* A copy of its own, so that a sanitizer sees each step over the end. */
		uint8_t *copy = malloc(len - at);

		assert_non_null(copy);
		memcpy(copy, input + at, len - at);
		size_t n = reply_read(r, copy, len - at, &step);

		free(copy);
		if (step == REPLY_MORE)
			break;
		last = step;
		if (step == REPLY_BROKEN)
			break;
		assert_true(n > 0 && n <= len - at);
		at += n;
	}
	return last;
}

static const struct {
	const char *input;
	unsigned code;
	const char *dsn, *text;
} good[] = {
    {"250 2.1.5 Ok\r\n", 250, "2.1.5", "250 2.1.5 Ok"},
    {"250 Ok\r\n", 250, "2.0.0", "250 Ok"},
    {"250\r\n", 250, "2.0.0", "250"},
    {"250-\r\n250 \r\n", 250, "2.0.0", "250"},
    {"550 5.1.1 no such user\r\n", 550, "5.1.1", "550 5.1.1 no such user"},
    /* The class must be the code's. */
    {"550 2.1.1 no such user\r\n", 550, "5.0.0", "550 2.1.1 no such user"},
    {"450 4.1234.1 x\r\n", 450, "4.0.0", "450 4.1234.1 x"},
    {"450 4.1 x\r\n", 450, "4.0.0", "450 4.1 x"},
    {"450 4.1.1x\r\n", 450, "4.0.0", "450 4.1.1x"},
    {"450 4.100.999\r\n", 450, "4.100.999", "450 4.100.999"},
    {"550-5.7.1 first\r\n550-5.7.1 second\r\n550 5.7.1 third\r\n", 550, "5.7.1",
     "550 5.7.1 first second third"},
    {"250 bare newline\n", 250, "2.0.0", "250 bare newline"},
    {"250 a\tb\x01\x1b[31mc\x7f\rd\r\n", 250, "2.0.0", "250 a b[31mcd"},
    {"550 gr\xc3\xbc\xc3\x9f\r\n", 550, "5.0.0", "550 gr\xc3\xbc\xc3\x9f"},
    {"550 gr\xfc\xdf\r\n", 550, "5.0.0", "550 gr??"},
    {"299 unknown codes count by their first digit\r\n", 299, "2.0.0",
     "299 unknown codes count by their first digit"},
};

static void reads_what_is_good(void **state)
{
	struct reply_reader r;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(read_all(&r, good[i].input, strlen(good[i].input)), REPLY_LAST);
		assert_int_equal(r.reply.code, good[i].code);
		assert_string_equal(r.reply.dsn, good[i].dsn);
		assert_string_equal(r.reply.text, good[i].text);
		assert_int_equal(r.reply.len, strlen(good[i].text));
	}
}

static const char *const bad[] = {
    "150 first digit\r\n",
    "650 first digit\r\n",
    "25 short\r\n",
    "25x no digit\r\n",
    "250x\r\n",
    "\r\n",
    "hello\r\n",
    " 250 x\r\n",
    "250-a\r\n251 b\r\n",
    "250-a\r\nb\r\n",
    "\x16\x03\x01\x02\n",
};

static void refuses_what_is_none(void **state)
{
	struct reply_reader r;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(read_all(&r, bad[i], strlen(bad[i])), REPLY_BROKEN);
	assert_int_equal(read_all(&r, "250 a\0b\r\n", 9), REPLY_BROKEN);
	assert_int_equal(read_all(&r, "\0\0\0", 3), REPLY_BROKEN);
}

static void waits_for_the_end_of_a_line(void **state)
{
	struct reply_reader r;

	(void)state;
	assert_int_equal(read_all(&r, "250 Ok", 6), REPLY_MORE);
	assert_int_equal(read_all(&r, "250 Ok\r", 7), REPLY_MORE);
	assert_int_equal(read_all(&r, "250-Ok\r\n250", 11), REPLY_LINE);
}

static void bounds_lines(void **state)
{
	char *long_line = malloc(REPLY_LINE_MAX + 2);
	char *many = calloc(REPLY_LINES_MAX + 2, 8);
	struct reply_reader r;

	(void)state;
	assert_true(long_line && many);
	memset(long_line, 'x', REPLY_LINE_MAX + 2);
	memcpy(long_line, "250 ", 4);
	assert_int_equal(read_all(&r, long_line, REPLY_LINE_MAX - 1), REPLY_MORE);
	assert_int_equal(read_all(&r, long_line, REPLY_LINE_MAX), REPLY_BROKEN);
	long_line[REPLY_LINE_MAX - 1] = '\n';
	assert_int_equal(read_all(&r, long_line, REPLY_LINE_MAX), REPLY_LAST);
	assert_int_equal(r.reply.len, REPLY_TEXT_MAX);
	for (int i = 0; i < REPLY_LINES_MAX - 1; i++)
		strcat(many, "250-x\r\n");
	size_t len = strlen(many);

	memcpy(many + len, "250 x\r\n", 8);
	assert_int_equal(read_all(&r, many, len + 7), REPLY_LAST);
	memcpy(many + len, "250-x\r\n250 x\r\n", 15);
	assert_int_equal(read_all(&r, many, len + 14), REPLY_BROKEN);
	free(long_line);
	free(many);
}

static void cuts_between_characters(void **state)
{
	char line[1100] = "250 a";
	struct reply_reader r;

	(void)state;
	for (int i = 0; i < 500; i++)
		memcpy(line + 5 + 2 * i, "\xc3\xbc", 2);
	memcpy(line + 1005, "\r\n", 2);
	assert_int_equal(read_all(&r, line, 1007), REPLY_LAST);
	assert_int_equal(r.reply.len, REPLY_TEXT_MAX - 1);
	assert_null(strchr(r.reply.text, '?'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_what_is_good),	   cmocka_unit_test(refuses_what_is_none),
	    cmocka_unit_test(waits_for_the_end_of_a_line), cmocka_unit_test(bounds_lines),
	    cmocka_unit_test(cuts_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
