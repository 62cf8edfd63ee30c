/* SPDX-License-Identifier: ISC */
/*
 * The cleaner. A victim is a sealed segment; before it is freed,
 *   - live messages in it are copied, with their state folded in (move);
 *   - an outcome in it that is still somebody's state is copied (state);
 *   - an outcome or tombstone of a settled message whose record still exists in
 *     another segment becomes a tombstone;
 *   - an abort of a segment that still exists is copied.
 * All of that is durable before the segment leaves segments/. So no order
 * of cleaning lets an old record come to life again, but for one: a segment that
 * may hold older copies of messages that live elsewhere (stale) is always freed first.
 */
#include "state.h"

#include "mem.h"
#include "must.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static uint64_t segment_weight(const struct segment *s)
{
	return s->live + (uint64_t)s->outcomes * OUTCOME_WEIGHT;
}

/* The one that costs least to clean, below PERCENT of its size; NULL: none. */
static struct segment *victim_least(struct queue *q, uint64_t percent)
{
	struct segment *best = NULL;

	for (size_t i = 0; i < q->count; i++) {
		struct segment *s = &q->table[i];

		if (!s->sealed || s->unreadable || s->generation >= q->durable_generation ||
		    segment_weight(s) * 100 > s->size * percent)
			continue;
		if (!best || segment_weight(s) < segment_weight(best))
			best = s;
	}
	return best;
}

static struct segment *victim_choose(struct queue *q)
{
	uint64_t live = 0, used = q->next.fd >= 0 ? q->options.segment_bytes : 0;
	struct segment *stale = NULL;

	for (size_t i = 0; i < q->count; i++) {
		live += segment_weight(&q->table[i]);
		used += q->table[i].size;
		if (q->table[i].stale && !stale)
			stale = &q->table[i];
	}
	/* When it can't be cleaned (now, or at all) nothing else is: see above. */
	if (stale)
		return stale->sealed && !stale->unreadable &&
			       stale->generation < q->durable_generation
			   ? stale
			   : NULL;
	/*
	 * Disk use stays under twice the live bytes and two segments. One that is
	 * nearly full of live mail gains nothing; moving out of a full disk must gain a lot.
	 */
	if (q->prepare_failed)
		return victim_least(q, 50);
	if (used > 2 * live + 2 * (uint64_t)q->options.segment_bytes)
		return victim_least(q, 90);
	return victim_least(q, 0);
}

static void clean_clear(struct queue *q)
{
	view_free(&q->clean.view);
	bytes_free(&q->clean.content);
	q->clean = (struct clean){0};
}

void clean_restart(struct queue *q)
{
	struct clean *c = &q->clean;

	c->restart = q->work.running && q->work.kind == WORK_CLEAN_READ;
	if (c->restart) /* the worker reads what is to be forgotten */
		return;
	c->cursor = c->message_cursor = 0;
	c->inner = 0;
	c->picked_count = c->picked_next = 0;
	c->read = false;
	c->any = false;
	c->last_dead = 0;
}

/* ---- picking and reading live messages ---- */

static bool clean_is_home(struct queue *q, const struct view_entry *e)
{
	struct queue_location l = {0};

	return (e->type == RECORD_MESSAGE || e->type == RECORD_MOVE) &&
	       q->owner.locate(q->owner.self, e->id, &l) && l.generation == q->clean.generation &&
	       l.offset == e->offset;
}

static void clean_pick(struct queue *q)
{
	struct clean *c = &q->clean;
	size_t bytes = 0;

	c->picked_count = c->picked_next = 0;
	c->read = false;
	while (c->message_cursor < c->view.count && c->picked_count < CLEAN_PICK &&
	       bytes < CLEAN_BYTES) {
		const struct view_entry *e = &c->view.entries[c->message_cursor];

		if (clean_is_home(q, e)) {
			c->picked[c->picked_count++] = c->message_cursor;
			bytes += e->length;
		}
		c->message_cursor++;
	}
}

/* W. A record that can't be read stays out: its message is found to be there still. */
void clean_read(struct queue *q)
{
	struct clean *c = &q->clean;
	const struct disk *d = q->disk;
	char name[NAME_BYTES] = "";

	segment_name(name, c->generation);
	bytes_free(&c->content);
	int fd = d->open(d->self, q->segments_dir, name, O_RDONLY);

	q->work.result = result_of(fd);
	for (size_t i = 0; fd >= 0 && i < c->picked_count; i++) {
		const struct view_entry *e = &c->view.entries[c->picked[i]];
		size_t len = record_padded(e->length);
		uint8_t *to = bytes_room(&c->content, len);
		int64_t n = d->read(d->self, fd, to, len, e->offset);
		struct record_header h = {0};

		c->content.end += len;
		if (n < 0 || (size_t)n < len || !record_header_get(to, len, c->generation, &h) ||
		    h.length != e->length ||
		    record_crc(to, c->generation, e->offset, h.length) != h.crc) {
			memset(to, 0, len);
			q->work.damage_found = true;
		}
	}
	if (fd >= 0)
		d->close(d->self, fd);
}

