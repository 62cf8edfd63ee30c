/* SPDX-License-Identifier: ISC */
/* Writing lines without ever waiting. */
#include "sink.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	/*
	 * Standard output is shared with whoever started us, so it is not made
	 * non-blocking. A pipe that polls as writable takes PIPE_BUF bytes
	 * (pipe(7)); a terminal takes less, but something.
	 */
	PIPE_STEP = 4096,
	TERMINAL_STEP = 256,
	STEPS_MAX = 256, /* per call: other work waits */
	KEEP_BYTES = 1 << 20,
};

void sink_init(struct sink *s)
{
	*s = (struct sink){.fd = -1};
}

static enum sink_kind kind_of(int fd)
{
	struct stat st;
	int type = 0;
	socklen_t len = sizeof type;

	if (fstat(fd, &st) != 0)
		return SINK_PIPE;
	if (S_ISREG(st.st_mode))
		return SINK_FILE;
	if (S_ISCHR(st.st_mode))
		return SINK_TERMINAL;
	if (!S_ISSOCK(st.st_mode))
		return SINK_PIPE;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM)
		return SINK_DATAGRAMS;
	return SINK_STREAM;
}

void sink_open(struct sink *s, int fd, const char *path)
{
	sink_close(s);
	s->fd = fd;
	s->kind = kind_of(fd);
	snprintf(s->path, sizeof s->path, "%s", path ? path : "");
}

/* Lines that will never be written. */
static uint64_t lines_in(const struct bytes *b, bool datagrams)
{
	const uint8_t *p = b->data ? bytes_at(b) : NULL, *end = p ? p + bytes_len(b) : NULL;
	uint64_t n = 0;

	while (p && p < end && (p = memchr(p, datagrams ? 0 : '\n', (size_t)(end - p)))) {
		p++;
		n++;
	}
	return n;
}

static void drop_all(struct sink *s)
{
	s->lost += lines_in(&s->buffer, s->kind == SINK_DATAGRAMS);
	bytes_take(&s->buffer, bytes_len(&s->buffer), KEEP_BYTES);
}

void sink_close(struct sink *s)
{
	if (s->fd >= 0) {
		sink_write(s);
		close(s->fd);
	}
	s->fd = -1;
	drop_all(s);
	bytes_free(&s->buffer);
	s->stuck = false;
}

bool sink_takes(struct sink *s)
{
	if (s->fd < 0)
		return false;
	if (bytes_len(&s->buffer) <= SINK_BUFFER_MAX)
		return true;
	s->lost++;
	return false;
}

/* A syslog daemon that was started anew has a new socket behind its path. */
static bool reconnect(struct sink *s)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	if (!s->path[0])
		return false;
	snprintf(to.sun_path, sizeof to.sun_path, "%s", s->path);
	return connect(s->fd, (struct sockaddr *)&to, sizeof to) == 0;
}

/* One packet a line, up to its NUL. */
static bool write_datagrams(struct sink *s)
{
	bool again = true;

	while (bytes_len(&s->buffer)) {
		const uint8_t *p = bytes_at(&s->buffer);
		const uint8_t *end = memchr(p, 0, bytes_len(&s->buffer));
		size_t len = end ? (size_t)(end - p) : bytes_len(&s->buffer);
		ssize_t n = send(s->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == ECONNREFUSED || errno == ENOTCONN || errno == ECONNRESET)) {
			if (!again || !reconnect(s))
				return false;
			again = false;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EMSGSIZE)
			s->lost++;
		else if (n < 0)
			return false;
		bytes_take(&s->buffer, end ? len + 1 : len, KEEP_BYTES);
	}
	return true;
}

/* Bytes written, 0 when none can be taken now, -1 when the target is gone for good. */
static ssize_t step(const struct sink *s)
{
	size_t len = bytes_len(&s->buffer);
	struct pollfd p = {.fd = s->fd, .events = POLLOUT};
	ssize_t n;

	if (s->kind == SINK_STREAM) {
		n = send(s->fd, bytes_at(&s->buffer), len, MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		if (s->kind != SINK_FILE) {
			size_t most = s->kind == SINK_PIPE ? PIPE_STEP : TERMINAL_STEP;

			len = len < most ? len : most;
			if (poll(&p, 1, 0) != 1 || !(p.revents & (POLLOUT | POLLERR | POLLHUP)))
				return 0;
		}
		n = write(s->fd, bytes_at(&s->buffer), len);
	}
	if (n >= 0)
		return n;
	return errno == EPIPE || errno == ECONNRESET || errno == EIO ? -1 : 0;
}

bool sink_write(struct sink *s)
{
	if (s->fd < 0)
		return true;
	if (s->kind == SINK_DATAGRAMS) {
		s->stuck = !write_datagrams(s);
		return !s->stuck;
	}
	/* A short write stays: the rest of its line goes out first, next time. */
	for (int i = 0; i < STEPS_MAX && bytes_len(&s->buffer); i++) {
		ssize_t n = step(s);

		if (n < 0)
			drop_all(s);
		if (n <= 0)
			break;
		bytes_take(&s->buffer, (size_t)n, KEEP_BYTES);
	}
	s->stuck = bytes_len(&s->buffer) > 0;
	return !s->stuck;
}
