/* SPDX-License-Identifier: ISC */
/*
 * The maildrop: the input is read as a file of it, and as the stream that
 * postdrop reads; what one takes, the other takes, and all is within bounds.
 */
#include "drop.h"
#include "must.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_fields(struct text fields)
{
	struct drop_fields f;
	struct text rest, address;
	uint32_t count = 0;
	uint8_t notify;

	if (!drop_fields_read(fields, &f))
		return;
	must(f.sender.len <= DROP_ADDRESS_MAX && f.envid.len <= DROP_ENVID_MAX && f.ret <= 2);
	must(!f.sender.len || !memchr(f.sender.data, '\n', f.sender.len));
	rest = f.recipients;
	while (drop_recipient_next(&rest, &address, &notify)) {
		must(address.len > 0 && address.len <= DROP_ADDRESS_MAX && notify <= 15);
		must(!memchr(address.data, '\n', address.len));
		count++;
	}
	must(count == f.recipient_count && count <= DROP_RECIPIENTS_MAX && !rest.len);
}

static void check_file(const uint8_t *data, size_t size)
{
	uint8_t again[DROP_HEAD_BYTES];
	struct drop_head head;

	if (size < DROP_HEAD_BYTES || !drop_head_decode(data, &head))
		return;
	must(head.fields <= DROP_FIELDS_MAX && head.content <= DROP_CONTENT_MAX);
	drop_head_encode(again, &head);
	must(memcmp(again, data, sizeof again) == 0);
	if (head.fields <= size - DROP_HEAD_BYTES)
		check_fields((struct text){(const char *)data + DROP_HEAD_BYTES, head.fields});
}

/* As postdrop does; what it would have written as fields is read again. */
static void check_stream(const uint8_t *data, size_t size)
{
	static uint8_t fields[DROP_FIELDS_MAX];
	struct drop_scan scan = {.last = 0};
	size_t used = 0;
	uint32_t length;
	uint8_t tag;

	while (size >= DROP_FRAME_BYTES) {
		drop_frame_decode(data, &tag, &length);
		if (drop_scan_frame(&scan, tag, length) != DROP_FINE ||
		    length > size - DROP_FRAME_BYTES ||
		    drop_check_value(tag, data + DROP_FRAME_BYTES, length) != DROP_FINE)
			return;
		if (drop_is_field(tag)) {
			memcpy(fields + used, data, DROP_FRAME_BYTES + length);
			used += DROP_FRAME_BYTES + length;
		}
		data += DROP_FRAME_BYTES + length;
		size -= DROP_FRAME_BYTES + length;
		must(used == scan.fields_bytes && used <= DROP_FIELDS_MAX);
		if (tag != DROP_END)
			continue;
		struct drop_fields f;

		must(drop_fields_read((struct text){(const char *)fields, used}, &f));
		must(f.recipient_count == scan.recipients);
		return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text name = {(const char *)data, size};
	char again[DROP_NAME_BYTES];
	uint32_t uid, slot;

	if (drop_name_parse(name, &uid, &slot)) {
		drop_name_print(again, uid, slot);
		must(slot < DROP_SLOTS && text_equals(name, again));
	}
	for (int fault = DROP_FINE; fault <= DROP_LARGE; fault++)
		must(*drop_fault_text((enum drop_fault)fault));
	check_file(data, size);
	check_stream(data, size);
	return 0;
}
