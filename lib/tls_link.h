/* SPDX-License-Identifier: ISC */
/*
 * TLS over one connected socket. It reads and writes the socket itself, never
 * waits, and says what it waits for; the socket and when to try again are its
 * owner's (stream.c). What is written, by the owner or by TLS itself, leaves
 * with tls_link_flush(). One handshake, no renegotiation.
 */
#ifndef LIB_TLS_LINK_H
#define LIB_TLS_LINK_H

#include "tls.h"
#include "tls_facts.h"

struct tls_link;

enum tls_result {
	TLS_FINE,
	TLS_READ,   /* again when the socket is readable */
	TLS_WRITE,  /* again when it is writable */
	TLS_SIGN,   /* again when woken() was called */
	TLS_ENDED,  /* the peer has said that no more comes, or has closed */
	TLS_BROKEN, /* tls_link_why() */
};

/*
 * The server's side over FD, which stays the owner's. WOKEN may be called from the loop while
 * a handshake waits for its signature. NULL: there is no TLS now.
 */
struct tls_link *tls_link_accept(struct tls *tls, int fd, void (*woken)(void *arg), void *arg);

/* Once it is TLS_FINE something may be left to flush. */
enum tls_result tls_link_handshake(struct tls_link *link);

/* The loop has found the socket readable: it is not asked for more before. */
void tls_link_readable(struct tls_link *link);

/* TLS_FINE: all has left; TLS_WRITE; TLS_BROKEN. */
enum tls_result tls_link_flush(struct tls_link *link);

/* Octets that tls_link_flush() has not sent; bounded. */
size_t tls_link_unsent(const struct tls_link *link);

/* Up to SIZE bytes; TLS_FINE means that *LEN > 0 of them came. */
enum tls_result tls_link_read(struct tls_link *link, uint8_t *to, size_t size, size_t *len);

/* *LEN of them were taken. What was not is given again, at whatever address. */
enum tls_result tls_link_write(struct tls_link *link, const uint8_t *data, size_t len,
			       size_t *taken);

/* Decrypted or read bytes wait that the socket will not announce. */
bool tls_link_has_more(const struct tls_link *link);

/* Writes that no more comes (close_notify). */
void tls_link_close(struct tls_link *link);

/* Safe while a signature is waited for. Takes NULL, leaves NULL. */
void tls_link_free(struct tls_link **link);

/* Behind the handshake; lives as long as the link. */
const struct tls_facts *tls_link_facts(const struct tls_link *link);

/* Why it is broken, for the log; and, of a client's handshake, for its owner. */
const char *tls_link_why(const struct tls_link *link);
enum tls_fault tls_link_fault(const struct tls_link *link);

/* RFC 9266: the tls-exporter channel binding, 32 bytes. False below TLS 1.3 without its extended
 * master secret. */
bool tls_link_exporter(struct tls_link *link, uint8_t to[32]);

#endif
