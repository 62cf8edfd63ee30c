/* SPDX-License-Identifier: ISC */
/* Hash tables with links inside the items. */
#include "table.h"

#include "mem.h"
#include "must.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { FIRST_SIZE = 256 };

void table_init(struct table *t)
{
	*t = (struct table){.size = FIRST_SIZE, .slots = mem_new(FIRST_SIZE, sizeof *t->slots)};
	must(getrandom(&t->seed, sizeof t->seed, 0) == sizeof t->seed);
}

void table_free(struct table *t)
{
	free(t->slots);
	*t = (struct table){0};
}

/* A multiply-and-fold mixer; with the secret seed its collisions can't be foretold. */
static uint64_t mix(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t table_hash_number(const struct table *t, uint64_t key)
{
	return mix(key ^ t->seed, 0x9e3779b97f4a7c15u ^ (t->seed >> 7));
}

uint64_t table_hash_text(const struct table *t, struct text key)
{
	uint64_t h = t->seed ^ key.len;

	for (size_t i = 0; i < key.len; i += 8) {
		uint64_t part = 0;

		memcpy(&part, key.data + i, key.len - i < 8 ? key.len - i : 8);
		h = mix(h ^ part, 0xd6e8feb86659fd93u ^ t->seed);
	}
	return h;
}

static void table_grow(struct table *t)
{
	size_t size = t->size * 2;
	struct table_link **slots = mem_new(size, sizeof *slots);

	for (size_t i = 0; i < t->size; i++) {
		for (struct table_link *item = t->slots[i], *next; item; item = next) {
			size_t at = item->hash & (size - 1);

			next = item->next;
			item->next = slots[at];
			slots[at] = item;
		}
	}
	free(t->slots);
	t->slots = slots;
	t->size = size;
}

static struct table_link *same_hash(struct table_link *item, uint64_t hash)
{
	while (item && item->hash != hash)
		item = item->next;
	return item;
}

struct table_link *table_first(const struct table *t, uint64_t hash)
{
	return same_hash(t->slots[hash & (t->size - 1)], hash);
}

struct table_link *table_again(struct table_link *item)
{
	return same_hash(item->next, item->hash);
}

void table_add(struct table *t, struct table_link *item, uint64_t hash)
{
	if (t->count >= t->size)
		table_grow(t);
	size_t at = hash & (t->size - 1);

	item->hash = hash;
	item->next = t->slots[at];
	t->slots[at] = item;
	t->count++;
}

void table_remove(struct table *t, struct table_link *item)
{
	struct table_link **at = &t->slots[item->hash & (t->size - 1)];

	while (*at != item) {
		must(*at);
		at = &(*at)->next;
	}
	*at = item->next;
	item->next = NULL;
	t->count--;
}

bool table_slice(const struct table *t, size_t *at,
		 void (*visit)(void *arg, struct table_link *item), void *arg)
{
	if (*at >= t->size)
		return false;
	for (struct table_link *item = t->slots[*at], *next; item; item = next) {
		next = item->next;
		visit(arg, item);
	}
	return ++*at < t->size;
}
