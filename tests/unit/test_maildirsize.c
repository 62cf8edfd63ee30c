/* SPDX-License-Identifier: ISC */
/* maildirsize: what is believed of it, and what is counted. */
#include "maildirsize.h"
#include "user.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/maildirsize.XXXXXX";

static void put(const char *name, const char *content)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs(content, f);
	assert_int_equal(fclose(f), 0);
}

static const char *get(void)
{
	static char text[200];
	FILE *f = fopen("maildirsize", "r");
	size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;

	text[n] = '\0';
	if (f)
		fclose(f);
	return text;
}

static enum quota_verdict look(uint64_t bytes, uint64_t messages, uint64_t size)
{
	int root = open(".", O_RDONLY | O_DIRECTORY);
	enum quota_verdict verdict =
	    maildirsize_look(root, &(struct quota){.bytes = bytes, .messages = messages}, size);

	close(root);
	return verdict;
}

/* A table's words for it. */
static enum quota_verdict look_named(const char *words, uint64_t size)
{
	struct quota quota = {0};
	int root = open(".", O_RDONLY | O_DIRECTORY);

	assert_null(quota_read(text_of(words), &quota));
	enum quota_verdict verdict = maildirsize_look(root, &quota, size);

	close(root);
	return verdict;
}

/* 3,000 octets in three letters: in new/, in cur/ and in a folder. */
static int setup(void **state)
{
	static const char *const folders[] = {"tmp",  "new",	  "cur",    ".a",	 ".a/cur",
					      ".a.b", ".a.b/new", ".Trash", ".Trash/cur"};

	(void)state;
	if (!mkdtemp(folder) || chdir(folder) != 0)
		return -1;
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		if (mkdir(folders[i], 0700) != 0)
			return -1;
	put("new/1.a.host,S=1000", "x");
	put("cur/2.a.host,S=1500:2,S", "x");
	put("cur/3.a.host,S=9000:2,ST", "deleted");
	put("cur/.hidden", "x");
	put(".Trash/cur/4.a.host,S=9000:2,", "x");
	char long_one[501];

	memset(long_one, 'x', 500);
	long_one[500] = '\0';
	put(".a.b/new/5.a.host", long_one); /* its name does not say */
	put(".a/cur/6.a.host,S=x", "");
	put(".dovecot.index", "no folder");
	return 0;
}

