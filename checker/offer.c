/* SPDX-License-Identifier: ISC */
/* The checker's peers, and what they are told can be offered. */
#include "checker.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>

/* What a channel has of its own. */
struct holder {
	size_t exchanges; /* under way */
	struct holder *next, **prev;
	struct channel *channel;
};

/* Peers are a few: workers of smtpd and submission. */
static struct holder *holder_find(const struct checker *self, const struct channel *c)
{
	struct holder *h = self->holders;

	while (h && h->channel != c)
		h = h->next;
	return h;
}

size_t *offer_count(const struct checker *self, const struct channel *c)
{
	struct holder *h = holder_find(self, c);

	must(h);
	return &h->exchanges;
}

static void offer_to(const struct checker *self, struct channel *c)
{
	channel_send_auth_offer(c, &(struct msg_auth_offer){self->offered});
}

void checker_offer(struct checker *self, uint8_t mechanisms)
{
	self->backend_offers = mechanisms;
	/* Where tokens are asked about elsewhere, the password backend's word on them is not heard.
	 */
	if (self->d->config->auth_introspection.len)
		mechanisms |= SASL_TOKENS;
	if (mechanisms == self->offered)
		return;
	self->offered = mechanisms;
	for (const struct holder *h = self->holders; h; h = h->next)
		offer_to(self, h->channel);
}

void offer_peer(struct checker *self, struct channel *c)
{
	struct holder *h = mem_new(1, sizeof *h);

	h->channel = c;
	h->next = self->holders;
	h->prev = &self->holders;
	if (h->next)
		h->next->prev = &h->next;
	self->holders = h;
	if (self->offered)
		offer_to(self, c);
}

void offer_gone(struct checker *self, struct channel *c)
{
	struct holder *h = holder_find(self, c);

	if (!h)
		return;
	exchanges_forget(self, c);
	*h->prev = h->next;
	if (h->next)
		h->next->prev = h->prev;
	free(h);
}
