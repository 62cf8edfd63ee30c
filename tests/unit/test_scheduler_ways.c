/* SPDX-License-Identifier: ISC */
/* Ways: mail for one domain from several sources, and with what was asked of TLS. */
#include "scheduler_world.h"
#include "qmgr/way.h"

#define SOURCES "source a { ipv4 = 192.0.2.1 }\nsource b { ipv4 = 192.0.2.2 }\n"

static struct mail *add_way(struct world *w, const char *domain, const char *source, uint8_t tls,
			    uint32_t count)
{
	struct mail *mail = mail_new(&w->mails, w->next_id++, text_of("u0"), count);

	mail->committed = true;
	mail->source = mails_source(&w->mails, text_of(source));
	mail->tls = tls;
	for (uint32_t i = 0; i < count; i++)
		scheduler_add(w->s, &mail->recipients[i], text_of(domain), 0, w->now);
	return mail;
}

/* Connections are each way's own, limits each source's. */
static void test_ways_part(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, SOURCES);
	w.answer = never;
	add_way(&w, "d.example", "", MAIL_TLS_ANY, 1);
	add_way(&w, "d.example", "", MAIL_TLS_REQUIRED, 1);
	add_way(&w, "d.example", "a", MAIL_TLS_ANY, 1);
	add_way(&w, "d.example", "a", MAIL_TLS_OPTIONAL, 1);
	add_way(&w, "d.example", "a", MAIL_TLS_OPTIONAL, 1);
	run(&w, SECOND);
	assert_int_equal(w.asked, 4);
	assert_int_equal(w.started, 5);
	assert_int_equal(w.s->domains.count, 4);
	const struct site *none = site_find(w.s, text_of("d.example"));
	const struct site *a = site_find(w.s, text_of("d.example source=a"));

	assert_non_null(none);
	assert_non_null(a);
	assert_int_equal(w.s->sites.count, 2);
	assert_int_equal(none->slots, 2);
	assert_int_equal(a->slots, 3);
	const struct domain *d = NULL;
	size_t ways = 0;

	while ((d = scheduler_domain(w.s, text_of("d.example"), d))) {
		ways++;
		if (d->source.len)
			assert_string_equal(d->hop, d->tls ? "d.example source=a tls-optional"
							   : "d.example source=a");
		else
			assert_string_equal(d->hop, d->tls ? "d.example requiretls" : "d.example");
	}
	assert_int_equal(ways, 4);
	w.answer = takes_all;
	run(&w, SECOND);
	assert_int_equal(w.taken, 5);
	world_empty(&w);
	world_free(&w);
}

/* A connection of one way is not used for another one's mail as it is: its hop is told anew. */
static void test_a_connection_has_one_way(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "limits { site-connections = 1 }");
	w.answer = never;
	add_way(&w, "d.example", "", MAIL_TLS_REQUIRED, 1);
	run(&w, SECOND);
	add_way(&w, "d.example", "", MAIL_TLS_ANY, 1);
	run(&w, SECOND);
	assert_int_equal(w.started, 1);
	w.answer = takes_all;
	run(&w, 5000);
	assert_int_equal(w.started, 2);
	assert_string_equal(scheduler_job(w.s, w.flights[0].job)->slot->hop, "d.example");
	run(&w, SECOND);
	assert_int_equal(w.taken, 2);
	world_empty(&w);
	world_free(&w);
}

/* Mail for this machine's mailboxes is local's, wherever its sender's mail leaves from. */
static void test_local_has_no_source(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, SOURCES "route here.example { to = local }");
	w.answer = never;
	add_way(&w, "here.example", "a", MAIL_TLS_ANY, 1);
	add_way(&w, "here.example", "b", MAIL_TLS_REQUIRED, 1);
	run(&w, SECOND);
	const struct site *site = site_find(w.s, text_of(LOCAL_SITE));

	assert_non_null(site);
	assert_true(site->local);
	assert_int_equal(w.s->sites.count, 1);
	assert_int_equal(site->ready + site->flying, 2);
	world_free(&w);
}

static enum answer a_is_refused(struct world *w, const struct job *job)
{
	(void)w;
	return text_equals(job->slot->site->name, "s0 source=a") ? SITE_FAILS : TAKES;
}

/* What a receiver refuses to one source it takes from another: (site, source) is down, no more. */
static void test_a_source_is_down(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, SOURCES "retry { first = 60s }");
	w.answer = a_is_refused;
	for (int i = 0; i < 20; i++) {
		add_way(&w, "s0", "a", MAIL_TLS_ANY, 1);
		add_way(&w, "s0", "b", MAIL_TLS_ANY, 1);
		add_way(&w, "s0", "", MAIL_TLS_ANY, 1);
	}
	run(&w, 5 * SECOND);
	assert_int_equal(w.taken, 40);
	assert_int_equal(w.downs, 1);
	const struct domain *d = NULL;
	size_t down = 0;

	while ((d = scheduler_domain(w.s, text_of("s0"), d)))
		down += d->site->down_until_us != 0;
	assert_int_equal(down, 1);
	w.answer = takes_all;
	run(&w, 2 * MINUTE);
	assert_int_equal(w.taken, 60);
	world_empty(&w);
	world_free(&w);
}

