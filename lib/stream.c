/* SPDX-License-Identifier: ISC */
/* Streams to strangers. */
#include "stream.h"

#include "mem.h"
#include "must.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	/* Written bytes beyond this leave at once, not at the end of the turn. */
	FLUSH_NOW_BYTES = 256 * 1024,
	/* What is read and thrown away, and for how long, so that last words arrive. */
	LINGER_BYTES = 1024 * 1024,
	LINGER_SECONDS = 2,
};

struct stream {
	struct loop *loop;
	const struct stream_face *face;
	void *owner;
	struct watch watch;
	struct turn_end flush, reread;
	struct timer limit; /* of stream_finish() */
	struct bytes in, out;
	uint32_t discarded; /* octets read while finishing */
	int fd;
	int calls; /* callbacks on the stack: freed when the last one returns */
	bool connecting, paused, ended, finishing, dead;
};

static void stream_destroy(struct stream *s)
{
	watch_remove(&s->watch);
	turn_end_cancel(&s->flush);
	turn_end_cancel(&s->reread);
	if (s->limit.loop)
		timer_clear(&s->limit);
	bytes_free(&s->in);
	bytes_free(&s->out);
	close(s->fd);
	free(s);
}

static void stream_enter(struct stream *s)
{
	s->calls++;
}

/* False when the stream is gone. */
static bool stream_leave(struct stream *s)
{
	must(s->calls > 0);
	if (--s->calls || !s->dead)
		return !s->dead;
	stream_destroy(s);
	return false;
}

static void stream_kill(struct stream *s)
{
	s->dead = true;
	if (!s->calls)
		stream_destroy(s);
}

static void stream_watch(struct stream *s)
{
	bool in = (!s->paused || s->finishing) && !s->ended && !s->connecting;

	watch_want(&s->watch, in, s->connecting || bytes_len(&s->out) > 0);
}

static void stream_fail(struct stream *s, int error)
{
	if (s->ended)
		return;
	s->ended = true;
	watch_want(&s->watch, false, false);
	if (s->finishing) {
		stream_kill(s);
		return;
	}
	s->face->ended(s->owner, error);
}

/*
 * All has been said. A close() with input unread, or more on its way, sends a
 * RST, and that throws away what the peer has not read yet: last of all the
 * reply that tells it why. So the peer is told that no more comes, and closes.
 */
static void stream_linger(struct stream *s)
{
	bytes_free(&s->in);
	if (s->ended || shutdown(s->fd, SHUT_WR) < 0) {
		stream_kill(s);
		return;
	}
	timer_set(&s->limit, SECONDS(LINGER_SECONDS));
}

/* Writes what it can; an error is left for the reading side to meet, after what is still to be
 * read. */
static void stream_flush(void *arg)
{
	struct stream *s = arg;
	bool had = bytes_len(&s->out) > 0;

	if (s->connecting || s->dead)
		return;
	while (bytes_len(&s->out)) {
		ssize_t n = send(s->fd, bytes_at(&s->out), bytes_len(&s->out), MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0) {
			bytes_free(&s->out);
			if (s->finishing || s->paused) {
				stream_enter(s);
				stream_fail(s, errno);
				stream_leave(s);
				return;
			}
			break;
		}
		bytes_take(&s->out, (size_t)n, 0);
	}
	stream_watch(s);
	if (bytes_len(&s->out))
		return;
	if (s->finishing) {
		stream_linger(s);
		return;
	}
	if (had && s->face->flushed) {
		stream_enter(s);
		s->face->flushed(s->owner);
		stream_leave(s);
	}
}

/* Gives DATA to the owner; returns what was consumed. */
static size_t stream_give(struct stream *s, const uint8_t *data, size_t len)
{
	size_t n = s->face->input(s->owner, data, len);

	must(n <= len);
	return n;
}

static void stream_give_kept(struct stream *s)
{
	if (s->dead || s->paused || s->finishing || !bytes_len(&s->in))
		return;
	size_t n = stream_give(s, bytes_at(&s->in), bytes_len(&s->in));

	if (!s->dead && n)
		bytes_take(&s->in, n, 0);
}

static void stream_reread(void *arg)
{
	struct stream *s = arg;

	stream_enter(s);
	stream_give_kept(s);
	stream_leave(s);
}

static void stream_got(struct stream *s, const uint8_t *data, size_t len)
{
	if (bytes_len(&s->in)) {
		bytes_add(&s->in, data, len);
		stream_give_kept(s);
		return;
	}
	size_t n = stream_give(s, data, len);

	if (!s->dead && !s->finishing && n < len)
		bytes_add(&s->in, data + n, len - n);
}

static void stream_read(struct stream *s)
{
	uint8_t *scratch = loop_scratch(s->loop);
	ssize_t n = recv(s->fd, scratch, LOOP_SCRATCH_BYTES, 0);

	if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (n <= 0)
		stream_fail(s, n < 0 ? errno : 0);
	else
		stream_got(s, scratch, (size_t)n);
}

