/* SPDX-License-Identifier: ISC */
/* Signs of a taken-over login, the list of the frozen ones, and their files. */
#include "freezer.h"
#include "frozen.h"
#include "habits.h"
#include "mem.h"
#include "snapshot.h"

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

enum { NOON = 1790000000 / 86400 * 86400 + 43200, DAY = 86400 };

static const uint8_t key[SIPHASH_KEY_BYTES] = "0123456789abcde";

static struct config *config_of(const char *takeover)
{
	struct config_errors errors = {0};
	char text[512];

	snprintf(text, sizeof text, "hostname = mx.test\ntakeover { %s }\n", takeover);
	struct config *config = config_read(text_of(text), &errors);

	config_errors_free(&errors);
	return config;
}

static void address_of(unsigned network, uint8_t *address)
{
	char text[46];

	snprintf(text, sizeof text, "10.%u.%u.7", network / 256, network % 256);
	assert_true(host_address_parse(text_of(text), address));
}

static void send_from(struct habits *h, const char *login, unsigned network, int64_t now)
{
	uint8_t address[16];

	address_of(network, address);
	habit_network(h, text_of(login), address, now);
}

/* WHY is NULL: no sign shows. */
static void look(struct habits *h, const char *login, const struct config *c, int64_t now,
		 const char *wanted)
{
	char why[HABIT_WHY_BYTES] = "";
	bool taken = habit_looks_taken(h, text_of(login), c, now, why);

	if (taken != (wanted != NULL) || (wanted && strcmp(why, wanted) != 0))
		fail_msg("%s: \"%s\", not \"%s\"", login, why, wanted ? wanted : "");
}

static void test_limited(void **state)
{
	struct habits *h = habits_new(key, 10);
	struct config *c = config_of("limits = { 3/h, 5/d }");

	(void)state;
	look(h, "ann", c, NOON, NULL);
	for (int i = 0; i < 2; i++)
		habit_count(h, text_of("ann"), HABIT_LIMITED, 1, NOON);
	look(h, "ann", c, NOON, NULL);
	habit_count(h, text_of("Ann"), HABIT_LIMITED, 1, NOON); /* the same one */
	look(h, "ann", c, NOON, "3 messages above its rate in an hour");
	look(h, "bob", c, NOON, NULL);
	look(h, "ann", c, NOON + 7200, NULL);
	for (int i = 0; i < 2; i++)
		habit_count(h, text_of("ann"), HABIT_LIMITED, 1, NOON + 7200);
	look(h, "ann", c, NOON + 7200, "5 messages above its rate in a day");
	/* A person knows better. */
	habit_pardon(h, text_of("ann"), NOON + 7200);
	look(h, "ann", c, NOON + 7200, NULL);
	config_drop(&c);
	habits_free(&h);
	habits_free(&h);
}

static void test_networks(void **state)
{
	struct habits *h = habits_new(key, 10);
	struct config *c = config_of("networks = { 5/h, 60/d }");
	uint8_t address[16];

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		send_from(h, "ann", i % 4, NOON + i);
	/* Of one network are all its addresses, and of a provider's IPv6 network all below /48. */
	for (unsigned i = 0; i < 250; i++) {
		address_of(0, address);
		address[15] = (uint8_t)i;
		habit_network(h, text_of("ann"), address, NOON);
		assert_true(host_address_parse(text_of("2001:db8:7:1::1"), address));
		address[7] = (uint8_t)i;
		habit_network(h, text_of("bob"), address, NOON);
	}
	look(h, "bob", c, NOON, NULL);
	look(h, "ann", c, NOON, NULL);
	send_from(h, "ann", 4, NOON);
	look(h, "ann", c, NOON, "mail from 5 networks in an hour");
	look(h, "ann", c, NOON + 4000, NULL);
	/* Memory does not grow with what was seen; the last ones count. */
	for (unsigned i = 0; i < 1000; i++)
		send_from(h, "ann", i, NOON + 8000 + 3600L * (i / 100));
	look(h, "ann", c, NOON + 8000 + 3600 * 9, "mail from 60 networks in an hour");
	look(h, "ann", c, NOON + 8000 + 3600 * 11, "mail from 60 networks in a day");
	look(h, "ann", c, NOON + 3 * DAY, NULL);
	config_drop(&c);
	assert_null(config_of("networks = { 61/d }"));
	habits_free(&h);
}

