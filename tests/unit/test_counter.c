/* SPDX-License-Identifier: ISC */
/* Counts of connections per client (limits/counter.h) and the hash below them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "counter.h"
#include "siphash.h"

#include <string.h>

static const uint8_t key[SIPHASH_KEY_BYTES] = {0, 1, 2,	 3,  4,	 5,  6,	 7,
					       8, 9, 10, 11, 12, 13, 14, 15};

static const uint8_t *ipv4(uint32_t n)
{
	static uint8_t a[16];

	memcpy(a, (uint8_t[16]){[10] = 0xff, [11] = 0xff}, 12);
	for (int i = 0; i < 4; i++)
		a[12 + i] = (uint8_t)(n >> (24 - 8 * i));
	return a;
}

/* The vectors of the paper's appendix: key 00..0f, input 00, 01, ... */
static void siphash_gives_the_published_values(void **state)
{
	uint8_t in[64];

	(void)state;
	for (size_t i = 0; i < sizeof in; i++)
		in[i] = (uint8_t)i;
	assert_true(siphash(key, in, 0) == 0x726fdb47dd0e0e31);
	assert_true(siphash(key, in, 1) == 0x74f839c593dc67fd);
	assert_true(siphash(key, in, 8) == 0x93f5f5799a932462);
	assert_true(siphash(key, in, 15) == 0xa129ca6149be45e5);
}

static void refuses_above_the_limit_over_all_workers(void **state)
{
	struct counter *c = counter_new(key);
	struct holder *one = holder_new(c), *two = holder_new(c);
	uint32_t count;

	(void)state;
	assert_int_equal(holder_open(one, 1, ipv4(7), 2, &count), COUNTER_TAKEN);
	assert_int_equal(count, 1);
	assert_int_equal(holder_open(two, 1, ipv4(7), 2, &count), COUNTER_TAKEN);
	assert_int_equal(count, 2);
	assert_int_equal(holder_open(two, 2, ipv4(7), 2, &count), COUNTER_REFUSED);
	assert_int_equal(count, 2);
	assert_int_equal(holder_open(two, 3, ipv4(8), 2, &count), COUNTER_TAKEN);
	assert_false(holder_close(two, 2)); /* the refused one is not counted */
	assert_true(holder_close(one, 1));
	assert_false(holder_close(one, 1));
	assert_int_equal(holder_open(two, 2, ipv4(7), 2, &count), COUNTER_TAKEN);
	assert_int_equal(holder_open(two, 9, ipv4(7), UINT32_MAX, &count), COUNTER_TAKEN);
	assert_int_equal(count, 3);
	holder_free(&one);
	holder_free(&two);
	assert_int_equal(counter_clients(c), 0);
	counter_free(&c);
}

static void counts_vanish_with_their_worker(void **state)
{
	struct counter *c = counter_new(key);
	struct holder *one = holder_new(c), *two = holder_new(c);
	uint32_t count;

	(void)state;
	for (uint64_t s = 0; s < 5; s++)
		assert_int_equal(holder_open(one, s, ipv4(7), 5, &count), COUNTER_TAKEN);
	assert_int_equal(holder_open(two, 0, ipv4(7), 5, &count), COUNTER_REFUSED);
	holder_free(&one);
	assert_null(one);
	assert_int_equal(counter_clients(c), 0);
	assert_int_equal(holder_open(two, 0, ipv4(7), 5, &count), COUNTER_TAKEN);
	assert_int_equal(count, 1);
	holder_free(&two);
	counter_free(&c);
}

static void ipv6_counts_by_64(void **state)
{
	struct counter *c = counter_new(key);
	struct holder *h = holder_new(c);
	uint8_t a[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1};
	uint32_t count;

	(void)state;
	assert_int_equal(holder_open(h, 1, a, 1, &count), COUNTER_TAKEN);
	a[15] = 9;
	assert_int_equal(holder_open(h, 2, a, 1, &count), COUNTER_REFUSED);
	a[7] = 2;
	assert_int_equal(holder_open(h, 3, a, 1, &count), COUNTER_TAKEN);
	/* IPv4 clients do not share the /64 of ::ffff:0:0 */
	assert_int_equal(holder_open(h, 4, ipv4(1), 1, &count), COUNTER_TAKEN);
	assert_int_equal(holder_open(h, 5, ipv4(2), 1, &count), COUNTER_TAKEN);
	holder_free(&h);
	counter_free(&c);
}

static void a_session_opened_twice_breaks_the_word(void **state)
{
	struct counter *c = counter_new(key);
	struct holder *h = holder_new(c);
	uint32_t count;

	(void)state;
	assert_int_equal(holder_open(h, 1, ipv4(7), 9, &count), COUNTER_TAKEN);
	assert_int_equal(holder_open(h, 1, ipv4(8), 9, &count), COUNTER_BROKEN);
	assert_int_equal(counter_clients(c), 1);
	holder_free(&h);
	counter_free(&c);
}

static void tables_grow_and_shrink(void **state)
{
	enum { MANY = 20000 };
	struct counter *c = counter_new(key);
	struct holder *h = holder_new(c);
	uint32_t count;

	(void)state;
	for (uint32_t s = 0; s < MANY; s++)
		assert_int_equal(holder_open(h, s, ipv4(s / 2), 2, &count), COUNTER_TAKEN);
	assert_int_equal(counter_clients(c), MANY / 2);
	assert_int_equal(holder_sessions(h), MANY);
	for (uint32_t s = 0; s < MANY; s += 2)
		assert_true(holder_close(h, s));
	assert_int_equal(counter_clients(c), MANY / 2);
	for (uint32_t s = 1; s < MANY; s += 2)
		assert_true(holder_close(h, s));
	assert_int_equal(counter_clients(c), 0);
	assert_int_equal(holder_sessions(h), 0);
	holder_free(&h);
	counter_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(siphash_gives_the_published_values),
	    cmocka_unit_test(refuses_above_the_limit_over_all_workers),
	    cmocka_unit_test(counts_vanish_with_their_worker),
	    cmocka_unit_test(ipv6_counts_by_64),
	    cmocka_unit_test(a_session_opened_twice_breaks_the_word),
	    cmocka_unit_test(tables_grow_and_shrink),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
