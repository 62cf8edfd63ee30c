/* SPDX-License-Identifier: ISC */
/* Making and checking SCRAM-SHA-256 verifiers. */
#include "scram.h"

#include "must.h"

#include <gsasl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
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
