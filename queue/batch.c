/* SPDX-License-Identifier: ISC */
/* The batch being filled: records laid out in memory as they will lie on disk. */
#include "state.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

static struct queue_batch *batch_new(struct queue *q)
{
	struct queue_batch *b = batch_pool_take(q->batches, q->options.batch_bytes + BATCH_PREFIX);

	b->refs = 1;
	b->used = BATCH_PREFIX;
	b->serial = ++q->serial;
	return b;
}

struct queue_batch *queue_batch_filling(struct queue *q)
{
	if (!q->filling)
		q->filling = batch_new(q);
	return q->filling;
}

struct queue_batch *queue_batch_ref(struct queue_batch *b)
{
	must(b->refs > 0 && b->refs < UINT32_MAX);
	b->refs++;
	return b;
}

void queue_batch_unref(struct queue_batch **batch)
{
	struct queue_batch *b = *batch;

	*batch = NULL;
	if (!b)
		return;
	must(b->refs > 0);
	if (--b->refs == 0)
		batch_pool_give(b);
}

bool queue_batch_empty(const struct queue *q)
{
	return (!q->filling || q->filling->used == BATCH_PREFIX) && q->lease_wanted <= q->lease &&
	       !q->abort_count;
}

size_t queue_batch_bytes(const struct queue *q)
{
	return q->filling ? q->filling->used - BATCH_PREFIX : 0;
}

enum queue_result queue_intake(const struct queue *q)
{
	uint32_t room = q->head.fd >= 0 ? q->head.size - q->head.offset : 0;

	if (q->readonly || q->broken)
		return QUEUE_IO;
	if (atomic_load(&q->reserve_left) < q->options.reserve_segments)
		return q->prepare_failed ? QUEUE_FULL : QUEUE_WAIT;
	if (q->next.fd >= 0 || room > 2 * q->options.batch_bytes)
		return QUEUE_OK;
	if (q->prepare_failed)
		return q->full ? QUEUE_FULL : QUEUE_IO;
	return room > q->options.batch_bytes ? QUEUE_OK : QUEUE_WAIT;
}

/* Whether a record of LENGTH payload bytes may be added now. */
enum queue_result batch_room(struct queue *q, size_t length, bool mail)
{
	struct queue_batch *b = queue_batch_filling(q);

	if (length > q->options.batch_bytes - RECORD_HEADER - RECORD_ALIGN)
		return QUEUE_TOO_BIG;
	size_t total = record_padded((uint32_t)length);

	if (q->readonly)
		return QUEUE_IO;
	if (total > b->size - b->used)
		return QUEUE_BATCH_FULL;
	if (!mail)
		return QUEUE_OK;
	if (q->broken)
		return QUEUE_IO;
	if (atomic_load(&q->reserve_left) < q->options.reserve_segments)
		return q->prepare_failed ? QUEUE_FULL : QUEUE_WAIT;
	if (q->next.fd >= 0 ||
	    (q->head.fd >= 0 && b->used + total <= q->head.size - q->head.offset))
		return QUEUE_OK;
	if (!q->prepare_failed)
		return QUEUE_WAIT;
	return q->full ? QUEUE_FULL : QUEUE_IO;
}

/* A record's header; its payload of LENGTH bytes is the caller's to fill. Room was checked. */
uint8_t *batch_record(struct queue_batch *b, uint8_t type, uint64_t id, size_t length,
		      size_t summary)
{
	uint32_t total = record_padded((uint32_t)length);
	uint8_t *at = b->data + b->used;
	const struct record_header h = {
	    .length = (uint32_t)length, .summary = (uint32_t)summary, .id = id, .type = type};

	must(total <= b->size - b->used);
	record_header_put(at, &h);
	memset(at + RECORD_HEADER + length, 0, total - RECORD_HEADER - length);
	b->outcomes = type == RECORD_OUTCOMES || type == RECORD_STATE ? b->used : 0;
	b->used += total;
	return at + RECORD_HEADER;
}

