/* SPDX-License-Identifier: ISC */
/*
 * TLS as a server speaks it: what a process needs for all its connections.
 * Certificates, ticket keys and signatures come from the keeper, which alone
 * has private keys. Without it, or before it has sent a certificate, there is
 * no TLS. A connection itself is in tls_link.h.
 */
#ifndef LIB_TLS_H
#define LIB_TLS_H

#include "channel.h"
#include "log.h"
#include "loop.h"

#include <stdbool.h>

struct tls;

/*
 * Before the jail: OpenSSL opens and computes here what it can't later. CHANGED is called when the
 * answer of tls_is_ready() may have changed. NULL: OpenSSL refuses; the log says why.
 */
struct tls *tls_new(struct loop *loop, struct log *log, void (*changed)(void *owner), void *owner);

/* The channel to the keeper, or NULL when it ended: handshakes that wait for it fail. */
void tls_set_keeper(struct tls *tls, struct channel *keeper);

/* What the keeper says: certificate, certificates_end, ticket_keys, signature. */
void tls_serve(struct tls *tls, struct channel *keeper, const struct message *m);

/* A handshake could succeed now; never with NULL. */
bool tls_is_ready(const struct tls *tls);

#endif
