/* SPDX-License-Identifier: ISC */
/* The filter language: words that are none, and what each key lets through. */
#include "ctl/filter.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static bool goes_to_big(void *arg, struct text domain, struct text route, struct text pattern)
{
	(void)route;
	(void)arg;
	return text_equals(domain, "example.com") && filter_glob(pattern, text_of("big"));
}

static struct filter_subject subject(void)
{
	return (struct filter_subject){.id = 1000, /* RS */
				       .age = SECONDS(7200),
				       .state = STATE_DEFERRED,
				       .sender = TEXT("Ann@client.example"),
				       .login = TEXT("ann"),
				       .source = TEXT("mail.client.example[192.0.2.7]"),
				       .recipient = TEXT("bob@Example.com"),
				       .domain = TEXT("example.com"),
				       .reply = TEXT("450 4.2.0 Greylisted, come back"),
				       .waits = TEXT("site mx.example is down: refused"),
				       .site = goes_to_big};
}

static void hosts_are_in_networks(void **state)
{
	static const struct {
		const char *network, *host;
		bool in;
	} rows[] = {
	    {"2001:db8::/32", "2001:db8::7", true},
	    {"2001:db8::/32", "[2001:db8:1::7]", true},
	    {"2001:db8::/32", "2001:db9::7", false},
	    {"127.0.0.0/8", "[127.0.0.1]", true},
	    {"127.0.0.0/8", "", false},
	    {"127.0.0.0/8", "[", false},
	    {"127.0.0.0/8", "mx.example", false},
	    {"127.0.0.0/8", "mx.example[127.0.0.9]", true},
	};
	char error[256];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct network n;

		assert_true(filter_network_read(text_of(rows[i].network), &n, error, sizeof error));
		if (filter_in_network(&n, text_of(rows[i].host)) != rows[i].in)
			fail_msg("%s in %s", rows[i].host, rows[i].network);
	}
}

static void refuses_what_is_no_filter(void **state)
{
	static const struct {
		const char *word, *says;
	} rows[] = {
	    {"sender", "no KEY=VALUE"},
	    {"=x", "no KEY=VALUE"},
	    {"sneder=x", "sender=?"},
	    {"color=red", "unknown key"},
	    {"sender=", "null sender"},
	    {"login=", "takes a value"},
	    {"site=", "takes a host"},
	    {"site=[192.0.2.1]:25", "without the port"},
	    {"site=mx.example:25", "without the port"},
	    {"site=mx.example/ann@client.example", "without the port"},
	    {"site=mx.example source=a", "without the port"},
	    {"site=mx1.example,mx2.example", "takes a host"},
	    {"age=2h", "2h+"},
	    {"age=h+", "2h+"},
	    {"age=2x+", "2h+"},
	    {"age=-2h+", "2h+"},
	    {"age=99999999d+", "2h+"},
	    {"state=sleeping", "ready, deferred"},
	    {"source=10.0.0.0/33", "length of an IPv4 network is /0 to /32"},
	    {"source=2001:db8::/129", "length of an IPv6 network is /0 to /128"},
	    {"source=10.0.0.1/8", "did you mean 10.0.0.0/8?"},
	    {"source=mail.example/8", "is no network"},
	    {"source=10.0.0.0/", "length of an IPv4 network"},
	    {"id=not-an-id", "a queue ID"},
	    {"id=", "a queue ID"},
	};
	char error[256];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct filter f = {.count = 0};

		if (filter_add(&f, rows[i].word, error, sizeof error) ||
		    !strstr(error, rows[i].says) || f.count)
			fail_msg("%s: %s", rows[i].word, error);
	}
	struct filter f = {.count = 0};

	for (int i = 0; i < FILTER_MAX; i++)
		assert_true(filter_add(&f, "login=a", error, sizeof error));
	assert_false(filter_add(&f, "login=a", error, sizeof error));
}

