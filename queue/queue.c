/* SPDX-License-Identifier: ISC */
/* Opening and closing the queue; what recovery does before new mail is taken. */
#include "state.h"

#include "bytes.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *queue_result_text(enum queue_result result)
{
	switch (result) {
	case QUEUE_OK:
		return "ok";
	case QUEUE_MORE:
		return "more to come";
	case QUEUE_WAIT:
		return "not yet";
	case QUEUE_BATCH_FULL:
		return "the batch is full";
	case QUEUE_FULL:
		return "the queue's disk is full";
	case QUEUE_IO:
		return "the queue's disk failed or is read-only";
	case QUEUE_ABORTED:
		return "the commit failed";
	case QUEUE_GONE:
		return "no longer there";
	case QUEUE_DAMAGED:
		return "damaged on disk";
	case QUEUE_CHANGED:
		return "changed while it was read";
	case QUEUE_LOCKED:
		return "in use by another process";
	case QUEUE_TOO_NEW:
		return "made by a newer Veredus";
	case QUEUE_TOO_BIG:
		return "beyond its bounds";
	case QUEUE_SHORT:
		return "too few descriptors or too little memory now";
	default:
		return "unknown";
	}
}

/* ---- folders and files ---- */

static enum queue_result folders_open(struct queue *q)
{
	static const char *const names[] = {"segments", "free",	  "reserve",
					    "index",	"bodies", "damaged"};
	int *const dirs[] = {&q->segments_dir, &q->free_dir,   &q->reserve_dir,
			     &q->index_dir,    &q->bodies_dir, &q->damaged_dir};
	const struct disk *d = q->disk;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		*dirs[i] = q->readonly ? d->open(d->self, q->dir, names[i], O_RDONLY | O_DIRECTORY)
				       : d->folder(d->self, q->dir, names[i]);
		if (*dirs[i] < 0)
			return result_of(*dirs[i]);
	}
	return q->readonly ? QUEUE_OK : result_of(d->sync_folder(d->self, q->dir));
}

static enum queue_result lock_take(struct queue *q)
{
	q->lock_fd = q->disk->open(q->disk->self, q->dir, "lock", O_RDWR | O_CREAT);
	if (q->lock_fd < 0)
		return result_of(q->lock_fd);
	int error = q->disk->lock(q->disk->self, q->lock_fd);

	return error == -EWOULDBLOCK ? QUEUE_LOCKED : result_of(error);
}

static enum queue_result format_write(struct queue *q)
{
	const struct disk *d = q->disk;
	char text[16] = "";
	int len = snprintf(text, sizeof(text), "%d\n", QUEUE_FORMAT);
	int fd = d->open(d->self, q->dir, "format.tmp", O_WRONLY | O_CREAT | O_TRUNC);
	int error = fd;

	if (fd >= 0) {
		error = d->write(d->self, fd, text, (size_t)len, 0);
		if (error >= 0)
			error = d->sync(d->self, fd);
		d->close(d->self, fd);
	}
	if (error >= 0)
		error = d->rename(d->self, q->dir, "format.tmp", q->dir, "format");
	if (error >= 0)
		error = d->sync_folder(d->self, q->dir);
	return result_of(error);
}

static enum queue_result format_check(struct queue *q)
{
	struct bytes content = {0};
	uint64_t format = 0;
	enum queue_result result = file_get(q, q->dir, "format", &content);

	if (result == QUEUE_GONE)
		return q->readonly ? QUEUE_GONE : format_write(q);
	if (result == QUEUE_OK) {
		struct text t = {(const char *)content.data, bytes_len(&content)};

		while (t.len && t.data[t.len - 1] == '\n')
			t.len--;
		if (!text_number(t, UINT32_MAX, &format))
			result = QUEUE_DAMAGED;
		else if (format > QUEUE_FORMAT)
			result = QUEUE_TOO_NEW;
	}
	bytes_free(&content);
	return result;
}

static void segment_seen(void *arg, const char *name)
{
	struct queue *q = arg;
	uint32_t generation = 0;

	if (segment_name_get(name, ".seg", &generation))
		segment_add(q, generation, q->options.segment_bytes)->sealed = true;
}

