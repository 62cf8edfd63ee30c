/* SPDX-License-Identifier: ISC */
/*
 * A child: one delivery, by a process that has become the recipient for good.
 * It says what came of it over a pipe and ends; when it can't write there any
 * more, local is gone, and it delivers nothing.
 */
#ifndef LOCAL_CHILD_H
#define LOCAL_CHILD_H

#include "letter.h"
#include "loop.h"
#include "result.h"
#include "user.h"

/* What a child is to do. */
struct order {
	struct letter letter;
	const struct user *user;
	bool stays;	     /* started by an ordinary user, who is the recipient */
	gid_t folder_group;  /* of the folder that mailboxes lie in, beside the user's; 0: none */
	char path[PATH_MAX]; /* the mailbox */
	const char *host;    /* ours, for names */
};

struct child {
	struct watch watch;
	struct bytes said;
	int fd;
	bool runs;
	/* Called once, with what it said, or a deferral when it said nothing. */
	void (*done)(void *owner, struct result *r);
	void *owner;
};

/* Starts one. False, with errno: there is no process or descriptor for it now. */
bool child_start(struct child *c, struct loop *loop, const struct order *order,
		 void (*done)(void *owner, struct result *r), void *owner);

/* Takes the ended ones away (SIGCHLD). */
void children_reap(void *unused);

#endif
