/* SPDX-License-Identifier: ISC */
/*
 * The maildrop: the input is read as a file of it, and as the stream that
 * postdrop reads; what one takes, the other takes, and all is within bounds.
 */
#include "../../pickup/drop_taker.h"
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

/* As postdrop does, in one piece and in two: what it would write as fields is read again. */
static void check_stream(const uint8_t *data, size_t size)
{
	static struct drop_taker t, halves;
	size_t half = size ? data[size - 1] % size : 0;
	struct drop_fields f;

	drop_taker_begin(&t, -1);
	drop_taker_begin(&halves, -1);
	bool whole = drop_take(&t, data, size) && drop_is_whole(&t);
	bool same = drop_take(&halves, data, half) &&
		    drop_take(&halves, data + half, size - half) && drop_is_whole(&halves);

	must(whole == same && (whole || t.fault != DROP_FINE || t.error));
	if (!whole || t.written)
		return;
	must(t.out_len == DROP_HEAD_BYTES + t.scan.fields_bytes + t.scan.content_bytes);
	must(t.out_len == halves.out_len && memcmp(t.out, halves.out, t.out_len) == 0);
	must(drop_fields_read(
	    (struct text){(const char *)t.out + DROP_HEAD_BYTES, t.scan.fields_bytes}, &f));
	must(f.recipient_count == t.scan.recipients);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text name = {(const char *)data, size};
	char again[DROP_NAME_BYTES];
	struct drop_name parsed;

	if (drop_name_parse(name, &parsed)) {
		drop_name_print(again, &parsed);
		must(parsed.slot < DROP_SLOTS && text_equals(name, again));
	}
	for (int fault = DROP_FINE; fault <= DROP_BEHIND; fault++)
		must(*drop_fault_text((enum drop_fault)fault));
	check_file(data, size);
	check_stream(data, size);
	return 0;
}
