/* SPDX-License-Identifier: ISC */
/*
 * The commit: sealed, written, synced, told. One batch is in flight at a
 * time, so a record that follows another commit's proves that this one was synced.
 */
#include "state.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

/* ---- M: sealing ---- */

/*
 * Each outcome names its message's home, the segment while which exists the
 * outcome of a dead message must be kept as a tombstone. It is asked now and not
 * when the outcome was added, since the cleaner may have moved the message.
 */
static void outcomes_home(struct queue *q, struct queue_batch *b, struct wire_reader r,
			  uint8_t *payload)
{
	struct record_outcome o = {0};
	struct queue_location location = {0};
	const uint8_t *base = r.at;

	for (size_t at = 0; record_outcome_get(&r, &o); at = (size_t)(r.at - base)) {
		uint32_t home = 0;

		if (batch_has_moved(b, o.outcome.id))
			home = b->place.generation;
		else if (q->owner.locate(q->owner.self, o.outcome.id, &location))
			home = location.generation;
		record_outcome_home(payload + at, home);
	}
}

static void record_seal(struct queue *q, struct queue_batch *b, uint8_t *at)
{
	struct record_header h = {0};
	struct record_message m = {0};

	must(record_header_get(at, b->size - (size_t)(at - b->data), get_u32(at + 8), &h));
	h.generation = b->place.generation;
	h.sequence = q->sequence++;
	h.batch = b->place.offset;
	record_header_put(at, &h);
	uint8_t *payload = at + RECORD_HEADER;

	if (h.type == RECORD_OUTCOMES || h.type == RECORD_STATE) {
		outcomes_home(q, b, wire_reader_over(payload, h.length), payload);
	} else if (h.type == RECORD_MESSAGE || h.type == RECORD_MOVE) {
		must(record_message_get(payload, h.summary, h.length, &m));
		outcomes_home(q, b, m.settles, payload + (m.settles.at - payload));
		/* The owner was asked for a move's state before this batch's own outcomes. */
		if (h.type == RECORD_MOVE)
			record_folded_put(payload, b->first);
	}
}

static void head_retire(struct queue *q)
{
	struct segment *s = segment_find(q, q->head.generation);

	if (s)
		s->sealed = true;
	if (q->head.fd >= 0)
		q->disk->close(q->disk->self, q->head.fd);
	q->head.fd = -1; /* its generation stays: later ones are higher */
}

static void head_advance(struct queue *q, const struct head *to)
{
	head_retire(q);
	q->head = *to;
	(void)segment_add(q, to->generation, to->size);
}

/* The lease and aborts that go first. A segment begins with a lease, so the newest one has it. */
static void prefix_seal(struct queue *q, struct queue_batch *b)
{
	uint64_t lease = q->lease > q->lease_wanted ? q->lease : q->lease_wanted;
	bool first = b->place.offset == SEGMENT_HEADER;

	b->begin = BATCH_PREFIX;
	b->abort_count = q->abort_count;
	for (uint32_t i = 0; i < q->abort_count; i++) {
		b->begin -= ABORT_RECORD;
		b->aborts[i] = q->aborts[i];
		batch_write_abort(b->data + b->begin, &q->aborts[i]);
	}
	b->lease = first || q->lease_wanted > q->lease ? lease : 0;
	if (b->lease) {
		b->begin -= LEASE_RECORD;
		batch_write_lease(b->data + b->begin, b->lease);
	}
}

static enum queue_result place_choose(struct queue *q, const struct queue_batch *b)
{
	/* All of the prefix is counted, whether it is used or not: simpler, and 376 bytes. */
	bool fits = q->head.fd >= 0 && b->used <= q->head.size - q->head.offset;

	if (fits && !q->abort_count)
		return QUEUE_OK;
	if (q->next.fd >= 0) {
		head_advance(q, &q->next);
		q->next = (struct head){.fd = -1};
		return QUEUE_OK;
	}
	if (fits)
		return QUEUE_OK;
	if (!q->prepare_failed)
		return QUEUE_WAIT;
	return q->full ? QUEUE_FULL : QUEUE_IO;
}

enum queue_result queue_batch_seal(struct queue *q, struct queue_batch **batch)
{
	*batch = NULL;
	if (q->flying)
		return QUEUE_WAIT;
	if (queue_batch_empty(q))
		return QUEUE_OK;
	struct queue_batch *b = queue_batch_filling(q);
	enum queue_result result = place_choose(q, b);

	if (result != QUEUE_OK)
		return result;
	struct record_header h = {0};