void batch_moved(struct queue_batch *b, uint64_t id)
{
	if (b->moved_count == b->moved_size) {
		b->moved_size = b->moved_size ? b->moved_size * 2 : 64;
		b->moved = mem_resize(b->moved, b->moved_size, sizeof(*b->moved));
	}
	b->moved[b->moved_count++] = id;
}

bool batch_has_moved(const struct queue_batch *b, uint64_t id)
{
	for (size_t i = 0; i < b->moved_count; i++)
		if (b->moved[i] == id)
			return true;
	return false;
}

/* ---- messages ---- */

static size_t domains_bytes(const struct queue_message *m)
{
	size_t n = 0;

	for (uint32_t i = 0; i < m->recipient_count; i++)
		n +=
		    1 + (i && text_equal(m->domains[i], m->domains[i - 1]) ? 0 : m->domains[i].len);
	return n;
}

size_t message_summary_bytes(const struct queue_message *m, uint32_t open_count)
{
	size_t n = 8 + 8 + 8 + 4 + 1 + 4 + m->submitter.len + 4 + domains_bytes(m) + 4 + 4 + 12;

	if (open_count != RECORD_ALL_OPEN)
		n += (size_t)open_count * OPEN_FIXED;
	for (size_t i = 0; i < m->settle_count; i++)
		n += record_outcome_bytes(&m->settles[i]);
	return n;
}

static uint8_t *domains_put(uint8_t *to, const struct queue_message *m)
{
	for (uint32_t i = 0; i < m->recipient_count; i++) {
		if (i && text_equal(m->domains[i], m->domains[i - 1])) {
			to = put_u8(to, RECORD_SAME);
			continue;
		}
		to = put_u8(to, (uint8_t)m->domains[i].len);
		to = put_data(to, m->domains[i].data, m->domains[i].len);
	}
	return to;
}

static uint8_t *open_put(uint8_t *to, const struct queue_recipient *open, uint32_t count)
{
	to = put_u32(to, count);
	for (uint32_t i = 0; count != RECORD_ALL_OPEN && i < count; i++) {
		to = put_u32(to, open[i].number);
		to = put_u8(to, (uint8_t)open[i].kind);
		to = put_u8(to, open[i].flags);
		to = put_u16(to, open[i].attempts);
		to = put_u16(to, open[i].code);
		to = put_u64(to, (uint64_t)open[i].next.us);
		to = put_u32(to, open[i].where.generation);
		to = put_u32(to, open[i].where.offset);
	}
	return to;
}

static uint8_t *summary_put(uint8_t *to, const struct queue_message *m,
			    const struct queue_recipient *open, uint32_t open_count)
{
	to = put_u64(to, (uint64_t)m->arrival.us);
	to = put_u64(to, 0);
	to = put_u64(to, m->body_in_file ? m->body_length : m->body.len);
	to = put_u32(to, m->body_in_file ? m->body_crc : 0);
	to = put_u8(to, m->body_in_file ? MESSAGE_BODY_IN_FILE : 0);
	to = put_u32(to, (uint32_t)m->submitter.len);
	to = put_data(to, m->submitter.data, m->submitter.len);
	to = put_u32(to, m->recipient_count);
	to = domains_put(to, m);
	to = open_put(to, open, open_count);
	to = put_u32(to, (uint32_t)m->settle_count);
	for (size_t i = 0; i < m->settle_count; i++)
		to = record_outcome_put(to, &(struct record_outcome){.outcome = m->settles[i]});
	to = put_u32(to, (uint32_t)m->envelope.len);
	to = put_u32(to, (uint32_t)m->prelude.len);
	return put_u32(to, (uint32_t)m->body.len);
}

