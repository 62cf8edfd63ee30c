/* SPDX-License-Identifier: ISC */
/* Frames and files of the maildrop. */
#include "drop.h"

#include "siphash.h"

#include <stdio.h>
#include <string.h>

static const uint8_t magic[8] = {'V', 'E', 'R', 'D', 'R', 'O', 'P', 1};

static void put_number(uint8_t *to, uint64_t value, size_t octets)
{
	for (size_t i = 0; i < octets; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t take_number(const uint8_t *from, size_t octets)
{
	uint64_t value = 0;

	for (size_t i = 0; i < octets; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

/* -- frames ------------------------------------------------------------------------------ */

void drop_frame_encode(uint8_t to[DROP_FRAME_BYTES], enum drop_tag tag, uint32_t length)
{
	to[0] = (uint8_t)tag;
	put_number(to + 1, length, 4);
}

void drop_frame_decode(const uint8_t from[DROP_FRAME_BYTES], uint8_t *tag, uint32_t *length)
{
	*tag = from[0];
	*length = (uint32_t)take_number(from + 1, 4);
}

/* A tag: after which ones it may come, and how long it may be. */
static const struct {
	uint8_t tag;
	const char *after; /* "-": it is the first */
	uint32_t least, most;
} rows[] = {
    {DROP_BEGIN, "-", sizeof DROP_BEGIN_TEXT - 1, sizeof DROP_BEGIN_TEXT - 1},
    {DROP_SENDER, "B", 0, DROP_ADDRESS_MAX},
    {DROP_ENVID, "S", 1, DROP_ENVID_MAX},
    {DROP_RET, "SV", 1, 1},
    {DROP_RECIPIENT, "SVHR", 2, 1 + DROP_ADDRESS_MAX},
    {DROP_CONTENT, "RC", 1, DROP_PIECE_MAX},
    {DROP_END, "RC", 1, 1},
};

bool drop_is_field(uint8_t tag)
{
	return tag == DROP_SENDER || tag == DROP_ENVID || tag == DROP_RET || tag == DROP_RECIPIENT;
}

enum drop_fault drop_scan_frame(struct drop_scan *scan, uint8_t tag, uint32_t length)
{
	size_t i = 0;

	while (i < sizeof rows / sizeof *rows && rows[i].tag != tag)
		i++;
	if (i == sizeof rows / sizeof *rows ||
	    !strchr(rows[i].after, scan->last ? scan->last : '-'))
		return DROP_ORDER;
	if (length < rows[i].least || length > rows[i].most)
		return DROP_LENGTH;
	if (tag == DROP_RECIPIENT && scan->recipients == DROP_RECIPIENTS_MAX)
		return DROP_MANY;
	if (tag == DROP_CONTENT && length > DROP_CONTENT_MAX - scan->content_bytes)
		return DROP_LARGE;
	scan->last = tag;
	scan->recipients += tag == DROP_RECIPIENT;
	if (tag == DROP_CONTENT)
		scan->content_bytes += length;
	else if (drop_is_field(tag))
		scan->fields_bytes += DROP_FRAME_BYTES + length;
	return DROP_FINE;
}

/* No octet that ends a line or a word of any protocol or log; what an address is, submission says.
 */
static bool is_plain(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] < 0x20 || data[i] == 0x7f)
			return false;
	return true;
}

enum drop_fault drop_check_value(uint8_t tag, const uint8_t *data, uint32_t length)
{
	bool fine = true;

	switch (tag) {
	case DROP_BEGIN:
		fine = memcmp(data, DROP_BEGIN_TEXT, length) == 0;
		break;
	case DROP_SENDER:
	case DROP_ENVID:
		fine = is_plain(data, length);
		break;
	case DROP_RET:
		fine = data[0] <= 2;
		break;
	case DROP_RECIPIENT:
		fine = data[0] <= 15 && is_plain(data + 1, length - 1);
		break;
	case DROP_END:
		fine = data[0] <= (DROP_EIGHT_BIT | DROP_UTF8);
		break;
	default:
		break;
	}
	return fine ? DROP_FINE : DROP_VALUE;
}

const char *drop_fault_text(enum drop_fault fault)
{
	switch (fault) {
	case DROP_ORDER:
		return "it is no mail as sendmail(1) hands it in";
	case DROP_LENGTH:
		return "an address, or another part of it, is too long or empty";
	case DROP_VALUE:
		return "an address, or another part of it, holds what cannot stand there";
	case DROP_MANY:
		return "it has more than 1000 recipients";
	case DROP_LARGE:
		return "it is too large";
	case DROP_NONE:
		return "there is no mail";
	case DROP_HALF:
		return "the mail breaks off";
	case DROP_BEHIND:
		return "there is something behind the mail";
	case DROP_FINE:
		break;
	}
	return "it is fine";
}

/* -- files ------------------------------------------------------------------------------- */

void drop_head_encode(uint8_t to[DROP_HEAD_BYTES], const struct drop_head *head)
{
	memcpy(to, magic, sizeof magic);
	put_number(to + 8, head->fields, 4);
	put_number(to + 12, head->flags, 4);
	put_number(to + 16, head->content, 4);
	put_number(to + 20, head->sum, 4);
	put_number(to + 24, head->wall, 8);
	put_number(to + 32, head->token, 8);
}

bool drop_head_decode(const uint8_t from[DROP_HEAD_BYTES], struct drop_head *head)
{
	*head = (struct drop_head){
	    .fields = (uint32_t)take_number(from + 8, 4),
	    .flags = (uint32_t)take_number(from + 12, 4),
	    .content = take_number(from + 16, 4),
	    .sum = (uint32_t)take_number(from + 20, 4),
	    .wall = take_number(from + 24, 8),
	    .token = take_number(from + 32, 8),
	};
	bool summed = head->flags & DROP_SUMMED;

	if (memcmp(from, magic, sizeof magic) != 0 || head->fields > DROP_FIELDS_MAX ||
	    head->flags > (DROP_EIGHT_BIT | DROP_UTF8 | DROP_SUMMED) ||
	    head->content > DROP_CONTENT_MAX || head->wall > INT64_MAX)
		return false;
	return summed ? head->fields + head->content <= DROP_SUMMED_MAX : !head->sum;
}

uint32_t drop_sum(const uint8_t *data, size_t len)
{
	static const uint8_t key[SIPHASH_KEY_BYTES] = {0}; /* nobody is kept from computing it */

	return (uint32_t)siphash(key, data, len);
}

/* The next frame of FROM; false at its end, and at what is none. */
static bool next_frame(struct text *from, struct drop_scan *scan, uint8_t *tag, struct text *value)
{
	uint32_t length;

	if (from->len < DROP_FRAME_BYTES)
		return false;
	drop_frame_decode((const uint8_t *)from->data, tag, &length);
	if (length > from->len - DROP_FRAME_BYTES || !drop_is_field(*tag) ||
	    drop_scan_frame(scan, *tag, length) != DROP_FINE)
		return false;
	*value = (struct text){from->data + DROP_FRAME_BYTES, length};
	if (drop_check_value(*tag, (const uint8_t *)value->data, length) != DROP_FINE)
		return false;
	from->data += DROP_FRAME_BYTES + length;
	from->len -= DROP_FRAME_BYTES + length;
	return true;
}

bool drop_fields_read(struct text from, struct drop_fields *to)
{
	struct drop_scan scan = {.last = DROP_BEGIN};
	struct text value;
	uint8_t tag;

	*to = (struct drop_fields){.ret = 0};
	while (from.len) {
		struct text here = from;

		if (!next_frame(&from, &scan, &tag, &value))
			return false;
		if (tag == DROP_SENDER)
			to->sender = value;
		else if (tag == DROP_ENVID)
			to->envid = value;
		else if (tag == DROP_RET)
			to->ret = (uint8_t)value.data[0];
		else if (!to->recipient_count++)
			to->recipients = here;
	}
	return to->recipient_count > 0;
}

bool drop_recipient_next(struct text *recipients, struct text *address, uint8_t *notify)
{
	struct drop_scan scan = {.last = DROP_SENDER};
	struct text value;
	uint8_t tag;

	if (!next_frame(recipients, &scan, &tag, &value) || tag != DROP_RECIPIENT)
		return false;
	*notify = (uint8_t)value.data[0];
	*address = (struct text){value.data + 1, value.len - 1};
	return true;
}

/* -- names ------------------------------------------------------------------------------- */

void drop_name_print(char to[DROP_NAME_BYTES], const struct drop_name *name)
{
	snprintf(to, DROP_NAME_BYTES, "%c-%u-%u", name->hatch ? 'h' : 'm', (unsigned)name->uid,
		 (unsigned)name->slot);
}

bool drop_name_parse(struct text from, struct drop_name *name)
{
	char again[DROP_NAME_BYTES];
	uint64_t first, second;

	if (from.len < 5 || (from.data[0] != 'm' && from.data[0] != 'h') || from.data[1] != '-')
		return false;
	struct text rest = {from.data + 2, from.len - 2};
	ptrdiff_t dash = text_find(rest, '-');

	if (dash < 0 || !text_number((struct text){rest.data, (size_t)dash}, UINT32_MAX, &first) ||
	    !text_number((struct text){rest.data + dash + 1, rest.len - (size_t)dash - 1},
			 DROP_SLOTS - 1, &second))
		return false;
	*name = (struct drop_name){from.data[0] == 'h', (uint32_t)first, (uint32_t)second};
	/* One way of writing each: no leading zeros. */
	drop_name_print(again, name);
	return text_equals(from, again);
}