static enum queue_result segments_list(struct queue *q)
{
	const struct disk *d = q->disk;
	char name[NAME_BYTES] = "";
	int error = d->list(d->self, q->segments_dir, segment_seen, q);

	for (size_t i = 0; error >= 0 && i < q->count; i++) {
		struct segment *s = &q->table[i];

		if (s->generation > q->top_generation)
			q->top_generation = s->generation;
		segment_name(name, s->generation);
		int fd = d->open(d->self, q->segments_dir, name, O_RDONLY);
		int64_t size = fd >= 0 ? d->size(d->self, fd) : 0;

		if (size > 0 && size <= UINT32_MAX)
			s->size = (uint32_t)size;
		if (fd >= 0)
			d->close(d->self, fd);
	}
	return error == -ENOENT ? QUEUE_GONE : result_of(error);
}

/* ---- the newest segment ---- */

/* Damage within the last commit is no damage: it was being written when all stopped. */
static void tail_forgive(struct view *v)
{
	size_t kept = 0;

	for (size_t i = 0; i < v->count; i++)
		if (v->entries[i].type != RECORD_DAMAGE || v->entries[i].offset < v->batch)
			v->entries[kept++] = v->entries[i];
	v->count = kept;
}

/* Holes in DATA, which lies at OFFSET, become pads. */
static void tail_fill(const struct view *v, uint8_t *data)
{
	for (size_t i = 0; i < v->count; i++) {
		const struct view_entry *e = &v->entries[i];

		if (e->type != RECORD_DAMAGE || e->offset < v->batch || e->length < RECORD_HEADER)
			continue;
		const struct record_header h = {.generation = v->generation,
						.length = e->length - RECORD_HEADER,
						.sequence = v->last,
						.batch = v->batch,
						.type = RECORD_PAD};
		uint8_t *at = data + (e->offset - v->batch);

		record_header_put(at, &h);
		record_crc_put(at, record_crc(at, v->generation, e->offset, h.length));
	}
}

/*
 * The last commit is written again and synced before anybody is told of it:
 * it may be in the cache but not on disk, and after a sync that failed the cache
 * calls such pages clean, so that a sync alone would prove nothing.
 */
static enum queue_result tail_settle(struct queue *q, struct view *v)
{
	const struct disk *d = q->disk;
	char name[NAME_BYTES] = "";
	size_t len = v->end - v->batch;

	if (!v->batch || v->end <= v->batch || len > 2 * (size_t)QUEUE_BATCH_BYTES)
		return QUEUE_OK;
	segment_name(name, v->generation);
	int fd = d->open(d->self, q->segments_dir, name, O_RDWR);

	if (fd < 0)
		return result_of(fd);
	uint8_t *data = mem_new(1, len);
	int error = d->read(d->self, fd, data, len, v->batch) == (int64_t)len ? 0 : -EIO;

	if (error >= 0) {
		tail_fill(v, data);
		error = d->write(d->self, fd, data, len, v->batch);
	}
	if (error >= 0)
		error = d->sync(d->self, fd);
	d->close(d->self, fd);
	free(data);
	return result_of(error);
}

/* Each segment begins with a lease; an older one is looked for only after damage. */
static void lease_find(struct queue *q, uint64_t found, uint64_t top_id, size_t older)
{
	struct view v = {0};

	while (!found && older > 0) {
		if (view_get(q, q->table[--older].generation, &v) != QUEUE_OK)
			continue;
		found = v.lease;
		top_id = v.top_id > top_id ? v.top_id : top_id;
		view_free(&v);
	}
	q->lease = found > top_id ? found : top_id + 1;
	if (q->lease < q->options.first_id)
		q->lease = q->options.first_id;
	q->next_id = q->first_id = q->lease;
}

/* Segments that were made ready and never used, or whose first commit was torn. */
static void empties_release(struct queue *q, size_t from)
{
	while (q->count > from) {
		uint32_t generation = q->table[q->count - 1].generation;

		if (segment_release(q, generation, false) != QUEUE_OK)
			break;
		segment_drop(q, generation);
	}
}