static bool message_in_bounds(const struct queue_message *m)
{
	if (!m->id || m->submitter.len > QUEUE_SUBMITTER_MAX ||
	    m->envelope.len > QUEUE_ENVELOPE_MAX || m->prelude.len > QUEUE_PRELUDE_MAX ||
	    m->body.len > QUEUE_BODY_MAX || !m->recipient_count ||
	    m->recipient_count > QUEUE_RECIPIENTS_MAX || (m->body_in_file && m->body.len))
		return false;
	for (uint32_t i = 0; i < m->recipient_count; i++)
		if (m->domains[i].len > QUEUE_DOMAIN_MAX)
			return false;
	return true;
}

/* Adds the record; OPEN_COUNT RECORD_ALL_OPEN makes it a new message, else a move. */
static enum queue_result message_put(struct queue *q, const struct queue_message *m,
				     const struct queue_recipient *open, uint32_t open_count,
				     struct queue_placed *placed)
{
	size_t summary = message_summary_bytes(m, open_count);
	size_t length = summary + m->envelope.len + m->prelude.len + m->body.len;
	enum queue_result result = batch_room(q, length, true);

	if (result != QUEUE_OK)
		return result;
	struct queue_batch *b = queue_batch_filling(q);
	uint8_t type = open_count == RECORD_ALL_OPEN ? RECORD_MESSAGE : RECORD_MOVE;
	uint8_t *at =
	    summary_put(batch_record(b, type, m->id, length, summary), m, open, open_count);
	char *envelope = (char *)at;
	char *prelude = (char *)put_data(at, m->envelope.data, m->envelope.len);
	char *body = (char *)put_data((uint8_t *)prelude, m->prelude.data, m->prelude.len);

	(void)put_data((uint8_t *)body, m->body.data, m->body.len);
	b->mail = true;
	if (placed) {
		placed->envelope = (struct text){envelope, m->envelope.len};
		placed->prelude = (struct text){prelude, m->prelude.len};
		placed->body = (struct text){body, m->body.len};
	}
	return QUEUE_OK;
}

/* Old recipients as they stand, new ones waiting. */
static enum queue_result message_replace(struct queue *q, const struct queue_message *m,
					 struct queue_placed *placed)
{
	/* An outcome in flight would be missing from the folded state. */
	if (q->flying)
		return QUEUE_WAIT;
	if (m->first_new > m->recipient_count)
		return QUEUE_TOO_BIG;
	struct queue_recipient *open = mem_new((size_t)m->recipient_count + 1, sizeof(*open));
	uint32_t count = q->owner.open(q->owner.self, m->id, open, m->first_new);

	for (uint32_t i = m->first_new; i < m->recipient_count; i++)
		open[count++] = (struct queue_recipient){.number = i};
	enum queue_result result = message_put(q, m, open, count, placed);

	free(open);
	if (result == QUEUE_OK)
		batch_moved(queue_batch_filling(q), m->id);
	return result;
}

enum queue_result queue_add_message(struct queue *q, const struct queue_message *m,
				    struct queue_placed *placed)
{
	if (!message_in_bounds(m))
		return QUEUE_TOO_BIG;
	if (m->replaces)
		return message_replace(q, m, placed);
	return message_put(q, m, NULL, RECORD_ALL_OPEN, placed);
}

/* Into the last record, when it is one of TYPE (and of ID, if not 0) with room. */
static uint8_t *outcomes_extend(struct queue_batch *b, uint8_t type, uint64_t id, size_t len)
{
	if (!b->outcomes)
		return NULL;
	uint8_t *header = b->data + b->outcomes;
	uint32_t length = get_u32(header + 12);
	size_t total = record_padded((uint32_t)(length + len));

	if (header[40] != type || get_u64(header + 24) != id || length + len > OUTCOMES_BYTES ||
	    total > b->size - b->outcomes)
		return NULL;
	b->used = b->outcomes + total;
	memset(header + RECORD_HEADER + length + len, 0, total - RECORD_HEADER - length - len);
	(void)put_u32(header + 12, (uint32_t)(length + len));
	(void)put_u32(header + 36, (uint32_t)(length + len));
	return header + RECORD_HEADER + length;
}

