/* SPDX-License-Identifier: ISC */
/* From domains to hosts, sites and hops (resolver/mx.h, site.h, client_name.h), and TXT records
 * (txt.h). */
#include "client_name.h"
#include "resolver_bench.h"
#include "txt.h"

/* -- what came of it ------------------------------------------------------------------- */

static void tell(struct bench *b, const struct mx_result *r)
{
	struct mx_told told[MX_TOLD_MAX];
	size_t n = mx_tell(r, (enum family_word)b->config->resolver_prefer, told), used = 0;

	b->told[0] = '\0';
	for (size_t i = 0; i < n && used < sizeof b->told; i++) {
		char address[46] = "";

		if (told[i].address)
			host_address_print(told[i].address, address);
		used += (size_t)snprintf(b->told + used, sizeof b->told - used, "%s%s %s",
					 i ? ", " : "", told[i].host->name, address);
	}
}

static void mx_done(void *arg, const struct mx_result *r)
{
	struct bench *b = arg;

	b->done++;
	b->verdict = r->verdict;
	b->code = r->code;
	snprintf(b->dsn, sizeof b->dsn, "%s", r->dsn);
	snprintf(b->reason, sizeof b->reason, "%s", r->reason);
	b->lifetime_s = r->lifetime_s;
	b->site[0] = b->hop[0] = '\0';
	if (r->verdict == HOP_FOUND) {
		enum hop_how how = r->by_mx ? HOP_MX : HOP_HOST;

		site_name(b->config, b->key, r, how, b->site);
		hop_name(b->key, r, how, b->hop);
	}
	tell(b, r);
}

static void wait_for(struct bench *b, unsigned done)
{
	/* A turn may have done all and then waits for nothing, so the wait is short. */
	for (int turns = 0; b->done < done && turns < 10000; turns++)
		loop_turn(b->loop, MILLISECONDS(1));
	assert_int_equal(b->done, done);
}

static void start(struct bench *b, enum hop_how how, const char *target, bool addresses)
{
	struct mx_question q = {how, text_of(target), 25, addresses, false};
	unsigned before = b->done;

	mx_start(b->loop, b->lookups, &b->own, b->config, &q, mx_done, b);
	assert_int_equal(b->done, before); /* never from within */
}

static void ask(struct bench *b, enum hop_how how, const char *target)
{
	b->done = 0;
	start(b, how, target, true);
	wait_for(b, 1);
}

static void expect_failure(struct bench *b, const char *domain, enum hop_verdict verdict,
			   unsigned code, const char *dsn)
{
	ask(b, HOP_MX, domain);
	assert_int_equal(b->verdict, verdict);
	assert_int_equal(b->code, code);
	assert_string_equal(b->dsn, dsn);
	assert_string_equal(b->told, "");
	assert_true(b->lifetime_s <= 60);
}

/* -- the tests ------------------------------------------------------------------------ */

static void preferences_order_and_chance_among_equals(void **state)
{
	struct bench *b = *state;
	unsigned first_was_mx1 = 0;

	for (int i = 0; i < 64; i++) {
		ask(b, HOP_MX, "Plain.Test");
		assert_int_equal(b->verdict, HOP_FOUND);
		first_was_mx1 += strncmp(b->told, "mx1", 3) == 0;
		/* within a host IPv6 first; the worst preference last */
		assert_non_null(
		    strstr(b->told, "mx1.prov.test 2001:db8::1, mx1.prov.test 192.0.2.1"));
		assert_non_null(strstr(b->told, ", mx3.prov.test 192.0.2.3"));
		assert_string_equal(strstr(b->told, "mx3"), "mx3.prov.test 192.0.2.3");
	}
	/* 2^-63 that a fair coin fails this */
	assert_true(first_was_mx1 > 0 && first_was_mx1 < 64);
	assert_int_equal(b->server.asked_for_plain, 1);
	assert_true(b->lifetime_s >= 30 && b->lifetime_s <= 100);
}

static void permanent_and_temporary_are_told_apart(void **state)
{
	struct bench *b = *state;

	expect_failure(b, "null.test", HOP_PERMANENT, 556, "5.1.10");
	expect_failure(b, "nothing.test", HOP_PERMANENT, 550, "5.1.2");
	expect_failure(b, "no name.test", HOP_PERMANENT, 550, "5.1.2");
	expect_failure(b, "dead.test", HOP_PERMANENT, 550, "5.4.4");
	expect_failure(b, "half.test", HOP_TEMPORARY, 451, "4.4.3");
	expect_failure(b, "broken.test", HOP_TEMPORARY, 451, "4.4.3");
	expect_failure(b, "silent.test", HOP_TEMPORARY, 451, "4.4.3");
	assert_non_null(strstr(b->reason, "timed out"));
}

