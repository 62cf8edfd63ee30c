/* SPDX-License-Identifier: ISC */
/* Reading records back, in any thread, and the check of all checksums. */
#include "state.h"

#include "bytes.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
	CHECK_CHUNK = 256 << 10,
};

/*
 * One record, whole. The checksum covers the generation, so one of a recycled
 * segment fails; whether it is that or damage the header page tells.
 */
static enum queue_result record_read(const struct queue *q, uint32_t generation, uint32_t offset,
				     uint32_t least, uint8_t **record, struct record_header *h)
{
	const struct disk *d = q->disk;
	char name[NAME_BYTES] = "";
	uint8_t page[SEGMENT_HEADER];
	uint8_t *data = NULL;
	uint32_t is = 0, size = 0;
	enum queue_result result = QUEUE_OK;
	int64_t n = 0;

	segment_name(name, generation);
	int fd = d->open(d->self, q->segments_dir, name, O_RDONLY);

	if (fd < 0)
		return result_of(fd);
	size_t want = least > RECORD_HEADER ? least : RECORD_HEADER;

	data = mem_new(1, want);
	n = d->read(d->self, fd, data, want, offset);
	if (n >= RECORD_HEADER && get_u32(data) == RECORD_MAGIC &&
	    get_u32(data + 12) <= QUEUE_BATCH_BYTES &&
	    get_u32(data + 12) > (uint64_t)n - RECORD_HEADER) {
		want = RECORD_HEADER + (size_t)get_u32(data + 12);
		data = mem_resize(data, want, 1);
		n = d->read(d->self, fd, data, want, offset);
	}
	if (n < 0) {
		result = result_of((int)n);
		goto out;
	}
	if (record_header_get(data, (size_t)n, generation, h) &&
	    record_crc(data, generation, offset, h->length) == h->crc)
		goto out;
	result = QUEUE_DAMAGED;
	if (d->read(d->self, fd, page, sizeof(page), 0) == SEGMENT_HEADER &&
	    segment_header_get(page, &is, &size) == QUEUE_OK && is != generation)
		result = QUEUE_GONE;
out:
	d->close(d->self, fd);
	if (result == QUEUE_OK)
		*record = data;
	else
		free(data);
	return result;
}

enum queue_result queue_read_message(const struct queue *q, const struct queue_location *location,
				     struct queue_content *content)
{
	struct record_header h = {0};
	struct record_message m = {0};

	*content = (struct queue_content){0};
	if (!location->generation || location->length > QUEUE_BATCH_BYTES)
		return QUEUE_GONE;
	enum queue_result result = record_read(q, location->generation, location->offset,
					       location->length, &content->data, &h);

	if (result != QUEUE_OK)
		return result;
	const uint8_t *payload = content->data + RECORD_HEADER;

	if ((h.type != RECORD_MESSAGE && h.type != RECORD_MOVE) ||
	    !record_message_get(payload, h.summary, h.length, &m)) {
		queue_content_free(content);
		return QUEUE_DAMAGED;
	}
	const char *at = (const char *)payload + h.summary;

	content->id = h.id;
	content->arrival = m.arrival;
	content->submitter = m.submitter;
	content->envelope = (struct text){at, m.envelope};
	content->prelude = (struct text){at + m.envelope, m.prelude};
	content->body = (struct text){at + m.envelope + m.prelude, m.body};
	content->body_in_file = m.flags & MESSAGE_BODY_IN_FILE;
	content->body_length = m.body_length;
	content->body_crc = m.body_crc;
	content->recipient_count = m.recipients;
	return QUEUE_OK;
}

void queue_content_free(struct queue_content *content)
{
	free(content->data);
	*content = (struct queue_content){0};
}

static void outcome_copy(struct queue_outcome_copy *copy, const struct queue_outcome *o)
{
	copy->outcome = *o;
	(void)text_copy(copy->dsn, sizeof(copy->dsn), o->dsn);
	(void)text_copy(copy->text, sizeof(copy->text), o->text);
	copy->outcome.dsn.data = copy->dsn;
	copy->outcome.text.data = copy->text;
}

enum queue_result queue_read_outcome(const struct queue *q, struct queue_where where, uint64_t id,
				     uint32_t number, struct queue_outcome_copy *copy)
{
	struct record_header h = {0};
	struct record_message m = {0};
	struct record_outcome o = {0};
	uint8_t *record = NULL;

	if (!where.generation)
		return QUEUE_GONE;
	enum queue_result result = record_read(q, where.generation, where.offset, 512, &record, &h);

	if (result != QUEUE_OK)
		return result;
	struct wire_reader r = wire_reader_over(record + RECORD_HEADER, h.length);

	result = QUEUE_GONE;
	if ((h.type == RECORD_MESSAGE || h.type == RECORD_MOVE) &&
	    record_message_get(record + RECORD_HEADER, h.summary, h.length, &m))
		r = m.settles;
	else if (h.type != RECORD_OUTCOMES && h.type != RECORD_STATE)
		r.bad = true;
	/* The last one counts, should two of one recipient stand in a record. */
	while (record_outcome_get(&r, &o)) {
		if (o.outcome.id != id || o.outcome.recipient != number)
			continue;
		outcome_copy(copy, &o.outcome);
		result = QUEUE_OK;
	}
	free(record);
	return result;
}

