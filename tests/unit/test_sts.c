/* SPDX-License-Identifier: ISC */
/* MTA-STS: records, policy files, names of hosts, and the policies that are kept. */
#include "fetcher/sts_domain.h"
#include "fetcher/sts_policy.h"
#include "fetcher/sts_disk.h"

#include "log.h"
#include "route_tls.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

/* -- TXT records --------------------------------------------------------------------------- */

static const struct {
	const char *text;
	bool ours;
	const char *id; /* NULL: it is none */
} txt_records[] = {
    {"v=STSv1; id=20160831085700Z;", true, "20160831085700Z"},
    {"v=STSv1;id=1", true, "1"},
    {"v=STSv1 ; id=1 ;", true, "1"},
    {"v=STSv1;\tid=1\t;\t", true, "1"},
    {"v=STSv1; a=b; id=1; c.d-e_f=x:y,z/+", true, "1"},
    {"v=STSv1; id=12345678901234567890123456789012;", true, "12345678901234567890123456789012"},
    {"v=STSv1; id=123456789012345678901234567890123;", true, NULL},
    {"v=STSv1; id=1; id=2;", true, "1"},
    {"v=STSv1;", true, NULL},
    {"v=STSv1; ", true, NULL},
    {"v=STSv1; x=1;", true, NULL},
    {"v=STSv1; id=;", true, NULL},
    {"v=STSv1; id=a-b;", true, NULL},
    {"v=STSv1; id =1;", true, NULL},
    {"v=STSv1; id= 1;", true, NULL},
    {"v=STSv1; id=1;;", true, NULL},
    {"v=STSv1;; id=1;", true, NULL},
    {"v=STSv1; id=1 x=2;", true, NULL},
    {"v=STSv1; id=1; broken", true, NULL},
    {"v=STSv1; id=1; a=b=c", true, NULL},
    {"v=STSv1; id=1; _a=b", true, NULL},
    {"v=STSv1; id=1; =b", true, NULL},
    {"v=STSv1; id=1; a=\303\274", true, NULL},
    {"v=STSv1; ID=1;", true, NULL},
    {"v=STSv1; id=1; a23456789012345678901234567890123=b", true, NULL},
    {"v=STSv1 id=1", false, NULL},
    {"v=STSv1", false, NULL},
    {"v=STSv12; id=1;", false, NULL},
    {"v=stsv1; id=1;", false, NULL},
    {" v=STSv1; id=1;", false, NULL},
    {"v=spf1 -all", false, NULL},
    {"", false, NULL},
};

static void records(void **state)
{

	(void)state;
	for (size_t i = 0; i < sizeof txt_records / sizeof *txt_records; i++) {
		struct text record = text_of(txt_records[i].text), id;

		if (sts_txt_is_ours(record) != txt_records[i].ours)
			fail_msg("%s: ours", txt_records[i].text);
		const char *wrong = sts_txt_read(record, &id);

		if (!wrong != (txt_records[i].id != NULL))
			fail_msg("%s: %s", txt_records[i].text, wrong ? wrong : "is one");
		if (txt_records[i].id)
			assert_true(text_equals(id, txt_records[i].id));
	}
	/* Octets that no C string has. */
	struct text id;

	assert_non_null(sts_txt_read((struct text){"v=STSv1; id=1\0;", 15}, &id));
	assert_false(sts_txt_is_ours((struct text){NULL, 0}));
}

/* -- policy files --------------------------------------------------------------------------------
 */

#define HEAD "version: STSv1\r\nmode: enforce\r\n"
#define GOOD HEAD "mx: mx.example\r\nmax_age: 86400\r\n"

