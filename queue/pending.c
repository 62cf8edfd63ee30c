/* SPDX-License-Identifier: ISC */
/*
 * Recovery reads segments from the newest to the oldest, so it meets what
 * became of a message before the message. This table holds it until then.
 */
#include "state.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

struct pending_message {
	uint64_t id;
	uint32_t next;	/* in its bucket, index + 1 */
	uint32_t first; /* outcome, index + 1 */
	uint8_t flags;
};

struct pending {
	uint32_t *buckets;
	uint32_t bucket_count; /* a power of two */
	struct pending_message *messages;
	uint32_t count, size, free; /* free: index + 1 of a list through next */
	uint32_t used;
	struct pending_outcome *outcomes;
	uint32_t outcome_count, outcome_size, outcome_free;
};

struct pending *pending_new(void)
{
	struct pending *p = mem_new(1, sizeof(*p));

	p->bucket_count = 1024;
	p->buckets = mem_new(p->bucket_count, sizeof(*p->buckets));
	return p;
}

void pending_free(struct pending **p)
{
	if (*p) {
		free((*p)->buckets);
		free((*p)->messages);
		free((*p)->outcomes);
		free(*p);
	}
	*p = NULL;
}

static uint32_t *bucket_of(const struct pending *p, uint64_t id)
{
	uint64_t mixed = id * 0x9e3779b97f4a7c15u;

	return &p->buckets[(uint32_t)(mixed >> 32) & (p->bucket_count - 1)];
}

static struct pending_message *pending_find(const struct pending *p, uint64_t id)
{
	for (uint32_t at = *bucket_of(p, id); at; at = p->messages[at - 1].next)
		if (p->messages[at - 1].id == id)
			return &p->messages[at - 1];
	return NULL;
}

static void pending_grow(struct pending *p)
{
	uint32_t old_count = p->bucket_count, *old = p->buckets;

	p->bucket_count *= 2;
	p->buckets = mem_new(p->bucket_count, sizeof(*p->buckets));
	for (uint32_t i = 0; i < old_count; i++) {
		for (uint32_t at = old[i]; at;) {
			struct pending_message *m = &p->messages[at - 1];
			uint32_t next = m->next, *bucket = bucket_of(p, m->id);

			m->next = *bucket;
			*bucket = at;
			at = next;
		}
	}
	free(old);
}

static struct pending_message *pending_get(struct pending *p, uint64_t id)
{
	struct pending_message *m = pending_find(p, id);
	uint32_t at = p->free;

	if (m)
		return m;
	if (p->used >= p->bucket_count && p->bucket_count < (1u << 30))
		pending_grow(p);
	if (at) {
		p->free = p->messages[at - 1].next;
	} else {
		if (p->count == p->size) {
			p->size = p->size ? p->size * 2 : 256;
			p->messages = mem_resize(p->messages, p->size, sizeof(*p->messages));
		}
		at = ++p->count;
	}
	uint32_t *bucket = bucket_of(p, id);

	m = &p->messages[at - 1];
	*m = (struct pending_message){.id = id, .next = *bucket};
	*bucket = at;
	p->used++;
	return m;
}

void pending_flag(struct pending *p, uint64_t id, uint8_t flags)
{
	pending_get(p, id)->flags |= flags;
}

uint8_t pending_flags(const struct pending *p, uint64_t id)
{
	const struct pending_message *m = pending_find(p, id);

	return m ? m->flags : 0;
}

static struct pending_outcome *outcome_slot(struct pending *p, struct pending_message *m,
					    uint32_t number)
{
	uint32_t at = m->first;

	for (; at; at = p->outcomes[at - 1].next)
		if (p->outcomes[at - 1].number == number)
			return &p->outcomes[at - 1];
	at = p->outcome_free;
	if (at) {
		p->outcome_free = p->outcomes[at - 1].next;
	} else {
		if (p->outcome_count == p->outcome_size) {
			p->outcome_size = p->outcome_size ? p->outcome_size * 2 : 256;
			p->outcomes =
			    mem_resize(p->outcomes, p->outcome_size, sizeof(*p->outcomes));
		}
		at = ++p->outcome_count;
	}
	struct pending_outcome *o = &p->outcomes[at - 1];

	*o = (struct pending_outcome){.number = number, .next = m->first};
	m->first = at;
	return o;
}

/* A settled recipient stays so; else the later stamp counts, whatever the order of reading. */
void pending_outcome(struct pending *p, const struct record_outcome *r, struct queue_where where)
{
	const struct queue_outcome *o = &r->outcome;
	struct pending_message *m = pending_get(p, o->id);

	if (m->flags & (PENDING_DEAD | PENDING_SEEN))
		return;
	struct pending_outcome *slot = outcome_slot(p, m, o->recipient);
	bool fresh = slot->stamp == 0;

	if (!fresh && queue_settled(slot->kind, slot->flags))
		return;
	if (!fresh && slot->stamp > r->stamp && !queue_settled(o->kind, o->flags))
		return;
	/* Of equal stamps in two records (a copy and its original) the one met first is the newer
	 * record; within one record the later one counts. */
	if (!fresh && slot->stamp == r->stamp &&
	    (slot->where.generation != where.generation || slot->where.offset != where.offset))
		return;
	slot->stamp = r->stamp;
	slot->at = o->next;
	slot->where = where;
	slot->attempts = o->attempts;
	slot->code = o->code;
	slot->kind = (uint8_t)o->kind;
	slot->flags = o->flags;
}

const struct pending_outcome *pending_first(const struct pending *p, uint64_t id)
{
	const struct pending_message *m = pending_find(p, id);

	return m && m->first ? &p->outcomes[m->first - 1] : NULL;
}

const struct pending_outcome *pending_next(const struct pending *p, const struct pending_outcome *o)
{
	return o->next ? &p->outcomes[o->next - 1] : NULL;
}

void pending_forget(struct pending *p, uint64_t id)
{
	struct pending_message *m = pending_find(p, id);

	if (!m)
		return;
	while (m->first) {
		uint32_t at = m->first;

		m->first = p->outcomes[at - 1].next;
		p->outcomes[at - 1].next = p->outcome_free;
		p->outcome_free = at;
	}
	if (m->flags)
		return;
	uint32_t self = (uint32_t)(m - p->messages) + 1, *link = bucket_of(p, id);

	while (*link != self)
		link = &p->messages[*link - 1].next;
	*link = m->next;
	m->next = p->free;
	p->free = self;
	p->used--;
}
