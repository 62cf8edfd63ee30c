/* SPDX-License-Identifier: ISC */
/* What a client speaks, and how a receiver proves who it is. */
#include "tls_private.h"

#include "authorities.h"
#include "mem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/tls1.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { CHAIN_DEPTH = 10, NAME_BYTES = 256 };

/*
 * For TLS 1.2: forward secrecy first. What is old, but no worse than clear text,
 * comes last: there are receivers that have nothing else.
 */
static const char ciphers[] =
    "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:kRSA+AESGCM:kRSA+AES:"
    "!aNULL:!eNULL:!PSK:!SRP:!aDSS";
static const char suites[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

/* -- contexts ---------------------------------------------------------------------------- */

/* A hybrid with ML-KEM where OpenSSL has one (3.5): what is recorded today can't be read later. */
static bool groups_set(SSL_CTX *context)
{
	char hybrid[] = "X25519MLKEM768:X25519:P-256:P-384:P-521"; /* a macro takes no constant */
	char plain[] = "X25519:P-256:P-384:P-521";

	return SSL_CTX_set1_groups_list(context, hybrid) == 1 ||
	       SSL_CTX_set1_groups_list(context, plain) == 1;
}

/* A session comes with the handshake (TLS 1.2), before it is known to be good, or any time later.
 */
static int session_new(SSL *ssl, SSL_SESSION *session)
{
	struct tls_link *link = SSL_get_app_data(ssl);
	struct tls_goal *goal = link->goal;

	if (!SSL_SESSION_is_resumable(session))
		return 0;
	if (goal->proved) {
		tls_session_put(goal->client->sessions, goal->key, session, link->facts.proof);
		return 1;
	}
	SSL_SESSION_free(goal->fresh);
	goal->fresh = session;
	return 1;
}

/*
 * STRICT: for those who have to prove something. With the others old keys and
 * ciphers are still better than clear text (RFC 7435).
 */
static SSL_CTX *context_new(bool strict)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	if (!context)
		return NULL;
	SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_IGNORE_UNEXPECTED_EOF |
					 (strict ? 0 : SSL_OP_LEGACY_SERVER_CONNECT));
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(context, 1);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(context, session_new);
	SSL_CTX_set_verify_depth(context, CHAIN_DEPTH);
	SSL_CTX_set_security_level(context, strict ? 2 : 1);
	/* RFC 8996: TLS 1.0 and 1.1 "MUST NOT be used". No ALPN is offered: none is registered for
	 * SMTP. */
	if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
	    SSL_CTX_set_cipher_list(context, ciphers) == 1 &&
	    SSL_CTX_set_ciphersuites(context, suites) == 1 && groups_set(context) &&
	    SSL_CTX_dane_enable(context) == 1)
		return context;
	SSL_CTX_free(context);
	return NULL;
}

struct tls_client *tls_client_new(struct log *log)
{
	struct tls_client client = {.log = log};

	if (tls_openssl_begin()) {
		client.wire = tls_wire_method();
		client.provider = tls_provider_new();
		client.loose = context_new(false);
		client.strict = context_new(true);
	}
	if (!client.wire || !client.provider || !client.loose || !client.strict) {
		log_error(log, "OpenSSL cannot be used: %s",
			  ERR_reason_error_string(ERR_peek_error()));
		SSL_CTX_free(client.loose);
		SSL_CTX_free(client.strict);
		BIO_meth_free(client.wire);
		return NULL;
	}
	struct tls_client *made = mem_new(1, sizeof *made);

	*made = client;
	tls_remote_init(&made->remote);
	made->sessions = tls_sessions_new();
	/* What OpenSSL computes at its first connection it does here, before the jail. */
	SSL_free(SSL_new(made->strict));
	return made;
}

size_t tls_client_trust(struct tls_client *client, struct text pem)
{
	size_t count;
	X509_STORE *store = authorities_read(pem, &count);

	if (store)
		SSL_CTX_set1_cert_store(client->strict, store);
	X509_STORE_free(store);
	tls_sessions_clear(client->sessions);
	return count;
}

/* -- our own certificates --------------------------------------------------------------- */

static const struct identity *identity_named(const struct tls_client *client, struct text name)
{
	for (size_t i = 0; i < client->now.count; i++)
		if (text_equals(name, client->now.at[i].name))
			return &client->now.at[i];
	return NULL;
}

