/* SPDX-License-Identifier: ISC */
/*
 * What the queue reads back from its disk. The input is made into a segment whose
 * checksums are right (but where it asks for a wrong one), so that each payload decoder
 * meets any bytes, and perhaps into an index file; then the queue is opened read-only,
 * checked or loaded, and each message that is found is read.
 *
 *   u8 how: 1 an index file from the rest instead of records; 2 queue_check(); 4 large bodies
 *   are there
 *   records: u8 type, u8 spoil (1: wrong checksum, 2: garbage before), u8 id, u16 length of the
 *   payload, u16 of the summary, payload
 */
#include "disk.h"
#include "must.h"
#include "queue.h"
#include "record.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	SEGMENT_BYTES = 64 << 10,
	DIR_SEGMENTS = 10,
	DIR_OTHER = 11,
	DIR_INDEX = 12,
	FILE_FORMAT = 20,
	FILE_SEGMENT = 21,
	FILE_NEWER = 22,
	FILE_INDEX = 23,
};

struct memory {
	uint8_t segment[SEGMENT_BYTES], newer[SEGMENT_BYTES], index[SEGMENT_BYTES];
	size_t index_len;
	bool bodies;
	struct queue *queue;
};

static int mem_open(void *self, int dir, const char *name, int flags)
{
	const struct memory *m = self;

	(void)flags;
	if (strcmp(name, "segments") == 0)
		return DIR_SEGMENTS;
	if (strcmp(name, "index") == 0)
		return DIR_INDEX;
	if (strcmp(name, "format") == 0)
		return FILE_FORMAT;
	if (dir == DIR_SEGMENTS && strcmp(name, "00000001.seg") == 0)
		return FILE_SEGMENT;
	if (dir == DIR_SEGMENTS && strcmp(name, "00000002.seg") == 0)
		return FILE_NEWER;
	if (dir == DIR_INDEX && m->index_len && strcmp(name, "00000001.idx") == 0)
		return FILE_INDEX;
	if (m->bodies && dir == DIR_OTHER && !strchr(name, '.'))
		return FILE_SEGMENT;
	return strchr(name, '.') || dir >= DIR_SEGMENTS ? -ENOENT : DIR_OTHER;
}

static void mem_close(void *self, int fd)
{
	(void)self;
	(void)fd;
}

static const uint8_t *file_of(const struct memory *m, int fd, size_t *len)
{
	*len = fd == FILE_FORMAT ? 2 : fd == FILE_INDEX ? m->index_len : (size_t)SEGMENT_BYTES;
	if (fd == FILE_FORMAT)
		return (const uint8_t *)"1\n";
	if (fd == FILE_INDEX)
		return m->index;
	return fd == FILE_NEWER ? m->newer : m->segment;
}

static int64_t mem_size(void *self, int fd)
{
	size_t len = 0;

	(void)file_of(self, fd, &len);
	return (int64_t)len;
}

static int64_t mem_read(void *self, int fd, void *to, size_t want, uint64_t offset)
{
	size_t len = 0;
	const uint8_t *data = file_of(self, fd, &len);

	if (offset >= len)
		return 0;
	if (want > len - offset)
		want = (size_t)(len - offset);
	memcpy(to, data + offset, want);
	return (int64_t)want;
}

static int mem_list(void *self, int dir, void (*name)(void *arg, const char *name), void *arg)
{
	(void)self;
	if (dir == DIR_SEGMENTS) {
		name(arg, "00000001.seg");
		name(arg, "00000002.seg");
		name(arg, "nonsense.seg");
	}
	return 0;
}

static void on_entry(void *self, const struct queue_entry *e)
{
	struct memory *m = self;
	struct queue_content c = {0};
	struct queue_outcome_copy copy;

	must(e->open_count && e->open_count <= e->recipient_count);
	if (queue_read_message(m->queue, &e->location, &c) == QUEUE_OK)
		must(c.id == e->id && c.recipient_count == e->recipient_count);
	queue_content_free(&c);
	for (uint32_t i = 0; i < e->open_count && i < 4; i++) {
		must(!queue_settled(e->open[i].kind, e->open[i].flags));
		(void)queue_read_outcome(m->queue, e->open[i].where, e->id, e->open[i].number,
					 &copy);
	}
}

static void on_damage(void *self, const struct queue_damage *d)
{
	(void)self;
	must(d->length <= QUEUE_SEGMENT_MAX);
}

/* Half of the records go to the newer segment. */
static void segment_fill(uint8_t *segment, uint32_t generation, struct wire_reader *r,
			 unsigned most)
{
	uint32_t offset = SEGMENT_HEADER;

	segment_header_put(segment, generation, SEGMENT_BYTES);
	for (unsigned n = 0; n < most && !r->bad && r->at < r->end; n++) {
		struct record_header h = {.generation = generation, .batch = offset};

		h.type = wire_u8(r);
		uint8_t spoil = wire_u8(r);

		h.id = wire_u8(r);
		h.length = wire_u16(r);
		h.summary = wire_u16(r);
		h.sequence = generation * 100 + n;
		if (spoil & 2)
			offset += 64;
		if (r->bad || h.length > (size_t)(r->end - r->at) ||
		    h.length > SEGMENT_BYTES - RECORD_HEADER - RECORD_ALIGN - offset)
			return;
		record_header_put(segment + offset, &h);
		memcpy(segment + offset + RECORD_HEADER, r->at, h.length);
		record_crc_put(segment + offset,
			       record_crc(segment + offset, generation, offset, h.length) ^
				   (spoil & 1));
		r->at += h.length;
		offset += record_padded(h.length);
		if (offset > SEGMENT_BYTES - 1024)
			return;
	}
}

static void index_fill(struct memory *m, struct wire_reader *r)
{
	size_t len = (size_t)(r->end - r->at);

	if (len < 60 || len > sizeof(m->index))
		return;
	memcpy(m->index, r->at, len);
	(void)put_u32(m->index, 0x31495156);
	(void)put_u32(m->index + 8, QUEUE_FORMAT);
	(void)put_u32(m->index + 12, 1);
	(void)put_u32(m->index + 4, queue_crc32c(0, m->index + 8, len - 8));
	m->index_len = len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memory m;
	const struct disk disk = {.self = &m,
				  .open = mem_open,
				  .close = mem_close,
				  .read = mem_read,
				  .size = mem_size,
				  .list = mem_list};
	const struct queue_owner owner = {.self = &m, .entry = on_entry, .damage = on_damage};
	struct wire_reader r = wire_reader_over(data, size);
	struct queue_check check = {0};
	uint8_t how = wire_u8(&r);

	memset(&m, 0, sizeof(m));
	m.bodies = (how & 4) != 0;
	if (how & 1) {
		index_fill(&m, &r);
	} else {
		segment_fill(m.segment, 1, &r, 6);
	}
	segment_fill(m.newer, 2, &r, 100);
	if (queue_open_readonly(&m.queue, &disk, 1, &owner) != QUEUE_OK)
		return 0;
	if (how & 2)
		(void)queue_check(m.queue, &check);
	else
		(void)queue_load_all(m.queue);
	queue_close(&m.queue);
	return 0;
}
