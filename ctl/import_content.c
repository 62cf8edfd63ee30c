/* SPDX-License-Identifier: ISC */
/* One pass over the file; memory for a piece of it. */
#include "import_content.h"

#include "message.h"
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 65536 };

int import_file_open(int dir, const char *name, uint64_t *size, const char **why)
{
	/* Without O_NONBLOCK a FIFO of that name would keep us for ever. */
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0) {
		*why = errno == ELOOP ? "is no plain file" : strerror(errno);
		return -1;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		*size = (uint64_t)st.st_size;
		return fd;
	}
	*why = "is no plain file";
	close(fd);
	return -1;
}

static const char *body_write(struct import_content *c)
{
	while (bytes_len(&c->body)) {
		ssize_t n = write(c->fd, bytes_at(&c->body), bytes_len(&c->body));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return errno == ENOSPC || errno == EDQUOT ? "the disk of the queue is full"
								  : strerror(errno);
		c->body_crc = queue_crc32c(c->body_crc, bytes_at(&c->body), (size_t)n);
		bytes_take(&c->body, (size_t)n, PIECE_BYTES * 4);
	}
	return NULL;
}

static const char *body_add(struct import_content *c, const char *data, size_t len)
{
	const char *why = NULL;

	bytes_add(&c->body, data, len);
	c->body_length += len;
	if (c->fd < 0 && bytes_len(&c->body) <= INLINE_BODY_MAX)
		return NULL;
	if (c->fd < 0)
		c->fd = c->open(c->arg, &why);
	return c->fd < 0 ? why : bytes_len(&c->body) >= PIECE_BYTES ? body_write(c) : NULL;
}

/* The header block with its empty line; what follows is body. A body without any has an empty
 * line alone. */
static const char *head_add(struct import_content *c, const char *data, size_t len)
{
	bytes_add(&c->prelude, data, len);
	const char *all = (const char *)bytes_at(&c->prelude);
	size_t have = bytes_len(&c->prelude), end = 0;
	size_t from = c->looked < 3 ? 0 : c->looked - 3;
	const char *empty = memmem(all + from, have - from, "\r\n\r\n", 4);

	if (have >= 2 && memcmp(all, "\r\n", 2) == 0)
		end = 2;
	else if (empty)
		end = (size_t)(empty - all) + 4;
	c->looked = have;
	if ((end ? end : have) > PRELUDE_MAX)
		return "has a header block above 256 KB";
	if (!end)
		return NULL;
	c->in_body = true;
	const char *why = body_add(c, all + end, have - end);

	c->prelude.end = c->prelude.start + end;
	return why;
}

static const char *put(struct import_content *c)
{
	const char *data = (const char *)bytes_at(&c->piece);
	size_t len = bytes_len(&c->piece);
	const char *why = !len	       ? NULL
			  : c->in_body ? body_add(c, data, len)
				       : head_add(c, data, len);

	c->piece.start = c->piece.end = 0;
	return why;
}

static const char *convert(struct import_content *c, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\0')
			return "holds a NUL";
		if (c->after_cr && data[i] != '\n')
			return "holds a bare CR";
		if (data[i] == '\n' && !c->after_cr)
			bytes_add(&c->piece, "\r", 1);
		bytes_add(&c->piece, &data[i], 1);
		c->after_cr = data[i] == '\r';
		c->last = data[i];
	}
	return put(c);
}

static const char *finish(struct import_content *c)
{
	const char *why = NULL;

	if (c->after_cr)
		return "holds a bare CR";
	if (c->taken && c->last != '\n') {
		bytes_add(&c->piece, "\r\n", 2);
		why = put(c);
	}
	if (!why && !c->in_body)
		bytes_add(&c->prelude, "\r\n", 2);
	if (!why && bytes_len(&c->prelude) > PRELUDE_MAX)
		why = "has a header block above 256 KB";
	return why ? why : c->fd >= 0 ? body_write(c) : NULL;
}

const char *import_content_read(struct import_content *c, int dir, const char *name)
{
	char piece[PIECE_BYTES];
	const char *why = NULL;
	uint64_t size = 0;
	int fd = import_file_open(dir, name, &size, &why);

	c->fd = -1;
	while (fd >= 0 && !why) {
		ssize_t n = read(fd, piece, sizeof piece);

		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		c->taken += n > 0 ? (uint64_t)n : 0;
		why = n < 0		? strerror(errno)
		      : c->taken > size ? "grew while it was read"
					: convert(c, piece, (size_t)n);
	}
	if (fd >= 0)
		close(fd);
	if (!why && c->taken < size)
		why = "shrank while it was read";
	return why ? why : finish(c);
}

void import_content_free(struct import_content *c)
{
	bytes_free(&c->prelude);
	bytes_free(&c->body);
	bytes_free(&c->piece);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}
