/* SPDX-License-Identifier: ISC */
/* The simulator's book of promises. */
#include "book.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

void book_init(struct book *b)
{
	*b = (struct book){.lowest = 1};
}

void book_free(struct book *b)
{
	free(b->messages);
}

void book_break(struct book *b, const char *what, uint64_t id)
{
	if (b->broken)
		return;
	b->broken = what;
	b->broken_id = id;
}

static void note(const struct book *b, uint64_t id, uint32_t recipient, const char *what)
{
	if (b->note && b->watch && id == b->watch)
		b->note(b->note_arg, id, recipient, what);
}

static struct book_message *message_of(struct book *b, uint64_t id)
{
	if (id >= b->count) {
		uint64_t count = b->count ? b->count : 65536;

		while (id >= count)
			count *= 2;
		b->messages = mem_resize(b->messages, count, sizeof *b->messages);
		memset(b->messages + b->count, 0, (count - b->count) * sizeof *b->messages);
		b->count = count;
	}
	return &b->messages[id];
}

static struct book_recipient *recipient_of(struct book *b, uint64_t id, uint32_t n)
{
	static struct book_recipient nobody;
	struct book_message *m = message_of(b, id);

	if (n < m->count)
		return &m->recipients[n];
	book_break(b, "a recipient that nobody named", id);
	return &nobody;
}

bool book_is_large(uint64_t id)
{
	return id % 199 == 50;
}

size_t book_content(uint64_t id, char *to)
{
	size_t len = 50 + id * 2654435761u % (BOOK_CONTENT_MAX - 50);

	if (book_is_large(id))
		len += QUEUE_BODY_MAX;

	for (size_t i = 0; i < len; i++)
		to[i] = (char)(id * 31 + i * 7 + i / 251);
	return len;
}

void book_compare(struct book *b, uint64_t id, struct text body)
{
	static char want[BOOK_LARGE_MAX];
	size_t len = book_content(id, want);

	if (body.len != len || memcmp(want, body.data, len) != 0)
		book_break(b, "another content", id);
}

uint64_t book_domain(uint64_t id, uint32_t recipient)
{
	/* Half of a message's recipients share a domain. */
	uint64_t x = (id * 4 + (id >> 3 & 1 ? recipient : 0)) * 0x9e3779b97f4a7c15u;

	return x >> 33;
}

void book_sent(struct book *b, uint64_t id, uint32_t recipients)
{
	struct book_message *m = message_of(b, id);

	note(b, id, 0, "sent");
	if (m->sent)
		book_break(b, "an ID was given out twice", id);
	m->sent = true;
	m->count = (uint8_t)recipients;
}

static void reported(struct book *b, uint64_t id, uint8_t recipients)
{
	for (uint32_t n = 0; n < BOOK_RECIPIENTS; n++) {
		if (!(recipients >> n & 1))
			continue;
		struct book_recipient *r = recipient_of(b, id, n);

		if (r->reported)
			book_break(b, "a failure was reported twice", id);
		r->reported = true;
	}
}

void book_acked(struct book *b, uint64_t id)
{
	struct book_message *m = message_of(b, id);

	note(b, id, 0, "acknowledged");
	if (m->refused)
		book_break(b, "acknowledged after it was refused", id);
	if (!m->acked && m->of)
		reported(b, m->of, m->of_recipients);
	m->acked = true;
}

void book_refused(struct book *b, uint64_t id)
{
	struct book_message *m = message_of(b, id);

	note(b, id, 0, "refused");
	if (m->acked)
		book_break(b, "refused after it was acknowledged", id);
	m->refused = true;
}

void book_reports(struct book *b, uint64_t id, uint64_t of, uint8_t recipients)
{
	struct book_message *m = message_of(b, id);

	note(b, of, recipients, "a report is handed in (recipients: a bit each)");
	m->of = of;
	m->of_recipients = recipients;
}

void book_dropped(struct book *b, uint64_t id, uint32_t recipient)
{
	recipient_of(b, id, recipient)->dropped = true;
}

