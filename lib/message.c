/* SPDX-License-Identifier: ISC */
/* Codecs, printers and permissions of all messages, expanded from messages.def. */
#include "message.h"

#include "must.h"

/* -- encoders ---------------------------------------------------------------- */

static void list_encode(struct bytes *w, const struct wire_list *list)
{
	wire_put_u32(w, list->count);
	wire_put_text(w, list->items);
}

#define RECORD(n)                                                                                  \
	void rec_##n##_encode(struct bytes *w, const struct rec_##n *m)                            \
	{
#define RECORD_END(n) }
#define MESSAGE(n, from, to, fd)                                                                   \
	static void encode_##n(struct bytes *w, const void *p)                                     \
	{                                                                                          \
		const struct msg_##n *m = p;
#define MESSAGE_END(n) }
#define U8(f) wire_put_u8(w, m->f);
#define U16(f) wire_put_u16(w, m->f);
#define U32(f) wire_put_u32(w, m->f);
#define U64(f) wire_put_u64(w, m->f);
#define TEXTF(f, max)                                                                              \
	must(m->f.len <= (max));                                                                   \
	wire_put_text(w, m->f);
#define LIST(r, f, max)                                                                            \
	must(m->f.count <= (max));                                                                 \
	list_encode(w, &m->f);
#include "messages.def"

/* -- decoders ---------------------------------------------------------------- */

#define LIST(r, f, max) m->f = list_decode_##r(r_, max);
#define U8(f) m->f = wire_u8(r_);
#define U16(f) m->f = wire_u16(r_);
#define U32(f) m->f = wire_u32(r_);
#define U64(f) m->f = wire_u64(r_);
#define TEXTF(f, max) m->f = wire_text(r_, max);
#define RECORD(n)                                                                                  \
	static void rec_##n##_decode(struct wire_reader *r_, struct rec_##n *m)                    \
	{
#define RECORD_END(n)                                                                              \
	}                                                                                          \
	static inline struct wire_list list_decode_##n(struct wire_reader *r_, uint32_t max)       \
	{                                                                                          \
		struct wire_list list = {.count = wire_u32(r_)};                                   \
		list.items = wire_text(r_, FRAME_MAX_BYTES);                                       \
		struct wire_reader in = wire_reader_over(list.items.data, list.items.len);         \
		if (list.count > max)                                                              \
			r_->bad = true;                                                            \
		for (uint32_t i = 0; i < list.count && !r_->bad && !in.bad; i++)                   \
			rec_##n##_decode(&in, &(struct rec_##n){0});                               \
		if (r_->bad || !wire_done(&in)) {                                                  \
			r_->bad = true;                                                            \
			return (struct wire_list){0};                                              \
		}                                                                                  \
		return list;                                                                       \
	}                                                                                          \
	bool list_next_##n(struct wire_list *list, struct rec_##n *item)                           \
	{                                                                                          \
		if (!list->count)                                                                  \
			return false;                                                              \
		struct wire_reader in = wire_reader_over(list->items.data, list->items.len);       \
		rec_##n##_decode(&in, item);                                                       \
		must(!in.bad);                                                                     \
		list->count--;                                                                     \
		list->items = (struct text){(const char *)in.at, (size_t)(in.end - in.at)};        \
		return true;                                                                       \
	}
#define MESSAGE(n, from, to, fd)                                                                   \
	static void decode_##n(struct wire_reader *r_, void *p)                                    \
	{                                                                                          \
		struct msg_##n *m = p;
#define MESSAGE_END(n) }
#include "messages.def"

/* -- printers ------------------------------------------------------------------ */

static void print_text(FILE *to, const char *name, struct text t)
{
	char line[128];

	text_printable(line, sizeof line, t);
	fprintf(to, " %s=%zu:\"%s\"", name, t.len, line);
}

#define RECORD(n)                                                                                  \
	static void print_rec_##n(FILE *to, const struct rec_##n *m)                               \
	{
#define RECORD_END(n) }
#define MESSAGE(n, from, to_, fd)                                                                  \
	static void print_##n(FILE *to, const void *p)                                             \
	{                                                                                          \
		const struct msg_##n *m = p;
#define MESSAGE_END(n) }
#define U8(f) fprintf(to, " " #f "=%u", (unsigned)m->f);
#define U16(f) U8(f)
#define U32(f) U8(f)
#define U64(f) fprintf(to, " " #f "=%llu", (unsigned long long)m->f);
#define TEXTF(f, max) print_text(to, #f, m->f);
/* The first item stands for all. */
#define LIST(r, f, max)                                                                            \
	{                                                                                          \
		struct wire_list rest = m->f;                                                      \
		struct rec_##r item;                                                               \
		fprintf(to, " " #f "=%u items", rest.count);                                       \
		if (list_next_##r(&rest, &item)) {                                                 \
			fputs(" (", to);                                                           \
			print_rec_##r(to, &item);                                                  \
			fputs(" )", to);                                                           \
		}                                                                                  \
	}
#include "messages.def"

/* -- the schema ------------------------------------------------------------------ */

/* Its rows as they are written: tests/lib/frames.py reads the same text. */
static const char *const rows[] = {
#define RECORD(n) "RECORD(" #n ")",
#define RECORD_END(n) "RECORD_END(" #n ")",
#define MESSAGE(n, from, to, fd) "MESSAGE(" #n "," #from "," #to "," #fd ")",
#define MESSAGE_END(n) "MESSAGE_END(" #n ")",
#define U8(f) "U8(" #f ")",
#define U16(f) "U16(" #f ")",
#define U32(f) "U32(" #f ")",
#define U64(f) "U64(" #f ")",
#define TEXTF(f, max) "TEXTF(" #f "," #max ")",
#define LIST(r, f, max) "LIST(" #r "," #f "," #max ")",
#include "messages.def"
};

/* FNV-1a: it guards against mistakes, not against who wants to be taken for this build. */
uint32_t message_schema(void)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (const char *c = rows[i]; *c; c++)
			hash = (hash ^ (uint8_t)*c) * 16777619u;
	return hash;
}

/* -- the table ------------------------------------------------------------------ */

#define RECORD(n)
#define RECORD_END(n)
#define MESSAGE_END(n)
#define U8(f)
#define U16(f)
#define U32(f)
#define U64(f)
#define TEXTF(f, max)
#define LIST(r, f, max)
#define MESSAGE(n, from_, to_, fd_)                                                                \
	[MSG_##n] = {{#n, (from_), (to_), (fd_)}, encode_##n, decode_##n, print_##n},

static const struct {
	struct message_rule rule;
	void (*encode)(struct bytes *, const void *);
	void (*decode)(struct wire_reader *, void *);
	void (*print)(FILE *, const void *);
} table[MSG_COUNT] = {
#include "messages.def"
};

const struct message_rule *message_rule(unsigned type)
{
	return type > MSG_NONE && type < MSG_COUNT ? &table[type].rule : NULL;
}

void message_encode(struct bytes *w, enum message_type type, const void *m)
{
	must(type > MSG_NONE && type < MSG_COUNT);
	table[type].encode(w, m);
}

bool message_decode(const void *payload, size_t len, unsigned type, struct message *m)
{
	if (!message_rule(type))
		return false;
	struct wire_reader r = wire_reader_over(payload, len);

	m->type = (enum message_type)type;
	m->fd = -1;
	table[type].decode(&r, &m->hello); /* all members of the union begin at one address */
	return wire_done(&r);
}

void message_print(FILE *to, const struct message *m)
{
	const struct message_rule *rule = message_rule(m->type);

	if (!rule)
		return;
	fputs(rule->name, to);
	table[m->type].print(to, &m->hello);
	fputc('\n', to);
}
