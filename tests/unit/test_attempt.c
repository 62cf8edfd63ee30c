/* SPDX-License-Identifier: ISC */
/* The order in which hosts are tried (smtp-client/connect.h): preference, weight, chance, failures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "connect.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>

struct row {
	const char *name;
	uint16_t preference, weight;
};

static struct host_list *list_of(const struct row *rows, uint32_t count)
{
	struct host_list *list = mem_new(1, sizeof *list + count * sizeof(struct host));

	list->holders = 1;
	list->count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct host *h = &list->items[i];

		h->name = text_of(rows[i].name);
		h->preference = rows[i].preference;
		h->weight = rows[i].weight;
		h->port = 25;
		h->address[15] = (uint8_t)(i + 1);
	}
	return list;
}

/* The names as they are tried, "abc". */
static void tried_from(struct host_list *list, const struct failures *f,
		       const struct config_source *source, char *to)
{
	struct attempt a = {0};
	const struct monotime now = {INT64_C(1000000000)};

	attempt_begin(&a, host_list_keep(list));
	while (attempt_next(&a, f, source, now))
		*to++ = a.host->name.data[0];
	*to = '\0';
	attempt_end(&a);
}

static void tried(struct host_list *list, const struct failures *f, char *to)
{
	tried_from(list, f, NULL, to);
}

static void orders_come_one_after_the_other(void **state)
{
	static const struct row rows[] = {{"a", 0, 1}, {"b", 1, 1}, {"c", 2, 900}, {"d", 3, 1}};
	struct host_list *list = list_of(rows, 4);
	struct failures *f = failures_new();
	char order[8];

	(void)state;
	for (int i = 0; i < 200; i++) {
		tried(list, f, order);
		assert_string_equal(order, "abcd");
	}
	host_list_drop(&list);
	free(f);
}

static void equal_ones_share_by_weight(void **state)
{
	static const struct row rows[] = {{"a", 0, 6}, {"b", 0, 3}, {"c", 0, 1}, {"d", 1, 1}};
	struct host_list *list = list_of(rows, 4);
	struct failures *f = failures_new();
	unsigned first[3] = {0}, second_of_a[3] = {0};
	char order[8];

	(void)state;
	for (int i = 0; i < 10000; i++) {
		tried(list, f, order);
		assert_int_equal(strlen(order), 4);
		assert_int_equal(order[3], 'd');
		first[order[0] - 'a']++;
		if (order[0] == 'a')
			second_of_a[order[1] - 'a']++;
	}
	/* Six standard deviations on either side, so that chance does not fail it. */
	assert_in_range(first[0], 5700, 6300);
	assert_in_range(first[1], 2720, 3280);
	assert_in_range(first[2], 820, 1180);
	/* With the first away the others share as before: three to one. */
	assert_in_range(second_of_a[1] * 1000 / (second_of_a[1] + second_of_a[2]), 710, 790);
	host_list_drop(&list);
	free(f);
}

/* A host of several addresses has one share, and they stay together. */
static void addresses_of_a_host_stay_together(void **state)
{
	static const struct row rows[] = {{"a", 5, 1}, {"a", 5, 1}, {"a", 5, 1}, {"b", 5, 1}};
	struct host_list *list = list_of(rows, 4);
	struct failures *f = failures_new();
	unsigned first_b = 0;
	char order[8];

	(void)state;
	for (int i = 0; i < 4000; i++) {
		tried(list, f, order);
		first_b += order[0] == 'b';
		assert_true(strcmp(order, "aaab") == 0 || strcmp(order, "baaa") == 0);
	}
	assert_in_range(first_b, 1800, 2200);
	host_list_drop(&list);
	free(f);
}

