/* SPDX-License-Identifier: ISC */
/* Keyed hashes of good logins. */
#include "memory.h"

#include "mem.h"
#include "must.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { WAYS = 4, SETS = 8192, KEY_BYTES = 32, DIGEST_BYTES = 32, INPUT_MAX = 8192 };

struct kept {
	struct monotime until;
	uint8_t digest[DIGEST_BYTES];
};

struct memory {
	struct kept sets[SETS][WAYS];
	uint8_t key[KEY_BYTES];
};

struct memory *memory_new(void)
{
	struct memory *m = mem_new(1, sizeof *m);

	must(getrandom(m->key, sizeof m->key, 0) == (ssize_t)sizeof m->key);
	return m;
}

void memory_free(struct memory **m)
{
	if (!*m)
		return;
	OPENSSL_cleanse(*m, sizeof **m);
	free(*m);
	*m = NULL;
}

/* A line holds no NUL, so that the two are told apart. False: too long to be kept. */
static bool digest_make(const struct memory *m, struct text line, struct text password,
			uint8_t *digest)
{
	uint8_t input[INPUT_MAX];

	if (line.len >= sizeof input || password.len > sizeof input - line.len - 1)
		return false;
	if (line.len)
		memcpy(input, line.data, line.len);
	input[line.len] = '\0';
	if (password.len)
		memcpy(input + line.len + 1, password.data, password.len);
	must(HMAC(EVP_sha256(), m->key, KEY_BYTES, input, line.len + 1 + password.len, digest,
		  NULL));
	OPENSSL_cleanse(input, line.len + 1 + password.len);
	return true;
}

static size_t set_of(const uint8_t *digest)
{
	return (digest[0] | (size_t)digest[1] << 8) & (SETS - 1);
}

bool memory_has(const struct memory *m, struct monotime now, struct text line, struct text password)
{
	uint8_t digest[DIGEST_BYTES];

	if (!digest_make(m, line, password, digest))
		return false;
	const struct kept *set = m->sets[set_of(digest)];

	for (int i = 0; i < WAYS; i++)
		if (set[i].until.us > now.us &&
		    CRYPTO_memcmp(set[i].digest, digest, sizeof digest) == 0)
			return true;
	return false;
}

void memory_keep(struct memory *m, struct monotime now, struct duration how_long, struct text line,
		 struct text password)
{
	uint8_t digest[DIGEST_BYTES];

	if (!how_long.us || !digest_make(m, line, password, digest))
		return;
	struct kept *set = m->sets[set_of(digest)], *k = &set[0];

	for (int i = 1; i < WAYS; i++)
		if (set[i].until.us < k->until.us)
			k = &set[i];
	k->until = monotime_add(now, how_long);
	memcpy(k->digest, digest, sizeof digest);
}