static void without_mx_the_domain_itself(void **state)
{
	struct bench *b = *state;

	ask(b, HOP_MX, "implicit.test");
	assert_string_equal(b->told, "implicit.test 192.0.2.14");
	ask(b, HOP_MX, "[192.0.2.99]");
	assert_string_equal(b->told, "192.0.2.99 192.0.2.99");
	ask(b, HOP_MX, "[IPv6:2001:db8::9]");
	assert_string_equal(b->told, "2001:db8::9 2001:db8::9");
}

static void mail_does_not_come_back_to_us(void **state)
{
	struct bench *b = *state;

	ask(b, HOP_MX, "loop.test");
	assert_string_equal(b->told, "mx1.prov.test 2001:db8::1, mx1.prov.test 192.0.2.1");
	assert_string_equal(b->hop, "mx:25:0 mx1.prov.test");
	expect_failure(b, "ours.test", HOP_PERMANENT, 550, "5.4.6");
	ask(b, HOP_MX, "byaddress.test");
	assert_string_equal(b->told, "mx1.prov.test 2001:db8::1, mx1.prov.test 192.0.2.1");
	expect_failure(b, "here.test", HOP_PERMANENT, 550, "5.4.6");
	/* a route's own mistake returns no mail */
	ask(b, HOP_HOST, "here.test");
	assert_int_equal(b->verdict, HOP_TEMPORARY);
	assert_string_equal(b->dsn, "4.4.6");
}

static void routes_to_a_host(void **state)
{
	struct bench *b = *state;

	ask(b, HOP_HOST, "mx2.prov.test");
	assert_string_equal(b->told, "mx2.prov.test 192.0.2.2");
	assert_string_equal(b->site, "mx2.prov.test:25");
	assert_string_equal(b->hop, "smtp:mx2.prov.test:25");
	ask(b, HOP_LITERAL, "2001:db8::5");
	assert_string_equal(b->site, "[2001:db8::5]:25");
	ask(b, HOP_HOST, "nothing.test");
	assert_int_equal(b->verdict, HOP_TEMPORARY);
}

static void equal_hosts_are_one_site_and_hop(void **state)
{
	struct bench *b = *state;
	char site[SITE_BYTES], hop[HOP_BYTES];

	ask(b, HOP_MX, "plain.test");
	memcpy(site, b->site, sizeof site);
	memcpy(hop, b->hop, sizeof hop);
	assert_string_equal(site, "mx1.prov.test,mx2.prov.test,mx3.prov.test");
	assert_string_equal(hop, "mx:25:0 mx1.prov.test,0 mx2.prov.test,1 mx3.prov.test");
	ask(b, HOP_MX, "other.test");
	assert_string_equal(b->site, site);
	assert_string_equal(b->hop, hop);
	b->done = 0;
	start(b, HOP_MX, "big.test", false);
	wait_for(b, 1);
	assert_string_equal(b->site, "outlook");
}

/*
 * A thousand domains behind one MX, and a thousand tenants with a name each at one provider. A name
 * server that holds as many questions as a socket does misses none when all are due at once.
 */
static void thousands_of_domains_are_one_site(void **state)
{
	struct bench *b = *state;
	char name[64];

	for (int kind = 0; kind < 2; kind++) {
		b->done = 0;
		for (int i = 0; i < 1000; i++) {
			snprintf(name, sizeof name, kind ? "t%d.many.test" : "d%d.same.test", i);
			start(b, HOP_MX, name, false);
		}
		wait_for(b, 1000);
		assert_int_equal(b->server.asked, 1000 * (kind + 1));
		/* cached by now; one in ten is looked at */
		for (int i = 0; i < 1000; i += 10) {
			snprintf(name, sizeof name, kind ? "t%d.many.test" : "d%d.same.test", i);
			b->done = 0;
			start(b, HOP_MX, name, false);
			wait_for(b, 1);
			assert_string_equal(b->site, kind ? "mine" : "mx1.prov.test");
			if (!kind)
				assert_string_equal(b->hop, "mx:25:0 mx1.prov.test");
		}
	}
}

