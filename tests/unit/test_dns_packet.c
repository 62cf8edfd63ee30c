/* SPDX-License-Identifier: ISC */
/* The reader of DNS answers (resolver/dns_packet.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns_packet.h"

#include <stdlib.h>
#include <string.h>

/* A packet under construction. */
struct packet {
	uint8_t data[4096];
	size_t len;
};

static void put(struct packet *p, const void *data, size_t len)
{
	assert_true(len <= sizeof p->data - p->len);
	memcpy(p->data + p->len, data, len);
	p->len += len;
}

static void put_u16(struct packet *p, unsigned v)
{
	put(p, (uint8_t[2]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

/* "a.example" uncompressed; "" is the root. */
static void put_name(struct packet *p, const char *name)
{
	while (*name) {
		size_t label = strcspn(name, ".");

		put(p, (uint8_t[1]){(uint8_t)label}, 1);
		put(p, name, label);
		name += label + (name[label] == '.');
	}
	put(p, "", 1);
}

static void begin(struct packet *p, unsigned rcode, unsigned answers, unsigned authority,
		  const char *name, unsigned type)
{
	p->len = 0;
	put_u16(p, 0x1234);
	put_u16(p, 0x8180 | rcode);
	put_u16(p, 1);
	put_u16(p, answers);
	put_u16(p, authority);
	put_u16(p, 0);
	put_name(p, name); /* at 12 */
	put_u16(p, type);
	put_u16(p, 1);
}

/* A record's head; its owner is the question's name by pointer when NAME is NULL. */
static void record(struct packet *p, const char *name, unsigned type, unsigned ttl, unsigned len)
{
	if (name)
		put_name(p, name);
	else
		put_u16(p, 0xc00c);
	put_u16(p, type);
	put_u16(p, 1);
	put_u16(p, 0);
	put_u16(p, ttl);
	put_u16(p, len);
}

static void mx_records_are_read(void **state)
{
	struct packet p;

	(void)state;
	begin(&p, 0, 2, 0, "Example.ORG", DNS_MX);
	record(&p, NULL, DNS_MX, 300, 2 + 4 + 2);
	put_u16(&p, 10);
	put(&p, "\003MX1\xc0\x0c", 6);
	record(&p, "example.org", DNS_MX, 200, 2 + 1);
	put_u16(&p, 0);
	put_name(&p, "");
	struct dns_answer *a = dns_packet_read(p.data, p.len, DNS_MX);

	assert_non_null(a);
	assert_int_equal(a->count, 2);
	assert_int_equal(a->ttl_s, 200);
	assert_int_equal(a->records[0].preference, 10);
	assert_string_equal(a->records[0].name, "mx1.example.org");
	assert_string_equal(a->records[1].name, "");
	free(a);
}

static void addresses_behind_a_chain_are_read(void **state)
{
	struct packet p;

	(void)state;
	begin(&p, 0, 4, 0, "a.example", DNS_A);
	record(&p, "c.example", DNS_A, 60, 4); /* order does not matter */
	put(&p, "\xc0\x00\x02\x07", 4);
	record(&p, NULL, DNS_CNAME, 50, 11);
	put_name(&p, "b.example");
	record(&p, "b.example", DNS_CNAME, 70, 11);
	put_name(&p, "c.example");
	record(&p, "d.example", DNS_A, 1, 4); /* another's: not taken */
	put(&p, "\xc0\x00\x02\x08", 4);
	struct dns_answer *a = dns_packet_read(p.data, p.len, DNS_A);
	static const uint8_t want[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 7};

	assert_non_null(a);
	assert_int_equal(a->count, 1);
	assert_int_equal(a->ttl_s, 50);
	assert_memory_equal(a->records[0].address, want, 16);
	free(a);
}

static void tlsa_records_are_read(void **state)
{
	static const uint8_t data[] = {3, 1, 1, 0xde, 0xad, 0};
	struct packet p;

	(void)state;
	begin(&p, 0, 3, 0, "_25._tcp.mx.example", DNS_TLSA);
	record(&p, NULL, DNS_CNAME, 90, 14);
	put_name(&p, "tlsa.example");
	record(&p, "tlsa.example", DNS_TLSA, 70, sizeof data);
	put(&p, data, sizeof data);
	record(&p, "tlsa.example", DNS_TLSA, 70, 3); /* without any data */
	put(&p, data, 3);
	struct dns_answer *a = dns_packet_read(p.data, p.len, DNS_TLSA);

	assert_non_null(a);
	assert_int_equal(a->count, 2);
	assert_int_equal(a->ttl_s, 70);
	assert_true(a->aliased);
	assert_string_equal(a->canonical, "tlsa.example");
	assert_int_equal(a->records[0].usage, 3);
	assert_int_equal(a->records[0].len, 3);
	assert_memory_equal(a->records[0].data, data + 3, 3);
	assert_int_equal(a->records[1].len, 0);
	free(a);
	begin(&p, 0, 1, 0, "_25._tcp.mx.example", DNS_TLSA);
	record(&p, NULL, DNS_TLSA, 70, 2);
	put(&p, data, 2);
	assert_null(dns_packet_read(p.data, p.len, DNS_TLSA));
}

/* Asked for as such, a CNAME is a record like others. */
static void a_cname_is_not_followed_when_asked_for(void **state)
{
	struct packet p;

	(void)state;
	begin(&p, 0, 2, 0, "mx.example", DNS_CNAME);
	record(&p, NULL, DNS_CNAME, 90, 11);
	put_name(&p, "a.example");
	record(&p, "a.example", DNS_CNAME, 80, 11);
	put_name(&p, "b.example");
	struct dns_answer *a = dns_packet_read(p.data, p.len, DNS_CNAME);

	assert_non_null(a);
	assert_int_equal(a->count, 1);
	assert_string_equal(a->records[0].name, "a.example");
	assert_false(a->aliased);
	assert_string_equal(a->canonical, "");
	free(a);
}

static void negative_answers_live_as_the_soa_says(void **state)
{
	struct packet p;

	(void)state;
	begin(&p, DNS_NXDOMAIN, 0, 1, "gone.example", DNS_MX);
	record(&p, "example", DNS_SOA, 900, 1 + 1 + 20);
	put(&p, "\0\0", 2);
	for (int i = 0; i < 4; i++)
		put(&p, "\0\0\0\1", 4);
	put(&p, "\0\0\1\x2c", 4); /* MINIMUM 300 */
	struct dns_answer *a = dns_packet_read(p.data, p.len, DNS_MX);

	assert_non_null(a);
	assert_int_equal(a->rcode, DNS_NXDOMAIN);
	assert_int_equal(a->count, 0);
	assert_int_equal(a->ttl_s, 300);
	free(a);
}

static void names_that_are_no_host_names_are_left_out(void **state)
{
	struct packet p;

	(void)state;
	begin(&p, 0, 2, 0, "x.example", DNS_MX);
	record(&p, NULL, DNS_MX, 60, 2 + 5 + 2);
	put_u16(&p, 1);
	put(&p, "\004a.\n\0\xc0\x0c", 7); /* a label with a dot, a newline and a NUL */
	record(&p, NULL, DNS_MX, 60, 2 + 5 + 2);
	put_u16(&p, 1);
	put(&p, "\004m_-1\xc0\x0c", 7);
	struct dns_answer *a = dns_packet_read(p.data, p.len, DNS_MX);

	assert_non_null(a);
	assert_int_equal(a->count, 1);
	assert_int_equal(a->unusable, 1);
	assert_string_equal(a->records[0].name, "m_-1.x.example");
	free(a);
}

static void what_is_malformed_is_refused(void **state)
{
	struct packet p;

	(void)state;
	/* A pointer to itself. */
	begin(&p, 0, 1, 0, "x.example", DNS_MX);
	unsigned here = 0xc000 | (unsigned)(p.len + 12 + 2);

	record(&p, NULL, DNS_MX, 60, 4);
	put_u16(&p, 1);
	put_u16(&p, here);
	assert_null(dns_packet_read(p.data, p.len, DNS_MX));
	/* A forward pointer as the owner. */
	begin(&p, 0, 1, 0, "x.example", DNS_A);
	put_u16(&p, 0xc000 | (unsigned)(p.len + 2));
	put(&p, "\0\0\1\0\1\0\0\0\1\0\4\1\2\3\4", 15);
	assert_null(dns_packet_read(p.data, p.len, DNS_A));
	/* An address that is too short, an answer to another question. */
	begin(&p, 0, 1, 0, "x.example", DNS_A);
	record(&p, NULL, DNS_A, 60, 3);
	put(&p, "\1\2\3", 3);
	assert_null(dns_packet_read(p.data, p.len, DNS_A));
	assert_null(dns_packet_read(p.data, p.len, DNS_AAAA));
	/* A name longer than its record. */
	begin(&p, 0, 1, 0, "x.example", DNS_MX);
	record(&p, NULL, DNS_MX, 60, 5);
	put(&p, "\0\1\5abcde\0", 9);
	assert_null(dns_packet_read(p.data, p.len, DNS_MX));
	/* A chain that bites its tail. */
	begin(&p, 0, 1, 0, "x.example", DNS_A);
	record(&p, NULL, DNS_CNAME, 60, 2);
	put_u16(&p, 0xc00c);
	assert_null(dns_packet_read(p.data, p.len, DNS_A));
}

/* Every shorter form of a good packet is refused, and read from memory that ends where it does. */
static void what_is_cut_is_refused(void **state)
{
	struct packet p;

	(void)state;
	begin(&p, 0, 1, 0, "example.org", DNS_MX);
	record(&p, NULL, DNS_MX, 300, 8);
	put_u16(&p, 10);
	put(&p, "\003mx1\xc0\x0c", 6);
	for (size_t len = 0; len < p.len; len++) {
		uint8_t *cut = malloc(len + 1);

		memcpy(cut, p.data, len);
		cut = realloc(cut, len ? len : 1);
		assert_null(dns_packet_read(cut, len, DNS_MX));
		free(cut);
	}
}

static void a_name_of_255_octets_is_the_longest(void **state)
{
	char name[300] = "";
	struct packet p;

	(void)state;
	/* 3 * 64 + 62 + the root = 255; one more is too much */
	for (int extra = 0; extra < 2; extra++) {
		memset(name, 'a', 253 + (size_t)extra);
		name[63] = name[127] = name[191] = '.';
		name[253 + extra] = '\0';
		begin(&p, 0, 1, 0, name, DNS_A);
		record(&p, NULL, DNS_A, 60, 4);
		put(&p, "\1\2\3\4", 4);
		struct dns_answer *a = dns_packet_read(p.data, p.len, DNS_A);

		assert_int_equal(a != NULL, extra == 0);
		assert_int_equal(dns_name_is_host(name), extra == 0);
		free(a);
	}
}

static void many_records_are_cut(void **state)
{
	struct packet p;

	(void)state;
	begin(&p, 0, 200, 0, "x.example", DNS_A);
	for (int i = 0; i < 200; i++) {
		record(&p, NULL, DNS_A, 60, 4);
		put(&p, "\1\2\3\4", 4);
	}
	struct dns_answer *a = dns_packet_read(p.data, p.len, DNS_A);

	assert_non_null(a);
	assert_int_equal(a->count, DNS_RECORDS_MAX);
	free(a);
}

static void text_records_are_joined(void **state)
{
	static const struct {
		const char *rdata;
		size_t len;
		const char *text; /* NULL: malformed */
	} rows[] = {
	    {"\3abc", 4, "abc"},
	    {"\3abc\2de", 7, "abcde"},
	    {"\0\3abc\0\2de\0", 10, "abcde"},
	    {"\0", 1, ""},
	    {"", 0, NULL},
	    {"\4abc", 4, NULL},
	    {"\3abc\1", 5, NULL},
	};
	struct packet p;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		begin(&p, 0, 2, 0, "_x.example", DNS_TXT);
		record(&p, NULL, DNS_TXT, 60, (unsigned)rows[i].len);
		put(&p, rows[i].rdata, rows[i].len);
		record(&p, NULL, DNS_TXT, 60, 2);
		put(&p, "\1z", 2);
		struct dns_answer *a = dns_packet_read(p.data, p.len, DNS_TXT);

		assert_true((a != NULL) == (rows[i].text != NULL));
		if (!a)
			continue;
		assert_int_equal(a->count, 2);
		assert_int_equal(a->records[0].len, strlen(rows[i].text));
		assert_memory_equal(a->records[0].data, rows[i].text, strlen(rows[i].text));
		assert_memory_equal(a->records[1].data, "z", 1);
		assert_null(a->records[0].name);
		free(a);
	}
}

static void host_names(void **state)
{
	(void)state;
	assert_true(dns_name_is_host("mx.example"));
	assert_true(dns_name_is_host("xn--bcher-kva.example"));
	assert_false(dns_name_is_host(""));
	assert_false(dns_name_is_host("."));
	assert_false(dns_name_is_host("a..b"));
	assert_false(dns_name_is_host(".a"));
	assert_false(dns_name_is_host("a."));
	assert_false(dns_name_is_host("a b"));
	assert_false(dns_name_is_host("a\\b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mx_records_are_read),
	    cmocka_unit_test(addresses_behind_a_chain_are_read),
	    cmocka_unit_test(tlsa_records_are_read),
	    cmocka_unit_test(a_cname_is_not_followed_when_asked_for),
	    cmocka_unit_test(negative_answers_live_as_the_soa_says),
	    cmocka_unit_test(names_that_are_no_host_names_are_left_out),
	    cmocka_unit_test(what_is_malformed_is_refused),
	    cmocka_unit_test(what_is_cut_is_refused),
	    cmocka_unit_test(a_name_of_255_octets_is_the_longest),
	    cmocka_unit_test(many_records_are_cut),
	    cmocka_unit_test(text_records_are_joined),
	    cmocka_unit_test(host_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
