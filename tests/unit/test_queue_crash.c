/* SPDX-License-Identifier: ISC */
/*
 * Crashes: after each n-th change of the disk in turn, and at random over many
 * lives of one queue. SEED=n repeats a run; LIVES=n makes it longer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ledger.h"
#include "queue.h"
#include "simdisk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 10) : otherwise;
}

static void judge(struct ledger *l, uint64_t seed, uint64_t n)
{
	if (l->broken)
		fail_msg("seed %llu, life %llu: %s (message %llu)", (unsigned long long)seed,
			 (unsigned long long)n, l->broken, (unsigned long long)l->broken_id);
	if (l->damages)
		fail_msg("seed %llu, life %llu: damage reported after a crash",
			 (unsigned long long)seed, (unsigned long long)n);
}

/* Lives until the disk stops. */
static void live(struct ledger *l, uint64_t steps)
{
	for (uint64_t i = 0; i < steps && !simdisk_stopped(l->sim) && !l->broken; i++)
		ledger_step(l);
}

/* Comes back, over crashes during recovery itself. */
static void revive(struct ledger *l, bool power, uint64_t stop_after)
{
	ledger_forget_queue(l);
	simdisk_crash(l->sim, power);
	if (stop_after) {
		simdisk_stop_after(l->sim, stop_after);
		if (ledger_recover(l))
			return;
		ledger_forget_queue(l);
		simdisk_crash(l->sim, power);
	}
	if (!ledger_recover(l) && !l->broken)
		l->broken = "no recovery";
}

static void test_each_change(void **state)
{
	uint64_t seed = number_of("SEED", 1);

	(void)state;
	for (uint64_t n = 1; n < 400; n++) {
		struct ledger l = {0};
		struct simdisk *sim = simdisk_new(seed + n, 8 << 20);

		ledger_init(&l, sim, seed);
		simdisk_stop_after(sim, n);
		if (ledger_recover(&l))
			live(&l, 100000);
		judge(&l, seed, n);
		assert_true(simdisk_stopped(sim));
		revive(&l, n % 3 != 0, 0);
		judge(&l, seed, n);
		ledger_verify(&l);
		live(&l, 60);
		revive(&l, true, 0);
		judge(&l, seed, n);
		ledger_verify(&l);
		judge(&l, seed, n);
		ledger_free(&l);
		simdisk_free(&sim);
	}
}

static void lives(uint64_t seed, uint64_t count)
{
	struct ledger l = {0};
	struct simdisk *sim = simdisk_new(seed, (seed % 3 ? 200 : 30) * QUEUE_SEGMENT_MIN);
	uint64_t stops = 0;

	ledger_init(&l, sim, seed);
	assert_true(ledger_recover(&l));
	for (uint64_t n = 0; n < count; n++) {
		if (ledger_random(&l, 8)) {
			simdisk_stop_after(sim, 1 + ledger_random(&l, 300));
			stops++;
		}
		if (ledger_random(&l, 4) == 0)
			simdisk_fail(sim, SIMDISK_SYNC, 1 + ledger_random(&l, 40), EIO);
		if (ledger_random(&l, 6) == 0)
			simdisk_fail(sim, SIMDISK_WRITE, 1 + ledger_random(&l, 40), EIO);
		if (ledger_random(&l, 6) == 0)
			simdisk_fail(sim, SIMDISK_RENAME, 1 + ledger_random(&l, 10), EIO);
		if (ledger_random(&l, 6) == 0)
			simdisk_fail(sim, SIMDISK_ALLOCATE, 1 + ledger_random(&l, 4), ENOSPC);
		live(&l, 50 + ledger_random(&l, 800));
		judge(&l, seed, n);
		bool again = ledger_random(&l, 4) == 0;

		revive(&l, ledger_random(&l, 3) != 0, again ? 1 + ledger_random(&l, 12) : 0);
		judge(&l, seed, n);
		ledger_verify(&l);
		judge(&l, seed, n);
	}
	(void)printf(
	    "seed %llu: %llu lives, %llu crashes, %llu acknowledged, %llu settled, %llu refused\n",
	    (unsigned long long)seed, (unsigned long long)count, (unsigned long long)stops,
	    (unsigned long long)l.acked, (unsigned long long)l.settled,
	    (unsigned long long)l.refused);
	assert_true(l.acked > 0 && l.settled > 0);
	ledger_free(&l);
	simdisk_free(&sim);
}

static void test_many_lives(void **state)
{
	uint64_t first = number_of("SEED", 1), count = number_of("LIVES", 60);

	(void)state;
	for (uint64_t seed = first; seed < first + 12; seed++)
		lives(seed, count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_change),
	    cmocka_unit_test(test_many_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
