/* SPDX-License-Identifier: ISC */
/* Inside TLS: what the files of lib/tls_*.c share. Nobody else includes this. */
#ifndef LIB_TLS_PRIVATE_H
#define LIB_TLS_PRIVATE_H

#include "bytes.h"
#include "tls_client.h"
#include "tls_link.h"
#include "tls_provider.h"

#include <openssl/ssl.h>

enum { IDENTITIES_MAX = 256, TICKET_KEYS = 2, TLS_KEY_BYTES = 32 };

/* All that is shown under the name of a tls block: its certificates, one of each kind. */
struct identity {
	char *name;
	SSL_CTX *context;
};

struct identities {
	struct identity at[IDENTITIES_MAX];
	size_t count;
};

struct ticket_key {
	uint8_t name[16], cipher[32], mac[32];
};

/* A signature that is waited for; on the stack of its handshake. */
struct signature_query {
	struct signature_query *next, **prev;
	struct tls_link *link;
	uint64_t number;
	uint8_t *to;
	size_t len; /* of the signature; 0: refused */
	bool done;
};

/* What is asked of the keeper, by links of servers or of a client. */
struct tls_remote {
	struct tls_signer signer; /* first: what keys call */
	struct channel *keeper;
	struct signature_query *waiting, **waiting_last;
	uint64_t queries;
	struct tls_link *running; /* whose handshake is being computed */
};

void tls_remote_init(struct tls_remote *remote);
/* Another keeper, or none (NULL): what the old one was asked it will not answer. */
void tls_remote_keeper(struct tls_remote *remote, struct channel *keeper);
void tls_remote_signature(struct tls_remote *remote, const struct msg_signature *m);
/* Nobody waits any more for what LINK waits for. */
void tls_remote_forget(struct tls_link *link);

struct tls {
	struct tls_remote remote;
	struct loop *loop;
	struct log *log;
	struct tls_provider *provider;
	BIO_METHOD *wire;
	struct identities now, next;		/* next: until certificates_end */
	size_t arrived;				/* certificates, for next */
	struct ticket_key tickets[TICKET_KEYS]; /* the first one is new tickets' */
	size_t ticket_count;
	bool current; /* NOW is of this keeper: it has those keys */
	void (*changed)(void *owner);
	void *owner;
};

struct tls_client {
	struct tls_remote remote;
	struct tls_provider *provider;
	struct identities now, next; /* our certificates; next: until certificates_end */
	size_t arrived;
	bool told; /* the keeper has said which there are */
	struct log *log;
	BIO_METHOD *wire;
	SSL_CTX *loose, *strict; /* strict: for who has to prove something */
	struct tls_sessions *sessions;
};

/* What a client wants of one connection. */
struct tls_goal {
	struct tls_client *client;
	enum tls_proof_wanted proof;
	uint8_t key[TLS_KEY_BYTES]; /* of the wish */
	uint8_t (*digests)[32];	    /* of fingerprints; owned */
	size_t digest_count;
	SSL_SESSION *fresh;   /* came before the handshake was found good; owned, or NULL */
	enum tls_proof known; /* of the session that was offered */
	bool proved;
	bool note; /* what was found goes to the facts */
};

struct tls_link {
	struct tls *tls;	   /* of a server, else NULL */
	struct tls_remote *remote; /* who has its handshake signed; NULL: nobody need */
	struct tls_goal *goal;	   /* of a client, else NULL; owned */
	enum tls_fault fault;
	SSL *ssl;
	struct bytes out; /* what OpenSSL has written and tls_link_flush() has not sent */
	int fd;
	bool readable;		       /* the socket may have something to read */
	bool at_end;		       /* it had its end to read */
	struct signature_query *query; /* NULL: waits for none */
	void (*woken)(void *arg);
	void *arg;
	struct tls_facts facts;
	char *name, *subject, *identity; /* owned, or NULL */
	const char *why;
};

/*
 * tls_identity.c: puts what the keeper sent into *ALL: another certificate for a name that is there
 * already, else a new one. False with *WHY when OpenSSL refuses it.
 */
bool identities_add(struct tls *tls, struct identities *all, const struct msg_certificate *m,
		    const char **why);
void identities_free(struct identities *all);

/* Puts the certificate of M, with a key that REMOTE signs for, and its chain into CONTEXT. */
bool identity_use_chain(struct tls_provider *provider, struct tls_remote *remote, SSL_CTX *context,
			const struct msg_certificate *m);

/* tls_wire.c: what links read and write through. NULL: OpenSSL would not have it. */
BIO_METHOD *tls_wire_method(void);
bool tls_wire_put(struct tls_link *link, const BIO_METHOD *wire);

/* The one that fits NAME best: its own, its wildcard's, else the first. NULL: there is none. */
SSL_CTX *identities_find(const struct identities *all, struct text name);

/* tls.c: what OpenSSL fetches, computes or opens at first use. */
bool tls_openssl_begin(void);

/* tls_client.c. The handshake is done: TLS_FINE or TLS_BROKEN; it failed: why. */
enum tls_result tls_goal_judge(struct tls_link *link);
void tls_goal_failed(struct tls_link *link);
void tls_goal_free(struct tls_goal **goal); /* takes NULL, leaves NULL */

/* tls_sessions.c. KEY has TLS_KEY_BYTES. */
struct tls_sessions;
struct tls_sessions *tls_sessions_new(void);
void tls_sessions_clear(struct tls_sessions *s);
/* Takes over SESSION. */
void tls_session_put(struct tls_sessions *s, const uint8_t *key, SSL_SESSION *session,
		     enum tls_proof proof);
/* A copy, the caller's to free; NULL: there is none, and *PROOF stays. */
SSL_SESSION *tls_session_take(struct tls_sessions *s, const uint8_t *key, enum tls_proof *proof);

#endif