static void one_question_serves_all_who_wait(void **state)
{
	struct bench *b = *state;

	b->done = 0;
	for (int i = 0; i < 50; i++)
		start(b, HOP_MX, "plain.test", false);
	wait_for(b, 50);
	assert_int_equal(b->server.asked_for_plain, 1);
}

static void a_cancelled_ask_says_nothing(void **state)
{
	struct bench *b = *state;
	struct mx_question q = {HOP_MX, TEXT("plain.test"), 25, true, false};
	struct mx *mx = mx_start(b->loop, b->lookups, &b->own, b->config, &q, mx_done, b);

	b->done = 0;
	mx_cancel(&mx);
	ask(b, HOP_MX, "implicit.test");
	assert_int_equal(b->done, 1);
}

static int setup_ipv4_only(void **state)
{
	bench_open(state, "prefer = ipv4-only");
	return 0;
}

static void one_family_alone(void **state)
{
	struct bench *b = *state;

	ask(b, HOP_MX, "loop.test");
	assert_string_equal(b->told, "mx1.prov.test 192.0.2.1");
}

/* A route's list: its order, ports and weights; names looked up, addresses as they are. */
static void several_next_hops_of_a_route(void **state)
{
	struct bench *b = *state;

	ask(b, HOP_HOST, "mx3.prov.test:587,[192.0.2.77]:26,MX2.prov.test:25");
	assert_int_equal(b->verdict, HOP_FOUND);
	assert_string_equal(b->told, "mx3.prov.test 192.0.2.3, 192.0.2.77 192.0.2.77, "
				     "mx2.prov.test 192.0.2.2");
	assert_string_equal(b->site, "[192.0.2.77]:26,mx2.prov.test:25,mx3.prov.test:587");
	assert_string_equal(b->hop, "smtp:0*0 mx3.prov.test:587,1*0 [192.0.2.77]:26,2*0 "
				    "mx2.prov.test:25");
	ask(b, HOP_LMTP, "mx3.prov.test:24*3,mx2.prov.test:24*1,[192.0.2.77]:24");
	assert_string_equal(b->hop, "smtp:0*3 mx3.prov.test:24,0*1 mx2.prov.test:24,1*0 "
				    "[192.0.2.77]:24");
	/* One without an address leaves the others; without any it is the operator's to mend. */
	ask(b, HOP_HOST, "nowhere.test:25,mx2.prov.test:25");
	assert_string_equal(b->told, "mx2.prov.test 192.0.2.2");
	ask(b, HOP_HOST, "nowhere.test:25,nowhere2.test:25");
	assert_int_equal(b->verdict, HOP_TEMPORARY);
	assert_string_equal(b->dsn, "4.4.4");
	ask(b, HOP_HOST, "[192.0.2.7]:25,[192.0.2.8]:25");
	assert_string_equal(b->told, "192.0.2.7 192.0.2.7, 192.0.2.8 192.0.2.8");
}

static void what_is_no_list_of_next_hops(void **state)
{
	static const char *const targets[] = {
	    ",",
	    "a.test:25,",
	    "a.test,b.test",
	    "a.test:0,b.test:1",
	    "a.test:25,,b.test:25",
	    "a.test:25*0,b.test:1",
	    "a.test:25,b.test:1*9999",
	    "[a.test]:25,b.test:25",
	    "192.0.2.1:25,b.test:25",
	    "[192.0.2.1:25,b.test:25",
	};
	struct bench *b = *state;

	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
		ask(b, HOP_HOST, targets[i]);
		assert_int_equal(b->verdict, HOP_TEMPORARY);
	}
}

static void long_names_end_in_a_hash(void **state)
{
	struct bench *b = *state;
	struct mx_host *hosts = mem_new(MX_HOSTS_MAX, sizeof *hosts);
	struct mx_result r = {.by_mx = true, .port = 25, .hosts = hosts, .count = MX_HOSTS_MAX};
	char one[HOP_BYTES], two[HOP_BYTES];

	for (int i = 0; i < MX_HOSTS_MAX; i++)
		snprintf(hosts[i].name, sizeof hosts[i].name, "mail-exchanger-%02d.long.example",
			 i);
	hop_name(b->key, &r, HOP_MX, one);
	assert_int_equal(strlen(one), HOP_BYTES - 1);
	hosts[MX_HOSTS_MAX - 1].name[0] = 'n';
	hop_name(b->key, &r, HOP_MX, two);
	assert_int_equal(strlen(two), HOP_BYTES - 1);
	assert_string_not_equal(one, two);
	site_name(b->config, b->key, &r, HOP_MX, one);
	assert_int_equal(strlen(one), SITE_BYTES - 1);
	free(hosts);
}

