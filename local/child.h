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

enum order_kind {
	ORDER_USER,    /* as the user's .forward says, else into the mailbox */
	ORDER_MAILBOX, /* into the mailbox at PATH */
	ORDER_COMMAND, /* PATH is the command */
	ORDER_FILE,    /* PATH, a Maildir or mbox */
	ORDER_INCLUDE, /* PATH is a list, of which the addresses are wanted */
};

/* What a child is to do. */
struct order {
	enum order_kind kind;
	struct text forward;   /* not empty: the target that the user's .forward must still have */
	struct duration limit; /* for a command */
	struct letter letter;
	const struct user *user;
	bool stays;	     /* started by an ordinary user, who is the recipient */
	gid_t folder_group;  /* of the folder that mailboxes lie in, beside the user's; 0: none */
	char path[PATH_MAX]; /* the mailbox */
	size_t root;	     /* so many octets of PATH are a folder that must be there; folders
				behind it are made. 0: as the mailbox's kind has it */
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
