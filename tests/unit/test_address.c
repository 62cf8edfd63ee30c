/* SPDX-License-Identifier: ISC */
/* Paths and mailboxes: what is read, its canonical form, what is refused. */
#include "address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

struct row {
	const char *input;
	enum address_result result;
	const char *text, *rest;
};

static const struct row rows[] = {
    {"<a@b.example>", ADDRESS_FINE, "a@b.example", ""},
    {"<A.b+c@B.Example> SIZE=1", ADDRESS_FINE, "A.b+c@b.example", " SIZE=1"},
    {"<>", ADDRESS_NULL, "", ""},
    {"<> X", ADDRESS_NULL, "", " X"},
    {"<postmaster>", ADDRESS_ALONE, "postmaster", ""},
    {"<@a.example,@b.example:c@d.example>", ADDRESS_FINE, "c@d.example", ""},
    {"<@[192.0.2.1]:c@d.example>", ADDRESS_FINE, "c@d.example", ""},
    {"<@a.example c@d.example>", ADDRESS_SYNTAX, 0, 0},
    {"<@a.example,:c@d.example>", ADDRESS_SYNTAX, 0, 0},
    {"<\"a b\"@c.example>", ADDRESS_FINE, "\"a b\"@c.example", ""},
    {"<\"ab\"@c.example>", ADDRESS_FINE, "ab@c.example", ""},
    {"<\"a\\b\"@c.example>", ADDRESS_FINE, "ab@c.example", ""},
    {"<\"a\\\"b\\\\\"@c.example>", ADDRESS_FINE, "\"a\\\"b\\\\\"@c.example", ""},
    {"<\"a>b\"@c.example>", ADDRESS_FINE, "\"a>b\"@c.example", ""},
    {"<\"\"@c.example>", ADDRESS_FINE, "\"\"@c.example", ""},
    {"<\"a@c.example>", ADDRESS_SYNTAX, 0, 0},
    {"<\"a\\", ADDRESS_SYNTAX, 0, 0},
    {"<\"a\tb\"@c.example>", ADDRESS_SYNTAX, 0, 0},
    {"<a@[192.0.2.1]>", ADDRESS_FINE, "a@[192.0.2.1]", ""},
    {"<a@[IPv6:2001:DB8::1]>", ADDRESS_FINE, "a@[ipv6:2001:db8::1]", ""},
    {"<a@[192.0.2.256]>", ADDRESS_SYNTAX, 0, 0},
    {"<a@[192.0.2.1>", ADDRESS_SYNTAX, 0, 0},
    {"<a@[x:y]>", ADDRESS_SYNTAX, 0, 0},
    {"<a@b_c.example>", ADDRESS_FINE, "a@b_c.example", ""},
    {"<a@-b.example>", ADDRESS_SYNTAX, 0, 0},
    {"<a@b-.example>", ADDRESS_SYNTAX, 0, 0},
    {"<a@b..example>", ADDRESS_SYNTAX, 0, 0},
    {"<a@.example>", ADDRESS_SYNTAX, 0, 0},
    {"<a@b.example.>", ADDRESS_SYNTAX, 0, 0},
    {"<a@>", ADDRESS_SYNTAX, 0, 0},
    {"<@b.example>", ADDRESS_SYNTAX, 0, 0},
    {"<.a@b.example>", ADDRESS_SYNTAX, 0, 0},
    {"<a.@b.example>", ADDRESS_SYNTAX, 0, 0},
    {"<a..b@b.example>", ADDRESS_SYNTAX, 0, 0},
    {"<a b@c.example>", ADDRESS_SYNTAX, 0, 0},
    {"<a@b.example", ADDRESS_SYNTAX, 0, 0},
    {"a@b.example", ADDRESS_SYNTAX, 0, 0},
    {"<a@b@c.example>", ADDRESS_SYNTAX, 0, 0},
    {"<a@b.example;rm>", ADDRESS_SYNTAX, 0, 0},
    {"<a\r@b.example>", ADDRESS_SYNTAX, 0, 0},
    {"<\xc3\xa4@b\xc3\xbc.example>", ADDRESS_FINE, "\xc3\xa4@b\xc3\xbc.example", ""},
    {"<\xc3@b.example>", ADDRESS_SYNTAX, 0, 0},
    {"<a@\xed\xa0\x80.example>", ADDRESS_SYNTAX, 0, 0},
    {"<", ADDRESS_SYNTAX, 0, 0},
    {"", ADDRESS_SYNTAX, 0, 0},
};

static void test_paths(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct text args = text_of(rows[i].input);
		struct address a;
		enum address_result r = address_read_path(&args, &a);

		if (r != rows[i].result)
			fail_msg("%s: result %d", rows[i].input, (int)r);
		if (!rows[i].text)
			continue;
		assert_string_equal(a.text, rows[i].text);
		assert_true(text_equals(args, rows[i].rest));
	}
}

static void test_parts(void **state)
{
	struct text args = text_of("<\"x@y\"@Z.example>");
	struct address a;

	(void)state;
	assert_int_equal(address_read_path(&args, &a), ADDRESS_FINE);
	assert_true(a.routed);
	assert_true(text_equals(address_local(&a), "\"x@y\""));
	assert_true(text_equals(address_host(&a), "z.example"));
	assert_int_equal(address_read(text_of("x!y@z"), &a), ADDRESS_FINE);
	assert_true(a.routed);
	assert_int_equal(address_read(text_of("x-y@z"), &a), ADDRESS_FINE);
	assert_false(a.routed);
	assert_int_equal(address_read(text_of("x@z>"), &a), ADDRESS_SYNTAX);
	assert_int_equal(address_read(text_of(""), &a), ADDRESS_NULL);
}

/* Nothing is cut: what is too long is refused. */
static void test_lengths(void **state)
{
	char path[2000];
	struct address a;

	(void)state;
	for (size_t local = 1; local < 700; local++) {
		size_t n = 0;

		path[n++] = '<';
		memset(path + n, 'a', local);
		n += local;
		memcpy(path + n, "@b.example>", 11);
		n += 11;
		struct text args = {path, n};
		enum address_result r = address_read_path(&args, &a);

		assert_int_equal(r, local + 10 <= ADDRESS_MAX ? ADDRESS_FINE : ADDRESS_LONG);
		if (r == ADDRESS_FINE)
			assert_int_equal(a.len, local + 10);
	}
	memset(path, 'x', sizeof path);
	memcpy(path, "<a@", 3);
	path[67] = '>';
	assert_int_equal(address_read_path(&(struct text){path, 68}, &a), ADDRESS_SYNTAX);
	path[66] = '>';
	assert_int_equal(address_read_path(&(struct text){path, 67}, &a), ADDRESS_FINE);
}

static void test_greetings(void **state)
{
	static const char *const good[] = {"a",		  "MY_PC",	"a.example",
					   "[192.0.2.1]", "[IPv6:::1]", "a:b"};
	static const char *const bad[] = {"",	 "a b",	      "a(b)", "<a>",  "a;b",
					  "a\"", "a\xc3\xa4", "a\\",  "a\x7f"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(address_is_greeting(text_of(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(address_is_greeting(text_of(bad[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_paths),
	    cmocka_unit_test(test_parts),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_greetings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
