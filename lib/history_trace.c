/* SPDX-License-Identifier: ISC */
/*
 * Trace: passes over the history's files. The first ones find the messages
 * (one more as long as reports lead to others), the last one gathers their events.
 */
#include "history_trace.h"

#include "mem.h"
#include "queue_id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	BLOCK_BYTES = 1 << 20,
	PASSES_MAX = 8, /* reports on reports end long before */
	FILES_MAX = 65536,
};

struct search {
	struct trace *trace;
	struct text needle; /* empty: by ID alone */
	bool grown, gathering;
	size_t events_room;
};

static ptrdiff_t id_place(const struct trace *t, uint64_t id)
{
	size_t low = 0, high = t->id_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (t->ids[mid] == id)
			return (ptrdiff_t)mid;
		if (t->ids[mid] < id)
			low = mid + 1;
		else
			high = mid;
	}
	return -1 - (ptrdiff_t)low;
}

static void id_add(struct search *s, uint64_t id)
{
	struct trace *t = s->trace;
	ptrdiff_t place = id_place(t, id);

	if (!id || place >= 0)
		return;
	if (t->id_count == TRACE_IDS_MAX) {
		t->cut = true;
		return;
	}
	size_t at = (size_t)(-1 - place);

	memmove(t->ids + at + 1, t->ids + at, (t->id_count - at) * sizeof *t->ids);
	t->ids[at] = id;
	t->id_count++;
	s->grown = true;
}

static bool contains_case(struct text t, struct text part)
{
	for (size_t i = 0; part.len && t.len >= part.len && i <= t.len - part.len; i++)
		if (text_equal_case((struct text){t.data + i, part.len}, part))
			return true;
	return false;
}

/* Does what was searched for stand in the event's first values (address, Message-ID, client)? */
static bool event_names(const struct history_event *e, struct text needle)
{
	switch (e->what) {
	case EVENT_message_id:
	case EVENT_queued:
	case EVENT_delivery:
	case EVENT_delivery_from:
	case EVENT_held:
		return e->count > 0 && text_equal_case(e->values[0], needle);
	case EVENT_delivery_orig:
		return (e->count > 0 && text_equal_case(e->values[0], needle)) ||
		       (e->count > 1 && text_equal_case(e->values[1], needle));
	case EVENT_client_login:
		if (e->count > 2 && text_equal_case(e->values[2], needle))
			return true;
		return e->count > 0 && contains_case(e->values[0], needle);
	case EVENT_client:
		return e->count > 0 && contains_case(e->values[0], needle);
	default:
		return false;
	}
}

/* A client, a login or an address that was turned away, of which no message came: who asks for it
 * by name is told why. */
static bool refusal_names(const struct history_event *e, struct text needle)
{
	if (!needle.len)
		return false;
	if (e->what == EVENT_refused_connection)
		return e->count > 0 && contains_case(e->values[0], needle);
	if (e->what == EVENT_login_frozen || e->what == EVENT_login_suspect ||
	    e->what == EVENT_login_settled)
		return e->count > 0 && text_equal_case(e->values[0], needle);
	if (e->what == EVENT_login_failed)
		return e->count > 1 && (contains_case(e->values[0], needle) ||
					text_equal_case(e->values[1], needle));
	if (e->what != EVENT_reject || e->count < 5)
		return false;
	return contains_case(e->values[1], needle) || text_equal_case(e->values[3], needle) ||
	       text_equal_case(e->values[4], needle);
}

static bool look(void *arg, const struct history_event *e)
{
	struct search *s = arg;
	uint64_t report = 0;

	if (!e->id)
		return true;
	if (s->needle.len && event_names(e, s->needle))
		id_add(s, e->id);
	/* A report and the message that it is about are one story. */
	if (e->what == EVENT_report_sent && e->count > 1 && queue_id_parse(e->values[1], &report)) {
		if (id_place(s->trace, e->id) >= 0)
			id_add(s, report);
		else if (id_place(s->trace, report) >= 0)
			id_add(s, e->id);
	}
	return true;
}

static bool gather(void *arg, const struct history_event *e)
{
	struct search *s = arg;
	struct trace *t = s->trace;

	if (e->id ? id_place(t, e->id) < 0 : !refusal_names(e, s->needle))
		return true;
	if (t->count == TRACE_EVENTS_MAX) {
		t->cut = true;
		return false;
	}
	if (t->count == s->events_room) {
		s->events_room = s->events_room ? s->events_room * 2 : 64;
		t->events = mem_resize(t->events, s->events_room, sizeof *t->events);
	}
	struct history_event *kept = &t->events[t->count];

	*kept = *e;
	kept->place = t->count;
	for (size_t i = 0; i < e->count; i++) {
		kept->values[i].data = arena_copy(t->arena, e->values[i].data, e->values[i].len);
		if (!kept->values[i].data) {
			t->cut = true;
			return false;
		}
	}
	t->count++;
	return true;
}

