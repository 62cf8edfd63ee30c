/* SPDX-License-Identifier: ISC */
/*
 * What a server stores for SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677): enough to check a
 * password and to prove to the client that it is known, not enough to log in with.
 * Written as Dovecot's {SCRAM-SHA-256} does: ITERATIONS,SALT,STORED KEY,SERVER KEY.
 */
#ifndef LIB_SCRAM_H
#define LIB_SCRAM_H

#include "text.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	SCRAM_KEY_BYTES = 32,
	SCRAM_SALT_BYTES = 16, /* of ours */
	SCRAM_SALT_MAX = 64,   /* of others' */
	/* RFC 7677 section 4: "around 15,000 iterations" for a tenth of a second; 4096 at least. */
	SCRAM_ITERATIONS = 15000,
	SCRAM_ITERATIONS_LEAST = 4096,
	SCRAM_ITERATIONS_MOST = 1000000, /* a third of a second; more would hold up all others */
	SCRAM_TEXT_BYTES = 200,		 /* room for a printed verifier and its NUL */
	PASSWORD_MAX = 1000,
};

struct scram_verifier {
	uint32_t iterations;
	uint8_t salt[SCRAM_SALT_MAX];
	size_t salt_len;
	uint8_t stored_key[SCRAM_KEY_BYTES], server_key[SCRAM_KEY_BYTES];
};

/* From a password, which is prepared by SASLprep (RFC 4013) where it can be. */
void scram_make(struct scram_verifier *v, struct text password, uint32_t iterations,
		const uint8_t *salt, size_t salt_len);

/* The same with a fresh salt and our iterations; false when there is no randomness. */
bool scram_make_fresh(struct scram_verifier *v, struct text password);

/* Is it this password? Takes the time of its iterations, whatever the answer. */
bool scram_fits(const struct scram_verifier *v, struct text password);

void scram_print(const struct scram_verifier *v, char *to);
bool scram_read(struct text t, struct scram_verifier *v);

#endif
