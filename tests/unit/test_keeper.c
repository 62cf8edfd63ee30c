/* SPDX-License-Identifier: ISC */
/* What the keeper signs and what it does not, and that its signatures are good. */
#include "demand.h"
#include "keys.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char verify[] = "                                "
			     "                                "
			     "TLS 1.3, server CertificateVerify";

/* A text with its length. */
struct sample {
	char data[512];
	size_t len;
};

static struct sample certificate_verify(size_t hash)
{
	struct sample s = {.len = sizeof verify + hash};

	memcpy(s.data, verify, sizeof verify);
	memset(s.data + sizeof verify, 0xab, hash);
	return s;
}

static struct sample key_exchange(unsigned group, size_t point)
{
	struct sample s = {.len = 68 + point};

	memset(s.data, 0x77, 64);
	s.data[64] = 3;
	s.data[65] = (char)(group >> 8);
	s.data[66] = (char)group;
	s.data[67] = (char)point;
	memset(s.data + 68, 4, point);
	return s;
}

static enum demand read_sample(unsigned scheme, const struct sample *s)
{
	/* A copy of its own, so that a sanitizer sees each step over the end. */
	char *copy = malloc(s->len + 1);

	assert_non_null(copy);
	memcpy(copy, s->data, s->len);
	char *exact = realloc(copy, s->len ? s->len : 1);
	enum demand d = demand_read((uint16_t)scheme, (struct text){exact, s->len});

	free(exact);
	return d;
}

static void signs_handshakes(void **state)
{
	static const unsigned modern[] = {0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0807};
	static const struct {
		unsigned group;
		size_t point;
	} groups[] = {{23, 65}, {24, 97}, {25, 133}, {29, 32}, {30, 56}};

	(void)state;
	for (size_t i = 0; i < sizeof modern / sizeof *modern; i++) {
		for (size_t hash = 32; hash <= 48; hash += 16) {
			struct sample s = certificate_verify(hash);

			assert_int_equal(read_sample(modern[i], &s), DEMAND_CERTIFICATE_VERIFY);
		}
		for (size_t k = 0; k < sizeof groups / sizeof *groups; k++) {
			struct sample s = key_exchange(groups[k].group, groups[k].point);

			assert_int_equal(read_sample(modern[i], &s), DEMAND_KEY_EXCHANGE);
			assert_int_equal(read_sample(0x0401, &s), DEMAND_KEY_EXCHANGE);
		}
	}
}

static void signs_nothing_else(void **state)
{
	struct sample good = certificate_verify(32), old = key_exchange(23, 65), s;

	(void)state;
	/* PKCS1 in TLS 1.3, SHA-1, DSA, nothing, Ed448, RSA-PSS with its own kind of key. */
	static const unsigned schemes[] = {0x0401, 0x0201, 0x0203, 0x0402, 0, 0x0808, 0x0809};

	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
		assert_int_equal(read_sample(schemes[i], &good), DEMAND_NONE);
	for (size_t i = 1; i < sizeof schemes / sizeof *schemes; i++)
		assert_int_equal(read_sample(schemes[i], &old), DEMAND_NONE);
	/* Each octet of what is fixed, and each length. */
	for (size_t i = 0; i < sizeof verify; i++) {
		s = good;
		s.data[i] ^= 1;
		assert_int_equal(read_sample(0x0403, &s), DEMAND_NONE);
	}
	for (size_t len = 0; len < sizeof s.data; len++) {
		s = good;
		s.len = len;
		if (len != good.len && len != good.len + 16)
			assert_int_equal(read_sample(0x0403, &s), DEMAND_NONE);
		s = old;
		s.len = len;
		if (len != old.len)
			assert_int_equal(read_sample(0x0403, &s), DEMAND_NONE);
	}
	for (size_t i = 64; i < 69; i++) {
		s = old;
		s.data[i] ^= 8;
		assert_int_equal(read_sample(0x0403, &s), DEMAND_NONE);
	}
	/* A client's CertificateVerify is another text. */
	s = good;
	memcpy(s.data + 73, "client", 6);
	assert_int_equal(read_sample(0x0403, &s), DEMAND_CLIENT);
	/* A certificate to be signed, a hash alone. */
	s = (struct sample){.data = "\x30\x82\x01\x0a", .len = 270};
	assert_int_equal(read_sample(0x0403, &s), DEMAND_NONE);
	s = (struct sample){.len = 32};
	assert_int_equal(read_sample(0x0804, &s), DEMAND_NONE);
}