/* Finds the newest segment that holds anything, and leaves it to be loaded first. */
static enum queue_result newest_read(struct queue *q)
{
	struct view v = {0};
	char name[NAME_BYTES] = "";
	enum queue_result result = QUEUE_OK;
	size_t i = q->count;

	while (i > 0 && !v.last) {
		uint32_t generation = q->table[--i].generation;

		view_free(&v);
		segment_name(name, generation);
		int fd = q->disk->open(q->disk->self, q->segments_dir, name, O_RDONLY);

		result = fd < 0 ? result_of(fd) : view_scan(q, fd, generation, &v);
		if (fd >= 0)
			q->disk->close(q->disk->self, fd);
		/* One that was recycled while it was read looks like one that was never used. */
		if (q->readonly && result != QUEUE_IO && result != QUEUE_SHORT &&
		    !segment_unchanged(q, generation)) {
			view_free(&v);
			return QUEUE_CHANGED;
		}
		if (result != QUEUE_OK)
			return result;
	}
	if (!q->readonly)
		result = tail_settle(q, &v);
	tail_forgive(&v);
	q->sequence = v.last + 1;
	q->load.left = i;
	if (!q->readonly && result == QUEUE_OK && v.last) {
		q->resume.generation = v.generation;
		q->resume.offset = v.end;
		q->durable_generation = v.generation;
		empties_release(q, i + 1);
	}
	lease_find(q, v.lease, v.top_id, q->readonly ? 0 : i);
	if (v.last)
		load_view_take(q, &v);
	view_free(&v);
	return result;
}

/*
 * On a full disk, after starts that used up the reserve: the newest segment is written
 * on behind its last record. That is safe now that its last commit was written and synced anew.
 */
static enum queue_result head_resume(struct queue *q)
{
	struct segment *s = segment_find(q, q->resume.generation);
	char name[NAME_BYTES] = "";

	if (!s || s->size - q->resume.offset < BATCH_PREFIX)
		return QUEUE_FULL;
	segment_name(name, s->generation);
	int fd = q->disk->open(q->disk->self, q->segments_dir, name, O_RDWR);

	if (fd < 0)
		return result_of(fd);
	q->head = (struct head){fd, s->generation, q->resume.offset, s->size};
	return QUEUE_OK;
}

/*
 * A fresh segment and a first commit in it: the lease. Once that is durable
 * older segments may go, and mail can be taken.
 */
static enum queue_result head_start(struct queue *q)
{
	struct queue_batch *b = NULL;
	enum queue_result result = segment_fill_reserve(q);

	q->lease_wanted = q->lease + q->options.lease_ids;
	q->prepare_failed = result != QUEUE_OK;
	q->full = result == QUEUE_FULL;
	if (result == QUEUE_IO)
		return result;
	result = segment_make(q, true, &q->head);
	if (result == QUEUE_FULL)
		result = head_resume(q);
	/* No room at all: all is loaded and seen, and dead segments can be freed. */
	if (result == QUEUE_FULL)
		return QUEUE_OK;
	if (result != QUEUE_OK)
		return result;
	segment_add(q, q->head.generation, q->head.size)->sealed = false;
	result = queue_batch_seal(q, &b);
	if (result != QUEUE_OK)
		return result;
	result = queue_batch_write(q, b);
	queue_batch_done(q, &b, result);
	return result;
}

/* ---- opening ---- */

static void options_settle(struct queue_options *o)
{
	if (!o->segment_bytes)
		o->segment_bytes = QUEUE_SEGMENT_BYTES;
	if (o->segment_bytes < QUEUE_SEGMENT_MIN)
		o->segment_bytes = QUEUE_SEGMENT_MIN;
	if (o->segment_bytes > QUEUE_SEGMENT_MAX)
		o->segment_bytes = QUEUE_SEGMENT_MAX;
	o->segment_bytes &= ~4095u;
	if (!o->reserve_segments)
		o->reserve_segments = 2;
	if (o->reserve_segments > POOL_MAX / 2)
		o->reserve_segments = POOL_MAX / 2;
	if (!o->free_segments)
		o->free_segments = 4;
	if (o->free_segments > POOL_MAX)
		o->free_segments = POOL_MAX;
	if (!o->batch_bytes || o->batch_bytes > QUEUE_BATCH_BYTES)
		o->batch_bytes = QUEUE_BATCH_BYTES;
	if (o->batch_bytes > o->segment_bytes / 4)
		o->batch_bytes = o->segment_bytes / 4;
	if (!o->lease_ids)
		o->lease_ids = 65536;
}

