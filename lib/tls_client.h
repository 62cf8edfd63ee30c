/* SPDX-License-Identifier: ISC */
/*
 * TLS as a client speaks it: what a process needs for all its connections,
 * and what is wished of one. Sessions are kept for the next connection with
 * exactly the same wish, and for no other. A connection itself is in
 * tls_link.h.
 */
#ifndef LIB_TLS_CLIENT_H
#define LIB_TLS_CLIENT_H

#include "channel.h"
#include "log.h"
#include "tls_facts.h"

#include <stdbool.h>
#include <stdint.h>

struct tls_client;
struct tls_link;

enum { TLS_TLSA_MAX = 16, TLS_NAMES_MAX = 64 };

/* What the receiver has to prove. */
enum tls_proof_wanted {
	TLS_PROVE_NOTHING,     /* encrypted, with whomever */
	TLS_PROVE_CHAIN,       /* a chain to an authority, and one of the names */
	TLS_PROVE_DANE,	       /* one of the TLSA records (RFC 6698, 7671, 7672) */
	TLS_PROVE_FINGERPRINT, /* one of the digests, of its certificate or its public key */
};

/* As in DNS; the usages 0 and 1 are nothing to us (RFC 7672 section 3.1.3). */
struct tls_tlsa {
	uint8_t usage, selector, matching;
	struct text data;
};

/* Texts need live only as long as the call. */
struct tls_wish {
	enum tls_proof_wanted proof;
	unsigned policy;  /* the caller's: parts wishes that are else alike */
	struct text peer; /* what tells it from other peers: address and port */
	struct text name; /* asked for (SNI); empty: none is */
	/* Of which the certificate must bear one; .example.net is any name below it. */
	struct text names[TLS_NAMES_MAX];
	size_t name_count;
	struct text base; /* TLSA: where the records stand; a name that counts, too */
	struct tls_tlsa tlsa[TLS_TLSA_MAX];
	size_t tlsa_count;
	struct text certificate; /* of ours that is shown when asked for; empty: none */
	bool note; /* with TLS_PROVE_NOTHING: chain and names are looked at, for tls_facts */
	struct text fingerprints[TLS_NAMES_MAX]; /* SHA-256, 64 hexadecimal digits in lower case */
	size_t fingerprint_count;
};

/* Before the jail. NULL: OpenSSL refuses; the log says why. Lives as long as the process. */
struct tls_client *tls_client_new(struct log *log);

/*
 * Whom chains may lead to, as PEM; replaces what was there. Sessions are
 * forgotten. Returns how many there are.
 */
size_t tls_client_trust(struct tls_client *client, struct text pem);

/* Is the record one that can match anything (RFC 7671 section 5, RFC 7672 section 3.1)? */
bool tls_tlsa_is_usable(const struct tls_tlsa *r);

/* The channel to the keeper, or NULL when it ended: handshakes that wait for it fail. */
void tls_client_keeper(struct tls_client *client, struct channel *keeper);
/* What the keeper says: certificate, certificates_end, signature; others are ignored. */
void tls_client_serve(struct tls_client *client, struct channel *keeper, const struct message *m);
/* Has the keeper said which certificates of ours there are? Is there one of that NAME? */
bool tls_client_is_told(const struct tls_client *client);
bool tls_client_has(const struct tls_client *client, struct text name);

/*
 * The client's side over FD, which stays the owner's. NULL: OpenSSL refuses.
 * WOKEN is as in tls_link_accept(), of a wish with a certificate.
 * With TLSA records none of which OpenSSL can use nothing is proved, and
 * tls_facts says so.
 */
struct tls_link *tls_link_connect(struct tls_client *client, int fd, const struct tls_wish *wish,
				  void (*woken)(void *arg), void *arg);

#endif
