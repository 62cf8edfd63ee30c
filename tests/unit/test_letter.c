/* SPDX-License-Identifier: ISC */
/* Letters as mailboxes get them, whole and in files; and what children say of them. */
#include "letter.h"
#include "mem.h"
#include "result.h"
#include "target.h"
#include "user.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

static bool collect(void *arg, const char *data, size_t len)
{
	bytes_add(arg, data, len);
	return true;
}

static char *made(const struct letter *l, enum letter_form form)
{
	struct bytes b = {0};

	assert_true(letter_each(l, form, collect, &b));
	char *copy = mem_copy(bytes_at(&b), bytes_len(&b));

	bytes_free(&b);
	return copy;
}

#define HEAD "Return-Path: <s@x.example>\nDelivered-To: ann@here.example\n"
#define FROM "From s@x.example Sat Nov 21 22:05:00 2026\n"

static struct letter letter(const char *prelude, const char *body)
{
	return (struct letter){.sender = TEXT("s@x.example"),
			       .address = TEXT("ann@here.example"),
			       .prelude = text_of(prelude),
			       .body = text_of(body),
			       .fd = -1,
			       .arrival = {1795298700LL * 1000000}};
}

static void test_forms(void **state)
{
	static const struct {
		const char *prelude, *body;
		enum letter_form form;
		const char *want;
	} rows[] = {
	    {"A: b\r\n\r\n", "x\r\n", LETTER_PLAIN, HEAD "A: b\n\nx\n"},
	    {"A: b\r\n\r\n", "", LETTER_PLAIN, HEAD "A: b\n\n"},
	    {"return-PATH: <f>\r\nA: b\r\n c\r\nContent-Length: 3\r\n\r\n", "x", LETTER_PLAIN,
	     HEAD "A: b\n c\n\nx\n"},
	    {"A: b\r\n\r\n", "From x\r\n", LETTER_PLAIN, HEAD "A: b\n\nFrom x\n"},
	    {"A: b\r\n\r\n", "From x\r\n", LETTER_COMMAND, FROM HEAD "A: b\n\nFrom x\n"},
	    {"A: b\r\n\r\n", "From x\r\nFrom\r\nFro\r\n>From y\r\n>>From z\r\n> From\r\n F",
	     LETTER_MBOX,
	     FROM HEAD "A: b\n\n>From x\nFrom\nFro\n>>From y\n>>>From z\n> From\n F\n\n"},
	    {"A: b\r\n\r\n", "a\rb\r\r\nFrom", LETTER_MBOX, FROM HEAD "A: b\n\na\rb\r\nFrom\n\n"},
	    {"A: b\r\n\r\n", "x\r", LETTER_PLAIN, HEAD "A: b\n\nx\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct letter l = letter(rows[i].prelude, rows[i].body);
		char *is = made(&l, rows[i].form);

		assert_string_equal(is, rows[i].want);
		free(is);
	}
}

static void test_file(void **state)
{
	FILE *f = tmpfile();
	struct letter l = letter("A: b\r\n\r\n", "");
	size_t lines = 40000;

	(void)state;
	/* Line ends and "From " across the pieces in which it is read. */
	for (size_t i = 0; i < lines; i++)
		fputs("From 7\r\n\r\n", f);
	fflush(f);
	l.fd = fileno(f);
	l.body_length = lines * 10;
	char *is = made(&l, LETTER_MBOX);
	const char *body = strstr(is, "\n\n") + 2;

	assert_int_equal(strlen(body), lines * 9 + 1);
	for (size_t i = 0; i < lines; i++)
		assert_memory_equal(body + i * 9, ">From 7\n\n", 9);
	free(is);
	l.body_length++;
	struct bytes b = {0};

	assert_false(letter_each(&l, LETTER_PLAIN, collect, &b));
	bytes_free(&b);
	fclose(f);
}

static void test_loops(void **state)
{
	struct letter l =
	    letter("Delivered-To: bob@here.example\r\nDELIVERED-to:  Ann@here.example "
		   "\r\n\r\n",
		   "");

	(void)state;
	assert_true(letter_loops(&l));
	l = letter("A: b\r\n\r\nDelivered-To: ann@here.example\r\n", "");
	assert_false(letter_loops(&l));
}

static void test_null_sender_and_original(void **state)
{
	struct letter l = letter("\r\n", "");

	(void)state;
	l.sender = (struct text){NULL, 0};
	l.original = text_of("team@here.example");
	char *is = made(&l, LETTER_MBOX);

	assert_string_equal(is, "From MAILER-DAEMON Sat Nov 21 22:05:00 2026\nReturn-Path: <>\n"
				"X-Original-To: team@here.example\nDelivered-To: "
				"ann@here.example\n\n\n");
	free(is);
	l.sender = text_of("\"a b\"@x.example");
	is = made(&l, LETTER_MBOX);
	assert_memory_equal(is, "From \"a_b\"@x.example Sat ", 25);
	free(is);
}

static void test_results(void **state)
{
	struct result r = {0}, again = {0};
	struct bytes b = {0};
	struct text list;
	struct addition a;

	(void)state;
	result_set(&r, OUTCOME_EXPANDED, 250, "2.1.5", "to %d\n", 2);
	assert_true(result_add(&r, &(struct addition){.address = TEXT("a@b")}));
	assert_true(
	    result_add(&r, &(struct addition){.address = TEXT("c@d"), .target = TEXT("~|x")}));
	result_encode(&b, &r);
	const struct text whole = bytes_text(&b);

	assert_true(result_decode(whole, &again));
	assert_string_equal(again.reply, "to 2 ");
	assert_int_equal(again.added, 2);
	list = result_additions(&again);
	assert_true(result_next(&list, &a) && text_equals(a.address, "a@b"));
	assert_true(result_next(&list, &a) && text_equals(a.target, "~|x"));
	assert_false(result_next(&list, &a));
	result_free(&again);
	for (size_t len = 0; len < whole.len; len++) {
		assert_false(result_decode((struct text){whole.data, len}, &again));
		result_free(&again);
	}
	/* Who is the sender is no child's to say. */
	assert_true(
	    result_add(&r, &(struct addition){.address = TEXT("e@f"), .sender = TEXT("g@h")}));
	struct bytes forged = {0};

	result_encode(&forged, &r);
	assert_false(result_decode(bytes_text(&forged), &again));
	result_free(&again);
	bytes_free(&forged);
	b.data[b.start] = OUTCOME_RELAYED;
	assert_false(result_decode(whole, &again));
	result_free(&again);
	b.data[b.start] = OUTCOME_FAILED; /* with a status of success */
	assert_false(result_decode(whole, &again));
	result_free(&again);
	result_free(&r);
	bytes_free(&b);
}

static void test_names(void **state)
{
	static const struct {
		const char *address, *part; /* NULL: none */
	} rows[] = {
	    {"Ann@x", "ann"}, {"\"A b\"@x", "a b"}, {"\"a\\\"b\"@x", "a\"b"}, {"a@b@x", "a@b"},
	    {"ann", "ann"},   {"@x", NULL},	    {"\"\"@x", NULL},
	};
	static struct config both = {.local_separators = TEXT("+-")};
	static struct config none = {.local_separators = TEXT("none")};
	static struct user u;
	char part[64], path[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		bool is = user_part(text_of(rows[i].address), part, sizeof part);

		assert_int_equal(is, rows[i].part != NULL);
		if (is)
			assert_string_equal(part, rows[i].part);
	}
	assert_int_equal(user_find(&u, text_of("root+x-y"), &both), USER_FOUND);
	assert_int_equal(u.uid, 0);
	assert_int_equal(user_find(&u, text_of("root-request"), &both), USER_ABSENT);
	assert_int_equal(user_find(&u, text_of("root+x"), &none), USER_ABSENT);
	assert_int_equal(user_find(&u, text_of("root+x"), NULL), USER_ABSENT);
	assert_int_equal(user_find(&u, text_of("-root"), &both), USER_ABSENT);
	assert_int_equal(user_find(&u, text_of("../root"), &both), USER_ABSENT);
	assert_int_equal(user_find(&u, text_of("+"), &both), USER_ABSENT);
	assert_int_equal(user_find(&u, text_of("root"), &none), USER_FOUND);
	assert_int_equal(user_end(&both, text_of("a-b+c")), 1);
	assert_int_equal(user_end(&both, text_of("Owner-list+tag")), 10);
	assert_int_equal(user_end(&both, text_of("list-Request")), 12);
	assert_int_equal(user_end(&none, text_of("a-b+c")), 5);
	assert_true(
	    user_mailbox(&u, text_of("/m/%d/%u/"), text_of("x.example"), path, sizeof path));
	assert_string_equal(path, "/m/x.example/root/");
	assert_true(user_mailbox(&u, text_of("~/M/"), text_of(""), path, sizeof path));
	assert_string_equal(path + strlen(u.home), "/M/");
	assert_false(user_mailbox(&u, text_of("/m/%d/"), text_of("../x"), path, sizeof path));
	assert_false(user_mailbox(&u, text_of("/m/%d/"), text_of(".."), path, sizeof path));
	assert_false(user_mailbox(&u, text_of("/m/%u"), text_of("x"), path, 6));
}

static void test_targets(void **state)
{
	static const struct {
		const char *target, *source; /* source NULL: it is none */
		enum local_source from;
		enum alias_kind kind;
		const char *list, *value;
	} rows[] = {
	    {"|a b", "|a b", LOCAL_ALIAS, ALIAS_COMMAND, "", "a b"},
	    {"/box/", "/box/", LOCAL_ALIAS, ALIAS_FILE, "", "/box/"},
	    {":include:/l", ":include:/l", LOCAL_ALIAS, ALIAS_INCLUDE, "", "/l"},
	    {"~|a", "~|a", LOCAL_FORWARD, ALIAS_COMMAND, "", "a"},
	    {"~:include:/l", "~:include:/l", LOCAL_FORWARD, ALIAS_INCLUDE, "", "/l"},
	    {"*2:/l|a", ":include:/l", LOCAL_INCLUDE, ALIAS_COMMAND, "/l", "a"},
	    {"*4:/|:x/f", ":include:/|:x", LOCAL_INCLUDE, ALIAS_FILE, "/|:x", "/f"},
	    {"~*2:/l/f", "~:include:/l", LOCAL_INCLUDE, ALIAS_FILE, "/l", "/f"},
	    {"*2:/l:include:/m", NULL, 0, 0, NULL, NULL},
	    {"*2:/l", NULL, 0, 0, NULL, NULL},
	    {"*2:xl|a", NULL, 0, 0, NULL, NULL},
	    {"*9:/l|a", NULL, 0, 0, NULL, NULL},
	    {"*0:|a", NULL, 0, 0, NULL, NULL},
	    {"*:/l|a", NULL, 0, 0, NULL, NULL},
	    {"*99999:/l|a", NULL, 0, 0, NULL, NULL},
	    {"~", NULL, 0, 0, NULL, NULL},
	    {"|", NULL, 0, 0, NULL, NULL},
	    {"ann", NULL, 0, 0, NULL, NULL},
	    {"", NULL, 0, 0, NULL, NULL},
	};
	char text[TARGET_BYTES];
	struct alias_item item = {.kind = ALIAS_COMMAND, .len = 1, .value = "a"};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct target t;

		assert_int_equal(target_read(text_of(rows[i].target), &t), rows[i].source != NULL);
		if (!rows[i].source)
			continue;
		assert_int_equal(t.from, rows[i].from);
		assert_int_equal(t.kind, rows[i].kind);
		assert_true(text_equals(t.list, rows[i].list) &&
			    text_equals(t.value, rows[i].value));
		assert_true(text_equals(target_source(&t, text), rows[i].source));
	}
	assert_true(target_of_list(text, true, "/l", &item));
	assert_string_equal(text, "~*2:/l|a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forms),   cmocka_unit_test(test_file),
	    cmocka_unit_test(test_loops),   cmocka_unit_test(test_null_sender_and_original),
	    cmocka_unit_test(test_results), cmocka_unit_test(test_names),
	    cmocka_unit_test(test_targets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