static void test_refused(void **state)
{
	struct habits *h = habits_new(key, 10);
	struct config *c = config_of("refused = { 20/h } share = 40");

	(void)state;
	habit_count(h, text_of("ann"), HABIT_RECIPIENTS, 19, NOON);
	habit_count(h, text_of("ann"), HABIT_REFUSED, 19, NOON);
	look(h, "ann", c, NOON, NULL); /* a typing mistake, nineteen times */
	habit_count(h, text_of("ann"), HABIT_RECIPIENTS, 1, NOON);
	habit_count(h, text_of("ann"), HABIT_REFUSED, 1, NOON);
	look(h, "ann", c, NOON, "20 of 20 recipients refused in an hour");
	/* A list with some that are gone is none. */
	habit_count(h, text_of("shop"), HABIT_RECIPIENTS, 1000, NOON);
	habit_count(h, text_of("shop"), HABIT_REFUSED, 399, NOON);
	look(h, "shop", c, NOON, NULL);
	habit_count(h, text_of("shop"), HABIT_REFUSED, 1, NOON);
	look(h, "shop", c, NOON, "400 of 1000 recipients refused in an hour");
	habit_count(h, text_of("max"), HABIT_REFUSED, UINT32_MAX, NOON);
	habit_count(h, text_of("max"), HABIT_REFUSED, UINT32_MAX, NOON);
	look(h, "max", c, NOON, "4294967295 of 4294967295 recipients refused in an hour");
	config_drop(&c);
	habits_free(&h);
}

static void test_rise(void **state)
{
	struct habits *h = habits_new(key, 10);
	struct config *c = config_of("rise = 10 rise-least = 50");

	(void)state;
	/* Of a new login nobody knows what is usual. */
	habit_count(h, text_of("new"), HABIT_RECIPIENTS, 100000, NOON);
	look(h, "new", c, NOON, NULL);
	for (int day = 0; day < 10; day++)
		habit_count(h, text_of("ann"), HABIT_RECIPIENTS, day == 3 ? 20 : 4,
			    NOON + day * DAY);
	int64_t now = NOON + 10 * DAY;

	habit_count(h, text_of("ann"), HABIT_RECIPIENTS, 190, now);
	look(h, "ann", c, now, NULL);
	habit_count(h, text_of("ann"), HABIT_RECIPIENTS, 20, now);
	look(h, "ann", c, now, "212 recipients in a day, at most 20 in one before");
	/* It was her newsletter: from now on it is usual. */
	habit_pardon(h, text_of("ann"), now);
	look(h, "ann", c, now, NULL);
	habit_count(h, text_of("ann"), HABIT_RECIPIENTS, 400, now + 7 * DAY);
	look(h, "ann", c, now + 7 * DAY, NULL);
	/* Long after it is forgotten. */
	habit_count(h, text_of("ann"), HABIT_RECIPIENTS, 100, now + 500 * DAY);
	habit_count(h, text_of("ann"), HABIT_RECIPIENTS, 700, now + 900 * DAY);
	look(h, "ann", c, now + 900 * DAY, NULL);
	/* A clock that goes back a year forgives and accuses nobody. */
	look(h, "ann", c, now, NULL);
	config_drop(&c);
	c = config_of("rise = 0 limits = { } networks = { } refused = { }");
	habit_count(h, text_of("ann"), HABIT_RECIPIENTS, 1000000, now + 900 * DAY);
	look(h, "ann", c, now + 900 * DAY, NULL);
	config_drop(&c);
	habits_free(&h);
}

