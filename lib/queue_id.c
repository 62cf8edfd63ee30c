/* SPDX-License-Identifier: ISC */
/* Queue IDs in base 36. */
#include "queue_id.h"

#include <string.h>

char *queue_id_print(uint64_t id, char *to)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char back[QUEUE_ID_BYTES];
	size_t n = 0;

	do {
		back[n++] = digits[id % 36];
		id /= 36;
	} while (id);
	for (size_t i = 0; i < n; i++)
		to[i] = back[n - 1 - i];
	to[n] = '\0';
	return to;
}

bool queue_id_parse(struct text t, uint64_t *id)
{
	uint64_t v = 0;

	if (!t.len || t.len >= QUEUE_ID_BYTES)
		return false;
	for (size_t i = 0; i < t.len; i++) {
		char c = ascii_lower(t.data[i]);

		if (!ascii_is_alnum(c))
			return false;
		uint64_t digit = (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);

		if (v > (UINT64_MAX - digit) / 36)
			return false;
		v = v * 36 + digit;
	}
	*id = v;
	return v != 0;
}
