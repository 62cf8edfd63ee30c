/* SPDX-License-Identifier: ISC */
/* What one tls block speaks: its certificate, its versions and ciphers, its tickets. */
#include "tls_private.h"

#include "config.h"
#include "mem.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/tls1.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum {
	TICKET_SECONDS = 3600,
	CHAIN_MAX = 16,
	CLIENT_CHAIN_BYTES = 32768, /* a client's certificates; a giant one ends its handshake */
	CLIENT_CHAIN_DEPTH = 8,
	CLIENT_CA_MAX = 200,
};

/* Ours first, for TLS 1.2: forward secrecy always, AEAD before the CBC that old mail servers need.
 */
static const char ciphers[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
			      "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
			      "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
			      "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:"
			      "ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384";
static const char suites[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

/* -- the client's hello ------------------------------------------------------------------ */

/* RFC 6066 3: a list of names, of which only host_name (0) exists. Empty: none, or none that is
 * well-formed. */
static struct text hello_name(SSL *ssl)
{
	const unsigned char *at;
	size_t len;
	const struct text none = {NULL, 0};

	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &at, &len) || len < 5)
		return none;
	size_t list = (size_t)at[0] << 8 | at[1], name = (size_t)at[3] << 8 | at[4];

	if (list != len - 2 || at[2] != TLSEXT_NAMETYPE_host_name || name > len - 5 || !name ||
	    name > 255)
		return none;
	const struct text t = {(const char *)at + 5, name};

	for (size_t i = 0; i < t.len; i++)
		if (!ascii_is_alnum(t.data[i]) && !strchr("-._", t.data[i]))
			return none;
	return t.data[t.len - 1] == '.' ? (struct text){t.data, t.len - 1} : t;
}

/*
 * Before anything else is decided: the versions and the tickets that are good are those of the
 * block whose name is asked for. A name that we do not have gets the first block: mail servers ask
 * for the name in the MX record, and opportunistic TLS is better than none.
 */
static int client_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls *tls = arg;
	struct tls_link *link = SSL_get_app_data(ssl);
	struct text name = hello_name(ssl);
	SSL_CTX *context = identities_find(&tls->now, name);

	if (!context) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_CLIENT_HELLO_ERROR;
	}
	if (name.len && !link->name) {
		link->name = strndup(name.data, name.len);
		link->facts.name = text_of(link->name);
	}
	SSL_set_SSL_CTX(ssl, context);
	SSL_set_min_proto_version(ssl, (int)SSL_CTX_get_min_proto_version(context));
	SSL_set_verify(ssl, SSL_CTX_get_verify_mode(context), SSL_CTX_get_verify_callback(context));
	return SSL_CLIENT_HELLO_SUCCESS;
}

/*
 * RFC 7301 3.2: no_application_protocol. A browser that was sent here offers h2 and http/1.1, and
 * must not get to speak (ALPACA); mail programs offer nothing or these.
 */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			   const unsigned char *in, unsigned in_len, void *arg)
{
	(void)ssl;
	(void)arg;
	for (unsigned at = 0; at < in_len && in[at] <= in_len - at - 1; at += 1u + in[at]) {
		struct text t = {(const char *)in + at + 1, in[at]};

		if (!text_equals(t, "smtp") && !text_equals(t, "esmtp"))
			continue;
		*out = in + at + 1;
		*out_len = in[at];
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* -- tickets (RFC 5077 4: the recommended construction) -------------------------------------- */

static const struct ticket_key *ticket_key_find(const struct tls *tls, const uint8_t *name)
{
	for (size_t i = 0; i < tls->ticket_count; i++)
		if (memcmp(tls->tickets[i].name, name, sizeof tls->tickets[i].name) == 0)
			return &tls->tickets[i];
	return NULL;
}

static bool ticket_mac(EVP_MAC_CTX *mac, const struct ticket_key *key)
{
	uint8_t secret[sizeof key->mac];
	char hash[] = "SHA256";

	memcpy(secret, key->mac, sizeof secret);
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, secret, sizeof secret),
	    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, hash, 0),
	    OSSL_PARAM_construct_end(),
	};
	bool fine = EVP_MAC_CTX_set_params(mac, params) == 1;

	OPENSSL_cleanse(secret, sizeof secret);
	return fine;
}

/*
 * Returns 1: fine, 2: good, and a new one is due, 0: no such key (a full handshake), -1: failed.
 * RFC 8446 C.4: "Clients SHOULD NOT reuse a ticket for multiple connections", and who gets no new
 * one resumes every second time only.
 */
static int ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		  EVP_MAC_CTX *mac, int encrypt)
{
	const struct tls_link *link = SSL_get_app_data(ssl);
	const struct tls *tls = link->tls;
	const struct ticket_key *key =
	    encrypt ? (tls->ticket_count ? &tls->tickets[0] : NULL) : ticket_key_find(tls, name);

	if (!key)
		return 0;
	if (encrypt) {
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
			return -1;
		memcpy(name, key->name, sizeof key->name);
	}
	if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, encrypt) != 1 ||
	    !ticket_mac(mac, key))
		return -1;
	bool last = key != &tls->tickets[0] || SSL_version(ssl) >= TLS1_3_VERSION;

	return !encrypt && last ? 2 : 1;
}

/* -- certificates ------------------------------------------------------------------------------ */

static BIO *bio_over(struct text pem)
{
	return BIO_new_mem_buf(pem.data, (int)pem.len);
}