static int teardown(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static void test_rows(void **state)
{
	static const struct {
		const char *file; /* NULL: none */
		uint64_t bytes, messages, size;
		enum quota_verdict verdict;
		const char *after;
	} rows[] = {
	    /* Nothing is set, and the file does not say. */
	    {NULL, 0, 0, 1 << 30, QUOTA_FITS, ""},
	    {"rubbish\n", 0, 0, 1 << 30, QUOTA_FITS, "rubbish\n"},
	    /* Its own quota. */
	    {"4000S,9C\n3000 4\n", 0, 0, 1000, QUOTA_FITS, "4000S,9C\n3000 4\n"},
	    {"4000S\n3000 4\n", 0, 0, 1001, QUOTA_OVER, "4000S\n3000 4\n"},
	    /* One that is set: made when there is none, and when there is another. */
	    {NULL, 4000, 0, 1000, QUOTA_FITS, "4000S\n3000 4\n"},
	    {"5000S\n1 1\n", 4000, 0, 1001, QUOTA_OVER, "4000S\n3000 4\n"},
	    {NULL, 0, 4, 0, QUOTA_OVER, "4C\n3000 4\n"},
	    {NULL, 5000, 5, 0, QUOTA_FITS, "5000S,5C\n3000 4\n"},
	    {"5000S,5C\n    4000     1\n-1000 -1\n", 5000, 5, 2000, QUOTA_FITS,
	     "5000S,5C\n    4000     1\n-1000 -1\n"},
	    /* Several lines, and too much: counted. */
	    {"5000S,5C\n4900 1\n0 0\n", 5000, 5, 2000, QUOTA_FITS, "5000S,5C\n3000 4\n"},
	    /* Nonsense: counted. */
	    {"4000S\n", 4000, 0, 1000, QUOTA_FITS, "4000S\n3000 4\n"},
	    {"4000S\n-5 1\n", 4000, 0, 1001, QUOTA_OVER, "4000S\n3000 4\n"},
	    {"4000S\n5 1", 4000, 0, 1001, QUOTA_OVER, "4000S\n3000 4\n"},
	    {"4000S\n5 1 1\n", 4000, 0, 1001, QUOTA_OVER, "4000S\n3000 4\n"},
	    {"4000S\n99999999999999999999 1\n", 4000, 0, 1000, QUOTA_FITS, "4000S\n3000 4\n"},
	    {"4000S\n0x10 1\n", 4000, 0, 1001, QUOTA_OVER, "4000S\n3000 4\n"},
	    {",,\n0 0\n", 4000, 0, 1001, QUOTA_OVER, "4000S\n3000 4\n"},
	    {"4000S,x\n0 0\n", 4000, 0, 1001, QUOTA_OVER, "4000S\n3000 4\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		unlink("maildirsize");
		if (rows[i].file)
			put("maildirsize", rows[i].file);
		enum quota_verdict is = look(rows[i].bytes, rows[i].messages, rows[i].size);

		if (is != rows[i].verdict || strcmp(get(), rows[i].after) != 0)
			fail_msg("%zu: %d, %s", i, is, get());
	}
	assert_int_equal(look(UINT64_MAX, UINT64_MAX, UINT64_MAX - 10000), QUOTA_FITS);
	assert_int_equal(look(UINT64_MAX, UINT64_MAX, UINT64_MAX), QUOTA_OVER);
}

/* A line that says 0 does away with what was set before. */
static void test_lifted(void **state)
{
	(void)state;
	put("maildirsize", "4000S\n3000 4\n");
	assert_int_equal(look(0, 0, 1001), QUOTA_OVER);
	assert_int_equal(look_named("", 1001), QUOTA_OVER);
	assert_int_equal(look_named("quota=3500", 1000), QUOTA_OVER);
	assert_int_equal(look_named("quota=0", 1 << 30), QUOTA_FITS);
	assert_int_equal(look_named("quota-messages=0", 1 << 30), QUOTA_FITS);
}

/* What stands in its place is replaced, or left, and never written through. */
static void test_hostile(void **state)
{
	char giant[6000];
	int root = open(".", O_RDONLY | O_DIRECTORY);

	(void)state;
	put("victim", "4000S\n0 0\n");
	unlink("maildirsize");
	assert_int_equal(symlink("victim", "maildirsize"), 0);
	assert_int_equal(look(0, 0, 5000), QUOTA_FITS);
	maildirsize_add(root, 1, 1);
	assert_int_equal(look(4000, 0, 1001), QUOTA_OVER);
	assert_string_equal(get(), "4000S\n3000 4\n");
	unlink("maildirsize");
	assert_int_equal(link("victim", "maildirsize"), 0);
	maildirsize_add(root, 1, 1);
	assert_int_equal(look(4000, 0, 1001), QUOTA_OVER);
	assert_string_equal(get(), "4000S\n3000 4\n");
	unlink("maildirsize");
	assert_int_equal(mkfifo("maildirsize", 0600), 0);
	maildirsize_add(root, 1, 1);
	assert_int_equal(look(4000, 0, 1001), QUOTA_OVER);
	assert_string_equal(get(), "4000S\n3000 4\n");
	unlink("maildirsize");
	assert_int_equal(mkdir("maildirsize", 0700), 0);
	maildirsize_add(root, 1, 1);
	assert_int_equal(look(4000, 0, 1001), QUOTA_OVER);
	assert_int_equal(look(4000, 0, 1000), QUOTA_FITS);
	assert_int_equal(rmdir("maildirsize"), 0);
	memset(giant, ' ', sizeof giant - 1);
	giant[sizeof giant - 1] = '\0';
	memcpy(giant, "4000S\n0 0\n", 10);
	put("maildirsize", giant);
	assert_int_equal(look(4000, 0, 1001), QUOTA_OVER);
	assert_string_equal(get(), "4000S\n3000 4\n");
	maildirsize_add(root, 7, 1);
	maildirsize_add(root, -7, -1);
	assert_string_equal(get(), "4000S\n3000 4\n7 1\n-7 -1\n");
	/* A folder that is a link leads nowhere; one that can't be read is no reason to guess. */
	assert_int_equal(symlink("/tmp", ".link"), 0);
	assert_int_equal(look(4001, 0, 1001), QUOTA_FITS);
	if (geteuid() != 0) {
		assert_int_equal(chmod(".a/cur", 0), 0);
		assert_int_equal(look(4000, 0, 1001), QUOTA_FAILED);
		assert_int_equal(chmod(".a/cur", 0700), 0);
	}
	put("victim", "4000S\n0 0\n");
	close(root);
}

static void test_folders(void **state)
{
	static const struct {
		const char *address, *folder; /* NULL: none */
	} rows[] = {
	    {"ann+Lists@b", ".Lists"}, {"ann+a.b@b", ".a.b"},	 {"ann+a+b@b", ".a+b"},
	    {"ann@b", NULL},	       {"ann+@b", NULL},	 {"ann+.@b", NULL},
	    {"ann+..@b", NULL},	       {"ann+a.@b", NULL},	 {"ann+a..b@b", NULL},
	    {"ann+a/b@b", NULL},       {"ann+../../x@b", NULL},	 {"ann+trash@b", NULL},
	    {"\"ann+a b\"@b", NULL},   {"ann+\xc3\xa9@b", NULL},
	};
	static struct config config = {.local_separators = TEXT("+")};
	char to[256], small[8];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		bool is = user_folder(&config, text_of(rows[i].address), to, sizeof to);

		if (is != (rows[i].folder != NULL) || (is && strcmp(to, rows[i].folder) != 0))
			fail_msg("%s", rows[i].address);
	}
	assert_true(user_folder(&config, text_of("a+123456@b"), small, sizeof small));
	assert_false(user_folder(&config, text_of("a+1234567@b"), small, sizeof small));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_lifted),
	    cmocka_unit_test(test_hostile),
	    cmocka_unit_test(test_folders),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