/* ---- putting records into the batch ---- */

static void clean_added(struct queue *q)
{
	struct queue_batch *b = queue_batch_filling(q);

	b->cleaned = true;
	q->clean.any = true;
	q->clean.serial = b->serial;
}

static enum queue_result clean_move(struct queue *q, const uint8_t *record,
				    const struct view_entry *e)
{
	struct record_header h = {0};
	struct record_message m = {0};
	const uint8_t *payload = record + RECORD_HEADER;

	if (!record_header_get(record, record_padded(e->length), q->clean.generation, &h) ||
	    !record_message_get(payload, h.summary, h.length, &m) || !clean_is_home(q, e))
		return QUEUE_OK;
	/* It gets a new envelope in this very batch. The old one behind that would be the newer
	 * record; and the segment goes when the new one is durable. */
	if (batch_has_moved(queue_batch_filling(q), e->id)) {
		clean_added(q);
		return QUEUE_OK;
	}
	struct queue_recipient *open = mem_new(m.recipients, sizeof(*open));
	uint32_t count = q->owner.open(q->owner.self, e->id, open, m.recipients);
	enum queue_result result = QUEUE_OK;

	must(count <= m.recipients);
	if (count) {
		result = batch_add_move(q, &h, payload, open, count);
		if (result == QUEUE_OK)
			clean_added(q);
	}
	free(open);
	return result;
}

static enum queue_result clean_tombstone(struct queue *q, uint64_t id, uint32_t home)
{
	if (home == q->clean.generation || id == q->clean.last_dead || !segment_find(q, home))
		return QUEUE_OK;
	enum queue_result result = batch_room(q, 4, false);

	if (result != QUEUE_OK)
		return result;
	(void)put_u32(batch_record(queue_batch_filling(q), RECORD_TOMBSTONE, id, 4, 4), home);
	q->clean.last_dead = id;
	clean_added(q);
	return QUEUE_OK;
}

/* Whether a later outcome of the same recipient stands in the same record. */
static bool outcome_outdone(const struct record_outcome *o, struct wire_reader rest)
{
	struct record_outcome later = {0};

	while (record_outcome_get(&rest, &later))
		if (later.outcome.id == o->outcome.id &&
		    later.outcome.recipient == o->outcome.recipient)
			return true;
	return false;
}

static enum queue_result clean_outcome(struct queue *q, const struct view_entry *e,
				       struct record_outcome *o, struct wire_reader rest)
{
	const struct queue_where here = {q->clean.generation, e->offset};
	bool settled = queue_settled(o->outcome.kind, o->outcome.flags);
	struct queue_location home = {0};
	struct queue_recipient now = {0};

	if (!q->owner.locate(q->owner.self, o->outcome.id, &home))
		return settled ? clean_tombstone(q, o->outcome.id, o->home) : QUEUE_OK;
	/* A home in this segment or a later one was, or will be, written with this folded in. */
	if (settled && home.generation >= q->clean.generation)
		return QUEUE_OK;
	if (!settled &&
	    (!q->owner.recipient(q->owner.self, o->outcome.id, o->outcome.recipient, &now) ||
	     now.where.generation != here.generation || now.where.offset != here.offset ||
	     outcome_outdone(o, rest)))
		return QUEUE_OK;
	if (!o->stamp)
		o->stamp = e->sequence;
	o->old = here;
	enum queue_result result = batch_add_outcome(q, RECORD_STATE, o);

	if (result == QUEUE_OK)
		clean_added(q);
	return result;
}

static enum queue_result clean_abort(struct queue *q, const uint8_t *payload, size_t len)
{
	struct record_abort a = {0};

	if (!record_abort_get(payload, len, &a) || a.generation == q->clean.generation ||
	    !segment_find(q, a.generation))
		return QUEUE_OK;
	enum queue_result result = batch_room(q, ABORT_BYTES, false);

	if (result != QUEUE_OK)
		return result;
	record_abort_put(
	    batch_record(queue_batch_filling(q), RECORD_ABORT, 0, ABORT_BYTES, ABORT_BYTES), &a);
	clean_added(q);
	return QUEUE_OK;
}

static enum queue_result clean_outcomes(struct queue *q, const struct view_entry *e,
					struct wire_reader r)
{
	struct record_outcome o = {0};
	enum queue_result result = QUEUE_OK;

	for (uint32_t i = 0; result == QUEUE_OK && record_outcome_get(&r, &o); i++) {
		if (i < q->clean.inner)
			continue;
		result = clean_outcome(q, e, &o, r);
		if (result == QUEUE_OK)
			q->clean.inner++;
	}
	return result;
}

static enum queue_result clean_entry(struct queue *q, const struct view_entry *e)
{
	const uint8_t *payload = view_payload(&q->clean.view, e);
	struct record_message m = {0};
	struct segment *s = segment_find(q, q->clean.generation);

