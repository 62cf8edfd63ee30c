/* SPDX-License-Identifier: ISC */
/* Domains and the sites that they fall under: moves, and one transaction for several. */
#include "scheduler_world.h"

static void site_by_generation(struct world *w, const char *domain, char *site, size_t size)
{
	(void)domain;
	snprintf(site, size, "%s", (const char *)w->script);
}

static void test_mx_changes(void **state)
{
	struct world w;
	const struct site *top[4];

	(void)state;
	world_init(&w, "limits { site-connections = 1 }\nretry { first = 10m }");
	w.site_of = site_by_generation;
	w.script = (void *)(uintptr_t) "s0";
	w.latency_us = 2 * SECOND;
	w.step_us = 20000;
	for (int i = 0; i < 500; i++)
		add(&w, i % 2 ? "u0" : "u1", "d.example", 1);
	run(&w, 10 * SECOND);
	check_counts(&w);
	assert_true(w.by_site[0] > 2 && w.by_site[1] == 0);
	w.script = (void *)(uintptr_t) "s1";
	run(&w, 301 * SECOND); /* the answer's lifetime */
	check_counts(&w);
	assert_true(w.by_site[1] > 0);
	w.latency_us = 10000;
	run(&w, 60 * SECOND);
	assert_int_equal(w.taken, 500);
	world_empty(&w);
	assert_int_equal(scheduler_top(w.s, top, 4), 1); /* the old one is gone */
	world_free(&w);
}

/* What waits and flies moves from site to site with its domain, and so do its counts. */
static void test_counts_move_too(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "retry { first = 10m }");
	w.site_of = site_by_generation;
	w.script = (void *)(uintptr_t) "s0";
	w.answer = defers_once;
	for (int i = 0; i < 50; i++)
		add(&w, "u0", "d.example", 2);
	run(&w, 2 * SECOND);
	check_counts(&w);
	assert_int_equal(scheduler_figures(w.s).waiting, 100);
	w.script = (void *)(uintptr_t) "s1";
	w.now += 300 * SECOND;
	add(&w, "u0", "d.example", 2);
	run(&w, 1 * SECOND);
	check_counts(&w);
	w.step_us = 10000;
	run(&w, 40 * MINUTE);
	assert_int_equal(w.taken, 102);
	world_empty(&w);
	world_free(&w);
}

enum { DEAD = 12000 }; /* more than are looked at in a tick */

static enum answer dead_at_first(struct world *w, const struct job *job)
{
	(void)job;
	return w->started <= DEAD ? SITE_FAILS : TAKES;
}

/* All of them are woken when their time has come, and not much later. */
static void test_more_dead_sites_than_a_tick_sees(void **state)
{
	struct world w;
	char domain[32];

	(void)state;
	world_init(&w, "retry { first = 1m longest = 1m } limits { deliveries = 20000 }");
	w.site_of = site_is_domain;
	w.answer = dead_at_first;
	w.step_us = 100000;
	for (int i = 0; i < DEAD; i++) {
		snprintf(domain, sizeof domain, "d%d.example", i);
		add(&w, "u0", domain, 1);
	}
	run(&w, 20 * SECOND);
	assert_int_equal(w.started, DEAD);
	assert_int_equal(w.downs, DEAD);
	run(&w, 60 * SECOND);
	assert_int_equal(w.taken, DEAD);
	world_empty(&w);
	world_free(&w);
}

static enum answer we_fail_at_first(struct world *w, const struct job *job)
{
	(void)job;
	return w->started <= 3 ? WE_FAIL : TAKES;
}

static enum answer we_fail(struct world *w, const struct job *job)
{
	(void)w;
	(void)job;
	return WE_FAIL;
}

/* It is tried again after 1, 2 and 4 s, and no attempt or fault of the site; for ever it is not as
 * fast. */
