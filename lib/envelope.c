/* SPDX-License-Identifier: ISC */
/* Envelopes as typed fields. */
#include "envelope.h"

#include "must.h"

#include <string.h>

/* On disk: a tag is never given another meaning. */
enum tag {
	TAG_RECIPIENT = 1,
	TAG_SENDER = 2,
	TAG_SUBMITTER = 3,
	TAG_LOGIN = 4,
	TAG_CLIENT = 5,
	TAG_HELO = 6,
	TAG_PROTOCOL = 7,
	TAG_ENVID = 8,
	TAG_MESSAGE_ID = 9,
	TAG_RET = 10,
	TAG_BODY_TYPE = 11,
	TAG_SMTPUTF8 = 12,
	TAG_ARRIVAL = 13,
	TAG_HOLD = 14,
	TAG_TLS = 15,
	TAG_SOURCE = 16,
	TAG_ROUTE = 17,
	TAG_ADDED = 24,	 /* a recipient as well: of an expansion */
	TAG_LISTED = 25, /* the same, with a sender of its own */
};

enum { RECIPIENT_FIELD_MAX = 7 * 4 + 1 + 3 * ADDRESS_MAX + ORCPT_MAX + TARGET_MAX };

static void put_text(struct bytes *w, enum tag tag, struct text t)
{
	if (!t.len)
		return;
	wire_put_u16(w, (uint16_t)tag);
	wire_put_text(w, t);
}

static void put_u8(struct bytes *w, enum tag tag, uint8_t v)
{
	if (!v)
		return;
	wire_put_u16(w, (uint16_t)tag);
	wire_put_u32(w, 1);
	wire_put_u8(w, v);
}

void envelope_put_head(struct bytes *w, const struct envelope *e)
{
	put_text(w, TAG_SENDER, e->sender);
	put_text(w, TAG_SUBMITTER, e->submitter);
	put_text(w, TAG_LOGIN, e->login);
	put_text(w, TAG_CLIENT, e->client);
	put_text(w, TAG_HELO, e->helo);
	put_text(w, TAG_PROTOCOL, e->protocol);
	put_text(w, TAG_ENVID, e->envid);
	put_text(w, TAG_MESSAGE_ID, e->message_id);
	put_text(w, TAG_HOLD, e->hold);
	put_u8(w, TAG_RET, e->ret);
	put_u8(w, TAG_BODY_TYPE, e->body_type);
	put_u8(w, TAG_SMTPUTF8, e->smtputf8);
	put_u8(w, TAG_TLS, e->tls);
	put_text(w, TAG_SOURCE, e->source);
	put_text(w, TAG_ROUTE, e->route);
	wire_put_u16(w, TAG_ARRIVAL);
	wire_put_u32(w, 8);
	wire_put_u64(w, e->arrival_wall);
}

void envelope_put_recipient(struct bytes *w, const struct envelope_recipient *r)
{
	bool listed = r->sender.len != 0, added = listed || r->target.len || r->parent;
	size_t len = 3 * 4 + 1 + r->address.len + r->original.len + r->orcpt.len;

	if (added)
		len += 2 * 4 + r->target.len;
	if (listed)
		len += 4 + r->sender.len;
	must(len <= RECIPIENT_FIELD_MAX);
	wire_put_u16(w, listed ? TAG_LISTED : added ? TAG_ADDED : TAG_RECIPIENT);
	wire_put_u32(w, (uint32_t)len);
	wire_put_text(w, r->address);
	wire_put_text(w, r->original);
	wire_put_text(w, r->orcpt);
	wire_put_u8(w, r->notify);
	if (!added)
		return;
	wire_put_u32(w, r->parent);
	wire_put_text(w, r->target);
	if (listed)
		wire_put_text(w, r->sender);
}

static bool is_recipient(uint16_t tag)
{
	return tag == TAG_RECIPIENT || tag == TAG_ADDED || tag == TAG_LISTED;
}

