/* SPDX-License-Identifier: ISC */
/* The history: records, damage, rotation, removal, a full disk, and trace. */
#include "history.h"
#include "history_trace.h"
#include "mem.h"
#include "queue_id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static char folder[64];

static int folder_open(void)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int folder_make(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/test-history-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static size_t folder_files(uint64_t *bytes, bool remove)
{
	int fd = folder_open();
	DIR *dir = fdopendir(fd);
	size_t n = 0;

	assert_non_null(dir);
	*bytes = 0;
	for (struct dirent *e; (e = readdir(dir));) {
		struct stat st;

		if (e->d_name[0] == '.' || fstatat(fd, e->d_name, &st, 0) != 0)
			continue;
		*bytes += (uint64_t)st.st_size;
		n++;
		if (remove)
			unlinkat(fd, e->d_name, 0);
	}
	closedir(dir);
	return n;
}

static int folder_remove(void **state)
{
	uint64_t bytes;

	(void)state;
	folder_files(&bytes, true);
	return rmdir(folder);
}

static struct history_event event(unsigned what, uint64_t id, uint64_t wall, const char *a,
				  const char *b)
{
	return (struct history_event){
	    .what = what,
	    .daemon = PEER_QMGR,
	    .pid = 4711,
	    .id = id,
	    .wall = wall,
	    .count = b	 ? 2
		     : a ? 1
			 : 0,
	    .values = {text_of(a), text_of(b)},
	};
}

static void test_round_trip(void **state)
{
	struct bytes b = {0};
	struct history_event in = event(EVENT_delivery_orig, 77, 123456789, "a@b.example", ""), out;

	(void)state;
	history_encode(&b, &in);
	assert_int_equal(history_decode(bytes_at(&b), bytes_len(&b), &out), bytes_len(&b));
	assert_int_equal(out.what, in.what);
	assert_int_equal(out.daemon, PEER_QMGR);
	assert_int_equal(out.pid, 4711);
	assert_int_equal(out.id, 77);
	assert_int_equal(out.wall, 123456789);
	assert_int_equal(out.count, 2);
	assert_true(text_equals(out.values[0], "a@b.example"));
	assert_int_equal(out.values[1].len, 0);
	for (size_t n = 0; n < bytes_len(&b); n++)
		assert_int_equal(history_decode(bytes_at(&b), n, &out), 0);
	bytes_free(&b);
}

static void test_largest_record(void **state)
{
	static char big[EVENT_VALUE_BYTES + 100];
	struct bytes b = {0};
	struct history_event in = {.what = EVENT_notice, .count = EVENT_VALUES_MAX}, out;

	(void)state;
	memset(big, 'x', sizeof big);
	for (size_t i = 0; i < EVENT_VALUES_MAX; i++)
		in.values[i] = (struct text){big, sizeof big};
	history_encode(&b, &in);
	assert_int_equal(bytes_len(&b), HISTORY_RECORD_MAX);
	assert_int_equal(history_decode(bytes_at(&b), bytes_len(&b), &out), HISTORY_RECORD_MAX);
	assert_int_equal(out.values[15].len, EVENT_VALUE_BYTES);
	bytes_free(&b);
}

/* Each single changed bit of a record is seen, and the record behind it is found. */
static void test_damage_is_skipped(void **state)
{
	struct bytes b = {0};
	struct history_event one = event(EVENT_queued, 1, 10, "s@a.example", NULL),
			     two = event(EVENT_removed, 2, 20, NULL, NULL), out;

	(void)state;
	history_encode(&b, &one);
	size_t first = bytes_len(&b);

	history_encode(&b, &two);
	for (size_t bit = 0; bit < first * 8; bit++) {
		uint8_t *p = bytes_at(&b);
		size_t at = 0;
		ptrdiff_t step;

		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		/* A length that became too long asks for more; there it is the file's end. */
		while ((step = history_decode(p + at, bytes_len(&b) - at, &out)) < 0)
			at += (size_t)-step;
		if (step > 0)
			assert_int_equal(out.id, 2);
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	bytes_free(&b);
}

static struct history *writer(uint64_t size, int64_t keep_s)
{
	struct history *h = history_new(folder_open());

	history_configure(h, size, SECONDS(keep_s));
	return h;
}

static void test_rotation_and_size(void **state)
{
	enum { SIZE = 1 << 20 };
	struct history *h = writer(SIZE, 86400);
	struct walltime now = walltime_read();
	uint64_t bytes;
	static char filler[1500];

	(void)state;
	memset(filler, 'y', sizeof filler - 1);
	for (unsigned i = 1; i <= 4000; i++) {
		struct history_event e = event(EVENT_notice, i, i, filler, NULL);

		history_add(h, &e);
		if (i % 10 == 0)
			assert_int_equal(history_write(h, now), 0);
		now.us += 1000;
	}
	size_t files = folder_files(&bytes, false);

	assert_in_range(files, 6, 10);
	assert_in_range(bytes, SIZE / 2, SIZE + 20000);
	struct trace t;
	int fd = folder_open();

	/* The newest is there, the oldest is gone. */
	assert_int_equal(trace_read_id(fd, 4000, &t), 0);
	assert_int_equal(t.count, 1);
	trace_free(&t);
	assert_int_equal(trace_read_id(fd, 1, &t), 0);
	assert_int_equal(t.count, 0);
	trace_free(&t);
	close(fd);
	assert_int_equal(history_lost(h), 0);
	history_free(&h);
}

static void test_age(void **state)
{
	struct history *h = writer(1 << 20, 3600);
	struct history_event e = event(EVENT_notice, 5, 5, "old", NULL);
	struct walltime now = walltime_read();
	uint64_t bytes;

	(void)state;
	history_add(h, &e);
	assert_int_equal(history_write(h, now), 0);
	assert_int_equal(folder_files(&bytes, false), 1);
	now.us += INT64_C(2) * 3600 * 1000000;
	e = event(EVENT_notice, 6, 6, "new", NULL);
	history_add(h, &e);
	assert_int_equal(history_write(h, now), 0);
	assert_int_equal(folder_files(&bytes, false), 1);
	/* keep = 0: none at all. */
	history_configure(h, 1 << 20, SECONDS(0));
	history_add(h, &e);
	assert_int_equal(history_write(h, now), 0);
	assert_int_equal(folder_files(&bytes, false), 0);
	history_free(&h);
}

/* A file system that takes no more: nothing stops, losses are counted, whole records stay. */
static void test_full_disk(void **state)
{
	struct rlimit old, small;
	struct history *h = writer(64 << 20, 86400);
	static char filler[2000];
	struct walltime now = walltime_read();
	int error = 0;

	(void)state;
	memset(filler, 'z', sizeof filler - 1);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_IGN);
	small = (struct rlimit){100000, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (unsigned i = 1; i <= 5000; i++) {
		struct history_event e = event(EVENT_notice, i, i, filler, NULL);

		history_add(h, &e);
		if (i % 20 == 0) {
			int r = history_write(h, now);

			error = r ? r : error;
			now.us += 10000;
		}
	}
	assert_true(error == EFBIG || error == ENOSPC);
	assert_true(history_lost(h) > 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	now.us += 5000000;
	assert_int_equal(history_write(h, now), 0);
	history_free(&h);
	struct trace t;
	int fd = folder_open();

	assert_int_equal(trace_read_id(fd, 1, &t), 0);
	assert_int_equal(t.count, 1);
	assert_int_equal(t.damaged, 0);
	trace_free(&t);
	close(fd);
}

static void story_write(void)
{
	struct history *h = writer(1 << 20, 86400);
	char report[QUEUE_ID_BYTES];
	struct history_event refused = event(EVENT_reject, 0, 13, "RCPT", "unknown[192.0.2.8]");

	queue_id_print(3000, report);
	refused.values[2] = text_of("550 5.7.1 Relay access denied");
	refused.values[3] = text_of("stranger@client.example");
	refused.values[4] = text_of("rcpt@elsewhere.example");
	refused.count = 5;
	const struct history_event events[] = {
	    event(EVENT_client, 1000, 1, "mx.client.example[192.0.2.7]", NULL),
	    event(EVENT_message_id, 1000, 2, "Unique.1@client.example", NULL),
	    event(EVENT_queued, 1000, 3, "sender@client.example", "1234"),
	    event(EVENT_notice, 0, 4, "sender@client.example", NULL),
	    event(EVENT_queued, 2000, 5, "other@client.example", "99"),
	    event(EVENT_delivery, 1000, 7, "rcpt@far.example", "relay"),
	    event(EVENT_report_sent, 1000, 6, "non-delivery", report),
	    event(EVENT_message_id, 3000, 8, "report@relay.example", NULL),
	    event(EVENT_queued, 3000, 9, "", "2000"),
	    event(EVENT_delivery, 3000, 10, "sender@client.example", "relay"),
	    event(EVENT_removed, 3000, 11, NULL, NULL),
	    event(EVENT_removed, 1000, 12, NULL, NULL),
	    refused,
	    event(EVENT_refused_connection, 0, 14, "unknown[192.0.2.9]", "421 4.7.0 too many"),
	};

	for (size_t i = 0; i < sizeof events / sizeof *events; i++)
		history_add(h, &events[i]);
	history_free(&h);
}

static void test_story(void **state)
{
	static const struct {
		const char *what;
		size_t ids, events;
	} rows[] = {
	    {"RS", 2, 10}, /* 1000 in base 36 */
	    {"rs", 2, 10},
	    {"<unique.1@client.example>", 2, 10},
	    {"SENDER@client.example", 2, 10},
	    {"rcpt@far.example", 2, 10},
	    {"192.0.2.7", 2, 10},
	    {"2BC", 2, 10}, /* the report leads to its original */
	    {"other@client.example", 1, 1},
	    {"nobody@client.example", 0, 0},
	    {"client.exampl", 2, 10}, /* part of a client's name */
	    {"192.0.2.8", 0, 1},
	    {"stranger@client.example", 0, 1},
	    {"rcpt@elsewhere.example", 0, 1},
	    {"192.0.2.9", 0, 1},
	    {"192.0.2", 2, 12},
	    {"", 0, 0},
	};
	int fd = folder_open();

	(void)state;
	story_write();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct trace t;

		assert_int_equal(trace_read(fd, text_of(rows[i].what), &t), 0);
		if (t.id_count != rows[i].ids || t.count != rows[i].events)
			fail_msg("%s: %zu ids, %zu events", rows[i].what, t.id_count, t.count);
		for (size_t k = 1; k < t.count; k++)
			assert_true(t.events[k].wall >= t.events[k - 1].wall);
		assert_false(t.cut);
		trace_free(&t);
	}
	close(fd);
}

/* A tail torn by a power cut and rubbish in the middle cost those records alone. */
static void test_torn_file(void **state)
{
	struct history *h = writer(1 << 20, 86400);
	struct trace t;
	char name[320] = "";
	int fd = folder_open();

	(void)state;
	for (unsigned i = 1; i <= 100; i++) {
		struct history_event e =
		    event(EVENT_notice, 7, i, "some words to fill a record", NULL);

		history_add(h, &e);
	}
	history_free(&h);
	DIR *dir = fdopendir(dup(fd));

	for (struct dirent *e; (e = readdir(dir));)
		if (e->d_name[0] != '.')
			snprintf(name, sizeof name, "%s/%s", folder, e->d_name);
	closedir(dir);
	struct stat st;
	int file = open(name, O_RDWR);

	assert_true(file >= 0 && fstat(file, &st) == 0);
	assert_int_equal(pwrite(file, "\xf9\xc1garbage", 9, st.st_size / 2), 9);
	assert_int_equal(ftruncate(file, st.st_size - 3), 0);
	close(file);
	assert_int_equal(trace_read_id(fd, 7, &t), 0);
	assert_in_range(t.count, 97, 98);
	assert_true(t.damaged > 0);
	trace_free(&t);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_largest_record),
	    cmocka_unit_test(test_damage_is_skipped),
	    cmocka_unit_test_setup_teardown(test_rotation_and_size, folder_make, folder_remove),
	    cmocka_unit_test_setup_teardown(test_age, folder_make, folder_remove),
	    cmocka_unit_test_setup_teardown(test_full_disk, folder_make, folder_remove),
	    cmocka_unit_test_setup_teardown(test_story, folder_make, folder_remove),
	    cmocka_unit_test_setup_teardown(test_torn_file, folder_make, folder_remove),
	};

	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
