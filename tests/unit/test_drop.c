/* SPDX-License-Identifier: ISC */
/* The maildrop's frames, files and names; what no postdrop writes is refused. */
#include "drop.h"
#include "envelope.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* Tags in their order, each with a length that it may have; the last one is what is asked about. */
static const struct {
	const char *tags;
	uint32_t length;
	enum drop_fault fault;
} orders[] = {
    {"B", 9, DROP_FINE},       {"B", 8, DROP_LENGTH},	   {"S", 5, DROP_ORDER},
    {"BS", 0, DROP_FINE},      {"BS", 320, DROP_FINE},	   {"BS", 321, DROP_LENGTH},
    {"BSS", 5, DROP_ORDER},    {"BR", 5, DROP_ORDER},	   {"BSV", 100, DROP_FINE},
    {"BSV", 0, DROP_LENGTH},   {"BSV", 101, DROP_LENGTH},  {"BSVV", 5, DROP_ORDER},
    {"BSH", 1, DROP_FINE},     {"BSVH", 1, DROP_FINE},	   {"BSHV", 5, DROP_ORDER},
    {"BSR", 321, DROP_FINE},   {"BSR", 322, DROP_LENGTH},  {"BSR", 1, DROP_LENGTH},
    {"BSVHRR", 5, DROP_FINE},  {"BSC", 5, DROP_ORDER},	   {"BSE", 1, DROP_ORDER},
    {"BSRE", 1, DROP_FINE},    {"BSRC", 65536, DROP_FINE}, {"BSRC", 65537, DROP_LENGTH},
    {"BSRC", 0, DROP_LENGTH},  {"BSRCC", 1, DROP_FINE},	   {"BSRCR", 5, DROP_ORDER},
    {"BSRCE", 1, DROP_FINE},   {"BSRCE", 2, DROP_LENGTH},  {"BSRCEE", 1, DROP_ORDER},
    {"BSRCEC", 1, DROP_ORDER}, {"BX", 1, DROP_ORDER},	   {"B-", 1, DROP_ORDER},
    {"-", 1, DROP_ORDER},
};

static uint32_t usual(char tag)
{
	return tag == 'B' ? 9 : tag == 'H' || tag == 'E' ? 1 : 5;
}

static void test_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
		struct drop_scan scan = {.last = 0};
		const char *tag = orders[i].tags;

		for (; tag[1]; tag++)
			assert_int_equal(drop_scan_frame(&scan, (uint8_t)*tag, usual(*tag)),
					 DROP_FINE);
		if (drop_scan_frame(&scan, (uint8_t)*tag, orders[i].length) != orders[i].fault)
			fail_msg("%s with %u octets", orders[i].tags, (unsigned)orders[i].length);
	}
	struct drop_scan zero = {.last = 0};

	assert_int_equal(drop_scan_frame(&zero, 0, 1), DROP_ORDER);
}

static void test_bounds(void **state)
{
	struct drop_scan scan = {.last = DROP_SENDER};
	uint64_t content = 0;

	(void)state;
	for (unsigned i = 0; i < DROP_RECIPIENTS_MAX; i++)
		assert_int_equal(drop_scan_frame(&scan, DROP_RECIPIENT, 1 + DROP_ADDRESS_MAX),
				 DROP_FINE);
	assert_true(scan.fields_bytes <= DROP_FIELDS_MAX);
	assert_int_equal(drop_scan_frame(&scan, DROP_RECIPIENT, 5), DROP_MANY);
	while (content < DROP_CONTENT_MAX) {
		assert_int_equal(drop_scan_frame(&scan, DROP_CONTENT, DROP_PIECE_MAX), DROP_FINE);
		content += DROP_PIECE_MAX;
	}
	assert_int_equal(drop_scan_frame(&scan, DROP_CONTENT, 1), DROP_LARGE);
	assert_int_equal(drop_scan_frame(&scan, DROP_END, 1), DROP_FINE);
	assert_int_equal(scan.content_bytes, DROP_CONTENT_MAX);
}

