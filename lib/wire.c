/* SPDX-License-Identifier: ISC */
/* Binary fields, little endian, with sticky errors. */
#include "wire.h"

#include "must.h"

#include <string.h>

struct wire_reader wire_reader_over(const void *data, size_t len)
{
	const uint8_t *at = data;

	return (struct wire_reader){at, at ? at + len : at, false};
}

static uint64_t wire_int(struct wire_reader *r, size_t size)
{
	uint64_t v = 0;

	if (r->bad || (size_t)(r->end - r->at) < size) {
		r->bad = true;
		return 0;
	}
	for (size_t i = size; i > 0; i--)
		v = v << 8 | r->at[i - 1];
	r->at += size;
	return v;
}

uint8_t wire_u8(struct wire_reader *r)
{
	return (uint8_t)wire_int(r, 1);
}

uint16_t wire_u16(struct wire_reader *r)
{
	return (uint16_t)wire_int(r, 2);
}

uint32_t wire_u32(struct wire_reader *r)
{
	return (uint32_t)wire_int(r, 4);
}

uint64_t wire_u64(struct wire_reader *r)
{
	return wire_int(r, 8);
}

struct text wire_text(struct wire_reader *r, size_t max)
{
	size_t len = wire_u32(r);

	if (r->bad || len > max || len > (size_t)(r->end - r->at)) {
		r->bad = true;
		return (struct text){NULL, 0};
	}
	struct text t = {(const char *)r->at, len};

	r->at += len;
	return t;
}

bool wire_done(const struct wire_reader *r)
{
	return !r->bad && r->at == r->end;
}

static void wire_put_int(struct bytes *w, uint64_t v, size_t size)
{
	uint8_t *to = bytes_room(w, size);

	for (size_t i = 0; i < size; i++, v >>= 8)
		to[i] = (uint8_t)v;
	w->end += size;
}

void wire_put_u8(struct bytes *w, uint8_t v)
{
	wire_put_int(w, v, 1);
}

void wire_put_u16(struct bytes *w, uint16_t v)
{
	wire_put_int(w, v, 2);
}

void wire_put_u32(struct bytes *w, uint32_t v)
{
	wire_put_int(w, v, 4);
}

void wire_put_u64(struct bytes *w, uint64_t v)
{
	wire_put_int(w, v, 8);
}

void wire_put_text(struct bytes *w, struct text t)
{
	must(t.len <= UINT32_MAX);
	wire_put_u32(w, (uint32_t)t.len);
	bytes_add(w, t.data, t.len);
}