/* -- keys ------------------------------------------------------------------------------- */

static EVP_PKEY *make_key(const char *kind)
{
	EVP_PKEY *key = strcmp(kind, "RSA") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, kind, (size_t)2048)
			: strcmp(kind, "EC") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, kind, "P-256")
						  : EVP_PKEY_Q_keygen(NULL, NULL, kind);

	assert_non_null(key);
	return key;
}

/* A certificate that bears its public part, in PEM. */
static char *make_certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;

	assert_true(x && bio && X509_set_pubkey(x, key) == 1);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 1000);
	X509_sign(x, key, EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256());
	assert_int_equal(PEM_write_bio_X509(bio, x), 1);
	long len = BIO_get_mem_data(bio, &data);
	char *copy = strndup(data, (size_t)len);

	X509_free(x);
	BIO_free(bio);
	return copy;
}

static int key_file(EVP_PKEY *key, const char *password)
{
	FILE *f = tmpfile();
	int fd;

	assert_non_null(f);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(f, key, password ? EVP_aes_128_cbc() : NULL,
						      (const unsigned char *)password,
						      password ? (int)strlen(password) : 0, NULL,
						      NULL),
				 1);
	else
		fputs("no key\n", f);
	fflush(f);
	fd = dup(fileno(f));
	fclose(f);
	return fd;
}

