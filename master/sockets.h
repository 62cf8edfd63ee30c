/* SPDX-License-Identifier: ISC */
/* Connections to UNIX sockets that routes name, for smtp-client, whose root folder has none. */
#ifndef MASTER_SOCKETS_H
#define MASTER_SOCKETS_H

#include "child.h"

/* Posts a connection to PATH, which a route names, or why there is none. */
void sockets_connect(struct child *child, struct text path);

#endif