/* Nobody wants it any more. An end while words are left to say is no end of the other direction. */
static void stream_discard(struct stream *s)
{
	ssize_t n = recv(s->fd, loop_scratch(s->loop), LOOP_SCRATCH_BYTES, 0);

	if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (n == 0 && bytes_len(&s->out)) {
		s->ended = true;
		stream_watch(s);
		return;
	}
	if (n <= 0 || (size_t)n > LINGER_BYTES - s->discarded)
		stream_kill(s);
	else
		s->discarded += (uint32_t)n;
}

static void stream_connect_done(struct stream *s)
{
	int error = 0;
	socklen_t len = sizeof error;

	getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	s->connecting = false;
	if (error) {
		stream_fail(s, error);
		return;
	}
	stream_watch(s);
	s->face->connected(s->owner);
}

static void stream_ready(void *arg, bool readable, bool writable)
{
	struct stream *s = arg;

	stream_enter(s);
	if (s->connecting && (readable || writable))
		stream_connect_done(s);
	else if (readable && s->finishing)
		stream_discard(s);
	else if (readable && !s->paused)
		stream_read(s);
	if (!s->dead && writable && !s->connecting)
		turn_end_schedule(&s->flush, s->loop, stream_flush, s);
	stream_leave(s);
}

static struct stream *stream_make(struct loop *loop, int fd, const struct stream_face *face,
				  void *owner)
{
	struct stream *s = mem_new(1, sizeof *s);
	int one = 1;

	s->loop = loop;
	s->face = face;
	s->owner = owner;
	s->fd = fd;
	must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	/* Replies leave once a turn: waiting for more (Nagle) would only delay them. Fails on UNIX
	 * sockets. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	watch_add(&s->watch, loop, fd, stream_ready, s);
	return s;
}

struct stream *stream_new(struct loop *loop, int fd, const struct stream_face *face, void *owner)
{
	struct stream *s = stream_make(loop, fd, face, owner);

	stream_watch(s);
	return s;
}

struct stream *stream_connect(struct loop *loop, int fd, const struct sockaddr *to, socklen_t len,
			      const struct stream_face *face, void *owner)
{
	struct stream *s = stream_make(loop, fd, face, owner);

	s->connecting = true;
	if (connect(fd, to, len) < 0 && errno != EINPROGRESS && errno != EINTR) {
		int error = errno;

		stream_destroy(s);
		errno = error;
		return NULL;
	}
	stream_watch(s);
	return s;
}

struct bytes *stream_out(struct stream *s)
{
	return &s->out;
}

void stream_wrote(struct stream *s)
{
	if (bytes_len(&s->out) >= FLUSH_NOW_BYTES && !s->connecting)
		stream_watch(s);
	turn_end_schedule(&s->flush, s->loop, stream_flush, s);
}

void stream_write(struct stream *s, const void *data, size_t len)
{
	if (s->ended)
		return;
	bytes_add(&s->out, data, len);
	stream_wrote(s);
}

size_t stream_backlog(const struct stream *s)
{
	return bytes_len(&s->out);
}

void stream_pause(struct stream *s)
{
	s->paused = true;
	stream_watch(s);
}

void stream_resume(struct stream *s)
{
	if (!s->paused)
		return;
	s->paused = false;
	stream_watch(s);
	if (bytes_len(&s->in))
		turn_end_schedule(&s->reread, s->loop, stream_reread, s);
}

void stream_free(struct stream **sp)
{
	struct stream *s = *sp;

	if (!s)
		return;
	*sp = NULL;
	if (bytes_len(&s->out) && !s->connecting) {
		/*
		 * Tried once, also when the peer has closed its half: it may still read. A last
		 * reply that does not fit is lost with the connection.
		 */
		ssize_t ignored = send(s->fd, bytes_at(&s->out), bytes_len(&s->out), MSG_NOSIGNAL);
		(void)ignored;
		bytes_free(&s->out);
	}
	watch_want(&s->watch, false, false);
	turn_end_cancel(&s->flush);
	turn_end_cancel(&s->reread);
	stream_kill(s);
}

static void stream_limit(void *arg)
{
	stream_kill(arg);
}

void stream_finish(struct stream **sp, struct duration limit)
{
	struct stream *s = *sp;

	if (!s)
		return;
	if (!bytes_len(&s->out) || s->ended || s->connecting) {
		stream_free(sp);
		return;
	}
	*sp = NULL;
	s->finishing = true;
	timer_init(&s->limit, s->loop, stream_limit, s);
	timer_set(&s->limit, limit);
	stream_watch(s);
	turn_end_schedule(&s->flush, s->loop, stream_flush, s);
}
