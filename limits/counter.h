/* SPDX-License-Identifier: ISC */
/*
 * Counts of connections per client, over all workers. A client is an IPv4
 * address or an IPv6 /64: what one customer is usually given. What a worker
 * opened is noted in its holder, so that its counts vanish with it.
 */
#ifndef LIMITS_COUNTER_H
#define LIMITS_COUNTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct counter; /* client -> connections; an entry lives while its count is above zero */
struct holder;	/* session -> client, of one worker */

enum { HOLDER_SESSIONS_MAX = 1000000 }; /* the most that limits connections can be set to */

enum counter_verdict {
	COUNTER_TAKEN,	 /* counted */
	COUNTER_REFUSED, /* above the limit; not counted, and forgotten at once */
	COUNTER_BROKEN, /* a session that is open already, or too many: the worker broke its word */
};

/* KEY: SIPHASH_KEY_BYTES for the tables. */
struct counter *counter_new(const uint8_t *key);
void counter_free(struct counter **counter);

struct holder *holder_new(struct counter *counter);

/* Takes back all that the holder's worker had open. Takes NULL, leaves NULL. */
void holder_free(struct holder **holder);

/*
 * Counts SESSION for ADDRESS (16 bytes, IPv4 as ::ffff:a.b.c.d) if the client
 * has fewer than LIMIT. *COUNT is what the client has now.
 */
enum counter_verdict holder_open(struct holder *holder, uint64_t session, const uint8_t *address,
				 uint32_t limit, uint32_t *count);

/* False when no such session is counted (it was refused, or is none). */
bool holder_close(struct holder *holder, uint64_t session);

size_t holder_sessions(const struct holder *holder);
size_t counter_clients(const struct counter *counter);

#endif