static void test_values(void **state)
{
	static const struct {
		uint8_t tag;
		const char *value;
		uint32_t length;
		bool fine;
	} rows[] = {
	    {DROP_BEGIN, "veredus 1", 9, true},
	    {DROP_BEGIN, "veredus 2", 9, false},
	    {DROP_SENDER, "", 0, true},
	    {DROP_SENDER, "ann@example.net", 15, true},
	    {DROP_SENDER, "-f@example.net", 14, true},
	    {DROP_SENDER, "a\nb", 3, false},
	    {DROP_SENDER, "a\0b", 3, false},
	    {DROP_SENDER, "a\x7f", 2, false},
	    {DROP_SENDER, "\xc3\xa9@x", 4, true},
	    {DROP_ENVID, "a+2B", 4, true},
	    {DROP_ENVID, "a\r", 2, false},
	    {DROP_RET, "\2", 1, true},
	    {DROP_RET, "\3", 1, false},
	    {DROP_RECIPIENT, "\0a", 2, true},
	    {DROP_RECIPIENT, "\17a", 2, true},
	    {DROP_RECIPIENT, "\20a", 2, false},
	    {DROP_RECIPIENT, "\0a\r\nb", 5, false},
	    {DROP_CONTENT, "\0\r", 2, true},
	    {DROP_END, "\3", 1, true},
	    {DROP_END, "\4", 1, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if ((drop_check_value(rows[i].tag, (const uint8_t *)rows[i].value,
				      rows[i].length) == DROP_FINE) != rows[i].fine)
			fail_msg("row %zu", i);
	for (int fault = DROP_FINE; fault <= DROP_LARGE; fault++)
		assert_true(strlen(drop_fault_text((enum drop_fault)fault)) > 5);
}

static void test_head(void **state)
{
	const struct drop_head head = {.fields = 77,
				       .flags = DROP_EIGHT_BIT,
				       .content = DROP_CONTENT_MAX,
				       .wall = 1795000000000000,
				       .token = 0xfedcba9876543210};
	uint8_t octets[DROP_HEAD_BYTES], broken[DROP_HEAD_BYTES];
	struct drop_head again;
	/* The last octet of each number: magic, fields, flags, content, time. */
	static const size_t high[] = {0, 7, 11, 15, 23, 31};

	(void)state;
	drop_head_encode(octets, &head);
	assert_true(drop_head_decode(octets, &again));
	assert_memory_equal(&again, &head, sizeof head);
	for (size_t i = 0; i < sizeof high / sizeof *high; i++) {
		memcpy(broken, octets, sizeof broken);
		broken[high[i]] = 0xff;
		assert_false(drop_head_decode(broken, &again));
	}
	memset(broken, 0, sizeof broken);
	assert_false(drop_head_decode(broken, &again));
}

static void put(struct bytes *to, enum drop_tag tag, const char *value, size_t len)
{
	uint8_t head[DROP_FRAME_BYTES];

	drop_frame_encode(head, tag, (uint32_t)len);
	bytes_add(to, head, sizeof head);
	bytes_add(to, value, len);
}

static void test_fields(void **state)
{
	struct bytes b = {0};
	struct drop_fields f;
	struct text address, rest;
	uint8_t notify;

	(void)state;
	put(&b, DROP_SENDER, "ann@example.net", 15);
	assert_false(drop_fields_read(bytes_text(&b), &f)); /* to nobody */
	put(&b, DROP_ENVID, "id", 2);
	put(&b, DROP_RET, "\1", 1);
	put(&b, DROP_RECIPIENT, "\1bob", 4);
	put(&b, DROP_RECIPIENT, "\0eve@example.org", 16);
	assert_true(drop_fields_read(bytes_text(&b), &f));
	assert_true(text_equals(f.sender, "ann@example.net"));
	assert_true(text_equals(f.envid, "id"));
	assert_int_equal(f.ret, RET_FULL);
	assert_int_equal(f.recipient_count, 2);
	rest = f.recipients;
	assert_true(drop_recipient_next(&rest, &address, &notify));
	assert_true(text_equals(address, "bob"));
	assert_int_equal(notify, NOTIFY_NEVER);
	assert_true(drop_recipient_next(&rest, &address, &notify));
	assert_true(text_equals(address, "eve@example.org"));
	assert_int_equal(notify, 0);
	assert_false(drop_recipient_next(&rest, &address, &notify));
	/* Cut off anywhere it is none, but behind a whole recipient. */
	for (size_t len = 0; len < bytes_len(&b); len++) {
		struct text cut = {(const char *)bytes_at(&b), len};

		assert_int_equal(drop_fields_read(cut, &f), len == bytes_len(&b) - 21);
	}
	put(&b, DROP_CONTENT, "x", 1);
	assert_false(drop_fields_read(bytes_text(&b), &f));
	bytes_free(&b);
}

static void test_names(void **state)
{
	static const struct {
		const char *name;
		bool fine;
		uint32_t uid, slot;
	} rows[] = {
	    {"m-0-0", true, 0, 0},
	    {"m-1000-4095", true, 1000, 4095},
	    {"m-4294967295-17", true, UINT32_MAX, 17},
	    {"m-1000-4096", false, 0, 0},
	    {"m-4294967296-0", false, 0, 0},
	    {"m-01-0", false, 0, 0},
	    {"m-1-00", false, 0, 0},
	    {"m-1-", false, 0, 0},
	    {"m--1", false, 0, 0},
	    {"m-1", false, 0, 0},
	    {"m-1-2-3", false, 0, 0},
	    {"m-+1-2", false, 0, 0},
	    {"M-1-2", false, 0, 0},
	    {"m-1-2/", false, 0, 0},
	    {"..", false, 0, 0},
	    {"", false, 0, 0},
	};
	char name[DROP_NAME_BYTES];
	uint32_t uid, slot;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(drop_name_parse(text_of(rows[i].name), &uid, &slot), rows[i].fine);
		if (!rows[i].fine)
			continue;
		assert_int_equal(uid, rows[i].uid);
		assert_int_equal(slot, rows[i].slot);
		drop_name_print(name, uid, slot);
		assert_string_equal(name, rows[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_order),  cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_values), cmocka_unit_test(test_head),
	    cmocka_unit_test(test_fields), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