/*
 * Visits the records of a block; returns the bytes done with, *MORE false when
 * VISIT has enough. At the file's LAST block what asks for more is damage.
 */
static size_t block_scan(const uint8_t *block, size_t have, size_t at, bool last, bool *more,
			 bool (*visit)(void *arg, const struct history_event *event), void *arg,
			 uint64_t *damaged)
{
	while (*more && at < have) {
		struct history_event e;
		ptrdiff_t step = history_decode(block + at, have - at, &e);

		if (step > 0) {
			*more = visit(arg, &e);
			at += (size_t)step;
			continue;
		}
		if (step == 0 && !last)
			break;
		++*damaged;
		if (have - at < HISTORY_FIXED_BYTES)
			return have;
		at += step ? (size_t)-step : 1;
	}
	return at;
}

int history_scan(int fd, bool (*visit)(void *arg, const struct history_event *event), void *arg,
		 uint64_t *damaged)
{
	uint8_t *block = mem_new(1, BLOCK_BYTES);
	size_t have = 0;
	bool first = true, more = true;
	ssize_t n = 1;

	while (more && n > 0) {
		n = read(fd, block + have, BLOCK_BYTES - have);
		if (n > 0)
			have += (size_t)n;
		if (first && have < HISTORY_HEAD_BYTES)
			continue;
		if (first && !history_head_is_good(block))
			break;
		size_t at = block_scan(block, have, first ? HISTORY_HEAD_BYTES : 0, n <= 0, &more,
				       visit, arg, damaged);

		first = false;
		memmove(block, block + at, have - at);
		have -= at;
	}
	int error = n < 0 ? errno : 0;

	free(block);
	return error;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t names_list(int folder_fd, char ***names)
{
	int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t n = 0, room = 0;

	*names = NULL;
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	errno = 0;
	for (struct dirent *e; n < FILES_MAX && (e = readdir(dir));) {
		if (!history_name_is_good(e->d_name))
			continue;
		if (n == room)
			*names = mem_resize(*names, room = room ? room * 2 : 64, sizeof **names);
		(*names)[n++] = mem_copy(e->d_name, strlen(e->d_name));
	}
	closedir(dir);
	if (n)
		qsort(*names, n, sizeof **names, by_name);
	errno = 0;
	return n;
}

/* One pass over all files. A file that the logger removed meanwhile is none. */
static int pass(int folder_fd, char **names, size_t count, struct search *s,
		bool (*visit)(void *arg, const struct history_event *event))
{
	int error = 0;

	s->trace->damaged = 0;
	for (size_t i = 0; i < count && !error; i++) {
		int fd = openat(folder_fd, names[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

		if (fd < 0) {
			error = errno == ENOENT ? 0 : errno;
			continue;
		}
		error = history_scan(fd, visit, s, &s->trace->damaged);
		close(fd);
	}
	return error;
}

static int by_time(const void *a, const void *b)
{
	const struct history_event *x = a, *y = b;

	if (x->wall != y->wall)
		return x->wall < y->wall ? -1 : 1;
	return (x->place > y->place) - (x->place < y->place);
}

static int search_run(int folder_fd, struct search *s)
{
	char **names;
	size_t count;
	int error;

	errno = 0;
	count = names_list(folder_fd, &names);
	error = errno;
	for (int i = 0; i < PASSES_MAX && !error; i++) {
		s->grown = false;
		error = pass(folder_fd, names, count, s, look);
		if (!s->grown)
			break;
	}
	if (!error && (s->trace->id_count || s->needle.len))
		error = pass(folder_fd, names, count, s, gather);
	if (s->trace->count)
		qsort(s->trace->events, s->trace->count, sizeof *s->trace->events, by_time);
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
	return error;
}

static void trace_begin(struct trace *t)
{
	*t = (struct trace){.arena = arena_new(TRACE_BYTES_MAX)};
	t->ids = mem_new(TRACE_IDS_MAX, sizeof *t->ids);
}

int trace_read_id(int folder_fd, uint64_t id, struct trace *trace)
{
	struct search s = {.trace = trace};

	trace_begin(trace);
	id_add(&s, id);
	return search_run(folder_fd, &s);
}

int trace_read(int folder_fd, struct text what, struct trace *trace)
{
	struct search s = {.trace = trace};
	uint64_t id = 0;

	trace_begin(trace);
	what = text_trim(what);
	/* An ID has no @ or dot; a word that could be one is also looked for as a name. */
	if (queue_id_parse(what, &id))
		id_add(&s, id);
	if (what.len >= 2 && what.data[0] == '<' && what.data[what.len - 1] == '>')
		what = (struct text){what.data + 1, what.len - 2};
	s.needle = what;
	return search_run(folder_fd, &s);
}

void trace_free(struct trace *t)
{
	free(t->events);
	free(t->ids);
	arena_free(&t->arena);
	*t = (struct trace){0};
}
