/* SPDX-License-Identifier: ISC */
/* The provider: three kinds of keys, one operation. See provider-keymgmt(7), provider-signature(7).
 */
#include "tls_provider.h"

#include "mem.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <stdlib.h>
#include <string.h>

/* By what name our own parameter of a key travels through EVP_PKEY_fromdata(). */
static const char param_key[] = "veredus-key";

/* In a library context of its own, so that no name here ever stands in for one of OpenSSL's. */
struct tls_provider {
	OSSL_LIB_CTX *context;
	OSSL_PROVIDER *provider;
};

struct remote_key {
	const char *kind;     /* "RSA", "EC", "ED25519" */
	EVP_PKEY *public_key; /* NULL: an empty key object */
	struct tls_signer *signer;
	uint32_t number;
};

/* What param_key points to. */
struct key_source {
	EVP_PKEY *public_key;
	struct tls_signer *signer;
	uint32_t number;
};

struct signing {
	struct remote_key *key;
	uint16_t hash; /* RFC 8446 4.2.3: the scheme for PKCS1, which the others follow from */
	bool pss;
};

/* -- keys ---------------------------------------------------------------------------- */

static void *key_new(const char *kind)
{
	struct remote_key *key = mem_new(1, sizeof *key);

	key->kind = kind;
	return key;
}

static void *rsa_new(void *provider)
{
	(void)provider;
	return key_new("RSA");
}

static void *ec_new(void *provider)
{
	(void)provider;
	return key_new("EC");
}

static void *ed25519_new(void *provider)
{
	(void)provider;
	return key_new("ED25519");
}

static void key_free(void *arg)
{
	struct remote_key *key = arg;

	if (!key)
		return;
	EVP_PKEY_free(key->public_key);
	free(key);
}

/* OpenSSL asks before it uses one: private part, public part and parameters are all to be had. */
static int key_has(const void *arg, int selection)
{
	const struct remote_key *key = arg;

	(void)selection;
	return key->public_key != NULL;
}

static int key_match(const void *a, const void *b, int selection)
{
	const struct remote_key *x = a, *y = b;

	(void)selection;
	return x->public_key && y->public_key && EVP_PKEY_eq(x->public_key, y->public_key) == 1;
}

/* A public key of OpenSSL's own, to be compared with ours. */
static int import_public(struct remote_key *key, const OSSL_PARAM *params)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, key->kind, NULL);
	OSSL_PARAM *copy = OSSL_PARAM_dup(params);
	int fine = context && copy && EVP_PKEY_fromdata_init(context) == 1 &&
		   EVP_PKEY_fromdata(context, &key->public_key, EVP_PKEY_PUBLIC_KEY, copy) == 1;

	OSSL_PARAM_free(copy);
	EVP_PKEY_CTX_free(context);
	return fine;
}

static int key_import(void *arg, int selection, const OSSL_PARAM params[])
{
	struct remote_key *key = arg;
	const OSSL_PARAM *ours = OSSL_PARAM_locate_const(params, param_key);
	const void *at = NULL;
	size_t len = 0;

	(void)selection;
	if (key->public_key)
		return 0;
	if (!ours)
		return import_public(key, params);
	if (!OSSL_PARAM_get_octet_ptr(ours, &at, &len) || len != sizeof(struct key_source))
		return 0;
	const struct key_source *source = at;

	EVP_PKEY_up_ref(source->public_key);
	key->public_key = source->public_key;
	key->signer = source->signer;
	key->number = source->number;
	return 1;
}

static const OSSL_PARAM *key_import_types(int selection)
{
	static const OSSL_PARAM types[] = {OSSL_PARAM_octet_ptr(param_key, NULL, 0),
					   OSSL_PARAM_END};

	(void)selection;
	return types;
}

static int key_get_params(void *arg, OSSL_PARAM params[])
{
	const struct remote_key *key = arg;

	return key->public_key && EVP_PKEY_get_params(key->public_key, params);
}

