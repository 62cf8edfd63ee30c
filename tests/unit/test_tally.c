/* SPDX-License-Identifier: ISC */
/* Sliding windows, and their ledger on disk. */
#include "ledger.h"
#include "tally.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { NOON = 1790000000 / 86400 * 86400 + 43200 };

static const uint8_t key[SIPHASH_KEY_BYTES] = "0123456789abcde";

static struct rate messages[] = {{3, PER_MINUTE}, {5, PER_HOUR}, {8, PER_DAY}};
static struct rate recipients[] = {{10, PER_HOUR}};
static const struct config_rate rule = {.messages = {messages, 3}, .recipients = {recipients, 1}};

/* Counts one message if it passes no rate. */
static bool send_one(struct tallies *t, const char *name, uint32_t count, int64_t now)
{
	struct tally_hit hit;

	if (tally_passes(t, RATE_LOGIN, text_of(name), &rule, count, now, &hit))
		return false;
	tally_count(t, RATE_LOGIN, text_of(name), count, now);
	return true;
}

static void test_windows(void **state)
{
	struct tallies *t = tallies_new(key, 10);
	struct tally_hit hit;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(send_one(t, "ann", 1, NOON));
	assert_true(tally_passes(t, RATE_LOGIN, text_of("ann"), &rule, 1, NOON, &hit));
	assert_true(hit.rate.count == 3 && hit.rate.period == PER_MINUTE && !hit.recipients);
	assert_false(send_one(t, "Ann", 1, NOON)); /* no other login than ann */
	/* Others are others, also the same name of another kind. */
	assert_true(send_one(t, "bob", 1, NOON));
	assert_false(tally_passes(t, RATE_NETWORK, text_of("ann"), &rule, 1, NOON, &hit));
	/* Addresses are no letters. */
	tally_count(t, RATE_NETWORK, text_of("ANN"), 9, NOON);
	assert_false(tally_passes(t, RATE_NETWORK, text_of("ann"), &rule, 9, NOON, &hit));
	/* Half a minute into the next minute half of the last one is left. */
	assert_false(send_one(t, "ann", 1, NOON + 60));
	assert_true(send_one(t, "ann", 1, NOON + 90));
	assert_true(send_one(t, "ann", 1, NOON + 119));
	assert_false(send_one(t, "ann", 1, NOON + 300)); /* five an hour */
	assert_false(send_one(t, "ann", 1, NOON + 3599));
	assert_true(send_one(t, "ann", 1, NOON + 3600 + 1800));
	assert_true(send_one(t, "ann", 1, NOON + 3600 + 3000));
	assert_true(send_one(t, "ann", 1, NOON + 4 * 3600));
	assert_false(send_one(t, "ann", 1, NOON + 8 * 3600)); /* eight a day */
	assert_true(send_one(t, "ann", 1, NOON + 5 * 86400));
	tallies_free(&t);
	tallies_free(&t);
}

static void test_recipients(void **state)
{
	struct tallies *t = tallies_new(key, 10);
	struct tally_hit hit;

	(void)state;
	assert_true(send_one(t, "ann", 9, NOON));
	assert_false(send_one(t, "ann", 2, NOON));
	assert_true(tally_passes(t, RATE_LOGIN, text_of("ann"), &rule, 2, NOON, &hit));
	assert_true(hit.recipients && hit.rate.count == 10);
	assert_true(send_one(t, "ann", 1, NOON));
	assert_false(send_one(t, "eve", 11, NOON));
	for (int i = 0; i < 3; i++)
		tally_count(t, RATE_LOGIN, text_of("max"), UINT32_MAX, NOON);
	assert_false(send_one(t, "max", UINT32_MAX, NOON + 3600));
	tallies_free(&t);
}

/* A clock that goes back forgives nothing, one that leaps ahead locks nobody out. */
static void test_clock(void **state)
{
	struct tallies *t = tallies_new(key, 10);

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(send_one(t, "ann", 1, NOON));
	assert_false(send_one(t, "ann", 1, NOON - 100000));
	assert_true(send_one(t, "ann", 1, NOON + 100000));
	assert_true(send_one(t, "ann", 1, NOON));
	tallies_free(&t);
}

static void test_bound(void **state)
{
	struct tallies *t = tallies_new(key, 100);
	char name[20];

	(void)state;
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof name, "login%d", i);
		assert_true(send_one(t, name, 1, NOON));
		if (i % 50 == 0)
			tally_count(t, RATE_LOGIN, text_of("ann"), 1, NOON);
		tally_count(t, RATE_STRANGER, text_of(name), 1, NOON);
	}
	assert_int_equal(tallies_count(t), 200);
	/* Who is heard of is kept, whatever strangers do. */
	assert_false(send_one(t, "ann", 1, NOON));
	assert_true(send_one(t, "login0", 1, NOON));
	assert_true(send_one(t, "login9999", 1, NOON));
	tallies_free(&t);
}

/* -- the ledger ---------------------------------------------------------------------- */

static char folder[] = "/tmp/veredus-tally-XXXXXX";

