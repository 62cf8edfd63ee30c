/* SPDX-License-Identifier: ISC */
/*
 * Loading what the segments hold, from the newest to the oldest, in slices.
 *
 * Why one pass is enough: what became of a message's recipients since its newest
 * record (message or move) was written stands in the same or a newer segment,
 * for sequences and generations rise together; what became of them before
 * is folded into that record. So when the record is reached all is known.
 */
#include "state.h"

#include "mem.h"

#include <fcntl.h>

#include <stdlib.h>
#include <string.h>

bool void_covers(const struct queue *q, uint32_t generation, uint64_t sequence)
{
	for (size_t i = 0; i < q->void_count; i++)
		if (q->voids[i].generation == generation && sequence >= q->voids[i].first &&
		    sequence <= q->voids[i].last)
			return true;
	return false;
}

void void_add(struct queue *q, const struct record_abort *a)
{
	for (size_t i = 0; i < q->void_count; i++)
		if (q->voids[i].generation == a->generation && q->voids[i].first == a->first)
			return;
	if (q->void_count == q->void_size) {
		q->void_size = q->void_size ? q->void_size * 2 : 8;
		q->voids = mem_resize(q->voids, q->void_size, sizeof(*q->voids));
	}
	q->voids[q->void_count++] = *a;
}

static bool void_covers_range(const struct queue *q, uint32_t generation, uint32_t offset)
{
	for (size_t i = 0; i < q->void_count; i++)
		if (q->voids[i].generation == generation && offset >= q->voids[i].from &&
		    offset < q->voids[i].to)
			return true;
	return false;
}

static const uint8_t *entry_payload(const struct load *l, const struct view_entry *e)
{
	return view_payload(&l->view, e);
}

/* ---- first: aborts ---- */

static void load_aborts(struct queue *q)
{
	struct load *l = &q->load;
	struct record_abort a = {0};

	for (size_t i = 0; i < l->view.count; i++) {
		const struct view_entry *e = &l->view.entries[i];

		if (e->type == RECORD_ABORT &&
		    record_abort_get(entry_payload(l, e), e->summary_len, &a) &&
		    segment_find(q, a.generation))
			void_add(q, &a);
	}
}

/* ---- second: outcomes ---- */

static void load_outcomes(struct queue *q, const struct view_entry *e, struct wire_reader r)
{
	const struct queue_where here = {q->load.view.generation, e->offset};
	struct record_outcome o = {0};

	while (record_outcome_get(&r, &o)) {
		/* The home was freed: the message is gone, or was moved with this folded in. */
		if (o.home && !segment_find(q, o.home))
			continue;
		if (!o.stamp)
			o.stamp = e->sequence;
		pending_outcome(q->load.pending, &o, here);
	}
}

static void load_damage(struct queue *q, const struct view_entry *e)
{
	struct segment *s = segment_find(q, q->load.view.generation);
	const struct queue_damage d = {q->load.view.generation, e->offset, e->length, e->id};

	if (void_covers_range(q, d.generation, d.offset))
		return;
	if (s)
		s->damaged = true;
	if (d.id)
		pending_flag(q->load.pending, d.id, PENDING_DAMAGED);
	q->damages++;
	q->owner.damage(q->owner.self, &d);
}

static void load_facts(struct queue *q, const struct view_entry *e)
{
	struct load *l = &q->load;
	const uint8_t *payload = entry_payload(l, e);
	struct record_message m = {0};

	if (e->type == RECORD_DAMAGE) {
		load_damage(q, e);
		return;
	}
	if (void_covers(q, l->view.generation, e->sequence))
		return;
	if (e->type == RECORD_OUTCOMES || e->type == RECORD_STATE) {
		load_outcomes(q, e, wire_reader_over(payload, e->summary_len));
	} else if (e->type == RECORD_TOMBSTONE && e->summary_len >= 4) {
		if (!segment_find(q, get_u32(payload)))
			return;
		pending_flag(l->pending, e->id, PENDING_DEAD);
		pending_forget(l->pending, e->id);
	} else if ((e->type == RECORD_MESSAGE || e->type == RECORD_MOVE) &&
		   record_message_get(payload, e->summary_len, e->length, &m)) {
		load_outcomes(q, e, m.settles);
	}
}

