/* SPDX-License-Identifier: ISC */
/* Reports on TLS: the record that asks for them, what is counted in a day, and what is written of
 * it. */
#include "tls_day.h"
#include "tls_record.h"
#include "tls_report.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

enum { DAY = 20779 }; /* 2026-11-22 */

static const uint8_t key[SIPHASH_KEY_BYTES] = "0123456789abcde";
static const char receiver[] = "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1",
		  own[] = "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2";

/* -- records ----------------------------------------------------------------------------- */

static const struct {
	const char *said;
	const char *targets; /* "+" before a URL; NULL: it is none */
} records_said[] = {
    {"v=TLSRPTv1; rua=mailto:reports@example.com", "reports@example.com "},
    {"v=TLSRPTv1;rua=mailto:reports@example.com;", "reports@example.com "},
    {"v=TLSRPTv1 ; rua=https://r.example.com/v1/tlsrpt", "+https://r.example.com/v1/tlsrpt "},
    {"v=TLSRPTv1; rua=mailto:a@b.example , https://r.example/x?y=%2C",
     "a@b.example +https://r.example/x?y=%2C "},
    {"v=TLSRPTv1; rua=mailto:a@b.example,,https://r.example", "a@b.example +https://r.example "},
    {"v=TLSRPTv1; rua=mailto:a@b.example; rua=mailto:c@d.example", "a@b.example c@d.example "},
    {"v=TLSRPTv1; x-1_.y=!?; rua=mailto:a@b.example", "a@b.example "},
    {"v=TLSRPTv1; rua=MAILTO:a%2bb@b.example?subject=x", "a+b@b.example "},
    {"v=TLSRPTv1; rua=ftp://x/y,mailto:a@b.example", "a@b.example "},
    {"v=TLSRPTv1; rua=http://x.example/,mailto:a@b.example", "a@b.example "},
    {"v=TLSRPTv1; rua=mailto:1@a.example,mailto:2@a.example,mailto:3@a.example,"
     "mailto:4@a.example,mailto:5@a.example",
     "1@a.example 2@a.example 3@a.example 4@a.example "},
    {"", NULL},
    {"v=TLSRPTv1", NULL},
    {"v=TLSRPTv1;", NULL},
    {"v=TLSRPTv1;;rua=mailto:a@b.example", NULL},
    {"v=TLSRPTv1 rua=mailto:a@b.example", NULL},
    {"v=TLSRPTv2; rua=mailto:a@b.example", NULL},
    {"V=TLSRPTv1; rua=mailto:a@b.example", NULL},
    {" v=TLSRPTv1; rua=mailto:a@b.example", NULL},
    {"rua=mailto:a@b.example; v=TLSRPTv1", NULL},
    {"v=TLSRPTv1; RUA=mailto:a@b.example", NULL},
    {"v=TLSRPTv1; rua=", NULL},
    {"v=TLSRPTv1; rua=mailto:", NULL},
    {"v=TLSRPTv1; rua=mailto:nobody", NULL},
    {"v=TLSRPTv1; rua=mailto:a@b.example!10m", NULL},
    {"v=TLSRPTv1; rua=mailto:a%0d%0aRCPT@b.example", NULL},
    {"v=TLSRPTv1; rua=mailto:a%00@b.example", NULL},
    {"v=TLSRPTv1; rua=mailto:a%4@b.example", NULL},
    {"v=TLSRPTv1; rua=mailto:a%", NULL},
    {"v=TLSRPTv1; rua=mailto:%c3%a4@b.example", NULL},
    {"v=TLSRPTv1; rua=https://user:pw@r.example/", NULL},
    {"v=TLSRPTv1; rua=mailto:a@b.example; x", NULL},
    {"v=TLSRPTv1; rua=mailto:a@b.example; =x", NULL},
    {"v=TLSRPTv1; rua=mailto:a@b.example; x=", NULL},
    {"v=TLSRPTv1; rua=mailto:a@b.example; -x=y", NULL},
    {"v=TLSRPTv1; rua=mailto:a@b.example; x y=z", NULL},
    {"v=TLSRPTv1; rua=mailto:a@b.example; x=y=z", NULL},
    {"v=TLSRPTv1; rua=mailto:a@b.example; a23456789012345678901234567890123=z", NULL},
};

