/* SPDX-License-Identifier: ISC */
/* submission's state, and what its files say to each other. */
#ifndef SUBMISSION_SUBMISSION_H
#define SUBMISSION_SUBMISSION_H

#include "daemon.h"
#include "intake.h"
#include "policy.h"
#include "server.h"
#include "session.h"

struct letter;

struct submission {
	struct daemon *d;
	struct intake *intake;
	struct server *server; /* clients on 587 and 465 */
	bool clients_gone;     /* while draining */
	struct policy *policy;
	struct letter *letters; /* under way */
	uint32_t count;
	uint64_t seed;
	bool draining;
	struct timer drain;
};

/*
 * letter.c: a mail that bounce or pickup hands in. FD is its content, ours from here on, or -1;
 * FD_LOST: there was one that we could not take.
 */
void letter_new(struct submission *self, struct channel *from, const struct msg_handin *m, int fd,
		bool fd_lost);

/* Its bringer is gone: what is under way goes on, nobody is told. */
void letters_forget(struct submission *self, const struct channel *from);

/* Gives up what is left; returns how many. */
uint32_t letters_cut(struct submission *self);

/* submission.c: the last letter is settled while draining; clients may be left. */
void submission_emptied(struct submission *self);

#endif
