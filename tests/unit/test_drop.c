/* SPDX-License-Identifier: ISC */
/* The maildrop's frames, files and names; what no postdrop writes is refused. */
#include "bytes.h"
#include "envelope.h"
#include "pickup/drop_taker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

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
	for (int fault = DROP_FINE; fault <= DROP_BEHIND; fault++)
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
	drop_head_encode(broken, &again);
	assert_memory_equal(octets, broken, sizeof broken);
	assert_true(again.content == head.content && again.wall == head.wall);
	for (size_t i = 0; i < sizeof high / sizeof *high; i++) {
		memcpy(broken, octets, sizeof broken);
		broken[high[i]] = 0xff;
		assert_false(drop_head_decode(broken, &again));
	}
	memset(broken, 0, sizeof broken);
	assert_false(drop_head_decode(broken, &again));
	/* A sum is of what is read at once, and none stands where none was made. */
	struct drop_head summed = head;

	summed.flags |= DROP_SUMMED;
	summed.sum = 0x89abcdef;
	summed.content = DROP_SUMMED_MAX - summed.fields;
	drop_head_encode(octets, &summed);
	assert_true(drop_head_decode(octets, &again));
	assert_int_equal(again.sum, summed.sum);
	assert_int_equal(again.content, summed.content);
	summed.content++;
	drop_head_encode(octets, &summed);
	assert_false(drop_head_decode(octets, &again));
	summed.flags = 0;
	drop_head_encode(octets, &summed);
	assert_false(drop_head_decode(octets, &again));
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

/* -- frames into files ----------------------------------------------------------------------- */

/* A mail whose content is SIZE octets. */
static void put_mail(struct bytes *to, size_t size)
{
	static char content[DROP_PIECE_MAX];

	for (size_t i = 0; i < sizeof content; i++)
		content[i] = (char)('a' + i % 25);
	put(to, DROP_BEGIN, DROP_BEGIN_TEXT, 9);
	put(to, DROP_SENDER, "ann@example.net", 15);
	put(to, DROP_RECIPIENT, "\0bob", 4);
	for (size_t done = 0; done < size;) {
		size_t len = size - done < sizeof content ? size - done : sizeof content;

		put(to, DROP_CONTENT, content, len);
		done += len;
	}
	put(to, DROP_END, "\1", 1);
}

struct place {
	char folder[32], name[DROP_NAME_BYTES];
	int fd;
};

static void place_make(struct place *p)
{
	strcpy(p->folder, "/tmp/veredus-drop-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	p->fd = open(p->folder, O_RDONLY | O_DIRECTORY);
}

static void place_clear(struct place *p)
{
	unlinkat(p->fd, p->name, 0);
	rmdir(p->folder);
	close(p->fd);
}

/* Taken in pieces of STEP octets: what is in the file then. */
static void check_taken(struct place *p, const struct bytes *mail, size_t content, size_t step)
{
	static struct drop_taker t;
	int fd = drop_file_make(p->fd, false, 1000, 1, p->name);
	uint8_t octets[DROP_HEAD_BYTES];
	struct drop_head head;
	struct stat st;

	assert_true(fd >= 0);
	drop_taker_begin(&t, fd);
	for (size_t at = 0; at < bytes_len(mail); at += step) {
		size_t left = bytes_len(mail) - at;

		assert_true(drop_take(&t, bytes_at(mail) + at, left < step ? left : step));
	}
	assert_true(drop_is_whole(&t));
	assert_true(drop_finish(&t, 5, 7));
	close(fd);
	fd = openat(p->fd, p->name, O_RDONLY);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0404);
	assert_int_equal(read(fd, octets, sizeof octets), sizeof octets);
	assert_true(drop_head_decode(octets, &head));
	assert_int_equal(head.content, content);
	assert_int_equal(head.fields, 20 + 9);
	assert_int_equal(st.st_size, sizeof octets + 29 + content);
	assert_true(head.wall == 5 && head.token == 7);
	assert_int_equal(head.flags,
			 DROP_EIGHT_BIT | (content + 29 <= DROP_SUMMED_MAX ? DROP_SUMMED : 0));
	uint8_t *rest = malloc(content + 29);

	assert_int_equal(read(fd, rest, content + 29), content + 29);
	if (head.flags & DROP_SUMMED)
		assert_int_equal(drop_sum(rest, content + 29), head.sum);
	assert_memory_equal(rest, "S\x0f\0\0\0ann@example.netR\4\0\0\0\0bob", 29);
	for (size_t i = 0; i < content; i++)
		assert_int_equal(rest[29 + i], 'a' + i % DROP_PIECE_MAX % 25);
	free(rest);
	close(fd);
	unlinkat(p->fd, p->name, 0);
}