static void what_failed_of_late_comes_last(void **state)
{
	static const struct row rows[] = {{"a", 0, 1}, {"b", 1, 1}, {"c", 2, 1}};
	struct host_list *list = list_of(rows, 3);
	struct failures *f = failures_new();
	char order[8];

	(void)state;
	failures_note(f, &list->items[0], NULL, (struct monotime){INT64_C(1000000000)});
	tried(list, f, order);
	assert_string_equal(order, "bca");
	failures_forget(f, &list->items[0], NULL);
	tried(list, f, order);
	assert_string_equal(order, "abc");
	host_list_drop(&list);
	free(f);
}

/* A source reaches hosts of the families that it has addresses of; what refused it may take
 * another. */
static void sources_have_families(void **state)
{
	static const struct row rows[] = {{"a", 0, 1}, {"b", 1, 1}, {"c", 2, 1}};
	const struct config_source both = {
	    .label = TEXT("both"), .ipv4 = TEXT("192.0.2.1"), .ipv6 = TEXT("2001:db8::1")};
	const struct config_source four = {.label = TEXT("four"), .ipv4 = TEXT("192.0.2.1")};
	const struct config_source near = {.label = TEXT("near"), .ipv4 = TEXT("127.0.0.2")};
	const struct config_source six = {.label = TEXT("six"), .ipv6 = TEXT("2001:db8::1")};
	struct host_list *list = list_of(rows, 3);
	struct failures *f = failures_new();
	struct attempt a = {0};
	char order[8];

	(void)state;
	memset(list->items[1].address + 10, 0xff, 2); /* ::ffff:0.0.0.2 */
	/* ::1 is this machine: a source of outside addresses does not count there. */
	tried_from(list, f, &four, order);
	assert_string_equal(order, "ab");
	tried_from(list, f, &near, order);
	assert_string_equal(order, "b");
	list->items[0].address[0] = 0x20;
	tried_from(list, f, &both, order);
	assert_string_equal(order, "abc");
	tried_from(list, f, &four, order);
	assert_string_equal(order, "b");
	tried_from(list, f, &six, order);
	assert_string_equal(order, "ac");
	failures_note(f, &list->items[0], &six, (struct monotime){INT64_C(1000000000)});
	tried_from(list, f, &six, order);
	assert_string_equal(order, "ca");
	tried_from(list, f, &both, order);
	assert_string_equal(order, "abc");
	tried(list, f, order);
	assert_string_equal(order, "abc");
	/* None is left, and that is known. */
	list->count = 1;
	attempt_begin(&a, host_list_keep(list));
	assert_false(attempt_next(&a, f, &four, (struct monotime){INT64_C(1000000000)}));
	assert_true(a.strange);
	attempt_end(&a);
	host_list_drop(&list);
	free(f);
}

/* Who broke off is known for an hour, whatever connections fail or come about meanwhile. */
static void who_broke_off_is_known_for_an_hour(void **state)
{
	static const struct row rows[] = {{"a", 0, 1}, {"b", 1, 1}};
	const int64_t hour = SECONDS(3600).us, then = INT64_C(9000000000);
	struct host_list *list = list_of(rows, 2);
	struct failures *f = failures_new();
	struct host *host = &list->items[0];

	(void)state;
	failures_break_off(f, host, (struct monotime){then});
	failures_note(f, host, NULL, (struct monotime){then});
	failures_forget(f, host, NULL);
	assert_true(failures_broke_off(f, host, (struct monotime){then + hour - 1}));
	assert_false(failures_broke_off(f, host, (struct monotime){then + hour}));
	assert_false(failures_broke_off(f, &list->items[1], (struct monotime){then}));
	host->port++;
	assert_false(failures_broke_off(f, host, (struct monotime){then}));
	host_list_drop(&list);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(orders_come_one_after_the_other),
	    cmocka_unit_test(equal_ones_share_by_weight),
	    cmocka_unit_test(addresses_of_a_host_stay_together),
	    cmocka_unit_test(what_failed_of_late_comes_last),
	    cmocka_unit_test(sources_have_families),
	    cmocka_unit_test(who_broke_off_is_known_for_an_hour),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
