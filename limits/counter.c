/* SPDX-License-Identifier: ISC */
/*
 * Two chained hash tables of one shape: clients by address, sessions by
 * number. Addresses are a stranger's choice, so the hash is keyed.
 */
#include "counter.h"

#include "host_address.h"
#include "mem.h"
#include "must.h"
#include "siphash.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 64 };

struct node {
	struct node *next;
	uint64_t hash;
};

struct table {
	struct node **buckets;
	size_t size, count; /* size is a power of two */
};

struct client {
	struct node node;
	uint8_t address[16]; /* masked */
	uint32_t count;
};

struct session {
	struct node node;
	uint64_t number;
	struct client *client;
};

struct counter {
	struct table clients;
	uint8_t key[SIPHASH_KEY_BYTES];
};

struct holder {
	struct counter *counter;
	struct table sessions;
};

static void table_resize(struct table *t, size_t size)
{
	struct node **buckets = mem_new(size, sizeof(struct node *));

	for (size_t i = 0; i < t->size; i++) {
		for (struct node *n = t->buckets[i]; n;) {
			struct node *next = n->next;

			n->next = buckets[n->hash & (size - 1)];
			buckets[n->hash & (size - 1)] = n;
			n = next;
		}
	}
	free(t->buckets);
	t->buckets = buckets;
	t->size = size;
}

static struct node **table_bucket(const struct table *t, uint64_t hash)
{
	return &t->buckets[hash & (t->size - 1)];
}

static void table_add(struct table *t, struct node *n)
{
	if (t->count >= t->size)
		table_resize(t, t->size * 2);
	struct node **bucket = table_bucket(t, n->hash);

	n->next = *bucket;
	*bucket = n;
	t->count++;
}

/* Takes the node out that *AT points to, and frees it. */
static void table_drop(struct table *t, struct node **at)
{
	struct node *n = *at;

	must(n);
	*at = n->next;
	free(n);
	t->count--;
	if (t->size > BUCKETS_FIRST && t->count < t->size / 8)
		table_resize(t, t->size / 2);
}

struct counter *counter_new(const uint8_t *key)
{
	struct counter *c = mem_new(1, sizeof *c);

	memcpy(c->key, key, sizeof c->key);
	table_resize(&c->clients, BUCKETS_FIRST);
	return c;
}

static void table_free(struct table *t)
{
	for (size_t i = 0; i < t->size; i++) {
		for (struct node *n = t->buckets[i]; n;) {
			struct node *next = n->next;

			free(n);
			n = next;
		}
	}
	free(t->buckets);
}

void counter_free(struct counter **counter)
{
	if (!*counter)
		return;
	table_free(&(*counter)->clients);
	free(*counter);
	*counter = NULL;
}

size_t counter_clients(const struct counter *c)
{
	return c->clients.count;
}

struct holder *holder_new(struct counter *counter)
{
	struct holder *h = mem_new(1, sizeof *h);

	h->counter = counter;
	table_resize(&h->sessions, BUCKETS_FIRST);
	return h;
}

size_t holder_sessions(const struct holder *h)
{
	return h->sessions.count;
}

/* An IPv6 client owns its whole /64 and can take a new address for each connection. */
static void address_mask(const uint8_t *address, uint8_t *masked)
{
	memset(masked, 0, 16);
	memcpy(masked, address, host_address_is_ipv4(address) ? 16 : 8);
}

/* Where the client's node hangs, or where the chain ends. */
static struct node **client_find(struct counter *c, const uint8_t *masked, uint64_t hash)
{
	struct node **at = table_bucket(&c->clients, hash);

	while (*at && memcmp(((struct client *)*at)->address, masked, 16) != 0)
		at = &(*at)->next;
	return at;
}

static uint64_t session_hash(const struct holder *h, uint64_t session)
{
	return siphash(h->counter->key, &session, sizeof session);
}

static struct node **session_find(struct holder *h, uint64_t session)
{
	struct node **at = table_bucket(&h->sessions, session_hash(h, session));

	while (*at && ((struct session *)*at)->number != session)
		at = &(*at)->next;
	return at;
}

static struct client *client_take(struct counter *c, const uint8_t *masked)
{
	uint64_t hash = siphash(c->key, masked, 16);
	struct client *client = (struct client *)*client_find(c, masked, hash);

	if (!client) {
		client = mem_new(1, sizeof *client);
		client->node.hash = hash;
		memcpy(client->address, masked, 16);
		table_add(&c->clients, &client->node);
	}
	client->count++;
	return client;
}

static void client_give_back(struct counter *c, struct client *client)
{
	if (--client->count == 0)
		table_drop(&c->clients, client_find(c, client->address, client->node.hash));
}

enum counter_verdict holder_open(struct holder *h, uint64_t number, const uint8_t *address,
				 uint32_t limit, uint32_t *count)
{
	uint8_t masked[16];

	*count = 0;
	if (h->sessions.count >= HOLDER_SESSIONS_MAX || *session_find(h, number))
		return COUNTER_BROKEN;
	address_mask(address, masked);
	const struct client *known = (const struct client *)*client_find(
	    h->counter, masked, siphash(h->counter->key, masked, 16));

	*count = known ? known->count : 0;
	if (*count >= limit)
		return COUNTER_REFUSED;
	struct session *s = mem_new(1, sizeof *s);

	s->number = number;
	s->node.hash = session_hash(h, number);
	s->client = client_take(h->counter, masked);
	*count = s->client->count;
	table_add(&h->sessions, &s->node);
	return COUNTER_TAKEN;
}

bool holder_close(struct holder *h, uint64_t number)
{
	struct node **at = session_find(h, number);

	if (!*at)
		return false;
	client_give_back(h->counter, ((struct session *)*at)->client);
	table_drop(&h->sessions, at);
	return true;
}

void holder_free(struct holder **holder)
{
	struct holder *h = *holder;

	if (!h)
		return;
	for (size_t i = 0; i < h->sessions.size; i++)
		for (const struct node *n = h->sessions.buckets[i]; n; n = n->next)
			client_give_back(h->counter, ((const struct session *)n)->client);
	table_free(&h->sessions);
	free(h);
	*holder = NULL;
}