static void test_habits_on_disk(void **state)
{
	struct habits *h = habits_new(key, 100),
		      *other = habits_new((const uint8_t *)"xxxxxxxxxxxxxxx", 100);
	struct config *c = config_of("limits = { 3/h } networks = { 5/h }");
	struct bytes whole = {0};
	char name[20];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "login%d", i);
		habit_count(h, text_of(name), HABIT_LIMITED, 3, NOON);
		for (unsigned n = 0; n < 5; n++)
			send_from(h, i % 2 ? "ann" : "bob", n, NOON);
	}
	assert_int_equal(habits_count(h), 100); /* who was heard of last */
	habits_encode(h, &whole);
	assert_true(bytes_len(&whole) <= habits_size_most(100));
	assert_true(habits_decode(other, bytes_at(&whole), bytes_len(&whole), NOON));
	assert_int_equal(habits_count(other), 100);
	look(other, "login999", c, NOON, "3 messages above its rate in an hour");
	look(other, "ann", c, NOON, "mail from 5 networks in an hour");
	look(other, "login1", c, NOON, NULL);
	/* Cut anywhere it is none, and nothing is there. */
	for (size_t cut = 0; cut < bytes_len(&whole); cut += 1 + cut / 50) {
		struct habits *none = habits_new(key, 100);

		assert_false(habits_decode(none, bytes_at(&whole), cut, NOON));
		assert_int_equal(habits_count(none), 0);
		habits_free(&none);
	}
	struct habits *small = habits_new(key, 99);

	assert_false(habits_decode(small, bytes_at(&whole), bytes_len(&whole), NOON));
	habits_free(&small);
	/* The clock was a year ahead: its windows end all the same. */
	struct habits *back = habits_new(key, 100);

	assert_true(habits_decode(back, bytes_at(&whole), bytes_len(&whole), NOON - 365 * DAY));
	look(back, "login999", c, NOON - 364 * DAY, NULL);
	habits_free(&back);
	bytes_free(&whole);
	config_drop(&c);
	habits_free(&h);
	habits_free(&other);
}

/* -- who is frozen ----------------------------------------------------------------------- */

static const int64_t noon_us = INT64_C(1000000) * NOON;

static enum freezer_result add(struct freezer *f, const char *login, bool frozen, uint64_t most,
			       int64_t now_us)
{
	return freezer_add(f, text_of(login), text_of("why"), frozen, most, now_us);
}

static void test_freezer(void **state)
{
	struct freezer *f = freezer_new();

	(void)state;
	assert_int_equal(add(f, "ann", true, 3, noon_us), FREEZER_ADDED);
	assert_int_equal(add(f, "ANN", true, 3, noon_us + 1), FREEZER_KNOWN);
	assert_int_equal(add(f, "ann", false, 3, noon_us + 1), FREEZER_KNOWN);
	assert_int_equal(add(f, "bob", false, 3, noon_us + 1), FREEZER_ADDED);
	assert_int_equal(add(f, "bob", false, 3, noon_us + 2), FREEZER_KNOWN);
	/* Who was told of is frozen when the configuration says so. */
	assert_int_equal(add(f, "bob", true, 3, noon_us + 3), FREEZER_ADDED);
	assert_true(freezer_find(f, text_of("bob"))->frozen);
	/* So many an hour, whoever is released meanwhile; a person may do more. */
	assert_true(freezer_remove(f, text_of("Bob")));
	assert_false(freezer_remove(f, text_of("bob")));
	assert_int_equal(add(f, "cat", true, 3, noon_us + 4), FREEZER_HASTY);
	assert_int_equal(add(f, "cat", true, 0, noon_us + 4), FREEZER_ADDED);
	assert_true(freezer_find(f, text_of("cat"))->told);
	assert_int_equal(add(f, "dan", false, 3, noon_us + INT64_C(3600000004)), FREEZER_ADDED);
	assert_string_equal(freezer_untold(f)->login, "ann");
	freezer_untold(f)->told = true;
	assert_string_equal(freezer_untold(f)->login, "dan");
	/* Who was told of is forgotten after a day, who is frozen never. */
	assert_false(freezer_expire(f, noon_us + INT64_C(86400000000)));
	assert_true(freezer_expire(f, noon_us + INT64_C(95000000000)));
	assert_null(freezer_find(f, text_of("dan")));
	assert_non_null(freezer_find(f, text_of("ann")));
	freezer_free(&f);
	freezer_free(&f);
}