static const OSSL_PARAM *key_gettable_params(void *provider)
{
	static const OSSL_PARAM types[] = {
	    OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
	    OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
	    OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
	    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
	    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
	    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
	    OSSL_PARAM_END,
	};

	(void)provider;
	return types;
}

/* Names that no other provider has: with one that it has too, OpenSSL would try that one first. */
static const char *rsa_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "veredus-rsa" : NULL;
}

static const char *ec_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "veredus-ec" : NULL;
}

static const char *ed25519_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "veredus-ed25519" : NULL;
}

/* -- signing --------------------------------------------------------------------------- */

static void *signing_new(void *provider, const char *properties)
{
	(void)provider;
	(void)properties;
	return mem_new(1, sizeof(struct signing));
}

static void signing_free(void *arg)
{
	free(arg);
}

static uint16_t hash_of(const char *name)
{
	static const struct {
		const char *name;
		uint16_t scheme; /* rsa_pkcs1_* */
	} hashes[] = {{"SHA2-256", 0x0401}, {"SHA256", 0x0401},	  {"SHA2-384", 0x0501},
		      {"SHA384", 0x0501},   {"SHA2-512", 0x0601}, {"SHA512", 0x0601}};

	for (size_t i = 0; name && i < sizeof hashes / sizeof *hashes; i++)
		if (text_equal_case(text_of(name), text_of(hashes[i].name)))
			return hashes[i].scheme;
	return 0;
}

/* 0: nothing that TLS may sign with. */
static uint16_t scheme_of(const struct signing *s)
{
	if (strcmp(s->key->kind, "ED25519") == 0)
		return 0x0807;
	if (!s->hash)
		return 0;
	if (strcmp(s->key->kind, "EC") == 0)
		return (uint16_t)(s->hash + 2);
	if (s->pss)
		return (uint16_t)(0x0804 + ((s->hash >> 8) - 4));
	return s->hash;
}

static int signing_set_params(void *arg, const OSSL_PARAM params[])
{
	struct signing *s = arg;
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);

	if (p && p->data_type == OSSL_PARAM_UTF8_STRING) {
		s->pss = text_equal_case(text_of(p->data), text_of(OSSL_PKEY_RSA_PAD_MODE_PSS));
	} else if (p) {
		int mode = 0;

		if (!OSSL_PARAM_get_int(p, &mode))
			return 0;
		s->pss = mode == 6; /* RSA_PKCS1_PSS_PADDING */
	}
	/* The salt is as long as the hash in TLS (RFC 8446 4.2.3); the keeper knows. */
	return 1;
}

static const OSSL_PARAM *signing_settable_params(void *arg, void *provider)
{
	static const OSSL_PARAM types[] = {
	    OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
	    OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
	    OSSL_PARAM_END,
	};

	(void)arg;
	(void)provider;
	return types;
}

static int signing_init(void *arg, const char *hash, void *key, const OSSL_PARAM params[])
{
	struct signing *s = arg;

	s->key = key;
	s->pss = false;
	s->hash = hash_of(hash);
	return s->key && s->key->signer && (!params || signing_set_params(s, params));
}

static int signing_sign(void *arg, unsigned char *to, size_t *len, size_t size,
			const unsigned char *data, size_t data_len)
{
	struct signing *s = arg;
	int most = EVP_PKEY_get_size(s->key->public_key);
	uint8_t signature[TLS_SIGNATURE_MAX];
	uint16_t scheme = scheme_of(s);

	if (!scheme || most <= 0 || most > TLS_SIGNATURE_MAX)
		return 0;
	if (!to) {
		*len = (size_t)most;
		return 1;
	}
	*len = s->key->signer->sign(s->key->signer, s->key->number, scheme,
				    (struct text){(const char *)data, data_len}, signature);
	if (!*len || *len > size)
		return 0;
	memcpy(to, signature, *len);
	return 1;
}

/* -- tables ---------------------------------------------------------------------------- */

#define ROW(id, function)                                                                          \
	{                                                                                          \
		(id), (void (*)(void))(function)                                                   \
	}