void book_taken(struct book *b, uint64_t id, uint32_t recipient)
{
	struct book_recipient *r = recipient_of(b, id, recipient);
	struct book_message *m = message_of(b, id);

	note(b, id, recipient, "taken by its receiver");
	if (!m->acked)
		book_break(b, "delivered before it was acknowledged", id);
	if (r->settled)
		book_break(b, "delivered after it was settled", id);
	if (r->taken && !r->excused)
		book_break(b, "a duplicate without a crash that parted 250 and record", id);
	b->duplicates += r->taken > 0;
	if (r->taken < UINT8_MAX)
		r->taken++;
	r->unrecorded = true;
	r->excused = false;
}

void book_recorded(struct book *b, uint64_t id, uint32_t recipient, bool settled)
{
	struct book_recipient *r = recipient_of(b, id, recipient);

	note(b, id, recipient, settled ? "durably settled" : "an outcome is durable");
	r->unrecorded = false;
	r->settled |= settled;
}

void book_parted(struct book *b, uint64_t id, uint32_t recipient)
{
	struct book_recipient *r = recipient_of(b, id, recipient);

	note(b, id, recipient, "a crash parted a 250 and its record");
	r->excused |= r->unrecorded;
}

void book_recover(struct book *b)
{
	for (uint64_t id = b->lowest; id < b->count; id++) {
		struct book_message *m = &b->messages[id];

		m->seen = false;
		for (uint32_t i = 0; i < BOOK_RECIPIENTS; i++)
			m->recipients[i].open = false;
	}
}

void book_entry(struct book *b, const struct queue_entry *e)
{
	struct book_message *m = message_of(b, e->id);

	note(b, e->id, e->open_count, "recovered (recipient: how many are open)");
	if (!m->sent)
		book_break(b, "a message that nobody sent", e->id);
	if (m->refused)
		book_break(b, "a refused message came to life", e->id);
	if (m->seen)
		book_break(b, "a message was loaded twice", e->id);
	if (e->recipient_count != m->count)
		book_break(b, "another number of recipients", e->id);
	m->seen = true;
	for (uint32_t i = 0; i < e->open_count; i++) {
		struct book_recipient *r = recipient_of(b, e->id, e->open[i].number);

		if (r->settled)
			book_break(b, "a settled recipient came back", e->id);
		r->open = true;
	}
}

/* All of a message is over, for good. */
static bool is_over(const struct book_message *m)
{
	if (!m->sent || m->refused)
		return true;
	for (uint32_t i = 0; i < m->count; i++)
		if (!m->recipients[i].settled)
			return false;
	return m->acked;
}

static void recovered_message(struct book *b, uint64_t id)
{
	struct book_message *m = &b->messages[id];

	if (!m->sent || m->refused)
		return;
	if (!m->acked && !m->seen) {
		m->refused = true; /* and may not come back */
		return;
	}
	if (!m->acked)
		book_acked(b, id);
	for (uint32_t i = 0; i < m->count; i++) {
		struct book_recipient *r = &m->recipients[i];

		/* Not in the queue: then its last record was durable, and says why. */
		if (!r->open)
			r->settled = true;
	}
}

static void judge(struct book *b, uint64_t id)
{
	struct book_message *m = &b->messages[id];

	if (!m->sent || m->refused || !m->acked)
		return;
	for (uint32_t i = 0; i < m->count; i++) {
		struct book_recipient *r = &m->recipients[i];

		if (r->settled && !r->taken && !r->reported && !r->dropped)
			book_break(
			    b, "a recipient was lost: neither queued nor delivered nor reported",
			    id);
	}
}

void book_recovered(struct book *b)
{
	for (uint64_t id = b->lowest; id < b->count; id++)
		recovered_message(b, id);
	for (uint64_t id = b->lowest; id < b->count; id++)
		judge(b, id);
	uint64_t last = b->count;

	while (last > b->lowest && !b->messages[last - 1].sent)
		last--;
	while (b->lowest < last && is_over(&b->messages[b->lowest]))
		b->lowest++;
}

void book_close(struct book *b)
{
	for (uint64_t id = 1; id < b->count && !b->broken; id++) {
		struct book_message *m = &b->messages[id];

		judge(b, id);
		if (m->acked && !is_over(m))
			book_break(b, "not settled at the end", id);
	}
}
