/* SPDX-License-Identifier: ISC */
/*
 * Hash tables with the link inside the item, keyed by a text or a number.
 * The hash is seeded at random, so that nobody outside can choose names that
 * collide.
 */
#ifndef QMGR_TABLE_H
#define QMGR_TABLE_H

#include "text.h"

#include <stdint.h>

struct table_link {
	struct table_link *next;
	uint64_t hash;
};

struct table {
	struct table_link **slots;
	size_t size, count; /* size is a power of two */
	uint64_t seed;
};

void table_init(struct table *t);
void table_free(struct table *t); /* the items are the caller's */

uint64_t table_hash_text(const struct table *t, struct text key);
uint64_t table_hash_number(const struct table *t, uint64_t key);

/* The first item with that hash; table_again() gives further ones. The caller compares the keys. */
struct table_link *table_first(const struct table *t, uint64_t hash);
struct table_link *table_again(struct table_link *item);

void table_add(struct table *t, struct table_link *item, uint64_t hash);
void table_remove(struct table *t, struct table_link *item);

/* Visits the items of slot *AT and advances it; false when it was the last slot. */
bool table_slice(const struct table *t, size_t *at,
		 void (*visit)(void *arg, struct table_link *item), void *arg);

#define ITEM_OF(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

#endif
