/* SPDX-License-Identifier: ISC */
/* Names of clients: asked, remembered. */
#include "names.h"

#include "lookup.h"
#include "mem.h"
#include "siphash.h"

#include <stdlib.h>
#include <string.h>

enum {
	WAIT_S = 3,	     /* the answer; whoever asks may hold a client up that long */
	ASKED_MAX = 2048,    /* below what resolver takes of one peer before it stops reading */
	REMEMBERED = 1024,   /* a power of two */
	FOUND_S = 300,	     /* a name */
	NONE_S = 60,	     /* that there is none */
	FAILED_S = 10,	     /* that there was no answer */
	NAME_MAX_BYTES = 253 /* RFC 1035 2.3.4, in text without the last dot */
};

struct remembered {
	uint8_t address[16];
	struct monotime until; /* 0: the place is free */
	char *name;	       /* owned; NULL: it has none */
};

struct name_query {
	struct names *names;
	name_answer *answer; /* NULL: nobody wants it any more */
	void *owner;
	uint8_t address[16];
};

struct names {
	struct loop *loop;
	struct lookups *lookups;
	size_t asked;
	uint8_t key[SIPHASH_KEY_BYTES];
	struct remembered places[REMEMBERED];
};

bool name_is_host(struct text name)
{
	bool empty = true; /* the label so far */

	for (size_t i = 0; i < name.len; i++) {
		char c = name.data[i];

		if (c == '.' ? empty : !ascii_is_alnum(c) && c != '-' && c != '_')
			return false;
		empty = c == '.';
	}
	return !empty && name.len <= NAME_MAX_BYTES;
}

/* One place an address: a newer one takes it. */
static struct remembered *place_of(struct names *n, const uint8_t *address)
{
	return &n->places[siphash(n->key, address, 16) % REMEMBERED];
}

static void remember(struct names *n, const uint8_t *address, struct text name, int64_t seconds)
{
	struct remembered *r = place_of(n, address);

	free(r->name);
	memcpy(r->address, address, 16);
	r->name = name.len ? mem_copy(name.data, name.len) : NULL;
	r->until = monotime_add(loop_now(n->loop), SECONDS(seconds));
}

struct names *names_new(struct loop *loop)
{
	struct names *n = mem_new(1, sizeof *n);

	n->loop = loop;
	n->lookups = lookups_new(loop, HOP_TEMPORARY, HOP_TEMPORARY, SECONDS(WAIT_S));
	siphash_key_make(n->key);
	return n;
}

void names_open(struct names *n, struct channel *resolver)
{
	lookups_open(n->lookups, resolver);
}

void names_gone(struct names *n)
{
	lookups_gone(n->lookups);
}

void names_serve(struct names *n, const struct msg_name_is *m)
{
	lookups_serve(n->lookups, m->query, m->verdict, m->name);
}

static void answered(void *owner, uint8_t verdict, struct text name)
{
	struct name_query *q = owner;
	struct name_query done = *q;

	/* What resolver says stands in header fields and in the log. */
	if (verdict != HOP_FOUND || !name_is_host(name))
		name.len = 0;
	remember(q->names, q->address, name,
		 name.len		? FOUND_S
		 : verdict == HOP_FOUND ? NONE_S
					: FAILED_S);
	q->names->asked--;
	free(q);
	if (done.answer)
		done.answer(done.owner, name);
}

static bool is_this_machine(const uint8_t *address)
{
	static const uint8_t here[2][16] = {{[10] = 0xff, 0xff, 127, 0, 0, 1}, {[15] = 1}};

	return memcmp(address, here[0], 16) == 0 || memcmp(address, here[1], 16) == 0;
}

struct name_query *names_ask(struct names *n, const uint8_t *address, name_answer *answer,
			     void *owner)
{
	const struct remembered *r = place_of(n, address);
	bool known = r->until.us > loop_now(n->loop).us && memcmp(r->address, address, 16) == 0;

	if (known || n->asked >= ASKED_MAX || !lookups_are_open(n->lookups) ||
	    is_this_machine(address)) {
		answer(owner, known ? text_of(r->name) : (struct text){NULL, 0});
		return NULL;
	}
	struct name_query *q = mem_new(1, sizeof *q);

	*q = (struct name_query){.names = n, .answer = answer, .owner = owner};
	memcpy(q->address, address, 16);
	n->asked++;
	lookup_name(n->lookups, q->address, answered, q);
	return q;
}

void names_cancel(struct name_query **query)
{
	if (*query)
		(*query)->answer = NULL;
	*query = NULL;
}
