/* SPDX-License-Identifier: ISC */
/* What rewriting (rewrite.h) changes of a transaction: recipients, sender, header, blind copies. */
#include "session_engine.h"

#include <string.h>

/* Of blind copies with their lengths: a few for each recipient said. */
enum { BLIND_BYTES_MAX = 65536, RECIPIENT_FIELD_BYTES = 64 };

uint8_t session_role(const struct session *s)
{
	return s->setup.role;
}

enum session_repairs session_repairs(const struct session *s)
{
	return (enum session_repairs)s->setup.repairs;
}

bool session_takes_utf8(const struct session *s)
{
	return s->t->smtputf8 != 0;
}

bool session_is_expanded(const struct session *s)
{
	return s->t->expanded;
}

bool session_expand(struct session *s, const struct text *addresses, size_t count)
{
	struct transaction *t = s->t;
	struct address said = t->pending;
	size_t each = strlen(t->orcpt) + said.len + RECIPIENT_FIELD_BYTES, octets = 0;

	for (size_t i = 0; i < count; i++)
		octets += addresses[i].len + each;
	if (!transaction_has_room(s, count, octets))
		return false;
	for (size_t i = 0; i < count; i++) {
		struct address a;

		if (address_read(addresses[i], &a) != ADDRESS_FINE)
			continue;
		t->pending = a;
		transaction_add(s);
	}
	t->pending = said;
	t->expanded = true;
	return true;
}

void session_recipients_again(struct session *s)
{
	struct transaction *t = s->t;

	bytes_free(&t->old);
	t->old = t->envelope;
	t->envelope = (struct bytes){0};
	t->old_at = envelope_recipients(bytes_text(&t->old));
	t->recipient_count = 0;
}

bool session_recipient_again(struct session *s)
{
	struct transaction *t = s->t;
	struct envelope_recipient r;

	if (!envelope_next(&t->old_at, &r) || address_read(r.address, &t->pending) != ADDRESS_FINE)
		return false;
	text_copy(t->orcpt, sizeof t->orcpt, r.orcpt);
	t->notify = r.notify;
	return true;
}

void session_set_sender(struct session *s, struct text sender)
{
	char *copy = arena_copy(s->t->arena, sender.data, sender.len);

	if (copy)
		s->t->sender = (struct text){copy, sender.len};
}

void session_set_header(struct session *s, struct bytes *header)
{
	bytes_free(&s->t->header);
	s->t->header = *header;
	*header = (struct bytes){0};
}

bool session_add_blind(struct session *s, struct text address)
{
	struct bytes *b = &s->t->blind;
	struct text seen = bytes_text(b);
	uint16_t len = (uint16_t)address.len;

	for (size_t at = 0; at < seen.len;) {
		uint16_t n;

		memcpy(&n, seen.data + at, sizeof n);
		if (text_equal((struct text){seen.data + at + sizeof n, n}, address))
			return true;
		at += sizeof n + n;
	}
	if (address.len > ADDRESS_MAX ||
	    address.len + sizeof len > BLIND_BYTES_MAX - bytes_len(b) ||
	    !transaction_has_room(s, 1, seen.len + address.len + RECIPIENT_FIELD_BYTES))
		return false;
	bytes_add(b, &len, sizeof len);
	bytes_add(b, address.data, address.len);
	return true;
}

/* Whoever is a recipient already stays what he is. */
void transaction_add_blind(struct session *s)
{
	struct transaction *t = s->t;
	const char *data = (const char *)bytes_at(&t->blind);
	uint16_t n;

	for (size_t at = 0; at < bytes_len(&t->blind); at += sizeof n + n) {
		memcpy(&n, data + at, sizeof n);
		if (t->recipient_count == RECIPIENTS_MAX ||
		    address_read((struct text){data + at + sizeof n, n}, &t->pending) !=
			ADDRESS_FINE)
			continue;
		t->orcpt[0] = '\0';
		t->notify = NOTIFY_NEVER;
		transaction_add(s);
	}
}