static bool decode_recipient(uint16_t tag, struct text value, struct envelope_recipient *r)
{
	struct wire_reader in = wire_reader_over(value.data, value.len);

	r->parent = 0;
	r->target = r->sender = (struct text){NULL, 0};

	r->address = wire_text(&in, ADDRESS_MAX);
	r->original = wire_text(&in, ADDRESS_MAX);
	r->orcpt = wire_text(&in, ORCPT_MAX);
	r->notify = wire_u8(&in);
	if (tag != TAG_RECIPIENT) {
		r->parent = wire_u32(&in);
		r->target = wire_text(&in, TARGET_MAX);
	}
	if (tag == TAG_LISTED)
		r->sender = wire_text(&in, ADDRESS_MAX);
	return wire_done(&in) && r->address.len > 0;
}

static bool take_text(struct text value, size_t max, struct text *to)
{
	*to = value;
	return value.len <= max;
}

static bool take_u8(struct text value, uint8_t max, uint8_t *to)
{
	*to = value.len == 1 ? (uint8_t)value.data[0] : 0;
	return value.len == 1 && *to <= max;
}

static bool take_u64(struct text value, uint64_t *to)
{
	struct wire_reader in = wire_reader_over(value.data, value.len);

	*to = wire_u64(&in);
	return wire_done(&in);
}

static bool decode_field(struct envelope *e, uint16_t tag, struct text value)
{
	struct envelope_recipient r;

	switch (tag) {
	case TAG_RECIPIENT:
	case TAG_ADDED:
	case TAG_LISTED:
		/* Whose place it has stands before it. */
		e->own_senders |= tag == TAG_LISTED;
		return decode_recipient(tag, value, &r) && r.parent <= e->recipient_count &&
		       e->recipient_count++ < RECIPIENTS_MAX;
	case TAG_SENDER:
		return take_text(value, ADDRESS_MAX, &e->sender);
	case TAG_SUBMITTER:
		return take_text(value, SUBMITTER_MAX, &e->submitter);
	case TAG_LOGIN:
		return take_text(value, 255, &e->login);
	case TAG_CLIENT:
		return take_text(value, 320, &e->client);
	case TAG_HELO:
		return take_text(value, 255, &e->helo);
	case TAG_PROTOCOL:
		return take_text(value, 32, &e->protocol);
	case TAG_ENVID:
		return take_text(value, ENVID_MAX, &e->envid);
	case TAG_MESSAGE_ID:
		return take_text(value, 250, &e->message_id);
	case TAG_HOLD:
		return take_text(value, 255, &e->hold);
	case TAG_RET:
		return take_u8(value, RET_HDRS, &e->ret);
	case TAG_BODY_TYPE:
		return take_u8(value, BODY_BINARYMIME, &e->body_type);
	case TAG_SMTPUTF8:
		return take_u8(value, 1, &e->smtputf8);
	case TAG_TLS:
		return take_u8(value, MAIL_TLS_OPTIONAL, &e->tls);
	case TAG_SOURCE:
		return take_text(value, SOURCE_MAX, &e->source);
	case TAG_ROUTE:
		return take_text(value, ROUTE_NAME_MAX, &e->route) &&
		       text_starts_case(value, ROUTE_MARK);
	case TAG_ARRIVAL:
		return take_u64(value, &e->arrival_wall);
	default:
		return true;
	}
}

bool envelope_decode(struct text data, struct envelope *e)
{
	struct wire_reader in = wire_reader_over(data.data, data.len);

	*e = (struct envelope){0};
	while (!in.bad && in.at < in.end) {
		uint16_t tag = wire_u16(&in);
		struct text value = wire_text(&in, ENVELOPE_MAX);

		if (in.bad || !decode_field(e, tag, value))
			return false;
	}
	return !in.bad && e->recipient_count > 0;
}

struct envelope_iter envelope_recipients(struct text data)
{
	return (struct envelope_iter){wire_reader_over(data.data, data.len), 0};
}

bool envelope_next(struct envelope_iter *it, struct envelope_recipient *r)
{
	while (!it->in.bad && it->in.at < it->in.end) {
		uint16_t tag = wire_u16(&it->in);
		struct text value = wire_text(&it->in, ENVELOPE_MAX);

		if (is_recipient(tag) && !it->in.bad) {
			it->next++;
			return decode_recipient(tag, value, r);
		}
	}
	return false;
}

struct text address_domain(struct text address)
{
	for (size_t i = address.len; i > 0; i--)
		if (address.data[i - 1] == '@')
			return (struct text){address.data + i, address.len - i};
	return (struct text){NULL, 0};
}
