/* SPDX-License-Identifier: ISC */
/* Aliases files and lists: what stands there, and what is refused. */
#include "aliases.h"
#include "mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

/* Items as "KIND:VALUE" a line; "!why" for a fault. */
static char *items(const char *list, bool lines)
{
	static const char kinds[] = "aocfi";
	static char out[4096];
	struct text t = text_of(list);
	struct alias_item item;
	enum alias_next next;
	const char *why;
	size_t len = 0;

	out[0] = '\0';
	while ((next = alias_next(&t, lines, &item, &why)) != ALIAS_END) {
		if (next == ALIAS_FAULT)
			len += (size_t)snprintf(out + len, sizeof out - len, "!%s\n", why);
		else
			len += (size_t)snprintf(out + len, sizeof out - len, "%c:%s\n",
						kinds[item.kind], item.value);
	}
	return out;
}

static void test_items(void **state)
{
	static const struct {
		const char *list;
		bool lines;
		const char *want;
	} rows[] = {
	    {"ann", false, "a:ann\n"},
	    {" ann ,\tbob@example.net,", false, "a:ann\na:bob@example.net\n"},
	    {"\\ann, \\\"bob\"", false, "o:ann\no:bob\n"},
	    {"\"|/bin/x a, b\", |/bin/y \"c d\"", false, "c:/bin/x a, b\nc:/bin/y c d\n"},
	    {"|\"/usr/bin/procmail -a \\\"$E\\\"\"", false, "c:/usr/bin/procmail -a \"$E\"\n"},
	    {"/var/mail/x, \"/var/mail/a b\"", false, "f:/var/mail/x\nf:/var/mail/a b\n"},
	    {":include:/etc/list, \":Include: /a b\"", false, "i:/etc/list\ni:/a b\n"},
	    {"Ann Example <ann@example.net>", false, "a:ann@example.net\n"},
	    {"\"Ann, E.\" <ann@example.net>", false, "a:ann@example.net\n"},
	    {"\"a b\"@example.net", false, "a:\"a b\"@example.net\n"},
	    {"ann\n  bob", false, "!neither a user's name nor an address\n"},
	    {"ann,\n  bob\n", false, "a:ann\na:bob\n"},
	    {"ann\nbob\r\n\n# no, one\ncarol, dave", true, "a:ann\na:bob\na:carol\na:dave\n"},
	    {"# all\n#of it", true, ""},
	    {"#x\nann", true, "a:ann\n"},
	    {"ann\n# x, y\n#\n  , bob", false, "a:ann\na:bob\n"},
	    {"ann\n# x", false, "a:ann\n"},
	    {"\"ann\nbob", true, "!a quote that is not closed\na:bob\n"},
	    {"|", false, "!| without a command\n"},
	    {":include:list", false, "!:include: needs a path from / on\n"},
	    {"a@b@c", false, "!no address\n"},
	    {"-rf", false, "!no user's name\n"},
	    {"a\001b", false, "!a control character\n"},
	    {"<>", false, "!an empty address\n"},
	    {"/", false, "!no file\n"},
	    {"", true, ""},
	};
	char longest[2000];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_string_equal(items(rows[i].list, rows[i].lines), rows[i].want);
	memset(longest, 'a', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	assert_string_equal(items(longest, true), "!too long\n");
}

struct faults {
	uint32_t lines[TABLE_FAULTS_MAX];
	unsigned count;
};

static void note(void *owner, uint32_t line, const char *what)
{
	struct faults *f = owner;

	assert_true(*what && f->count < TABLE_FAULTS_MAX);
	f->lines[f->count++] = line;
}

static struct aliases *read_text(const char *text, struct faults *f)
{
	struct bytes content = {0};

	bytes_add(&content, text, strlen(text));
	return aliases_read(&content, note, f);
}

static void want(const struct aliases *a, const char *name, enum aliases_found found,
		 const char *list)
{
	struct text t = {NULL, 0};
	char copy[256];

	assert_int_equal(aliases_find(a, text_of(name), &t), found);
	if (found != ALIASES_FOUND)
		return;
	text_copy(copy, sizeof copy, t);
	assert_string_equal(items(copy, false), list);
}

static void test_file(void **state)
{
	struct faults f = {0};
	struct aliases *a = read_text("# comment\n"
				      "\n"
				      "Postmaster: root\n"
				      "root : ann,\n"
				      "# in between\n"
				      "\tbob\n"
				      "   \n"
				      "\"odd name\": |x\n"
				      "broken: \"ann\n"
				      "also broken\n"
				      "empty:\n"
				      "root: carol\n"
				      "last: dave",
				      &f);

	(void)state;
	want(a, "postmaster", ALIASES_FOUND, "a:root\n");
	want(a, "POSTMASTER", ALIASES_FOUND, "a:root\n");
	want(a, "root", ALIASES_FOUND, "a:ann\na:bob\n");
	want(a, "odd name", ALIASES_FOUND, "c:x\n");
	want(a, "broken", ALIASES_BROKEN, NULL);
	want(a, "empty", ALIASES_BROKEN, NULL);
	want(a, "last", ALIASES_FOUND, "a:dave\n");
	want(a, "also broken", ALIASES_ABSENT, NULL);
	want(a, "", ALIASES_ABSENT, NULL);
	assert_int_equal(aliases_count(a), 7);
	assert_int_equal(f.count, 4);
	assert_int_equal(f.lines[0], 9);
	assert_int_equal(f.lines[1], 10);
	assert_int_equal(f.lines[2], 11);
	assert_int_equal(f.lines[3], 12);
	aliases_free(&a);
}

static void test_faults_are_bounded(void **state)
{
	struct faults f = {0};
	struct bytes text = {0};

	(void)state;
	for (int i = 0; i < 1000; i++)
		bytes_add(&text, "broken\n", 7);
	struct aliases *a = aliases_read(&text, note, &f);

	assert_int_equal(f.count, TABLE_FAULTS_MAX);
	aliases_free(&a);
}

/* How many aliases; -1: it can't be read. */
static ptrdiff_t loaded(const char *table, size_t most, struct faults *f)
{
	struct aliases *a = aliases_load(text_of(table), most, note, f);
	ptrdiff_t count = a ? (ptrdiff_t)aliases_count(a) : -1;

	aliases_free(&a);
	return count;
}

static void test_check(void **state)
{
	char path[] = "/tmp/veredus-aliases-XXXXXX";
	int fd = mkstemp(path);
	struct faults f = {0};

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(loaded(path, 4096, &f), 0);
	assert_int_equal(pwrite(fd, "a: b\nc\n", 7, 0), 7);
	assert_int_equal(loaded(path, 4096, &f), 1);
	assert_int_equal(f.count, 1);
	assert_int_equal(loaded(path, 3, &f), -1);
	assert_int_equal(pwrite(fd, "b: x\nA: y\nB: z\n", 15, 0), 15);
	struct aliases *a = aliases_load(text_of(path), 4096, note, &f);
	struct text name, list;
	size_t at = 0;

	assert_non_null(a);
	assert_true(aliases_next(a, &at, &name, &list) && text_equals(name, "A"));
	assert_true(aliases_next(a, &at, &name, &list) && text_equals(list, " x\n"));
	assert_false(aliases_next(a, &at, &name, &list));
	aliases_free(&a);
	close(fd);
	unlink(path);
	assert_int_equal(loaded(path, 4096, &f), -1);
	assert_int_equal(loaded("/dev/null", 4096, &f), -1);
}

static void test_patterns(void **state)
{
	static const char text[] = "/^team$/ ann, \\bob\n/^(a)$/ $1\n/^b$/ |/bin/true\n"
				   "/^c$/ ann, /dev/null\n/^d$/ :include:/x\n/^e$/ ,\n/^f$/ a@@b\n";
	static const char nets[] = "192.0.2.0/24 a$b@x.example\n";
	char path[] = "/tmp/veredus-aliases-XXXXXX", table[64];
	int fd = mkstemp(path);
	struct faults f = {0};

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, sizeof text - 1, 0), sizeof text - 1);
	snprintf(table, sizeof table, "pcre:%s", path);
	assert_int_equal(alias_patterns_check(text_of(table), 4096, note, &f), 7);
	assert_int_equal(f.count, 6);
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(f.lines[i], i + 2);
	assert_int_equal(alias_patterns_check(text_of(table), 10, note, &f), -1);
	assert_int_equal(errno, EFBIG);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, nets, sizeof nets - 1, 0), sizeof nets - 1);
	assert_int_equal(alias_patterns_check(text_of(table), 4096, note, &f), -1);
	assert_int_equal(errno, EBADMSG);
	/* Nothing is put into the values of these. */
	memcpy(table, "cidr", 4);
	f.count = 0;
	assert_int_equal(alias_patterns_check(text_of(table), 4096, note, &f), 1);
	assert_int_equal(f.count, 0);
	close(fd);
	unlink(path);
	assert_int_equal(alias_patterns_check(text_of(table), 4096, note, &f), -1);
	assert_int_equal(errno, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_items),
	    cmocka_unit_test(test_file),
	    cmocka_unit_test(test_faults_are_bounded),
	    cmocka_unit_test(test_check),
	    cmocka_unit_test(test_patterns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