static void test_fault_of_ours(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "retry { first = 10m longest = 20m }");
	w.answer = we_fail_at_first;
	w.step_us = 10000;
	struct mail *mail = add(&w, "u0", "s0", 1);

	run(&w, 1 * SECOND / 2);
	assert_int_equal(w.started, 1);
	assert_int_equal(mail->recipients[0].attempts, 0);
	check_counts(&w);
	run(&w, 12 * SECOND);
	assert_int_equal(w.started, 4);
	assert_int_equal(w.taken, 1);
	assert_int_equal(w.downs, 0);
	w.answer = we_fail;
	add(&w, "u0", "s0", 1);
	run(&w, 60 * MINUTE);
	assert_in_range(w.started, 4 + 10, 4 + 20);
	assert_int_equal(w.downs, 0);
	w.answer = takes_all;
	run(&w, 21 * MINUTE);
	world_empty(&w);
	world_free(&w);
}

/* One that lasts, with many who wait for it: they do not all knock again and again. When it is over
 * they go. */
static void test_fault_of_ours_that_lasts(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "retry { first = 5m longest = 20m }");
	w.answer = takes_all;
	w.step_us = 10000;
	add(&w, "u0", "s0", 1);
	run(&w, 1 * SECOND);
	w.answer = we_fail;
	for (int i = 0; i < 500; i++)
		add(&w, "u0", "s0", 1);
	/* For a moment nothing is down. */
	run(&w, 20 * SECOND);
	assert_int_equal(w.downs, 0);
	run(&w, 60 * MINUTE);
	assert_in_range(w.downs, 1, 20);
	assert_in_range(w.started, 501, 4000);
	w.answer = takes_all;
	run(&w, 42 * MINUTE);
	assert_int_equal(w.taken, 501);
	world_empty(&w);
	world_free(&w);
}

/* Customers of one provider, or a thousand domains behind one MX set: the resolver names one site.
 */
static void test_one_site_for_many_domains(void **state)
{
	struct world w;
	char domain[32];
	const struct site *top[8];

	(void)state;
	world_init(&w, "limits { site-connections = 7 }");
	w.site_of = all_one_site;
	for (int i = 0; i < 3000; i++) {
		snprintf(domain, sizeof domain, "d%d.example", i % 1000);
		add(&w, "u0", domain, 1);
	}
	run(&w, 100000);
	assert_int_equal(scheduler_top(w.s, top, 8), 1);
	check_counts(&w);
	run(&w, 20 * SECOND);
	assert_int_equal(w.asked, 1000);
	assert_int_equal(w.taken, 3000);
	assert_int_equal(w.most_slots, 7);
	world_empty(&w);
	world_free(&w);
}

/* A message for many domains at one site goes in one transaction. */
static void test_one_transaction_over_domains(void **state)
{
	struct world w;
	struct mail *mail;
	char domain[32];

	(void)state;
	world_init(&w, "");
	w.site_of = all_one_site;
	w.silent_resolver = true;
	mail = mail_new(&w.mails, 1, text_of("u0"), 100);
	for (uint32_t i = 0; i < 100; i++) {
		snprintf(domain, sizeof domain, "d%u.example", i);
		scheduler_add(w.s, &mail->recipients[i], text_of(domain), 0, w.now);
	}
	answer_questions(&w);
	w.silent_resolver = false;
	answer_questions(&w);
	run(&w, 1 * SECOND);
	assert_int_equal(w.started, 1);
	assert_int_equal(w.taken, 100);
	world_empty(&w);
	world_free(&w);
}

static void site_answers_about(struct world *w, size_t question)
{
	scheduler_site_is(w->s, w->questions[question].query, text_of("s0"), text_of("s0"), 300,
			  w->now);
}

/* The answers about a message's domains come one after the other: it goes once, but does not wait
 * long for one that is late. */
