/* SPDX-License-Identifier: ISC */
/* Failures and the waiting that follows from them. */
#include "guesses.h"

#include "config.h"
#include "mem.h"
#include "siphash.h"

#include <stdlib.h>
#include <string.h>

enum {
	WAYS = 4,
	SETS = 16384, /* a power of two */
	NAME_MAX_BYTES = 256,
	HALF_LIFE_S = 600,
	SPACING_FIRST_MS = 500,
	SPACING_MOST_MS = 10000,
	NAME_FIRST_MS = 250,
	NAME_MOST_MS = 5000,
	FAILURES_MOST = 1000,
};

struct entry {
	uint64_t key; /* 0: free */
	struct monotime used, counted;
	struct monotime busy_until; /* the next attempt's turn */
	float failures;		    /* as of counted */
};

struct table {
	struct entry sets[SETS][WAYS];
};

struct guesses {
	struct table *clients, *names, *pairs;
	uint8_t key[SIPHASH_KEY_BYTES];
};

struct guesses *guesses_new(const uint8_t *key)
{
	struct guesses *g = mem_new(1, sizeof *g);

	memcpy(g->key, key, sizeof g->key);
	g->clients = mem_new(1, sizeof *g->clients);
	g->names = mem_new(1, sizeof *g->names);
	g->pairs = mem_new(1, sizeof *g->pairs);
	return g;
}

void guesses_free(struct guesses **g)
{
	if (!*g)
		return;
	free((*g)->clients);
	free((*g)->names);
	free((*g)->pairs);
	free(*g);
	*g = NULL;
}

/* -- tables ------------------------------------------------------------------------- */

static struct entry *entry_find(struct table *t, uint64_t key)
{
	struct entry *set = t->sets[key & (SETS - 1)];

	for (int i = 0; i < WAYS; i++)
		if (set[i].key == key)
			return &set[i];
	return NULL;
}

/* The one that is there, or a fresh one in place of the one unused for longest. */
static struct entry *entry_take(struct table *t, uint64_t key, struct monotime now)
{
	struct entry *set = t->sets[key & (SETS - 1)], *e = entry_find(t, key);

	for (int i = 0; i < WAYS && !e; i++)
		if (!set[i].key)
			e = &set[i];
	if (!e) {
		e = &set[0];
		for (int i = 1; i < WAYS; i++)
			if (set[i].used.us < e->used.us)
				e = &set[i];
	}
	if (e->key != key)
		*e = (struct entry){.key = key, .counted = now};
	e->used = now;
	return e;
}

static uint64_t hash(const struct guesses *g, const void *data, size_t len)
{
	uint64_t h = siphash(g->key, data, len);

	return h ? h : 1;
}

uint64_t guesses_client(const struct guesses *g, const uint8_t *address)
{
	return hash(g, address, host_address_is_ipv4(address) ? 16 : 8);
}

/* Names differ in case and are the same. A pair's hash begins with its client. */
static uint64_t name_hash(const struct guesses *g, uint64_t client, struct text name)
{
	uint8_t text[sizeof client + NAME_MAX_BYTES];
	size_t n = name.len < NAME_MAX_BYTES ? name.len : NAME_MAX_BYTES;

	memcpy(text, &client, sizeof client);
	for (size_t i = 0; i < n; i++)
		text[sizeof client + i] = (uint8_t)ascii_lower(name.data[i]);
	return hash(g, text, sizeof client + n);
}

/* -- failures --------------------------------------------------------------------------- */

static void decay(struct entry *e, struct monotime now)
{
	int64_t us = monotime_since(now, e->counted).us, half = SECONDS(HALF_LIFE_S).us;

	for (; us >= half && e->failures > 0; us -= half) {
		e->failures = e->failures < 0.1F ? 0 : e->failures / 2;
		e->counted.us += half;
	}
	/* Within a half-life a straight line is near enough. */
	e->failures -= e->failures * 0.5F * ((float)us / (float)half);
	e->counted = now;
}

static struct duration wait_for(float failures, int64_t first_ms, int64_t most_ms)
{
	int64_t ms = first_ms;

	if (failures < GUESSES_FREE)
		return MILLISECONDS(0);
	for (int i = (int)failures - GUESSES_FREE; i > 0 && ms < most_ms; i--)
		ms *= 2;
	return MILLISECONDS(ms < most_ms ? ms : most_ms);
}

/* One after the other: the wait until this one's turn, negative when it is too far away. */
static struct duration turn_take(struct entry *e, struct monotime now)
{
	decay(e, now);
	struct duration spacing = wait_for(e->failures, SPACING_FIRST_MS, SPACING_MOST_MS);
	struct monotime turn = e->busy_until.us > now.us ? e->busy_until : now;

	if (!spacing.us && turn.us == now.us)
		return spacing;
	turn = monotime_add(turn, spacing);
	struct duration wait = monotime_since(turn, now);

	if (seconds_of(wait) >= GUESSES_WAIT_MOST_S)
		return (struct duration){-1};
	e->busy_until = turn;
	return wait;
}

static struct entry *pair_find(struct guesses *g, struct monotime now, uint64_t client,
			       struct text name)
{
	struct entry *e = name.len ? entry_find(g->pairs, name_hash(g, client, name)) : NULL;

	if (e && seconds_of(monotime_since(now, e->used)) > GUESSES_KNOWN_DAYS * 86400LL)
		return NULL;
	return e;
}

bool guesses_knows(struct guesses *g, struct monotime now, uint64_t client, struct text name)
{
	return pair_find(g, now, client, name) != NULL;
}

struct duration guesses_admit(struct guesses *g, struct monotime now, uint64_t client,
			      struct text name)
{
	struct entry *pair = pair_find(g, now, client, name);

	if (pair)
		return turn_take(pair, now);
	struct duration turn = {0}, name_wait = {0};
	struct entry *of_client = entry_find(g->clients, client);
	struct entry *of_name = name.len ? entry_find(g->names, name_hash(g, 0, name)) : NULL;

	if (of_client)
		turn = turn_take(of_client, now);
	if (of_name) {
		decay(of_name, now);
		name_wait = wait_for(of_name->failures, NAME_FIRST_MS, NAME_MOST_MS);
	}
	return turn.us < 0 || turn.us > name_wait.us ? turn : name_wait;
}

static unsigned count(struct entry *e, struct monotime now)
{
	decay(e, now);
	e->used = now;
	if (e->failures < FAILURES_MOST)
		e->failures += 1;
	return (unsigned)(e->failures + 0.5F);
}

unsigned guesses_failed(struct guesses *g, struct monotime now, uint64_t client, struct text name)
{
	struct entry *pair = pair_find(g, now, client, name);

	/* Its use is its last good login: failures do not make it last. */
	if (pair) {
		struct monotime used = pair->used;
		unsigned n = count(pair, now);

		pair->used = used;
		return n;
	}
	/* What gives no name is nobody's failure but the client's. */
	unsigned of_name =
	    name.len ? count(entry_take(g->names, name_hash(g, 0, name), now), now) : 0;
	unsigned of_client = count(entry_take(g->clients, client, now), now);

	return of_name > of_client ? of_name : of_client;
}

void guesses_succeeded(struct guesses *g, struct monotime now, uint64_t client, struct text name)
{
	struct entry *e = entry_take(g->pairs, name_hash(g, client, name), now);

	e->failures = 0;
}
