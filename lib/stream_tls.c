/* SPDX-License-Identifier: ISC */
/* From a stream in clear to one under TLS. */
#include "stream_private.h"

#include "must.h"
#include "tls_client.h"

#include <errno.h>

static void tls_failed(struct stream *s, const char *why)
{
	s->tls_why = why;
	/* Nothing that is still to be said may leave in clear. */
	stream_drop_out(s);
	stream_fail(s, EPROTO);
}

static void tls_late(void *arg)
{
	struct stream *s = arg;

	stream_enter(s);
	tls_failed(s, "it took too long");
	stream_leave(s);
}

void stream_tls_go_on(struct stream *s)
{
	if (s->ended)
		return;
	s->awaits = tls_link_handshake(s->tls);
	switch (s->awaits) {
	case TLS_FINE:
		timer_clear(&s->limit);
		s->handshaking = false;
		/* The client may have spoken already, right behind its last words. */
		if (tls_link_has_more(s->tls))
			stream_reread_soon(s);
		/* A ticket leaves with what the owner has to say, or without. */
		turn_end_schedule(&s->flush, s->loop, stream_flush, s);
		s->face->secured(s->owner);
		return;
	case TLS_READ:
	case TLS_WRITE:
		stream_watch(s);
		return;
	case TLS_SIGN: /* the client has nothing to say: if it does, stream_ready() stops it */
		return;
	case TLS_ENDED:
		tls_failed(s, "the other side hung up");
		return;
	case TLS_BROKEN:
		tls_failed(s, tls_link_why(s->tls));
	}
}

/* The signature is there. */
static void tls_woken(void *arg)
{
	struct stream *s = arg;

	stream_enter(s);
	stream_tls_go_on(s);
	stream_leave(s);
}

void stream_tls_begin(struct stream *s)
{
	s->tls = s->link_next ? s->link_next : tls_link_accept(s->tls_next, s->fd, tls_woken, s);
	s->tls_next = NULL;
	s->link_next = NULL;
	stream_enter(s);
	if (s->tls)
		stream_tls_go_on(s);
	else
		tls_failed(s, "the keeper is away");
	stream_leave(s);
}

static void tls_prepare(struct stream *s, struct duration limit)
{
	s->handshaking = true;
	s->paused = false;
	bytes_free(&s->in);
	s->cleared = s->giving;
	stream_time(s, tls_late, limit);
	turn_end_schedule(&s->flush, s->loop, stream_flush, s);
}

bool stream_start_tls(struct stream *s, struct tls *tls, struct duration limit)
{
	must(!s->tls && !stream_tls_is_next(s) && s->face->secured);
	if (!tls_is_ready(tls) || s->ended || s->finishing)
		return false;
	s->tls_next = tls;
	tls_prepare(s, limit);
	return true;
}

bool stream_connect_tls(struct stream *s, struct tls_client *client, const struct tls_wish *wish,
			struct duration limit)
{
	must(!s->tls && !stream_tls_is_next(s) && s->face->secured);
	if (s->ended || s->finishing)
		return false;
	s->link_next = tls_link_connect(client, s->fd, wish, tls_woken, s);
	if (!s->link_next)
		return false;
	tls_prepare(s, limit);
	return true;
}

const struct tls_facts *stream_tls(const struct stream *s)
{
	return s->tls && !s->handshaking ? tls_link_facts(s->tls) : NULL;
}

struct tls_link *stream_tls_link(const struct stream *s)
{
	return s->handshaking ? NULL : s->tls;
}

const char *stream_tls_why(const struct stream *s)
{
	return s->tls_why;
}

unsigned stream_tls_fault(const struct stream *s)
{
	enum tls_fault fault = s->tls ? tls_link_fault(s->tls) : FAULT_NONE;

	return s->tls_why && fault == FAULT_NONE ? FAULT_HANDSHAKE : fault;
}
