/* SPDX-License-Identifier: ISC */
/*
 * Batches that are through, kept for the next ones. A batch's memory is a
 * mapping of megabytes of which a few pages are used: given back to the
 * kernel and faulted in again for each commit, those pages cost more than
 * all that is done with them.
 */
#include "state.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>

enum {
	BATCHES_KEPT = 64,
	TOUCHED_KEPT = 16 << 20, /* of their pages, in bytes */
};

struct batch_pool {
	size_t out; /* batches that somebody holds */
	size_t count, touched;
	struct queue_batch *kept[BATCHES_KEPT];
	bool closed;
};

struct batch_pool *batch_pool_new(void)
{
	return mem_new(1, sizeof(struct batch_pool));
}

static void batch_free(struct queue_batch *b)
{
	free(b->data);
	free(b->moved);
	free(b);
}

struct queue_batch *batch_pool_take(struct batch_pool *pool, size_t size)
{
	struct queue_batch *b = NULL;

	if (pool->count) {
		/* The one that came last: its pages are still in the caches. */
		b = pool->kept[--pool->count];
		pool->touched -= b->touched;
		must(b->size == size);
	} else {
		b = mem_new(1, sizeof(*b));
		b->size = size;
		b->data = mem_resize(NULL, b->size, 1); /* each record clears its padding */
		b->pool = pool;
	}
	pool->out++;
	return b;
}

/* Nobody holds it any more. */
void batch_pool_give(struct queue_batch *b)
{
	struct batch_pool *pool = b->pool;
	size_t touched = b->touched > b->used ? b->touched : b->used;

	must(pool->out > 0);
	pool->out--;
	if (pool->closed || pool->count == BATCHES_KEPT || touched > TOUCHED_KEPT - pool->touched) {
		batch_free(b);
	} else {
		struct queue_batch fresh = {
		    .data = b->data, .size = b->size, .touched = touched, .pool = pool};

		free(b->moved);
		*b = fresh;
		pool->touched += touched;
		pool->kept[pool->count++] = b;
	}
	if (pool->closed && !pool->out)
		free(pool);
}

void batch_pool_close(struct batch_pool **poolp)
{
	struct batch_pool *pool = *poolp;

	*poolp = NULL;
	if (!pool)
		return;
	while (pool->count)
		batch_free(pool->kept[--pool->count]);
	pool->closed = true;
	if (!pool->out)
		free(pool);
}
