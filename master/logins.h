/* SPDX-License-Identifier: ISC */
/* What the checker needs of this machine and its jail has not. Opened here. */
#ifndef MASTER_LOGINS_H
#define MASTER_LOGINS_H

#include "config.h"

/* Does the configuration want the checker to have a handle of that role (HANDLE_USERS,
 * HANDLE_DOVECOT, HANDLE_TOKEN_SECRET, HANDLE_CHECKER_KEY; HANDLE_RELAY_x of the login INDEX)? */
bool logins_need(const struct config *config, unsigned role, unsigned index);

/* Its path, for messages to people; until the next call. */
struct text logins_name(const struct config *config, unsigned role, unsigned index);

/*
 * A fresh descriptor of that role; -1 with WHY (WHY_BYTES of places.h). The
 * key is made when it is not there: 32 random octets in QUEUE/checker.key.
 * HANDLE_RELAY_STATE is one to write, and is made, too.
 */
int logins_open(const struct config *config, unsigned role, unsigned index, char *why);

#endif
