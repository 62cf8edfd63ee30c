/* SPDX-License-Identifier: ISC */
/*
 * A daemon as master sees it: a place (kind, instance) that has a process
 * most of the time. The place stays when the process dies.
 */
#ifndef MASTER_CHILD_H
#define MASTER_CHILD_H

#include "channel.h"
#include "neighbours.h"

#include <stdbool.h>
#include <sys/types.h>

struct master;
struct post;

struct child {
	struct master *master;
	const struct kind_row *row;
	unsigned instance;
	pid_t pid;			      /* 0: no process now */
	struct channel *channel;	      /* NULL: it ended, or there is no process */
	struct post *post_first, **post_last; /* messages with descriptors that wait for room */
	unsigned post_count, posts_under_way;
	struct timer restart; /* back-off */
	struct timer grave; /* its channel ended or its watchdog barked: SIGKILL when this fires */
	struct monotime started;
	struct monotime
	    *linked;	     /* when a peer last got a fresh channel to it; by index in children */
	unsigned strikes;    /* deaths in a row */
	unsigned unanswered; /* pings */
	uint32_t generation; /* that it serves, from its ready */
	bool begin_due;	     /* begin follows when the posts before it have left */
	bool drained;	     /* said so, or is dead while stopping */
	bool retiring;	     /* one worker too many after a reload: drains and ends */
	bool wanted;	     /* started again when it ends */
};

enum { CHILDREN_MAX = 160 };

struct children {
	struct child *at[CHILDREN_MAX];
	size_t count;
};

/* Makes the place; starts nothing. */
struct child *child_new(struct master *master, const struct kind_row *row, unsigned instance);
struct child *child_find(struct master *master, unsigned kind, unsigned instance);

/* "smtpd", or "smtpd-1" where there are several. TO holds CHILD_NAME_BYTES. */
enum { CHILD_NAME_BYTES = 40 };
const char *child_name(const struct child *child, char *to);

/* Starts a process, gives it configuration, descriptors and channels to all its living peers, and
 * says begin. */
void child_start(struct child *child);

/* Configuration, descriptors, begin: also at a reload. */
void child_configure(struct child *child);

/* The queue is there, or failed: begin goes to those who waited for it. */
void child_begin_held(struct master *master);

/* Closes its channel: the daemon ends by itself. SIGKILL follows if it does not. */
void child_end(struct child *child);

/* Its channel ended by itself: it is given a moment to end, too. */
void child_lost_channel(struct child *child);

/* After its pid was reaped: everything of the process goes, the place stays. */
void child_buried(struct child *child);

/* What it asked for (handle_ask): opened anew and sent, or why not. */
void child_handle_again(struct child *child, unsigned role, unsigned index);

/* Sends a message with a descriptor (ours from here on, closed after sending); waits its turn when
 * many are under way. */
void child_post(struct child *child, enum message_type type, const void *m, int fd);

#endif