static void test_one_transaction_when_answers_part(void **state)
{
	struct world w;
	const char *domains[] = {"a.example", "b.example", "c.example"};

	(void)state;
	world_init(&w, "");
	w.silent_resolver = true;
	struct mail *mail = mail_new(&w.mails, 1, text_of("u0"), 3);

	for (uint32_t i = 0; i < 3; i++)
		scheduler_add(w.s, &mail->recipients[i], text_of(domains[i]), 0, w.now);
	site_answers_about(&w, 1);
	run(&w, 20000);
	assert_int_equal(w.started, 0);
	site_answers_about(&w, 0);
	run(&w, 20000);
	assert_int_equal(w.started, 0);
	scheduler_no_site(w.s, w.questions[2].query, true, 550, text_of("5.1.2"),
			  text_of("no such domain"), 60, w.now);
	run(&w, 20000);
	assert_int_equal(w.started, 1);
	assert_int_equal(w.taken, 2);
	run(&w, SECOND);
	assert_int_equal(w.failed, 1);
	world_empty(&w);
	/* One is late: the other goes after 50 ms; what comes twice or too late does no harm. */
	w.question_count = 0;
	w.started = 0;
	mail = mail_new(&w.mails, 2, text_of("u0"), 2);
	scheduler_add(w.s, &mail->recipients[0], text_of("d.example"), 0, w.now);
	scheduler_add(w.s, &mail->recipients[1], text_of("e.example"), 0, w.now);
	site_answers_about(&w, 0);
	run(&w, 45000);
	assert_int_equal(w.started, 0);
	run(&w, 10000);
	assert_int_equal(w.started, 1);
	site_answers_about(&w, 0);
	site_answers_about(&w, 1);
	run(&w, SECOND);
	assert_int_equal(w.started, 2);
	world_empty(&w);
	/* Ends with an answer that still waits. */
	w.question_count = 0;
	mail = mail_new(&w.mails, 3, text_of("u0"), 2);
	scheduler_add(w.s, &mail->recipients[0], text_of("f.example"), 0, w.now);
	scheduler_add(w.s, &mail->recipients[1], text_of("g.example"), 0, w.now);
	site_answers_about(&w, 1);
	world_free(&w);
}

/* One connection may wait for several jobs, gets as many, and is idle only when none comes. */
static void test_wants_several(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	w.answer = never;
	add(&w, "u0", "s0", 1);
	run(&w, 5000);
	struct slot *slot = scheduler_slot(w.s, w.flights[0].slot);

	for (int i = 0; i < 3; i++)
		scheduler_want(w.s, slot, w.now);
	assert_int_equal(slot->wants, 3);
	for (int i = 0; i < 5; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 5000);
	assert_int_equal(slot->jobs, 4);
	assert_int_equal(slot->wants, 0);
	assert_int_equal(slot->site->slots, 3); /* the others have connections of their own */
	/* One that comes back goes out again, and one that wants more than there is goes on. */
	scheduler_job_done(w.s, scheduler_job(w.s, w.flights[0].job), false, w.now);
	assert_int_equal(slot->jobs, 3);
	for (int i = 0; i < 4; i++)
		scheduler_want(w.s, slot, w.now);
	for (int i = 0; i < 3; i++) {
		run(&w, 3 * IDLE_US / 4);
		add(&w, "u0", "s0", 1);
	}
	run(&w, IDLE_US / 2);
	assert_int_equal(slot->jobs, 7);
	assert_int_equal(slot->wants, 0);
	scheduler_want(w.s, slot, w.now);
	assert_false(slot->closing);
	run(&w, 3 * IDLE_US / 2);
	assert_int_equal(w.closed, 1);
	w.answer = takes_all;
	run(&w, 4 * SECOND);
	assert_int_equal(w.taken, 9);
	world_empty(&w);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_mx_changes),
	    cmocka_unit_test(test_counts_move_too),
	    cmocka_unit_test(test_fault_of_ours),
	    cmocka_unit_test(test_fault_of_ours_that_lasts),
	    cmocka_unit_test(test_more_dead_sites_than_a_tick_sees),
	    cmocka_unit_test(test_one_site_for_many_domains),
	    cmocka_unit_test(test_one_transaction_over_domains),
	    cmocka_unit_test(test_one_transaction_when_answers_part),
	    cmocka_unit_test(test_wants_several),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
