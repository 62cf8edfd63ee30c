/* SPDX-License-Identifier: ISC */
/*
 * What a segment says: its records without their content. A scan goes from
 * record to record by their lengths; behind a bad one it looks at each
 * aligned offset for the next that is valid, so damage costs only itself.
 */
#include "state.h"

#include "bytes.h"
#include "mem.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

void view_free(struct view *v)
{
	bytes_free(&v->store);
	free(v->entries);
	*v = (struct view){0};
}

static struct view_entry *view_entry_new(struct view *v)
{
	if (v->count == v->size) {
		v->size = v->size ? v->size * 2 : 256;
		v->entries = mem_resize(v->entries, v->size, sizeof(*v->entries));
	}
	struct view_entry *e = &v->entries[v->count++];

	*e = (struct view_entry){0};
	return e;
}

void view_add(struct view *v, const struct record_header *h, uint32_t offset,
	      const uint8_t *payload)
{
	if (h->sequence > v->last)
		v->last = h->sequence;
	if (h->type == RECORD_PAD)
		return;
	if (h->type == RECORD_LEASE && h->length >= 8 && get_u64(payload) > v->lease)
		v->lease = get_u64(payload);
	if (h->id > v->top_id)
		v->top_id = h->id;
	struct view_entry *e = view_entry_new(v);

	e->id = h->id;
	e->sequence = h->sequence;
	e->offset = offset;
	e->length = h->length;
	e->type = h->type;
	e->summary = v->store.end;
	e->summary_len = h->summary;
	bytes_add(&v->store, payload, h->summary);
}

void view_add_damage(struct view *v, uint32_t offset, uint32_t length, uint64_t id)
{
	struct view_entry *e = view_entry_new(v);

	e->type = RECORD_DAMAGE;
	e->offset = offset;
	e->length = length;
	e->id = id;
}

/* A part of a segment in memory. */
struct window {
	const struct queue *queue;
	int fd;
	uint8_t *data;
	uint64_t at; /* offset of its first byte */
	size_t len;  /* valid bytes */
	size_t size; /* allocated: more than the longest record */
	bool failed, ended;
};

/* The bytes from OFFSET on: *ROOM of them, at least WANT unless the file ends before. */
static const uint8_t *window_get(struct window *w, uint64_t offset, size_t want, size_t *room)
{
	const struct disk *d = w->queue->disk;

	if (offset < w->at || offset + want > w->at + w->len) {
		int64_t n = d->read(d->self, w->fd, w->data, w->size, offset);

		if (n < 0)
			w->failed = true;
		w->at = offset;
		w->len = n < 0 ? 0 : (size_t)n;
	}
	*room = (size_t)(w->at + w->len - offset);
	return w->data + (offset - w->at);
}

struct gap {
	bool open;
	uint32_t from;
	uint64_t id; /* named by its first header */
};

/* A valid record at OFFSET? Its header in H and its bytes in *AT. */
static bool scan_record(struct window *w, uint32_t generation, uint32_t offset,
			struct record_header *h, const uint8_t **at, bool *headed)
{
	size_t room = 0;

	*at = window_get(w, offset, RECORD_HEADER, &room);
	*headed = false;
	if (room < RECORD_HEADER || get_u32(*at) != RECORD_MAGIC || get_u32(*at + 8) != generation)
		return false;
	uint32_t length = get_u32(*at + 12);

	if (length > w->size - RECORD_HEADER)
		return false;
	*at = window_get(w, offset, RECORD_HEADER + (size_t)length, &room);
	*headed = record_header_get(*at, room, generation, h);
	return *headed && record_crc(*at, generation, offset, h->length) == h->crc;
}

/*
 * The offset behind a bad place where it is worth looking. Within the
 * window, zeros and recycled records are passed over fast.
 */
static uint32_t scan_skip(struct window *w, uint32_t generation, uint32_t offset)
{
	size_t room = 0;

	for (;;) {
		offset += RECORD_ALIGN;
		const uint8_t *at = window_get(w, offset, RECORD_HEADER, &room);

		if (room < RECORD_HEADER)
			return offset;
		for (; room >= RECORD_HEADER; at += RECORD_ALIGN, room -= RECORD_ALIGN) {
			if (get_u32(at) == RECORD_MAGIC && get_u32(at + 8) == generation)
				return offset;
			offset += RECORD_ALIGN;
		}
		offset -= RECORD_ALIGN;
	}
}

static void scan_run(struct window *w, struct view *v)
{
	struct gap gap = {0};
	struct record_header h = {0};
	const uint8_t *at = NULL;
	uint32_t offset = SEGMENT_HEADER;
	bool headed = false;

	v->end = offset;
	for (size_t room = RECORD_HEADER; !w->failed;) {
		if (scan_record(w, v->generation, offset, &h, &at, &headed)) {
			if (gap.open)
				view_add_damage(v, gap.from, offset - gap.from, gap.id);
			gap.open = false;
			view_add(v, &h, offset, at + RECORD_HEADER);
			if (h.batch <= offset && h.batch >= SEGMENT_HEADER)
				v->batch = h.batch;
			offset += record_padded(h.length);
			v->end = offset;
			continue;
		}
		(void)window_get(w, offset, RECORD_HEADER, &room);
		if (room < RECORD_HEADER)
			break;
		if (!gap.open)
			gap = (struct gap){true, offset, headed ? h.id : 0};
		offset = scan_skip(w, v->generation, offset);
	}
}

enum queue_result view_scan(const struct queue *q, int fd, uint32_t generation, struct view *v)
{
	int64_t size = q->disk->size(q->disk->self, fd);

	if (size < 0)
		return QUEUE_IO;
	struct window w = {.queue = q, .fd = fd, .size = QUEUE_BATCH_BYTES + RECORD_HEADER};

	if ((uint64_t)size < w.size)
		w.size = (size_t)size < SEGMENT_HEADER ? SEGMENT_HEADER : (size_t)size;
	w.data = mem_resize(NULL, w.size, 1);
	*v = (struct view){.generation = generation};
	scan_run(&w, v);
	free(w.data);
	if (!w.failed)
		return QUEUE_OK;
	view_free(v);
	return QUEUE_IO;
}

enum queue_result view_get(const struct queue *q, uint32_t generation, struct view *v)
{
	char name[NAME_BYTES] = "";

	if (index_read(q, generation, v) == QUEUE_OK) {
		v->from_index = true;
		return QUEUE_OK;
	}
	segment_name(name, generation);
	int fd = q->disk->open(q->disk->self, q->segments_dir, name, O_RDONLY);

	if (fd < 0)
		return result_of(fd);
	enum queue_result result = view_scan(q, fd, generation, v);

	q->disk->close(q->disk->self, fd);
	return result;
}
