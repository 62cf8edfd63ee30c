/* SPDX-License-Identifier: ISC */
/* What the checker asks about logins: the users file, or Dovecot's auth socket. Opened here, since
 * its jail has neither. */
#ifndef MASTER_LOGINS_H
#define MASTER_LOGINS_H

#include "config.h"

/* HANDLE_USERS or HANDLE_DOVECOT; 0 when no logins are configured. */
unsigned logins_role(const struct config *config);

/* A fresh descriptor of that role; -1 with WHY (WHY_BYTES of places.h). */
int logins_open(const struct config *config, unsigned role, char *why);

#endif
