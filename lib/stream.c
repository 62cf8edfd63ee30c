/* SPDX-License-Identifier: ISC */
/* Streams to strangers. */
#include "stream_private.h"

#include "host_address.h"
#include "mem.h"
#include "must.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	/* Written bytes beyond this leave at once, not at the end of the turn. */
	FLUSH_NOW_BYTES = 256 * 1024,
	/* What is read and thrown away, and for how long, so that last words arrive. */
	LINGER_BYTES = 1024 * 1024,
	LINGER_SECONDS = 2,
	/* Who sends records of one octet is read no faster than this. */
	RECORDS_A_TURN = 64,
};

void stream_drop_out(struct stream *s)
{
	if (s->wipes && s->out.data)
		explicit_bzero(s->out.data, s->out.size);
	bytes_free(&s->out);
}

static void stream_destroy(struct stream *s)
{
	watch_remove(&s->watch);
	turn_end_cancel(&s->flush);
	turn_end_cancel(&s->reread);
	timer_clear(&s->limit);
	tls_link_free(&s->tls);
	tls_link_free(&s->link_next);
	bytes_free(&s->in);
	stream_drop_out(s);
	close(s->fd);
	free(s);
}

void stream_enter(struct stream *s)
{
	s->calls++;
}

bool stream_leave(struct stream *s)
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

void stream_time(struct stream *s, void (*fired)(void *arg), struct duration after)
{
	timer_clear(&s->limit);
	timer_init(&s->limit, s->loop, fired, s);
	timer_set(&s->limit, after);
}

void stream_wipe_sent(struct stream *s)
{
	s->wipes = true;
}

size_t stream_backlog(const struct stream *s)
{
	return bytes_len(&s->out) + (s->tls ? tls_link_unsent(s->tls) : 0);
}

void stream_watch(struct stream *s)
{
	if (s->handshaking && s->tls) {
		watch_want(&s->watch, s->awaits == TLS_READ, s->awaits == TLS_WRITE);
		return;
	}
	bool in =
	    (!s->paused || s->finishing) && !s->ended && !s->connecting && !stream_tls_is_next(s);

	watch_want(&s->watch, in, s->connecting || stream_backlog(s) > 0);
}

void stream_fail(struct stream *s, int error)
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

static void stream_limit(void *arg)
{
	stream_kill(arg);
}

/* Nothing has come, or the end and nothing before it. */
static bool has_nothing_unread(const struct stream *s)
{
	uint8_t octet;
	ssize_t n = recv(s->fd, &octet, 1, MSG_PEEK);

	return n == 0 || (n < 0 && errno == EAGAIN);
}

/*
 * All has been said. A close() with input unread, or more on its way, sends a
 * RST, and that throws away what the peer has not read yet: last of all the
 * reply that tells it why. So the peer is told that no more comes, and closes.
 */
static void stream_linger(struct stream *s)
{
	bytes_free(&s->in);
	if (s->ended || s->last_words || shutdown(s->fd, SHUT_WR) < 0) {
		stream_kill(s);
		return;
	}
	stream_time(s, stream_limit, SECONDS(LINGER_SECONDS));
}

/* Hands LEN octets to the kernel, or to TLS; the first of them that were taken, or -1 with errno.
 */
static ssize_t stream_send(struct stream *s, const uint8_t *data, size_t len)
{
	size_t taken = 0;

	if (!s->tls)
		return send(s->fd, data, len, MSG_NOSIGNAL | (s->last_words ? MSG_MORE : 0));
	switch (tls_link_write(s->tls, data, len, &taken)) {
	case TLS_FINE:
		return (ssize_t)taken;
	case TLS_READ:
	case TLS_WRITE:
	case TLS_SIGN:
		errno = EAGAIN;
		break;
	case TLS_ENDED:
	case TLS_BROKEN:
		errno = EPIPE;
		break;
	}
	return -1;
}

/* What TLS holds leaves: the words, a ticket and the end (close_notify) in one piece. False with
 * errno. */
static bool stream_send_tls(struct stream *s)
{
	if (!s->tls)
		return true;
	if (s->finishing && !bytes_len(&s->out))
		tls_link_close(s->tls);
	errno = EPIPE;
	return tls_link_flush(s->tls) != TLS_BROKEN;
}

