/* SPDX-License-Identifier: ISC */
/*
 * Crashes: after each n-th change of the disk in turn, in a scenario that has
 * everything the queue does and in one at random; and at random over many
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

/* ---- everything that the queue does, in a fixed order ---- */

enum { CAPACITY = 8 << 20, HALF = 1500 };

static void commit(struct ledger *l)
{
	(void)ledger_commit(l);
	ledger_work(l, 2);
}

static void all_of(struct ledger *l, uint64_t id, enum queue_kind kind)
{
	for (uint32_t n = 0; id && n < l->messages[id].count; n++)
		ledger_outcome(l, id, n, kind);
}

/* Its highest known message, or the one before, ... */
static uint64_t newest(struct ledger *l, bool large)
{
	uint64_t id = l->count ? l->count - 1 : 0;

	while (id && !(l->messages[id].known && (l->messages[id].large != 0) == large))
		id--;
	return id;
}

static void stage_mail(struct ledger *l)
{
	for (int i = 0; i < 3; i++)
		(void)ledger_put(l, HALF);
	commit(l);
	all_of(l, newest(l, false), QUEUE_DEFERRED);
	commit(l);
}

static void stage_large(struct ledger *l)
{
	(void)ledger_put_large(l);
	(void)ledger_put(l, HALF);
	commit(l);
	(void)ledger_put_large(l);
	commit(l);
	all_of(l, newest(l, true), QUEUE_DEFERRED);
	commit(l);
}

/* Its commit fails: an abort record, its outcomes once more. */
static void stage_failed_sync(struct ledger *l)
{
	simdisk_fail(l->sim, SIMDISK_SYNC, 1, EIO);
	all_of(l, newest(l, false), QUEUE_HELD);
	(void)ledger_put(l, HALF);
	commit(l);
	commit(l);
}

/* A large body's own sync fails, and then the commit that names the next one. */
static void stage_failed_body(struct ledger *l)
{
	simdisk_fail(l->sim, SIMDISK_SYNC, 1, EIO);
	(void)ledger_put_large(l);
	(void)ledger_put_large(l);
	simdisk_fail(l->sim, SIMDISK_SYNC, 1, EIO);
	commit(l);
}

/* So does what should make the abort durable: nobody knows, and it goes first in the next commit.
 */
static void stage_failed_abort(struct ledger *l)
{
	(void)ledger_put(l, HALF);
	simdisk_fail(l->sim, SIMDISK_SYNC, 1, EIO);
	simdisk_fail(l->sim, SIMDISK_WRITE, 2, EIO);
	commit(l);
	queue_retry(l->queue);
	ledger_work(l, 3);
	commit(l);
	(void)ledger_put(l, HALF);
	commit(l);
}

/* Owed, then reported: the report's commit settles; one such commit fails first. */
static void stage_report(struct ledger *l)
{
	uint64_t id = newest(l, false), large = newest(l, true);

	if (id)
		ledger_fail(l, id, 0);
	if (large)
		ledger_fail(l, large, 0);
	commit(l);
	if (id)
		(void)ledger_report(l, id, 0);
	simdisk_fail(l->sim, SIMDISK_SYNC, 1, EIO);
	commit(l);
	for (int i = 0; i < 2; i++) {
		if (id)
			(void)ledger_report(l, id, 0);
		if (large)
			(void)ledger_report(l, large, 0);
		commit(l);
	}
}

static void stage_expand(struct ledger *l)
{
	uint64_t id = newest(l, false), large = newest(l, true);

	if (id)
		ledger_expand(l, id);
	if (large)
		ledger_expand(l, large);
	ledger_work(l, 2);
}

/* Some segments full, with outcomes of the same few old messages in each; most of what is in them
 * settles, the rest is to be moved out. */
static void stage_segments(struct ledger *l)
{
	uint64_t old[4] = {newest(l, false), newest(l, true)};

	old[2] = old[0] ? old[0] - 1 : 0;
	old[3] = old[0] > 1 ? old[0] - 2 : 0;
	for (int i = 0; i < 80; i++) {
		(void)ledger_put(l, 2 * HALF);
		if (i % 5 != 4)
			continue;
		for (int k = 0; k < 4; k++)
			if (old[k] && l->messages[old[k]].known && (i / 5 + k) % 3 == 0)
				all_of(l, old[k], QUEUE_DEFERRED);
		commit(l);
	}
	/* Index files for those that are full of live mail. */
	for (int i = 0; i < 12; i++)
		ledger_work(l, 1);
	for (uint64_t id = 1, last = l->count; id < last && id < l->count; id++)
		if (l->messages[id].known && id % 8 && !l->messages[id].large)
			all_of(l, id, QUEUE_RELAYED);
	commit(l);
	for (int i = 0; i < 40; i++)
		commit(l);
}

static void stage_large_settles(struct ledger *l)
{
	all_of(l, newest(l, true), QUEUE_RELAYED);
	commit(l);
	commit(l);
}

/* New mail is refused, outcomes go on into the reserve, and the cleaner gets by. */
static void stage_full(struct ledger *l)
{
	simdisk_capacity(l->sim, simdisk_used(l->sim));
	for (int i = 0; i < 24; i++) {
		for (int k = 0; k < 6; k++)
			(void)ledger_put(l, 2 * HALF);
		all_of(l, newest(l, i % 2), i % 3 ? QUEUE_DEFERRED : QUEUE_RELAYED);
		commit(l);
	}
	simdisk_capacity(l->sim, CAPACITY);
	queue_retry(l->queue);
	ledger_work(l, 3);
}

