/* SPDX-License-Identifier: ISC */
/*
 * A TCP or UNIX stream to a stranger: smtpd's clients, smtp-client's
 * receivers. Reads into one buffer that all streams of the process share and
 * hands it to the owner in place (the loop's scratch: valid until input() returns); only what the
 * owner leaves is kept, so an idle stream holds no buffer. What is written leaves at the end of the
 * turn. TLS may begin at any time and lies below all this: the owner sees plain octets.
 */
#ifndef LIB_STREAM_H
#define LIB_STREAM_H

#include "bytes.h"
#include "loop.h"

#include <sys/socket.h>

struct stream;
struct tls;
struct tls_client;
struct tls_facts;
struct tls_link;
struct tls_wish;

struct stream_face {
	/*
	 * Bytes arrived. Returns how many were consumed; the rest is given
	 * again, with more behind it, when more arrives or after
	 * stream_resume(). May call stream_free().
	 */
	size_t (*input)(void *owner, const uint8_t *data, size_t len);
	/* The peer closed its side, or the connection broke (error is an errno, 0 for an orderly
	 * end). Called once. */
	void (*ended)(void *owner, int error);
	/* A connect succeeded. NULL for accepted streams. */
	void (*connected)(void *owner);
	/* What was written has been handed to the kernel wholly. May be NULL. */
	void (*flushed)(void *owner);
	/* The handshake of stream_start_tls() or stream_connect_tls() is done. NULL where none is
	 * begun. */
	void (*secured)(void *owner);
};

/* Takes over an accepted FD, which is non-blocking. FACE outlives the stream. */
struct stream *stream_new(struct loop *loop, int fd, const struct stream_face *face, void *owner);

/*
 * Replies leave once a turn: waiting for more (Nagle) would only delay them. Said of a listening
 * socket once, it holds for all that it accepts; of a UNIX socket, it does nothing.
 */
void stream_never_wait(int fd);

/*
 * Starts a connect on the non-blocking FD (taken over); connected() or ended()
 * follows, never from within. NULL with errno set (and FD closed) when the
 * kernel refuses at once.
 */
struct stream *stream_connect(struct loop *loop, int fd, const struct sockaddr *to, socklen_t len,
			      const struct stream_face *face, void *owner);

void stream_write(struct stream *s, const void *data, size_t len);

/* The buffer of what is written: append to it in place, then call stream_wrote(). */
struct bytes *stream_out(struct stream *s);
void stream_wrote(struct stream *s);

/* What is written now is wiped from memory as soon as it has left, or never will. */
void stream_wipe_sent(struct stream *s);

/* Bytes written that the kernel has not taken. */
size_t stream_backlog(const struct stream *s);

/* Stops reading (and input()), and goes on; leftovers are given again at the end of the turn. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);

/*
 * Begins TLS as the server, when what was written so far has left. What was
 * read before and not consumed is thrown away: whoever wrote it need not be
 * the one whom the handshake will prove (RFC 3207 section 6, CVE-2011-0411).
 * secured() follows, or ended() with EPROTO after stream_tls_why(); at the
 * latest after LIMIT. False: there is no TLS now, and nothing has happened.
 */
bool stream_start_tls(struct stream *s, struct tls *tls, struct duration limit);

/*
 * Begins TLS as the client, in the same way: what was read in clear behind
 * the answer to STARTTLS is thrown away. WISH is needed no longer than the call.
 */
bool stream_connect_tls(struct stream *s, struct tls_client *client, const struct tls_wish *wish,
			struct duration limit);

/* Our end's address, 16 bytes; false: it has none that is known. */
bool stream_own_address(const struct stream *s, uint8_t *to);

/* NULL before secured(). */
const struct tls_facts *stream_tls(const struct stream *s);
/* The connection's TLS itself, for channel bindings. NULL before secured(). */
struct tls_link *stream_tls_link(const struct stream *s);
/* Why TLS failed, for the log; NULL: it did not. */
const char *stream_tls_why(const struct stream *s);
/* What failed of a client's handshake (enum tls_fault). */
unsigned stream_tls_fault(const struct stream *s);

/* Closes and frees now; unsent bytes are tried once. Takes NULL, leaves NULL. Safe inside
 * callbacks. */
void stream_free(struct stream **s);

/*
 * Frees when what was written has left and the peer has closed its side; what it still sends is
 * thrown away, up to a megabyte. At the latest after LIMIT, and 2 s behind the last octet. No more
 * callbacks. A peer that HAS_SAID_ALL, and of whom nothing is left to be read, is not waited for.
 * Takes NULL, leaves NULL.
 */
void stream_finish(struct stream **s, struct duration limit, bool has_said_all);

#endif
