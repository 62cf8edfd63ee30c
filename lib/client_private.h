/* SPDX-License-Identifier: ISC */
/* Inside a client: what client.c and client_session.c share. Nobody else includes this. */
#ifndef LIB_CLIENT_PRIVATE_H
#define LIB_CLIENT_PRIVATE_H

#include "caller.h"
#include "client.h"
#include "stream.h"

struct client {
	struct clients *all;
	struct stream *stream;
	struct session *session;
	struct intake_message *message; /* from open() to its verdict */
	struct auth_exchange *login;	/* from AUTH to its verdict */
	struct timer timer;
	struct monotime armed;	   /* when the timer fires */
	struct monotime shaking;   /* since when a handshake runs; INT64_MAX: none */
	uint64_t number;	   /* slot and serial: its name towards limits */
	uint64_t id;		   /* of the message, for the reply */
	struct question *question; /* what is asked before the session is answered */
	size_t unread;		   /* octets that came and were not consumed */
	size_t held;		   /* memory, as the budget knows it */
	struct caller *caller;	   /* while its name is being looked up */
	bool counted, paused, in_session, awaiting_limits;
	bool implicit; /* TLS from the first octet on (RFC 8314 3.3) */
	bool ended;    /* has closed its side, and is owed the reply to its message */
	uint8_t address[16];
};

static inline struct moment moment_of(const struct client *c)
{
	const struct loop *loop = c->all->d->loop;

	return (struct moment){loop_now(loop), loop_wall(loop)};
}

/* client.c: what may have become due after the session moved. The client may be gone when it
 * returns. */
void client_after(struct client *c);
/* STARTTLS has its 220, or the port begins with TLS. */
void client_start_tls(struct client *c);

/* client_session.c: its owner is a client. */
extern const struct session_face client_session_face;

#endif
