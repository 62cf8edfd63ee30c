/* SPDX-License-Identifier: ISC */
/* The scheduler's windows, turns and pace: nobody waits for another's sake. */
#include "scheduler_world.h"

struct burst {
	bool fail_one;
};

static enum answer one_fails(struct world *w, const struct job *job)
{
	struct burst *b = w->script;

	(void)job;
	if (!b->fail_one)
		return TAKES;
	b->fail_one = false;
	return SITE_FAILS;
}

static void test_window(void **state)
{
	struct world w;
	struct burst b = {false};
	const struct site *site = NULL;

	(void)state;
	world_init(&w, "limits { site-connections = 20 }");
	w.script = &b;
	w.answer = one_fails;
	for (int i = 0; i < 5000; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 5000);
	assert_int_equal(scheduler_top(w.s, &site, 1), 1);
	assert_int_equal(w.most_slots, 5); /* not known yet */
	run(&w, 30000);
	assert_int_equal(site->window, 20); /* twice as wide in each round */
	run(&w, 30000);
	assert_int_equal(w.most_slots, 20);
	b.fail_one = true;
	run(&w, 15000);
	assert_false(b.fail_one);
	assert_true(site->window >= 10 && site->window < 14);
	assert_true(site->slots <= site->window + 1); /* connections beyond it are closed */
	assert_int_equal(w.downs, 0);		      /* others of its connections are served */
	check_counts(&w);
	run(&w, 30000);
	assert_true(site->window < 17); /* by one a round, now that its measure is known */
	run(&w, 10 * SECOND);
	assert_int_equal(w.taken, 5000);
	world_empty(&w);
	world_free(&w);
}

static enum answer at_most_ten(struct world *w, const struct job *job)
{
	(void)w;
	return job->slot->site->slots > 10 ? SITE_FAILS : TAKES;
}

/* A receiver that takes so many connections and refuses all others at once is no dead one. */
static void test_window_of_a_receiver_with_a_limit(void **state)
{
	struct world w;
	const struct site *site = NULL;

	(void)state;
	world_init(&w, "limits { site-connections = 100 }");
	w.answer = at_most_ten;
	for (int i = 0; i < 5000; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 20 * SECOND);
	assert_int_equal(scheduler_top(w.s, &site, 1), 1);
	assert_int_equal(w.downs, 0);
	assert_int_equal(w.taken, 5000);
	world_empty(&w);
	world_free(&w);
}

/* A window that nothing waits for stays as it is: more connections would gain nothing. */
static void test_window_grows_in_need(void **state)
{
	struct world w;
	const struct site *site = NULL;

	(void)state;
	world_init(&w, "");
	for (int i = 0; i < 500; i++) {
		add(&w, "u0", "s0", 1);
		run(&w, 4000); /* 2.5 under way at once */
	}
	assert_int_equal(scheduler_top(w.s, &site, 1), 1);
	assert_int_equal(site->window, 5);
	run(&w, SECOND);
	assert_int_equal(w.taken, 500);
	world_empty(&w);
	world_free(&w);
}

/* What waits for a site that is slow by itself does not slow the intake of others' mail. */
static void test_pace_by_fast_sites(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	w.latency_us = 200000;
	for (int i = 0; i < 20000; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 10000); /* has not answered yet */
	assert_int_equal(scheduler_figures(w.s).ready_soon, SLOW_COUNT);
	run(&w, 3 * SECOND);
	check_counts(&w);
	assert_true(scheduler_figures(w.s).ready > 10000);
	assert_int_equal(scheduler_figures(w.s).ready_soon, SLOW_COUNT);
	w.latency_us = 1000;
	for (int i = 0; i < 20000; i++)
		add(&w, "u0", "s1", 1);
	run(&w, 10000);
	check_counts(&w);
	assert_true(scheduler_figures(w.s).ready_soon > 10000);
	world_free(&w);
}

