/* SPDX-License-Identifier: ISC */
/* Questions to a neighbour. */
#include "lookup.h"

#include "mem.h"
#include "table_text.h"

#include <stdlib.h>

struct lookup {
	struct lookups *all;
	struct lookup *next, **prev;
	uint64_t number;
	struct monotime asked;
	lookup_answer *answer;
	void *owner;
};

/* Answers come in about the order of the questions, so the list is searched from its head. */
struct lookups {
	struct loop *loop;
	struct channel *channel; /* NULL: there is no such neighbour now */
	struct duration wait;
	uint8_t failed, most;
	struct lookup *first, **last;
	struct timer timer;
	uint64_t number;
};

static void lookup_unlink(struct lookup *q)
{
	*q->prev = q->next;
	if (q->next)
		q->next->prev = q->prev;
	else
		q->all->last = q->prev;
}

static void lookup_settle(struct lookup *q, uint8_t verdict, struct text value)
{
	struct lookup done = *q;

	lookup_unlink(q);
	free(q);
	done.answer(done.owner, verdict, value);
}

static void fail_older(struct lookups *l, struct monotime than)
{
	while (l->first && l->first->asked.us <= than.us)
		lookup_settle(l->first, l->failed, (struct text){NULL, 0});
}

static void timer_fired(void *arg)
{
	struct lookups *l = arg;

	fail_older(l, (struct monotime){loop_now(l->loop).us - l->wait.us});
	if (l->first)
		timer_set(&l->timer, SECONDS(1));
}

struct lookups *lookups_new(struct loop *loop, uint8_t failed, uint8_t most, struct duration wait)
{
	struct lookups *l = mem_new(1, sizeof *l);

	l->loop = loop;
	l->failed = failed;
	l->most = most;
	l->wait = wait;
	l->last = &l->first;
	timer_init(&l->timer, loop, timer_fired, l);
	return l;
}

void lookups_free(struct lookups **lookups)
{
	struct lookups *l = *lookups;

	*lookups = NULL;
	if (!l)
		return;
	while (l->first) {
		struct lookup *q = l->first;

		lookup_unlink(q);
		free(q);
	}
	timer_clear(&l->timer);
	free(l);
}

void lookups_open(struct lookups *l, struct channel *c)
{
	l->channel = c;
}

void lookups_gone(struct lookups *l)
{
	l->channel = NULL;
	/* Who asks again from within is answered at once, and is not in the list. */
	fail_older(l, (struct monotime){INT64_MAX});
}

void lookups_serve(struct lookups *l, uint64_t query, uint8_t verdict, struct text value)
{
	struct lookup *q = l->first;

	while (q && q->number != query)
		q = q->next;
	if (q)
		lookup_settle(q, verdict <= l->most ? verdict : l->failed, value);
}

static struct lookup *lookup_new(struct lookups *l, lookup_answer *answer, void *owner)
{
	struct lookup *q = mem_new(1, sizeof *q);

	*q = (struct lookup){.all = l,
			     .prev = l->last,
			     .number = ++l->number,
			     .asked = loop_now(l->loop),
			     .answer = answer,
			     .owner = owner};
	*l->last = q;
	l->last = &q->next;
	if (!timer_is_set(&l->timer))
		timer_set(&l->timer, SECONDS(1));
	return q;
}

struct lookup *lookup_ask(struct lookups *l, struct text table, struct text key,
			  lookup_answer *answer, void *owner)
{
	if (!l->channel || key.len > TABLE_KEY_MAX) {
		answer(owner, l->channel ? TABLE_ABSENT : l->failed, (struct text){NULL, 0});
		return NULL;
	}
	struct lookup *q = lookup_new(l, answer, owner);

	channel_send_lookup(l->channel, &(struct msg_lookup){q->number, table, key});
	return q;
}

struct lookup *lookup_count(struct lookups *l, struct msg_count_ask *m, lookup_answer *answer,
			    void *owner)
{
	if (!l->channel) {
		answer(owner, l->failed, (struct text){NULL, 0});
		return NULL;
	}
	struct lookup *q = lookup_new(l, answer, owner);

	m->query = q->number;
	channel_send_count_ask(l->channel, m);
	return q;
}

struct lookup *lookup_name(struct lookups *l, const uint8_t *address, lookup_answer *answer,
			   void *owner)
{
	struct lookup *q = lookup_new(l, answer, owner);

	channel_send_name_ask(l->channel,
			      &(struct msg_name_ask){q->number, {(const char *)address, 16}});
	return q;
}

struct lookup *lookup_user(struct lookups *l, struct text address, lookup_answer *answer,
			   void *owner)
{
	if (!l->channel) {
		answer(owner, l->failed, (struct text){NULL, 0});
		return NULL;
	}
	struct lookup *q = lookup_new(l, answer, owner);

	channel_send_user_ask(l->channel, &(struct msg_user_ask){q->number, address});
	return q;
}

bool lookups_are_open(const struct lookups *l)
{
	return l->channel != NULL;
}

void lookup_cancel(struct lookup **lookup)
{
	if (!*lookup)
		return;
	lookup_unlink(*lookup);
	free(*lookup);
	*lookup = NULL;
}
