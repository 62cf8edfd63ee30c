/* SPDX-License-Identifier: ISC */
/* The queue on a simulated disk: commit, recovery, damage, failing syncs, full disk, cleaning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ledger.h"
#include "queue.h"
#include "record.h"
#include "simdisk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	PLENTY = 64 << 20,
};

static void start(struct ledger *l, uint64_t seed, uint64_t capacity)
{
	ledger_init(l, simdisk_new(seed, capacity), seed);
	assert_true(ledger_recover(l));
}

static void promises_kept(struct ledger *l)
{
	if (l->broken)
		fail_msg("%s (message %llu)", l->broken, (unsigned long long)l->broken_id);
}

static void finish(struct ledger *l)
{
	struct simdisk *sim = l->sim;

	ledger_verify(l);
	promises_kept(l);
	ledger_free(l);
	simdisk_free(&sim);
}

static void again(struct ledger *l, bool power)
{
	ledger_forget_queue(l);
	simdisk_crash(l->sim, power);
	assert_true(ledger_recover(l));
	promises_kept(l);
}

static void test_crc(void **state)
{
	uint8_t zeros[32] = {0}, ones[32];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	/* RFC 3720 B.4 */
	assert_int_equal(queue_crc32c(0, zeros, 32), 0x8a9136aa);
	assert_int_equal(queue_crc32c(0, ones, 32), 0x62a8ab43);
	assert_int_equal(queue_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(queue_crc32c(queue_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void test_commit_and_recover(void **state)
{
	struct ledger l = {0};

	(void)state;
	start(&l, 1, PLENTY);
	uint64_t a = ledger_put(&l, 2000), b = ledger_put(&l, 2000);

	assert_true(a && b && a != b);
	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	ledger_outcome(&l, a, 0, QUEUE_DEFERRED);
	for (uint32_t i = 0; i < l.messages[b].count; i++)
		ledger_outcome(&l, b, i, QUEUE_RELAYED);
	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	again(&l, true);
	assert_true(l.messages[a].known);
	assert_int_equal(l.messages[a].recipients[0].kind, QUEUE_DEFERRED);
	assert_false(l.messages[b].known);
	struct queue_outcome_copy copy;

	assert_int_equal(
	    queue_read_outcome(l.queue, l.messages[a].recipients[0].where, a, 0, &copy), QUEUE_OK);
	assert_string_equal(copy.text, "250 2.0.0 taken, thank you");
	finish(&l);
}

static void test_uncommitted_is_not_there(void **state)
{
	struct ledger l = {0};

	(void)state;
	start(&l, 2, PLENTY);
	uint64_t a = ledger_put(&l, 100);

	again(&l, true);
	assert_false(l.messages[a].known);
	/* Its ID is not given out again. */
	assert_true(ledger_put(&l, 100) > a);
	finish(&l);
}

static void test_index_and_many_segments(void **state)
{
	struct ledger l = {0};

	(void)state;
	start(&l, 3, PLENTY);
	for (int i = 0; i < 400; i++) {
		(void)ledger_put(&l, 3000);
		if (i % 3 == 0)
			(void)ledger_commit(&l);
		ledger_work(&l, 2);
	}
	ledger_idle(&l);
	assert_true(queue_figures(l.queue).segments > 5);
	again(&l, true);
	ledger_verify(&l);
	assert_true(l.acked > 200);
	finish(&l);
}

static void test_damage_in_the_middle(void **state)
{
	struct ledger l = {0};
	uint64_t ids[5] = {0};
	char name[32] = "";

	(void)state;
	start(&l, 4, PLENTY);
	for (int i = 0; i < 5; i++) {
		ids[i] = ledger_put(&l, 500);
		assert_int_equal(ledger_commit(&l), QUEUE_OK);
	}
	struct queue_location at = l.messages[ids[2]].location;

	ledger_forget_queue(&l);
	(void)snprintf(name, sizeof(name), "%08x.seg", at.generation);
	simdisk_spoil(l.sim, "segments", name, at.offset + RECORD_HEADER + 20, 1);
	simdisk_crash(l.sim, false);
	(void)ledger_recover(&l);
	assert_int_equal(l.damages, 1);
	/* That one is lost, reported; all others are there. */
	assert_int_equal(l.broken_id, ids[2]);
	for (int i = 0; i < 5; i++)
		assert_int_equal(l.messages[ids[i]].known, i != 2);
	l.broken = NULL;
	finish(&l);
}

static void test_torn_tail_is_cut(void **state)
{
	struct ledger l = {0};
	char name[32] = "";

	(void)state;
	start(&l, 5, PLENTY);
	uint64_t a = ledger_put(&l, 500);

	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	uint64_t b = ledger_put(&l, 500), c = ledger_put(&l, 500);

	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	struct queue_location at = l.messages[b].location;

	/* As if the sectors of the first record of the last commit had not arrived. */
	ledger_forget_queue(&l);
	(void)snprintf(name, sizeof(name), "%08x.seg", at.generation);
	simdisk_spoil(l.sim, "segments", name, at.offset + RECORD_HEADER, 8);
	l.messages[b].acked = false;
	l.messages[c].acked = false;
	simdisk_crash(l.sim, false);
	assert_true(ledger_recover(&l));
	assert_int_equal(l.damages, 0);
	assert_true(l.messages[a].known);
	assert_false(l.messages[b].known);
	/* And it stays cut: the next start sees no damage either. */
	again(&l, true);
	assert_int_equal(l.damages, 0);
	finish(&l);
}

static void test_failing_sync(void **state)
{
	struct ledger l = {0};

	(void)state;
	start(&l, 6, PLENTY);
	ledger_work(&l, 3);
	uint64_t a = ledger_put(&l, 500);

	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	uint32_t before = l.messages[a].location.generation;
	uint64_t b = ledger_put(&l, 500);

	ledger_outcome(&l, a, 0, QUEUE_RELAYED);
	simdisk_fail(l.sim, SIMDISK_SYNC, 1, EIO);
	assert_int_equal(ledger_commit(&l), QUEUE_ABORTED);
	assert_true(l.messages[b].refused);
	assert_int_equal(queue_intake(l.queue), QUEUE_OK);
	ledger_work(&l, 3);
	/* The outcome was added again, and goes to another segment. */
	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	uint64_t c = ledger_put(&l, 500);

	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	assert_true(l.messages[c].location.generation > before);
	/* The cache still holds what was refused; the abort record says that it never was. */
	again(&l, false);
	assert_false(l.messages[b].known);
	assert_false(l.messages[a].recipients[0].open);
	finish(&l);
}

static void test_failing_disk(void **state)
{
	struct ledger l = {0};

	(void)state;
	start(&l, 7, PLENTY);
	ledger_work(&l, 3);
	(void)ledger_put(&l, 500);
	simdisk_fail(l.sim, SIMDISK_WRITE, 1, EIO);
	simdisk_fail(l.sim, SIMDISK_SYNC, 1, EIO);
	assert_int_equal(ledger_commit(&l), QUEUE_IO);
	assert_int_equal(queue_intake(l.queue), QUEUE_IO);
	assert_int_equal(ledger_put(&l, 10), 0);
	/* The abort goes first in the next commit, and mail is taken again. */
	ledger_work(&l, 3);
	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	assert_int_equal(queue_intake(l.queue), QUEUE_OK);
	uint64_t b = ledger_put(&l, 500);

	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	again(&l, false);
	assert_true(l.messages[b].known);
	assert_int_equal(l.damages, 0);
	finish(&l);
}

static void test_full_disk(void **state)
{
	struct ledger l = {0};

	(void)state;
	start(&l, 8, 12 * QUEUE_SEGMENT_MIN);
	for (int i = 0; i < 3000 && !l.full; i++) {
		(void)ledger_put(&l, 3000);
		(void)ledger_commit(&l);
		ledger_work(&l, 4);
	}
	assert_true(l.full > 0);
	assert_int_equal(queue_intake(l.queue), QUEUE_FULL);
	uint64_t acked = l.acked, settled = l.settled;

	/* Outcomes go on until all is delivered. */
	for (int i = 0; i < 20000 && ledger_open_message(&l); i++) {
		uint64_t id = ledger_open_message(&l);

		for (uint32_t n = 0; n < l.messages[id].count; n++)
			ledger_outcome(&l, id, n, QUEUE_RELAYED);
		(void)ledger_commit(&l);
		ledger_work(&l, 4);
	}
	assert_int_equal(ledger_open_message(&l), 0);
	assert_true(l.settled > settled + acked / 2);
	ledger_idle(&l);
	assert_int_equal(queue_intake(l.queue), QUEUE_OK);
	again(&l, true);
	assert_int_equal(ledger_open_message(&l), 0);
	finish(&l);
}

/* Mail in a batch that finds no room is taken out again; the outcomes beside it are not lost. */
static void test_withdrawn(void **state)
{
	struct ledger l = {0};
	uint64_t gone = 0;

	(void)state;
	start(&l, 9, 12 * QUEUE_SEGMENT_MIN);
	while (queue_intake(l.queue) != QUEUE_FULL) {
		ledger_work(&l, 1);
		(void)ledger_put(&l, 3000);
		(void)ledger_commit(&l);
	}
	uint64_t kept = ledger_open_message(&l);
	enum queue_result result = QUEUE_OK;

	for (int i = 0; i < 9 && result == QUEUE_OK; i++) {
		for (int k = 0; k < 300; k++) {
			ledger_outcome(&l, kept, 0, QUEUE_DEFERRED);
			if (k == 100)
				gone = ledger_put(&l, 10);
		}
		assert_int_not_equal(gone, 0);
		result = ledger_commit(&l);
	}
	assert_int_equal(result, QUEUE_FULL);
	size_t before = queue_batch_bytes(l.queue);

	queue_batch_withdraw(l.queue);
	assert_true(queue_batch_bytes(l.queue) < before);
	l.batch_count = 0;
	l.messages[gone].refused = true;
	ledger_work(&l, 4); /* the reserve */
	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	again(&l, true);
	assert_false(l.messages[gone].known);
	assert_true(l.messages[kept].known);
	finish(&l);
}

/* A process without a free descriptor finds all as it was once it has one. */
static void test_short_of_descriptors(void **state)
{
	struct ledger l = {0};
	struct queue_content content = {0};
	uint64_t id = 0;

	(void)state;
	start(&l, 10, PLENTY);
	for (int i = 0; i < 200; i++) {
		id = ledger_put(&l, 3000);
		(void)ledger_commit(&l);
		ledger_work(&l, 4);
	}
	simdisk_fail(l.sim, SIMDISK_OPEN, 1, EMFILE);
	assert_int_equal(queue_read_message(l.queue, &l.messages[id].location, &content),
			 QUEUE_SHORT);
	assert_int_equal(queue_read_message(l.queue, &l.messages[id].location, &content), QUEUE_OK);
	queue_content_free(&content);
	simdisk_fail(l.sim, SIMDISK_READ, 1, ENOMEM);
	assert_int_equal(queue_read_message(l.queue, &l.messages[id].location, &content),
			 QUEUE_SHORT);
	/* The cleaner comes back to its segment. */
	for (int i = 0; i < 20000 && ledger_open_message(&l) && !queue_figures(l.queue).cleaned;
	     i++) {
		id = ledger_open_message(&l);
		for (uint32_t n = 0; n < l.messages[id].count; n++)
			ledger_outcome(&l, id, n, QUEUE_RELAYED);
		(void)ledger_commit(&l);
		simdisk_fail(l.sim, SIMDISK_OPEN, 1 + (uint64_t)(i % 2), ENFILE);
		ledger_work(&l, 4);
		queue_retry(l.queue);
	}
	assert_true(queue_figures(l.queue).cleaned > 0);
	simdisk_fail(l.sim, SIMDISK_OPEN, 0, 0);
	ledger_idle(&l);
	again(&l, false);
	finish(&l);
}

static void count_entry(void *self, const struct queue_entry *e)
{
	size_t *counts = self;

	(void)e;
	counts[0]++;
}

static void count_damage(void *self, const struct queue_damage *d)
{
	size_t *counts = self;

	(void)d;
	counts[1]++;
}

static bool locate_none(void *self, uint64_t id, struct queue_location *location)
{
	(void)self;
	(void)id;
	(void)location;
	return false;
}

/* Loads while each second open fails; how many messages and damages were told. */
static void load_short(struct ledger *l, size_t counts[2])
{
	const struct queue_owner owner = {
	    .self = counts, .entry = count_entry, .damage = count_damage, .locate = locate_none};
	struct queue *q = NULL;

	assert_int_equal(
	    queue_open(&q, simdisk_disk(l->sim), simdisk_root(l->sim), &l->options, &owner),
	    QUEUE_OK);
	for (int i = 0; i < 10000 && queue_load_apply(q, UINT32_MAX) != QUEUE_OK; i++) {
		simdisk_fail(l->sim, SIMDISK_OPEN, 1 + (uint64_t)(i % 2), EMFILE);
		if (queue_work_wanted(q)) {
			queue_work_run(q);
			queue_work_done(q);
		} else {
			queue_retry(q);
		}
	}
	assert_true(queue_figures(q).loaded);
	simdisk_fail(l->sim, SIMDISK_OPEN, 0, 0);
	queue_close(&q);
}

/* Loading waits for a descriptor, and takes no segment for damaged. */
static void test_loads_later(void **state)
{
	struct ledger l = {0};
	size_t counts[2] = {0};

	(void)state;
	start(&l, 11, PLENTY);
	for (int i = 0; i < 200; i++) {
		(void)ledger_put(&l, 3000);
		assert_int_equal(ledger_commit(&l), QUEUE_OK);
		ledger_work(&l, 4);
	}
	ledger_forget_queue(&l);
	simdisk_crash(l.sim, false);
	load_short(&l, counts);
	assert_int_equal(counts[0], 200);
	assert_int_equal(counts[1], 0);
	simdisk_crash(l.sim, false);
	assert_true(ledger_recover(&l));
	finish(&l);
}

/* Disk use stays bounded, and messages that stay are carried along. */
static void test_cleaner(void **state)
{
	struct ledger l = {0};
	uint64_t kept[20] = {0};

	(void)state;
	start(&l, 9, PLENTY);
	for (int i = 0; i < 6000; i++) {
		uint64_t id = ledger_put(&l, 2000);

		(void)ledger_commit(&l);
		if (id && i % 300 == 0) {
			kept[i / 300] = id;
			ledger_outcome(&l, id, 0, QUEUE_DEFERRED);
		}
		for (uint32_t n = 0; id && i % 300 && n < l.messages[id].count; n++)
			ledger_outcome(&l, id, n, QUEUE_RELAYED);
		ledger_work(&l, 3);
	}
	ledger_idle(&l);
	struct queue_figures f = queue_figures(l.queue);

	assert_true(f.cleaned > 20);
	/* Twice the live bytes and two segments; rounded up to whole segments. */
	assert_true((uint64_t)f.segments * f.segment_bytes <=
		    2 * f.live_bytes + 3 * (uint64_t)f.segment_bytes);
	for (int i = 0; i < 20; i++)
		assert_true(!kept[i] || l.messages[kept[i]].known);
	ledger_verify(&l);
	again(&l, true);
	for (int i = 0; i < 20; i++)
		assert_true(!kept[i] || l.messages[kept[i]].recipients[0].kind == QUEUE_DEFERRED);
	for (int i = 0; i < 20; i++) {
		struct queue_outcome_copy copy;

		if (kept[i])
			assert_int_equal(queue_read_outcome(l.queue,
							    l.messages[kept[i]].recipients[0].where,
							    kept[i], 0, &copy),
					 QUEUE_OK);
	}
	finish(&l);
}

static void test_bounce_settles(void **state)
{
	static const struct text domain = TEXT("example.net");
	struct ledger l = {0};
	uint64_t id = 0;

	(void)state;
	start(&l, 10, PLENTY);
	uint64_t a = ledger_put(&l, 100);

	assert_int_equal(ledger_commit(&l), QUEUE_OK);
	const struct queue_outcome owed = {
	    .id = a, .kind = QUEUE_FAILED, .attempts = 1, .flags = QUEUE_OWED_FAILURE};

	l.messages[a].recipients[0].attempts_sent = 1;
	assert_int_equal(queue_add_outcome(l.queue, &owed), QUEUE_OK);
	struct queue_batch *b = NULL;

	assert_int_equal(queue_batch_seal(l.queue, &b), QUEUE_OK);
	assert_int_equal(queue_batch_write(l.queue, b), QUEUE_OK);
	queue_batch_done(l.queue, &b, QUEUE_OK);
	again(&l, true);
	assert_true(l.messages[a].recipients[0].open);
	assert_int_equal(l.messages[a].recipients[0].kind, QUEUE_FAILED);

	const struct queue_outcome paid = {.id = a, .kind = QUEUE_FAILED, .attempts = 1};

	while (queue_ids_take(l.queue, 1, &id) != QUEUE_OK)
		assert_int_equal(ledger_commit(&l), QUEUE_OK);
	const struct queue_message bounce = {.id = id,
					     .envelope = TEXT("envelope"),
					     .prelude = TEXT("A: b\r\n"),
					     .recipient_count = 1,
					     .domains = &domain,
					     .settles = &paid,
					     .settle_count = 1};

	/* Known to the ledger as its other messages are. */
	l.messages[id].sent = true;
	l.messages[id].count = 1;
	l.messages[a].recipients[0].settle_sent = true;
	assert_int_equal(queue_add_message(l.queue, &bounce, NULL), QUEUE_OK);
	assert_int_equal(queue_batch_seal(l.queue, &b), QUEUE_OK);
	assert_int_equal(queue_batch_write(l.queue, b), QUEUE_OK);
	queue_batch_done(l.queue, &b, QUEUE_OK);
	assert_false(l.messages[a].recipients[0].open);
	again(&l, true);
	assert_false(l.messages[a].recipients[0].open);
	assert_true(l.messages[id].known);
	finish(&l);
}

struct names {
	int count;
};

static void name_count(void *arg, const char *name)
{
	struct names *n = arg;

	(void)name;
	n->count++;
}

static void test_bodies(void **state)
{
	static const struct text domain = TEXT("example.net");
	struct ledger l = {0};
	struct names names = {0};
	uint64_t id = 0, orphan = 0;
	struct queue_batch *b = NULL;
	int fd = -1;

	(void)state;
	start(&l, 11, PLENTY);
	const struct disk *d = simdisk_disk(l.sim);

	while (queue_ids_take(l.queue, 1, &id) != QUEUE_OK)
		(void)ledger_commit(&l);
	assert_int_equal(queue_ids_take(l.queue, 1, &orphan), QUEUE_OK);
	assert_int_equal(queue_body_create(l.queue, id, &fd), QUEUE_OK);
	assert_int_equal(d->write(d->self, fd, "large enough", 12, 0), 0);
	assert_int_equal(queue_body_finish(l.queue, id, 13), QUEUE_DAMAGED);
	assert_int_equal(queue_body_finish(l.queue, id, 5), QUEUE_OK);
	assert_int_equal(queue_body_create(l.queue, orphan, &fd), QUEUE_OK);
	assert_int_equal(queue_body_finish(l.queue, orphan, 0), QUEUE_OK);
	const struct queue_message m = {.id = id,
					.envelope = TEXT("envelope"),
					.prelude = TEXT("A: b\r\n"),
					.body_in_file = true,
					.body_length = 5,
					.body_crc = queue_crc32c(0, "large", 5),
					.recipient_count = 1,
					.domains = &domain};

	(void)ledger_put(&l, 10); /* makes room in the ledger */
	l.messages[id].sent = true;
	l.messages[id].count = 1;
	assert_int_equal(queue_add_message(l.queue, &m, NULL), QUEUE_OK);
	assert_int_equal(queue_batch_seal(l.queue, &b), QUEUE_OK);
	assert_int_equal(queue_batch_write(l.queue, b), QUEUE_OK);
	queue_batch_done(l.queue, &b, QUEUE_OK);
	l.batch_count = 0;
	/* Of this run's files none is an orphan. */
	ledger_idle(&l);
	simdisk_names(l.sim, "bodies", name_count, &names);
	assert_int_equal(names.count, 2);
	again(&l, true);
	ledger_idle(&l);
	names.count = 0;
	simdisk_names(l.sim, "bodies", name_count, &names);
	assert_int_equal(names.count, 1);
	assert_int_equal(queue_body_open(l.queue, id, &fd), QUEUE_OK);
	assert_int_equal(queue_body_open(l.queue, orphan, &fd), QUEUE_GONE);
	finish(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_crc),
	    cmocka_unit_test(test_commit_and_recover),
	    cmocka_unit_test(test_uncommitted_is_not_there),
	    cmocka_unit_test(test_index_and_many_segments),
	    cmocka_unit_test(test_damage_in_the_middle),
	    cmocka_unit_test(test_torn_tail_is_cut),
	    cmocka_unit_test(test_failing_sync),
	    cmocka_unit_test(test_failing_disk),
	    cmocka_unit_test(test_full_disk),
	    cmocka_unit_test(test_withdrawn),
	    cmocka_unit_test(test_short_of_descriptors),
	    cmocka_unit_test(test_loads_later),
	    cmocka_unit_test(test_cleaner),
	    cmocka_unit_test(test_bounce_settles),
	    cmocka_unit_test(test_bodies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