/* A context that only holds it. */
static void on_certificate(struct tls_client *client, struct channel *keeper,
			   const struct msg_certificate *m)
{
	SSL_CTX *context;

	if (client->arrived++ == IDENTITIES_MAX) {
		channel_end(keeper, "sends more certificates than there can be");
		return;
	}
	context = SSL_CTX_new(TLS_client_method());
	if (context && identity_use_chain(client->provider, &client->remote, context, m)) {
		client->next.at[client->next.count++] =
		    (struct identity){mem_copy(m->name.data, m->name.len), context};
		return;
	}
	log_error(client->log, "tls %.*s: OpenSSL refuses the certificate: %s", (int)m->name.len,
		  m->name.data, ERR_reason_error_string(ERR_peek_last_error()));
	ERR_clear_error();
	SSL_CTX_free(context);
}

void tls_client_serve(struct tls_client *client, struct channel *keeper, const struct message *m)
{
	if (m->type == MSG_signature) {
		tls_remote_signature(&client->remote, &m->signature);
	} else if (m->type == MSG_certificate) {
		on_certificate(client, keeper, &m->certificate);
	} else if (m->type == MSG_certificates_end) {
		/* Who was met with another certificate, or without one, is met anew. */
		tls_sessions_clear(client->sessions);
		identities_free(&client->now);
		client->now = client->next;
		client->next.count = client->arrived = 0;
		client->told = true;
	}
}

void tls_client_keeper(struct tls_client *client, struct channel *keeper)
{
	tls_remote_keeper(&client->remote, keeper);
	identities_free(&client->next);
	client->arrived = 0;
	client->told = false;
}

bool tls_client_is_told(const struct tls_client *client)
{
	return client->told;
}

bool tls_client_has(const struct tls_client *client, struct text name)
{
	return identity_named(client, name) != NULL;
}

/* -- wishes ------------------------------------------------------------------------------ */

bool tls_tlsa_is_usable(const struct tls_tlsa *r)
{
	/* RFC 7672 3.1.3, of PKIX-TA(0) and PKIX-EE(1): "SMTP clients MAY treat such records as
	 * "unusable"." */
	if ((r->usage != 2 && r->usage != 3) || r->selector > 1 || !r->data.len)
		return false;
	return r->matching == 0 || (r->matching == 1 && r->data.len == 32) ||
	       (r->matching == 2 && r->data.len == 64);
}

static void hash_number(EVP_MD_CTX *md, size_t n)
{
	uint64_t number = n;

	EVP_DigestUpdate(md, &number, sizeof number);
}

static void hash_text(EVP_MD_CTX *md, struct text t)
{
	hash_number(md, t.len);
	if (t.len)
		EVP_DigestUpdate(md, t.data, t.len);
}

/* All that makes two wishes differ: no session passes from one to the other. */
static bool wish_key(const struct tls_wish *w, uint8_t key[TLS_KEY_BYTES])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned len = 0;

	if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(md);
		return false;
	}
	hash_number(md, w->proof);
	hash_number(md, w->policy);
	hash_number(md, w->note);
	hash_text(md, w->peer);
	hash_text(md, w->name);
	hash_text(md, w->base);
	hash_text(md, w->certificate);
	hash_number(md, w->name_count);
	for (size_t i = 0; i < w->name_count; i++)
		hash_text(md, w->names[i]);
	hash_number(md, w->tlsa_count);
	for (size_t i = 0; i < w->tlsa_count; i++) {
		const struct tls_tlsa *r = &w->tlsa[i];

		hash_number(md, (size_t)r->usage << 16 | (size_t)r->selector << 8 | r->matching);
		hash_text(md, r->data);
	}
	hash_number(md, w->fingerprint_count);
	for (size_t i = 0; i < w->fingerprint_count; i++)
		hash_text(md, w->fingerprints[i]);
	bool fine = EVP_DigestFinal_ex(md, key, &len) == 1;

	EVP_MD_CTX_free(md);
	return fine;
}

static bool ask_names(SSL *ssl, const struct tls_wish *w)
{
	char name[NAME_BYTES];

	for (size_t i = 0; i < w->name_count; i++)
		if (!w->names[i].len ||
		    text_copy(name, sizeof name, w->names[i]) < w->names[i].len ||
		    SSL_add1_host(ssl, name) != 1)
			return false;
	return true;
}

/* Without a name there would be nothing to compare the certificate with: any would do. */
static bool ask_chain(SSL *ssl, const struct tls_wish *w)
{
	/* RFC 9525 6.3: the common name is no identity. */
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
				   X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	return w->name_count && ask_names(ssl, w);
}

