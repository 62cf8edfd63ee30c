/* SPDX-License-Identifier: ISC */
/* Inside a stream: what stream.c and stream_tls.c share. Nobody else includes this. */
#ifndef LIB_STREAM_PRIVATE_H
#define LIB_STREAM_PRIVATE_H

#include "stream.h"
#include "tls_link.h"

struct stream {
	struct loop *loop;
	const struct stream_face *face;
	void *owner;
	struct watch watch;
	struct turn_end flush, reread;
	struct timer limit; /* of stream_finish(), before that of the handshake */
	/* One of them: begins when what was written has left. */
	struct tls *tls_next;	    /* as the server */
	struct tls_link *link_next; /* as the client; owned */
	struct tls_link *tls;	    /* NULL: plain */
	const char *tls_why;
	enum tls_result awaits; /* by the handshake: TLS_READ, TLS_WRITE or TLS_SIGN */
	struct bytes in, out;
	uint32_t discarded; /* octets read while finishing */
	int fd;
	int calls; /* callbacks on the stack: freed when the last one returns */
	bool connecting, paused, ended, finishing, dead;
	bool said_all;	  /* by the peer, as it told us */
	bool handshaking; /* from stream_start_tls() to secured() */
	bool giving;	  /* input() is on the stack */
	bool cleared;	  /* what has been read in clear is to be thrown away */
	bool last_words;  /* a close() follows at once, and its FIN leaves with them */
	bool wipes;	  /* what is to be sent is a secret */
};

/* Around each callback. False when the stream is gone. */
void stream_enter(struct stream *s);
bool stream_leave(struct stream *s);

/* The connection is over, with an errno. */
void stream_fail(struct stream *s, int error);

/* The one timer, for whatever is next to be timed. */
void stream_time(struct stream *s, void (*fired)(void *arg), struct duration after);

/* Watches for what can be done now. */
void stream_watch(struct stream *s);

/* Writes what it can. An error is left for the reading side to meet, after what is still to be
 * read. */
void stream_flush(void *arg);

/* What was not sent never is; it is wiped if it is a secret. */
void stream_drop_out(struct stream *s);

/* In the next turn, though the socket may have nothing to say. */
void stream_reread_soon(struct stream *s);

/* stream_tls.c: TLS begins when what was written in clear has left. */
static inline bool stream_tls_is_next(const struct stream *s)
{
	return s->tls_next || s->link_next;
}
void stream_tls_begin(struct stream *s);
/* Goes on with the handshake; S may be gone when it returns. */
void stream_tls_go_on(struct stream *s);

#endif
