/* SPDX-License-Identifier: ISC */
/* Asking table, and remembering what it said. */
#include "answers.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum { PLACES = 64 };

struct answer {
	struct answer *next;   /* in its place, */
	struct answer *wanted; /* and of those that are to be asked for */
	struct answers *all;
	struct lookup *lookup; /* NULL unless it is under way */
	char *value;	       /* owned; NULL: it is empty */
	size_t value_len, table_len, key_len;
	enum table_verdict verdict;
	char texts[]; /* table and key */
};

struct answers {
	struct lookups *lookups;
	answers_ready *ready;
	void *owner;
	struct answer *places[PLACES];
	struct answer *wanted;
	size_t count, bytes;
	uint32_t open; /* questions that were put */
	bool asking;   /* answers_ask() runs */
	bool too_many;
};

struct answers *answers_new(struct lookups *lookups, answers_ready *ready, void *owner)
{
	struct answers *a = mem_new(1, sizeof *a);

	a->lookups = lookups;
	a->ready = ready;
	a->owner = owner;
	return a;
}

void answers_free(struct answers **answers)
{
	struct answers *a = *answers;

	*answers = NULL;
	for (size_t i = 0; a && i < PLACES; i++)
		while (a->places[i]) {
			struct answer *q = a->places[i];

			a->places[i] = q->next;
			lookup_cancel(&q->lookup);
			free(q->value);
			free(q);
		}
	free(a);
}

static struct answer **place_of(struct answers *a, struct text key)
{
	uint32_t hash = 5381;

	for (size_t i = 0; i < key.len; i++)
		hash = hash * 33 + (unsigned char)key.data[i];
	return &a->places[hash % PLACES];
}

static struct text table_of(const struct answer *q)
{
	return (struct text){q->texts, q->table_len};
}

static struct text key_of(const struct answer *q)
{
	return (struct text){q->texts + q->table_len, q->key_len};
}

/* False: there is no room for so many octets more. */
static bool room_take(struct answers *a, size_t bytes)
{
	if (bytes > ANSWERS_BYTES_MAX - a->bytes) {
		a->too_many = true;
		return false;
	}
	a->bytes += bytes;
	return true;
}

static void want(struct answers *a, struct answer **place, struct text table, struct text key)
{
	size_t size = sizeof(struct answer) + table.len + key.len;

	a->too_many |= a->count == ANSWERS_MAX;
	if (a->too_many || !room_take(a, size))
		return;
	struct answer *q = mem_new(1, size);

	q->all = a;
	q->verdict = TABLE_FAILED;
	q->table_len = table.len;
	q->key_len = key.len;
	memcpy(q->texts, table.data, table.len);
	memcpy(q->texts + table.len, key.data, key.len);
	q->next = *place;
	*place = q;
	q->wanted = a->wanted;
	a->wanted = q;
	a->count++;
}

enum table_verdict answers_find(struct answers *a, struct text table, struct text key,
				struct text *value)
{
	if (!a || !key.len)
		return a ? TABLE_ABSENT : TABLE_FAILED;
	struct answer **place = place_of(a, key);

	for (struct answer *q = *place; q; q = q->next)
		if (text_equal(key_of(q), key) && text_equal(table_of(q), table)) {
			*value = (struct text){q->value, q->value_len};
			return q->verdict;
		}
	want(a, place, table, key);
	return TABLE_FAILED;
}

bool answers_lack(const struct answers *a)
{
	return a && a->wanted;
}

bool answers_are_too_many(const struct answers *a)
{
	return a && a->too_many;
}

static void answered(void *owner, uint8_t verdict, struct text value)
{
	struct answer *q = owner;
	struct answers *a = q->all;

	q->lookup = NULL;
	q->verdict = verdict;
	if (verdict == TABLE_FOUND && value.len) {
		if (room_take(a, value.len)) {
			q->value = mem_copy(value.data, value.len);
			q->value_len = value.len;
		} else {
			q->verdict = TABLE_FAILED;
		}
	}
	/* The owner may free A. */
	if (--a->open == 0 && !a->asking)
		a->ready(a->owner);
}

bool answers_ask(struct answers *a)
{
	a->asking = true;
	while (a->wanted) {
		struct answer *q = a->wanted;

		a->wanted = q->wanted;
		a->open++;
		q->lookup = lookup_ask(a->lookups, table_of(q), key_of(q), answered, q);
	}
	a->asking = false;
	return a->open == 0;
}
