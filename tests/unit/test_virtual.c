/* SPDX-License-Identifier: ISC */
/* Virtual mailboxes: which paths a table may say, and which line an address comes to. */
#include "virtual.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void test_paths(void **state)
{
	static const struct {
		const char *path;
		bool fine;
	} rows[] = {
	    {"ann", true},
	    {"ann/", true},
	    {"example.net/ann/Maildir/", true},
	    {"a..b/c.", true},
	    {"-rf", true},
	    {"", false},
	    {"/", false},
	    {"/ann", false},
	    {"//", false},
	    {"a//b", false},
	    {"ann//", false},
	    {".", false},
	    {"..", false},
	    {"../ann", false},
	    {"ann/..", false},
	    {"ann/../bob", false},
	    {"ann/./b", false},
	    {".ssh/keys", false},
	    {"ann/.forward", false},
	    {"ann bob", false},
	    {"ann\tb", false},
	    {"ann\nb", false},
	    {"ann\x7f", false},
	};
	char longest[1200];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (!virtual_path_fault(text_of(rows[i].path)) != rows[i].fine)
			fail_msg("\"%s\"", rows[i].path);
	assert_non_null(virtual_path_fault((struct text){"a\0b", 3}));
	memset(longest, 'a', sizeof longest);
	assert_non_null(virtual_path_fault((struct text){longest, 201}));
	assert_null(virtual_path_fault((struct text){longest, 200}));
	for (size_t i = 100; i < sizeof longest; i += 100)
		longest[i] = '/';
	assert_null(virtual_path_fault((struct text){longest, 1000}));
	assert_non_null(virtual_path_fault((struct text){longest, 1001}));
}

static struct config *config_of(const char *text, char *why, size_t size)
{
	struct config_errors errors = {0};
	struct config *c = config_read(text_of(text), &errors);

	*why = '\0';
	for (size_t i = 0; i < errors.count; i++)
		if (!errors.items[i].warning)
			snprintf(why + strlen(why), size - strlen(why), "%u: %s\n",
				 errors.items[i].line, errors.items[i].text);
	config_errors_free(&errors);
	return c;
}

static void test_config(void **state)
{
#define REST "mailboxes = /m root = /r user = u }\n"
	static const struct {
		const char *text, *error;
	} rows[] = {
	    {"route b.example { to = local }\nvirtual b.example { root = /r user = u }",
	     "2: this virtual block lacks its setting mailboxes"},
	    {"virtual b.example { " REST, "1: virtual b.example: its mail does not come here"},
	    {"route * { to = local }\nvirtual ann@b.example { " REST, "2: virtual: \"ann@b.exam"},
	    {"route * { to = local }\nvirtual B.example { " REST "virtual b.example { " REST,
	     "3: virtual b.example stands twice; the first is on line 2"},
	    {"route * { to = local }\nvirtual b.example { mailboxes = m root = /r user = u }",
	     "2: mailboxes: \"m\" is no table"},
	    {"route * { to = local }\nrewrite { virtual = /v virtual-domains = { z.example, "
	     "*.example, a.example } }\n"
	     "virtual b.example { " REST,
	     "3: virtual b.example: rewrite { virtual-domains } has this domain, too"},
	    {"local { quotas = m }", "1: quotas: \"m\" is no table"},
	    {"local { aliases = nis:/m }", "1: aliases: \"nis:/m\" is no table"},
	};
	char why[2000];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct config *c = config_of(rows[i].text, why, sizeof why);

		if (c || !strstr(why, rows[i].error))
			fail_msg("%s: %s", rows[i].text, why);
	}
	struct config *c = config_of("route * { to = local }\nvirtual c.example { " REST
				     "virtual B.example { " REST,
				     why, sizeof why);

	assert_non_null(c);
	assert_non_null(config_mailboxes_of(c, text_of("b.EXAMPLE")));
	assert_non_null(config_mailboxes_of(c, text_of("c.example")));
	assert_null(config_mailboxes_of(c, text_of("d.example")));
	assert_null(config_mailboxes_of(c, text_of("")));
	config_drop(&c);
}

/* Which tables the process of that name reads, and for whom. */
static void test_tables(void **state)
{
	char text[8000], why[2000];
	struct table_use uses[TABLES_MAX];
	size_t len = 0;

	(void)state;
	struct config *c =
	    config_of("route * { to = local }\n"
		      "local { aliases = pcre:/p quotas = hash:/q }\n"
		      "rewrite { virtual = pcre:/p canonical = /c }\n"
		      "virtual b.example { mailboxes = cidr:/b root = /r user = u }\n"
		      "virtual c.example { " REST "virtual d.example { " REST,
		      why, sizeof why);

	assert_non_null(c);
	assert_int_equal(config_tables(c, uses), 3);
	for (size_t i = 0; i < 3; i++) {
		bool local = !text_equals(uses[i].table, "/c");
		bool others = !text_equals(uses[i].table, "cidr:/b");

		assert_int_equal((uses[i].peers & PEER_LOCAL) != 0, local);
		assert_int_equal((uses[i].peers & PEER_SMTPD) != 0, others);
	}
	config_drop(&c);
	len = (size_t)snprintf(text, sizeof text, "route * { to = local }\n");
	for (unsigned i = 0; i < TABLES_MAX + 2; i++)
		len +=
		    (size_t)snprintf(text + len, sizeof text - len,
				     "virtual d%u.example { mailboxes = %s/%u root = /r user = u "
				     "}\n",
				     i, i ? "pcre:" : "", i);
	assert_null(config_of(text, why, sizeof why));
	assert_non_null(strstr(why, ": more than 64 tables (text, hash"));
	*strstr(text, "pcre:/65") = ' ';
	memcpy(strstr(text, "cre:/65"), "    ", 4);
	c = config_of(text, why, sizeof why);
	assert_non_null(c);
	assert_int_equal(config_tables(c, uses), TABLES_MAX);
	config_drop(&c);
}

