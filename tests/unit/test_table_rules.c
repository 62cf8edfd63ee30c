/* SPDX-License-Identifier: ISC */
/* Lists of networks and of patterns: what is read, what is broken, which rule counts. */
#include "table_rules.h"

#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct row {
	const char *key, *value; /* NULL: absent; "!": failed */
};

static void note(void *owner, uint32_t line, const char *what)
{
	char *said = owner;
	size_t used = strlen(said);

	snprintf(said + used, 600 - used, "%u %s;", line, what);
}

static struct table_rules *read_rules(enum table_rules_type type, const char *text, char *said)
{
	struct bytes content = {0};

	*said = '\0';
	bytes_add(&content, text, strlen(text));
	struct table_rules *t = table_rules_read(type, &content, note, said);

	assert_null(content.data);
	return t;
}

static void check_rows(enum table_rules_type type, const char *text, const struct row *rows,
		       size_t count)
{
	char said[600];
	struct table_rules *t = read_rules(type, text, said);

	assert_string_equal(said, "");
	for (size_t i = 0; i < count; i++) {
		struct bytes value = {0};
		enum table_verdict verdict =
		    table_rules_find(t, text_of(rows[i].key), false, &value);
		struct text found = {(char *)value.data, value.end};

		if (!rows[i].value)
			assert_int_equal(verdict, TABLE_ABSENT);
		else if (strcmp(rows[i].value, "!") == 0)
			assert_int_equal(verdict, TABLE_FAILED);
		else if (verdict != TABLE_FOUND || !text_equals(found, rows[i].value))
			fail_msg("%s: %d [%.*s]", rows[i].key, verdict, (int)found.len, found.data);
		bytes_free(&value);
	}
	table_rules_free(&t);
	table_rules_free(&t);
}
#define CHECK(type, text, rows) check_rows(type, text, rows, sizeof(rows) / sizeof *(rows))

static void test_networks(void **state)
{
	static const char text[] = "# who\n"
				   "192.0.2.1 one\n"
				   "192.0.2.0/24\tsome\n"
				   "\n"
				   "   more\r\n"
				   "2001:db8::/32 six\n"
				   "[2001:db9::1] bracket\n"
				   "if 10.0.0.0/8\n"
				   "  # none\n"
				   "10.1.0.0/16 inner\n"
				   "if !10.2.0.0/16\n"
				   "0.0.0.0/0 other\n"
				   "endif\n"
				   "ENDIF\n"
				   "!10.0.0.0/8 outside\n";
	static const struct row rows[] = {
	    {"192.0.2.1", "one"},
	    {"192.0.2.255", "some more"},
	    {"2001:db8:1::", "six"},
	    {"[192.0.2.9]", "some more"},
	    {"[IPv6:2001:db8::2]", "six"},
	    {"2001:db9::1", "bracket"},
	    {"10.1.2.3", "inner"},
	    {"10.3.0.1", "other"},
	    {"10.2.0.1", NULL},
	    {"198.51.100.1", "outside"},
	    {"2001:dba::", "outside"},
	    {"ann@x.org", NULL},
	    {"", NULL},
	    {"*", NULL},
	};

	(void)state;
	CHECK(TABLE_RULES_CIDR, text, rows);
}

static void test_patterns(void **state)
{
	static const char text[] = "/^ann@/ first\n"
				   "/^(.*)-(\\d+)@x\\.org$/  ${1}@$2.org, $(1)$$\n"
				   "|^/a| slash\n"
				   "/^CASE$/i case\n"
				   "if /@y\\.org$/\n"
				   "!/^bob/ notbob $$1\n"
				   "/^bob(by)?@/ bob[$1]\n"
				   "endif\n"
				   "/es\\/cape/ escaped\n"
				   "/^\xc3\xa4./x utf\n"
				   "/^(a+)+$/ slow\n";
	static const struct row rows[] = {
	    {"Ann@z", "first"},
	    {"carl-12@x.org", "carl@12.org, carl$"},
	    {"/abc", "slash"},
	    {"CASE", "case"},
	    {"case", NULL},
	    {"eve@y.org", "notbob $1"},
	    {"bob@y.org", "bob[]"},
	    {"BOBBY@y.org", "bob[BY]"},
	    {"bob@z.org", NULL},
	    {"es/cape", "escaped"},
	    {"\xc3\x84\xc3\xb6", "utf"},
	    {"aaaa", "slow"},
	    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "!"},
	    {"\xff\xfe", NULL},
	    {"", NULL},
	};

	(void)state;
	CHECK(TABLE_RULES_PCRE, text, rows);
}

