/* SPDX-License-Identifier: ISC */
/*
 * The name of a client: what its address's PTR record says, if that name's
 * addresses lead back to it. Anyone can claim a name; only this counts.
 */
#ifndef RESOLVER_CLIENT_NAME_H
#define RESOLVER_CLIENT_NAME_H

#include "lookup.h"

struct client_name;

/*
 * DONE follows once, never from within: the name, "" when there is none;
 * FAILED when a lookup failed or TIMEOUT passed first. Gone after it.
 */
struct client_name *client_name_start(struct loop *loop, struct lookups *lookups,
				      const uint8_t *address, struct duration timeout,
				      void (*done)(void *arg, const char *name, bool failed),
				      void *arg);

/* Ends it without done(). Takes NULL, leaves NULL. */
void client_name_cancel(struct client_name **name);

#endif
