/* SPDX-License-Identifier: ISC */
/*
 * Sticky readers and writers for binary fields, little endian. A reader that
 * met its end or a value out of bounds stays bad and gives zeros: read all
 * fields, test once.
 */
#ifndef LIB_WIRE_H
#define LIB_WIRE_H

#include "bytes.h"
#include "text.h"

#include <stdbool.h>
#include <stdint.h>

struct wire_reader {
	const uint8_t *at, *end;
	bool bad;
};

struct wire_reader wire_reader_over(const void *data, size_t len);
uint8_t wire_u8(struct wire_reader *r);
uint16_t wire_u16(struct wire_reader *r);
uint32_t wire_u32(struct wire_reader *r);
uint64_t wire_u64(struct wire_reader *r);

/* A u32 length and that many bytes, within the reader's memory; bad above MAX. */
struct text wire_text(struct wire_reader *r, size_t max);

/* True when nothing went wrong and nothing is left. */
bool wire_done(const struct wire_reader *r);

/* Writers append to a struct bytes. */
void wire_put_u8(struct bytes *w, uint8_t v);
void wire_put_u16(struct bytes *w, uint16_t v);
void wire_put_u32(struct bytes *w, uint32_t v);
void wire_put_u64(struct bytes *w, uint64_t v);
void wire_put_text(struct bytes *w, struct text t);

#endif