/* The leaf with a key that is not here, and what stands behind it in the file. */
bool identity_use_chain(struct tls_provider *provider, struct tls_remote *remote, SSL_CTX *context,
			const struct msg_certificate *m)
{
	BIO *bio = bio_over(m->chain);
	X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL, *next;
	EVP_PKEY *public_key = leaf ? X509_get0_pubkey(leaf) : NULL;
	EVP_PKEY *key =
	    public_key ? tls_provider_key(provider, public_key, m->key, &remote->signer) : NULL;
	bool fine = key && SSL_CTX_use_certificate(context, leaf) == 1 &&
		    SSL_CTX_use_PrivateKey(context, key) == 1;

	for (int i = 0; fine && i < CHAIN_MAX; i++) {
		next = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		if (!next)
			break;
		fine = SSL_CTX_add0_chain_cert(context, next) == 1;
		if (!fine)
			X509_free(next);
	}
	X509_free(leaf);
	EVP_PKEY_free(key);
	BIO_free(bio);
	return fine;
}

/* A certificate that fails is no certificate, but no reason to hang up either: what it is good for
 * is asked later, of tls_facts. */
static int client_verified(int fine, X509_STORE_CTX *store)
{
	(void)fine;
	(void)store;
	return 1;
}

static bool ask_clients(SSL_CTX *context, struct text authorities)
{
	BIO *bio = bio_over(authorities);
	X509_STORE *store = SSL_CTX_get_cert_store(context);
	X509 *one;
	int count = 0;

	while (bio && count < CLIENT_CA_MAX && (one = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		count += X509_STORE_add_cert(store, one) == 1 &&
			 SSL_CTX_add_client_CA(context, one) == 1;
		X509_free(one);
	}
	BIO_free(bio);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, client_verified);
	SSL_CTX_set_verify_depth(context, CLIENT_CHAIN_DEPTH);
	return count > 0;
}

/* A session is resumed only where the same block, with the same authorities, would be used. */
static bool set_session_name(SSL_CTX *context, const struct msg_certificate *m)
{
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool fine = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
		    EVP_DigestUpdate(md, m->name.data, m->name.len) == 1 &&
		    EVP_DigestUpdate(md, "", 1) == 1 &&
		    EVP_DigestUpdate(md, m->client_ca.data, m->client_ca.len) == 1 &&
		    EVP_DigestFinal_ex(md, hash, &len) == 1;

	EVP_MD_CTX_free(md);
	return fine && SSL_CTX_set_session_id_context(context, hash, 32) == 1;
}

static bool set_policy(struct tls *tls, SSL_CTX *context, uint8_t minimum)
{
	char groups[] = "X25519:P-256:P-384"; /* OpenSSL's macro takes no constant */

	SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ASYNC |
				      SSL_MODE_NO_AUTO_CHAIN); /* the file has the chain */
	SSL_CTX_set_read_ahead(context, 1);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(context, TICKET_SECONDS);
	SSL_CTX_set_num_tickets(context, 1);
	SSL_CTX_set_max_cert_list(context, CLIENT_CHAIN_BYTES);
	SSL_CTX_set_security_level(context, 2);
	SSL_CTX_set_client_hello_cb(context, client_hello, tls);
	SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
	return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, ticket) == 1 &&
	       SSL_CTX_set_min_proto_version(
		   context, minimum == TLS_MINIMUM_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) &&
	       SSL_CTX_set_cipher_list(context, ciphers) == 1 &&
	       SSL_CTX_set_ciphersuites(context, suites) == 1 &&
	       SSL_CTX_set1_groups_list(context, groups) == 1;
}

static SSL_CTX *context_new(struct tls *tls, const struct msg_certificate *m)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	if (context && set_policy(tls, context, m->minimum) && set_session_name(context, m) &&
	    identity_use_chain(tls->provider, &tls->remote, context, m) &&
	    (!m->client_ca.len || ask_clients(context, m->client_ca)))
		return context;
	SSL_CTX_free(context);
	return NULL;
}

static const char *last_reason(void)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return why ? why : "it is none";
}

bool identities_add(struct tls *tls, struct identities *all, const struct msg_certificate *m,
		    const char **why)
{
	ERR_clear_error();
	/* A context holds a key of each kind, and OpenSSL takes the one that the client can verify.
	 * Of two that it can, it prefers ECDSA to Ed25519 to RSA, which costs us the least. */
	for (size_t i = 0; i < all->count; i++)
		if (text_equals(m->name, all->at[i].name)) {
			bool fine =
			    identity_use_chain(tls->provider, &tls->remote, all->at[i].context, m);

			if (!fine)
				*why = last_reason();
			return fine;
		}
	SSL_CTX *context = context_new(tls, m);

	if (context)
		all->at[all->count++] =
		    (struct identity){mem_copy(m->name.data, m->name.len), context};
	else
		*why = last_reason();
	return context != NULL;
}

void identities_free(struct identities *all)
{
	while (all->count) {
		struct identity *one = &all->at[--all->count];

		free(one->name);
		SSL_CTX_free(one->context);
	}
}

SSL_CTX *identities_find(const struct identities *all, struct text name)
{
	const struct identity *found = all->count ? &all->at[0] : NULL;
	ptrdiff_t dot = text_find(name, '.');

	for (size_t i = 0; i < all->count; i++)
		if (text_equal_case(name, text_of(all->at[i].name)))
			return all->at[i].context;
	/* RFC 9525 6.3: a wildcard is one whole label. */
	for (size_t i = 0; dot > 0 && i < all->count; i++)
		if (text_starts_case(text_of(all->at[i].name), "*.") &&
		    text_equal_case((struct text){name.data + dot, name.len - (size_t)dot},
				    text_of(all->at[i].name + 1)))
			return all->at[i].context;
	return found ? found->context : NULL;
}