/* The limits of a site's block hold for each of its sources. */
static void test_limits_of_each_source(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, SOURCES "site s0 { mx = mx.example connections = 3 rate = 6000 }");
	w.latency_us = 50000;
	for (int i = 0; i < 300; i++) {
		add_way(&w, "s0", "a", MAIL_TLS_ANY, 1);
		add_way(&w, "s0", "b", MAIL_TLS_ANY, 1);
	}
	run(&w, SECOND);
	for (const char *const *name = (const char *const[]){"s0 source=a", "s0 source=b", NULL};
	     *name; name++) {
		const struct site *site = site_find(w.s, text_of(*name));

		assert_non_null(site);
		assert_int_equal(site->cap, 3);
		assert_int_equal(site->rate, 6000);
		assert_int_equal(site->slots, 3);
	}
	run(&w, 10 * SECOND);
	assert_int_equal(w.taken, 600);
	assert_int_equal(w.most_slots, 3);
	world_empty(&w);
	world_free(&w);
}

static void reload(struct world *w, const char *text)
{
	char whole[1024];

	snprintf(whole, sizeof whole,
		 "hostname = mail.example.net\npostmaster = p@example.net\nqueue = /tmp/q\n%s",
		 text);
	config_drop(&w->config);
	w->config = config_of(whole);
	scheduler_configure(w->s, w->config);
}

static enum answer a_fails(struct world *w, const struct job *job)
{
	(void)w;
	return text_equals(job->domain->source, "a") ? SITE_FAILS : TAKES;
}

/* After a reload what waits, also for a site that is down, leaves from where it now says. */
static void test_reload_moves(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, SOURCES "route * { to = mx source = a }\n");
	w.answer = a_fails;
	for (int i = 0; i < 200; i++)
		add_way(&w, i % 2 ? "s0" : "s1", "", MAIL_TLS_ANY, 1);
	run(&w, 2 * SECOND);
	assert_int_equal(w.taken, 0);
	assert_int_equal(w.downs, 2);
	check_counts(&w);
	reload(&w, SOURCES "route * { to = mx source = b }\n");
	run(&w, 5 * SECOND);
	assert_int_equal(w.taken, 200);
	check_counts(&w);
	world_empty(&w);
	/* And without any. */
	for (int i = 0; i < 10; i++)
		add_way(&w, "s0", "a", MAIL_TLS_ANY, 1);
	run(&w, SECOND);
	assert_int_equal(w.taken, 200);
	reload(&w, "");
	run(&w, 5 * SECOND);
	assert_int_equal(w.taken, 210);
	world_empty(&w);
	world_free(&w);
}

static struct mail *add_routed(struct world *w, const char *domain, const char *route,
			       uint32_t count)
{
	struct mail *mail = mail_new(&w->mails, w->next_id++, text_of("u0"), count);

	mail->committed = true;
	mail->route = mails_route(&w->mails, text_of(route));
	for (uint32_t i = 0; i < count; i++)
		scheduler_add(w->s, &mail->recipients[i], text_of(domain), 0, w->now);
	return mail;
}

#define RELAYS                                                                                     \
	"route @one { to = smtp:one.example:587 }\nroute @two { to = smtp:two.example:587 }\n"

/* Two senders' mail for one domain goes to two sites, and the others' to the domain's own. */
static void test_routes_part(void **state)
{
	static const struct {
		const char *route, *target;
		uint16_t port;
	} rows[] = {
	    {"", "d.example", 25}, {"@one", "one.example", 587}, {"@two", "two.example", 587}};
	struct world w;

	(void)state;
	world_init(&w, RELAYS "route fixed.example { to = mx }\n");
	w.answer = never;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		add_routed(&w, "d.example", rows[i].route, 2);
		add_routed(&w, "fixed.example", rows[i].route, 1);
	}
	run(&w, SECOND);
	assert_int_equal(w.s->sites.count, 4);
	assert_int_equal(w.s->domains.count, 4);
	for (const struct domain *d = NULL; (d = scheduler_domain(w.s, text_of("d.example"), d));) {
		size_t i = 0;

		while (i < 3 && !text_equals(d->route, rows[i].route))
			i++;
		assert_true(i < 3);
		assert_string_equal(d->target, rows[i].target);
		assert_int_equal(d->port, rows[i].port);
		assert_non_null(site_find(w.s, text_of(rows[i].target)));
	}
	w.answer = takes_all;
	run(&w, 5 * SECOND);
	assert_int_equal(w.taken, 9);
	world_empty(&w);
	world_free(&w);
}

