/* SPDX-License-Identifier: ISC */
/*
 * A job: recipients of one message who are on this machine, its content, and
 * what became of each. It lives until qmgr has recorded its outcome.
 */
#ifndef LOCAL_JOB_H
#define LOCAL_JOB_H

#include "answers.h"
#include "config.h"
#include "message.h"
#include "result.h"

struct job;
struct slot;
struct worker;
struct crew;

struct recipient {
	struct job *job;
	struct crew *crew;
	struct recipient *next;	 /* that waits for the same thing */
	struct answers *answers; /* of table, for his plan; NULL: none so far */
	struct text address, original, target;
	struct monotime since; /* that it waits for a child */
	uint64_t whom;	       /* who gets it, as a number that two may share */
	bool common;	       /* many people's mailboxes are that one's */
	uint32_t number;
	bool alone; /* a child that had it with others has ended without a word of it */
	struct walltime sending;
	struct result result;
};

struct job {
	struct job *next; /* all of the worker's */
	struct worker *worker;
	struct slot *slot; /* NULL: qmgr has forgotten it */
	struct config *config;
	uint64_t number, id;
	uint32_t slot_number;
	struct text domain, sender, prelude, body;
	uint64_t body_length;
	int fd; /* of the body, owned; -1: inline */
	struct walltime arrival, active, begun;
	bool finished;
	uint32_t count, open; /* of the recipients, and of those whose outcome is not known yet */
	/* What takes the place of the others. */
	uint32_t added;
	size_t added_bytes;
	struct recipient recipients[];
};

/* Copies M; takes over FD (-1: none). NULL, and FD closed, when M makes no sense. */
struct job *job_new(const struct msg_job *m, int fd);
void job_free(struct job **job);

/* The messages about it; lists are encoded into ITEMS, which is emptied first. */
struct msg_outcome job_outcome(const struct job *job, struct bytes *items);
struct msg_in_flight job_in_flight(const struct job *job, struct bytes *items);

#endif