/* It goes down in peace and comes back; a body that nobody names goes. */
static void stage_restart(struct ledger *l)
{
	uint64_t id = 0;
	int fd = -1;

	if (queue_ids_take(l->queue, 1, &id) == QUEUE_OK &&
	    queue_body_create(l->queue, id, &fd) == QUEUE_OK)
		simdisk_disk(l->sim)->close(l->sim, fd);
	ledger_forget_queue(l);
	if (ledger_recover(l))
		ledger_idle(l);
	if (!simdisk_stopped(l->sim))
		ledger_bodies_verify(l);
}

/* All is refused for a while. */
static void stage_readonly(struct ledger *l)
{
	simdisk_readonly(l->sim, true);
	(void)ledger_put(l, HALF);
	all_of(l, newest(l, false), QUEUE_RELAYED);
	commit(l);
	simdisk_readonly(l->sim, false);
	queue_retry(l->queue);
	ledger_work(l, 2);
	commit(l);
}

static void (*const stages[])(struct ledger *l) = {
    stage_mail,	    stage_large,    stage_report,   stage_failed_sync,	 stage_failed_body,
    stage_expand,   stage_segments, stage_restart,  stage_failed_abort,	 stage_mail,
    stage_report,   stage_expand,   stage_readonly, stage_large_settles, stage_full,
    stage_segments, stage_restart,
};

static void scenario(struct ledger *l)
{
	for (size_t i = 0; i < sizeof(stages) / sizeof(*stages) && l->queue; i++)
		if (!simdisk_stopped(l->sim) && !l->broken)
			stages[i](l);
}

/* Comes back after LOSS, with a crash AGAIN changes into the recovery if not 0. True when that
 * one was met. */
static bool come_back(struct ledger *l, enum simdisk_loss loss, uint64_t again)
{
	bool met = false;

	ledger_forget_queue(l);
	simdisk_capacity(l->sim, CAPACITY);
	simdisk_crash_as(l->sim, loss);
	if (again) {
		simdisk_stop_after(l->sim, again);
		if (ledger_recover(l))
			ledger_idle(l);
		met = simdisk_stopped(l->sim);
		ledger_forget_queue(l);
		simdisk_crash_as(l->sim, loss);
	}
	if (!ledger_recover(l) && !l->broken)
		l->broken = "no recovery";
	return met;
}

/* A scenario that lacks something would show nothing of it. */
static void has_everything(struct ledger *l)
{
	ledger_forget_queue(l);
	assert_true(l->did.aborts >= 5 && l->did.reports >= 3 && l->did.expanded >= 3);
	assert_true(l->did.cleaned >= 4 && l->did.moved_bytes > 10000 && l->did.indexes >= 2);
	assert_true(l->did.large >= 2 && l->full > 0 && l->refused > 0);
}

/* The scenario stopped at change N (0: not at all), then all that was promised looked for. Returns
 * how many changes there were. */
static uint64_t scenario_stopped(uint64_t n, enum simdisk_loss loss, uint64_t again, bool *met)
{
	struct ledger l = {0};
	struct simdisk *sim = simdisk_new(1 + n, CAPACITY);

	ledger_init(&l, sim, 1);
	simdisk_stop_after(sim, n);
	if (ledger_recover(&l))
		scenario(&l);
	uint64_t changes = simdisk_changes(sim);

	judge(&l, loss, n);
	if (n && !simdisk_stopped(sim))
		fail_msg("change %llu of the scenario was not reached", (unsigned long long)n);
	*met = come_back(&l, loss, again);
	judge(&l, loss, n);
	ledger_verify(&l);
	ledger_idle(&l);
	ledger_bodies_verify(&l);
	ledger_verify(&l);
	judge(&l, loss, n);
	/* It goes on, and loses its power once more. */
	live(&l, 20);
	(void)come_back(&l, SIMDISK_CHANCE, 0);
	ledger_verify(&l);
	judge(&l, loss, n);
	if (!n)
		has_everything(&l);
	ledger_free(&l);
	simdisk_free(&sim);
	return changes;
}

static void test_everything_at_each_change(void **state)
{
	bool met = false;
	uint64_t changes = scenario_stopped(0, SIMDISK_PROCESS, 0, &met), crashes = 0;

	(void)state;
	for (uint64_t n = 1; n <= changes; n++)
		for (int loss = 0; loss < SIMDISK_LOSSES; loss++, crashes++)
			(void)scenario_stopped(n, (enum simdisk_loss)loss, 0, &met);
	(void)printf("%llu changes, %llu crashes\n", (unsigned long long)changes,
		     (unsigned long long)crashes);
}

/* And again at each change of the recovery and of the tidying after it. */
static void test_recovery_at_each_change(void **state)
{
	static const enum simdisk_loss losses[] = {SIMDISK_CHANCE, SIMDISK_ALL,
						   SIMDISK_OUT_OF_ORDER};
	bool met = false;
	uint64_t changes = scenario_stopped(0, SIMDISK_PROCESS, 0, &met);
	uint64_t stride = number_of("STRIDE", 29), crashes = 0;

	(void)state;
	for (uint64_t n = 1; n <= changes; n += stride)
		for (uint64_t again = 1; again == 1 || met; again++, crashes++)
			(void)scenario_stopped(n, losses[(n + again) % 3], again, &met);
	(void)printf("%llu crashes in recoveries\n", (unsigned long long)crashes);
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
	    cmocka_unit_test(test_everything_at_each_change),
	    cmocka_unit_test(test_recovery_at_each_change),
	    cmocka_unit_test(test_each_change),
	    cmocka_unit_test(test_many_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