static const struct {
	const char *text;
	const char *wrong; /* NULL: it is one, and */
	uint8_t mode;
	uint32_t max_age_s;
	const char *mx;
} policy_files[] = {
    {GOOD, NULL, STS_ENFORCE, 86400, "mx.example"},
    {"version: STSv1\nmode: testing\nmx: *.Example.NET\nmx: b.example\nmax_age: 1\n", NULL,
     STS_TESTING, 1, "*.example.net b.example"},
    {"max_age:0\nmode:none\nversion:STSv1", NULL, STS_NONE, 0, ""},
    {"version: STSv1  \nmode:\t \tnone \t\nmax_age: 31557600 \n", NULL, STS_NONE, 31557600, ""},
    {GOOD "max_age: 1\r\nmode: none\r\nversion: STSv9\r\n", NULL, STS_ENFORCE, 86400, "mx.example"},
    {GOOD "x: y\r\nmax_age2: 1\r\nMode: none\r\nA.b-c_d: \303\274ber alles, x:y\r\n", NULL,
     STS_ENFORCE, 86400, "mx.example"},
    {HEAD "mx: xn--bcher-kva.example\r\nmax_age: 0000000009\r\n", NULL, STS_ENFORCE, 9,
     "xn--bcher-kva.example"},
    {HEAD "mx: localhost\nmax_age: 1\n", NULL, STS_ENFORCE, 1, "localhost"},
    {GOOD "\r\n", "a line of it is no field", 0, 0, ""},
    {"\n" GOOD, "a line of it is no field", 0, 0, ""},
    {"\357\273\277" GOOD, "a line of it is no field", 0, 0, ""},
    {"", "it has no version", 0, 0, ""},
    {"mode: enforce\nmx: a.example\nmax_age: 1\n", "it has no version", 0, 0, ""},
    {"version: STSv1\nmx: a.example\nmax_age: 1\n", "it has no mode", 0, 0, ""},
    {HEAD "mx: a.example\n", "it has no max_age", 0, 0, ""},
    {HEAD "max_age: 1\n", "it has no mx", 0, 0, ""},
    {"version: STSv1\nmode: testing\nmax_age: 1\n", "it has no mx", 0, 0, ""},
    {"version: STSv2\n", "it is of another version", 0, 0, ""},
    {"version: stsv1\n", "it is of another version", 0, 0, ""},
    {"version : STSv1\n", "a line of it is no field", 0, 0, ""},
    {" version: STSv1\n", "a line of it is no field", 0, 0, ""},
    {"version: STSv1\rmode: none\r", "a field of it has no value", 0, 0, ""},
    {"version: STSv1\r\r\nmode: none\n", "a field of it has no value", 0, 0, ""},
    {"version: STSv1\nmode: Enforce\n", "its mode is none", 0, 0, ""},
    {"version: STSv1\nmode: report\n", "its mode is none", 0, 0, ""},
    {"version: STSv1\nmode:\n", "a field of it has no value", 0, 0, ""},
    {HEAD "max_age: 31557601\n", "its max_age is none", 0, 0, ""},
    {HEAD "max_age: 00000000001\n", "its max_age is none", 0, 0, ""},
    {HEAD "max_age: -1\n", "its max_age is none", 0, 0, ""},
    {HEAD "max_age: 1d\n", "its max_age is none", 0, 0, ""},
    {HEAD "mx: .example\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: a..example\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: a.example.\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: *\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: *.\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: a*.example\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: *.*.example\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: -a.example\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: a-.example\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: a_b.example\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: a.example b.example\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: [192.0.2.1]\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "mx: b\303\274cher.example\n", "an mx of it is no host's name", 0, 0, ""},
    {HEAD "x: \1\n", "a field of it has no value", 0, 0, ""},
    {HEAD "x: \377\n", "it is no text", 0, 0, ""},
    {HEAD "x\n", "a line of it is no field", 0, 0, ""},
    {HEAD ": x\n", "a line of it is no field", 0, 0, ""},
    {HEAD "_x: y\n", "a line of it is no field", 0, 0, ""},
    {HEAD "a23456789012345678901234567890123: y\n", "a line of it is no field", 0, 0, ""},
    {"<html>mode: none</html>", "a line of it is no field", 0, 0, ""},
    {"{\"version\": \"STSv1\"}", "a line of it is no field", 0, 0, ""},
};

static void files(void **state)
{
	struct sts_file file;

	(void)state;
	for (size_t i = 0; i < sizeof policy_files / sizeof *policy_files; i++) {
		const char *wrong = sts_file_read(text_of(policy_files[i].text), &file);

		if (!wrong != !policy_files[i].wrong ||
		    (wrong && strcmp(wrong, policy_files[i].wrong) != 0))
			fail_msg("%s: %s", policy_files[i].text, wrong ? wrong : "is one");
		if (wrong)
			continue;
		assert_int_equal(file.policy.mode, policy_files[i].mode);
		assert_int_equal(file.policy.max_age_s, policy_files[i].max_age_s);
		assert_string_equal(file.mx, policy_files[i].mx);
		assert_true(text_equals(file.policy.mx, policy_files[i].mx));
	}
	assert_non_null(sts_file_read((struct text){GOOD "x: \0", sizeof GOOD + 3}, &file));
}

/* As many mx as are held, and one more. */
static void files_of_many(void **state)
{
	char text[65536];
	struct sts_file file;
	size_t n, mx = 0;

	(void)state;
	n = (size_t)snprintf(text, sizeof text, HEAD "max_age: 1\n");
	for (;; mx++) {
		size_t before = n;

		n += (size_t)snprintf(text + n, sizeof text - n,
				      "mx: mx%04zu.a-long-name.example\n", mx);
		const char *wrong = sts_file_read((struct text){text, n}, &file);

		if (!wrong) {
			assert_int_equal(strlen(file.mx), file.policy.mx.len);
			continue;
		}
		assert_string_equal(wrong, "it has more mx than are held");
		n = before;
		break;
	}
	assert_int_equal(mx, STS_MX_BYTES / 27); /* with its blank */
	assert_null(sts_file_read((struct text){text, n}, &file));
	assert_true(sts_names(file.policy.mx, text_of("mx0000.a-long-name.example")));
}

static void media_types(void **state)
{
	static const struct {
		const char *type;
		bool plain;
	} rows[] = {{"text/plain", true},
		    {"Text/Plain; charset=utf-8", true},
		    {" text/plain ;x", true},
		    {"text/plain2", false},
		    {"text/html", false},
		    {"", false},
		    {"text/html; text/plain", false}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(sts_type_is_plain(text_of(rows[i].type)), rows[i].plain);
}

/* -- hosts and policies -------------------------------------------------------------------------
 */

static void hosts(void **state)
{
	static const struct {
		const char *mx, *host;
		bool named;
	} rows[] = {
	    {"mx.example", "mx.example", true},
	    {"mx.example", "MX.Example.", true},
	    {"mx.example", "a.mx.example", false},
	    {"mx.example", "mx.example.net", false},
	    {"*.example", "mx.example", true},
	    {"*.example", "a.mx.example", false},
	    {"*.example", "example", false},
	    {"*.example", ".example", false},
	    {"*.example", "mxexample", false},
	    {"*.example.com", "mail.example.com", true},
	    {"*.example.com", "foo.bar.example.com", false},
	    {"a.example *.b.example c.example", "x.b.example", true},
	    {"a.example *.b.example c.example", "c.example", true},
	    {"a.example *.b.example c.example", "b.example", false},
	    {"a.example", "", false},
	    {"", "", false},
	    {"", "a.example", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (sts_names(text_of(rows[i].mx), text_of(rows[i].host)) != rows[i].named)
			fail_msg("%s, %s", rows[i].mx, rows[i].host);
}

static void domains(void **state)
{
	static const struct {
		const char *given, *made; /* NULL: it can have none */
	} rows[] = {
	    {"Example.NET", "example.net"},
	    {"example.net.", "example.net"},
	    {"b\303\274cher.example", "xn--bcher-kva.example"},
	    {"localhost", "localhost"},
	    {"[192.0.2.1]", NULL},
	    {"", NULL},
	    {".", NULL},
	    {"a..b", NULL},
	    {"a_b.example", NULL},
	    {"-a.example", NULL},
	    {"a b.example", NULL},
	    {"\377.example", NULL},
	    {"../../etc/passwd", NULL},
	};
	char to[STS_DOMAIN_MAX + 1], name[400];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		bool made = sts_domain_make(text_of(rows[i].given), to);

		if (made != (rows[i].made != NULL))
			fail_msg("%s", rows[i].given);
		if (made)
			assert_string_equal(to, rows[i].made);
	}
	/* With what stands before it the longest name is one yet. */
	memset(name, 'a', sizeof name);
	for (size_t i = 49; i < sizeof name; i += 50)
		name[i] = '.';
	assert_true(sts_domain_make((struct text){name, STS_DOMAIN_MAX}, to));
	assert_int_equal(strlen(to), STS_DOMAIN_MAX);
	assert_false(sts_domain_make((struct text){name, STS_DOMAIN_MAX + 1}, to));
	assert_false(sts_domain_make((struct text){name, 300}, to));
	assert_false(sts_domain_make((struct text){"a\0b", 3}, to));
}

static void routes(void **state)
{
	static const struct {
		const char *route;
		bool asks;
	} rows[] = {
	    {"route * { to = mx }", true},
	    {"route * { to = mx:26  tls = dane }", true},
	    {"route * { to = mx  sts = no }", false},
	    {"route * { to = mx  tls = may }", false},
	    {"route * { to = mx  tls = verify }", false},
	    {"route * { to = mx  tls = dane-only }", false},
	    {"route * { to = smtp:relay.example }", true},
	    {"route * { to = smtp:relay.example:587  tls = dane }", true},
	    {"route * { to = smtp:relay.example  sts = no }", false},
	    {"route * { to = smtp:relay.example  tls = encrypt }", false},
	    {"route * { to = smtp:relay.example  login = a  password-file = /p }", false},
	    {"route * { to = smtps:relay.example }", false},
	    {"route * { to = smtp:[192.0.2.1] }", false},
	    {"route * { to = { smtp:a.example, smtp:b.example } }", false},
	    {"route * { to = lmtp:store.example:24 }", false},
	    {"route * { to = discard }", false},
	    {"route x.example { to = mx  sts = no }", true}, /* the others */
	    {"", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct config_errors errors = {0};
		char text[200];

		snprintf(text, sizeof text, "hostname = a.example\n%s\n", rows[i].route);
		struct config *c = config_read(text_of(text), &errors);

		assert_non_null(c);
		if (config_asks_sts(c) != rows[i].asks)
			fail_msg("%s", rows[i].route);
		if (strstr(rows[i].route, "route *"))
			assert_int_equal(route_asks_sts(config_route(c, text_of("b.example"))),
					 rows[i].asks);
		config_drop(&c);
		config_errors_free(&errors);
	}
}

static void same_and_copies(void **state)
{
	const struct sts_policy a = {STS_ENFORCE, 10, TEXT("1"), TEXT("mx.example")};
	const struct sts_policy b = {STS_ENFORCE, 99, TEXT("2"), TEXT("mx.example")};
	const struct sts_policy c = {STS_ENFORCE, 10, TEXT("1"), TEXT("*.example")};
	const struct sts_policy t = {STS_TESTING, 10, TEXT("1"), TEXT("mx.example")};
	const struct sts_policy none = {0};

	(void)state;
	assert_true(sts_same(&a, &b));
	assert_false(sts_same(&a, &c));
	assert_false(sts_same(&a, &t));
	assert_false(sts_same(&a, NULL));
	assert_true(sts_same(NULL, &none));
	struct sts_policy *copy = sts_copy(&a);

	assert_true(copy->id.data != a.id.data && text_equal(copy->id, a.id));
	assert_true(copy->mx.data != a.mx.data && text_equal(copy->mx, a.mx));
	free(copy);
	assert_null(sts_copy(NULL));
	assert_string_equal(sts_mode_name(200), "?");
}

/* -- what is kept
 * ---------------------------------------------------------------------------------- */

enum { NOW = 1800000000 };

static struct sts_known *put(struct sts_store *s, const char *domain, uint32_t max_age_s,
			     int64_t now_s)
{
	const struct sts_policy p = {STS_ENFORCE, max_age_s, TEXT("id1"),
				     TEXT("mx.example *.b.example")};

	return sts_store_put(s, text_of(domain), &p, now_s);
}

static void kept_until_too_old(void **state)
{
	struct sts_store *s = sts_store_new();

	(void)state;
	put(s, "a.example", 100, NOW);
	put(s, "b.example", 0, NOW);
	assert_non_null(sts_store_find(s, text_of("a.example"), NOW + 99));
	assert_null(sts_store_find(s, text_of("b.example"), NOW));
	assert_int_equal(sts_store_count(s), 1);
	assert_null(sts_store_find(s, text_of("c.example"), NOW));
	/* Fetched anew it counts from then on; who asks for it does not make it younger. */
	put(s, "a.example", 100, NOW + 50);
	struct sts_known *k = sts_store_find(s, text_of("a.example"), NOW + 149);

	assert_non_null(k);
	assert_int_equal(k->asked_s, NOW);
	sts_store_use(s, k, NOW + 149);
	assert_int_equal(k->asked_s, NOW + 149);
	assert_null(sts_store_find(s, text_of("a.example"), NOW + 150));
	assert_int_equal(sts_store_count(s), 0);
	/* A clock that was set back: for too long rather than not at all. */
	put(s, "a.example", 100, NOW);
	assert_non_null(sts_store_find(s, text_of("a.example"), NOW - 1000000));
	sts_store_free(&s);
	assert_null(s);
	sts_store_free(&s);
}

/* A machine without a clock of its own starts in 1970, and in 2027 when it has asked somebody. */
static void outlive_a_clock_that_is_not_set(void **state)
{
	enum { BOOT = 60 };
	struct sts_store *s = sts_store_new(), *t = sts_store_new();
	struct bytes file = {0};

	(void)state;
	put(s, "a.example", 1000, NOW);
	sts_store_encode(s, &file);
	assert_true(
	    sts_store_decode(t, (struct text){(char *)bytes_at(&file), bytes_len(&file)}, BOOT));
	struct sts_known *k = sts_store_find(t, text_of("a.example"), BOOT);

	assert_non_null(k);
	assert_int_equal(sts_store_left(t, k, BOOT), 1000);
	assert_int_equal(sts_store_left(t, k, BOOT + 5000), 1000);
	put(t, "b.example", 1000, BOOT);
	bytes_free(&file);
	sts_store_encode(t, &file);
	/* The clock is set: what was known before that is as old as it is. */
	k = sts_store_find(t, text_of("a.example"), NOW + 400);
	assert_non_null(k);
	assert_int_equal(sts_store_left(t, k, NOW + 400), 600);
	k = sts_store_find(t, text_of("b.example"), NOW + 400);
	assert_non_null(k);
	assert_int_equal(sts_store_left(t, k, NOW + 500), 900);
	assert_null(sts_store_find(t, text_of("a.example"), NOW + 1000));
	assert_null(sts_store_find(t, text_of("b.example"), NOW + 1400));
	/* The same by way of the file. */
	sts_store_free(&t);
	t = sts_store_new();
	assert_true(sts_store_decode(t, (struct text){(char *)bytes_at(&file), bytes_len(&file)},
				     NOW + 999));
	assert_int_equal(
	    sts_store_left(t, sts_store_find(t, text_of("a.example"), NOW + 999), NOW + 999), 1);
	assert_int_equal(
	    sts_store_left(t, sts_store_find(t, text_of("b.example"), NOW + 999), NOW + 999), 1000);
	bytes_free(&file);
	sts_store_free(&s);
	sts_store_free(&t);
}

static void bounded(void **state)
{
	struct sts_store *s = sts_store_new();
	char name[64];

	(void)state;
	put(s, "first.example", 1000, NOW);
	put(s, "second.example", 1000, NOW);
	sts_store_use(s, sts_store_find(s, text_of("first.example"), NOW), NOW + 1);
	for (int i = 2; i < STS_STORED_MOST; i++) {
		snprintf(name, sizeof name, "d%d.example", i);
		put(s, name, 1000, NOW);
	}
	assert_int_equal(sts_store_count(s), STS_STORED_MOST);
	put(s, "one-more.example", 1000, NOW);
	assert_int_equal(sts_store_count(s), STS_STORED_MOST);
	assert_null(sts_store_find(s, text_of("second.example"), NOW));
	assert_non_null(sts_store_find(s, text_of("first.example"), NOW));
	assert_non_null(sts_store_find(s, text_of("one-more.example"), NOW));
	sts_store_free(&s);
	/* By octets, too. */
	char mx[STS_MX_BYTES];
	const struct sts_policy p = {STS_TESTING, 1000, TEXT("1"), {mx, sizeof mx}};

	memset(mx, 'm', sizeof mx);
	s = sts_store_new();
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "small%d.example", i);
		put(s, name, 1000, NOW);
	}
	for (int i = 0; i < 6000; i++) {
		snprintf(name, sizeof name, "d%d.example", i);
		sts_store_put(s, text_of(name), &p, NOW);
		if (i == 3000)
			sts_store_use(s, sts_store_find(s, text_of("d1.example"), NOW), NOW + 1);
	}
	assert_true(sts_store_bytes(s) < STS_STORED_BYTES && sts_store_count(s) > 4000);
	assert_non_null(sts_store_find(s, text_of("d5999.example"), NOW));
	assert_null(sts_store_find(s, text_of("d0.example"), NOW));
	assert_non_null(sts_store_find(s, text_of("d1.example"), NOW));
	/* Those of an ordinary size, which nobody asked for since, are all there. */
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "small%d.example", i);
		assert_non_null(sts_store_find(s, text_of(name), NOW));
	}
	struct bytes file = {0};

	sts_store_encode(s, &file);
	assert_true(bytes_len(&file) <= STS_STORED_BYTES);
	bytes_free(&file);
	sts_store_free(&s);
}

