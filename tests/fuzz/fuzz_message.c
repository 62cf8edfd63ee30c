/* SPDX-License-Identifier: ISC */
/*
 * Messages between processes, of every type in messages.def: what decodes
 * encodes to the same bytes, its lists hold whole items that do so too, it
 * prints as one line; and what was encoded decodes. The first byte is the type.
 */
#include "message_sample.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(struct bytes *b, const void *data, size_t len)
{
	must(bytes_len(b) == len && (!len || memcmp(bytes_at(b), data, len) == 0));
	bytes_free(b);
}

#define U8(f)
#define U16(f)
#define U32(f)
#define U64(f)
#define TEXTF(f, max) must(m->f.len <= (max));
#define LIST(r, f, max)                                                                            \
	must(m->f.count <= (max));                                                                 \
	walk_list_##r(m->f);
#define RECORD(n)                                                                                  \
	static void check_rec_##n(const struct rec_##n *m)                                         \
	{                                                                                          \
		(void)m;
#define RECORD_END(n)                                                                              \
	}                                                                                          \
	static void walk_list_##n(struct wire_list list)                                           \
	{                                                                                          \
		const struct text items = list.items;                                              \
		struct bytes again = {0};                                                          \
		struct rec_##n item;                                                               \
		uint32_t count = list.count, n = 0;                                                \
		for (; list_next_##n(&list, &item); n++) {                                         \
			check_rec_##n(&item);                                                      \
			rec_##n##_encode(&again, &item);                                           \
		}                                                                                  \
		must(n == count && list.items.len == 0);                                           \
		check_same(&again, items.data, items.len);                                         \
	}
#define MESSAGE(n, from, to, fd)                                                                   \
	static void check_##n(const struct msg_##n *m)                                             \
	{                                                                                          \
		(void)m;
#define MESSAGE_END(n) }
#include "messages.def"

static void check_fields(const struct message *m)
{
	switch (m->type) {
#define RECORD(n)
#define RECORD_END(n)
#define MESSAGE_END(n)
#define U8(f)
#define U16(f)
#define U32(f)
#define U64(f)
#define TEXTF(f, max)
#define LIST(r, f, max)
#define MESSAGE(n, from, to, fd)                                                                   \
	case MSG_##n:                                                                              \
		check_##n(&m->n);                                                                  \
		return;
#include "messages.def"
	case MSG_NONE:
	case MSG_COUNT:
	default:
		must(false);
	}
}

static void check_print(const struct message *m)
{
	char *line = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&line, &len);

	must(f);
	message_print(f, m);
	must(fclose(f) == 0 && len > 1 && line[len - 1] == '\n');
	for (size_t i = 0; i < len - 1; i++)
		must((unsigned char)line[i] >= ' ' && line[i] != 0x7f);
	free(line);
}

static bool check_payload(const void *payload, size_t len, unsigned type)
{
	struct bytes again = {0};
	struct message m;

	if (!message_decode(payload, len, type, &m))
		return false;
	must(m.type == type && m.fd == -1);
	check_fields(&m);
	check_print(&m);
	message_encode(&again, m.type, &m.hello); /* all members of the union begin there */
	check_same(&again, payload, len);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message none = {.type = MSG_NONE};
	struct bytes payload = {0};

	if (!size)
		return 0;
	message_print(stdout, &none);
	check_payload(data + 1, size - 1, data[0]);
	if (!message_rule(data[0])) {
		must(!check_payload(data + 1, size - 1, data[0]));
		return 0;
	}
	message_sample(&payload, data[0], data + 1, size - 1);
	must(check_payload(bytes_at(&payload), bytes_len(&payload), data[0]));
	/* Strict: not a byte less or more. */
	must(!bytes_len(&payload) ||
	     !check_payload(bytes_at(&payload), bytes_len(&payload) - 1, data[0]));
	bytes_add(&payload, "", 1);
	must(!check_payload(bytes_at(&payload), bytes_len(&payload), data[0]));
	bytes_free(&payload);
	return 0;
}