#define KEYS(kind)                                                                                 \
	static const OSSL_DISPATCH kind##_keys[] = {                                               \
	    ROW(OSSL_FUNC_KEYMGMT_NEW, kind##_new),                                                \
	    ROW(OSSL_FUNC_KEYMGMT_FREE, key_free),                                                 \
	    ROW(OSSL_FUNC_KEYMGMT_HAS, key_has),                                                   \
	    ROW(OSSL_FUNC_KEYMGMT_MATCH, key_match),                                               \
	    ROW(OSSL_FUNC_KEYMGMT_IMPORT, key_import),                                             \
	    ROW(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_import_types),                                 \
	    ROW(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get_params),                                     \
	    ROW(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable_params),                           \
	    ROW(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, kind##_operation),                         \
	    {0, NULL},                                                                             \
	};
KEYS(rsa)
KEYS(ec)
KEYS(ed25519)

static const OSSL_DISPATCH signing_calls[] = {
    ROW(OSSL_FUNC_SIGNATURE_NEWCTX, signing_new),
    ROW(OSSL_FUNC_SIGNATURE_FREECTX, signing_free),
    ROW(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signing_init),
    ROW(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, signing_sign),
    ROW(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signing_set_params),
    ROW(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, signing_settable_params),
    {0, NULL},
};

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *no_cache)
{
	static const OSSL_ALGORITHM keys[] = {
	    {"RSA:rsaEncryption", "provider=veredus", rsa_keys, "RSA"},
	    {"EC:id-ecPublicKey", "provider=veredus", ec_keys, "EC"},
	    {"ED25519", "provider=veredus", ed25519_keys, "Ed25519"},
	    {NULL, NULL, NULL, NULL},
	};
	static const OSSL_ALGORITHM signings[] = {
	    {"veredus-rsa", "provider=veredus", signing_calls, "RSA"},
	    {"veredus-ec", "provider=veredus", signing_calls, "ECDSA"},
	    {"veredus-ed25519", "provider=veredus", signing_calls, "Ed25519"},
	    {NULL, NULL, NULL, NULL},
	};

	(void)provider;
	*no_cache = 0;
	return operation == OSSL_OP_KEYMGMT	? keys
	       : operation == OSSL_OP_SIGNATURE ? signings
						: NULL;
}

static int provider_begin(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
			  const OSSL_DISPATCH **out, void **provider)
{
	static const OSSL_DISPATCH calls[] = {
	    ROW(OSSL_FUNC_PROVIDER_QUERY_OPERATION, provider_query),
	    {0, NULL},
	};

	(void)in;
	*out = calls;
	*provider = (void *)(uintptr_t)handle; /* anything but NULL */
	return 1;
}

struct tls_provider *tls_provider_new(void)
{
	struct tls_provider *p = mem_new(1, sizeof *p);

	p->context = OSSL_LIB_CTX_new();
	if (p->context && OSSL_PROVIDER_add_builtin(p->context, "veredus", provider_begin))
		p->provider = OSSL_PROVIDER_load(p->context, "veredus");
	if (p->provider)
		return p;
	OSSL_LIB_CTX_free(p->context);
	free(p);
	return NULL;
}

static const char *kind_of(const EVP_PKEY *key)
{
	static const char *const kinds[] = {"RSA", "EC", "ED25519"};

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (EVP_PKEY_is_a(key, kinds[i]))
			return kinds[i];
	return NULL;
}

EVP_PKEY *tls_provider_key(struct tls_provider *provider, EVP_PKEY *public_key, uint32_t number,
			   struct tls_signer *signer)
{
	struct key_source source = {public_key, signer, number};
	void *at = &source;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_ptr(param_key, &at, sizeof source),
			       OSSL_PARAM_construct_end()};
	const char *kind = kind_of(public_key);
	EVP_PKEY_CTX *context =
	    kind ? EVP_PKEY_CTX_new_from_name(provider->context, kind, NULL) : NULL;
	EVP_PKEY *key = NULL;

	if (context && EVP_PKEY_fromdata_init(context) == 1 &&
	    EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(context);
	return key;
}
