/* SPDX-License-Identifier: ISC */
/* Allocation that ends the process when it fails, and arenas. */
#include "mem.h"

#include "must.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { ARENA_BLOCK_BYTES = 1024, ARENA_ALIGN = 16 };

struct block {
	struct block *next;
	size_t size, used;
	_Alignas(ARENA_ALIGN) unsigned char data[];
};

struct arena {
	struct block *first;
	size_t limit, held;
};

static _Noreturn void out_of_memory(void)
{
	static const char text[] = "out of memory\n";
	ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);

	(void)ignored;
	_exit(EX_TEMPFAIL);
}

void *mem_new(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *mem_resize(void *old, size_t count, size_t size)
{
	void *p = reallocarray(old, count ? count : 1, size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

char *mem_copy(const void *data, size_t len)
{
	must(len < SIZE_MAX);
	char *p = mem_new(len + 1, 1);

	if (len)
		memcpy(p, data, len);
	return p;
}

struct arena *arena_new(size_t limit_bytes)
{
	struct arena *arena = mem_new(1, sizeof *arena);

	arena->limit = limit_bytes;
	return arena;
}

static struct block *block_new(struct arena *arena, size_t size)
{
	size_t want = size > ARENA_BLOCK_BYTES ? size : ARENA_BLOCK_BYTES;

	if (want > arena->limit - arena->held)
		want = size;
	struct block *b = mem_new(1, sizeof *b + want);

	b->size = want;
	b->next = arena->first;
	arena->first = b;
	arena->held += want;
	return b;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	if (size > arena->limit)
		return NULL;
	size = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	struct block *b = arena->first;

	if (!b || size > b->size - b->used) {
		if (size > arena->limit - arena->held)
			return NULL;
		b = block_new(arena, size);
	}
	void *p = b->data + b->used;

	b->used += size;
	return p;
}

char *arena_copy(struct arena *arena, const void *data, size_t len)
{
	if (len == SIZE_MAX)
		return NULL;
	char *p = arena_alloc(arena, len + 1);

	if (p && len)
		memcpy(p, data, len);
	return p;
}

static void blocks_free(struct block *b)
{
	while (b) {
		struct block *next = b->next;

		free(b);
		b = next;
	}
}

void arena_reset(struct arena *arena)
{
	struct block *keep = arena->first;

	arena->held = 0;
	if (!keep)
		return;
	blocks_free(keep->next);
	keep->next = NULL;
	if (keep->size > ARENA_BLOCK_BYTES) {
		free(keep);
		arena->first = NULL;
		return;
	}
	memset(keep->data, 0, keep->used);
	keep->used = 0;
	arena->held = keep->size;
}

void arena_free(struct arena **arena)
{
	if (!*arena)
		return;
	blocks_free((*arena)->first);
	free(*arena);
	*arena = NULL;
}