/* What a group found may be put in so often that nobody could be sent it. */
static void test_long_value(void **state)
{
	char text[2000] = "/^(.*)$/ ", key[501] = "", said[600];
	struct bytes value = {0};

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		strcat(text, "$1");
	memset(key, 'x', 500);
	struct table_rules *t = read_rules(TABLE_RULES_PCRE, text, said);

	assert_non_null(t);
	assert_int_equal(table_rules_find(t, text_of(key), false, &value), TABLE_FAILED);
	value.start = value.end = 0;
	assert_int_equal(table_rules_find(t, text_of("ab"), false, &value), TABLE_FOUND);
	assert_int_equal(value.end, 80);
	bytes_free(&value);
	table_rules_free(&t);
}

/* None of them alone takes too long. */
static void test_many_slow(void **state)
{
	char said[600], *text = mem_new(1, 400000), key[401];
	struct bytes value = {0};
	size_t len = 0;

	(void)state;
	for (unsigned i = 0; i < TABLE_PATTERNS_MAX; i++)
		len += (size_t)sprintf(text + len, "/x*.?[y%u]/ x\n", i);
	memset(key, 'x', 400);
	key[400] = '\0';
	struct table_rules *t = read_rules(TABLE_RULES_PCRE, text, said);

	assert_non_null(t);
	assert_int_equal(table_rules_find(t, text_of(key), false, &value), TABLE_FAILED);
	value.start = value.end = 0;
	assert_int_equal(table_rules_find(t, text_of("y"), false, &value), TABLE_FOUND);
	table_rules_free(&t);
	t = read_rules(TABLE_RULES_PCRE, "/x*.?[y0]/ x\n", said);
	assert_int_equal(table_rules_find(t, text_of(key), false, &value), TABLE_ABSENT);
	table_rules_free(&t);
	bytes_free(&value);
	free(text);
}

static void test_broken(void **state)
{
	static const struct {
		enum table_rules_type type;
		const char *text, *said;
	} rows[] = {
	    {TABLE_RULES_CIDR, "", ""},
	    {TABLE_RULES_CIDR, "x y\n", "1 no address and no network;"},
	    {TABLE_RULES_CIDR, "\n192.0.2.0/33 y\n", "2 a network's bits that are not 0 to 32;"},
	    {TABLE_RULES_CIDR, "::/129 y\n::/ y\n",
	     "1 a network's bits that are not 0 to 128;2 a network's bits that are not 0 to 128;"},
	    {TABLE_RULES_CIDR, "192.0.2.1/24 y\n", "1 an address with bits behind its network's;"},
	    {TABLE_RULES_CIDR, "192.0.2.1\n", "1 a rule without a value;"},
	    {TABLE_RULES_CIDR, " 192.0.2.1 x\n",
	     "1 a blank at its beginning, and no line to go on;"},
	    {TABLE_RULES_CIDR, "endif\n", "1 an endif without an if;"},
	    {TABLE_RULES_CIDR, "endif x\n", "1 something behind endif;"},
	    {TABLE_RULES_CIDR, "if ::/0 x\nendif\n",
	     "1 something behind an if;2 an endif without an if;"},
	    {TABLE_RULES_CIDR, "::1 x\nif ::/0\n::2 y\n", "2 an if without an endif;"},
	    {TABLE_RULES_CIDR, "::1 \x01\n::1 \xff\n", "1 a control character;2 no UTF-8;"},
	    {TABLE_RULES_PCRE, "abc x\n", "1 no pattern: /PATTERN/ and a value were expected;"},
	    {TABLE_RULES_PCRE, "/abc\n", "1 a pattern without a / at its end;"},
	    {TABLE_RULES_PCRE, "/a/q x\n", "1 a flag behind the pattern that is none of imsxAEUX;"},
	    {TABLE_RULES_PCRE, "/a(/ x\n",
	     "1 in the pattern at character 3: missing closing parenthesis;"},
	    {TABLE_RULES_PCRE, "/a/ $1\n!/(a)/ $1\n",
	     "1 a $ whose group the pattern does not have;2 a $ whose group the pattern does not "
	     "have;"},
	    {TABLE_RULES_PCRE, "/(a)/ ${1\n", "1 a $ that is none of $1, ${1}, $(1) and $$;"},
	    {TABLE_RULES_PCRE, "/(a)/ $x\n", "1 a $ that is none of $1, ${1}, $(1) and $$;"},
	    {TABLE_RULES_PCRE, "if /a/\n", "1 an if without an endif;"},
	};
	char said[600];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct table_rules *t = read_rules(rows[i].type, rows[i].text, said);

		if (strcmp(said, rows[i].said) != 0 || (t != NULL) != (*rows[i].said == '\0'))
			fail_msg("row %zu: %s", i, said);
		table_rules_free(&t);
	}
}

