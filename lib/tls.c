/* SPDX-License-Identifier: ISC */
/* A process's side of TLS: what the keeper sends, and what it is asked. */
#include "tls_private.h"

#include "mem.h"

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

/* -- certificates and ticket keys ---------------------------------------------------------- */

static void on_certificate(struct tls *tls, struct channel *keeper, const struct msg_certificate *m)
{
	const char *why = NULL;

	if (tls->arrived++ == IDENTITIES_MAX)
		channel_end(keeper, "sends more certificates than there can be");
	else if (!identities_add(tls, &tls->next, m, &why))
		log_error(tls->log, "tls %.*s: OpenSSL refuses the certificate: %s",
			  (int)m->name.len, m->name.data, why);
}

/* Handshakes under way keep the contexts that they began with. */
static void on_certificates_end(struct tls *tls)
{
	identities_free(&tls->now);
	tls->now = tls->next;
	tls->next.count = tls->arrived = 0;
	tls->current = true;
	tls->changed(tls->owner);
}

static void on_ticket_keys(struct tls *tls, const struct msg_ticket_keys *m)
{
	struct wire_list list = m->keys;
	struct rec_ticket_key r;

	tls->ticket_count = 0;
	while (tls->ticket_count < TICKET_KEYS && list_next_ticket_key(&list, &r)) {
		struct ticket_key *key = &tls->tickets[tls->ticket_count];

		if (r.name.len != sizeof key->name || r.cipher.len != sizeof key->cipher ||
		    r.mac.len != sizeof key->mac)
			return;
		memcpy(key->name, r.name.data, sizeof key->name);
		memcpy(key->cipher, r.cipher.data, sizeof key->cipher);
		memcpy(key->mac, r.mac.data, sizeof key->mac);
		tls->ticket_count++;
	}
}

void tls_serve(struct tls *tls, struct channel *keeper, const struct message *m)
{
	if (m->type == MSG_signature)
		tls_remote_signature(&tls->remote, &m->signature);
	else if (m->type == MSG_certificate)
		on_certificate(tls, keeper, &m->certificate);
	else if (m->type == MSG_certificates_end)
		on_certificates_end(tls);
	else if (m->type == MSG_ticket_keys)
		on_ticket_keys(tls, &m->ticket_keys);
}

void tls_set_keeper(struct tls *tls, struct channel *keeper)
{
	/* A new one numbers its keys anew, and says so when it has read them. */
	tls->current = false;
	tls_remote_keeper(&tls->remote, keeper);
	identities_free(&tls->next);
	tls->arrived = 0;
	tls->changed(tls->owner);
}

bool tls_is_ready(const struct tls *tls)
{
	return tls && tls->remote.keeper && tls->current && tls->now.count;
}

/* -- the process ---------------------------------------------------------------------------- */

/*
 * What OpenSSL fetches, computes or opens at first use happens here, outside of the jail: its
 * algorithms, random numbers, error texts. The system's openssl.cnf is not read: what is spoken
 * here is in our own configuration.
 */
bool tls_openssl_begin(void)
{
	uint8_t random[32];
	SSL_CTX *context;

	if (!OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS, NULL))
		return false;
	context = SSL_CTX_new(TLS_server_method());
	if (!context)
		return false;
	SSL_free(SSL_new(context));
	SSL_CTX_free(context);
	return RAND_bytes(random, sizeof random) == 1 && RAND_priv_bytes(random, 32) == 1 &&
	       ASYNC_init_thread(0, 0);
}

struct tls *tls_new(struct loop *loop, struct log *log, void (*changed)(void *owner), void *owner)
{
	struct tls_provider *provider = tls_openssl_begin() ? tls_provider_new() : NULL;
	BIO_METHOD *wire = provider ? tls_wire_method() : NULL;

	if (!wire) {
		log_error(log, "OpenSSL cannot be used: %s",
			  ERR_reason_error_string(ERR_peek_error()));
		return NULL;
	}
	struct tls *tls = mem_new(1, sizeof *tls);

	tls_remote_init(&tls->remote);
	tls->loop = loop;
	tls->log = log;
	tls->provider = provider;
	tls->wire = wire;
	tls->changed = changed;
	tls->owner = owner;
	return tls;
}
