/* SPDX-License-Identifier: ISC */
/*
 * The session engine's way to the checker: what is offered now, exchanges
 * under way, and what becomes of them when the checker goes away. One per
 * process of smtpd and submission.
 */
#ifndef LIB_AUTH_LINK_H
#define LIB_AUTH_LINK_H

#include "channel.h"
#include "session.h"

struct auth_link;
struct auth_exchange;

/* To the owner of an exchange. After done() the exchange is gone. */
struct auth_face {
	void (*challenge)(void *owner, struct text challenge);
	/* LOGIN is empty unless the verdict is good. */
	void (*done)(void *owner, enum auth_verdict verdict, struct text login);
};

/* What the checker is told of a client beside what he says. */
struct auth_client {
	const uint8_t *address; /* 16 bytes */
	bool tls;
	struct text binding;  /* tls-exporter (RFC 9266), or empty */
	struct text identity; /* of his verified certificate, or empty */
};

struct auth_link *auth_link_new(const struct auth_face *face);

/* A fresh channel to the checker; the channel ended. */
void auth_link_open(struct auth_link *link, struct channel *checker);
void auth_link_gone(struct auth_link *link);

/* For MSG_auth_offer, MSG_auth_challenge and MSG_auth_done from the checker. */
void auth_link_serve(struct auth_link *link, const struct message *m);

/* A set of enum sasl_mechanism; 0 while there is no checker. */
unsigned auth_link_mechanisms(const struct auth_link *link);

/*
 * Brings what stands at POINT_AUTH to the checker: *X is NULL when it begins.
 * challenge() or done() follows, perhaps from within; done() leaves *X alone,
 * so that its owner sets it to NULL.
 */
void auth_link_bring(struct auth_link *link, struct auth_exchange **x, void *owner,
		     const struct session_auth *said, const struct auth_client *client);

/* Gives an exchange up. Takes NULL, leaves NULL. */
void auth_exchange_drop(struct auth_exchange **x);

#endif