static void ledger_file(char *to, size_t size)
{
	snprintf(to, size, "%s/tallies", folder);
}

static void fill(struct ledger *l, unsigned count)
{
	char name[20];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof name, "login%u", i);
		tally_count(ledger_tallies(l), RATE_LOGIN, text_of(name), 1, NOON);
	}
}

static void test_ledger(void **state)
{
	struct log *log = log_new(NULL, "test");
	char path[100];
	struct stat st;

	(void)state;
	ledger_file(path, sizeof path);
	struct ledger *l = ledger_open(folder, NOON, log);

	for (int i = 0; i < 3; i++)
		assert_true(send_one(ledger_tallies(l), "ann", 1, NOON));
	fill(l, 5000);
	ledger_write(l);
	assert_int_equal(stat(path, &st), 0);
	size_t full = (size_t)st.st_size;

	assert_true(send_one(ledger_tallies(l), "bob", 1, NOON));
	ledger_close(&l);
	l = ledger_open(folder, NOON + 1, log);
	assert_int_equal(tallies_count(ledger_tallies(l)), 5002);
	assert_false(send_one(ledger_tallies(l), "ann", 1, NOON + 1));
	assert_true(send_one(ledger_tallies(l), "bob", 1, NOON + 1));
	/* Appended again and again, it is written anew before it is four times what lives. */
	for (int i = 0; i < 30; i++) {
		fill(l, 5000);
		ledger_write(l);
		assert_int_equal(stat(path, &st), 0);
		assert_true((size_t)st.st_size < 6 * full);
	}
	ledger_close(&l);
	/* What nobody counts any more is not read. */
	l = ledger_open(folder, NOON + 3 * 86400L, log);
	assert_int_equal(tallies_count(ledger_tallies(l)), 0);
	ledger_close(&l);
	log_free(&log);
}

/* Cut at each place, or broken: what stands before it counts, and nothing ends. */
static void test_torn(void **state)
{
	struct log *log = log_new(NULL, "test");
	char path[100];
	struct stat st;

	(void)state;
	ledger_file(path, sizeof path);
	unlink(path);
	struct ledger *l = ledger_open(folder, NOON, log);

	fill(l, 5);
	ledger_close(&l);
	assert_int_equal(stat(path, &st), 0);
	static char whole[4096];
	int fd = open(path, O_RDONLY);

	assert_int_equal(read(fd, whole, sizeof whole), st.st_size);
	close(fd);
	size_t header = 28, record = ((size_t)st.st_size - header) / 5;

	for (size_t cut = 0; cut <= (size_t)st.st_size; cut++)
		for (int broken = 0; broken < 2; broken++) {
			if (broken && cut == (size_t)st.st_size)
				continue;
			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
			size_t len = broken ? (size_t)st.st_size : cut;

			whole[cut] ^= broken ? 1 : 0;
			assert_int_equal(write(fd, whole, len), len);
			whole[cut] ^= broken ? 1 : 0;
			close(fd);
			l = ledger_open(folder, NOON, log);
			size_t wanted = cut < header ? 0 : (cut - header) / record;

			if (tallies_count(ledger_tallies(l)) != wanted)
				fail_msg("cut at %zu: %zu", cut, tallies_count(ledger_tallies(l)));
			ledger_close(&l);
		}
	log_free(&log);
}

/* No folder: counted all the same. */
static void test_no_folder(void **state)
{
	struct log *log = log_new(NULL, "test");
	struct ledger *l = ledger_open("/nonexistent", NOON, log);

	(void)state;
	assert_true(send_one(ledger_tallies(l), "ann", 1, NOON));
	ledger_write(l);
	ledger_close(&l);
	log_free(&log);
}

/* A disk that comes back is written to again, with all that was counted meanwhile. */
static void test_folder_again(void **state)
{
	struct log *log = log_new(NULL, "test");
	char later[120];
	struct ledger *l;

	(void)state;
	snprintf(later, sizeof later, "%s/later", folder);
	l = ledger_open(later, NOON, log);
	for (int i = 0; i < 3; i++)
		assert_true(send_one(ledger_tallies(l), "ann", 1, NOON));
	assert_int_equal(mkdir(later, 0700), 0);
	for (int i = 0; i < 60; i++)
		ledger_write(l);
	ledger_close(&l);
	l = ledger_open(later, NOON, log);
	assert_false(send_one(ledger_tallies(l), "ann", 1, NOON));
	ledger_close(&l);
	strcat(later, "/tallies");
	assert_int_equal(unlink(later), 0);
	later[strlen(later) - strlen("/tallies")] = '\0';
	assert_int_equal(rmdir(later), 0);
	log_free(&log);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char path[100];

	(void)state;
	ledger_file(path, sizeof path);
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_windows),   cmocka_unit_test(test_recipients),
	    cmocka_unit_test(test_clock),     cmocka_unit_test(test_bound),
	    cmocka_unit_test(test_ledger),    cmocka_unit_test(test_torn),
	    cmocka_unit_test(test_no_folder), cmocka_unit_test(test_folder_again),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
