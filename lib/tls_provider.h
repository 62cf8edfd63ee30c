/* SPDX-License-Identifier: ISC */
/*
 * Private keys that are in another process, for OpenSSL: a built-in provider
 * whose keys hold the public part and a number, and whose one operation, to
 * sign, is a call of whoever can have it signed. The whole text goes there,
 * not its hash: the other side sees what it signs.
 */
#ifndef LIB_TLS_PROVIDER_H
#define LIB_TLS_PROVIDER_H

#include "text.h"

#include <openssl/evp.h>

enum { TLS_SIGNATURE_MAX = 1024 /* bytes; an RSA key of 8192 bits */ };

/* Whoever has texts signed; outlives every key that names it. */
struct tls_signer {
	/*
	 * Signs TEXT with key NUMBER by the SignatureScheme of RFC 8446 4.2.3 (in TLS 1.2: hash
	 * and signature algorithm). Returns the signature's length, 0 when there is none.
	 */
	size_t (*sign)(struct tls_signer *signer, uint32_t number, uint16_t scheme,
		       struct text text, uint8_t to[TLS_SIGNATURE_MAX]);
};

struct tls_provider;

/* NULL: OpenSSL would not have it. Lives as long as the process. */
struct tls_provider *tls_provider_new(void);

/* A key for SSL_CTX_use_PrivateKey(): RSA, EC or Ed25519 as PUBLIC is (a reference to it is kept).
 * NULL: no such kind. */
EVP_PKEY *tls_provider_key(struct tls_provider *provider, EVP_PKEY *public_key, uint32_t number,
			   struct tls_signer *signer);

#endif
