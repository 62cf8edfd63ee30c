/* SPDX-License-Identifier: ISC */
/* The aliases file while it is being replaced: all of an expansion is of one and the same. */
#include "alias_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MEMBERS = 100, EXPANSIONS = 100 };

static char folder[] = "/tmp/aliases.XXXXXX";
static atomic_bool over;

/* team of so many aliases, each an address of VERSION's. */
static void file_replace(char version)
{
	char path[64], fresh[64];

	snprintf(path, sizeof path, "%s/aliases", folder);
	snprintf(fresh, sizeof fresh, "%s/fresh", folder);
	FILE *f = fopen(fresh, "w");

	if (!f)
		abort();
	fputs("team: m0", f);
	for (int i = 1; i < MEMBERS; i++)
		fprintf(f, ", m%d", i);
	for (int i = 0; i < MEMBERS; i++)
		fprintf(f, "\nm%d: user%c%d@x.example", i, version, i);
	fputs("\n", f);
	/* Written long ago: it is believed at once. */
	if (fflush(f) != 0 || futimens(fileno(f), (struct timespec[2]){{1, 0}, {1, 0}}) != 0)
		abort();
	if (fclose(f) != 0 || rename(fresh, path) != 0)
		abort();
}

static void *replace_always(void *arg)
{
	(void)arg;
	for (unsigned i = 0; !atomic_load(&over); i++)
		file_replace(i % 2 ? 'a' : 'b');
	return NULL;
}

/* The version, all members of which are there; NUL: it can't be told now. */
static char expanded(struct alias_file *f, const struct config *config)
{
	struct result r = {0};
	struct addition a;
	char wanted[40], version = '\0';
	int n = 0;

	assert_true(alias_expand(f, config, NULL, text_of("team@here.example"), text_of(""), &r));
	for (struct text each = result_additions(&r); result_next(&each, &a); n++) {
		assert_true(a.address.len > 5);
		if (!version)
			version = a.address.data[4];
		snprintf(wanted, sizeof wanted, "user%c%d@x.example", version, n);
		if (!text_equals(a.address, wanted))
			fail_msg("%.*s in place of %s", (int)a.address.len, a.address.data, wanted);
	}
	/* When it is replaced in the very moment that it is read, it waits for another time. */
	assert_int_equal(n, r.kind == OUTCOME_DEFERRED ? 0 : MEMBERS);
	result_free(&r);
	return version;
}

static struct config *config_make(void)
{
	struct config_errors errors = {0};
	char text[200];

	snprintf(text, sizeof text,
		 "route here.example { to = local }\nlocal { aliases = %s/aliases }\n", folder);
	struct config *config = config_read(text_of(text), &errors);

	assert_non_null(config);
	config_errors_free(&errors);
	return config;
}

/* What was known counts while the file is being written, and for a second without it. */
static void test_half_written(void **state)
{
	struct loop *loop = loop_new();
	struct alias_file f = {.log = log_new(loop, "test")};
	struct config *config = config_make();
	struct result r = {0};
	char path[64];

	(void)state;
	file_replace('a');
	assert_int_equal(expanded(&f, config), 'a');
	snprintf(path, sizeof path, "%s/aliases", folder);
	int fd = open(path, O_WRONLY | O_TRUNC);

	assert_true(write(fd, "team: m0,\n", 10) == 10);
	assert_int_equal(expanded(&f, config), 'a');
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(expanded(&f, config), 'a');
	assert_int_equal(futimens(fd, (struct timespec[2]){{1, 0}, {1, 0}}), 0);
	assert_false(alias_expand(&f, config, NULL, text_of("team@here.example"), text_of(""), &r));
	close(fd);
	file_replace('b');
	assert_int_equal(expanded(&f, config), 'b');
	assert_int_equal(unlink(path), 0);
	assert_int_equal(expanded(&f, config), 'b');
	usleep(1100000);
	assert_false(alias_expand(&f, config, NULL, text_of("team@here.example"), text_of(""), &r));
	alias_file_free(&f);
	log_free(&f.log);
	loop_free(&loop);
	config_drop(&config);
}

static void test_replaced_meanwhile(void **state)
{
	struct loop *loop = loop_new();
	struct alias_file f = {.log = log_new(loop, "test")};
	bool seen[2] = {false, false};
	pthread_t thread;

	(void)state;
	file_replace('a');
	struct config *config = config_make();

	assert_int_equal(pthread_create(&thread, NULL, replace_always, NULL), 0);
	for (int i = 0; i < EXPANSIONS || (!(seen[0] && seen[1]) && i < 100 * EXPANSIONS); i++) {
		char version = expanded(&f, config);

		if (version)
			seen[version == 'a'] = true;
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	assert_true(seen[0] && seen[1]);
	alias_file_free(&f);
	log_free(&f.log);
	loop_free(&loop);
	config_drop(&config);
}

static int setup(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
	char text[64];

	(void)state;
	snprintf(text, sizeof text, "rm -r %s", folder);
	return system(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_replaced_meanwhile),
	    cmocka_unit_test(test_half_written),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
