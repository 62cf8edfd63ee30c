/* SPDX-License-Identifier: ISC */
/*
 * What the session engine's hosts ask before they answer at the named points
 * (session.h): sender rights, and counts against the rates. One per daemon; a question per session
 * at most. Beside them, the names of clients.
 */
#ifndef LIB_POLICY_H
#define LIB_POLICY_H

#include "channel.h"
#include "frozen.h"
#include "names.h"
#include "session.h"

struct policy;
struct question;

struct policy *policy_new(struct loop *loop);

/* A channel to a neighbour, and its end; of kinds that have nothing to do with it: ignored. */
void policy_peer(struct policy *p, struct channel *c);
void policy_gone(struct policy *p, struct channel *c);

/* What the serve rows of looked_up, count_is, name_is and frozen call. */
void policy_serve(struct policy *p, const struct message *m);

/*
 * Asks what is to be asked at POINT_SENDER, POINT_RECIPIENT or POINT_HEADER of S. DONE gets NULL or
 * the refusal, later or from within: then NULL is returned. A session that was handed in answers at
 * once at POINT_SENDER; its sender is asked about at POINT_HEADER. What is refused for good, by
 * rights or its header, counts as an attempt: above the rate the refusal is the rate's.
 */
struct question *policy_ask(struct policy *p, struct session *s, enum session_point point,
			    void (*done)(void *owner, const struct reply *r), void *owner);

/* What clients are called; its channel is seen to here. */
struct names *policy_names(const struct policy *p);

/* The logins that limits has frozen. Never NULL. */
const struct frozen *policy_frozen(const struct policy *p);

/* Tells limits what a transaction of S came to: session_face's spent(). */
void policy_note(struct policy *p, const struct session *s, uint32_t recipients, uint32_t refused);

/* Takes NULL, leaves NULL. */
void policy_cancel(struct question **question);

#endif
