/* SPDX-License-Identifier: ISC */
/* Exchanges that wait for their backend: for the file to come from master, for Dovecot's greeting.
 */
#include "checker.h"

#include <openssl/crypto.h>

void exchange_await(struct exchange *x, bool has_initial, struct text initial)
{
	struct checker *self = x->self;

	x->awaits = true;
	x->has_initial = has_initial;
	bytes_add(&x->held, initial.data, initial.len);
	*self->awaiting_last = x;
	self->awaiting_last = &x->next_awaiting;
}

void exchange_await_end(struct exchange *x)
{
	struct checker *self = x->self;

	if (!x->awaits)
		return;
	for (struct exchange **at = &self->awaiting; *at; at = &(*at)->next_awaiting) {
		if (*at != x)
			continue;
		*at = x->next_awaiting;
		if (!*at)
			self->awaiting_last = at;
		return;
	}
}

void awaiting_go_on(struct checker *self,
		    void (*go)(struct exchange *x, bool has_initial, struct text initial))
{
	struct exchange *x = self->awaiting;

	self->awaiting = NULL;
	self->awaiting_last = &self->awaiting;
	while (x) {
		struct exchange *next = x->next_awaiting;
		struct bytes initial = x->held;

		x->held = (struct bytes){0};
		x->next_awaiting = NULL;
		x->awaits = false;
		go(x, x->has_initial, bytes_text(&initial));
		if (initial.data)
			OPENSSL_cleanse(initial.data, initial.size);
		bytes_free(&initial);
		x = next;
	}
}