/* False: refused. *USABLE is how many records OpenSSL can use. */
static bool ask_dane(SSL *ssl, const struct tls_wish *w, size_t *usable)
{
	char base[NAME_BYTES];

	*usable = 0;
	if (!w->base.len || text_copy(base, sizeof base, w->base) < w->base.len ||
	    SSL_dane_enable(ssl, base) != 1)
		return false;
	/* RFC 7672 3.1.1: with DANE-EE(3) neither names nor dates of the certificate count. */
	SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	for (size_t i = 0; i < w->tlsa_count; i++) {
		const struct tls_tlsa *r = &w->tlsa[i];
		int added =
		    !tls_tlsa_is_usable(r)
			? 0
			: SSL_dane_tlsa_add(ssl, r->usage, r->selector, r->matching,
					    (const unsigned char *)r->data.data, r->data.len);

		if (added < 0)
			return false;
		*usable += added > 0;
	}
	ERR_clear_error(); /* of records that it can't use */
	SSL_set_verify(ssl, *usable ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	return ask_names(ssl, w);
}

/* The handshake goes on whatever is found; OpenSSL keeps what it was. */
static bool ask_note(SSL *ssl, struct tls_goal *goal, const struct tls_wish *w)
{
	goal->note = true;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
				   X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return SSL_set1_verify_cert_store(ssl, SSL_CTX_get_cert_store(goal->client->strict)) == 1 &&
	       ask_names(ssl, w);
}

static uint8_t hex_digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : ascii_lower(c) - 'a' + 10);
}

static void take_fingerprints(struct tls_goal *goal, const struct tls_wish *w)
{
	goal->digests = mem_new(w->fingerprint_count + 1, sizeof *goal->digests);
	for (size_t i = 0; i < w->fingerprint_count; i++) {
		struct text t = w->fingerprints[i];

		if (t.len != 2 * sizeof *goal->digests)
			continue;
		uint8_t *to = goal->digests[goal->digest_count++];

		for (size_t k = 0; k < sizeof *goal->digests; k++)
			to[k] =
			    (uint8_t)(hex_digit(t.data[2 * k]) << 4 | hex_digit(t.data[2 * k + 1]));
	}
}

static bool ask(SSL *ssl, struct tls_goal *goal, const struct tls_wish *w)
{
	char name[NAME_BYTES];
	size_t usable;

	SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
	/* RFC 7672 8.1 wants the name with DANE; receivers of many names need it without, too. */
	if (w->name.len && (text_copy(name, sizeof name, w->name) < w->name.len ||
			    SSL_set_tlsext_host_name(ssl, name) != 1))
		return false;
	switch (w->proof) {
	case TLS_PROVE_CHAIN:
		return ask_chain(ssl, w);
	case TLS_PROVE_DANE:
		if (!ask_dane(ssl, w, &usable))
			return false;
		if (!usable)
			goal->proof = TLS_PROVE_NOTHING;
		return true;
	case TLS_PROVE_FINGERPRINT:
		take_fingerprints(goal, w);
		return true;
	case TLS_PROVE_NOTHING:
		return !w->note || ask_note(ssl, goal, w);
	}
	return true;
}

static void resume(SSL *ssl, struct tls_goal *goal)
{
	SSL_SESSION *session = tls_session_take(goal->client->sessions, goal->key, &goal->known);

	if (session)
		SSL_set_session(ssl, session);
	SSL_SESSION_free(session);
}

void tls_goal_free(struct tls_goal **at)
{
	struct tls_goal *goal = *at;

	*at = NULL;
	if (!goal)
		return;
	SSL_SESSION_free(goal->fresh);
	free(goal->digests);
	free(goal);
}

/* The handshake may wait for the keeper, on a stack of its own. */
static bool show(SSL *ssl, const struct tls_client *client, const struct tls_wish *w)
{
	const struct identity *own =
	    w->certificate.len ? identity_named(client, w->certificate) : NULL;
	STACK_OF(X509) *chain = NULL;

	if (!w->certificate.len)
		return true;
	if (!own || SSL_CTX_get0_chain_certs(own->context, &chain) != 1 ||
	    SSL_use_cert_and_key(ssl, SSL_CTX_get0_certificate(own->context),
				 SSL_CTX_get0_privatekey(own->context), chain, 1) != 1)
		return false;
	SSL_set_mode(ssl, SSL_MODE_ASYNC | SSL_MODE_NO_AUTO_CHAIN);
	return true;
}

struct tls_link *tls_link_connect(struct tls_client *client, int fd, const struct tls_wish *wish,
				  void (*woken)(void *arg), void *arg)
{
	SSL *ssl = SSL_new(wish->proof == TLS_PROVE_NOTHING ? client->loose : client->strict);
	struct tls_goal *goal = mem_new(1, sizeof *goal);
	struct tls_link *link = mem_new(1, sizeof *link);

	goal->client = client;
	goal->proof = wish->proof;
	*link = (struct tls_link){.ssl = ssl,
				  .remote = &client->remote,
				  .goal = goal,
				  .fd = fd,
				  .readable = true,
				  .woken = woken,
				  .arg = arg};
	if (!ssl || !tls_wire_put(link, client->wire) || !wish_key(wish, goal->key) ||
	    !ask(ssl, goal, wish) || !show(ssl, client, wish)) {
		tls_link_free(&link);
		ERR_clear_error();
		return NULL;
	}
	resume(ssl, goal);
	SSL_set_connect_state(ssl);
	SSL_set_app_data(ssl, link);
	return link;
}

