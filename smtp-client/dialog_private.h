/* SPDX-License-Identifier: ISC */
/*
 * What the files that make up a dialog have of each other: dialog.c (what
 * comes in, and how it ends), opening.c (up to the first mail), outbound.c and
 * answers.c (a transaction), ahead.c (those behind it). Nobody else includes this.
 */
#ifndef SMTP_CLIENT_DIALOG_PRIVATE_H
#define SMTP_CLIENT_DIALOG_PRIVATE_H

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
	unsigned at = (unsigned)(d->ring_head + d->ring_count++) % DIALOG_RING;

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
		if (expected == VERB_DOT || expected == VERB_BDAT)
			return false;
	}
	return false;
}

static inline enum dialog_verb ring_last(const struct dialog *d)
{
	return d->ring_count
		   ? (enum dialog_verb)d->ring[(d->ring_head + d->ring_count - 1u) % DIALOG_RING]
			 .verb
		   : VERB_COUNT;
}

/* -- dialog.c */

/* Ours, in place of words that the receiver never said. */
void dialog_say(struct reply *to, const char *dsn, const char *what);

/* May JOB be begun here, with nothing to be said of it before it is sent? Sets job->dotted. */
bool dialog_may_take(const struct dialog *d, struct job *job);

/* The conversation is over: what is open of the job is deferred, since WHAT. */
enum dialog_says dialog_fail(struct dialog *d, const char *dsn, const char *what);

/* What is open of the job is offered anew at the next host. The ring keeps what has no answer. */
enum dialog_says dialog_go_on(struct dialog *d);

/* -- opening.c: replies, a handler a verb */

enum dialog_says opening_on_greeting(struct dialog *d, struct reply *r);
enum dialog_says opening_on_ehlo(struct dialog *d, struct reply *r);
enum dialog_says opening_on_helo(struct dialog *d, struct reply *r);
enum dialog_says opening_on_starttls(struct dialog *d, struct reply *r);
enum dialog_says opening_on_auth(struct dialog *d, struct reply *r);

/* A line of the answer to EHLO. */
void opening_ehlo_line(struct dialog *d, struct text line);

/* -- ahead.c */

/* The first job that was sent ahead is under way now. */
void ahead_take(struct dialog *d);

/* What of the buffer belongs to jobs ahead, if nothing of it has left. */
size_t ahead_bytes(const struct dialog *d);

#endif