/* The file as FORM has it, written SECONDS ago. */
static void table_write(const char *path, const char *content, time_t seconds)
{
	FILE *f = fopen(path, "w");
	struct timespec times[2] = {0};

	assert_non_null(f);
	fputs(content, f);
	assert_int_equal(fclose(f), 0);
	clock_gettime(CLOCK_REALTIME, &times[0]);
	times[0].tv_sec -= seconds;
	times[1] = times[0];
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

struct row {
	const char *address;
	enum table_verdict verdict;
	const char *path;
	uint64_t quota;
	bool untagged;
};

static void check_rows(struct table_files *all, const struct config *c, const struct row *rows,
		       size_t count)
{
	struct virtual_found to;

	for (size_t i = 0; i < count; i++) {
		struct text address = text_of(rows[i].address);
		const char *domain = strrchr(rows[i].address, '@') + 1;
		const struct config_virtual *v = config_mailboxes_of(c, text_of(domain));

		assert_non_null(v);
		memset(&to, 0, sizeof to);
		if (virtual_find(all, c, v, NULL, address, &to) != rows[i].verdict ||
		    strcmp(to.path, rows[i].path) != 0)
			fail_msg("%s: %s", rows[i].address, to.path);
		if (rows[i].verdict == TABLE_FOUND &&
		    (to.quota.bytes != rows[i].quota || to.untagged != rows[i].untagged))
			fail_msg("%s: %d", rows[i].address, to.untagged);
	}
}

static void test_find(void **state)
{
	static const struct row found[] = {
	    {"ann@b.example", TABLE_FOUND, "b/ann/", 4096, false},
	    {"ANN+lists@B.example", TABLE_FOUND, "b/ann/", 4096, true},
	    {"ann+work@b.example", TABLE_FOUND, "b/work", 4096, false},
	    {"\"ann\"@b.example", TABLE_FOUND, "b/ann/", 4096, false},
	    {"bob@b.example", TABLE_FOUND, "bob/", 1024, false},
	    {"bob+x@c.example", TABLE_FOUND, "bob/", 1024, true},
	    {"ann@c.example", TABLE_FOUND, "c/all/", 0, false},
	    {"\"../../x\"@c.example", TABLE_FOUND, "c/all/", 0, false},
	    {"nobody-such@b.example", TABLE_ABSENT, "", 0, false},
	    /* Not the line of c.example, nor that of another's address. */
	    {"\"@c.example\"@b.example", TABLE_ABSENT, "", 0, false},
	    {"\"ann@b.example\"@b.example", TABLE_ABSENT, "", 0, false},
	    {"out@b.example", TABLE_FAILED, "", 0, false},
	    {"many@b.example", TABLE_FAILED, "", 0, false},
	    {"much@b.example", TABLE_FAILED, "", 0, false},
	};
	static const struct row failed[] = {{"ann@b.example", TABLE_FAILED, "", 0, false}};
	static const struct row fresh[] = {{"ann@b.example", TABLE_FAILED, "", 0, false},
					   {"bob@b.example", TABLE_FOUND, "bob/", 4096, false}};
	char folder[] = "/tmp/virtual.XXXXXX", path[64], text[600], why[600];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/mailboxes", folder);
	snprintf(text, sizeof text,
		 "route * { to = local }\n"
		 "virtual b.example { mailboxes = %s root = /r user = u quota = 4K }\n"
		 "virtual c.example { mailboxes = %s root = /r user = u }\n",
		 path, path);
	struct config *c = config_of(text, why, sizeof why);
	struct loop *loop = loop_new();
	struct table_files all = {.log = log_new(loop, "test")};

	assert_non_null(c);
	check_rows(&all, c, failed, 1);
	table_write(path,
		    "# all\nann@b.example b/ann/\nann+work@b.example b/work\nbob bob/ quota=1k\n"
		    "@c.example c/all/\nout@b.example ../out/\nmany@b.example a b\n"
		    "much@b.example a/ quota=-1\n",
		    60);
	check_rows(&all, c, found, sizeof found / sizeof *found);
	/* Being written: whom it does not have yet is not unknown. */
	table_write(path, "bob bob/\n", 0);
	check_rows(&all, c, fresh, 2);
	table_write(path, "ann\n", 60);
	check_rows(&all, c, failed, 1);
	unlink(path);
	check_rows(&all, c, failed, 1);
	assert_int_equal(mkfifo(path, 0600), 0);
	check_rows(&all, c, failed, 1);
	unlink(path);
	rmdir(folder);
	table_files_free(&all);
	log_free(&all.log);
	loop_free(&loop);
	config_drop(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_paths),
	    cmocka_unit_test(test_config),
	    cmocka_unit_test(test_tables),
	    cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