/* ---- the check ---- */

struct check {
	struct queue *queue;
	struct queue_check *result;
	struct queue_owner owner; /* the caller's */
	bool failed;
};

static bool body_good(struct queue *q, const struct queue_content *c)
{
	uint8_t *chunk = mem_new(1, CHECK_CHUNK);
	uint64_t at = 0;
	uint32_t crc = 0;
	int64_t n = 0;
	int fd = -1;

	if (queue_body_open(q, c->id, &fd) == QUEUE_OK) {
		while ((n = q->disk->read(q->disk->self, fd, chunk, CHECK_CHUNK, at)) > 0) {
			crc = queue_crc32c(crc, chunk, (size_t)n);
			at += (uint64_t)n;
		}
		q->disk->close(q->disk->self, fd);
	}
	free(chunk);
	return fd >= 0 && n == 0 && at == c->body_length && crc == c->body_crc;
}

static void check_entry(void *arg, const struct queue_entry *e)
{
	struct check *c = arg;
	struct queue_content content = {0};

	c->result->live_messages++;
	c->result->live_recipients += e->open_count;
	if (e->body_in_file) {
		c->result->bodies++;
		if (queue_read_message(c->queue, &e->location, &content) != QUEUE_OK ||
		    !body_good(c->queue, &content))
			c->result->bad_bodies++;
		queue_content_free(&content);
	}
	c->owner.entry(c->owner.self, e);
}

static void check_damage(void *arg, const struct queue_damage *d)
{
	struct check *c = arg;

	c->result->damages++;
	c->owner.damage(c->owner.self, d);
}

static void check_count(struct queue_check *k, const struct view *v)
{
	struct record_outcome o = {0};

	k->bytes += v->end;
	for (size_t i = 0; i < v->count; i++) {
		const struct view_entry *e = &v->entries[i];
		struct wire_reader r = wire_reader_over(view_payload(v, e), e->summary_len);

		k->records += e->type != RECORD_DAMAGE;
		k->messages += e->type == RECORD_MESSAGE || e->type == RECORD_MOVE;
		k->tombstones += e->type == RECORD_TOMBSTONE;
		while ((e->type == RECORD_OUTCOMES || e->type == RECORD_STATE) &&
		       record_outcome_get(&r, &o))
			k->outcomes++;
	}
}

/* From the segment itself, never from an index; the index is judged against nothing but itself. */
static enum queue_result check_segment(struct queue *q, uint32_t generation, struct queue_check *k,
				       struct view *v)
{
	char name[NAME_BYTES] = "";
	struct view index = {0};
	enum queue_result result = index_read(q, generation, &index);

	k->indexes += result != QUEUE_GONE;
	k->bad_indexes += result != QUEUE_GONE && result != QUEUE_OK;
	view_free(&index);
	segment_name(name, generation);
	int fd = q->disk->open(q->disk->self, q->segments_dir, name, O_RDONLY);

	if (fd < 0)
		return fd == -ENOENT ? QUEUE_CHANGED : result_of(fd);
	result = view_scan(q, fd, generation, v);
	q->disk->close(q->disk->self, fd);
	return result;
}

enum queue_result queue_check(struct queue *q, struct queue_check *k)
{
	struct check c = {.queue = q, .result = k, .owner = q->owner};
	enum queue_result result = QUEUE_OK;
	struct view v = {0};

	*k = (struct queue_check){0};
	q->owner.self = &c;
	q->owner.entry = check_entry;
	q->owner.damage = check_damage;
	k->segments = q->load.viewing;
	if (q->load.viewing)
		check_count(k, &q->load.view);
	while ((result = queue_load_apply(q, UINT32_MAX)) == QUEUE_MORE || result == QUEUE_WAIT) {
		if (result == QUEUE_MORE)
			continue;
		result = check_segment(q, q->table[--q->load.left].generation, k, &v);
		if (result != QUEUE_OK)
			break;
		k->segments++;
		check_count(k, &v);
		load_view_take(q, &v);
	}
	q->owner = c.owner;
	if (result == QUEUE_OK && (k->damages || k->bad_bodies || k->bad_indexes))
		result = QUEUE_DAMAGED;
	return result;
}
