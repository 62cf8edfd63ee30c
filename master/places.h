/* SPDX-License-Identifier: ISC */
/*
 * Places on this machine: the queue's folders with their owners, the lock
 * against a second master, the log's target, the system users.
 */
#ifndef MASTER_PLACES_H
#define MASTER_PLACES_H

#include "config.h"

enum { WHY_BYTES = 4096 + 512 }; /* a path and what is wrong with it */

/* As root: all users exist? False with WHY, which names the missing ones and the remedy. */
bool places_check_users(char *why);

/* QUEUE and its folders, made if absent. An existing one must be its daemon's own. */
bool places_make(const struct config *config, bool unprivileged, char *why);

/* QUEUE/lock, locked and with our pid in it; -1 with WHY. Held until this process ends. */
int places_lock(const struct config *config, char *why);

/* A descriptor for the log: stdout, a file, or a datagram socket of syslog or the journal; -1 with
 * WHY. */
int places_open_log(const struct config *config, char *why);

/* The folder of the history, -1 with WHY. */
int places_open_history(const struct config *config, char *why);

#endif
