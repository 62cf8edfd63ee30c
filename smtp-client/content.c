/* SPDX-License-Identifier: ISC */
/* Checking and dot-stuffing of content. */
#include "content.h"

#include <string.h>

bool content_is_clean(struct text content, bool *dotted)
{
	const char *p = content.data, *end = p + content.len;

	*dotted = false;
	while (p < end) {
		*dotted |= *p == '.';
		const char *lf = memchr(p, '\n', (size_t)(end - p));

		if (!lf || lf == p || lf[-1] != '\r')
			return false;
		if (memchr(p, '\r', (size_t)(lf - 1 - p)))
			return false;
		p = lf + 1;
	}
	return true;
}

/* One line, or what the block has of it, from *P; moves *P behind it. */
static bool stuff_line(enum content_place *place, struct bytes *out, const char **p,
		       const char *end)
{
	const char *lf = memchr(*p, '\n', (size_t)(end - *p));
	const char *stop = lf ? lf + 1 : end;
	const char *cr = memchr(*p, '\r', (size_t)(stop - *p));

	if (lf ? !cr || cr + 1 != lf : cr && cr + 1 != end)
		return false;
	if (*place == CONTENT_LINE_START && **p == '.')
		out->data[out->end++] = '.';
	memcpy(out->data + out->end, *p, (size_t)(stop - *p));
	out->end += (size_t)(stop - *p);
	*p = stop;
	if (lf)
		*place = CONTENT_LINE_START;
	else
		*place = cr ? CONTENT_AFTER_CR : CONTENT_IN_LINE;
	return true;
}

bool content_stuff(enum content_place *place, struct bytes *out, struct text block)
{
	const char *p = block.data, *end = p + block.len;

	/* A stuffed line has three bytes or more, but for the first and the last of a block. */
	bytes_room(out, block.len + block.len / 3 + 2);
	if (block.len && *place == CONTENT_AFTER_CR) {
		if (*p != '\n')
			return false;
		out->data[out->end++] = (uint8_t)*p++;
		*place = CONTENT_LINE_START;
	}
	while (p < end)
		if (!stuff_line(place, out, &p, end))
			return false;
	return true;
}
