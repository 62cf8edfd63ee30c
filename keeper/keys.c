/* SPDX-License-Identifier: ISC */
/* Keys: read, checked, used, wiped. */
#include "keys.h"

#include "file.h"
#include "mem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <unistd.h>

enum { KEY_FILE_MAX = 65536, RSA_BITS_MAX = 8192 };

struct key {
	EVP_PKEY *pkey;
	uint32_t number;
	uint8_t retired; /* keys_forget() calls since it was; 0: in use */
};

struct keys {
	struct key at[KEYS_MAX];
	size_t count;
	uint32_t last; /* number given */
};

struct keys *keys_new(uint32_t first)
{
	struct keys *keys = mem_new(1, sizeof *keys);

	keys->last = first;
	return keys;
}

void keys_free(struct keys **keys)
{
	for (size_t i = 0; *keys && i < (*keys)->count; i++)
		EVP_PKEY_free((*keys)->at[i].pkey);
	free(*keys);
	*keys = NULL;
}

/* OpenSSL would ask the terminal. */
static int no_password(char *to, int size, int writing, void *arg)
{
	(void)to;
	(void)size;
	(void)writing;
	*(bool *)arg = true;
	return -1;
}

static bool kind_is_known(const EVP_PKEY *pkey)
{
	if (EVP_PKEY_is_a(pkey, "RSA"))
		return EVP_PKEY_get_bits(pkey) <= RSA_BITS_MAX;
	return EVP_PKEY_is_a(pkey, "EC") || EVP_PKEY_is_a(pkey, "ED25519");
}

static EVP_PKEY *key_read(int fd, const char **why)
{
	struct bytes pem = {0};
	bool encrypted = false;
	EVP_PKEY *pkey = NULL;

	if (!file_take(fd, KEY_FILE_MAX, &pem)) {
		*why = "the key cannot be read";
		return NULL;
	}
	BIO *bio = BIO_new_mem_buf(bytes_at(&pem), (int)bytes_len(&pem));

	if (bio)
		pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, &encrypted);
	BIO_free(bio);
	OPENSSL_cleanse(pem.data, pem.size);
	bytes_free(&pem);
	if (!pkey)
		*why = encrypted ? "the key has a password" : "the key is none in PEM";
	else if (kind_is_known(pkey))
		return pkey;
	else
		*why = "the key is neither RSA (up to 8192 bits) nor ECDSA nor Ed25519";
	EVP_PKEY_free(pkey);
	return NULL;
}

static bool key_fits(EVP_PKEY *pkey, struct text chain, const char **why)
{
	BIO *bio = BIO_new_mem_buf(chain.data, (int)chain.len);
	X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	bool fits = leaf && X509_check_private_key(leaf, pkey) == 1;

	if (!leaf)
		*why = "the certificate is none in PEM";
	else if (!fits)
		*why = "the key does not fit the certificate";
	X509_free(leaf);
	BIO_free(bio);
	return fits;
}

uint32_t keys_take(struct keys *keys, int fd, struct text chain, const char **why)
{
	EVP_PKEY *pkey;

	if (keys->count == KEYS_MAX) {
		close(fd);
		*why = "there are too many keys";
		return 0;
	}
	pkey = key_read(fd, why);
	if (pkey && !key_fits(pkey, chain, why)) {
		EVP_PKEY_free(pkey);
		pkey = NULL;
	}
	ERR_clear_error();
	if (!pkey)
		return 0;
	if (++keys->last == 0)
		keys->last = 1;
	keys->at[keys->count++] = (struct key){.pkey = pkey, .number = keys->last};
	return keys->last;
}

void keys_retire(struct keys *keys, uint32_t number)
{
	for (size_t i = 0; i < keys->count; i++)
		if (keys->at[i].number == number && !keys->at[i].retired)
			keys->at[i].retired = 1;
}

void keys_forget(struct keys *keys)
{
	size_t kept = 0;

	for (size_t i = 0; i < keys->count; i++) {
		struct key *key = &keys->at[i];

		if (key->retired && key->retired++ == 2)
			EVP_PKEY_free(key->pkey); /* wipes it */
		else
			keys->at[kept++] = *key;
	}
	keys->count = kept;
}

/* -- signing --------------------------------------------------------------------------- */

static const struct {
	uint16_t scheme;
	const char *kind;
	const EVP_MD *(*hash)(void); /* NULL: its own */
	int padding;
} schemes[] = {
    {0x0401, "RSA", EVP_sha256, RSA_PKCS1_PADDING},
    {0x0501, "RSA", EVP_sha384, RSA_PKCS1_PADDING},
    {0x0601, "RSA", EVP_sha512, RSA_PKCS1_PADDING},
    {0x0804, "RSA", EVP_sha256, RSA_PKCS1_PSS_PADDING},
    {0x0805, "RSA", EVP_sha384, RSA_PKCS1_PSS_PADDING},
    {0x0806, "RSA", EVP_sha512, RSA_PKCS1_PSS_PADDING},
    {0x0403, "EC", EVP_sha256, 0},
    {0x0503, "EC", EVP_sha384, 0},
    {0x0603, "EC", EVP_sha512, 0},
    {0x0807, "ED25519", NULL, 0},
};

static bool padding_set(EVP_PKEY_CTX *context, int padding)
{
	if (padding && EVP_PKEY_CTX_set_rsa_padding(context, padding) != 1)
		return false;
	/* RFC 8446 4.2.3: the salt's length "MUST be equal to the length of the output of the
	 * digest algorithm". */
	return padding != RSA_PKCS1_PSS_PADDING ||
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static size_t sign_with(EVP_PKEY *pkey, const EVP_MD *hash, int padding, struct text text,
			uint8_t *to)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *of_key = NULL;
	size_t len = SIGNATURE_MAX;
	bool fine = context && EVP_DigestSignInit(context, &of_key, hash, NULL, pkey) == 1 &&
		    padding_set(of_key, padding) &&
		    EVP_DigestSign(context, to, &len, (const uint8_t *)text.data, text.len) == 1;

	EVP_MD_CTX_free(context);
	ERR_clear_error();
	return fine ? len : 0;
}

size_t keys_sign(const struct keys *keys, uint32_t number, uint16_t scheme, struct text text,
		 uint8_t to[SIGNATURE_MAX])
{
	const struct key *key = NULL;

	for (size_t i = 0; i < keys->count && !key; i++)
		if (keys->at[i].number == number)
			key = &keys->at[i];
	for (size_t i = 0; key && i < sizeof schemes / sizeof *schemes; i++)
		if (schemes[i].scheme == scheme && EVP_PKEY_is_a(key->pkey, schemes[i].kind))
			return sign_with(key->pkey, schemes[i].hash ? schemes[i].hash() : NULL,
					 schemes[i].padding, text, to);
	return 0;
}
