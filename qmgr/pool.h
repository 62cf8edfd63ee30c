/* SPDX-License-Identifier: ISC */
/*
 * Threads for what blocks: calls on queue files. Work goes in from the main
 * thread, done() comes back in it. Work of a pool with one thread is done in
 * order.
 */
#ifndef QMGR_POOL_H
#define QMGR_POOL_H

#include "loop.h"

struct pool;

/* Embedded in its owner, which stays until done() was called. */
struct work {
	struct work *next;
	void (*run)(void *arg);	 /* in a thread: touches nothing but what ARG hands over */
	void (*done)(void *arg); /* in the main thread; may free the owner */
	void *arg;
};

struct pool *pool_new(struct loop *loop, unsigned threads);
void pool_add(struct pool *pool, struct work *work);
size_t pool_pending(const struct pool *pool); /* added and not yet done */

/* Waits until nothing is pending, running done() for each; then ends the threads. */
void pool_free(struct pool **pool);

#endif