static void test_freezer_is_bounded(void **state)
{
	struct freezer *f = freezer_new(), *other = freezer_new();
	struct bytes whole = {0}, list = {0};
	struct frozen *set = frozen_new();
	char name[20];

	(void)state;
	for (int i = 0; i < FROZEN_MOST; i++) {
		snprintf(name, sizeof name, "login%d", i);
		assert_int_equal(add(f, name, i > 0, 0, noon_us + i), FREEZER_ADDED);
	}
	assert_int_equal(add(f, "one", true, 0, noon_us), FREEZER_ADDED);
	assert_null(freezer_find(f, text_of("login0")));
	assert_int_equal(add(f, "more", true, 0, noon_us), FREEZER_FULL);
	freezer_encode(f, &whole);
	assert_true(bytes_len(&whole) <= FREEZER_BYTES_MOST);
	assert_true(freezer_decode(other, bytes_at(&whole), bytes_len(&whole)));
	for (size_t cut = 0; cut < bytes_len(&whole); cut += 1 + cut / 20) {
		struct freezer *none = freezer_new();

		assert_false(freezer_decode(none, bytes_at(&whole), cut));
		assert_null(freezer_untold(none));
		freezer_free(&none);
	}
	/* What neighbours are told is what they know. */
	frozen_take(set, freezer_list(other, &list));
	assert_int_equal(frozen_count(set), FROZEN_MOST);
	assert_true(frozen_known(set));
	for (int i = 1; i < FROZEN_MOST; i++) {
		snprintf(name, sizeof name, "LOGIN%d", i);
		assert_true(frozen_has(set, text_of(name)));
	}
	assert_true(frozen_has(set, text_of("one")));
	assert_false(frozen_has(set, text_of("on")));
	assert_false(frozen_has(set, text_of("login0")));
	assert_false(frozen_has(set, text_of("")));
	frozen_take(set, (struct wire_list){0});
	assert_false(frozen_has(set, text_of("one")));
	frozen_free(&set);
	freezer_free(&f);
	freezer_free(&other);
	bytes_free(&whole);
	bytes_free(&list);
}

/* -- the files ------------------------------------------------------------------------------ */

static char folder[] = "/tmp/veredus-takeover-XXXXXX";

static void test_snapshot(void **state)
{
	struct log *log = log_new(NULL, "test");
	struct bytes content = {0}, back = {0};
	char path[100], whole[100];

	(void)state;
	snprintf(path, sizeof path, "%s/file", folder);
	assert_false(snapshot_read(folder, "file", 100, &back));
	bytes_add(&content, "one", 3);
	assert_true(snapshot_write(folder, "file", &content, true, log));
	assert_true(snapshot_read(folder, "file", 100, &back));
	assert_memory_equal(bytes_at(&back), "one", 3);
	bytes_add(&content, " two", 4);
	assert_true(snapshot_write(folder, "file", &content, false, log));
	back.end = back.start;
	assert_true(snapshot_read(folder, "file", 100, &back));
	assert_int_equal(bytes_len(&back), 7);
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, whole, sizeof whole);

	close(fd);
	assert_int_equal(n, 8 + 7 + 4);
	for (ssize_t i = 0; i < n; i++)
		for (int broken = 0; broken < 2; broken++) {
			fd = open(path, O_WRONLY | O_TRUNC);
			whole[i] ^= (char)broken;
			assert_true(write(fd, whole, (size_t)(broken ? n : i)) == (broken ? n : i));
			whole[i] ^= (char)broken;
			close(fd);
			back.end = back.start;
			assert_false(snapshot_read(folder, "file", 100, &back));
			assert_int_equal(bytes_len(&back), 0);
		}
	assert_false(snapshot_write("/nonexistent", "file", &content, true, log));
	unlink(path);
	bytes_free(&content);
	bytes_free(&back);
	log_free(&log);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_limited),
	    cmocka_unit_test(test_networks),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_rise),
	    cmocka_unit_test(test_habits_on_disk),
	    cmocka_unit_test(test_freezer),
	    cmocka_unit_test(test_freezer_is_bounded),
	    cmocka_unit_test(test_snapshot),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
