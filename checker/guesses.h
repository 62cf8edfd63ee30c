/* SPDX-License-Identifier: ISC */
/*
 * Who guesses passwords is slowed, who owns one is not locked out.
 *
 * Failures are counted for a client network (whatever name it tries), for a
 * name (tried by clients that never logged in with it), and, apart from
 * both, for a pair of name and network that has logged in before. Counts
 * halve every ten minutes. The attempts of a client or pair with many
 * failures are done one after the other, seconds apart; those at a name only
 * wait, all at once, since a stranger could otherwise keep its owner out. A
 * known pair waits for its own failures only.
 *
 * Memory is fixed: tables in which the least recently used of a few gives
 * way. Only a good login makes a known pair, so floods cannot push them out.
 */
#ifndef CHECKER_GUESSES_H
#define CHECKER_GUESSES_H

#include "clock.h"
#include "text.h"

#include <stdbool.h>
#include <stdint.h>

struct guesses;

enum {
	GUESSES_FREE = 5, /* failures that cost nothing */
	GUESSES_WAIT_MOST_S = 30,
	GUESSES_KNOWN_DAYS = 30,
};

struct guesses *guesses_new(const uint8_t *key); /* SIPHASH_KEY_BYTES */
void guesses_free(struct guesses **g);

/* A client network as a number: an IPv4 address, an IPv6 /64. */
uint64_t guesses_client(const struct guesses *g, const uint8_t *address);

/* Has this name logged in from this client before? */
bool guesses_knows(struct guesses *g, struct monotime now, uint64_t client, struct text name);

/* How long this attempt has to wait; negative: it is not to be looked at at all. */
struct duration guesses_admit(struct guesses *g, struct monotime now, uint64_t client,
			      struct text name);

/* What came of it. Returns how many failures count against it now. */
unsigned guesses_failed(struct guesses *g, struct monotime now, uint64_t client, struct text name);
void guesses_succeeded(struct guesses *g, struct monotime now, uint64_t client, struct text name);

#endif
