/* SPDX-License-Identifier: ISC */
/* The worker's jobs: chosen and finished by the main thread, run by the worker. */
#include "state.h"

#include "must.h"

#include <stdlib.h>

static bool prepare_wanted(struct queue *q)
{
	uint32_t room = q->head.fd >= 0 ? q->head.size - q->head.offset : 0;
	bool reserve_short = atomic_load(&q->reserve_left) < q->options.reserve_segments;
	bool urgent = room < 2 * q->options.batch_bytes;

	q->work.urgent = urgent;
	q->work.need_next = q->next.fd < 0;
	q->work.read_pools = q->pools_due;
	if (!q->prepare_failed)
		return q->next.fd < 0 || reserve_short || q->pools_due;
	/* The disk is full: what goes on goes on into the reserve, its last one kept for the
	 * cleaner. */
	return q->full && urgent && q->next.fd < 0 &&
	       atomic_load(&q->reserve_left) > (q->clean.active ? 0 : 1);
}

static bool load_wanted(struct queue *q)
{
	struct load *l = &q->load;

	if (l->done || l->viewing || !l->left || l->waits)
		return false;
	q->work.generation = q->table[--l->left].generation;
	return true;
}

/* One that is dead is cleaned without an index. */
static bool index_wanted(struct queue *q)
{
	for (size_t i = 0; i < q->count; i++) {
		struct segment *s = &q->table[i];

		if (s->sealed && !s->indexed && !s->unreadable &&
		    s->generation != q->clean.generation && (s->live || s->outcomes) &&
		    s->generation < q->durable_generation) {
			q->work.generation = s->generation;
			return true;
		}
	}
	return false;
}

static enum work_kind work_choose(struct queue *q)
{
	if (prepare_wanted(q))
		return WORK_PREPARE;
	if (load_wanted(q))
		return WORK_LOAD;
	if (!q->load.done || q->broken)
		return WORK_NONE;
	enum work_kind kind = clean_work(q);

	if (kind != WORK_NONE)
		return kind;
	if (index_wanted(q))
		return WORK_INDEX;
	if (!q->bodies_seen)
		return WORK_BODIES;
	return q->body_count ? WORK_UNLINK : WORK_NONE;
}

bool queue_work_wanted(struct queue *q)
{
	struct work *w = &q->work;

	if (w->running || q->readonly)
		return false;
	w->kind = work_choose(q);
	w->running = w->kind != WORK_NONE;
	w->result = QUEUE_OK;
	w->damage_found = false;
	w->made = (struct head){.fd = -1};
	return w->running;
}

/* ---- W ---- */

static void run_prepare(struct queue *q, struct work *w)
{
	if (w->read_pools) /* when that fails the doubt stays, and no more is lost by it */
		(void)segment_pools_read(q);
	w->result = segment_fill_reserve(q);
	if (!w->need_next)
		return;
	enum queue_result result = segment_make(q, false, &w->made);

	/* The reserve is opened only when the segment in use is nearly through. */
	if (result == QUEUE_FULL && w->urgent)
		(void)segment_make(q, true, &w->made);
	if (result != QUEUE_OK)
		w->result = result;
}

static void run_index(struct queue *q, struct work *w)
{
	struct view v = {0};

	w->result = view_get(q, w->generation, &v);
	if (w->result == QUEUE_OK && !v.from_index)
		w->result = index_write(q, &v);
	view_free(&v);
}

void queue_work_run(struct queue *q)
{
	struct work *w = &q->work;

	must(w->running);
	switch (w->kind) {
	case WORK_PREPARE:
		run_prepare(q, w);
		break;
	case WORK_LOAD:
	case WORK_CLEAN_VIEW:
		w->result = view_get(q, w->generation, &w->view);
		break;
	case WORK_INDEX:
		run_index(q, w);
		break;
	case WORK_CLEAN_READ:
		clean_read(q);
		break;
	case WORK_CLEAN_FREE:
		w->result = segment_release(q, w->generation, w->damaged);
		break;
	case WORK_BODIES:
		bodies_list(q);
		break;
	case WORK_UNLINK:
		bodies_unlink(q);
		break;
	case WORK_NONE:
	default:
		break;
	}
}

/* ---- M ---- */

static void done_prepare(struct queue *q)
{
	struct work *w = &q->work;

	if (w->read_pools)
		q->pools_due = false;
	q->prepare_failed = w->result != QUEUE_OK;
	q->full = w->result == QUEUE_FULL;
	if (w->result == QUEUE_OK)
		q->broken = q->broken && q->abort_count > 0;
	if (w->made.fd < 0)
		return;
	/* The appender may have gone on in one of its own meanwhile. */
	if (q->next.fd >= 0 || w->made.generation < q->head.generation)
		segment_waste(q, &w->made);
	else
		q->next = w->made;
}

static void done_load(struct queue *q)
{
	struct work *w = &q->work;
	struct segment *s = segment_find(q, w->generation);

	if (w->result == QUEUE_OK) {
		load_view_take(q, &w->view);
		return;
	}
	if (w->result == QUEUE_SHORT) {
		q->load.left++;
		q->load.waits = true;
		return;
	}
	/* A segment that can't be read at all: damage from end to end, the rest goes on. */
	const struct queue_damage d = {w->generation, 0, s ? s->size : 0, 0};

	if (s)
		s->unreadable = true;
	q->damages++;
	q->owner.damage(q->owner.self, &d);
}

void queue_work_done(struct queue *q)
{
	struct work *w = &q->work;
	struct segment *s = segment_find(q, w->generation);

	must(w->running);
	w->running = false;
	switch (w->kind) {
	case WORK_PREPARE:
		done_prepare(q);
		break;
	case WORK_LOAD:
		done_load(q);
		break;
	case WORK_INDEX: /* one that failed is tried at the next start */
		if (s)
			s->indexed = true;
		break;
	case WORK_CLEAN_VIEW:
	case WORK_CLEAN_READ:
	case WORK_CLEAN_FREE:
		clean_done(q);
		break;
	case WORK_BODIES:
		q->bodies_seen = true;
		bodies_judge(q);
		break;
	case WORK_UNLINK:
	case WORK_NONE:
	default:
		break;
	}
}

void queue_retry(struct queue *q)
{
	q->prepare_failed = false;
	q->pools_due = atomic_load(&q->pools_doubt);
	q->clean.stuck = false;
	q->clean.waits = false;
	q->load.waits = false;
}
