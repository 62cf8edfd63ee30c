/* SPDX-License-Identifier: ISC */
/* Who we are, so that mail is never sent to ourselves (RFC 5321 section 5.1). */
#ifndef RESOLVER_OWN_H
#define RESOLVER_OWN_H

#include "config.h"

enum { OWN_ADDRESSES_MAX = 256 };

struct own {
	uint8_t addresses[OWN_ADDRESSES_MAX][16]; /* of this machine's interfaces */
	size_t count;
};

/* Reads the interfaces' addresses; before the jail. */
void own_read(struct own *own);

bool own_is_name(const struct config *config, const char *name);

/* Is there an SMTP listener of ours at ADDRESS (16 bytes) and PORT? */
bool own_is_address(const struct own *own, const struct config *config, const uint8_t *address,
		    uint16_t port);

#endif