static const struct {
	const char *word;
	bool yes;
} named[] = {
    {"sender=ann@client.example", true},
    {"sender=*@client.example", true},
    {"sender=*@other.example", false},
    {"sender=client.example", false},
    {"sender=<>", false},
    {"login=ann", true},
    {"login=an", false},
    {"login=a*", true},
    {"recipient=bob@example.com", true},
    {"recipient=*@example.com", true},
    {"recipient=bob@*", true},
    {"recipient=*b@*l*.com", true},
    {"recipient=*b@*l*.comx", false},
    {"domain=example.com", true},
    {"domain=EXAMPLE.com", true},
    {"domain=.com", true},
    {"domain=ample.com", false},
    {"domain=*ample.com", true},
    {"site=big", true},
    {"site=small", false},
    {"site=/run/store/lmtp", false},
    {"site=2001:db8::1", false},
    {"site=[2001:db8::]/32", false},
    {"site=192.0.2.0/24", false},
    {"reply=IS DOWN", true},
    {"source=192.0.2.7", true},
    {"source=192.0.2.*", true},
    {"source=mail.client.example", true},
    {"source=*.client.example", true},
    {"source=192.0.2.8", false},
    {"source=192.0.2.0/24", true},
    {"source=192.0.2.7/32", true},
    {"source=192.0.2.0/29", true},
    {"source=192.0.2.8/29", false},
    {"source=0.0.0.0/0", true},
    {"source=::/0", false},
    {"source=2001:db8::/32", false},
    {"age=119m+", true},
    {"age=121m+", false},
    {"age=121m-", true},
    {"age=1d-", true},
    {"age=1h-", false},
    {"state=deferred", true},
    {"state=held", false},
    {"reply=greylist", true},
    {"reply=4.2.0", true},
    {"reply=back", true},
    {"reply=backs", false},
    {"id=RS", true},
    {"id=rs", true},
    {"id=RT", false},
};

static void lets_through_what_it_names(void **state)
{
	char error[256];

	(void)state;
	for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
		struct filter f = {.count = 0};
		struct filter_subject s = subject();

		if (!filter_add(&f, named[i].word, error, sizeof error))
			fail_msg("%s: %s", named[i].word, error);
		if (filter_matches(&f, ~0u, &s) != named[i].yes)
			fail_msg("%s", named[i].word);
	}
}

static void all_words_must_hold(void **state)
{
	struct filter f = {.count = 0};
	struct filter_subject s = subject();
	char error[256];

	(void)state;
	assert_true(filter_matches(&f, ~0u, &s));
	assert_true(filter_add(&f, "domain=example.com", error, sizeof error));
	assert_true(filter_add(&f, "state=deferred", error, sizeof error));
	assert_true(filter_matches(&f, ~0u, &s));
	assert_true(filter_add(&f, "login=carol", error, sizeof error));
	assert_false(filter_matches(&f, ~0u, &s));
	/* Judged in parts, as what they need is read. */
	assert_true(filter_matches(&f, FILTER_OF_INDEX, &s));
	assert_false(filter_matches(&f, FILTER_OF_ENVELOPE, &s));
	assert_int_equal(filter_keys(&f), FILTER_BIT(FILTER_DOMAIN) | FILTER_BIT(FILTER_STATE) |
					      FILTER_BIT(FILTER_LOGIN));
}

static void null_senders_and_nobody(void **state)
{
	struct filter f = {.count = 0};
	struct filter_subject s = {.sender = TEXT("")};
	char error[256];

	(void)state;
	assert_true(filter_add(&f, "sender=<>", error, sizeof error));
	assert_true(filter_matches(&f, ~0u, &s));
	/* A star is any login, not none; any sender, not the null one. */
	f.count = 0;
	assert_true(filter_add(&f, "login=*", error, sizeof error));
	assert_false(filter_matches(&f, ~0u, &s));
	f.count = 0;
	assert_true(filter_add(&f, "sender=*", error, sizeof error));
	assert_false(filter_matches(&f, ~0u, &s));
	f.count = 0;
	assert_true(filter_add(&f, "source=*", error, sizeof error));
	assert_false(filter_matches(&f, ~0u, &s));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(refuses_what_is_no_filter),  cmocka_unit_test(hosts_are_in_networks),
	    cmocka_unit_test(lets_through_what_it_names), cmocka_unit_test(all_words_must_hold),
	    cmocka_unit_test(null_senders_and_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
