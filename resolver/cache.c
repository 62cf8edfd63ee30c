/* SPDX-License-Identifier: ISC */
/* The bounded table: chains by keyed hash, a list by last use. */
#include "cache.h"

#include "mem.h"
#include "must.h"
#include "siphash.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 16384 };

struct cache {
	struct cache_entry *buckets[BUCKETS];
	struct cache_entry *newest, *oldest;
	void (*evicted)(struct cache_entry *e);
	size_t limit_bytes, bytes;
	uint8_t key[SIPHASH_KEY_BYTES];
};

struct cache *cache_new(const uint8_t *key, size_t limit_bytes,
			void (*evicted)(struct cache_entry *e))
{
	struct cache *c = mem_new(1, sizeof *c);

	memcpy(c->key, key, sizeof c->key);
	c->limit_bytes = limit_bytes;
	c->evicted = evicted;
	return c;
}

struct cache_entry *cache_find(struct cache *c, struct text key)
{
	uint64_t hash = siphash(c->key, key.data, key.len);
	struct cache_entry *e = c->buckets[hash % BUCKETS];

	while (e && !(e->hash == hash && text_equal(e->key, key)))
		e = e->chain;
	return e;
}

void cache_add(struct cache *c, struct cache_entry *e, struct text key)
{
	e->hash = siphash(c->key, key.data, key.len);
	e->key = key;
	e->in_use = true;
	e->bytes = 0;
	e->newer = e->older = NULL;
	e->chain = c->buckets[e->hash % BUCKETS];
	c->buckets[e->hash % BUCKETS] = e;
}

void cache_remove(struct cache *c, struct cache_entry *e)
{
	struct cache_entry **at = &c->buckets[e->hash % BUCKETS];

	must(e->in_use);
	while (*at && *at != e)
		at = &(*at)->chain;
	must(*at);
	*at = e->chain;
}

void cache_hold(struct cache *c, struct cache_entry *e)
{
	if (e->in_use)
		return;
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
	e->newer = e->older = NULL;
	e->in_use = true;
	c->bytes -= e->bytes;
	e->bytes = 0;
}

static void cache_evict(struct cache *c, struct cache_entry *e)
{
	cache_hold(c, e);
	cache_remove(c, e);
	c->evicted(e);
}

void cache_release(struct cache *c, struct cache_entry *e, size_t bytes)
{
	must(e->in_use);
	e->in_use = false;
	e->bytes = bytes;
	c->bytes += bytes;
	e->newer = NULL;
	e->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
	while (c->bytes > c->limit_bytes && c->oldest)
		cache_evict(c, c->oldest);
}

void cache_free(struct cache **cache)
{
	struct cache *c = *cache;

	if (!c)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (c->buckets[i])
			cache_evict(c, c->buckets[i]);
	free(c);
	*cache = NULL;
}
