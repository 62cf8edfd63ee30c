/* SPDX-License-Identifier: ISC */
/* Text tables: what is read, what is broken, what is found. */
#include "table_text.h"

#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void note(void *owner, uint32_t line, const char *what)
{
	char *said = owner;
	size_t used = strlen(said);

	snprintf(said + used, 400 - used, "%u %s;", line, what);
}

static struct table_text *read_text(const char *text, size_t len, char *said)
{
	struct bytes content = {0};

	*said = '\0';
	bytes_add(&content, text, len);
	struct table_text *t = table_text_read(&content, note, said);

	assert_null(content.data);
	return t;
}

static void test_find(void **state)
{
	static const char text[] = "# a comment\n"
				   "ann ann@x.org,  @y.org\n"
				   "\n"
				   "  \t\n"
				   "Bob\tbob@x.org\r\n"
				   "\tcarl@x.org\n"
				   "# between\n"
				   "   # too\n"
				   "  dan@x.org \n"
				   "ann   third@x.org\n"
				   "* *@z.org\n"
				   "\xc3\xa4 u\n"
				   "zoe x";
	static const struct {
		const char *key, *value;
	} rows[] = {
	    {"ann", "ann@x.org,  @y.org third@x.org"},
	    {"ANN", "ann@x.org,  @y.org third@x.org"},
	    {"bob", "bob@x.org carl@x.org dan@x.org"},
	    {"*", "*@z.org"},
	    {"\xc3\xa4", "u"},
	    {"zoe", "x"},
	    {"an", NULL},
	    {"annn", NULL},
	    {"", NULL},
	    {"#", NULL},
	    {"zzz", NULL},
	};
	char said[400];
	struct table_text *t = read_text(text, sizeof text - 1, said);

	(void)state;
	assert_string_equal(said, "");
	assert_non_null(t);
	assert_int_equal(table_text_count(t), 6);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct bytes value = {0};
		bool found = table_text_find(t, text_of(rows[i].key), &value);

		if (found != (rows[i].value != NULL) ||
		    (found &&
		     !text_equals((struct text){(char *)value.data, value.end}, rows[i].value)))
			fail_msg("%s: [%.*s]", rows[i].key, (int)value.end, (char *)value.data);
		bytes_free(&value);
	}
	table_text_free(&t);
	table_text_free(&t);
}

static void test_broken(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *said;
	} rows[] = {
#define ROW(text, said) {text, sizeof(text) - 1, said}
	    ROW("", ""),
	    ROW("\n# x\n", ""),
	    ROW("ann\n", "1 a key without a value;"),
	    ROW("ann x\nbob  \ncarl\n", "2 a key without a value;3 a key without a value;"),
	    ROW(" x\nann y\n", "1 a blank at its beginning, and no line to go on;"),
	    ROW("ann \0x\n", "1 a control character;"),
	    ROW("ann x\n \0\n", "2 a control character;"),
	    ROW("ann x\ry\n", "1 a control character;"),
	    ROW("ann \xff\n", "1 no UTF-8;"),
	    ROW("\x7f x\n", "1 a control character;"),
	};
	char said[400];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct table_text *t = read_text(rows[i].text, rows[i].len, said);

		if (strcmp(said, rows[i].said) != 0 || (t != NULL) != (*rows[i].said == '\0'))
			fail_msg("row %zu: %s", i, said);
		table_text_free(&t);
	}
}

static void test_bounds(void **state)
{
	char said[400], *text = mem_new(1, 100000);
	struct table_text *t;

	(void)state;
	memset(text, 'k', TABLE_KEY_MAX);
	strcpy(text + TABLE_KEY_MAX, " v\n");
	t = read_text(text, strlen(text), said);
	assert_non_null(t);
	table_text_free(&t);
	strcpy(text + TABLE_KEY_MAX, "k v\n");
	assert_null(read_text(text, strlen(text), said));
	assert_string_equal(said, "1 a key of more than 512 characters;");
	/* One line too long, and two that are together. */
	memset(text, 'v', 100000);
	memcpy(text, "k ", 2);
	assert_null(read_text(text, 20000, said));
	assert_string_equal(said, "1 a value of more than 16384 characters;");
	memcpy(text + 10000, "\nK ", 3);
	assert_null(read_text(text, 20000, said));
	assert_string_equal(said, "2 a value of more than 16384 characters;");
	t = read_text(text, 10000, said);
	assert_non_null(t);
	table_text_free(&t);
	free(text);
}

static void test_walk(void **state)
{
	static const char text[] = "b 2\n# x\na 1\n  1\nc 3\n";
	char said[400];
	struct table_text *t = read_text(text, sizeof text - 1, said);
	struct bytes value = {0};
	struct text key, word, rest = text_of(" a, b ,,c\td ");
	size_t at = 0, count = 0;

	(void)state;
	assert_true(table_text_next(t, &at, &key, &value));
	assert_true(text_equals(key, "a"));
	assert_int_equal(table_text_line(t, key), 3);
	assert_true(text_equals((struct text){(char *)value.data, value.end}, "1 1"));
	assert_true(table_text_next(t, &at, &key, &value));
	assert_true(table_text_next(t, &at, &key, &value));
	assert_false(table_text_next(t, &at, &key, &value));
	while (table_word_next(&rest, &word)) {
		assert_int_equal(word.len, 1);
		assert_int_equal(word.data[0], "abcd"[count++]);
	}
	assert_int_equal(count, 4);
	bytes_free(&value);
	table_text_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_find),
	    cmocka_unit_test(test_broken),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