static void test_bounds(void **state)
{
	char said[600], *text = mem_new(1, 1000000);
	size_t len = 0;

	(void)state;
	for (unsigned i = 0; i <= TABLE_NESTING_MAX; i++)
		len += (size_t)sprintf(text + len, "if ::/0\n");
	assert_null(read_rules(TABLE_RULES_CIDR, text, said));
	assert_non_null(strstr(said, "33 an if in more than 32 others"));
	len = 0;
	for (unsigned i = 0; i <= TABLE_PATTERNS_MAX; i++)
		len += (size_t)sprintf(text + len, "/%u/ x\n", i);
	assert_null(read_rules(TABLE_RULES_PCRE, text, said));
	assert_string_equal(said, "10001 too many rules;");
	memset(text, 'x', 70000);
	text[70000] = '\0';
	assert_null(read_rules(TABLE_RULES_PCRE, text, said));
	assert_string_equal(said, "1 a line of more than 65536 characters;");
	len = (size_t)sprintf(text, "::1 ");
	memset(text + len, 'x', 16385);
	text[len + 16385] = '\0';
	assert_null(read_rules(TABLE_RULES_CIDR, text, said));
	assert_string_equal(said, "1 a value of more than 16384 characters;");
	free(text);
}

static void test_walk(void **state)
{
	char said[600];
	struct table_rules *t =
	    read_rules(TABLE_RULES_PCRE, "\nif /x/\n!/a b/ c\nendif\n\n/d/i e\n f\n", said);
	struct bytes value = {0};
	struct text key;
	size_t at = 0;

	(void)state;
	assert_non_null(t);
	assert_true(table_rules_next(t, &at, &key, &value));
	assert_true(text_equals(key, "!/a b/"));
	assert_int_equal(table_rules_line(t, key), 3);
	assert_true(table_rules_next(t, &at, &key, &value));
	assert_true(text_equals(key, "/d/i"));
	assert_true(text_equals((struct text){(char *)value.data, value.end}, "e f"));
	assert_int_equal(table_rules_line(t, key), 6);
	assert_false(table_rules_next(t, &at, &key, &value));
	assert_int_equal(table_rules_line(t, text_of("d")), 0);
	bytes_free(&value);
	table_rules_free(&t);
}

/* What is to be plain is never made of the key. */
static void test_plain(void **state)
{
	static const struct {
		const char *key;
		enum table_verdict plain, any;
	} rows[] = {
	    {"ann", TABLE_FOUND, TABLE_FOUND},
	    {"bob", TABLE_FAILED, TABLE_FOUND},
	    {"price", TABLE_FAILED, TABLE_FOUND},
	    {"zoe", TABLE_ABSENT, TABLE_ABSENT},
	};
	char said[600];
	struct table_rules *t =
	    read_rules(TABLE_RULES_PCRE, "/^ann$/ x\n/^(bob)$/ $1/\n/^price$/ 5$$\n", said);
	struct bytes value = {0};

	(void)state;
	assert_non_null(t);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(table_rules_find(t, text_of(rows[i].key), true, &value),
				 rows[i].plain);
		assert_int_equal(table_rules_find(t, text_of(rows[i].key), false, &value),
				 rows[i].any);
	}
	table_rules_free(&t);
	t = read_rules(TABLE_RULES_CIDR, "192.0.2.0/24 a$1\n", said);
	value.start = value.end = 0;
	assert_int_equal(table_rules_find(t, text_of("192.0.2.1"), true, &value), TABLE_FOUND);
	assert_true(text_equals(bytes_text(&value), "a$1"));
	bytes_free(&value);
	table_rules_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_networks),   cmocka_unit_test(test_patterns),
	    cmocka_unit_test(test_long_value), cmocka_unit_test(test_many_slow),
	    cmocka_unit_test(test_broken),     cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_walk),       cmocka_unit_test(test_plain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
