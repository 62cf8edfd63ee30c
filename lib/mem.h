/* SPDX-License-Identifier: ISC */
/*
 * Memory. Allocation failure ends the process with EX_TEMPFAIL: the queue,
 * not the process, holds the mail, and master starts the process again.
 */
#ifndef LIB_MEM_H
#define LIB_MEM_H

#include <stddef.h>

/* Zeroed memory for COUNT items of SIZE bytes; never NULL. Freed with free(). */
void *mem_new(size_t count, size_t size);

/* Like reallocarray(), never NULL for a size above zero. New bytes are not zeroed. */
void *mem_resize(void *old, size_t count, size_t size);

/* A NUL-terminated copy of LEN bytes; the caller frees it. */
char *mem_copy(const void *data, size_t len);

/* An arena: many small allocations with one lifetime (process, session, transaction). */
struct arena;

/* LIMIT_BYTES bounds what the arena may ever hold between resets. */
struct arena *arena_new(size_t limit_bytes);

/*
 * Memory aligned for any type, zeroed, valid until arena_reset() or
 * arena_free(); NULL when the arena's limit would be passed, which the
 * caller answers as "too much" to whoever sent the data.
 */
void *arena_alloc(struct arena *arena, size_t size);

/* A NUL-terminated copy within the arena; NULL at the limit. */
char *arena_copy(struct arena *arena, const void *data, size_t len);

/* Gives back all that was allocated; one small block is kept. */
void arena_reset(struct arena *arena);

/* Takes NULL, leaves NULL. */
void arena_free(struct arena **arena);

#endif
