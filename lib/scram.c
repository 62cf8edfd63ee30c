/* SPDX-License-Identifier: ISC */
/* SCRAM-SHA-256 verifiers. */
#include "scram.h"

#include "base64.h"
#include "must.h"

#include <gsasl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static void hmac(const uint8_t *key, const char *text, uint8_t *to)
{
	must(HMAC(EVP_sha256(), key, SCRAM_KEY_BYTES, (const unsigned char *)text, strlen(text), to,
		  NULL));
}

/* RFC 5802 section 3: SaltedPassword := Hi(Normalize(password), salt, i). */
static void salt_password(const struct scram_verifier *v, struct text password, uint8_t *salted)
{
	char plain[PASSWORD_MAX + 1], *prepared = NULL;

	text_copy(plain, sizeof plain, password);
	/* One that SASLprep refuses is taken as it is: then nobody logs in with it by SCRAM, but
	 * he who set it may by PLAIN. */
	if (gsasl_saslprep(plain, GSASL_ALLOW_UNASSIGNED, &prepared, NULL) != GSASL_OK)
		prepared = NULL;
	const char *used = prepared ? prepared : plain;

	must(PKCS5_PBKDF2_HMAC(used, (int)strlen(used), v->salt, (int)v->salt_len,
			       (int)v->iterations, EVP_sha256(), SCRAM_KEY_BYTES, salted));
	if (prepared) {
		OPENSSL_cleanse(prepared, strlen(prepared));
		gsasl_free(prepared);
	}
	OPENSSL_cleanse(plain, sizeof plain);
}

static void keys_make(struct scram_verifier *v, struct text password)
{
	uint8_t salted[SCRAM_KEY_BYTES], client_key[SCRAM_KEY_BYTES];

	salt_password(v, password, salted);
	hmac(salted, "Client Key", client_key);
	hmac(salted, "Server Key", v->server_key);
	SHA256(client_key, sizeof client_key, v->stored_key);
	OPENSSL_cleanse(salted, sizeof salted);
	OPENSSL_cleanse(client_key, sizeof client_key);
}

void scram_make(struct scram_verifier *v, struct text password, uint32_t iterations,
		const uint8_t *salt, size_t salt_len)
{
	must(salt_len <= sizeof v->salt && iterations && iterations <= SCRAM_ITERATIONS_MOST);
	*v = (struct scram_verifier){.iterations = iterations, .salt_len = salt_len};
	memcpy(v->salt, salt, salt_len);
	keys_make(v, password);
}

bool scram_make_fresh(struct scram_verifier *v, struct text password)
{
	uint8_t salt[SCRAM_SALT_BYTES];

	if (getrandom(salt, sizeof salt, 0) != (ssize_t)sizeof salt)
		return false;
	scram_make(v, password, SCRAM_ITERATIONS, salt, sizeof salt);
	return true;
}

bool scram_fits(const struct scram_verifier *v, struct text password)
{
	struct scram_verifier other = *v;

	keys_make(&other, password);
	return CRYPTO_memcmp(v->stored_key, other.stored_key, SCRAM_KEY_BYTES) == 0;
}

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
