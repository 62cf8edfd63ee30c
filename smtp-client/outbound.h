/* SPDX-License-Identifier: ISC */
/*
 * A mail transaction of a dialog: who is in it, and its commands. Within
 * dialog.c's walls: nobody else includes this.
 */
#ifndef SMTP_CLIENT_OUTBOUND_H
#define SMTP_CLIENT_OUTBOUND_H

#include "dialog.h"
#include "must.h"

/* -- the ring of expected replies */

static inline void ring_push(struct dialog *d, enum dialog_verb verb)
{
	if (d->ring_count) {
		unsigned last = (d->ring_head + d->ring_count - 1u) % DIALOG_RING;

		if (d->ring[last].verb == verb) {
			d->ring[last].count++;
			return;
		}
	}
	must(d->ring_count < DIALOG_RING);
	unsigned at = (d->ring_head + d->ring_count++) % DIALOG_RING;

	d->ring[at].verb = (uint8_t)verb;
	d->ring[at].count = 1;
}

static inline enum dialog_verb ring_head(const struct dialog *d)
{
	return d->ring_count ? (enum dialog_verb)d->ring[d->ring_head].verb : VERB_COUNT;
}

static inline void ring_pop(struct dialog *d)
{
	if (--d->ring[d->ring_head].count)
		return;
	d->ring_head = (uint8_t)((d->ring_head + 1u) % DIALOG_RING);
	d->ring_count--;
}

/* Does the job under way wait for such a reply? What follows its dot is the next one's. */
static inline bool ring_has(const struct dialog *d, enum dialog_verb verb)
{
	for (unsigned i = 0; i < d->ring_count; i++) {
		uint8_t expected = d->ring[(d->ring_head + i) % DIALOG_RING].verb;

		if (expected == verb)
			return true;
		if (expected == VERB_DOT)
			return false;
	}
	return false;
}

/* -- verdicts */

/* By the first digit alone (RFC 5321 4.2.1); what is neither 2 nor 5 counts as deferred. */
struct verdict outbound_verdict(const struct reply *r);

/* The job leaves the engine, all of it settled; the connection stays, if it can. */
enum dialog_says outbound_job_settled(struct dialog *d);

/* All in STAGE of this transaction get REPLY's verdict. */
void outbound_settle(struct dialog *d, enum recipient_stage stage, const struct reply *reply);

/* The next recipient of this transaction from *CURSOR that is in STAGE; NULL: none. */
struct recipient *outbound_next(const struct dialog *d, uint32_t *cursor,
				enum recipient_stage stage);

/* -- sending */

/*
 * Begins a transaction with the recipients that wait, if there are any. The
 * job is settled when there are none; a connection that may carry no more
 * says DIALOG_AGAIN.
 */
enum dialog_says outbound_begin(struct dialog *d);

/* Can JOB, the next one, go ahead of the reply to the content; and sends its commands. */
bool outbound_may_go_ahead(const struct dialog *d, const struct job *job);
void outbound_ahead(struct dialog *d, struct job *job);
/* The job that was sent ahead is under way now. */
void outbound_take_ahead(struct dialog *d);

/* Sends on, as far as the receiver lets us: to the end with PIPELINING, a command without. */
enum dialog_says outbound_send(struct dialog *d);

/* A transaction is over, its failures have been settled: the next one, if need be. */
enum dialog_says outbound_end(struct dialog *d, bool fine);

/* After the 354: the content, or the prelude of one whose body is in a file. */
enum dialog_says outbound_content(struct dialog *d);
void outbound_content_end(struct dialog *d);

#endif
