/* SPDX-License-Identifier: ISC */
/*
 * A message of any type whose fields are taken from a run of bytes: every
 * number, every text and every item within the bounds of messages.def. Used
 * by the fuzz targets and by the program that writes their seeds.
 */
#ifndef FUZZ_MESSAGE_SAMPLE_H
#define FUZZ_MESSAGE_SAMPLE_H

#include "message.h"
#include "must.h"

struct sample {
	struct wire_reader in;
	struct bytes items[64]; /* of the lists of one message, those within records too */
	size_t lists;
};

/* A length byte and that many bytes, fewer where the input or MAX ends. */
static inline struct text sample_text(struct sample *s, size_t max)
{
	size_t n = wire_u8(&s->in), left = (size_t)(s->in.end - s->in.at);

	n = n < left ? n : left;
	n = n < max ? n : max;
	struct text t = {(const char *)s->in.at, n};

	s->in.at += n;
	return t;
}

#define U8(f) m->f = wire_u8(&s->in);
#define U16(f) m->f = wire_u16(&s->in);
#define U32(f) m->f = wire_u32(&s->in);
#define U64(f) m->f = wire_u64(&s->in);
#define TEXTF(f, max) m->f = sample_text(s, max);
#define LIST(r, f, max) m->f = sample_list_##r(s, max);
#define RECORD(n)                                                                                  \
	static inline void sample_rec_##n(struct sample *s, struct rec_##n *m)                     \
	{
#define RECORD_END(n)                                                                              \
	}                                                                                          \
	static inline struct wire_list sample_list_##n(struct sample *s, uint32_t max)             \
	{                                                                                          \
		struct wire_list list = {.count = wire_u8(&s->in) % 5u};                           \
		must(s->lists < sizeof s->items / sizeof *s->items);                               \
		struct bytes *to = &s->items[s->lists++];                                          \
		list.count = list.count < max ? list.count : max;                                  \
		for (uint32_t i = 0; i < list.count; i++) {                                        \
			struct rec_##n item = {0};                                                 \
			sample_rec_##n(s, &item);                                                  \
			rec_##n##_encode(to, &item);                                               \
		}                                                                                  \
		list.items = bytes_text(to);                                                       \
		return list;                                                                       \
	}
#define MESSAGE(n, from, to_, fd)                                                                  \
	static inline void sample_msg_##n(struct sample *s, struct bytes *to)                      \
	{                                                                                          \
		struct msg_##n value = {0}, *m = &value;
#define MESSAGE_END(n)                                                                             \
	message_encode(to, MSG_##n, m);                                                            \
	}
#include "messages.def"

#define RECORD(n)
#define RECORD_END(n)
#define MESSAGE_END(n)
#define U8(f)
#define U16(f)
#define U32(f)
#define U64(f)
#define TEXTF(f, max)
#define LIST(r, f, max)
#define MESSAGE(n, from, to, fd) [MSG_##n] = sample_msg_##n,

/* Appends the payload of a message of TYPE, which must be one, made of DATA. */
static inline void message_sample(struct bytes *to, unsigned type, const void *data, size_t len)
{
	static void (*const samples[MSG_COUNT])(struct sample *, struct bytes *) = {
#include "messages.def"
	};
	struct sample s = {.in = wire_reader_over(data, len)};

	must(message_rule(type));
	samples[type](&s, to);
	for (size_t i = 0; i < s.lists; i++)
		bytes_free(&s.items[i]);
}

#endif
