/* SPDX-License-Identifier: ISC */
/*
 * The queue on a real disk with its three threads, and read beside the writer without the
 * lock. MESSAGES=n makes it longer and prints the rate.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk.h"
#include "mem.h"
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	BODY = 2000,
	PER_BATCH = 40,
	WAITING_MAX = 200,
};

struct record {
	struct queue_location location;
	struct queue_where where;
	bool known;
};

/* A thread that does one thing at a time when told to. */
struct hand {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool wanted, ready, ended;
	void (*work)(void *arg);
	void *arg;
};

struct test {
	struct queue *queue;
	struct record *records;
	uint64_t count, known, entries, damages;
	struct queue_batch *batch;
	enum queue_result result;
	struct hand appender, worker;
};

static void *hand_run(void *arg)
{
	struct hand *h = arg;

	(void)pthread_mutex_lock(&h->lock);
	while (!h->ended) {
		if (!h->wanted) {
			(void)pthread_cond_wait(&h->changed, &h->lock);
			continue;
		}
		h->wanted = false;
		(void)pthread_mutex_unlock(&h->lock);
		h->work(h->arg);
		(void)pthread_mutex_lock(&h->lock);
		h->ready = true;
		(void)pthread_cond_broadcast(&h->changed);
	}
	(void)pthread_mutex_unlock(&h->lock);
	return NULL;
}

static void hand_start(struct hand *h, void (*work)(void *arg), void *arg)
{
	*h = (struct hand){.work = work, .arg = arg};
	(void)pthread_mutex_init(&h->lock, NULL);
	(void)pthread_cond_init(&h->changed, NULL);
	assert_int_equal(pthread_create(&h->thread, NULL, hand_run, h), 0);
}

static void hand_go(struct hand *h)
{
	(void)pthread_mutex_lock(&h->lock);
	h->wanted = true;
	(void)pthread_cond_broadcast(&h->changed);
	(void)pthread_mutex_unlock(&h->lock);
}

/* True when it is through with what it was told. */
static bool hand_ready(struct hand *h, bool wait)
{
	(void)pthread_mutex_lock(&h->lock);
	while (wait && !h->ready)
		(void)pthread_cond_wait(&h->changed, &h->lock);
	bool ready = h->ready;

	h->ready = false;
	(void)pthread_mutex_unlock(&h->lock);
	return ready;
}

static void hand_end(struct hand *h)
{
	(void)pthread_mutex_lock(&h->lock);
	h->ended = true;
	(void)pthread_cond_broadcast(&h->changed);
	(void)pthread_mutex_unlock(&h->lock);
	(void)pthread_join(h->thread, NULL);
}

static struct record *record_of(struct test *t, uint64_t id)
{
	while (id >= t->count) {
		uint64_t count = t->count ? t->count * 2 : 65536;

		t->records = mem_resize(t->records, count, sizeof(*t->records));
		memset(t->records + t->count, 0, (count - t->count) * sizeof(*t->records));
		t->count = count;
	}
	return &t->records[id];
}

static void on_entry(void *self, const struct queue_entry *e)
{
	struct test *t = self;
	struct record *r = record_of(t, e->id);

	assert_false(r->known);
	*r = (struct record){.location = e->location, .where = e->open[0].where, .known = true};
	t->known++;
	t->entries++;
}

static void on_damage(void *self, const struct queue_damage *d)
{
	struct test *t = self;

	(void)d;
	t->damages++;
}

static bool on_placed(void *self, uint64_t id, const struct queue_location *location)
{
	struct test *t = self;
	struct record *r = record_of(t, id);

	t->known += !r->known;
	r->known = true;
	r->location = *location;
	return true;
}

static struct queue_where on_outcome(void *self, const struct queue_outcome *o,
				     struct queue_where now, bool moved, struct queue_where old)
{
	struct test *t = self;
	struct record *r = record_of(t, o->id);
	struct queue_where before = r->where;

	(void)old;
	if (!r->known)
		return now;
	r->where = now;
	if (!moved && queue_settled(o->kind, o->flags)) {
		r->known = false;
		t->known--;
		queue_message_forget(t->queue, &r->location);
	}
	return before;
}

