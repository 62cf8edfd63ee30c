/* SPDX-License-Identifier: ISC */
/* Edit distance over short names: insert, delete, replace, and swapped neighbours cost one each. */
#include "nearest.h"

#include <string.h>

enum { NAME_MAX_BYTES = 40 };

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t distance(struct text a, struct text b)
{
	size_t before[NAME_MAX_BYTES + 1], last[NAME_MAX_BYTES + 1], now[NAME_MAX_BYTES + 1];

	memset(before, 0, sizeof before);
	for (size_t j = 0; j <= b.len; j++)
		last[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		now[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			char x = ascii_lower(a.data[i - 1]), y = ascii_lower(b.data[j - 1]);
			size_t cost = least(last[j] + 1, now[j - 1] + 1);

			cost = least(cost, last[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == ascii_lower(b.data[j - 2]) &&
			    y == ascii_lower(a.data[i - 2]))
				cost = least(cost, before[j - 2] + 1);
			now[j] = cost;
		}
		memcpy(before, last, sizeof before);
		memcpy(last, now, sizeof last);
	}
	return last[b.len];
}

const char *nearest_name(struct text word, const char *const *names, size_t count)
{
	const char *best = NULL;
	size_t best_distance = word.len / 3 + 2;

	if (!word.len || word.len > NAME_MAX_BYTES)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		struct text name = text_of(names[i]);

		if (name.len > NAME_MAX_BYTES)
			continue;
		size_t d = distance(word, name);

		/* A word of which nothing is left is no nearer than any other. */
		if (d < best_distance && d < word.len && d < name.len) {
			best = names[i];
			best_distance = d;
		}
	}
	return best;
}