static void records(void **state)
{
	struct tls_record record;

	(void)state;
	for (size_t i = 0; i < sizeof records_said / sizeof *records_said; i++) {
		char got[TLS_TARGETS_MOST * (TLS_TARGET_BYTES + 3)] = "";
		bool read = tls_record_read(text_of(records_said[i].said), &record);

		print_message("%s\n", records_said[i].said);
		assert_int_equal(read, records_said[i].targets != NULL);
		for (size_t k = 0; read && k < record.count; k++)
			sprintf(got + strlen(got), "%s%s ", record.targets[k].https ? "+" : "",
				record.targets[k].to);
		if (read)
			assert_string_equal(got, records_said[i].targets);
	}
}

static void long_records(void **state)
{
	char said[TLS_RECORD_BYTES + 2];
	struct tls_record record;
	int n = snprintf(said, sizeof said, "v=TLSRPTv1; rua=https://r.example/");

	(void)state;
	memset(said + n, 'x', sizeof said - (size_t)n);
	assert_true(tls_record_read((struct text){said, TLS_RECORD_BYTES}, &record));
	assert_false(tls_record_read((struct text){said, TLS_RECORD_BYTES + 1}, &record));
	assert_false(tls_record_read((struct text)TEXT("v=TLSRPTv1; rua=mailto:a@b.example; x=\0"),
				     &record));
}

/* -- counting ---------------------------------------------------------------------------- */

static struct rec_tls_result result(const char *domain, enum tls_result_type type, uint32_t count)
{
	struct rec_tls_result r = {
	    .domain = text_of(domain),
	    .policy = TLS_FOUND_NONE,
	    .policy_domain = text_of(domain),
	    .result = (uint8_t)type,
	    .count = count,
	};

	if (type != TLS_RESULT_FINE) {
		r.mx = text_of("mx.example");
		r.receiver = (struct text){receiver, 16};
		r.own = (struct text){own, 16};
	}
	return r;
}

static void add(struct tls_day *day, const char *domain, enum tls_result_type type, uint32_t count)
{
	struct rec_tls_result r = result(domain, type, count);

	assert_true(tls_day_add(day, &r));
}

static void counting(void **state)
{
	struct tls_day *day = tls_day_new(key, DAY);

	(void)state;
	add(day, "a.example", TLS_RESULT_FINE, 3);
	add(day, "A.Example", TLS_RESULT_FINE, 2);
	add(day, "a.example", TLS_RESULT_NO_STARTTLS, 1);
	add(day, "a.example", TLS_RESULT_NO_STARTTLS, 4);
	struct rec_tls_result r = result("a.example", TLS_RESULT_NO_STARTTLS, 1);

	r.mx = text_of("mx2.example");
	assert_true(tls_day_add(day, &r));
	r = result("a.example", TLS_RESULT_NO_STARTTLS, 1);
	r.receiver.len = r.own.len = 0;
	assert_true(tls_day_add(day, &r));
	r = result("a.example", TLS_RESULT_FINE, 7);
	r.policy = TLS_FOUND_TLSA;
	r.policy_domain = text_of("mx.example");
	r.policy_text = text_of("3 1 1 00\n");
	assert_true(tls_day_add(day, &r));
	assert_int_equal(tls_day_count(day), 1);
	const struct tls_domain *d = tls_day_find(day, text_of("a.EXAMPLE"));

	assert_string_equal(d->name, "a.example");
	assert_int_equal(d->policy_count, 2);
	assert_int_equal(d->policies[0].fine, 5);
	assert_int_equal(d->policies[0].failed, 7);
	assert_int_equal(d->policies[0].row_count, 3);
	assert_int_equal(d->policies[0].rows[0].count, 5);
	assert_int_equal(d->policies[1].fine, 7);
	assert_int_equal(tls_day_lost(day), 0);
	assert_null(tls_day_find(day, text_of("b.example")));
	tls_day_free(&day);
	assert_null(day);
}

/* What smtp-client never sends. */
static void nonsense(void **state)
{
	struct tls_day *day = tls_day_new(key, DAY);
	struct rec_tls_result rows[13];

	(void)state;
	for (size_t i = 0; i < 13; i++)
		rows[i] = result("a.example", TLS_RESULT_NO_STARTTLS, 1);
	rows[0].domain = text_of("");
	rows[1].domain = text_of("a b");
	rows[2].domain = text_of("[192.0.2.1]");
	rows[3].policy = TLS_FOUND_KINDS;
	rows[4].result = TLS_RESULT_TYPES;
	rows[5].receiver.len = 15;
	rows[6].own.len = 0;
	rows[7].policy_text = text_of("3 1 1 00"); /* no line */
	rows[8].policy_text = text_of("a\tb\n");
	rows[9].mx = text_of("mx\n.example");
	rows[10].reason = (struct text)TEXT("a\0b");
	rows[11].policy_domain = text_of("\x80");
	rows[12].domain = (struct text)TEXT("a\0b");
	for (size_t i = 0; i < 13; i++)
		assert_false(tls_day_add(day, &rows[i]));
	assert_int_equal(tls_day_count(day), 0);
	tls_day_free(&day);
}

