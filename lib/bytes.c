/* SPDX-License-Identifier: ISC */
/* The growing run of bytes under channels and streams. */
#include "bytes.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

uint8_t *bytes_room(struct bytes *b, size_t want)
{
	if (want <= b->size - b->end)
		return b->data + b->end;
	size_t held = b->end - b->start;

	if (b->start && want <= b->size - held && b->start >= held) {
		memcpy(b->data, b->data + b->start, held);
	} else {
		size_t size = b->size ? b->size : 512;

		must(want < SIZE_MAX / 4 && held < SIZE_MAX / 4);
		while (size - held < want)
			size *= 2;
		uint8_t *data = mem_resize(NULL, size, 1);

		if (held)
			memcpy(data, b->data + b->start, held);
		free(b->data);
		b->data = data;
		b->size = size;
	}
	b->start = 0;
	b->end = held;
	return b->data + b->end;
}

void bytes_add(struct bytes *b, const void *data, size_t len)
{
	if (!len)
		return;
	memcpy(bytes_room(b, len), data, len);
	b->end += len;
}

void bytes_add_text(struct bytes *b, struct text t)
{
	bytes_add(b, t.data, t.len);
}

/* Without snprintf: commands and log lines of each message have such numbers. */
void bytes_add_number(struct bytes *b, uint64_t n)
{
	char digits[20];
	size_t at = sizeof digits;

	do
		digits[--at] = (char)('0' + n % 10);
	while (n /= 10);
	bytes_add(b, digits + at, sizeof digits - at);
}

void bytes_take(struct bytes *b, size_t len, size_t keep)
{
	must(len <= b->end - b->start);
	b->start += len;
	if (b->start != b->end)
		return;
	b->start = b->end = 0;
	if (b->size > keep)
		bytes_free(b);
}

void bytes_free(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes){0};
}