static void name_done(void *arg, const char *name, bool failed)
{
	struct bench *b = arg;

	b->done++;
	snprintf(b->told, sizeof b->told, "%s%s", name, failed ? "!" : "");
}

static void a_clients_name_must_lead_back(void **state)
{
	struct bench *b = *state;
	static const struct {
		uint8_t last;
		const char *name;
	} rows[] = {{14, "implicit.test"}, {1, ""}, {99, ""}};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t a[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, rows[i].last};

		b->done = 0;
		client_name_start(b->loop, b->lookups, a, SECONDS(20), name_done, b);
		wait_for(b, 1);
		assert_string_equal(b->told, rows[i].name);
	}
}

static void txt_arrived(void *arg, const struct txt_result *r)
{
	struct bench *b = arg;
	struct bytes items = {0};
	struct wire_list list = {0};
	struct rec_txt txt;

	b->done++;
	b->verdict = r->verdict;
	b->lifetime_s = r->lifetime_s;
	b->told[0] = '\0';
	if (r->answer) {
		list.count = txt_put(&items, r->answer);
		list.items = (struct text){(const char *)items.data, bytes_len(&items)};
	}
	while (list_next_txt(&list, &txt)) {
		size_t used = strlen(b->told);

		snprintf(b->told + used, sizeof b->told - used, "<%.*s>%u ", (int)txt.data.len,
			 txt.data.data, txt.length);
	}
	bytes_free(&items);
}

static void text_records(void **state)
{
	struct bench *b = *state;
	char long_name[300];
	const struct {
		const char *name;
		enum hop_verdict verdict;
		const char *told, *turned; /* libunbound turns the records of a set */
	} rows[] = {
	    {"_sts.text.test", HOP_FOUND, "<v=STSv1; id=1;>14 <>0 ", "<>0 <v=STSv1; id=1;>14 "},
	    {"_sts.plain.test", HOP_PERMANENT, "", ""},
	    {"mx1.prov.test", HOP_PERMANENT, "", ""},
	    {"_sts.broken.test", HOP_TEMPORARY, "", ""},
	    {"_sts.silent.test", HOP_TEMPORARY, "", ""},
	    {"", HOP_PERMANENT, "", ""},
	    {"a..b", HOP_PERMANENT, "", ""},
	    {"b\303\274cher.test", HOP_PERMANENT, "", ""},
	    {long_name, HOP_PERMANENT, "", ""},
	};

	memset(long_name, 'a', sizeof long_name - 1);
	long_name[sizeof long_name - 1] = '\0';
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		/* Only one is waited for to its end. */
		struct duration patience = SECONDS(strstr(rows[i].name, "silent") ? 1 : 20);

		b->done = 0;
		txt_start(b->loop, b->lookups, text_of(rows[i].name), patience, txt_arrived, b);
		assert_int_equal(b->done, 0); /* never from within */
		wait_for(b, 1);
		assert_int_equal(b->verdict, rows[i].verdict);
		assert_string_equal(b->told, strcmp(b->told, rows[i].turned) ? rows[i].told
									     : rows[i].turned);
	}
	b->done = 0;
	struct txt *given_up =
	    txt_start(b->loop, b->lookups, text_of("_sts.text.test"), SECONDS(1), txt_arrived, b);

	txt_cancel(&given_up);
	assert_null(given_up);
	for (int i = 0; i < 20; i++)
		loop_turn(b->loop, MILLISECONDS(1));
	assert_int_equal(b->done, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(preferences_order_and_chance_among_equals),
	    CASE(several_next_hops_of_a_route),
	    CASE(what_is_no_list_of_next_hops),
	    CASE(permanent_and_temporary_are_told_apart),
	    CASE(without_mx_the_domain_itself),
	    CASE(mail_does_not_come_back_to_us),
	    CASE(routes_to_a_host),
	    CASE(equal_hosts_are_one_site_and_hop),
	    CASE(thousands_of_domains_are_one_site),
	    CASE(one_question_serves_all_who_wait),
	    CASE(a_cancelled_ask_says_nothing),
	    cmocka_unit_test_setup_teardown(one_family_alone, setup_ipv4_only, bench_teardown),
	    CASE(long_names_end_in_a_hash),
	    CASE(a_clients_name_must_lead_back),
	    CASE(text_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