static bool on_locate(void *self, uint64_t id, struct queue_location *location)
{
	struct record *r = record_of(self, id);

	*location = r->location;
	return r->known;
}

static bool on_recipient(void *self, uint64_t id, uint32_t number, struct queue_recipient *state)
{
	struct record *r = record_of(self, id);

	*state = (struct queue_recipient){.number = number, .where = r->where};
	return r->known && number == 0;
}

static uint32_t on_open(void *self, uint64_t id, struct queue_recipient *open, uint32_t max)
{
	return max && on_recipient(self, id, 0, open) ? 1 : 0;
}

static struct queue_owner owner_of(struct test *t)
{
	return (struct queue_owner){.self = t,
				    .entry = on_entry,
				    .damage = on_damage,
				    .placed = on_placed,
				    .outcome = on_outcome,
				    .locate = on_locate,
				    .open = on_open,
				    .recipient = on_recipient};
}

static void append(void *arg)
{
	struct test *t = arg;

	t->result = queue_batch_write(t->queue, t->batch);
}

static void maintain(void *arg)
{
	struct test *t = arg;

	queue_work_run(t->queue);
}

static uint64_t add_message(struct test *t)
{
	static const struct text domain = TEXT("example.net");
	char body[BODY];
	uint64_t id = 0;

	if (queue_ids_take(t->queue, 1, &id) != QUEUE_OK)
		return 0;
	memset(body, 'a' + (int)(id % 26), sizeof(body));
	const struct queue_message m = {.id = id,
					.submitter = TEXT("net:192.0.2.7"),
					.envelope = TEXT("an envelope"),
					.prelude = TEXT("A: b\r\n\r\n"),
					.body = {body, sizeof(body)},
					.recipient_count = 1,
					.domains = &domain};

	(void)record_of(t, id);
	return queue_add_message(t->queue, &m, NULL) == QUEUE_OK ? id : 0;
}

/* One turn of the loop that queue.h describes. Each message is settled but every thousandth. */
static uint64_t turn(struct test *t, uint64_t *next_done)
{
	uint64_t added = 0;

	for (int i = 0; i < PER_BATCH; i++)
		added += add_message(t) != 0;
	for (uint64_t id = *next_done; t->known > WAITING_MAX && id < t->count; id++) {
		if (!t->records[id].known)
			break;
		*next_done = id + 1;
		if (id % 1000 == 0)
			continue;
		const struct queue_outcome o = {.id = id, .kind = QUEUE_RELAYED};

		if (queue_add_outcome(t->queue, &o) != QUEUE_OK)
			break;
		if (id > *next_done + PER_BATCH * 2)
			break;
	}
	if (t->batch) {
		(void)hand_ready(&t->appender, true);
		assert_int_equal(t->result, QUEUE_OK);
		queue_batch_done(t->queue, &t->batch, t->result);
	}
	queue_clean_apply(t->queue);
	enum queue_result result = queue_batch_seal(t->queue, &t->batch);

	assert_true(result == QUEUE_OK || result == QUEUE_WAIT);
	if (t->batch)
		hand_go(&t->appender);
	if (hand_ready(&t->worker, result == QUEUE_WAIT))
		queue_work_done(t->queue);
	if (queue_work_wanted(t->queue))
		hand_go(&t->worker);
	return added;
}

static void finish(struct test *t)
{
	if (t->batch) {
		(void)hand_ready(&t->appender, true);
		queue_batch_done(t->queue, &t->batch, t->result);
	}
	hand_end(&t->appender);
	hand_end(&t->worker);
}

static void remove_all(const char *dir)
{
	char command[300] = "";

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	assert_int_equal(system(command), 0);
}

/* The reader's queue opened, and what it says of the others. */
static enum queue_result reader_open(struct test *reader, int dir)
{
	const struct queue_owner reading = owner_of(reader);

	return queue_open_readonly(&reader->queue, disk_real(), dir, &reading);
}

static void reader_close(struct test *reader)
{
	queue_close(&reader->queue);
	free(reader->records);
	*reader = (struct test){0};
}

