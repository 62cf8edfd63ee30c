/* SPDX-License-Identifier: ISC */
/* The files in free/ and reserve/: each is counted, and there are no more than there may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk.h"
#include "ledger.h"
#include "queue.h"
#include "simdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum {
	PLENTY = 64 << 20,
};

static void start(struct ledger *l, uint64_t seed, uint64_t capacity)
{
	ledger_init(l, simdisk_new(seed, capacity), seed);
	assert_true(ledger_recover(l));
}

static void finish(struct ledger *l)
{
	struct simdisk *sim = l->sim;

	ledger_verify(l);
	if (l->broken)
		fail_msg("%s (message %llu)", l->broken, (unsigned long long)l->broken_id);
	ledger_free(l);
	simdisk_free(&sim);
}

static void crash(struct ledger *l)
{
	ledger_forget_queue(l);
	simdisk_crash(l->sim, true);
}

static void name_count(void *arg, const char *name)
{
	int *count = arg;

	(void)name;
	++*count;
}

static int names_in(struct ledger *l, const char *folder)
{
	int count = 0;

	simdisk_names(l->sim, folder, name_count, &count);
	return count;
}

/* Each file there is counted, and there are not more than there may be. */
static void pools_fit(struct ledger *l)
{
	struct queue_figures f = queue_figures(l->queue);

	assert_int_equal(names_in(l, "reserve"), f.reserve_segments);
	assert_int_equal(names_in(l, "free"), f.free_segments);
	assert_int_equal(f.reserve_segments, l->options.reserve_segments);
	assert_true(f.free_segments <= l->options.free_segments);
}

static void segment_plant(struct ledger *l, const char *folder, uint32_t generation)
{
	const struct disk *d = simdisk_disk(l->sim);
	int dir = d->folder(d->self, simdisk_root(l->sim), folder);
	char name[32] = "";

	(void)snprintf(name, sizeof(name), "%08x.seg", (unsigned)generation);
	int fd = d->open(d->self, dir, name, O_RDWR | O_CREAT);

	assert_true(fd >= 0);
	assert_int_equal(d->allocate(d->self, fd, l->options.segment_bytes), 0);
	assert_int_equal(d->sync(d->self, fd), 0);
	assert_int_equal(d->sync_folder(d->self, dir), 0);
}

/* More in the reserve than there should be, as failed steps and crashes leave it. */
static void test_surplus_goes_at_start(void **state)
{
	struct ledger l = {0};

	(void)state;
	start(&l, 21, PLENTY);
	uint64_t id = ledger_put(&l, 1000);

	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	ledger_idle(&l);
	for (uint32_t i = 0; i < 5; i++)
		segment_plant(&l, "reserve", 0x1000 + i);
	crash(&l);
	assert_true(ledger_recover(&l));
	pools_fit(&l);
	/* A reserve of five files too many gives to the free ones, and the rest goes. */
	assert_true(queue_figures(l.queue).free_segments > 0);
	for (uint32_t i = 0; i < 5; i++)
		segment_plant(&l, "free", 0x2000 + i);
	/* What can't be removed now stays, and harms nothing. */
	crash(&l);
	simdisk_fail(l.sim, SIMDISK_UNLINK, 1, EIO);
	assert_true(ledger_recover(&l));
	assert_true(l.messages[id].known);
	assert_true(names_in(&l, "free") > (int)l.options.free_segments);
	queue_retry(l.queue);
	ledger_idle(&l);
	pools_fit(&l);
	finish(&l);
}

/* Each step on the pools fails once: no file is forgotten while the queue runs on. */
static void test_failed_steps_leave_no_files(void **state)
{
	static const enum simdisk_call CALLS[] = {SIMDISK_RENAME, SIMDISK_SYNC_FOLDER,
						  SIMDISK_UNLINK, SIMDISK_CREATE, SIMDISK_SYNC};
	struct ledger l = {0};
	uint64_t id = 0;
	int most = 0;

	(void)state;
	start(&l, 22, PLENTY);
	for (int i = 0; i < 120; i++) {
		for (int k = 0; k < 60; k++) {
			id = ledger_put(&l, 3000);
			(void)ledger_commit(&l);
			for (uint32_t n = 0; id && n < l.messages[id].count; n++)
				ledger_outcome(&l, id, n, QUEUE_RELAYED);
			if (k == 30)
				simdisk_fail(l.sim, CALLS[i % 5], 1 + (uint64_t)i / 5 % 6, EIO);
			ledger_work(&l, 3);
		}
		simdisk_fail(l.sim, CALLS[i % 5], 0, 0);
		queue_retry(l.queue);
		ledger_idle(&l);
		queue_retry(l.queue);
		ledger_idle(&l);
		pools_fit(&l);
		most = names_in(&l, "segments") > most ? names_in(&l, "segments") : most;
	}
	assert_true(queue_figures(l.queue).cleaned > 100);
	assert_true(most <= 4);
	finish(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_surplus_goes_at_start),
	    cmocka_unit_test(test_failed_steps_leave_no_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