/* -- proofs ------------------------------------------------------------------------------ */

static bool digest_is_known(const struct tls_goal *goal, const uint8_t *digest)
{
	for (size_t i = 0; i < goal->digest_count; i++)
		if (memcmp(goal->digests[i], digest, sizeof *goal->digests) == 0)
			return true;
	return false;
}

/* Of the certificate, or of its public key, which outlives it. */
static bool fingerprint_fits(const struct tls_goal *goal, SSL *ssl)
{
	X509 *certificate = SSL_get0_peer_certificate(ssl);
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned char *key = NULL;
	unsigned len = 0;

	if (!certificate)
		return false;
	if (X509_digest(certificate, EVP_sha256(), digest, &len) == 1 &&
	    digest_is_known(goal, digest))
		return true;
	int key_len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);
	bool fits = key_len > 0 &&
		    EVP_Digest(key, (size_t)key_len, digest, &len, EVP_sha256(), NULL) == 1 &&
		    digest_is_known(goal, digest);

	OPENSSL_free(key);
	return fits;
}

static enum tls_proof dane_proof(const struct tls_goal *goal, SSL *ssl)
{
	uint8_t usage = 0;

	if (SSL_session_reused(ssl) == 1)
		return goal->known;
	if (SSL_get0_dane_authority(ssl, NULL, NULL) < 0 ||
	    SSL_get0_dane_tlsa(ssl, &usage, NULL, NULL, NULL, NULL) < 0)
		return PROOF_NONE;
	return usage == 3 ? PROOF_DANE_EE : PROOF_DANE_TA;
}

/* Of a chain that was not verified. */
static enum tls_fault fault_of(long verdict)
{
	switch (verdict) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
		return FAULT_NAME;
	case X509_V_ERR_DANE_NO_MATCH:
		return FAULT_DANE;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return FAULT_EXPIRED;
	default:
		return FAULT_CHAIN;
	}
}

/* FAULT_NONE: it has proved what was wished, and the facts say how. */
static enum tls_fault judge(struct tls_link *link)
{
	struct tls_goal *goal = link->goal;
	bool verified =
	    SSL_get_verify_result(link->ssl) == X509_V_OK && SSL_get0_peer_certificate(link->ssl);

	switch (goal->proof) {
	case TLS_PROVE_CHAIN:
		link->facts.proof = PROOF_CHAIN;
		return verified ? FAULT_NONE : FAULT_CHAIN;
	case TLS_PROVE_DANE:
		link->facts.proof = dane_proof(goal, link->ssl);
		return verified && link->facts.proof != PROOF_NONE ? FAULT_NONE : FAULT_DANE;
	case TLS_PROVE_FINGERPRINT:
		link->facts.proof = PROOF_FINGERPRINT;
		return fingerprint_fits(goal, link->ssl) ? FAULT_NONE : FAULT_FINGERPRINT;
	case TLS_PROVE_NOTHING:
		break;
	}
	link->facts.proof = PROOF_NONE;
	if (goal->note && !verified)
		link->facts.noted = fault_of(SSL_get_verify_result(link->ssl));
	return FAULT_NONE;
}

enum tls_result tls_goal_judge(struct tls_link *link)
{
	struct tls_goal *goal = link->goal;
	int group = (int)SSL_get_negotiated_group(link->ssl);
	const char *name = group > 0 ? SSL_group_to_name(link->ssl, group) : NULL;

	link->facts.group = text_of(name);
	link->fault = judge(link);
	if (link->fault != FAULT_NONE) {
		link->why = link->fault == FAULT_FINGERPRINT
				? "no fingerprint fits its certificate or key"
				: "its certificate was not verified";
		return TLS_BROKEN;
	}
	goal->proved = true;
	if (goal->fresh)
		tls_session_put(goal->client->sessions, goal->key, goal->fresh, link->facts.proof);
	goal->fresh = NULL;
	return TLS_FINE;
}

void tls_goal_failed(struct tls_link *link)
{
	long verdict = SSL_get_verify_result(link->ssl);

	link->fault = FAULT_HANDSHAKE;
	if (SSL_get_verify_mode(link->ssl) == SSL_VERIFY_NONE || verdict == X509_V_OK)
		return;
	link->fault = fault_of(verdict);
	link->why = X509_verify_cert_error_string(verdict);
}
