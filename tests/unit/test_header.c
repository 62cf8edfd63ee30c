/* SPDX-License-Identifier: ISC */
/* Header blocks, and the content they are cut from. */
#include "content.h"
#include "header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void test_fields(void **state)
{
	struct text block = text_of("A: 1\r\nB-c : x\r\n\ty\r\nD:\r\n\r\nE: not\r\n");
	struct header_field f;

	(void)state;
	assert_true(header_next(&block, &f));
	assert_true(text_equals(f.name, "A") && text_equals(f.value, " 1"));
	assert_true(text_equals(f.whole, "A: 1\r\n"));
	assert_true(header_next(&block, &f));
	assert_true(text_equals(f.name, "B-c") && text_equals(f.value, " x\r\n\ty"));
	assert_true(header_next(&block, &f));
	assert_true(text_equals(f.name, "D") && f.value.len == 0);
	assert_false(header_next(&block, &f));
}

static void test_what_is_a_field(void **state)
{
	static const char *const good[] = {"A:", "A: b\r\n", "X-y_z!:", "A :x"};
	static const char *const bad[] = {"",	   ":",		  " A: b", "A b: c",
					  "A\r\n", "\xc3\xa4: x", "A",	   "\r\n"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(header_is_field(text_of(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(header_is_field(text_of(bad[i])));
}

static void test_facts(void **state)
{
	struct header_facts f = header_read_facts(text_of(
	    "received: a\r\nReceived: b\r\n c\r\nMessage-Id: <1@2> (x)\r\nmessage-id: <3@4>\r\n"
	    "Date: x\r\nX-Received: y\r\n\r\n"));

	(void)state;
	assert_int_equal(f.received, 2);
	assert_true(f.has_message_id && f.date && !f.from);
	assert_true(text_equals(f.message_id, "1@2"));
	f = header_read_facts(text_of("Message-ID: bare-id\r\n"));
	assert_true(text_equals(f.message_id, "bare-id"));
	f = header_read_facts(text_of("Message-ID:\r\n"));
	assert_true(f.has_message_id && f.message_id.len == 0);
	f = header_read_facts(text_of(""));
	assert_int_equal(f.received, 0);
}

/* RFC 8689 section 3: one such field, and its one word. */
static void test_tls_required(void **state)
{
	static const struct {
		const char *header;
		bool optional;
	} rows[] = {
	    {"TLS-Required: No\r\n", true},
	    {"tls-required:no\r\n", true},
	    {"TLS-Required:\r\n\tNO \r\n", true},
	    {"A: b\r\nTLS-Required: No\r\nC: d\r\n\r\n", true},
	    {"", false},
	    {"TLS-Required:\r\n", false},
	    {"TLS-Required: Yes\r\n", false},
	    {"TLS-Required: No, please\r\n", false},
	    {"TLS-Required: N\r\n o\r\n", false},
	    {"TLS-Required: No\r\nTLS-Required: No\r\n", false},
	    {"TLS-Required: No\r\nTLS-Required: No\r\nTLS-Required: No\r\n", false},
	    {"TLS-Required: Yes\r\nTLS-Required: No\r\n", false},
	    {"X-TLS-Required: No\r\n", false},
	    {"\r\nTLS-Required: No\r\n", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (header_read_facts(text_of(rows[i].header)).tls_optional != rows[i].optional)
			fail_msg("%s", rows[i].header);
}

struct sink {
	struct bytes body;
};

static void to_sink(void *owner, const uint8_t *data, size_t len)
{
	bytes_add(&((struct sink *)owner)->body, data, len);
}

struct row {
	const char *input;
	bool normalise;
	enum content_fault fault;
	const char *head, *body;
};

static const struct row rows[] = {
    {"A: b\r\n\r\nx\r\n", false, CONTENT_FINE, "A: b\r\n\r\n", "x\r\n"},
    {"A: b\r\n c\r\n\r\n\r\n", false, CONTENT_FINE, "A: b\r\n c\r\n\r\n", "\r\n"},
    {"A: b\r\n", false, CONTENT_FINE, "A: b\r\n", ""},
    {"A: b", false, CONTENT_FINE, "A: b\r\n", ""},
    {"\r\nx", false, CONTENT_FINE, "\r\n", "x\r\n"},
    {"no field\r\nx: y\r\n", false, CONTENT_FINE, "", "no field\r\nx: y\r\n"},
    {" folded\r\n", false, CONTENT_FINE, "", " folded\r\n"},
    {"A: b\r\nno field\r\n\r\nx\r\n", false, CONTENT_FINE, "A: b\r\n", "no field\r\n\r\nx\r\n"},
    {"A: b\n\r\n", false, CONTENT_BARE, 0, 0},
    {"A: b\r\r\n", false, CONTENT_BARE, 0, 0},
    {"A: b\r\n\r\nx\ry\r\n", false, CONTENT_BARE, 0, 0},
    {"A: b\r\n\r\nx\r", false, CONTENT_BARE, 0, 0},
    {"A: b\n\nx\ny\rz\r\r\nw\r", true, CONTENT_FINE, "A: b\r\n\r\n", "x\r\ny\r\nz\r\n\r\nw\r\n"},
    {"\n\n", true, CONTENT_FINE, "\r\n", "\r\n"},
    {"A: 0123456789012345678901234567890123456789\r\n", false, CONTENT_LINE, 0, 0},
    {"\r\n0123456789012345678901234567890123456789\r\n", false, CONTENT_FINE, "\r\n",
     "0123456789012345678901234567890123456789\r\n"},
    {"\r\n0123456789012345678901234567890123456789x\r\n", false, CONTENT_LINE, 0, 0},
    {"A: 1234567890\r\nA: 1234567890\r\nA: 1234567890\r\nA: 1234567890\r\nA: 1234567890\r\n", false,
     CONTENT_HEADER, 0, 0},
    {"\r\n1234567890\r\n1234567890\r\n1234567890\r\n1234567890\r\n1234567890\r\n1234567890\r\n"
     "1234567890\r\n1234567890\r\n1234567890\r\n",
     false, CONTENT_SIZE, 0, 0},
};

/* However the pieces fall, the content is cut in the same places. */
static void test_content(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (size_t step = 1; step <= 64; step++) {
			struct sink sink = {0};
			struct content c = {.limit_octets = 100,
					    .limit_header = 64,
					    .limit_line = 40,
					    .normalise = rows[i].normalise,
					    .body = to_sink,
					    .owner = &sink};
			size_t len = strlen(rows[i].input);

			for (size_t at = 0; at < len;)
				at += content_take(&c, (const uint8_t *)rows[i].input + at,
						   len - at < step ? len - at : step);
			content_end(&c);
			if (c.fault != rows[i].fault)
				fail_msg("row %zu, step %zu: fault %d", i, step, (int)c.fault);
			if (rows[i].head) {
				struct text head = {(const char *)c.head.data, c.head.end};
				struct text body = {(const char *)sink.body.data, sink.body.end};

				if (!text_equals(head, rows[i].head) ||
				    !text_equals(body, rows[i].body))
					fail_msg("row %zu, step %zu: [%.*s] [%.*s]", i, step,
						 (int)head.len, head.data, (int)body.len,
						 body.data);
				assert_int_equal(c.octets, head.len + body.len);
			}
			content_free(&c);
			bytes_free(&sink.body);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fields),  cmocka_unit_test(test_what_is_a_field),
	    cmocka_unit_test(test_facts),   cmocka_unit_test(test_tls_required),
	    cmocka_unit_test(test_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
