/* SPDX-License-Identifier: ISC */
/* Channels between daemons: made in pairs, one end given to each. */
#ifndef MASTER_LINKS_H
#define MASTER_LINKS_H

#include "child.h"

/* A connected pair of stream sockets with room for whole messages, close-on-exec. */
bool links_pair(int pair[2]);

/* Fresh channels between CHILD and each living neighbour; the logger's is also ours. */
void links_make_all(struct child *child);

/* CHILD asks for a fresh channel to a peer. False: it has no business with such a peer. */
bool links_make_one(struct child *child, unsigned kind, unsigned instance);

/* Our own channel to the logger. */
void links_make_ours(struct master *master);
void links_drop_ours(struct master *master);

#endif