/* ---- third: messages ---- */

/* The recipients as the record itself knows them, by number; kind QUEUE_KINDS: settled. */
static struct queue_recipient *fold_start(const struct record_message *m)
{
	struct queue_recipient *all = mem_new((size_t)m->recipients + 1, sizeof(*all));
	struct wire_reader open = m->open, domains = m->domains;
	struct queue_recipient one = {0};
	struct text domain = {NULL, 0};

	for (uint32_t i = 0; i < m->recipients; i++)
		all[i].kind = m->open_count == RECORD_ALL_OPEN ? QUEUE_WAITING : QUEUE_KINDS;
	for (uint32_t i = 0; m->open_count != RECORD_ALL_OPEN && i < m->open_count; i++) {
		record_open_get(&open, &one);
		if (!queue_settled(one.kind, one.flags))
			all[one.number] = one;
	}
	for (uint32_t i = 0; i < m->recipients; i++) {
		domain = record_domain_get(&domains, domain);
		all[i].number = i;
		all[i].domain = domain;
	}
	return all;
}

static void fold_outcome(struct queue *q, struct queue_recipient *r,
			 const struct pending_outcome *o, const struct record_message *m)
{
	if (r->kind == QUEUE_KINDS)
		return;
	if (queue_settled(o->kind, o->flags)) {
		r->kind = QUEUE_KINDS;
		return;
	}
	if (o->stamp < m->folded) {
		/* Folded in already; but the text lies where the newest copy is. */
		if (!segment_find(q, r->where.generation))
			r->where = o->where;
		return;
	}
	r->kind = o->kind;
	r->flags = o->flags;
	r->attempts = o->attempts;
	r->code = o->code;
	r->next = o->at;
	r->where = o->where;
}

static void entry_tell(struct queue *q, const struct view_entry *e, const struct record_message *m,
		       struct queue_recipient *all, uint8_t flags)
{
	const struct queue_location where = {q->load.view.generation, e->offset,
					     record_padded(e->length)};
	uint32_t open = 0;

	for (uint32_t i = 0; i < m->recipients; i++)
		if (all[i].kind != QUEUE_KINDS)
			all[open++] = all[i];
	if (!open)
		return;
	segment_live_add(q, where.generation, where.length);
	for (uint32_t i = 0; i < open; i++)
		segment_outcome_add(q, all[i].where.generation);
	const struct queue_entry entry = {
	    .id = e->id,
	    .location = where,
	    .arrival = m->arrival,
	    .submitter = m->submitter,
	    .size_bytes = m->prelude + m->body_length,
	    .body_in_file = m->flags & MESSAGE_BODY_IN_FILE,
	    .damaged = flags & PENDING_DAMAGED,
	    .recipient_count = m->recipients,
	    .open_count = open,
	    .open = all,
	};

	q->owner.entry(q->owner.self, &entry);
}

static void load_message(struct queue *q, const struct view_entry *e)
{
	struct load *l = &q->load;
	struct record_message m = {0};
	uint8_t flags = pending_flags(l->pending, e->id);

	if (void_covers(q, l->view.generation, e->sequence) || flags & PENDING_DEAD)
		return;
	if (flags & PENDING_SEEN) {
		struct segment *s = segment_find(q, l->view.generation);

		if (s && s->generation != 0)
			s->stale = true;
		return;
	}
	if (!record_message_get(entry_payload(l, e), e->summary_len, e->length, &m))
		return;
	struct queue_recipient *all = fold_start(&m);
	const struct pending_outcome *o = pending_first(l->pending, e->id);

	for (; o; o = pending_next(l->pending, o))
		if (o->number < m.recipients)
			fold_outcome(q, &all[o->number], o, &m);
	entry_tell(q, e, &m, all, flags);
	free(all);
	/* A move may have older copies behind it; a message's first record has none. */
	if (e->type == RECORD_MOVE)
		pending_flag(l->pending, e->id, PENDING_SEEN);
	pending_forget(l->pending, e->id);
}

