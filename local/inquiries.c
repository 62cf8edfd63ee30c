/* SPDX-License-Identifier: ISC */
/* Is there such a user? */
#include "inquiries.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

struct inquiry {
	struct inquiry *next, **prev;
	struct inquiries *all;
	struct channel *from;
	struct config *config;
	struct answers *answers;
	uint64_t query;
	size_t len;
	char address[]; /* LEN octets */
};

static void say(struct channel *to, uint64_t query, unsigned verdict)
{
	channel_send_user_is(to, &(struct msg_user_is){query, (uint8_t)verdict});
}

static void inquiry_free(struct inquiry *q)
{
	*q->prev = q->next;
	if (q->next)
		q->next->prev = q->prev;
	q->all->count--;
	answers_free(&q->answers);
	config_drop(&q->config);
	free(q);
}

static void try(void *owner)
{
	struct inquiry *q = owner;
	unsigned verdict;

	if (!plan_knows(q->all->planner, q->config, q->answers, (struct text){q->address, q->len},
			&verdict))
		return;
	say(q->from, q->query, verdict);
	inquiry_free(q);
}

static struct inquiry *inquiry_new(struct inquiries *all, struct config *config,
				   struct channel *from, const struct msg_user_ask *m)
{
	struct inquiry *q = mem_new(1, sizeof *q + m->address.len);

	q->all = all;
	q->from = from;
	q->config = config_keep(config);
	q->answers = answers_new(all->table, try, q);
	q->query = m->query;
	q->len = m->address.len;
	if (q->len)
		memcpy(q->address, m->address.data, q->len);
	q->next = all->first;
	q->prev = &all->first;
	if (q->next)
		q->next->prev = &q->next;
	all->first = q;
	all->count++;
	return q;
}

void inquiries_ask(struct inquiries *all, struct config *config, struct channel *from,
		   const struct msg_user_ask *m)
{
	unsigned verdict = TABLE_FAILED;

	if (plan_asks(config, m->address)) {
		if (all->count < INQUIRIES_MAX)
			try(inquiry_new(all, config, from, m));
		else
			say(from, m->query, verdict);
		return;
	}
	plan_knows(all->planner, config, NULL, m->address, &verdict);
	say(from, m->query, verdict);
}

void inquiries_forget(struct inquiries *all, const struct channel *from)
{
	for (struct inquiry *q = all->first, *next; q; q = next) {
		next = q->next;
		if (q->from == from)
			inquiry_free(q);
	}
}