static void bounds_of_a_domain(void **state)
{
	struct tls_day *day = tls_day_new(key, DAY);
	char text[32];

	(void)state;
	for (int i = 0; i < 2 * TLS_ROWS_MOST; i++) {
		struct rec_tls_result r = result("a.example", TLS_RESULT_VALIDATION, 2);

		snprintf(text, sizeof text, "reason %d", i);
		r.reason = text_of(text);
		assert_true(tls_day_add(day, &r));
	}
	const struct tls_domain *d = tls_day_domain(day, 0);

	assert_int_equal(d->policies[0].row_count, TLS_ROWS_MOST);
	assert_int_equal(d->policies[0].rest, 2 * TLS_ROWS_MOST);
	assert_int_equal(d->policies[0].failed, 4 * TLS_ROWS_MOST);
	assert_int_equal(tls_day_lost(day), 0);
	for (int i = 0; i < 2 * TLS_POLICIES_MOST; i++) {
		struct rec_tls_result r = result("a.example", TLS_RESULT_FINE, 1);

		snprintf(text, sizeof text, "3 1 1 %02d\n", i);
		r.policy = TLS_FOUND_TLSA;
		r.policy_text = text_of(text);
		assert_true(tls_day_add(day, &r));
	}
	assert_int_equal(d->policy_count, TLS_POLICIES_MOST);
	assert_int_equal(tls_day_lost(day), TLS_POLICIES_MOST + 1);
	tls_day_free(&day);
}

/* Ten thousand domains that are fine; one that fails still finds room. */
static void bounds_of_a_day(void **state)
{
	struct tls_day *day = tls_day_new(key, DAY);
	char name[32];

	(void)state;
	for (int i = 0; i < TLS_DOMAINS_MOST + 10; i++) {
		snprintf(name, sizeof name, "d%d.example", i);
		add(day, name, TLS_RESULT_FINE, 1);
	}
	assert_int_equal(tls_day_count(day), TLS_DOMAINS_MOST);
	assert_int_equal(tls_day_lost(day), 10);
	add(day, "fails.example", TLS_RESULT_NO_STARTTLS, 1);
	assert_int_equal(tls_day_count(day), TLS_DOMAINS_MOST);
	assert_int_equal(tls_day_lost(day), 11);
	assert_non_null(tls_day_find(day, text_of("fails.example")));
	tls_day_free(&day);
	/* Large policies: bytes are the bound. */
	char *large = malloc(4097);

	memset(large, 'x', 4096);
	large[4095] = '\n';
	large[4096] = '\0';
	day = tls_day_new(key, DAY);
	for (int i = 0; i < TLS_DOMAINS_MOST; i++) {
		snprintf(name, sizeof name, "d%d.example", i);
		struct rec_tls_result r = result(name, TLS_RESULT_FINE, 1);

		r.policy_text = text_of(large);
		assert_true(tls_day_add(day, &r));
	}
	assert_in_range(TLS_DOMAINS_MOST - tls_day_lost(day), 7000, TLS_BYTES_MOST / 4096);
	struct bytes b = {0};

	tls_day_encode(day, &b);
	assert_true(bytes_len(&b) <= TLS_BYTES_MOST + 64);
	bytes_free(&b);
	tls_day_free(&day);
	free(large);
}

/* -- a restart --------------------------------------------------------------------------- */

static struct tls_day *full_day(void)
{
	struct tls_day *day = tls_day_new(key, DAY);
	struct rec_tls_result r = result("a.example", TLS_RESULT_NOT_TRUSTED, 9);
	char text[32];

