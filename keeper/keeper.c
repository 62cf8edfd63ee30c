/* SPDX-License-Identifier: ISC */
/*
 * keeper: holds the private keys of all certificates and signs TLS handshakes
 * with them, for processes that talk to the network and have none. It talks
 * to no network. Master hands it the files as descriptors; it hands out the
 * certificates, so that a worker never shows one whose key is not here.
 */
#include "daemon.h"
#include "demand.h"
#include "file.h"
#include "keys.h"
#include "mem.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct daemon_row row = {
    .name = "keeper",
    .kind = PEER_KEEPER,
    .user = "veredus-keeper",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "pread64",
    .peers = PEER_SMTPD | PEER_SUBMISSION | PEER_SMTP_CLIENT,
};

enum {
	BLOCKS_MAX = 256 + 64, /* as the configuration's reader has it: tls blocks, routes */
	SPEAKERS_MAX = 320,
	CHAIN_MAX = 262144,
	TICKET_HOURS_KEPT = 2,
	TICKET_SECONDS = 3600,
	/* A handshake that began with an old certificate has ended before the second round. */
	KEY_SECONDS = 60,
	BACKLOG_MAX = 256 * 1024, /* answers that a worker leaves lying, before it is heard again */
};

/* A tls block whose files are good; stays what it was while new ones are not. Blocks of one label,
 * each with a key of another kind, are told apart by their order in the configuration. */
struct block {
	char *label;
	size_t nth;		       /* among those of its label */
	struct bytes chain, client_ca; /* PEM */
	uint32_t key;		       /* 0: the block was never good */
	bool shown;		       /* to receivers, by smtp-client, and by nobody else */
	uint8_t minimum;
};

/* Files of a block, until its key comes. */
struct arrival {
	struct bytes chain, client_ca;
	bool failed;
};

struct ticket_key {
	uint8_t name[16], cipher[32], mac[32];
};

struct keeper {
	struct daemon *d;
	struct keys *keys, *shown_keys; /* apart: who may use the ones has no way to the others */
	struct block blocks[BLOCKS_MAX];
	size_t block_count;
	struct arrival arrivals[BLOCKS_MAX];
	struct ticket_key tickets[TICKET_HOURS_KEPT]; /* the first one is the newest */
	size_t ticket_count;
	struct channel *speakers[SPEAKERS_MAX];
	size_t speaker_count;
	struct turn_end publish;
	struct timer hour, forget;
	bool settled; /* all files of the start have been looked at */
};

/* -- handing out -------------------------------------------------------------------------- */

static void send_tickets(const struct keeper *self, struct channel *to)
{
	struct bytes items = {0};

	if (channel_peer(to) == PEER_SMTP_CLIENT)
		return; /* it takes no connection */

	for (size_t i = 0; i < self->ticket_count; i++) {
		const struct ticket_key *key = &self->tickets[i];

		rec_ticket_key_encode(&items,
				      &(struct rec_ticket_key){
					  .name = {(const char *)key->name, sizeof key->name},
					  .cipher = {(const char *)key->cipher, sizeof key->cipher},
					  .mac = {(const char *)key->mac, sizeof key->mac},
				      });
	}
	channel_send_ticket_keys(
	    to, &(struct msg_ticket_keys){{(uint32_t)self->ticket_count, bytes_text(&items)}});
	OPENSSL_cleanse(items.data, items.size);
	bytes_free(&items);
}

static void send_certificates(const struct keeper *self, struct channel *to)
{
	uint32_t count = 0;

	for (size_t i = 0; i < self->block_count; i++) {
		const struct block *b = &self->blocks[i];

		if (!b->key || b->shown != (channel_peer(to) == PEER_SMTP_CLIENT))
			continue;
		channel_send_certificate(to, &(struct msg_certificate){
						 .name = text_of(b->label),
						 .key = b->key,
						 .minimum = b->minimum,
						 .chain = bytes_text(&b->chain),
						 .client_ca = bytes_text(&b->client_ca),
					     });
		count++;
	}
	channel_send_certificates_end(to, &(struct msg_certificates_end){count});
}

static void publish(void *arg)
{
	const struct keeper *self = arg;

	for (size_t i = 0; i < self->speaker_count; i++)
		send_certificates(self, self->speakers[i]);
}

static void publish_soon(struct keeper *self)
{
	turn_end_schedule(&self->publish, self->d->loop, publish, self);
}

