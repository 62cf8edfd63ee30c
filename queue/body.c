/* SPDX-License-Identifier: ISC */
/* Large bodies: a file each, synced apart from the log, named by the message's ID. */
#include "state.h"

#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

static void body_name(char name[NAME_BYTES], uint64_t id)
{
	(void)snprintf(name, NAME_BYTES, "%016llx", (unsigned long long)id);
}

static bool body_name_get(const char *name, uint64_t *id)
{
	uint64_t v = 0;
	int n = 0;

	for (; name[n] && n < 17; n++) {
		bool digit = name[n] >= '0' && name[n] <= '9';

		if (!digit && !(name[n] >= 'a' && name[n] <= 'f'))
			return false;
		v = v << 4 | (uint64_t)(digit ? name[n] - '0' : name[n] - 'a' + 10);
	}
	*id = v;
	return n == 16 && v;
}

enum queue_result queue_body_create(struct queue *q, uint64_t id, int *fd)
{
	char name[NAME_BYTES] = "";

	if (q->readonly || !id)
		return QUEUE_IO;
	body_name(name, id);
	/* One that exists belongs to a message: an ID is never given out twice. */
	*fd = q->disk->open(q->disk->self, q->bodies_dir, name, O_WRONLY | O_CREAT | O_EXCL);
	return *fd == -EEXIST ? QUEUE_IO : result_of(*fd);
}

enum queue_result queue_body_finish(struct queue *q, uint64_t id, uint64_t length)
{
	const struct disk *d = q->disk;
	char name[NAME_BYTES] = "";

	body_name(name, id);
	int fd = d->open(d->self, q->bodies_dir, name, O_RDWR);

	if (fd < 0)
		return result_of(fd);
	int64_t size = d->size(d->self, fd);
	int error = size < 0 ? (int)size : 0;
	bool shorter = error >= 0 && (uint64_t)size < length;

	if (error >= 0 && !shorter && (uint64_t)size > length)
		error = d->truncate(d->self, fd, length);
	if (error >= 0 && !shorter)
		error = d->sync(d->self, fd);
	d->close(d->self, fd);
	if (error >= 0 && !shorter)
		error = d->sync_folder(d->self, q->bodies_dir);
	return shorter ? QUEUE_DAMAGED : result_of(error);
}

enum queue_result queue_body_open(const struct queue *q, uint64_t id, int *fd)
{
	char name[NAME_BYTES] = "";

	body_name(name, id);
	*fd = q->disk->open(q->disk->self, q->bodies_dir, name, O_RDONLY);
	return result_of(*fd);
}

enum queue_result queue_body_remove(struct queue *q, uint64_t id)
{
	char name[NAME_BYTES] = "";

	if (q->readonly)
		return QUEUE_IO;
	body_name(name, id);
	int error = q->disk->unlink(q->disk->self, q->bodies_dir, name);

	return error == -ENOENT ? QUEUE_OK : result_of(error);
}

/* ---- orphans, once after all is loaded ---- */

static void body_seen(void *arg, const char *name)
{
	struct queue *q = arg;
	uint64_t id = 0;

	/* From this run on they are in use, or removed by who gave them up. */
	if (!body_name_get(name, &id) || id >= q->first_id)
		return;
	if (q->body_count == q->body_size) {
		q->body_size = q->body_size ? q->body_size * 2 : 256;
		q->bodies = mem_resize(q->bodies, q->body_size, sizeof(*q->bodies));
	}
	q->bodies[q->body_count++] = id;
}

void bodies_list(struct queue *q)
{
	q->work.result = result_of(q->disk->list(q->disk->self, q->bodies_dir, body_seen, q));
}

void bodies_judge(struct queue *q)
{
	struct queue_location l = {0};
	size_t kept = 0;

	for (size_t i = 0; i < q->body_count; i++)
		if (!q->owner.locate(q->owner.self, q->bodies[i], &l))
			q->bodies[kept++] = q->bodies[i];
	q->body_count = kept;
}

void bodies_unlink(struct queue *q)
{
	for (size_t i = 0; i < q->body_count; i++)
		(void)queue_body_remove(q, q->bodies[i]);
	free(q->bodies);
	q->bodies = NULL;
	q->body_count = q->body_size = 0;
}
