/* SPDX-License-Identifier: ISC */
/*
 * A growing run of contiguous bytes, filled at the end and taken from the
 * front. Frames and SMTP lines are parsed in place, so they must be contiguous.
 */
#ifndef LIB_BYTES_H
#define LIB_BYTES_H

#include "text.h"

#include <stddef.h>
#include <stdint.h>

struct bytes {
	uint8_t *data; /* owned; NULL when nothing is held */
	size_t start;  /* first byte not yet taken */
	size_t end;    /* one past the last byte filled */
	size_t size;   /* allocated */
};

static inline size_t bytes_len(const struct bytes *b)
{
	return b->end - b->start;
}

static inline uint8_t *bytes_at(const struct bytes *b)
{
	return (uint8_t *)((uintptr_t)b->data +
			   b->start); /* NULL stays NULL, as NULL + 0 would not in C17 */
}

/* What is held, until something is added or taken. */
static inline struct text bytes_text(const struct bytes *b)
{
	return (struct text){(const char *)bytes_at(b), bytes_len(b)};
}

/* Room for WANT bytes at the end; the caller fills them and adds to b->end. */
uint8_t *bytes_room(struct bytes *b, size_t want);
void bytes_add(struct bytes *b, const void *data, size_t len);
void bytes_add_text(struct bytes *b, struct text t);
void bytes_add_number(struct bytes *b, uint64_t n); /* in decimal */

/* Takes LEN bytes from the front; an emptied run of more than KEEP bytes gives its memory back. */
void bytes_take(struct bytes *b, size_t len, size_t keep);
void bytes_free(struct bytes *b);

#endif