static bool is_signature(EVP_PKEY *key, unsigned scheme, const struct sample *s, const uint8_t *sig,
			 size_t len)
{
	const EVP_MD *hashes[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	EVP_PKEY_CTX *of_key = NULL;
	unsigned hash = (scheme >> 8) == 8 ? (scheme & 0xff) - 4 : (scheme >> 8) - 4;

	assert_int_equal(
	    EVP_DigestVerifyInit(c, &of_key, scheme == 0x0807 ? NULL : hashes[hash], NULL, key), 1);
	if ((scheme >> 8) == 8 && scheme != 0x0807) {
		EVP_PKEY_CTX_set_rsa_padding(of_key, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(of_key, RSA_PSS_SALTLEN_DIGEST);
	}
	bool good = EVP_DigestVerify(c, sig, len, (const uint8_t *)s->data, s->len) == 1;

	EVP_MD_CTX_free(c);
	return good;
}

static void add_message(struct sample *s, unsigned type, unsigned len)
{
	s->data[s->len] = (char)type;
	s->data[s->len + 1] = 0;
	s->data[s->len + 2] = (char)(len >> 8);
	s->data[s->len + 3] = (char)len;
	memset(s->data + s->len + 4, 0x55, len);
	s->len += 4 + len;
}

/* What a client signs: in TLS 1.3 as a server, in other words; in TLS 1.2 all that was said. */
static void signs_what_clients_sign(void **state)
{
	static const unsigned flight[] = {2, 11, 12, 13, 14, 11, 16};
	struct sample s = certificate_verify(32), whole = {.len = 0};

	(void)state;
	memcpy(s.data + 64 + 9, "client", 6);
	assert_int_equal(read_sample(0x0403, &s), DEMAND_CLIENT);
	assert_int_equal(read_sample(0x0401, &s), DEMAND_NONE);
	add_message(&whole, 1, 100);
	for (size_t i = 0; i < sizeof flight / sizeof *flight; i++) {
		assert_int_equal(read_sample(0x0401, &whole), DEMAND_NONE);
		add_message(&whole, flight[i], 20 + (unsigned)i);
	}
	assert_int_equal(read_sample(0x0401, &whole), DEMAND_CLIENT);
	assert_int_equal(read_sample(0x0804, &whole), DEMAND_CLIENT);
	assert_int_equal(read_sample(0x0201, &whole), DEMAND_NONE);
	for (size_t i = 0; i < whole.len; i++) {
		struct sample cut = {.len = i};

		memcpy(cut.data, whole.data, i);
		assert_int_equal(read_sample(0x0401, &cut), DEMAND_NONE);
	}
	add_message(&whole, 15, 1); /* behind the key exchange nothing is signed */
	assert_int_equal(read_sample(0x0401, &whole), DEMAND_NONE);
	whole = (struct sample){.len = 0};
	add_message(&whole, 2, 40); /* begins in the middle */
	add_message(&whole, 16, 40);
	assert_int_equal(read_sample(0x0401, &whole), DEMAND_NONE);
	whole = (struct sample){.len = 0};
	add_message(&whole, 1, 40);
	add_message(&whole, 20, 40); /* no part of it */
	add_message(&whole, 16, 40);
	assert_int_equal(read_sample(0x0401, &whole), DEMAND_NONE);
}

static void signatures_are_good(void **state)
{
	static const struct {
		const char *kind;
		unsigned schemes[6];
	} kinds[] = {{"RSA", {0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806}},
		     {"EC", {0x0403, 0x0503, 0x0603}},
		     {"ED25519", {0x0807}}};
	struct keys *keys = keys_new(41);
	struct sample s = key_exchange(23, 65);
	struct text text = {s.data, s.len};
	uint8_t sig[SIGNATURE_MAX];
	const char *why = NULL;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		EVP_PKEY *key = make_key(kinds[i].kind);
		char *pem = make_certificate(key);
		uint32_t number = keys_take(keys, key_file(key, NULL), text_of(pem), &why);

		assert_int_equal(number, 42 + i);
		for (size_t k = 0; k < 6 && kinds[i].schemes[k]; k++) {
			uint16_t scheme = (uint16_t)kinds[i].schemes[k];
			size_t len = keys_sign(keys, number, scheme, text, sig);

			assert_true(len > 0 && len <= sizeof sig);
			assert_true(is_signature(key, scheme, &s, sig, len));
			sig[len / 2] ^= 1;
			assert_false(is_signature(key, scheme, &s, sig, len));
		}
		/* Another kind's scheme, and a number that is none. */
		assert_int_equal(
		    keys_sign(keys, number, (uint16_t)kinds[(i + 1) % 3].schemes[0], text, sig), 0);
		assert_int_equal(
		    keys_sign(keys, number + 1, (uint16_t)kinds[i].schemes[0], text, sig), 0);
		EVP_PKEY_free(key);
		free(pem);
	}
	keys_free(&keys);
}

static void takes_pairs_only(void **state)
{
	struct keys *keys = keys_new(0);
	EVP_PKEY *key = make_key("EC"), *other = make_key("EC"), *dh = make_key("X25519");
	char *pem = make_certificate(key);
	const char *why = NULL;

	(void)state;
	assert_int_equal(keys_take(keys, key_file(other, NULL), text_of(pem), &why), 0);
	assert_string_equal(why, "the key does not fit the certificate");
	assert_int_equal(keys_take(keys, key_file(key, "secret"), text_of(pem), &why), 0);
	assert_string_equal(why, "the key has a password");
	assert_int_equal(keys_take(keys, key_file(NULL, NULL), text_of(pem), &why), 0);
	assert_string_equal(why, "the key is none in PEM");
	assert_int_equal(keys_take(keys, key_file(dh, NULL), text_of(pem), &why), 0);
	assert_non_null(strstr(why, "neither RSA"));
	assert_int_equal(keys_take(keys, key_file(key, NULL), text_of("nothing"), &why), 0);
	assert_string_equal(why, "the certificate is none in PEM");
	assert_int_equal(keys_take(keys, key_file(key, NULL), text_of(pem), &why), 1);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	EVP_PKEY_free(dh);
	free(pem);
	keys_free(&keys);
}

static void old_keys_live_on_for_a_while(void **state)
{
	struct keys *keys = keys_new(0);
	EVP_PKEY *key = make_key("EC");
	char *pem = make_certificate(key);
	struct sample s = certificate_verify(32);
	struct text text = {s.data, s.len};
	uint8_t sig[SIGNATURE_MAX];
	const char *why = NULL;
	uint32_t first = keys_take(keys, key_file(key, NULL), text_of(pem), &why);
	uint32_t second = keys_take(keys, key_file(key, NULL), text_of(pem), &why);

	(void)state;
	assert_true(first && second && first != second);
	keys_retire(keys, first);
	keys_forget(keys);
	assert_true(keys_sign(keys, first, 0x0403, text, sig) > 0);
	keys_forget(keys);
	assert_int_equal(keys_sign(keys, first, 0x0403, text, sig), 0);
	assert_true(keys_sign(keys, second, 0x0403, text, sig) > 0);
	keys_forget(keys);
	keys_forget(keys);
	assert_true(keys_sign(keys, second, 0x0403, text, sig) > 0);
	EVP_PKEY_free(key);
	free(pem);
	keys_free(&keys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(signs_handshakes),
	    cmocka_unit_test(signs_nothing_else),
	    cmocka_unit_test(signs_what_clients_sign),
	    cmocka_unit_test(signatures_are_good),
	    cmocka_unit_test(takes_pairs_only),
	    cmocka_unit_test(old_keys_live_on_for_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