	b->place = q->head;
	prefix_seal(q, b);
	b->first = q->sequence;
	for (size_t at = b->begin; at < b->used; at += record_padded(h.length)) {
		record_seal(q, b, b->data + at);
		must(record_header_get(b->data + at, b->used - at, b->place.generation, &h));
	}
	b->last = q->sequence - 1;
	b->spare = q->next;
	b->spare_made = false;
	q->head.offset += (uint32_t)(b->used - b->begin);
	q->flying = b;
	q->filling = NULL;
	*batch = b;
	return QUEUE_OK;
}

/* ---- A: writing ---- */

static void batch_checksum(struct queue_batch *b, size_t begin, size_t end, struct head place)
{
	struct record_header h = {0};
	size_t at = begin;

	while (at < end) {
		uint8_t *record = b->data + at;
		uint32_t offset = place.offset + (uint32_t)(at - begin);

		must(record_header_get(record, end - at, place.generation, &h));
		record_crc_put(record, record_crc(record, place.generation, offset, h.length));
		at += record_padded(h.length);
	}
}

static int batch_output(struct queue *q, const uint8_t *data, size_t len, struct head place)
{
	int error = q->disk->write(q->disk->self, place.fd, data, len, place.offset);

	return error < 0 ? error : q->disk->sync(q->disk->self, place.fd);
}

/* Puts the range among those to be voided. One without mail or moves needs no voiding: its
 * outcomes are facts. */
static void abort_note(struct queue_batch *b)
{
	if (!b->mail && !b->cleaned)
		return;
	if (b->abort_count == ABORTS_MAX) /* none is taken while an abort is owed, so never */
		return;
	b->aborts[b->abort_count++] = (struct record_abort){
	    .generation = b->place.generation,
	    .from = b->place.offset,
	    .to = b->place.offset + (uint32_t)(b->used - b->begin),
	    .first = b->first,
	    .last = b->last,
	};
}

/* A durable record in a segment of its own says that the range never happened. */
static enum queue_result batch_abort(struct queue *q, struct queue_batch *b)
{
	struct queue_batch small = {.data = mem_new(1, BATCH_PREFIX), .size = BATCH_PREFIX};
	struct record_header h = {0};
	uint64_t sequence = b->last + 1;
	enum queue_result result = QUEUE_OK;

	abort_note(b);
	if (b->spare.fd < 0) {
		b->spare_made = true;
		result = segment_make(q, true, &b->spare);
	}
	batch_write_lease(small.data, b->lease ? b->lease : q->lease);
	small.used = LEASE_RECORD;
	for (uint32_t i = 0; i < b->abort_count; i++, small.used += ABORT_RECORD)
		batch_write_abort(small.data + small.used, &b->aborts[i]);
	if (result == QUEUE_OK) {
		for (size_t at = 0; at < small.used; at += record_padded(h.length)) {
			uint8_t *record = small.data + at;

			must(record_header_get(record, small.used - at, 0, &h));
			h.generation = b->spare.generation;
			h.batch = b->spare.offset;
			h.sequence = sequence++;
			record_header_put(record, &h);
		}
		batch_checksum(&small, 0, small.used, b->spare);
		if (batch_output(q, small.data, small.used, b->spare) < 0)
			result = QUEUE_IO;
		b->spare.offset += (uint32_t)small.used;
	}
	b->abort_last = sequence;
	free(small.data);
	return result == QUEUE_OK ? QUEUE_ABORTED : QUEUE_IO;
}

enum queue_result queue_batch_write(struct queue *q, struct queue_batch *b)
{
	must(b == q->flying);
	batch_checksum(b, b->begin, b->used, b->place);
	if (batch_output(q, b->data + b->begin, b->used - b->begin, b->place) >= 0)
		return QUEUE_OK;
	return batch_abort(q, b);
}

/* ---- M: the result ---- */

static void outcomes_tell(struct queue *q, struct wire_reader r, struct queue_where now, bool moved)
{
	struct record_outcome o = {0};

	while (record_outcome_get(&r, &o)) {
		bool settled = queue_settled(o.outcome.kind, o.outcome.flags);

		if (!settled)
			segment_outcome_add(q, now.generation);
		if (moved && settled) /* the owner forgot that recipient long ago */
			continue;
		struct queue_where old =
		    q->owner.outcome(q->owner.self, &o.outcome, now, moved, o.old);

		/* A settled one was not counted, so NOW in return means nothing. */
		if (settled && old.generation == now.generation && old.offset == now.offset)
			continue;
		segment_outcome_take(q, old.generation);
	}
}