static void outlive_a_restart(void **state)
{
	char folder[] = "/tmp/test_sts-XXXXXX", path[64];
	struct sts_store *s = sts_store_new(), *t = sts_store_new();
	struct log *log = log_new(NULL, "test_sts");
	const struct sts_policy none = {STS_NONE, 500, TEXT("id2"), {NULL, 0}};

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/sts", folder);
	sts_disk_load(s, folder, NOW); /* there is none */
	assert_false(sts_store_changed(s));
	put(s, "a.example", 1000, NOW);
	put(s, "young.example", 1000, NOW + 900);
	sts_store_put(s, text_of("none.example"), &none, NOW + 900);
	assert_true(sts_store_changed(s));
	assert_true(sts_disk_save(s, folder, log));
	assert_false(sts_store_changed(s));
	sts_disk_load(t, folder, NOW + 1000);
	assert_int_equal(sts_store_count(t), 2);
	struct sts_known *k = sts_store_find(t, text_of("young.example"), NOW + 1000);

	assert_non_null(k);
	assert_int_equal(k->fetched_s, NOW + 900);
	assert_int_equal(k->policy.mode, STS_ENFORCE);
	assert_int_equal(k->policy.max_age_s, 1000);
	assert_true(text_equals(k->policy.id, "id1"));
	assert_true(text_equals(k->policy.mx, "mx.example *.b.example"));
	assert_int_equal(sts_store_find(t, text_of("none.example"), NOW + 1000)->policy.mode,
			 STS_NONE);
	sts_store_free(&t);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
	assert_false(sts_disk_save(s, "/nonexistent", log));
	sts_store_free(&s);
	log_free(&log);
}

