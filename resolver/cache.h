/* SPDX-License-Identifier: ISC */
/*
 * A bounded table of what is known, by key, with lifetimes. The oldest use
 * goes first when it is full. Entries are embedded in their owner's structs.
 */
#ifndef RESOLVER_CACHE_H
#define RESOLVER_CACHE_H

#include "clock.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache;

struct cache_entry {
	struct cache_entry *chain;	   /* same bucket */
	struct cache_entry *newer, *older; /* by last use; both NULL while in use */
	uint64_t hash;
	struct text key; /* the owner's memory */
	size_t bytes;
	struct monotime expires;
	bool in_use; /* not evicted: someone waits for it, or an answer is under way */
};

/* EVICTED frees the entry's owner; the entry has left the table. KEY: SIPHASH_KEY_BYTES. */
struct cache *cache_new(const uint8_t *key, size_t limit_bytes,
			void (*evicted)(struct cache_entry *e));
void cache_free(struct cache **cache); /* evicts all, also what is in use */

struct cache_entry *cache_find(struct cache *cache, struct text key);

/* Adds E, in use, under KEY, which is not there yet. */
void cache_add(struct cache *cache, struct cache_entry *e, struct text key);

/* In use from now on. */
void cache_hold(struct cache *cache, struct cache_entry *e);

/* No longer in use: it counts BYTES and may be evicted, at once if the table is full. */
void cache_release(struct cache *cache, struct cache_entry *e, size_t bytes);

/* Takes E, which is in use, out without evicting it. */
void cache_remove(struct cache *cache, struct cache_entry *e);

#endif