/* False when the connection is broken, with errno. */
static bool stream_send_some(struct stream *s)
{
	while (bytes_len(&s->out)) {
		ssize_t n = stream_send(s, bytes_at(&s->out), bytes_len(&s->out));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0) {
			stream_drop_out(s);
			return false;
		}
		if (s->wipes)
			explicit_bzero(bytes_at(&s->out), (size_t)n);
		bytes_take(&s->out, (size_t)n, 0);
		s->wipes = s->wipes && bytes_len(&s->out);
	}
	return stream_send_tls(s);
}

/* Writes what it can: TLS holds no more than a record or two at a time. */
static bool stream_send_all(struct stream *s)
{
	size_t before;

	do {
		before = bytes_len(&s->out);
		if (!stream_send_some(s))
			return false;
	} while (s->tls && bytes_len(&s->out) < before && bytes_len(&s->out) &&
		 !tls_link_unsent(s->tls));
	return true;
}

void stream_flush(void *arg)
{
	struct stream *s = arg;
	bool had = stream_backlog(s) > 0; /* also what only TLS still holds */

	if (s->connecting || s->dead || (s->handshaking && s->tls))
		return;
	s->last_words =
	    s->finishing && s->said_all && !s->tls && !bytes_len(&s->in) && has_nothing_unread(s);
	if (!stream_send_all(s) && (s->finishing || s->paused)) {
		stream_enter(s);
		stream_fail(s, errno);
		stream_leave(s);
		return;
	}
	stream_watch(s);
	if (stream_backlog(s))
		return;
	if (s->finishing) {
		stream_linger(s);
		return;
	}
	if (stream_tls_is_next(s)) {
		stream_tls_begin(s);
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
	s->giving = true;
	size_t n = s->face->input(s->owner, data, len);

	s->giving = false;
	must(n <= len);
	return n;
}

/* What is left of plain input when TLS was begun from within is nobody's any more. */
static bool stream_was_cleared(struct stream *s)
{
	if (!s->cleared)
		return false;
	s->cleared = false;
	bytes_free(&s->in);
	return true;
}

static void stream_give_kept(struct stream *s)
{
	if (s->dead || s->paused || s->finishing || s->handshaking || !bytes_len(&s->in))
		return;
	size_t n = stream_give(s, bytes_at(&s->in), bytes_len(&s->in));

	if (!s->dead && !stream_was_cleared(s) && n)
		bytes_take(&s->in, n, 0);
}

static void stream_got(struct stream *s, const uint8_t *data, size_t len)
{
	if (bytes_len(&s->in)) {
		bytes_add(&s->in, data, len);
		stream_give_kept(s);
		return;
	}
	size_t n = stream_give(s, data, len);

	if (!s->dead && !stream_was_cleared(s) && !s->finishing && n < len)
		bytes_add(&s->in, data + n, len - n);
}

static void stream_read(struct stream *s);

static void stream_read_more(void *arg)
{
	struct stream *s = arg;

	if (s->paused || s->finishing || s->ended)
		return;
	stream_enter(s);
	stream_read(s);
	stream_leave(s);
}

void stream_reread_soon(struct stream *s)
{
	/* The socket may have nothing to say of it. */
	stream_time(s, stream_read_more, SECONDS(0));
}

/* As many records as are there, up to the buffer's size. */
static void stream_read_tls(struct stream *s)
{
	uint8_t *scratch = loop_scratch(s->loop);
	enum tls_result r = TLS_FINE;
	size_t len = 0, n;

	for (int i = 0; i < RECORDS_A_TURN && len < LOOP_SCRATCH_BYTES; i++) {
		r = tls_link_read(s->tls, scratch + len, LOOP_SCRATCH_BYTES - len, &n);
		len += n;
		if (r != TLS_FINE || !tls_link_has_more(s->tls))
			break;
	}
	if (r == TLS_FINE && tls_link_has_more(s->tls))
		stream_reread_soon(s);
	/* An alert, or an answer of TLS' own. */
	if (tls_link_unsent(s->tls))
		turn_end_schedule(&s->flush, s->loop, stream_flush, s);
	if (len)
		stream_got(s, scratch, len);
	if (s->dead || r == TLS_FINE)
		return;
	if (r == TLS_BROKEN)
		s->tls_why = tls_link_why(s->tls);
	if (r == TLS_ENDED || r == TLS_BROKEN)
		stream_fail(s, r == TLS_ENDED ? 0 : EPROTO);
}

static void stream_read(struct stream *s)
{
	if (s->tls) {
		stream_read_tls(s);
		return;
	}
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

static void stream_reread(void *arg)
{
	struct stream *s = arg;

	stream_enter(s);
	stream_give_kept(s);
	stream_leave(s);
}

bool stream_own_address(const struct stream *s, uint8_t *to)
{
	struct sockaddr_storage own = {0};
	socklen_t len = sizeof own;

	return getsockname(s->fd, (struct sockaddr *)&own, &len) == 0 &&
	       host_address_of((struct sockaddr *)&own, to);
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
	if (readable && s->tls)
		tls_link_readable(s->tls);
	if (s->connecting && (readable || writable))
		stream_connect_done(s);
	else if (s->handshaking && s->tls && s->awaits != TLS_SIGN)
		stream_tls_go_on(s);
	else if (s->handshaking && s->tls)
		stream_watch(s); /* it is too early; only now is saying so worth a system call */
	else if (readable && s->finishing)
		stream_discard(s);
	else if (readable && (s->paused || s->handshaking))
		stream_watch(s);
	else if (readable)
		stream_read(s);
	if (!s->dead && writable && !s->connecting && !(s->handshaking && s->tls))
		turn_end_schedule(&s->flush, s->loop, stream_flush, s);
	stream_leave(s);
}

void stream_never_wait(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static struct stream *stream_make(struct loop *loop, int fd, const struct stream_face *face,
				  void *owner)
{
	struct stream *s = mem_new(1, sizeof *s);

	s->loop = loop;
	s->face = face;
	s->owner = owner;
	s->fd = fd;
	watch_add(&s->watch, loop, fd, stream_ready, s);
	return s;
}

struct stream *stream_new(struct loop *loop, int fd, const struct stream_face *face, void *owner)
{
	struct stream *s = stream_make(loop, fd, face, owner);

	/* At once: what is there already must come before the answer to a question that is asked in
	 * this turn. */
	stream_watch(s);
	return s;
}

struct stream *stream_connect(struct loop *loop, int fd, const struct sockaddr *to, socklen_t len,
			      const struct stream_face *face, void *owner)
{
	struct stream *s = stream_make(loop, fd, face, owner);

	stream_never_wait(fd);
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

void stream_pause(struct stream *s)
{
	s->paused = true;
}

void stream_resume(struct stream *s)
{
	if (!s->paused)
		return;
	s->paused = false;
	if (bytes_len(&s->in))
		turn_end_schedule(&s->reread, s->loop, stream_reread, s);
	/* What is to be said may be gone at the turn's end: then nobody need wait for room. It
	 * leaves together with the answers to what has been kept. */
	if (stream_backlog(s) && !s->connecting && !s->handshaking) {
		turn_end_cancel(&s->flush);
		turn_end_schedule(&s->flush, s->loop, stream_flush, s);
	} else {
		stream_watch(s);
	}
	if (s->tls && !s->handshaking && tls_link_has_more(s->tls))
		stream_reread_soon(s);
}

void stream_free(struct stream **sp)
{
	struct stream *s = *sp;

	if (!s)
		return;
	*sp = NULL;
	if (bytes_len(&s->out) && !s->connecting && !s->handshaking) {
		/*
		 * Tried once, also when the peer has closed its half: it may still read. A last
		 * reply that does not fit is lost with the connection.
		 */
		(void)!stream_send(s, bytes_at(&s->out), bytes_len(&s->out));
		bytes_free(&s->out);
	}
	if (s->tls && !s->handshaking) {
		tls_link_close(s->tls);
		(void)tls_link_flush(s->tls);
	}
	watch_want(&s->watch, false, false);
	turn_end_cancel(&s->flush);
	turn_end_cancel(&s->reread);
	stream_kill(s);
}

void stream_finish(struct stream **sp, struct duration limit, bool has_said_all)
{
	struct stream *s = *sp;

	if (!s)
		return;
	if (!stream_backlog(s) || s->ended || s->connecting || s->handshaking) {
		stream_free(sp);
		return;
	}
	*sp = NULL;
	s->finishing = true;
	s->said_all = has_said_all;
	stream_time(s, stream_limit, limit);
	turn_end_schedule(&s->flush, s->loop, stream_flush, s);
}
