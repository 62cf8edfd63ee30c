/* SPDX-License-Identifier: ISC */
/* What submission has beside its clients: the letters that are handed in. */
#ifndef SUBMISSION_SUBMISSION_H
#define SUBMISSION_SUBMISSION_H

#include "server.h"

struct letter;

enum { TAKEN_MAX = 1024 };

/* A mail that is in the queue, by what pickup calls it. */
struct taken {
	uint64_t number, id;
	uint32_t uid;
};

/* What one kind of mail was written in an hour. */
struct hourly {
	struct monotime since;
	unsigned count;
};

struct submission {
	struct daemon *d;
	struct letter *letters; /* under way */
	uint32_t count;
	struct hourly notices;
	struct hourly reports;	       /* on TLS */
	struct taken taken[TAKEN_MAX]; /* the last ones, in turn */
	size_t taken_next;
};

/*
 * letter.c: a mail that bounce or pickup hands in, or that a notice is. FD is its content, ours
 * from here on, or -1; FD_LOST: there was one that we could not take.
 */
void letter_new(struct submission *self, struct channel *from, const struct msg_handin *m, int fd,
		bool fd_lost);

/* The same of one that is written here: from SENDER to TO, whom nobody tells of its failure. */
void letter_ours(struct submission *self, struct channel *from, uint64_t token, struct text sender,
		 struct text to, const struct bytes *content);

/* One more; false: it is above MOST in its hour, and who wants it has no reason for so many. */
bool hourly_take(const struct submission *self, struct hourly *kind, unsigned most);

/* notice.c: a mail to the postmaster, about a login. */
void notice_new(struct submission *self, struct channel *from, const struct msg_notice *m);

/* tls_report.c: a domain's report on TLS, as a mail. */
void tls_report_new(struct submission *self, struct channel *from, const struct msg_tls_report *m);

/* Its bringer is gone: what is under way goes on, nobody is told. */
void letters_forget(struct submission *self, const struct channel *from);

/* For the server, OWN being the submission: how many are under way; and gives them up, returning
 * how many they were. */
uint32_t letters_left(void *own);
uint32_t letters_cut(void *own);

#endif
