/* SPDX-License-Identifier: ISC */
/* Records to bytes and back. Bytes from the disk are data, so nothing here aborts on them. */
#include "record.h"

#include <string.h>

static uint8_t *put_int(uint8_t *to, uint64_t v, size_t size)
{
	for (size_t i = 0; i < size; i++, v >>= 8)
		to[i] = (uint8_t)v;
	return to + size;
}

uint8_t *put_u8(uint8_t *to, uint8_t v)
{
	*to = v;
	return to + 1;
}

uint8_t *put_u16(uint8_t *to, uint16_t v)
{
	return put_int(to, v, 2);
}

uint8_t *put_u32(uint8_t *to, uint32_t v)
{
	return put_int(to, v, 4);
}

uint8_t *put_u64(uint8_t *to, uint64_t v)
{
	return put_int(to, v, 8);
}

uint8_t *put_data(uint8_t *to, const void *data, size_t len)
{
	if (len)
		memcpy(to, data, len);
	return to + len;
}

uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

uint64_t get_u64(const uint8_t *at)
{
	return get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

/* ---- headers ---- */

bool record_header_get(const uint8_t *at, size_t room, uint32_t generation, struct record_header *h)
{
	if (room < RECORD_HEADER || get_u32(at) != RECORD_MAGIC || get_u32(at + 8) != generation)
		return false;
	h->crc = get_u32(at + 4);
	h->generation = generation;
	h->length = get_u32(at + 12);
	h->sequence = get_u64(at + 16);
	h->id = get_u64(at + 24);
	h->batch = get_u32(at + 32);
	h->summary = get_u32(at + 36);
	h->type = at[40];
	return h->length <= room - RECORD_HEADER && h->summary <= h->length && h->type > 0 &&
	       h->type < RECORD_TYPES;
}

void record_header_put(uint8_t *at, const struct record_header *h)
{
	at = put_u32(at, RECORD_MAGIC);
	at = put_u32(at, 0);
	at = put_u32(at, h->generation);
	at = put_u32(at, h->length);
	at = put_u64(at, h->sequence);
	at = put_u64(at, h->id);
	at = put_u32(at, h->batch);
	at = put_u32(at, h->summary);
	at = put_u8(at, h->type);
	at = put_u8(at, 0);
	at = put_u16(at, 0);
	(void)put_u32(at, 0);
}

uint32_t record_crc(const uint8_t *at, uint32_t generation, uint32_t offset, uint32_t length)
{
	uint8_t place[8];

	(void)put_u32(put_u32(place, generation), offset);
	return queue_crc32c(queue_crc32c(0, place, sizeof(place)), at + 8,
			    (size_t)RECORD_HEADER - 8 + length);
}

void record_crc_put(uint8_t *at, uint32_t crc)
{
	(void)put_u32(at + 4, crc);
}

void segment_header_put(uint8_t page[static SEGMENT_HEADER], uint32_t generation, uint32_t size)
{
	memset(page, 0, SEGMENT_HEADER);
	(void)put_u32(page, SEGMENT_MAGIC);
	(void)put_u32(put_u32(put_u32(page + 8, QUEUE_FORMAT), generation), size);
	(void)put_u32(page + 4, queue_crc32c(0, page + 8, SEGMENT_HEADER - 8));
}

enum queue_result segment_header_get(const uint8_t page[static SEGMENT_HEADER],
				     uint32_t *generation, uint32_t *size)
{
	if (get_u32(page) != SEGMENT_MAGIC ||
	    get_u32(page + 4) != queue_crc32c(0, page + 8, SEGMENT_HEADER - 8))
		return QUEUE_DAMAGED;
	if (get_u32(page + 8) > QUEUE_FORMAT)
		return QUEUE_TOO_NEW;
	*generation = get_u32(page + 12);
	*size = get_u32(page + 16);
	return QUEUE_OK;
}

/* ---- outcomes ---- */

static size_t outcome_dsn(const struct queue_outcome *o)
{
	return o->dsn.len < QUEUE_DSN_MAX ? o->dsn.len : QUEUE_DSN_MAX;
}

static size_t outcome_text(const struct queue_outcome *o)
{
	return o->text.len < QUEUE_TEXT_MAX ? o->text.len : QUEUE_TEXT_MAX;
}

size_t record_outcome_bytes(const struct queue_outcome *o)
{
	return OUTCOME_FIXED + outcome_dsn(o) + outcome_text(o);
}

uint8_t *record_outcome_put(uint8_t *to, const struct record_outcome *r)
{
	const struct queue_outcome *o = &r->outcome;
	size_t dsn = outcome_dsn(o), text = outcome_text(o);

	to = put_u64(to, o->id);
	to = put_u64(to, r->stamp);
	to = put_u64(to, (uint64_t)o->at.us);
	to = put_u64(to, (uint64_t)o->next.us);
	to = put_u32(to, r->home);
	to = put_u32(to, o->recipient);
	to = put_u32(to, r->old.generation);
	to = put_u32(to, r->old.offset);
	to = put_u16(to, o->attempts);
	to = put_u16(to, o->code);
	to = put_u8(to, (uint8_t)o->kind);
	to = put_u8(to, o->flags);
	to = put_u8(to, (uint8_t)dsn);
	to = put_u8(to, 0);
	to = put_u16(to, (uint16_t)text);
	to = put_data(to, o->dsn.data, dsn);
	return put_data(to, o->text.data, text);
}

static struct text take_text(struct wire_reader *r, size_t len)
{
	if (r->bad || (size_t)(r->end - r->at) < len) {
		r->bad = true;
		return (struct text){NULL, 0};
	}
	struct text t = {(const char *)r->at, len};

	r->at += len;
	return t;
}

bool record_outcome_get(struct wire_reader *r, struct record_outcome *out)
{
	struct queue_outcome *o = &out->outcome;

	if (r->bad || r->at == r->end)
		return false;
	o->id = wire_u64(r);
	out->stamp = wire_u64(r);
	o->at.us = (int64_t)wire_u64(r);
	o->next.us = (int64_t)wire_u64(r);
	out->home = wire_u32(r);
	o->recipient = wire_u32(r);
	out->old.generation = wire_u32(r);
	out->old.offset = wire_u32(r);
	o->attempts = wire_u16(r);
	o->code = wire_u16(r);
	uint8_t kind = wire_u8(r);

	o->flags = wire_u8(r);
	uint8_t dsn = wire_u8(r);

	(void)wire_u8(r);
	uint16_t text = wire_u16(r);

	o->dsn = take_text(r, dsn);
	o->text = take_text(r, text);
	if (kind >= QUEUE_KINDS || dsn > QUEUE_DSN_MAX || text > QUEUE_TEXT_MAX)
		r->bad = true;
	o->kind = (enum queue_kind)kind;
	return !r->bad;
}

void record_outcome_home(uint8_t *to, uint32_t home)
{
	(void)put_u32(to + 32, home);
}

bool queue_settled(enum queue_kind kind, uint8_t flags)
{
	if (flags & (QUEUE_OWED_FAILURE | QUEUE_OWED_SUCCESS))
		return kind == QUEUE_REMOVED || kind == QUEUE_EXPANDED;
	return kind == QUEUE_RELAYED || kind == QUEUE_DELIVERED || kind == QUEUE_FAILED ||
	       kind == QUEUE_EXPANDED || kind == QUEUE_REMOVED;
}

/* ---- messages ---- */

struct text record_domain_get(struct wire_reader *r, struct text previous)
{
	uint8_t len = wire_u8(r);

	return len == RECORD_SAME ? previous : take_text(r, len);
}

void record_open_get(struct wire_reader *r, struct queue_recipient *open)
{
	open->number = wire_u32(r);
	uint8_t kind = wire_u8(r);

	if (kind >= QUEUE_KINDS)
		r->bad = true;
	open->kind = kind < QUEUE_KINDS ? (enum queue_kind)kind : QUEUE_HELD;
	open->flags = wire_u8(r);
	open->attempts = wire_u16(r);
	open->code = wire_u16(r);
	open->next.us = (int64_t)wire_u64(r);
	open->where.generation = wire_u32(r);
	open->where.offset = wire_u32(r);
	open->domain = (struct text){NULL, 0};
}

static bool message_open_get(struct wire_reader *r, struct record_message *m)
{
	struct queue_recipient open = {0};
	uint32_t least = 0;

	m->open_count = wire_u32(r);
	m->open = *r;
	if (m->open_count == RECORD_ALL_OPEN)
		return !r->bad;
	if (m->open_count > m->recipients)
		return false;
	for (uint32_t i = 0; i < m->open_count && !r->bad; i++) {
		record_open_get(r, &open);
		if (open.number < least || open.number >= m->recipients)
			return false;
		least = open.number + 1;
	}
	return !r->bad;
}

bool record_message_get(const uint8_t *payload, size_t summary, size_t length,
			struct record_message *m)
{
	struct wire_reader r = wire_reader_over(payload, summary);
	struct record_outcome settle = {0};

	if (summary > length)
		return false;
	m->arrival.us = (int64_t)wire_u64(&r);
	m->folded = wire_u64(&r);
	m->body_length = wire_u64(&r);
	m->body_crc = wire_u32(&r);
	m->flags = wire_u8(&r);
	m->submitter = wire_text(&r, QUEUE_SUBMITTER_MAX);
	m->recipients = wire_u32(&r);
	if (r.bad || m->recipients > QUEUE_RECIPIENTS_MAX)
		return false;
	m->domains = r;
	for (uint32_t i = 0; i < m->recipients && !r.bad; i++)
		(void)record_domain_get(&r, (struct text){NULL, 0});
	if (!message_open_get(&r, m))
		return false;
	m->settle_count = wire_u32(&r);
	m->settles = r;
	for (uint32_t i = 0; i < m->settle_count; i++)
		if (!record_outcome_get(&r, &settle))
			return false;
	m->settles.end = r.at;
	m->envelope = wire_u32(&r);
	m->prelude = wire_u32(&r);
	m->body = wire_u32(&r);
	return wire_done(&r) && m->envelope <= QUEUE_ENVELOPE_MAX &&
	       m->prelude <= QUEUE_PRELUDE_MAX && m->body <= QUEUE_BODY_MAX &&
	       (size_t)m->envelope + m->prelude + m->body == length - summary;
}

void record_folded_put(uint8_t *payload, uint64_t folded)
{
	(void)put_u64(payload + 8, folded);
}

/* ---- aborts ---- */

bool record_abort_get(const uint8_t *payload, size_t length, struct record_abort *a)
{
	struct wire_reader r = wire_reader_over(payload, length);

	a->generation = wire_u32(&r);
	a->from = wire_u32(&r);
	a->to = wire_u32(&r);
	a->first = wire_u64(&r);
	a->last = wire_u64(&r);
	return wire_done(&r);
}

void record_abort_put(uint8_t *to, const struct record_abort *a)
{
	to = put_u32(put_u32(put_u32(to, a->generation), a->from), a->to);
	(void)put_u64(put_u64(to, a->first), a->last);
}
