/* SPDX-License-Identifier: ISC */
/*
 * Trace over a folder of history files. Lines of the input: what is searched
 * for, then (u8 way, then the rest) either a file's bytes as they stand, or
 * events that the writer writes and of which some bytes are spoiled
 * afterwards. Reading ends, its events are in order and belong to the
 * messages found (or are refusals), and what was written unspoiled is found by its ID.
 *
 *   events: u8 what, u8 id, u8 count % 8, COUNT values, each u8 length and bytes
 */
#include "history_trace.h"

#include "must.h"
#include "wire.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WAY_RAW = 1, WAY_SPOILED = 2, WAY_TINY = 4, WAY_NO_HISTORY = 8, EVENTS_MAX = 2000 };

static const char first_name[] = "00000000000000000001.history";

static struct text take(struct wire_reader *in, size_t len)
{
	size_t left = (size_t)(in->end - in->at);
	struct text t = {(const char *)in->at, len < left ? len : left};

	in->at += t.len;
	return t;
}

static void file_write(int to, const char *name, struct text content)
{
	int fd = openat(to, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0 && write(fd, content.data, content.len) == (ssize_t)content.len);
	close(fd);
}

/* The head is right, so that the records are looked at. */
static void write_raw(int to, struct wire_reader *in)
{
	struct bytes b = {0};

	bytes_add(&b, "VHIST\0\0\1beganwhn", HISTORY_HEAD_BYTES);
	bytes_add(&b, in->at, (size_t)(in->end - in->at));
	file_write(to, first_name, bytes_text(&b));
	bytes_free(&b);
}

static void event_read(struct wire_reader *in, struct history_event *e)
{
	*e = (struct history_event){.what = wire_u8(in), .id = wire_u8(in), .daemon = 2};
	e->count = wire_u8(in) % 8;
	for (size_t i = 0; i < e->count; i++)
		e->values[i] = take(in, wire_u8(in));
}

/* Returns how many events the message LOOKED_FOR has. */
static size_t write_events(int to, struct wire_reader *in, uint8_t way, uint64_t looked_for)
{
	struct history *h = history_new(fcntl(to, F_DUPFD_CLOEXEC, 0));
	struct walltime now = {1795299900123456};
	uint64_t size = way & WAY_TINY ? 8192 : 100000000;
	struct history_event e;
	size_t found = 0;

	history_configure(h, size,
			  (struct duration){way & WAY_NO_HISTORY ? 0
					    : way & WAY_TINY	 ? 100000000
								 : INT64_MAX / 2});
	for (size_t n = 0; in->at < in->end && n < EVENTS_MAX; n++) {
		event_read(in, &e);
		e.wall = (uint64_t)now.us;
		history_add(h, &e);
		found += looked_for && e.id == looked_for;
		now.us += 1000000;
		if (n % 7 == 0)
			must(history_write(h, now) == 0);
	}
	must(history_write(h, now) == 0);
	must(history_lost(h) == 0);
	history_free(&h);
	return way & (WAY_TINY | WAY_NO_HISTORY) ? 0 : found;
}

/* Turns bits all over the file NAME. */
static void spoil(int to, const char *name)
{
	int fd = openat(to, name, O_RDWR | O_CLOEXEC);
	uint8_t c;

	for (off_t at = HISTORY_HEAD_BYTES; fd >= 0 && pread(fd, &c, 1, at) == 1; at += 61) {
		c ^= 4;
		must(pwrite(fd, &c, 1, at) == 1);
	}
	if (fd >= 0)
		close(fd);
}

static void check(struct trace *t)
{
	must(t->count <= TRACE_EVENTS_MAX && t->id_count <= TRACE_IDS_MAX);
	for (size_t i = 1; i < t->id_count; i++)
		must(t->ids[i - 1] < t->ids[i]);
	for (size_t i = 0; i < t->count; i++) {
		bool known = t->events[i].id == 0; /* a refusal, of which no message came */

		for (size_t k = 0; k < t->id_count && !known; k++)
			known = t->ids[k] == t->events[i].id;
		must(known && t->events[i].count <= EVENT_VALUES_MAX);
		must(i == 0 || t->events[i - 1].wall <= t->events[i].wall);
	}
	trace_free(t);
}

static char path[] = "/tmp/fuzz_trace.XXXXXX";
static int folder = -1;

static void folder_empty(void)
{
	DIR *dir = fdopendir(openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	must(dir);
	for (struct dirent *e; (e = readdir(dir));)
		if (e->d_name[0] != '.')
			must(unlinkat(folder, e->d_name, 0) == 0);
	closedir(dir);
}

static void folder_remove(void)
{
	folder_empty();
	rmdir(path);
}

/* One of the process's own, empty. */
static int folder_get(void)
{
	if (folder < 0) {
		must(mkdtemp(path));
		folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(folder >= 0 && atexit(folder_remove) == 0);
	}
	folder_empty();
	return folder;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *line_end = size ? memchr(data, '\n', size) : NULL;
	struct wire_reader in = wire_reader_over(data, size);
	struct trace t;

	if (!line_end)
		return 0;
	int dir = folder_get();
	struct text what = take(&in, (size_t)(line_end - data));

	(void)wire_u8(&in);
	uint8_t way = wire_u8(&in);
	size_t found = 0;

	if (way & WAY_RAW)
		write_raw(dir, &in);
	else
		found = write_events(dir, &in, way, 7);
	if (way & WAY_SPOILED)
		spoil(dir, "00001795299901123456.history");
	must(trace_read(dir, what, &t) == 0);
	check(&t);
	must(trace_read_id(dir, 7, &t) == 0);
	must((way & (WAY_RAW | WAY_SPOILED)) || t.count >= found);
	check(&t);
	return 0;
}