enum queue_result batch_add_outcome(struct queue *q, uint8_t type, const struct record_outcome *o)
{
	struct queue_batch *b = queue_batch_filling(q);
	size_t len = record_outcome_bytes(&o->outcome);
	uint64_t id = type == RECORD_STATE ? o->outcome.id : 0;
	uint8_t *at = q->readonly ? NULL : outcomes_extend(b, type, id, len);

	if (!at) {
		enum queue_result result = batch_room(q, len, false);

		if (result != QUEUE_OK)
			return result;
		at = batch_record(b, type, id, len, len);
	}
	(void)record_outcome_put(at, o);
	return QUEUE_OK;
}

enum queue_result queue_add_outcome(struct queue *q, const struct queue_outcome *o)
{
	return batch_add_outcome(q, RECORD_OUTCOMES, &(struct record_outcome){.outcome = *o});
}

enum queue_result batch_add_move(struct queue *q, const struct record_header *h,
				 const uint8_t *payload, const struct queue_recipient *open,
				 uint32_t open_count)
{
	struct record_message m = {0};

	must(record_message_get(payload, h->summary, h->length, &m));
	const uint8_t *domains_end = m.open.at - 4;
	size_t head = (size_t)(domains_end - payload), content = h->length - h->summary;
	size_t summary = head + 4 + (size_t)open_count * OPEN_FIXED + 4 + 12;
	enum queue_result result = batch_room(q, summary + content, false);

	if (result != QUEUE_OK)
		return result;
	struct queue_batch *b = queue_batch_filling(q);
	uint8_t *at = batch_record(b, RECORD_MOVE, h->id, summary + content, summary);

	at = open_put(put_data(at, payload, head), open, open_count);
	at = put_u32(at, 0);
	at = put_u32(put_u32(put_u32(at, m.envelope), m.prelude), m.body);
	(void)put_data(at, payload + h->summary, content);
	batch_moved(b, h->id);
	return QUEUE_OK;
}

void queue_batch_outcomes(const struct queue_batch *b,
			  void (*visit)(void *arg, const struct queue_outcome *outcome), void *arg)
{
	struct record_outcome o = {0};
	struct record_header h = {0};

	for (size_t at = BATCH_PREFIX; at < b->used; at += record_padded(h.length)) {
		const uint8_t *header = b->data + at;

		must(record_header_get(header, b->used - at, get_u32(header + 8), &h));
		struct wire_reader r = wire_reader_over(header + RECORD_HEADER, h.length);

		while (h.type == RECORD_OUTCOMES && record_outcome_get(&r, &o))
			visit(arg, &o.outcome);
	}
}

void queue_batch_withdraw(struct queue *q)
{
	struct queue_batch *b = queue_batch_filling(q);
	struct record_header h = {0};
	size_t kept = BATCH_PREFIX;

	b->touched = b->used > b->touched ? b->used : b->touched;
	for (size_t at = BATCH_PREFIX; at < b->used; at += record_padded(h.length)) {
		const uint8_t *header = b->data + at;

		must(record_header_get(header, b->used - at, get_u32(header + 8), &h));
		size_t total = record_padded(h.length);

		if (h.type == RECORD_MESSAGE)
			continue;
		memmove(b->data + kept, header, total);
		kept += total;
	}
	b->used = kept;
	b->outcomes = 0;
	b->mail = b->moved_count > 0;
}

void batch_write_lease(uint8_t *at, uint64_t end)
{
	const struct record_header h = {.length = 8, .summary = 8, .type = RECORD_LEASE};

	record_header_put(at, &h);
	(void)put_u64(at + RECORD_HEADER, end);
}

void batch_write_abort(uint8_t *at, const struct record_abort *a)
{
	const struct record_header h = {
	    .length = ABORT_BYTES, .summary = ABORT_BYTES, .type = RECORD_ABORT};

	memset(at, 0, ABORT_RECORD);
	record_header_put(at, &h);
	record_abort_put(at + RECORD_HEADER, a);
}