	if (e->type == RECORD_DAMAGE) {
		if (s)
			s->damaged = true;
		return QUEUE_OK;
	}
	if (void_covers(q, q->clean.generation, e->sequence))
		return QUEUE_OK;
	if (e->type == RECORD_OUTCOMES || e->type == RECORD_STATE)
		return clean_outcomes(q, e, wire_reader_over(payload, e->summary_len));
	if ((e->type == RECORD_MESSAGE || e->type == RECORD_MOVE) &&
	    record_message_get(payload, e->summary_len, e->length, &m))
		return clean_outcomes(q, e, m.settles);
	if (e->type == RECORD_TOMBSTONE && e->summary_len >= 4)
		return clean_tombstone(q, e->id, get_u32(payload));
	if (e->type == RECORD_ABORT)
		return clean_abort(q, payload, e->summary_len);
	return QUEUE_OK;
}

/* Messages that the worker read. */
static enum queue_result clean_moves(struct queue *q)
{
	struct clean *c = &q->clean;
	enum queue_result result = QUEUE_OK;

	while (c->read && c->picked_next < c->picked_count) {
		const struct view_entry *e = &c->view.entries[c->picked[c->picked_next]];

		result = clean_move(q, bytes_at(&c->content), e);
		if (result != QUEUE_OK)
			return result;
		bytes_take(&c->content, record_padded(e->length), 0);
		c->picked_next++;
	}
	if (c->read)
		clean_pick(q);
	return result;
}

void queue_clean_apply(struct queue *q)
{
	struct clean *c = &q->clean;
	size_t limit = queue_batch_bytes(q) + q->options.batch_bytes / 4;

	if (!c->active || !c->view.generation || q->flying || q->broken ||
	    (q->work.running && q->work.kind == WORK_CLEAN_READ))
		return;
	enum queue_result result = clean_moves(q);

	/* Each record costs a question to the owner, so the slice is bounded by number as well. */
	for (size_t n = 0; result == QUEUE_OK && c->cursor < c->view.count && n < 4096; n++) {
		if (queue_batch_bytes(q) > limit)
			return;
		result = clean_entry(q, &c->view.entries[c->cursor]);
		if (result == QUEUE_OK) {
			c->cursor++;
			c->inner = 0;
		}
	}
	if (result == QUEUE_TOO_BIG) { /* a batch is smaller now than when that was written */
		struct segment *s = segment_find(q, c->generation);

		if (s)
			s->unreadable = true;
		clean_clear(q);
	}
}

/* ---- its jobs ---- */

static bool clean_through(const struct clean *c)
{
	return c->view.generation && c->cursor == c->view.count &&
	       c->message_cursor == c->view.count && c->picked_next == c->picked_count;
}

enum work_kind clean_work(struct queue *q)
{
	struct clean *c = &q->clean;

	if (!c->active) {
		const struct segment *s = victim_choose(q);

		if (!s)
			return WORK_NONE;
		*c = (struct clean){.active = true, .generation = s->generation};
	}
	const struct segment *s = segment_find(q, c->generation);

	if (c->waits)
		return WORK_NONE;
	q->work.generation = c->generation;
	q->work.damaged = s && s->damaged;
	if (!c->view.generation)
		return WORK_CLEAN_VIEW;
	if (c->picked_next == c->picked_count && c->message_cursor < c->view.count)
		clean_pick(q);
	if (c->picked_next < c->picked_count && !c->read)
		return WORK_CLEAN_READ;
	if (clean_through(c) && !c->stuck && (!c->any || q->committed >= c->serial))
		return WORK_CLEAN_FREE;
	return WORK_NONE;
}

static void clean_freed(struct queue *q)
{
	size_t kept = 0;

	for (size_t i = 0; i < q->void_count; i++)
		if (q->voids[i].generation != q->clean.generation)
			q->voids[kept++] = q->voids[i];
	q->void_count = kept;
	segment_drop(q, q->clean.generation);
	q->cleaned++;
	q->prepare_failed = false;
	clean_clear(q);
}

void clean_done(struct queue *q)
{
	struct clean *c = &q->clean;
	struct segment *s = segment_find(q, c->generation);

	if (q->work.kind == WORK_CLEAN_VIEW && q->work.result == QUEUE_OK) {
		c->view = q->work.view;
		q->work.view = (struct view){0};
	} else if (q->work.kind == WORK_CLEAN_READ && q->work.result == QUEUE_OK &&
		   !q->work.damage_found) {
		c->read = true;
		if (c->restart)
			clean_restart(q);
	} else if (q->work.kind == WORK_CLEAN_FREE) {
		if (q->work.result == QUEUE_OK)
			clean_freed(q);
		else
			c->stuck = true;
	} else if (q->work.result == QUEUE_SHORT) {
		c->waits = true;
		if (c->restart)
			clean_restart(q);
	} else {
		/* What can't be read can't be moved: it stays where it is. */
		if (s)
			s->unreadable = true;
		clean_clear(q);
	}
}
