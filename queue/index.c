/* SPDX-License-Identifier: ISC */
/*
 * Index files: what recovery needs of a sealed segment, without content. Lost or bad
 * ones are made again from the segment, so they hold nothing of their own.
 *
 *   u32 magic INDEX_MAGIC; u32 crc of all that follows; u32 format; u32 generation;
 *   u32 end (one past the segment's last record); u32 batch (start of its last commit);
 *   u64 last sequence; u64 lease; u64 top id; u32 entries; then for each:
 *   u64 id; u64 sequence; u32 offset; u32 payload length; u8 type (RECORD_DAMAGE: a
 *   range of damage); text: the record's summary
 */
#include "state.h"

#include "mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	INDEX_MAGIC = 0x31495156, /* "VQI1" */
	INDEX_BYTES_MAX = 512 << 20,
};

static void index_name(char name[NAME_BYTES], uint32_t generation, const char *suffix)
{
	(void)snprintf(name, NAME_BYTES, "%08x.%s", generation, suffix);
}

static void index_encode(const struct view *v, struct bytes *w)
{
	wire_put_u32(w, INDEX_MAGIC);
	wire_put_u32(w, 0);
	wire_put_u32(w, QUEUE_FORMAT);
	wire_put_u32(w, v->generation);
	wire_put_u32(w, v->end);
	wire_put_u32(w, v->batch);
	wire_put_u64(w, v->last);
	wire_put_u64(w, v->lease);
	wire_put_u64(w, v->top_id);
	wire_put_u32(w, (uint32_t)v->count);
	for (size_t i = 0; i < v->count; i++) {
		const struct view_entry *e = &v->entries[i];

		wire_put_u64(w, e->id);
		wire_put_u64(w, e->sequence);
		wire_put_u32(w, e->offset);
		wire_put_u32(w, e->length);
		wire_put_u8(w, e->type);
		wire_put_text(w, (struct text){(const char *)view_payload(v, e), e->summary_len});
	}
	(void)put_u32(w->data + 4, queue_crc32c(0, w->data + 8, w->end - 8));
}

/* Written beside, synced, renamed, the folder synced. */
enum queue_result index_write(const struct queue *q, const struct view *v)
{
	const struct disk *d = q->disk;
	char name[NAME_BYTES] = "", beside[NAME_BYTES] = "";
	struct bytes w = {0};

	index_name(name, v->generation, "idx");
	index_name(beside, v->generation, "tmp");
	index_encode(v, &w);
	int fd = d->open(d->self, q->index_dir, beside, O_WRONLY | O_CREAT | O_TRUNC);
	int error = fd;

	if (fd >= 0) {
		error = d->write(d->self, fd, w.data, w.end, 0);
		if (error >= 0)
			error = d->sync(d->self, fd);
		d->close(d->self, fd);
	}
	if (error >= 0)
		error = d->rename(d->self, q->index_dir, beside, q->index_dir, name);
	if (error >= 0)
		error = d->sync_folder(d->self, q->index_dir);
	if (error < 0 && fd >= 0)
		(void)d->unlink(d->self, q->index_dir, beside);
	bytes_free(&w);
	return result_of(error);
}

enum queue_result file_get(const struct queue *q, int dir, const char *name, struct bytes *content)
{
	const struct disk *d = q->disk;
	int fd = d->open(d->self, dir, name, O_RDONLY);

	if (fd < 0)
		return result_of(fd);
	int64_t size = d->size(d->self, fd);
	int64_t got = -1;

	if (size >= 0 && size <= INDEX_BYTES_MAX) {
		(void)bytes_room(content, (size_t)size + 1);
		got = d->read(d->self, fd, content->data, (size_t)size, 0);
		content->end = got > 0 ? (size_t)got : 0;
	}
	d->close(d->self, fd);
	return got < 0 || got != size ? QUEUE_IO : QUEUE_OK;
}

/* The store keeps the whole file; summaries point into it. */
static bool index_decode(struct view *v, uint32_t generation)
{
	const uint8_t *data = v->store.data;
	size_t len = v->store.end;

	if (len < 52 || get_u32(data) != INDEX_MAGIC ||
	    get_u32(data + 4) != queue_crc32c(0, data + 8, len - 8))
		return false;
	struct wire_reader r = wire_reader_over(data + 8, len - 8);
	bool ours = wire_u32(&r) == QUEUE_FORMAT && wire_u32(&r) == generation;

	v->generation = generation;
	v->end = wire_u32(&r);
	v->batch = wire_u32(&r);
	v->last = wire_u64(&r);
	v->lease = wire_u64(&r);
	v->top_id = wire_u64(&r);
	uint32_t count = wire_u32(&r);

	if (!ours || r.bad || count > len / 29)
		return false;
	v->entries = mem_new((size_t)count + 1, sizeof(*v->entries));
	v->size = (size_t)count + 1;
	for (; v->count < count && !r.bad; v->count++) {
		struct view_entry *e = &v->entries[v->count];

		e->id = wire_u64(&r);
		e->sequence = wire_u64(&r);
		e->offset = wire_u32(&r);
		e->length = wire_u32(&r);
		e->type = wire_u8(&r);
		struct text summary = wire_text(&r, UINT32_MAX);

		e->summary = r.bad ? 0 : (size_t)((const uint8_t *)summary.data - data);
		e->summary_len = (uint32_t)summary.len;
		if (e->offset > QUEUE_SEGMENT_MAX || e->summary_len > e->length ||
		    e->length > (e->type == RECORD_DAMAGE ? QUEUE_SEGMENT_MAX : QUEUE_BATCH_BYTES))
			r.bad = true;
	}
	return wire_done(&r);
}

enum queue_result index_read(const struct queue *q, uint32_t generation, struct view *v)
{
	char name[NAME_BYTES] = "";

	*v = (struct view){0};
	index_name(name, generation, "idx");
	enum queue_result result = file_get(q, q->index_dir, name, &v->store);

	if (result == QUEUE_OK && !index_decode(v, generation))
		result = QUEUE_DAMAGED;
	if (result != QUEUE_OK)
		view_free(v);
	return result;
}
