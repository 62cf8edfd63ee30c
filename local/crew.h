/* SPDX-License-Identifier: ISC */
/*
 * The crew: recipients that wait, and the children that deliver to them. A
 * child that can't come back from being somebody is worth more than one
 * letter: it gets what waits for the same person at the moment, up to
 * CHILD_ORDERS_MAX, and no more later. So under load a fork and the folders'
 * syncs are shared by several letters, and a lone letter waits for nobody.
 *
 * A quarter of the children may be one user's at once: what takes long is as a
 * rule a command or a lock of his, and must not be everybody's wait. Nor must
 * what waits behind that, since qmgr gives local so many letters and no more:
 * who has waited for PATIENCE_S because of his own share is deferred, and for a
 * while whoever comes behind him at once.
 *
 * Who can't be planned without asking the process table (answers.h) gets into
 * that line when he has the answers, so that no child waits for them, and
 * nobody behind him; ASKING_MAX ask at once.
 */
#ifndef LOCAL_CREW_H
#define LOCAL_CREW_H

#include "daemon.h"
#include "job.h"
#include "loop.h"
#include "plan.h"
#include "processes.h"

enum {
	ASKING_MAX = 256,
	PATIENCE_S = 30,
	SLOW_USERS = 64, /* that are remembered */
};

struct batch;

struct crew_face {
	/* What became of R; takes *RESULT. */
	void (*settle)(void *owner, struct recipient *r, struct result *result);
	/* A child has ended, and nobody takes its place. */
	void (*idle)(void *owner);
};

struct line {
	struct recipient *first, **end;
	uint32_t count;
};

/* One whose deliveries took longer than a letter of his could wait. */
struct slow_user {
	uint64_t whom;
	struct monotime until;
};

struct crew {
	struct daemon *daemon; /* its self is the faces' owner */
	const struct crew_face *face;
	struct planner planner;
	struct lookups *table;
	struct line waiting;	    /* for a child, */
	struct line asking;	    /* for table's answers, */
	struct line unasked;	    /* and to ask for them */
	struct plan *plans;	    /* CHILD_ORDERS_MAX, of the child that is being made */
	uint32_t children;	    /* that run, */
	struct batch *batches;	    /* and what each has */
	struct processes processes; /* and those that have not quite ended */
	struct duration patience;   /* PATIENCE_S */
	struct slow_user slow[SLOW_USERS];
	struct turn_end turn;
	struct timer again, late;
};

/* TABLE's answers are the caller's to serve. */
void crew_init(struct crew *c, struct daemon *d, struct lookups *table,
	       const struct crew_face *face);

/* Adds one behind the others. It is settled in a later turn, or at the end of this one. */
void crew_add(struct crew *c, struct recipient *r);

/* Takes one out that waits, for whatever it be; nothing if it does not. */
void crew_remove(struct crew *c, struct recipient *r);

/* SIGCHLD. */
void crew_reap(void *crew);

bool crew_is_idle(const struct crew *c);

#endif
