/* SPDX-License-Identifier: ISC */
/*
 * Segments as files: making, recycling, freeing, and the table of those that
 * exist. The order of the durable steps stands beside each.
 */
#include "state.h"

#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ZERO_CHUNK = 1 << 20,
};

enum queue_result result_of(int error)
{
	if (error >= 0)
		return QUEUE_OK;
	if (error == -ENOSPC || error == -EDQUOT)
		return QUEUE_FULL;
	/* Others' use of the machine, which passes: nothing is wrong with what is on disk. */
	if (error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS)
		return QUEUE_SHORT;
	return error == -ENOENT ? QUEUE_GONE : QUEUE_IO;
}

void segment_name(char name[NAME_BYTES], uint32_t generation)
{
	(void)snprintf(name, NAME_BYTES, "%08x.seg", generation);
}

bool segment_name_get(const char *name, const char *suffix, uint32_t *generation)
{
	uint32_t g = 0;

	for (int i = 0; i < 8; i++, name++) {
		bool digit = *name >= '0' && *name <= '9';

		if (!digit && !(*name >= 'a' && *name <= 'f'))
			return false;
		g = g << 4 | (uint32_t)(digit ? *name - '0' : *name - 'a' + 10);
	}
	*generation = g;
	return strcmp(name, suffix) == 0 && g != 0;
}

/* ---- the table ---- */