static void message_tell(struct queue *q, const struct record_header *h, uint32_t offset,
			 const uint8_t *payload)
{
	struct queue_location now = {h->generation, offset, record_padded(h->length)};
	struct queue_location old = {0};
	struct record_message m = {0};

	must(record_message_get(payload, h->summary, h->length, &m));
	if (!q->owner.locate(q->owner.self, h->id, &old))
		old = (struct queue_location){0};
	if (q->owner.placed(q->owner.self, h->id, &now)) {
		segment_live_add(q, now.generation, now.length);
		segment_live_take(q, old.generation, old.length);
		/* An older record that no cleaning is about to void: see clean.c. */
		struct segment *s = old.generation ? segment_find(q, old.generation) : NULL;

		if (s && m.settle_count && old.generation != now.generation)
			s->stale = true;
	}
	if (h->type == RECORD_MOVE)
		q->moved_bytes += now.length;
	outcomes_tell(q, m.settles, (struct queue_where){now.generation, offset}, false);
}

static void batch_tell(struct queue *q, struct queue_batch *b)
{
	struct record_header h = {0};

	for (size_t at = b->begin; at < b->used; at += record_padded(h.length)) {
		const uint8_t *payload = b->data + at + RECORD_HEADER;
		uint32_t offset = b->place.offset + (uint32_t)(at - b->begin);

		must(record_header_get(b->data + at, b->used - at, b->place.generation, &h));
		if (h.type == RECORD_MESSAGE || h.type == RECORD_MOVE)
			message_tell(q, &h, offset, payload);
		else if (h.type == RECORD_OUTCOMES || h.type == RECORD_STATE)
			outcomes_tell(q, wire_reader_over(payload, h.length),
				      (struct queue_where){h.generation, offset},
				      h.type == RECORD_STATE);
	}
}

static void batch_failed(struct queue *q, struct queue_batch *b, enum queue_result result)
{
	q->abort_total++;
	q->sequence = b->abort_last > q->sequence ? b->abort_last : q->sequence;
	head_retire(q);
	if (!b->spare_made)
		q->next = (struct head){.fd = -1};
	if (b->spare.fd >= 0) {
		head_advance(q, &b->spare);
		if (result != QUEUE_ABORTED)
			head_retire(q);
	}
	/* Generations rise with sequences: what the worker made before the appender's is passed
	 * over. */
	if (q->next.fd >= 0 && q->next.generation < q->head.generation)
		segment_waste(q, &q->next);
	for (uint32_t i = 0; i < b->abort_count; i++)
		void_add(q, &b->aborts[i]);
	q->abort_count = 0;
	q->broken = result != QUEUE_ABORTED;
	if (q->broken) {
		memcpy(q->aborts, b->aborts, sizeof(q->aborts));
		q->abort_count = b->abort_count;
	}
	if (b->cleaned || (q->clean.any && q->clean.serial >= b->serial))
		clean_restart(q);
}

void queue_batch_done(struct queue *q, struct queue_batch **batch, enum queue_result result)
{
	struct queue_batch *b = *batch;

	*batch = NULL;
	must(b && b == q->flying);
	q->flying = NULL;
	if (result != QUEUE_OK) {
		batch_failed(q, b, result);
	} else {
		q->commits++;
		q->committed = b->serial;
		q->durable_generation = b->place.generation;
		q->broken = false;
		if (b->lease > q->lease)
			q->lease = b->lease;
		q->abort_count = 0;
		batch_tell(q, b);
	}
	queue_batch_unref(&b);
}

void queue_message_forget(struct queue *q, const struct queue_location *location)
{
	segment_live_take(q, location->generation, location->length);
}

void queue_outcome_forget(struct queue *q, struct queue_where where)
{
	segment_outcome_take(q, where.generation);
}

enum queue_result queue_ids_take(struct queue *q, uint32_t count, uint64_t *first)
{
	if (q->readonly || count > q->options.lease_ids)
		return QUEUE_TOO_BIG;
	if (count > q->lease - q->next_id) {
		if (q->lease_wanted <= q->lease)
			q->lease_wanted = q->lease + q->options.lease_ids;
		return QUEUE_WAIT;
	}
	*first = q->next_id;
	q->next_id += count;
	/* The next lease is asked for before this one is used up. */
	if (q->lease - q->next_id < q->options.lease_ids / 2 && q->lease_wanted <= q->lease)
		q->lease_wanted = q->lease + q->options.lease_ids;
	return QUEUE_OK;
}