static void add_all(struct test *t, uint64_t messages, bool measured)
{
	struct timespec from, to;
	uint64_t added = 0, next_done = 1;

	hand_start(&t->appender, append, t);
	hand_start(&t->worker, maintain, t);
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	while (added < messages)
		added += turn(t, &next_done);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	double seconds =
	    (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
	struct queue_figures f = queue_figures(t->queue);

	if (measured)
		(void)printf("%.0f messages/s, %u segments, %llu cleaned, %llu bytes moved\n",
			     (double)added / seconds, f.segments, (unsigned long long)f.cleaned,
			     (unsigned long long)f.moved_bytes);
	assert_true(measured || f.cleaned > 0);
}

/* Beside the writer, without the lock. */
static void read_beside(int dir)
{
	enum queue_result result = QUEUE_CHANGED;
	struct test reader = {0};

	for (int i = 0; i < 20 && result == QUEUE_CHANGED; i++) {
		reader_close(&reader);
		result = reader_open(&reader, dir);
		if (result == QUEUE_OK)
			result = queue_load_all(reader.queue);
	}
	assert_int_equal(result, QUEUE_OK);
	assert_true(reader.known > 0);
	reader_close(&reader);
}

static void check_contents(const struct test *t)
{
	for (uint64_t id = 0; id < t->count; id++) {
		struct queue_content c = {0};

		if (!t->records[id].known)
			continue;
		assert_int_equal(queue_read_message(t->queue, &t->records[id].location, &c),
				 QUEUE_OK);
		assert_int_equal(c.body.len, BODY);
		assert_int_equal(c.body.data[77], 'a' + (int)(id % 26));
		queue_content_free(&c);
	}
}

/* The oldest: a record at the very end would be a torn write, which is no damage. */
static uint64_t oldest_of(const struct test *reader)
{
	struct queue_location at = {0};
	uint64_t victim = 0;

	for (uint64_t id = 0; id < reader->count; id++) {
		struct queue_location here = reader->records[id].location;

		if (reader->records[id].known &&
		    (!at.generation || here.generation < at.generation ||
		     (here.generation == at.generation && here.offset < at.offset)))
			at = reader->records[victim = id].location;
	}
	return victim;
}

static void flip_a_bit(int dir, struct queue_location at)
{
	char name[64] = "", byte = 0;

	(void)snprintf(name, sizeof(name), "segments/%08x.seg", at.generation);
	int fd = openat(dir, name, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0 && pread(fd, &byte, 1, at.offset + at.length - 100) == 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at.offset + at.length - 100), 1);
	(void)close(fd);
}

/* The check finds the messages that there are, and a bit that fell over. */
static void check_finds(int dir, uint64_t known)
{
	struct queue_check k = {0};
	struct test reader = {0};

	assert_int_equal(reader_open(&reader, dir), QUEUE_OK);
	assert_int_equal(queue_check(reader.queue, &k), QUEUE_OK);
	assert_int_equal(k.live_messages, known);
	assert_int_equal(k.live_messages, reader.known);
	uint64_t victim = oldest_of(&reader);

	flip_a_bit(dir, reader.records[victim].location);
	reader_close(&reader);
	assert_int_equal(reader_open(&reader, dir), QUEUE_OK);
	assert_int_equal(queue_check(reader.queue, &k), QUEUE_DAMAGED);
	assert_int_equal(reader.damages, 1);
	assert_int_equal(k.live_messages, known - 1);
	assert_false(victim < reader.count && reader.records[victim].known);
	reader_close(&reader);
}

static void test_threads(void **state)
{
	const char *want = getenv("MESSAGES");
	char path[256] = "";
	struct test t = {0};
	const struct queue_options options = {.segment_bytes = want ? 0 : 1 << 20};
	const struct queue_owner owner = owner_of(&t);
	struct queue *second = NULL;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/queue-test-XXXXXX",
		       getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(path));
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(queue_open(&t.queue, disk_real(), dir, &options, &owner), QUEUE_OK);
	assert_int_equal(queue_load_all(t.queue), QUEUE_OK);
	add_all(&t, want ? strtoull(want, NULL, 10) : 4000, want != NULL);
	read_beside(dir);
	finish(&t);
	uint64_t known = t.known;

	check_contents(&t);
	assert_int_equal(queue_open(&second, disk_real(), dir, &options, &owner), QUEUE_LOCKED);
	queue_close(&t.queue);
	check_finds(dir, known);
	free(t.records);
	(void)close(dir);
	remove_all(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
