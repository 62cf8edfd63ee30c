/* SPDX-License-Identifier: ISC */
/* Sessions of a client, for the next connection with the same wish: the latest of each. */
#include "tls_private.h"

#include "clock.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum {
	BUCKETS = 2048,
	SESSIONS_MAX = 8192, /* of about 8 KB each, the receiver's certificates included */
	LIFETIME_S = 3600,
};

struct kept {
	LIST_ENTRY(kept) bucket;
	TAILQ_ENTRY(kept) age; /* the newest last */
	uint8_t key[TLS_KEY_BYTES];
	SSL_SESSION *session;
	enum tls_proof proof;
	struct monotime until;
};

struct tls_sessions {
	LIST_HEAD(, kept) buckets[BUCKETS];
	TAILQ_HEAD(, kept) all;
	size_t count;
};

struct tls_sessions *tls_sessions_new(void)
{
	struct tls_sessions *s = mem_new(1, sizeof *s);

	TAILQ_INIT(&s->all);
	return s;
}

/* A key is a hash already. */
static size_t bucket_of(const uint8_t *key)
{
	return ((size_t)key[0] << 8 | key[1]) % BUCKETS;
}

static struct kept *find(const struct tls_sessions *s, const uint8_t *key)
{
	struct kept *k;

	LIST_FOREACH(k, &s->buckets[bucket_of(key)], bucket)
	if (memcmp(k->key, key, sizeof k->key) == 0)
		return k;
	return NULL;
}

static void drop(struct tls_sessions *s, struct kept *k)
{
	LIST_REMOVE(k, bucket);
	TAILQ_REMOVE(&s->all, k, age);
	s->count--;
	SSL_SESSION_free(k->session);
	free(k);
}

void tls_sessions_clear(struct tls_sessions *s)
{
	struct kept *k;

	while ((k = TAILQ_FIRST(&s->all)))
		drop(s, k);
}

void tls_session_put(struct tls_sessions *s, const uint8_t *key, SSL_SESSION *session,
		     enum tls_proof proof)
{
	struct kept *k = find(s, key);

	if (k)
		drop(s, k);
	else if (s->count == SESSIONS_MAX)
		drop(s, TAILQ_FIRST(&s->all));
	k = mem_new(1, sizeof *k);
	memcpy(k->key, key, sizeof k->key);
	k->session = session;
	k->proof = proof;
	k->until = monotime_add(monotime_read(), SECONDS(LIFETIME_S));
	LIST_INSERT_HEAD(&s->buckets[bucket_of(key)], k, bucket);
	TAILQ_INSERT_TAIL(&s->all, k, age);
	s->count++;
}

SSL_SESSION *tls_session_take(struct tls_sessions *s, const uint8_t *key, enum tls_proof *proof)
{
	struct kept *k = find(s, key);

	if (!k)
		return NULL;
	if (monotime_read().us >= k->until.us) {
		drop(s, k);
		return NULL;
	}
	/*
	 * RFC 8446 C.4 would have a ticket used once, lest a client be followed from place to
	 * place. A mail server stays at its address, opens many connections at once, and meets
	 * receivers that give no new ticket for an old one. OpenSSL spoils what was used: it gets a
	 * copy.
	 */
	*proof = k->proof;
	return SSL_SESSION_dup(k->session);
}