static size_t table_place(const struct queue *q, uint32_t generation)
{
	size_t low = 0, high = q->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (q->table[mid].generation < generation)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct segment *segment_find(struct queue *q, uint32_t generation)
{
	size_t at = table_place(q, generation);

	return at < q->count && q->table[at].generation == generation ? &q->table[at] : NULL;
}

struct segment *segment_add(struct queue *q, uint32_t generation, uint32_t size)
{
	size_t at = table_place(q, generation);

	if (at < q->count && q->table[at].generation == generation)
		return &q->table[at];
	if (q->count == q->size) {
		q->size = q->size ? q->size * 2 : 16;
		q->table = mem_resize(q->table, q->size, sizeof(*q->table));
	}
	memmove(&q->table[at + 1], &q->table[at], (q->count - at) * sizeof(*q->table));
	q->table[at] = (struct segment){.generation = generation, .size = size};
	q->count++;
	return &q->table[at];
}

void segment_drop(struct queue *q, uint32_t generation)
{
	size_t at = table_place(q, generation);

	if (at >= q->count || q->table[at].generation != generation)
		return;
	q->count--;
	memmove(&q->table[at], &q->table[at + 1], (q->count - at) * sizeof(*q->table));
}

void segment_waste(struct queue *q, struct head *made)
{
	struct segment *s = segment_add(q, made->generation, made->size);

	s->sealed = true;
	q->disk->close(q->disk->self, made->fd);
	*made = (struct head){.fd = -1};
}

void segment_live_add(struct queue *q, uint32_t generation, uint64_t bytes)
{
	struct segment *s = segment_find(q, generation);

	if (s)
		s->live += bytes;
}

void segment_live_take(struct queue *q, uint32_t generation, uint64_t bytes)
{
	struct segment *s = segment_find(q, generation);

	if (s)
		s->live -= s->live < bytes ? s->live : bytes;
}

void segment_outcome_add(struct queue *q, uint32_t generation)
{
	struct segment *s = segment_find(q, generation);

	if (s)
		s->outcomes++;
}

void segment_outcome_take(struct queue *q, uint32_t generation)
{
	struct segment *s = segment_find(q, generation);

	if (s && s->outcomes)
		s->outcomes--;
}

/* ---- the pools; the caller holds the lock ---- */

static bool pool_put(struct pool *p, uint32_t name)
{
	if (p->count == POOL_MAX)
		return false;
	p->names[p->count++] = name;
	return true;
}

static void pools_publish(struct queue *q)
{
	atomic_store(&q->free_left, q->free_pool.count);
	atomic_store(&q->reserve_left, q->reserve_pool.count);
}

/* One that does not go away stays until the pools are read again. */
static void file_discard(struct queue *q, int dir, const char *name)
{
	int error = q->disk->unlink(q->disk->self, dir, name);

	if (error < 0 && error != -ENOENT)
		atomic_store(&q->pools_doubt, true);
}

/*
 * A file of zeros on allocated blocks: overwriting those costs half of what
 * appending does at each sync. Content and size are durable before it is used.
 */
static int file_create(struct queue *q, int dir, const char *name)
{
	const struct disk *d = q->disk;
	int fd = d->open(d->self, dir, name, O_RDWR | O_CREAT | O_TRUNC);

	if (fd < 0)
		return fd;
	int error = d->allocate(d->self, fd, q->options.segment_bytes);
	uint8_t *zeros = mem_new(1, ZERO_CHUNK);

	for (uint32_t at = 0; error >= 0 && at < q->options.segment_bytes;) {
		uint32_t len = q->options.segment_bytes - at;

		if (len > ZERO_CHUNK)
			len = ZERO_CHUNK;
		error = d->write(d->self, fd, zeros, len, at);
		at += len;
	}
	free(zeros);
	if (error >= 0)
		error = d->sync(d->self, fd);
	if (error >= 0)
		return fd;
	d->close(d->self, fd);
	file_discard(q, dir, name);
	return error;
}

static int reserve_fill(struct queue *q)
{
	const struct disk *d = q->disk;
	char name[NAME_BYTES] = "";
	int error = 0;

	while (error >= 0 && q->reserve_pool.count < q->options.reserve_segments) {
		uint32_t generation = 0;

		if (q->free_pool.count) {
			generation = q->free_pool.names[--q->free_pool.count];
			segment_name(name, generation);
			error = d->rename(d->self, q->free_dir, name, q->reserve_dir, name);
		} else {
			generation = ++q->top_generation;
			segment_name(name, generation);
			error = file_create(q, q->reserve_dir, name);
			if (error >= 0)
				d->close(d->self, error);
		}
		if (error >= 0)
			error = d->sync_folder(d->self, q->reserve_dir);
		if (error >= 0)
			(void)pool_put(&q->reserve_pool, generation);
		else
			atomic_store(&q->pools_doubt, true);
	}
	pools_publish(q);
	return error;
}

enum queue_result segment_fill_reserve(struct queue *q)
{
	(void)pthread_mutex_lock(&q->making);
	int error = reserve_fill(q);

	(void)pthread_mutex_unlock(&q->making);
	return result_of(error);
}

static int pool_take(struct queue *q, struct pool *pool, int dir, char name[NAME_BYTES])
{
	segment_name(name, pool->names[--pool->count]);
	pools_publish(q);
	int fd = q->disk->open(q->disk->self, dir, name, O_RDWR);

	if (fd < 0)
		atomic_store(&q->pools_doubt, true);
	return fd;
}

/*
 * The file to become a segment: recycled, else new, else from the reserve. *DIR and
 * NAME say where it lies. A descriptor or an error.
 */
static int source_open(struct queue *q, bool from_reserve, int *dir, char name[NAME_BYTES])
{
	*dir = q->free_dir;
	if (q->free_pool.count)
		return pool_take(q, &q->free_pool, *dir, name);
	segment_name(name, ++q->top_generation);
	int fd = file_create(q, *dir, name);

	if (fd >= 0 || !from_reserve || !q->reserve_pool.count)
		return fd;
	*dir = q->reserve_dir;
	return pool_take(q, &q->reserve_pool, *dir, name);
}

/*
 * 1. the header with the new generation is written and synced: from here on all old
 *    records in it are void
 * 2. the file is renamed into segments/
 * 3. both folders are synced; only then is it used
 */
static int make_locked(struct queue *q, bool from_reserve, struct head *made)
{
	const struct disk *d = q->disk;
	char from[NAME_BYTES] = "", to[NAME_BYTES] = "";
	uint8_t page[SEGMENT_HEADER];
	int dir = -1;
	int fd = source_open(q, from_reserve, &dir, from);

	if (fd < 0)
		return fd;
	uint32_t generation = ++q->top_generation;

	segment_name(to, generation);
	segment_header_put(page, generation, q->options.segment_bytes);
	int error = d->write(d->self, fd, page, sizeof(page), 0);

	if (error >= 0)
		error = d->sync(d->self, fd);
	if (error >= 0)
		error = d->rename(d->self, dir, from, q->segments_dir, to);
	if (error < 0) {
		/* What failed once is not trusted with mail again. */
		d->close(d->self, fd);
		file_discard(q, dir, from);
		return error;
	}
	error = d->sync_folder(d->self, q->segments_dir);
	if (error >= 0)
		error = d->sync_folder(d->self, dir);
	if (error < 0) {
		d->close(d->self, fd);
		(void)d->unlink(d->self, q->segments_dir, to);
		return error;
	}
	*made = (struct head){fd, generation, SEGMENT_HEADER, q->options.segment_bytes};
	return 0;
}

enum queue_result segment_make(struct queue *q, bool from_reserve, struct head *made)
{
	(void)pthread_mutex_lock(&q->making);
	int error = make_locked(q, from_reserve, made);

	pools_publish(q);
	(void)pthread_mutex_unlock(&q->making);
	return result_of(error);
}

/*
 * The last step of cleaning; all that replaces its records is durable.
 * 1. out of segments/, into a pool (the reserve first), damaged/ or nowhere
 * 2. folders synced: it can't come back
 * 3. its index file goes
 */
enum queue_result segment_release(struct queue *q, uint32_t generation, bool damaged)
{
	const struct disk *d = q->disk;
	char name[NAME_BYTES] = "";
	struct pool *pool = NULL;
	int to = q->damaged_dir;
	int error = 0;

	segment_name(name, generation);
	(void)pthread_mutex_lock(&q->making);
	if (!damaged && q->reserve_pool.count < q->options.reserve_segments) {
		pool = &q->reserve_pool;
		to = q->reserve_dir;
	} else if (!damaged && q->free_pool.count < q->options.free_segments) {
		pool = &q->free_pool;
		to = q->free_dir;
	}
	int fd = pool ? d->open(d->self, q->segments_dir, name, O_RDONLY) : -1;

	if (pool && (fd < 0 || d->size(d->self, fd) != q->options.segment_bytes))
		pool = NULL;
	if (fd >= 0)
		d->close(d->self, fd);
	if (pool || damaged)
		error = d->rename(d->self, q->segments_dir, name, to, name);
	else
		error = d->unlink(d->self, q->segments_dir, name);
	if (error == -ENOENT) { /* done by an earlier try whose sync failed */
		error = 0;
		pool = NULL;
	}
	if (error >= 0 && (pool || damaged))
		error = d->sync_folder(d->self, to);
	if (error >= 0)
		error = d->sync_folder(d->self, q->segments_dir);
	if (error >= 0 && pool)
		(void)pool_put(pool, generation);
	else if (pool) /* it may lie in that pool's folder */
		atomic_store(&q->pools_doubt, true);
	pools_publish(q);
	(void)pthread_mutex_unlock(&q->making);
	if (error < 0)
		return result_of(error);
	(void)snprintf(name, sizeof(name), "%08x.idx", generation);
	(void)d->unlink(d->self, q->index_dir, name);
	return QUEUE_OK;
}

/* ---- the pools as they are on disk ---- */

struct pool_read {
	struct queue *queue;
	struct pool found, excess;
	int dir;
};

static void pool_name(void *arg, const char *name)
{
	struct pool_read *p = arg;
	const struct disk *d = p->queue->disk;
	uint32_t generation = 0;

	if (!segment_name_get(name, ".seg", &generation))
		return;
	int fd = d->open(d->self, p->dir, name, O_RDONLY);
	bool fits = fd >= 0 && d->size(d->self, fd) == p->queue->options.segment_bytes;

	if (fd >= 0)
		d->close(d->self, fd);
	else /* short of descriptors, perhaps: left where it is */
		atomic_store(&p->queue->pools_doubt, true);
	if (generation > p->queue->top_generation)
		p->queue->top_generation = generation;
	if (fd >= 0 && (!fits || !pool_put(&p->found, generation)))
		(void)pool_put(&p->excess, generation);
}

static int pool_drop(const struct queue *q, int dir, uint32_t generation)
{
	char name[NAME_BYTES] = "";

	segment_name(name, generation);
	int error = q->disk->unlink(q->disk->self, dir, name);

	return error == -ENOENT ? 0 : error;
}

static int pool_read(struct queue *q, int dir, struct pool *pool)
{
	struct pool_read p = {.queue = q, .dir = dir};
	int error = q->disk->list(q->disk->self, dir, pool_name, &p);

	if (error >= 0)
		*pool = p.found;
	for (uint32_t i = 0; i < p.excess.count; i++)
		if (pool_drop(q, dir, p.excess.names[i]) < 0)
			atomic_store(&q->pools_doubt, true);
	return error;
}

/*
 * A step that failed, or a crash between two, leaves files in reserve/ or free/ that nobody
 * counted, and others were made in their place. What is above the reserve becomes free, what is
 * above the free ones goes.
 */
static int surplus_settle(struct queue *q)
{
	const struct disk *d = q->disk;
	struct pool *reserve = &q->reserve_pool, *spare = &q->free_pool;
	char name[NAME_BYTES] = "";
	bool moved = false;
	int error = 0;

	while (error >= 0 && reserve->count > q->options.reserve_segments) {
		uint32_t generation = reserve->names[reserve->count - 1];
		bool kept = spare->count < q->options.free_segments;

		segment_name(name, generation);
		error = kept ? d->rename(d->self, q->reserve_dir, name, q->free_dir, name)
			     : pool_drop(q, q->reserve_dir, generation);
		if (error < 0)
			break;
		reserve->count--;
		if (kept)
			moved = pool_put(spare, generation) || moved;
	}
	while (error >= 0 && spare->count > q->options.free_segments) {
		error = pool_drop(q, q->free_dir, spare->names[spare->count - 1]);
		if (error >= 0)
			spare->count--;
	}
	if (moved && error >= 0)
		error = d->sync_folder(d->self, q->free_dir);
	if (moved && error >= 0)
		error = d->sync_folder(d->self, q->reserve_dir);
	return error;
}

enum queue_result segment_pools_read(struct queue *q)
{
	(void)pthread_mutex_lock(&q->making);
	atomic_store(&q->pools_doubt, false);
	/* What was moved out of segments/ must not come back there once it is written anew. */
	int error = q->disk->sync_folder(q->disk->self, q->segments_dir);

	if (error >= 0)
		error = pool_read(q, q->free_dir, &q->free_pool);
	if (error >= 0)
		error = pool_read(q, q->reserve_dir, &q->reserve_pool);
	/* What is too much can stay for a while; what can't be seen must not be counted on. */
	if (error < 0 || surplus_settle(q) < 0)
		atomic_store(&q->pools_doubt, true);
	pools_publish(q);
	(void)pthread_mutex_unlock(&q->making);
	return result_of(error);
}