static enum answer one_fails(struct world *w, const struct job *job)
{
	(void)w;
	return text_equals(text_of(job->domain->target), "one.example") ? SITE_FAILS : TAKES;
}

/*
 * What waits keeps to its route by name, wherever that leads after a reload; a route that says
 * more of the domain takes over.
 */
static void test_reload_of_a_route(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, RELAYS);
	w.answer = one_fails;
	for (int i = 0; i < 20; i++)
		add_routed(&w, i % 2 ? "d.example" : "e.example", "@one", 1);
	run(&w, 2 * SECOND);
	assert_int_equal(w.taken, 0);
	assert_int_equal(w.downs, 1);
	reload(&w, "route @one { to = smtp:three.example }\nroute e.example { to = mx }\n");
	run(&w, 5 * SECOND);
	assert_int_equal(w.taken, 20);
	assert_non_null(site_find(w.s, text_of("three.example")));
	assert_non_null(site_find(w.s, text_of("e.example")));
	check_counts(&w);
	world_empty(&w);
	world_free(&w);
}

/* What is stored behind the submitter comes back; what is not ours is none. */
static void test_stored(void **state)
{
	static const struct {
		const char *submitter, *source;
		uint8_t tls;
		const char *route;
	} rows[] = {
	    {"login:ann", "", MAIL_TLS_ANY, ""},
	    {"login:ann", "", MAIL_TLS_REQUIRED, ""},
	    {"login:ann", "", MAIL_TLS_OPTIONAL, ""},
	    {"net:192.0.2.1", "a.b-c", MAIL_TLS_ANY, ""},
	    {"", "pool", MAIL_TLS_REQUIRED, ""},
	    {"bounce", "", MAIL_TLS_REQUIRED, ""},
	    {"login:a@b.example", "", MAIL_TLS_ANY, "@big"},
	    {"login:ann", "a.b-c", MAIL_TLS_REQUIRED, "@big.one"},
	};
	char room[QUEUE_SUBMITTER_MAX], longest[SUBMITTER_MAX + 1];
	char name[ROUTE_NAME_MAX + 1] = "@yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
	struct way way, again;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		way = (struct way){text_of(rows[i].source), rows[i].tls, text_of(rows[i].route)};
		struct text stored = way_store(room, text_of(rows[i].submitter), &way);

		assert_true(text_equals(way_load(stored, &again), rows[i].submitter));
		assert_true(way_equal(&way, &again));
		if (!way.tls && !way.source.len && !way.route.len)
			assert_true(text_equals(stored, rows[i].submitter));
	}
	memset(longest, 'x', sizeof longest);
	way = (struct way){{longest, SOURCE_MAX}, MAIL_TLS_REQUIRED, text_of(name)};
	struct text stored = way_store(room, (struct text){longest, SUBMITTER_MAX}, &way);

	assert_true(stored.len <= QUEUE_SUBMITTER_MAX);
	assert_int_equal(way_load(stored, &again).len, SUBMITTER_MAX);
	assert_true(way_equal(&way, &again));
	/* From a hostile process, or a later Veredus. */
	assert_int_equal(way_load((struct text)TEXT("login:x\0"), &again).len, 7);
	assert_int_equal(again.tls, MAIL_TLS_ANY);
	assert_int_equal(way_load((struct text)TEXT("login:x\0?s"), &again).len, 7);
	assert_int_equal(again.tls, MAIL_TLS_ANY);
	assert_true(text_equals(again.source, "s"));
	way = (struct way){.tls = MAIL_TLS_REQUIRED};
	stored = way_store(room, (struct text)TEXT("a\0o"), &way);
	assert_true(text_equals(way_load(stored, &again), "a"));
	assert_int_equal(again.tls, MAIL_TLS_REQUIRED);
}

/* Recipients of one message and domain with two senders: two transactions, and nobody is lost. */
static void test_senders(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	w.parts = true;
	for (int i = 0; i < 50; i++)
		add(&w, "u0", i % 2 ? "s0" : "s1", 7);
	run(&w, 1000);
	check_counts(&w);
	run(&w, 5 * SECOND);
	check_counts(&w);
	assert_int_equal(w.taken, 350);
	assert_int_equal(w.started, 100);
	world_empty(&w);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_senders),
	    cmocka_unit_test(test_ways_part),
	    cmocka_unit_test(test_a_connection_has_one_way),
	    cmocka_unit_test(test_local_has_no_source),
	    cmocka_unit_test(test_a_source_is_down),
	    cmocka_unit_test(test_limits_of_each_source),
	    cmocka_unit_test(test_reload_moves),
	    cmocka_unit_test(test_routes_part),
	    cmocka_unit_test(test_reload_of_a_route),
	    cmocka_unit_test(test_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
