/* SPDX-License-Identifier: ISC */
/*
 * Keeping daemons alive: what they say to master, what is done when one
 * dies or stands still.
 */
#ifndef MASTER_SUPERVISE_H
#define MASTER_SUPERVISE_H

#include "child.h"

/* Prepares the timers of a new place. */
void supervise_child(struct child *child);

/* Opens the channel over our end of a started daemon. */
void supervise_open(struct child *child, int fd);

/* It could not be started: again, later and later. */
void supervise_retry(struct child *child);

/* SIGCHLD: reaps all that ended. */
void supervise_reap(void *master);

/* Begins the rounds of pings. */
void supervise_watch(struct master *master);

#endif