static void test_fairness(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	for (int i = 0; i < 100; i++)
		add(&w, "u0", "s0", 1000);
	for (int i = 0; i < 100; i++)
		add(&w, "u2", "s0", 1);
	for (int i = 0; i < 10; i++)
		add(&w, "u1", "s0", 1);
	run(&w, 3 * SECOND);
	assert_int_equal(w.by_submitter[1], 10);
	assert_true(w.to_see_all_of_u1 <= 40);
	/* Many single messages instead of a few large ones. */
	run(&w, 60 * SECOND);
	world_empty(&w);
	for (int i = 0; i < 100000; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 100 * 1000);
	w.by_submitter[1] = w.to_see_all_of_u1 = 0;
	uint64_t before = w.started;

	for (int i = 0; i < 10; i++)
		add(&w, "u1", "s0", 1);
	run(&w, 100 * 1000);
	assert_true(w.to_see_all_of_u1 && w.to_see_all_of_u1 - before <= 24);
	check_counts(&w);
	world_free(&w); /* with most of it still there */
}

static void test_sites_take_turns(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "limits { deliveries = 16 site-connections = 16 }");
	for (int i = 0; i < 3000; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 200 * 1000); /* the first site has all connections */
	assert_true(w.by_site[0] > 100);
	memset(w.by_site, 0, sizeof w.by_site);
	for (int i = 0; i < 3000; i++)
		for (char site[] = "s1"; site[1] < '4'; site[1]++)
			add(&w, "u0", site, 1);
	run(&w, 4 * SECOND);
	check_counts(&w);
	for (int i = 1; i < 4; i++) {
		assert_true(w.by_site[i] > 900);
	}
	run(&w, 60 * SECOND);
	assert_int_equal(w.taken, 12000);
	world_empty(&w);
	world_free(&w);
}

/* One site could use all connections; those of one message every now and then get theirs first. */
static void test_a_first_connection_before_more(void **state)
{
	struct world w;
	char site[] = "s1";

	(void)state;
	world_init(&w, "limits { deliveries = 10 }");
	w.latency_us = 300000;
	for (int i = 0; i < 20000; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 5 * SECOND);
	assert_true(scheduler_figures(w.s).slots >= 9);
	for (int round = 0; round < 40; round++) {
		uint64_t before = w.by_site[1 + round % 4];

		site[1] = (char)('1' + round % 4);
		add(&w, "u0", site, 1);
		run(&w, 400000); /* a connection is free after at most 300 ms */
		assert_int_equal(w.by_site[1 + round % 4], before + 1);
	}
	check_counts(&w);
	world_free(&w);
}

static enum answer only_s_answers(struct world *w, const struct job *job)
{
	(void)w;
	return job->slot->site->name.data[0] == 's' ? TAKES : NEVER;
}

/* Connections to sites that never answer hang: they get a part, and never what a living one needs.
 */
static void test_dead_sites_take_their_part(void **state)
{
	struct world w;
	char site[32];

	(void)state;
	world_init(&w, "limits { deliveries = 40 }");
	w.answer = only_s_answers;
	add(&w, "u0", "s0", 1);
	run(&w, SECOND);
	assert_int_equal(w.taken, 1);
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 100; k++) {
			snprintf(site, sizeof site, "dead%d.example", i);
			add(&w, "u0", site, 1);
		}
	run(&w, SECOND);
	assert_int_equal(w.s->strange, 10); /* five each: a quarter */
	for (int i = 2; i < 100; i++)
		for (int k = 0; k < 100; k++) {
			snprintf(site, sizeof site, "dead%d.example", i);
			add(&w, "u0", site, 1);
		}
	run(&w, SECOND);
	assert_int_equal(w.s->strange, 34); /* one each for others, and an eighth is left */
	check_counts(&w);
	for (int i = 0; i < 1000; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 4 * SECOND);
	assert_int_equal(w.taken, 1001);
	check_counts(&w);
	/* They answer: all goes. */
	w.answer = takes_all;
	run(&w, 60 * SECOND);
	assert_int_equal(w.taken, 1001 + 10000);
	assert_int_equal(w.s->strange, 0);
	world_empty(&w);
	world_free(&w);
}

static enum answer ten_fail(struct world *w, const struct job *job)
{
	const char *name = job->slot->site->name.data;
	const bool *fail = w->script;

