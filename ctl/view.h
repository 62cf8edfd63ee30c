/* SPDX-License-Identifier: ISC */
/*
 * The queue on disk as this command sees it: read-only, with the daemons up
 * or down. view_open() takes a snapshot of what is queued; view_each() goes
 * through it and reads what is asked for. Nothing is written, ever.
 */
#ifndef CTL_VIEW_H
#define CTL_VIEW_H

#include "ctl.h"
#include "envelope.h"
#include "filter.h"
#include "queue.h"
#include "waits.h"

struct view;

struct view_message {
	uint64_t id;
	struct queue_location location;
	struct walltime arrival;
	uint64_t size_bytes;
	size_t first;	     /* index of its first open recipient */
	uint32_t open_count; /* recipients that are not settled */
	uint32_t recipient_count;
	bool damaged, body_in_file;
};

/* A recipient that is not settled. Texts as read for this visit, else empty. */
struct hit_recipient {
	const struct queue_recipient *state;
	enum filter_state word;
	struct envelope_recipient envelope;
	struct text reply, dsn; /* of the newest outcome */
	uint16_t code;
	struct walltime at;
	const struct wait *wait; /* for its site or a next hop, else NULL; asked as replies are */
	bool matches;		 /* all conditions hold for it */
};

/* A message of which at least one recipient matches; valid during the visit. */
struct hit {
	const struct view_message *message;
	const struct queue_content *content; /* NULL when it was not read */
	struct envelope envelope;
	struct hit_recipient *recipients; /* all that are open */
	uint32_t count;
	uint32_t matching;
};

enum view_wants { VIEW_INDEX = 0, VIEW_ENVELOPE = 1, VIEW_REPLIES = 2 };

/* NULL after saying why, with an exit status in *STATUS. */
struct view *view_open(const struct ctl *ctl, int *status);
void view_close(struct view **view); /* takes NULL, leaves NULL */

/* When the oldest message came in; 0 when there is none. */
struct walltime view_oldest(const struct view *view);
struct queue *view_queue(struct view *view);

/*
 * Visits what matches, oldest first, until VISIT returns false; what is moved
 * meanwhile behind the others. WANTS: what
 * is read for each hit beside what the filter needs. Says how many messages
 * left or moved meanwhile, and how many could not be read. False: the latter.
 */
bool view_each(struct view *view, const struct filter *filter, unsigned wants,
	       bool (*visit)(void *arg, const struct hit *hit), void *arg);

#endif
