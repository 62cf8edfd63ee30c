/* SPDX-License-Identifier: ISC */
/*
 * The processes that children are, each until it has been reaped. A child is its user's: he may
 * stop it, and then no alarm of its own ends it. So each has a time here, after which it is killed.
 */
#ifndef LOCAL_PROCESSES_H
#define LOCAL_PROCESSES_H

#include "clock.h"

#include <stdbool.h>
#include <sys/types.h>

struct process;

struct processes {
	struct process *first;
	uint32_t count;
};

/* PID, just forked, which becomes UID. */
void processes_add(struct processes *all, pid_t pid, uid_t uid, struct monotime until);

/* It has until then; nothing when it was reaped. */
void processes_until(struct processes *all, pid_t pid, struct monotime until);

/* Takes those away that have ended (SIGCHLD). */
void processes_reap(struct processes *all);

/* Kills those whose time is over; processes_reap() hears of them. */
void processes_end_late(struct processes *all, struct monotime now);

#endif