/* Every octet of the content changed, and every end cut off: never a fault, and nothing unsound. */
static void damaged(void **state)
{
	struct sts_store *s = sts_store_new();
	struct bytes file = {0};

	(void)state;
	put(s, "a.example", 1000, NOW);
	put(s, "b.example", 1000, NOW);
	sts_store_encode(s, &file);
	sts_store_free(&s);
	for (size_t i = 0; i < bytes_len(&file); i++)
		for (int how = 0; how < 3; how++) {
			uint8_t *at = bytes_at(&file) + i, was = *at;
			size_t len = how == 2 ? i : bytes_len(&file);

			*at = (uint8_t)(how ? was ^ 0xff : was ^ 1);
			s = sts_store_new();
			bool good = sts_store_decode(
			    s, (struct text){(const char *)bytes_at(&file), len}, NOW);

			*at = was;
			assert_true(sts_store_count(s) <= 2);
			assert_true(how != 2 || !good);
			for (struct sts_known *k = sts_store_first(s); k; k = TAILQ_NEXT(k, age))
				assert_true(k->policy.mode <= STS_ENFORCE && k->fetched_s <= NOW);
			sts_store_free(&s);
		}
	bytes_free(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records),
	    cmocka_unit_test(files),
	    cmocka_unit_test(files_of_many),
	    cmocka_unit_test(media_types),
	    cmocka_unit_test(hosts),
	    cmocka_unit_test(domains),
	    cmocka_unit_test(routes),
	    cmocka_unit_test(same_and_copies),
	    cmocka_unit_test(kept_until_too_old),
	    cmocka_unit_test(outlive_a_clock_that_is_not_set),
	    cmocka_unit_test(bounded),
	    cmocka_unit_test(outlive_a_restart),
	    cmocka_unit_test(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
