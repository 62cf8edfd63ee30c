/* SPDX-License-Identifier: ISC */
/*
 * A child: deliveries to one recipient, by a process that has become him for
 * good. It gets its orders as it is made, can't be given another, says what
 * came of each over a pipe, and ends; when it can't write there any more,
 * local is gone, and it delivers nothing.
 */
#ifndef LOCAL_CHILD_H
#define LOCAL_CHILD_H

#include "alias_list.h"
#include "letter.h"
#include "loop.h"
#include "mailbox.h"
#include "result.h"
#include "user.h"

enum { CHILD_ORDERS_MAX = 32 };

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
	struct text forward; /* not empty: the target that the user's .forward must still have */
	struct text listed;  /* not empty: the target that the list must still have */
	bool of_forward;     /* the .forward leads to it, or to its list */
	char list[ALIAS_VALUE_MAX + 1]; /* that list */
	struct duration limit;		/* for a command */
	struct letter letter;
	const struct user *user;
	bool stays;	     /* started by an ordinary user, who is the recipient */
	gid_t folder_group;  /* of the folder that mailboxes lie in, beside the user's; 0: none */
	char path[PATH_MAX]; /* the mailbox */
	size_t root;	     /* so many octets of PATH are a folder that must be there; folders
				behind it are made. 0: as the mailbox's kind has it */
	struct room room;    /* in the mailbox */
	char folder[256];    /* of the Maildir: struct maildir_letter */
	const char *host;    /* ours, for names */
};

/*
 * May one child have both? Letters for mailboxes that it becomes the same person for, and that
 * are in memory: what else there is takes its time.
 */
bool order_is_shared(const struct order *o);
bool order_fits(const struct order *a, const struct order *b);

struct child {
	struct watch watch;
	struct bytes said;
	uint32_t count;
	int fd;
	pid_t pid;
	struct duration limit; /* it ends, or says a result, within this time, unless it is stopped
				  or hangs */
	/* Called once for each order that it says a result of. */
	void (*done)(void *owner, uint32_t number, struct result *r);
	/* Called once; what it has said no result of may be done or not. May free the child. */
	void (*ended)(void *owner);
	void *owner;
};

/*
 * Starts one with COUNT orders, of which all must be shared and fit the first when there are
 * several; they are needed no more when this returns. False, with errno: there is no process or
 * descriptor for it now. C's done, ended and owner are set.
 */
bool child_start(struct child *c, struct loop *loop, struct order *const orders[], uint32_t count);

#endif