static struct queue *queue_new(const struct disk *disk, int dir,
			       const struct queue_options *options, const struct queue_owner *owner)
{
	struct queue *q = mem_new(1, sizeof(*q));

	q->disk = disk;
	q->dir = dir;
	q->owner = *owner;
	if (options)
		q->options = *options;
	options_settle(&q->options);
	q->segments_dir = q->free_dir = q->reserve_dir = q->index_dir = -1;
	q->bodies_dir = q->damaged_dir = q->lock_fd = -1;
	q->head.fd = q->next.fd = -1;
	(void)pthread_mutex_init(&q->making, NULL);
	q->load.pending = pending_new();
	q->batches = batch_pool_new();
	return q;
}

void queue_free(struct queue *q)
{
	const int fds[] = {q->segments_dir, q->free_dir,   q->reserve_dir,
			   q->index_dir,    q->bodies_dir, q->damaged_dir,
			   q->lock_fd,	    q->head.fd,	   q->next.fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
		if (fds[i] >= 0)
			q->disk->close(q->disk->self, fds[i]);
	queue_batch_unref(&q->filling);
	queue_batch_unref(&q->flying);
	batch_pool_close(&q->batches);
	view_free(&q->load.view);
	view_free(&q->clean.view);
	view_free(&q->work.view);
	bytes_free(&q->clean.content);
	pending_free(&q->load.pending);
	free(q->table);
	free(q->voids);
	free(q->bodies);
	(void)pthread_mutex_destroy(&q->making);
	free(q);
}

void queue_close(struct queue **queue)
{
	if (*queue)
		queue_free(*queue);
	*queue = NULL;
}

enum queue_result queue_open(struct queue **queue, const struct disk *disk, int dir,
			     const struct queue_options *options, const struct queue_owner *owner)
{
	struct queue *q = queue_new(disk, dir, options, owner);
	enum queue_result result = folders_open(q);

	*queue = NULL;
	if (result == QUEUE_OK)
		result = lock_take(q);
	if (result == QUEUE_OK)
		result = format_check(q);
	if (result == QUEUE_OK)
		result = segments_list(q);
	if (result == QUEUE_OK)
		result = segment_pools_read(q);
	if (result == QUEUE_OK)
		result = newest_read(q);
	if (result == QUEUE_OK)
		result = head_start(q);
	if (result == QUEUE_OK)
		*queue = q;
	else
		queue_free(q);
	return result;
}

enum queue_result queue_open_readonly(struct queue **queue, const struct disk *disk, int dir,
				      const struct queue_owner *owner)
{
	struct queue *q = queue_new(disk, dir, NULL, owner);

	*queue = NULL;
	q->readonly = true;
	enum queue_result result = folders_open(q);

	if (result == QUEUE_OK)
		result = format_check(q);
	if (result == QUEUE_OK)
		result = segments_list(q);
	if (result == QUEUE_OK)
		result = newest_read(q);
	if (result == QUEUE_OK)
		*queue = q;
	else
		queue_free(q);
	return result;
}

struct queue_figures queue_figures(const struct queue *q)
{
	struct queue_figures f = {
	    .segments = (uint32_t)q->count,
	    .free_segments = atomic_load(&q->free_left),
	    .reserve_segments = atomic_load(&q->reserve_left),
	    .segment_bytes = q->options.segment_bytes,
	    .commits = q->commits,
	    .aborts = q->abort_total,
	    .cleaned = q->cleaned,
	    .moved_bytes = q->moved_bytes,
	    .damages = q->damages,
	    .loaded = q->load.done,
	    .full = queue_intake(q) == QUEUE_FULL,
	    .broken = q->broken,
	};

	for (size_t i = 0; i < q->count; i++)
		f.live_bytes += q->table[i].live + (uint64_t)q->table[i].outcomes * OUTCOME_WEIGHT;
	return f;
}