	if (name[0] == 's')
		return TAKES;
	return *fail && atoi(name + 4) >= 2 && atoi(name + 4) < 12 ? SITE_FAILS : NEVER;
}

/* Sites that hang and would have more connections stand before those that wait for a first one:
 * what becomes free goes to these all the same. */
static void test_silent_sites_hide_nobody(void **state)
{
	struct world w;
	bool fail = false;
	char site[32];

	(void)state;
	world_init(&w, "limits { deliveries = 40 }");
	w.answer = ten_fail;
	w.script = &fail;
	for (int i = 0; i < 60; i++)
		for (int k = 0; k < 100; k++) {
			snprintf(site, sizeof site, "dead%d.example", i);
			add(&w, "u0", site, 1);
		}
	run(&w, SECOND);
	assert_int_equal(w.s->strange, 34);
	add(&w, "u0", "s1", 1);
	run(&w, SECOND);
	assert_int_equal(w.by_site[1], 0);
	fail = true; /* ten connections become free, and 34 may be had */
	run(&w, 10 * SECOND);
	assert_int_equal(w.s->strange, 34);
	assert_int_equal(w.by_site[1], 1);
	check_counts(&w);
	world_free(&w);
}

/* More sites than connections: none is forgotten. */
static void test_more_sites_than_connections(void **state)
{
	struct world w;
	char site[32];

	(void)state;
	world_init(&w, "limits { deliveries = 4 }");
	for (int i = 0; i < 300; i++)
		for (int k = 0; k < 5; k++) {
			snprintf(site, sizeof site, "site%d.example", i);
			add(&w, "u0", site, 1);
		}
	run(&w, 60 * SECOND);
	assert_int_equal(w.taken, 1500);
	world_empty(&w);
	world_free(&w);
}

static enum answer s0_times_out(struct world *w, const struct job *job)
{
	static const int64_t timeout = 30 * SECOND;

	if (!text_equals(job->slot->site->name, "s0"))
		return TAKES;
	for (size_t i = 0; i < w->flight_count; i++)
		if (w->flights[i].job == job->id && w->now < w->flights[i].end_us + timeout)
			return NEVER;
	return SITE_FAILS;
}

/* Recipients a second that the living sites took, with a third of the mail for a dead one or
 * without it. */
static double rate_with(bool dead)
{
	struct world w;
	uint64_t taken = 0;

	world_init(
	    &w,
	    "limits { deliveries = 60 site-connections = 20 }\nretry { first = 10s longest = 1m }");
	w.answer = s0_times_out;
	w.step_us = 2000;
	for (int i = 0; i < 20000; i++) {
		add(&w, "u0", "s1", 1);
		add(&w, "u0", "s2", 1);
		if (dead)
			add(&w, "u0", "s0", 1);
	}
	int64_t start = w.now;

	while (w.taken < 40000 && w.now < start + 600 * SECOND) {
		run(&w, 100000);
		/* A dead site's mail never slows intake, not even while it is tried. */
		if (w.taken < 39000)
			assert_true(scheduler_figures(w.s).ready_soon <= 40000 - w.taken);
	}
	taken = w.taken;
	assert_int_equal(taken, 40000);
	check_counts(&w);
	double rate = (double)taken / (double)(w.now - start);

	world_free(&w);
	return rate;
}

static void test_dead_site_slows_nobody(void **state)
{
	double without = rate_with(false), with = rate_with(true);

	(void)state;
	assert_true(with > 0.95 * without);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_window),
	    cmocka_unit_test(test_window_of_a_receiver_with_a_limit),
	    cmocka_unit_test(test_silent_sites_hide_nobody),
	    cmocka_unit_test(test_window_grows_in_need),
	    cmocka_unit_test(test_pace_by_fast_sites),
	    cmocka_unit_test(test_fairness),
	    cmocka_unit_test(test_sites_take_turns),
	    cmocka_unit_test(test_a_first_connection_before_more),
	    cmocka_unit_test(test_dead_sites_take_their_part),
	    cmocka_unit_test(test_more_sites_than_connections),
	    cmocka_unit_test(test_dead_site_slows_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