/* -- tickets ------------------------------------------------------------------------------- */

static void ticket_new(void *arg)
{
	struct keeper *self = arg;
	struct ticket_key key;

	timer_set(&self->hour, SECONDS(TICKET_SECONDS));
	if (RAND_bytes(key.name, sizeof key.name) != 1 ||
	    RAND_priv_bytes(key.cipher, sizeof key.cipher) != 1 ||
	    RAND_priv_bytes(key.mac, sizeof key.mac) != 1) {
		log_error(self->d->log, "no random numbers for a new ticket key");
		return;
	}
	memmove(&self->tickets[1], &self->tickets[0],
		sizeof self->tickets - sizeof self->tickets[0]);
	self->tickets[0] = key;
	OPENSSL_cleanse(&key, sizeof key);
	if (self->ticket_count < TICKET_HOURS_KEPT)
		self->ticket_count++;
	for (size_t i = 0; i < self->speaker_count; i++)
		send_tickets(self, self->speakers[i]);
}

/* -- files ----------------------------------------------------------------------------------- */

static void forget(void *arg)
{
	struct keeper *self = arg;

	keys_forget(self->keys);
	keys_forget(self->shown_keys);
	timer_set(&self->forget, SECONDS(KEY_SECONDS));
}

static struct keys *keys_for(const struct keeper *self, bool shown)
{
	return shown ? self->shown_keys : self->keys;
}

static void block_free(struct keeper *self, struct block *b)
{
	keys_retire(keys_for(self, b->shown), b->key);
	free(b->label);
	bytes_free(&b->chain);
	bytes_free(&b->client_ca);
	*b = (struct block){0};
}

static size_t nth_of(const struct config *config, size_t index)
{
	size_t nth = 0;

	for (size_t i = 0; i < index; i++)
		nth += text_equal(config_certificate(config, i)->label,
				  config_certificate(config, index)->label);
	return nth;
}

static struct block *block_of(struct keeper *self, size_t index)
{
	const struct config *config = self->d->config;
	struct text label = config_certificate(config, index)->label;
	size_t nth = nth_of(config, index);

	for (size_t i = 0; i < self->block_count; i++)
		if (text_equals(label, self->blocks[i].label) && self->blocks[i].nth == nth)
			return &self->blocks[i];
	if (self->block_count == BLOCKS_MAX)
		return NULL;
	struct block *b = &self->blocks[self->block_count++];

	b->label = mem_copy(label.data, label.len);
	b->nth = nth;
	b->shown = index >= config->tls_count;
	return b;
}

static const struct config_tls *config_block(const struct config *config, const struct block *b)
{
	size_t nth = 0;

	for (size_t i = 0; i < config_certificates(config); i++)
		if (text_equals(config_certificate(config, i)->label, b->label) && nth++ == b->nth)
			return config_certificate(config, i);
	return NULL;
}

/* Those that the configuration no longer names go; first stands whom a stranger's SNI gets. */
static void blocks_arrange(struct keeper *self)
{
	const struct config *config = self->d->config;
	size_t kept = 0;

	for (size_t i = 0; i < self->block_count; i++) {
		struct block *b = &self->blocks[i];
		const struct config_tls *named = config_block(config, b);

		if (!named) {
			block_free(self, b);
			continue;
		}
		b->minimum = named->minimum;
		struct block one = *b;

		*b = (struct block){0};
		self->blocks[kept++] = one;
		if (text_equals(config->hostname, one.label)) {
			memmove(&self->blocks[1], &self->blocks[0], (kept - 1) * sizeof one);
			self->blocks[0] = one;
		}
	}
	self->block_count = kept;
}

static void arrival_free(struct arrival *a)
{
	bytes_free(&a->chain);
	bytes_free(&a->client_ca);
	a->failed = false;
}

/* The key is the last of a block's files. */
static void key_arrived(struct keeper *self, size_t index, struct arrival *a, int fd)
{
	const struct config *config = self->d->config;
	const struct config_tls *named = config_certificate(config, index);
	struct keys *keys = keys_for(self, index >= config->tls_count);
	const char *why = "its files cannot be read";
	uint32_t number = 0;

	if (a->failed || !bytes_len(&a->chain))
		close(fd);
	else
		number = keys_take(keys, fd, bytes_text(&a->chain), &why);
	struct block *b = number ? block_of(self, index) : NULL;

	if (!b) {
		log_error(self->d->log, "tls %.*s: %s; what was there before stays",
			  (int)named->label.len, named->label.data, why);
		keys_retire(keys, number);
		return;
	}
	keys_retire(keys, b->key);
	bytes_free(&b->chain);
	bytes_free(&b->client_ca);
	b->chain = a->chain;
	b->client_ca = a->client_ca;
	b->key = number;
	b->minimum = named->minimum;
	*a = (struct arrival){0};
	publish_soon(self);
}