	r.policy = TLS_FOUND_TLSA;
	r.policy_domain = text_of("mx.a.example");
	r.policy_text = text_of("2 0 1 aa\n3 1 1 bb\n");
	r.reason = text_of("self-signed \"certificate\" \xff in chain");
	assert_true(tls_day_add(day, &r));
	add(day, "a.example", TLS_RESULT_FINE, 5);
	r = result("a.example", TLS_RESULT_DNSSEC_INVALID, 1);
	r.receiver.len = r.own.len = 0;
	assert_true(tls_day_add(day, &r));
	r = result("b.example", TLS_RESULT_FINE, 4);
	r.policy = TLS_FOUND_STS;
	r.policy_text = text_of("version: STSv1\nmode: enforce\nmx: mx.b.example\nmx: *.b.example\n"
				"max_age: 604800\n");
	assert_true(tls_day_add(day, &r));
	for (int i = 0; i <= TLS_ROWS_MOST; i++) {
		r = result("c.example", TLS_RESULT_VALIDATION, 1);
		snprintf(text, sizeof text, "%d", i);
		r.reason = text_of(text);
		assert_true(tls_day_add(day, &r));
	}
	tls_day_domain(day, 0)->told[0] = 0x1234567890;
	tls_day_domain(day, 0)->told_count = 1;
	tls_day_domain(day, 1)->done = true;
	return day;
}

/* A neighbour that lies: what it says is written, and read again. */
static void counts_without_end(void **state)
{
	struct tls_day *day = tls_day_new(key, DAY), *again;
	struct bytes b = {0};

	(void)state;
	for (int i = 0; i < 1000; i++) {
		add(day, "a.example", TLS_RESULT_FINE, UINT32_MAX);
		add(day, "a.example", TLS_RESULT_NO_STARTTLS, UINT32_MAX);
	}
	tls_day_encode(day, &b);
	struct wire_reader in = wire_reader_over(bytes_at(&b), bytes_len(&b));

	again = tls_day_decode(key, &in);
	assert_non_null(again);
	assert_true(tls_day_domain(again, 0)->policies[0].fine > UINT64_C(1000000000000));
	tls_day_free(&again);
	tls_day_free(&day);
	bytes_free(&b);
}

static void restart(void **state)
{
	struct tls_day *day = full_day();
	struct bytes one = {0}, two = {0};

	(void)state;
	tls_day_encode(day, &one);
	tls_day_free(&day);
	struct wire_reader in = wire_reader_over(bytes_at(&one), bytes_len(&one));

	day = tls_day_decode(key, &in);
	assert_non_null(day);
	assert_true(wire_done(&in));
	tls_day_encode(day, &two);
	assert_int_equal(bytes_len(&one), bytes_len(&two));
	assert_memory_equal(bytes_at(&one), bytes_at(&two), bytes_len(&one));
	assert_int_equal(tls_day_number(day), DAY);
	assert_int_equal(tls_day_find(day, text_of("a.example"))->policies[0].failed, 9);
	assert_int_equal(tls_day_find(day, text_of("a.example"))->told[0], 0x1234567890);
	assert_true(tls_day_find(day, text_of("b.example"))->done);
	tls_day_free(&day);
	/* What is cut is none, wherever. */
	for (size_t len = 0; len < bytes_len(&one); len++) {
		in = wire_reader_over(bytes_at(&one), len);
		assert_null(tls_day_decode(key, &in));
	}
	bytes_free(&one);
	bytes_free(&two);
}

/* -- JSON -------------------------------------------------------------------------------- */

static const struct tls_report_maker maker = {
    .organization = TEXT("Sender & \"Sons\""),
    .contact = TEXT("tls@sender.example"),
    .hostname = TEXT("mail.sender.example"),
    .day = DAY,
};

static json_t *report_of(const struct tls_domain *domain)
{
	struct bytes b = {0};

	tls_report_json(&maker, domain, &b);
	json_t *whole =
	    json_loadb((const char *)bytes_at(&b), bytes_len(&b), JSON_REJECT_DUPLICATES, NULL);

	bytes_free(&b);
	assert_non_null(whole);
	return whole;
}

static json_t *at(json_t *o, const char *name)
{
	json_t *found = json_object_get(o, name);

	if (!found)
		print_message("no %s\n", name);
	assert_non_null(found);
	return found;
}

static void is_string(json_t *o, const char *name, const char *wanted)
{
	assert_string_equal(json_string_value(at(o, name)), wanted);
}

static void is_number(json_t *o, const char *name, int wanted)
{
	assert_int_equal(json_integer_value(at(o, name)), wanted);
}

