/* SPDX-License-Identifier: ISC */
/* SCRAM-SHA-256 verifiers as text. Apart from the rest, so that reading the users file needs no
 * cryptography. */
#include "scram.h"

#include "base64.h"

#include <stdio.h>
#include <string.h>

static void put(char **at, const uint8_t *data, size_t len)
{
	struct bytes b = {0};

	base64_put(&b, data, len);
	memcpy(*at, bytes_at(&b), bytes_len(&b));
	*at += bytes_len(&b);
	bytes_free(&b);
}

void scram_print(const struct scram_verifier *v, char *to)
{
	_Static_assert(11 + BASE64_LEN(SCRAM_SALT_MAX) + 2 + 2 * BASE64_LEN(SCRAM_KEY_BYTES) <
			   SCRAM_TEXT_BYTES,
		       "a printed verifier fits");
	to += snprintf(to, 12, "%u,", (unsigned)v->iterations);
	put(&to, v->salt, v->salt_len);
	*to++ = ',';
	put(&to, v->stored_key, SCRAM_KEY_BYTES);
	*to++ = ',';
	put(&to, v->server_key, SCRAM_KEY_BYTES);
	*to = '\0';
}

/* Takes off what stands before the next comma; false when there is none. */
static bool take_part(struct text *t, struct text *part)
{
	ptrdiff_t comma = text_find(*t, ',');

	if (comma < 0)
		return false;
	*part = (struct text){t->data, (size_t)comma};
	*t = (struct text){t->data + comma + 1, t->len - (size_t)comma - 1};
	return true;
}

bool scram_read(struct text t, struct scram_verifier *v)
{
	struct text iterations, salt, stored;
	uint64_t number;
	size_t n;

	*v = (struct scram_verifier){0};
	if (!take_part(&t, &iterations) || !take_part(&t, &salt) || !take_part(&t, &stored) ||
	    !text_number(iterations, SCRAM_ITERATIONS_MOST, &number) ||
	    number < SCRAM_ITERATIONS_LEAST)
		return false;
	v->iterations = (uint32_t)number;
	return base64_read(salt, v->salt, sizeof v->salt, &v->salt_len) && v->salt_len &&
	       base64_read(stored, v->stored_key, sizeof v->stored_key, &n) &&
	       n == SCRAM_KEY_BYTES && base64_read(t, v->server_key, sizeof v->server_key, &n) &&
	       n == SCRAM_KEY_BYTES;
}
