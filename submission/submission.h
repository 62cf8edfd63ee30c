/* SPDX-License-Identifier: ISC */
/* What submission has beside its clients: the letters that are handed in. */
#ifndef SUBMISSION_SUBMISSION_H
#define SUBMISSION_SUBMISSION_H

#include "server.h"

struct letter;

struct submission {
	struct daemon *d;
	struct letter *letters; /* under way */
	uint32_t count;
};

/*
 * letter.c: a mail that bounce or pickup hands in. FD is its content, ours from here on, or -1;
 * FD_LOST: there was one that we could not take.
 */
void letter_new(struct submission *self, struct channel *from, const struct msg_handin *m, int fd,
		bool fd_lost);

/* Its bringer is gone: what is under way goes on, nobody is told. */
void letters_forget(struct submission *self, const struct channel *from);

/* For the server, OWN being the submission: how many are under way; and gives them up, returning
 * how many they were. */
uint32_t letters_left(void *own);
uint32_t letters_cut(void *own);

#endif
