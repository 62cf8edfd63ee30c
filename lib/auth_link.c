/* SPDX-License-Identifier: ISC */
/* Exchanges with the checker, by slot and serial number. */
#include "auth_link.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

struct auth_exchange {
	struct auth_link *link;
	void *owner;
	uint64_t number; /* slot, and a serial number above it */
	bool asked;	 /* the checker owes an answer */
	bool lost;	 /* the checker that knew it is gone */
};

struct auth_link {
	const struct auth_face *face;
	struct channel *checker; /* NULL while there is none */
	struct auth_exchange **slots;
	uint32_t size, free_slot, serial; /* no slot below free_slot is free */
	uint8_t mechanisms;
};

struct auth_link *auth_link_new(const struct auth_face *face)
{
	struct auth_link *link = mem_new(1, sizeof *link);

	link->face = face;
	return link;
}

static uint32_t slot_take(struct auth_link *link)
{
	uint32_t i = link->free_slot;

	while (i < link->size && link->slots[i])
		i++;
	if (i == link->size) {
		uint32_t size = link->size ? link->size * 2 : 16;

		link->slots = mem_resize(link->slots, size, sizeof(struct auth_exchange *));
		memset(link->slots + link->size, 0,
		       (size - link->size) * sizeof(struct auth_exchange *));
		link->size = size;
	}
	link->free_slot = i + 1;
	return i;
}

static struct auth_exchange *exchange_new(struct auth_link *link, void *owner)
{
	struct auth_exchange *x = mem_new(1, sizeof *x);
	uint32_t slot = slot_take(link);

	x->link = link;
	x->owner = owner;
	x->number = (uint64_t)++link->serial << 32 | slot;
	link->slots[slot] = x;
	return x;
}

static void exchange_free(struct auth_exchange *x)
{
	struct auth_link *link = x->link;
	uint32_t slot = (uint32_t)x->number;

	link->slots[slot] = NULL;
	if (slot < link->free_slot)
		link->free_slot = slot;
	free(x);
}

static void exchange_done(struct auth_exchange *x, enum auth_verdict verdict, struct text login)
{
	struct auth_link *link = x->link;
	void *owner = x->owner;

	exchange_free(x);
	link->face->done(owner, verdict, login);
}

void auth_exchange_drop(struct auth_exchange **x)
{
	struct auth_exchange *one = *x;

	*x = NULL;
	if (!one)
		return;
	if (!one->lost && one->link->checker)
		channel_send_auth_cancel(one->link->checker,
					 &(struct msg_auth_cancel){one->number});
	exchange_free(one);
}

/* -- the checker ----------------------------------------------------------------------- */

void auth_link_open(struct auth_link *link, struct channel *checker)
{
	link->checker = checker;
}

void auth_link_gone(struct auth_link *link)
{
	link->checker = NULL;
	link->mechanisms = 0;
	for (uint32_t i = 0; i < link->size; i++) {
		struct auth_exchange *x = link->slots[i];

		if (!x)
			continue;
		x->lost = true;
		if (x->asked)
			exchange_done(x, AUTH_TEMPORARY, (struct text){NULL, 0});
	}
}

unsigned auth_link_mechanisms(const struct auth_link *link)
{
	return link->checker ? link->mechanisms : 0;
}

/* Who is answered; NULL when he is gone, or *BROKEN when nothing was asked. */
static struct auth_exchange *exchange_answered(struct auth_link *link, uint64_t number,
					       bool *broken)
{
	uint32_t slot = (uint32_t)number;
	struct auth_exchange *x = slot < link->size ? link->slots[slot] : NULL;

	*broken = false;
	/* Its cancel may have crossed the answer. */
	if (!x || x->number != number || x->lost)
		return NULL;
	*broken = !x->asked;
	x->asked = false;
	return x;
}

void auth_link_serve(struct auth_link *link, const struct message *m)
{
	struct auth_exchange *x;
	bool broken = false;

	if (!link->checker)
		return;
	if (m->type == MSG_auth_offer) {
		link->mechanisms = m->auth_offer.mechanisms & SASL_ALL;
		return;
	}
	x = exchange_answered(
	    link, m->type == MSG_auth_done ? m->auth_done.exchange : m->auth_challenge.exchange,
	    &broken);
	if (broken)
		channel_end(link->checker, "answered a login that was not asked about");
	else if (x && m->type == MSG_auth_done)
		exchange_done(x,
			      m->auth_done.verdict < AUTH_VERDICTS
				  ? (enum auth_verdict)m->auth_done.verdict
				  : AUTH_TEMPORARY,
			      m->auth_done.login);
	else if (x)
		link->face->challenge(x->owner, m->auth_challenge.challenge);
}

/* -- what clients say -------------------------------------------------------------------- */

static void send_begin(const struct auth_exchange *x, const struct session_auth *said,
		       const struct auth_client *client)
{
	channel_send_auth_begin(x->link->checker,
				&(struct msg_auth_begin){
				    .exchange = x->number,
				    .mechanism = (uint8_t)said->mechanism,
				    .has_initial = said->has_initial,
				    .initial = said->data,
				    .address = {(const char *)client->address, 16},
				    .tls = client->tls,
				    .binding = client->binding,
				    .identity = client->identity,
				});
}

void auth_link_bring(struct auth_link *link, struct auth_exchange **x, void *owner,
		     const struct session_auth *said, const struct auth_client *client)
{
	if (said->begins)
		*x = exchange_new(link, owner);
	if (!link->checker || (*x)->lost) {
		exchange_done(*x, AUTH_TEMPORARY, (struct text){NULL, 0});
		return;
	}
	(*x)->asked = true;
	if (said->begins)
		send_begin(*x, said, client);
	else
		channel_send_auth_step(link->checker,
				       &(struct msg_auth_step){(*x)->number, said->data});
}
