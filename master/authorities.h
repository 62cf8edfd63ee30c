/* SPDX-License-Identifier: ISC */
/*
 * The file of tls-authorities: opened here and handed to smtp-client and
 * fetcher unread, when a route has tls = verify or obeys MTA-STS policies. Once
 * a minute it is looked at, and handed over anew when it has changed.
 */
#ifndef MASTER_AUTHORITIES_H
#define MASTER_AUTHORITIES_H

#include "child.h"

/* To one of them, in front of its begin. */
void authorities_post(struct child *child);

/* Begins to look, and, after a reload, begins anew from what is there now. */
void authorities_watch(struct master *master);

#endif