/* ---- the slices ---- */

void load_view_take(struct queue *q, struct view *v)
{
	struct load *l = &q->load;

	l->view = *v;
	*v = (struct view){0};
	l->viewing = true;
	l->phase = 0;
	l->cursor = 0;
}

static void load_view_end(struct queue *q)
{
	struct load *l = &q->load;
	struct segment *s = segment_find(q, l->view.generation);

	if (s && l->view.from_index)
		s->indexed = true;
	view_free(&l->view);
	l->viewing = false;
}

/* Messages are taken from the last to the first, so that the newest copy is met first. */
static bool load_step(struct queue *q)
{
	struct load *l = &q->load;
	const struct view_entry *e = NULL;

	if (l->phase == 0)
		load_aborts(q);
	if (l->phase == 1 && l->cursor < l->view.count) {
		load_facts(q, &l->view.entries[l->cursor++]);
		return true;
	}
	if (l->phase == 2 && l->cursor > 0) {
		e = &l->view.entries[--l->cursor];
		if (e->type == RECORD_MESSAGE || e->type == RECORD_MOVE)
			load_message(q, e);
		return true;
	}
	if (l->phase == 2)
		return false;
	l->phase++;
	l->cursor = l->phase == 2 ? l->view.count : 0;
	return true;
}

enum queue_result queue_load_apply(struct queue *q, uint32_t max)
{
	struct load *l = &q->load;

	for (uint32_t n = 0; !l->done; n++) {
		/* The last one may be with the worker still: it is no longer counted in left. */
		bool reading = q->work.running && q->work.kind == WORK_LOAD;

		if (!l->viewing && !l->left && !reading) {
			l->done = true;
			pending_free(&l->pending);
			break;
		}
		if (!l->viewing)
			return QUEUE_WAIT;
		if (n == max)
			return QUEUE_MORE;
		if (!load_step(q))
			load_view_end(q);
	}
	return QUEUE_OK;
}

bool segment_unchanged(const struct queue *q, uint32_t generation)
{
	uint8_t page[SEGMENT_HEADER];
	char name[NAME_BYTES] = "";
	uint32_t is = 0, size = 0;

	segment_name(name, generation);
	int fd = q->disk->open(q->disk->self, q->segments_dir, name, O_RDONLY);

	if (fd < 0)
		return false;
	bool whole = q->disk->read(q->disk->self, fd, page, sizeof(page), 0) == SEGMENT_HEADER;

	q->disk->close(q->disk->self, fd);
	/* A header that can't be read is damage and no change: the file still has that name. */
	return !whole || segment_header_get(page, &is, &size) != QUEUE_OK || is == generation;
}

enum queue_result queue_load_all(struct queue *q)
{
	enum queue_result result = QUEUE_OK;
	struct view view = {0};

	while ((result = queue_load_apply(q, UINT32_MAX)) != QUEUE_OK) {
		if (result == QUEUE_MORE)
			continue;
		if (q->work.running)
			return QUEUE_WAIT;
		uint32_t generation = q->table[--q->load.left].generation;

		result = view_get(q, generation, &view);
		if (q->readonly && result != QUEUE_IO && result != QUEUE_SHORT &&
		    !segment_unchanged(q, generation)) {
			view_free(&view);
			return QUEUE_CHANGED;
		}
		if (result != QUEUE_OK)
			return result;
		load_view_take(q, &view);
	}
	return QUEUE_OK;
}