static void keeper_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	struct keeper *self = d->self;

	if (m->index >= config_certificates(d->config) || m->index >= BLOCKS_MAX) {
		close(fd);
		return;
	}
	struct arrival *a = &self->arrivals[m->index];

	switch (m->role) {
	case HANDLE_TLS_CERTIFICATE:
		arrival_free(a);
		a->failed = !file_take(fd, CHAIN_MAX, &a->chain);
		return;
	case HANDLE_TLS_CLIENT_CA:
		a->failed = !file_take(fd, CHAIN_MAX, &a->client_ca) || a->failed;
		return;
	case HANDLE_TLS_KEY:
		key_arrived(self, m->index, a, fd);
		arrival_free(a);
		return;
	default:
		close(fd);
	}
}

/* -- neighbours ---------------------------------------------------------------------------------
 */

static void answers_read(struct channel *c)
{
	channel_resume(c);
}

static void on_sign(struct channel *c, const struct message *m)
{
	struct keeper *self = daemon_of(c)->self;
	uint8_t signature[SIGNATURE_MAX];
	struct text to = {(const char *)signature, 0};

	bool client = channel_peer(c) == PEER_SMTP_CLIENT;
	enum demand demand = demand_read(m->sign.scheme, m->sign.text);

	if (demand == DEMAND_NONE || (demand == DEMAND_CLIENT) != client) {
		/* No worker of ours ever asks so. */
		channel_end(c, "asked for a signature under what is no TLS handshake");
		return;
	}
	to.len =
	    keys_sign(keys_for(self, client), m->sign.key, m->sign.scheme, m->sign.text, signature);
	channel_send_signature(c, &(struct msg_signature){m->sign.query, to});
	if (channel_backlog(c) > BACKLOG_MAX) {
		channel_pause(c);
		channel_when_drained(c, BACKLOG_MAX / 2, answers_read);
	}
}

static const struct serve serves[] = {
    {MSG_sign, PEER_SMTPD | PEER_SUBMISSION | PEER_SMTP_CLIENT, on_sign},
    {MSG_NONE, 0, NULL},
};

static void keeper_peer(struct daemon *d, struct channel *c)
{
	struct keeper *self = d->self;

	if (self->speaker_count == SPEAKERS_MAX) {
		channel_end(c, "there are too many");
		return;
	}
	self->speakers[self->speaker_count++] = c;
	send_tickets(self, c);
	if (self->settled)
		send_certificates(self, c);
}

static void keeper_gone(struct daemon *d, struct channel *c)
{
	struct keeper *self = d->self;

	for (size_t i = 0; i < self->speaker_count; i++)
		if (self->speakers[i] == c) {
			self->speakers[i] = self->speakers[--self->speaker_count];
			return;
		}
}

/* -- life
 * ------------------------------------------------------------------------------------------ */

static void keeper_warm_up(struct daemon *d)
{
	struct keeper *self = mem_new(1, sizeof *self);
	EVP_PKEY *sample;

	d->self = self;
	self->d = d;
	self->keys = keys_new((uint32_t)d->epoch);
	self->shown_keys = keys_new((uint32_t)d->epoch);
	/* The system's openssl.cnf is not read; random numbers and algorithms are there from now
	 * on. */
	OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
	sample = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	EVP_PKEY_free(sample);
	timer_init(&self->hour, d->loop, ticket_new, self);
	timer_init(&self->forget, d->loop, forget, self);
	ticket_new(self);
	timer_set(&self->forget, SECONDS(KEY_SECONDS));
}

static void keeper_settled(struct daemon *d)
{
	struct keeper *self = d->self;

	self->settled = true;
	blocks_arrange(self);
	publish_soon(self);
}

static const struct daemon_face face = {
    .warm_up = keeper_warm_up,
    .start = keeper_settled,
    .reload = keeper_settled,
    .handle = keeper_handle,
    .peer = keeper_peer,
    .gone = keeper_gone,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
