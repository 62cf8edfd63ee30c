/* SPDX-License-Identifier: ISC */
/* SipHash-2-4. */
#include "siphash.h"

#include "must.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

static uint64_t rotate(uint64_t v, unsigned by)
{
	return v << by | v >> (64 - by);
}

static void siphash_rounds(uint64_t *v, int rounds)
{
	while (rounds-- > 0) {
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

/* LEN of at most 8 bytes as a little-endian number. */
static uint64_t word_of(const uint8_t *p, size_t len)
{
	uint64_t word = 0;

	for (size_t i = 0; i < len; i++)
		word |= (uint64_t)p[i] << (8 * i);
	return word;
}

uint64_t siphash(const uint8_t *key, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t k0 = word_of(key, 8), k1 = word_of(key + 8, 8);
	uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
			 k1 ^ 0x7465646279746573};
	uint64_t last = (uint64_t)len << 56;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word = word_of(p, 8);

		v[3] ^= word;
		siphash_rounds(v, 2);
		v[0] ^= word;
	}
	last |= word_of(p, len);
	v[3] ^= last;
	siphash_rounds(v, 2);
	v[0] ^= last;
	v[2] ^= 0xff;
	siphash_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void siphash_key_make(uint8_t *key)
{
	size_t have = 0;

	while (have < SIPHASH_KEY_BYTES) {
		ssize_t n = getrandom(key + have, SIPHASH_KEY_BYTES - have, 0);

		must(n > 0 || (n < 0 && errno == EINTR));
		have += n > 0 ? (size_t)n : 0;
	}
}
