/* SPDX-License-Identifier: ISC */
/*
 * The worker: slots and jobs that qmgr gives, children that deliver (crew.h),
 * and outcomes that are kept until qmgr has recorded them (the rules of
 * smtp-client's worker.h, but that a slot has one job and none ahead).
 */
#ifndef LOCAL_WORKER_H
#define LOCAL_WORKER_H

#include "crew.h"
#include "daemon.h"
#include "inquiries.h"
#include "job.h"

enum {
	JOBS_MAX = 20000, /* of a qmgr that is sane */
	SLOTS_MAX = 10000,
	HELD_MAX = 32 * 1024 * 1024,
	PLACES = 256,
	TABLE_WAIT_S = 10,
};

struct slot {
	struct slot *next;
	uint32_t number;
	struct job *job; /* NULL: it waits for one */
	bool closing;
};

struct worker {
	struct daemon *daemon;
	struct channel *qmgr;	    /* NULL while there is none */
	struct slot *slots[PLACES]; /* by their numbers */
	struct job *jobs[PLACES];   /* running and unconfirmed */
	uint32_t slot_count, job_count;
	uint64_t held;	       /* octets of the jobs that are not finished */
	bool paused;	       /* qmgr's channel, above HELD_MAX */
	struct bytes items;    /* lists of messages are encoded here */
	struct lookups *table; /* questions that are put to it */
	struct crew crew;
	struct inquiries inquiries;
	struct timer drain_limit;
	bool draining, drained;
};

struct worker *worker_new(struct daemon *d);

/* What qmgr sends; false: it broke the rules. FD_LOST: a body that we could not take. */
bool worker_job(struct worker *w, const struct msg_job *m, int fd, bool fd_lost);
bool worker_recorded(struct worker *w, uint64_t job);
void worker_slot_close(struct worker *w, uint32_t slot);

/* A fresh channel to qmgr is told what runs and what is unconfirmed; NULL: it is gone. */
void worker_set_qmgr(struct worker *w, struct channel *qmgr);
void worker_drain(struct worker *w, struct duration limit);

#endif
