/* SPDX-License-Identifier: ISC */
/* Threads for what blocks. */
#include "pool.h"

#include "mem.h"
#include "must.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct work *todo, **todo_end; /* under lock */
	struct work *through, **through_end;
	bool stop;
	pthread_t *threads;
	unsigned thread_count;
	struct watch watch;
	int event;
	size_t pending; /* main thread's own */
};

static struct work *pool_take(struct pool *pool)
{
	while (!pool->todo && !pool->stop)
		pthread_cond_wait(&pool->wake, &pool->lock);
	struct work *work = pool->todo;

	if (work && !(pool->todo = work->next))
		pool->todo_end = &pool->todo;
	return work;
}

static void pool_tell(struct pool *pool)
{
	uint64_t one = 1;
	ssize_t ignored = write(pool->event, &one, sizeof one);

	(void)ignored;
}

static void *pool_thread(void *arg)
{
	struct pool *pool = arg;
	struct work *work;

	pthread_mutex_lock(&pool->lock);
	while ((work = pool_take(pool))) {
		pthread_mutex_unlock(&pool->lock);
		work->run(work->arg);
		pthread_mutex_lock(&pool->lock);
		work->next = NULL;
		bool first = !pool->through;

		*pool->through_end = work;
		pool->through_end = &work->next;
		/* Outside the lock: who is woken wants it. */
		if (first) {
			pthread_mutex_unlock(&pool->lock);
			pool_tell(pool);
			pthread_mutex_lock(&pool->lock);
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void pool_collect(void *arg, bool readable, bool writable)
{
	struct pool *pool = arg;
	uint64_t count;
	ssize_t ignored = read(pool->event, &count, sizeof count);

	(void)ignored;
	(void)readable;
	(void)writable;
	pthread_mutex_lock(&pool->lock);
	struct work *work = pool->through;

	pool->through = NULL;
	pool->through_end = &pool->through;
	pthread_mutex_unlock(&pool->lock);
	while (work) {
		struct work *next = work->next;

		pool->pending--;
		work->done(work->arg);
		work = next;
	}
}

struct pool *pool_new(struct loop *loop, unsigned threads)
{
	struct pool *pool = mem_new(1, sizeof *pool);

	must(pthread_mutex_init(&pool->lock, NULL) == 0 &&
	     pthread_cond_init(&pool->wake, NULL) == 0);
	pool->todo_end = &pool->todo;
	pool->through_end = &pool->through;
	pool->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	must(pool->event >= 0);
	watch_add(&pool->watch, loop, pool->event, pool_collect, pool);
	watch_want(&pool->watch, true, false);
	pool->threads = mem_new(threads, sizeof *pool->threads);
	pool->thread_count = threads;
	for (unsigned i = 0; i < threads; i++)
		must(pthread_create(&pool->threads[i], NULL, pool_thread, pool) == 0);
	return pool;
}

void pool_add(struct pool *pool, struct work *work)
{
	pool->pending++;
	work->next = NULL;
	pthread_mutex_lock(&pool->lock);
	*pool->todo_end = work;
	pool->todo_end = &work->next;
	pthread_mutex_unlock(&pool->lock);
	pthread_cond_signal(&pool->wake);
}

size_t pool_pending(const struct pool *pool)
{
	return pool->pending;
}

void pool_free(struct pool **poolp)
{
	struct pool *pool = *poolp;

	if (!pool)
		return;
	while (pool->pending) {
		struct pollfd p = {.fd = pool->event, .events = POLLIN};

		poll(&p, 1, -1);
		pool_collect(pool, true, false);
	}
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	watch_remove(&pool->watch);
	close(pool->event);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	free(pool->threads);
	free(pool);
	*poolp = NULL;
}