static void test_taken(void **state)
{
	static const size_t sizes[] = {0,
				       1,
				       DROP_SUMMED_MAX - 29,
				       DROP_SUMMED_MAX - 28,
				       DROP_PIECE_MAX,
				       DROP_PIECE_MAX + 1,
				       5 * DROP_PIECE_MAX};
	static const size_t steps[] = {1, 7, 4096, 65536, SIZE_MAX};
	struct place p;

	(void)state;
	place_make(&p);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct bytes mail = {0};

		put_mail(&mail, sizes[i]);
		for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
			check_taken(&p, &mail, sizes[i],
				    steps[k] == SIZE_MAX ? bytes_len(&mail) : steps[k]);
		bytes_free(&mail);
	}
	place_clear(&p);
}

/* Cut off anywhere it is no mail, and with anything behind its end neither. */
static void test_not_taken(void **state)
{
	static struct drop_taker t;
	struct bytes mail = {0};
	int status;

	(void)state;
	put_mail(&mail, 10);
	for (size_t len = 0; len < bytes_len(&mail); len++) {
		drop_taker_begin(&t, -1);
		assert_true(drop_take(&t, bytes_at(&mail), len));
		assert_false(drop_is_whole(&t));
		assert_int_equal(t.fault, len ? DROP_HALF : DROP_NONE);
		assert_non_null(drop_why(&t, &status));
		assert_int_equal(status, EX_DATAERR);
	}
	drop_taker_begin(&t, -1);
	bytes_add(&mail, "x", 1);
	assert_false(drop_take(&t, bytes_at(&mail), bytes_len(&mail)));
	assert_int_equal(t.fault, DROP_BEHIND);
	bytes_free(&mail);
	/* What is too large for the buffer goes to the file; there is none. */
	put_mail(&mail, DROP_SUMMED_MAX);
	drop_taker_begin(&t, -1);
	assert_false(drop_take(&t, bytes_at(&mail), bytes_len(&mail)));
	assert_int_equal(t.error, EBADF);
	assert_string_equal(drop_why(&t, &status), "writing");
	assert_int_equal(status, EX_TEMPFAIL);
	bytes_free(&mail);
}

/* No name is used twice, and no more than there are. */
static void test_slots(void **state)
{
	struct place p;
	char name[DROP_NAME_BYTES];
	int fd;

	(void)state;
	place_make(&p);
	for (uint32_t slot = 0; slot + 1 < DROP_SLOTS; slot++) {
		drop_name_print(name, &(struct drop_name){false, 1000, slot});
		assert_int_equal(symlinkat("/dev/null", p.fd, name), 0);
	}
	fd = drop_file_make(p.fd, false, 1000, DROP_SLOTS, p.name);
	assert_true(fd >= 0);
	close(fd);
	assert_string_equal(p.name, "m-1000-4095");
	assert_int_equal(drop_file_make(p.fd, false, 1000, DROP_SLOTS, name), -1);
	assert_int_equal(errno, EEXIST);
	for (uint32_t slot = 0; slot + 1 < DROP_SLOTS; slot++) {
		drop_name_print(name, &(struct drop_name){false, 1000, slot});
		assert_int_equal(unlinkat(p.fd, name, 0), 0);
	}
	place_clear(&p);
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
	    {"h-1000-4095", true, 1000, 4095},
	    {"h-1000-4096", false, 0, 0},
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
	struct drop_name n;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(drop_name_parse(text_of(rows[i].name), &n), rows[i].fine);
		if (!rows[i].fine)
			continue;
		assert_int_equal(n.hatch, *rows[i].name == 'h');
		assert_int_equal(n.uid, rows[i].uid);
		assert_int_equal(n.slot, rows[i].slot);
		drop_name_print(name, &n);
		assert_string_equal(name, rows[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_order),  cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_values), cmocka_unit_test(test_head),
	    cmocka_unit_test(test_fields), cmocka_unit_test(test_names),
	    cmocka_unit_test(test_taken),  cmocka_unit_test(test_not_taken),
	    cmocka_unit_test(test_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