static void reports(void **state)
{
	struct tls_day *day = full_day();
	json_t *whole = report_of(tls_day_find(day, text_of("a.example")));

	(void)state;
	is_string(whole, "organization-name", "Sender & \"Sons\"");
	is_string(whole, "contact-info", "tls@sender.example");
	is_string(whole, "report-id", "20261122.a.example@mail.sender.example");
	is_string(at(whole, "date-range"), "start-datetime", "2026-11-22T00:00:00Z");
	is_string(at(whole, "date-range"), "end-datetime", "2026-11-22T23:59:59Z");
	json_t *policies = at(whole, "policies");

	assert_int_equal(json_array_size(policies), 2);
	json_t *tlsa = json_array_get(policies, 0), *none = json_array_get(policies, 1);

	is_string(at(tlsa, "policy"), "policy-type", "tlsa");
	is_string(at(tlsa, "policy"), "policy-domain", "mx.a.example");
	assert_int_equal(json_array_size(at(at(tlsa, "policy"), "policy-string")), 2);
	assert_string_equal(
	    json_string_value(json_array_get(at(at(tlsa, "policy"), "policy-string"), 1)),
	    "3 1 1 bb");
	assert_null(json_object_get(at(tlsa, "policy"), "mx-host"));
	is_number(at(tlsa, "summary"), "total-successful-session-count", 0);
	is_number(at(tlsa, "summary"), "total-failure-session-count", 9);
	json_t *failure = json_array_get(at(tlsa, "failure-details"), 0);

	is_string(failure, "result-type", "certificate-not-trusted");
	is_string(failure, "sending-mta-ip", "2001:db8::2");
	is_string(failure, "receiving-ip", "192.0.2.1");
	is_string(failure, "receiving-mx-hostname", "mx.example");
	is_string(failure, "failure-reason-code", "self-signed \"certificate\" \\xff in chain");
	is_number(failure, "failed-session-count", 9);
	is_string(at(none, "policy"), "policy-type", "no-policy-found");
	is_string(at(none, "policy"), "policy-domain", "a.example");
	is_number(at(none, "summary"), "total-successful-session-count", 5);
	failure = json_array_get(at(none, "failure-details"), 0);
	is_string(failure, "result-type", "dnssec-invalid");
	assert_null(json_object_get(failure, "sending-mta-ip"));
	json_decref(whole);
	whole = report_of(tls_day_find(day, text_of("b.example")));
	tlsa = json_array_get(at(whole, "policies"), 0);
	is_string(at(tlsa, "policy"), "policy-type", "sts");
	assert_int_equal(json_array_size(at(at(tlsa, "policy"), "policy-string")), 5);
	assert_int_equal(json_array_size(at(at(tlsa, "policy"), "mx-host")), 2);
	assert_string_equal(json_string_value(json_array_get(at(at(tlsa, "policy"), "mx-host"), 1)),
			    "*.b.example");
	assert_null(json_object_get(tlsa, "failure-details"));
	json_decref(whole);
	whole = report_of(tls_day_find(day, text_of("c.example")));
	none = json_array_get(at(whole, "policies"), 0);
	assert_int_equal(json_array_size(at(none, "failure-details")), TLS_ROWS_MOST + 1);
	failure = json_array_get(at(none, "failure-details"), TLS_ROWS_MOST);
	is_string(failure, "result-type", "validation-failure");
	is_number(failure, "failed-session-count", 1);
	json_decref(whole);
	tls_day_free(&day);
}

static void result_names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < TLS_RESULT_TYPES; i++)
		assert_non_null(tls_result_name(i));
	assert_null(tls_result_name(TLS_RESULT_TYPES));
}

static void compressed(void **state)
{
	struct bytes plain = {0}, small = {0};
	uint8_t back[200000];
	z_stream z = {.next_out = back, .avail_out = sizeof back};

	(void)state;
	for (int i = 0; i < 30000; i++)
		bytes_add(&plain, "abc{}", 5);
	tls_report_gzip(&plain, &small);
	assert_true(bytes_len(&small) < 2000);
	z.next_in = bytes_at(&small);
	z.avail_in = (uInt)bytes_len(&small);
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.total_out, bytes_len(&plain));
	assert_memory_equal(back, bytes_at(&plain), bytes_len(&plain));
	inflateEnd(&z);
	bytes_free(&plain);
	bytes_free(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records),
	    cmocka_unit_test(long_records),
	    cmocka_unit_test(counting),
	    cmocka_unit_test(nonsense),
	    cmocka_unit_test(bounds_of_a_domain),
	    cmocka_unit_test(bounds_of_a_day),
	    cmocka_unit_test(restart),
	    cmocka_unit_test(counts_without_end),
	    cmocka_unit_test(reports),
	    cmocka_unit_test(result_names),
	    cmocka_unit_test(compressed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
