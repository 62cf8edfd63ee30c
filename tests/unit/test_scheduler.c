/* SPDX-License-Identifier: ISC */
/*
 * The scheduler with a clock of its own and receivers that follow a script.
 * After each run all counters are computed anew from the recipients and compared.
 */
#include "scheduler_world.h"

static void test_simple(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	for (int i = 0; i < 200; i++)
		add(&w, "u0", i % 2 ? "s0" : "s1", 3);
	check_counts(&w);
	run(&w, 5 * SECOND);
	assert_int_equal(w.taken, 600);
	assert_int_equal(w.started,
			 200); /* one transaction for a message's recipients at one site */
	world_empty(&w);
	world_free(&w);
}

static enum answer s0_is_dead(struct world *w, const struct job *job)
{
	(void)w;
	return text_equals(job->slot->site->name, "s0") ? SITE_FAILS : TAKES;
}

static void test_site_down_and_back(void **state)
{
	struct world w;
	int64_t least[] = {0, 45, 90, 180, 180}, most[] = {0, 75, 150, 300, 300};

	(void)state;
	world_init(&w, "retry { first = 1m longest = 4m }");
	w.answer = s0_is_dead;
	w.step_us = 10000;
	struct mail *mail = add(&w, "u0", "s0", 1);

	for (uint32_t round = 1; round <= 4; round++) {
		for (int i = 0; i < 100000 && w.downs < round; i++)
			run(&w, 10000);
		assert_int_equal(w.downs, round);
		check_counts(&w);
		assert_int_equal(w.started, round); /* one attempt a round */
		assert_true(w.down_wait_us >= least[round] * SECOND);
		assert_true(w.down_wait_us <= most[round] * SECOND);
		assert_int_equal(mail->recipients[0].state, RECIPIENT_READY);
		assert_true(
		    text_equals(scheduler_reason(&mail->recipients[0]), "connection refused"));
		assert_int_equal(scheduler_figures(w.s).ready_soon, 0);
	}
	for (int i = 0; i < 50; i++)
		add(&w, "u1", "s0", 1);
	w.answer = takes_all;
	run(&w, 301 * SECOND);
	assert_int_equal(w.taken, 51);
	assert_int_equal(w.ups, 1);
	world_empty(&w);
	world_free(&w);
}

static void test_backoff_bounds(void **state)
{
	struct world w;
	int64_t low = INT64_MAX, high = 0;

	(void)state;
	world_init(&w, "retry { first = 5m longest = 4h }");
	for (int i = 0; i < 1000; i++) {
		int64_t wait = scheduler_backoff(w.s, 1);

		low = wait < low ? wait : low;
		high = wait > high ? wait : high;
		wait = scheduler_backoff(w.s, 60000);
		assert_true(wait >= 180 * MINUTE && wait <= 300 * MINUTE);
		wait = scheduler_backoff(w.s, 3);
		assert_true(wait >= 15 * MINUTE && wait <= 25 * MINUTE);
	}
	assert_true(low >= 225 * SECOND && low < 240 * SECOND);
	assert_true(high <= 375 * SECOND && high > 360 * SECOND);
	world_free(&w);
}

static void test_rate(void **state)
{
	struct world w;
	uint64_t most = 0;

	(void)state;
	world_init(&w, "site s0 { mx = *.slow.example rate = 600 }"); /* ten a second */
	for (int i = 0; i < 2000; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 60 * SECOND);
	assert_true(w.started >= 590 && w.started <= 612);
	for (uint64_t i = 0; i < w.started; i++) {
		uint64_t n = 0;

		for (uint64_t k = i; k < w.started && w.starts_us[k] < w.starts_us[i] + SECOND; k++)
			n++;
		most = n > most ? n : most;
	}
	assert_true(most <= 21); /* a second's worth and one in hand */
	run(&w, 30 * SECOND);
	assert_true(w.started >= 890 && w.started <= 912);
	/* What was not used is not saved up. */
	w.now += 3600 * SECOND;
	uint64_t before = w.started;

	run(&w, 1 * SECOND);
	assert_true(w.started - before <= 21);
	check_counts(&w);
	world_free(&w);
}

static void test_idle_slots_close(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	for (int i = 0; i < 5; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 1900000);
	assert_int_equal(w.closed, 0);
	assert_int_equal(scheduler_figures(w.s).slots, 5);
	run(&w, 400000);
	assert_int_equal(w.closed, 5);
	assert_int_equal(scheduler_figures(w.s).slots, 0);
	world_empty(&w);
	world_free(&w);
}

static void workers_die(struct world *w)
{
	for (int i = 0; i < 2; i++) {
		w->workers[i].channel = NULL;
		scheduler_worker_died(w->s, &w->workers[i], w->now);
	}
	check_counts(w);
	assert_int_equal(scheduler_figures(w->s).slots, 0);
	assert_int_equal(scheduler_figures(w->s).flying, 0);
	run(w, 1 * SECOND); /* nobody is there to send it to */
	assert_int_equal(scheduler_figures(w->s).slots, 0);
	w->workers[0].channel = w->workers[1].channel = (struct channel *)(void *)w;
}

/* A mail for each of so many sites. */
static void add_sites(struct world *w, int count)
{
	char name[16];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof name, "t%d", i);
		add(w, "u0", name, 1);
	}
}

/* A worker that does not read stops no other; when it reads again its connections are used. */
static void test_worker_is_choked(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	/* By chance each of so many sites has its worker. */
	add_sites(&w, 40);
	run(&w, 1 * SECOND);
	assert_int_equal(w.taken, 40);
	assert_true(w.workers[0].slots > 0 && w.workers[1].slots > 0);
	w.workers[0].choked = true;
	add_sites(&w, 40);
	uint32_t had = w.workers[0].slots;

	run(&w, SECOND / 2);
	assert_int_equal(w.taken, 80);
	assert_true(w.workers[0].slots <= had);
	w.workers[1].choked = true;
	add_sites(&w, 40);
	uint64_t started = w.started;

	run(&w, SECOND / 2);
	assert_int_equal(w.started, started);
	for (int i = 0; i < 2; i++) {
		w.workers[i].choked = false;
		scheduler_worker_reads(w.s, &w.workers[i]);
	}
	run(&w, SECOND / 2);
	assert_int_equal(w.taken, 120);
	run(&w, 3 * SECOND);
	world_empty(&w);
	world_free(&w);
}

/* What a person asked for in flight is done when they come back, with an outcome or without. */
static void test_wishes(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	w.answer = never;
	struct mail *mail = add(&w, "u0", "s0", 3);

	run(&w, 1 * SECOND);
	assert_int_equal(scheduler_figures(w.s).flying, 3);
	mail->recipients[0].wish = ACTION_HOLD;
	mail->recipients[1].wish = ACTION_DELETE;
	workers_die(&w);
	assert_int_equal(w.held, 1);
	assert_int_equal(w.failed, 1);
	assert_int_equal(scheduler_figures(w.s).ready, 1);
	assert_int_equal(mail->recipients[0].state, RECIPIENT_HELD);
	assert_int_equal(mail->recipients[1].state, RECIPIENT_GONE);
	w.answer = takes_all;
	run(&w, 1 * SECOND);
	assert_int_equal(w.taken, 1);
	scheduler_add(w.s, &mail->recipients[0], text_of("s0"), 0, w.now);
	run(&w, 3 * SECOND);
	world_empty(&w);
	world_free(&w);
}

static void test_worker_dies(void **state)
{
	struct world w;
	struct mail *mails[3];

	(void)state;
	world_init(&w, "");
	w.answer = never;
	for (int i = 0; i < 3; i++)
		mails[i] = add(&w, "u0", "s0", 4);
	for (int crash = 0; crash < 3; crash++) {
		run(&w, 1 * SECOND);
		assert_int_equal(scheduler_figures(w.s).flying, 12);
		assert_int_equal(w.held, 0);
		workers_die(&w);
	}
	assert_int_equal(w.held, 12); /* not only the first of each message */
	assert_int_equal(scheduler_figures(w.s).ready, 0);
	w.answer = takes_all;
	/* A person lets them go: they get new chances, and a success takes the count back. */
	for (int i = 0; i < 3; i++)
		for (int k = 0; k < 4; k++)
			scheduler_add(w.s, &mails[i]->recipients[k], text_of("s0"), 0, w.now);
	run(&w, 1 * SECOND);
	assert_int_equal(w.taken, 12);
	run(&w, 3 * SECOND);
	world_empty(&w);
	world_free(&w);
}

static void test_adopt(void **state)
{
	struct world w;
	const uint32_t numbers[] = {1, 2, 2, 9};
	int64_t due;

	(void)state;
	world_init(&w, "");
	scheduler_allow(w.s, false);
	struct mail *mail = add(&w, "u0", "s0", 4);
	struct job *job = scheduler_adopt(w.s, &w.workers[0], 77, mail, numbers, 4);

	assert_non_null(job);
	assert_int_equal(job->count, 2);
	assert_null(scheduler_adopt(w.s, &w.workers[0], 77, mail, numbers, 4));
	assert_null(
	    scheduler_adopt(w.s, &w.workers[1], 78, mail, numbers, 4)); /* they fly already */
	check_counts(&w);
	scheduler_allow(w.s, true);
	run(&w, 1 * SECOND);
	assert_int_equal(w.taken, 2); /* the other two */
	scheduler_outcome(w.s, &mail->recipients[1], OUTCOME_RELAYED, SCOPE_NONE, w.now, &due);
	settle(&w, &mail->recipients[1]);
	scheduler_job_done(w.s, scheduler_job(w.s, 77), false, w.now);
	check_counts(&w);
	run(&w, 4 * SECOND);
	assert_int_equal(w.taken,
			 3); /* the fourth one came back from a job without an answer for it */
	world_empty(&w);
	world_free(&w);
}

static void test_remove_in_each_state(void **state)
{
	struct world w;
	int64_t due = 0;

	(void)state;
	world_init(&w, "retry { first = 1m }");
	/* Ready, its domain asked for. */
	w.silent_resolver = true;
	struct mail *mail = add(&w, "u0", "s0", 3);

	scheduler_remove(w.s, &mail->recipients[0], RECIPIENT_HELD);
	check_counts(&w);
	w.silent_resolver = false;
	scheduler_allow(w.s, false);
	run(&w, 10000);
	/* Ready at a site. */
	scheduler_remove(w.s, &mail->recipients[1], RECIPIENT_ENDING);
	settle(&w, &mail->recipients[1]);
	check_counts(&w);
	scheduler_allow(w.s, true);
	w.answer = never;
	run(&w, 10000);
	assert_int_equal(mail->recipients[2].state, RECIPIENT_FLYING);
	struct job *job = mail->recipients[2].job;
	struct slot *slot = job->slot;

	mail->recipients[2].attempts = 1;
	scheduler_outcome(w.s, &mail->recipients[2], OUTCOME_DEFERRED, SCOPE_RECIPIENT, w.now,
			  &due);
	scheduler_job_done(w.s, job, false, w.now);
	assert_true(due >= w.now + 45 * SECOND && due <= w.now + 75 * SECOND);
	assert_int_equal(mail->recipients[2].state, RECIPIENT_WAITING);
	scheduler_slot_done(w.s, slot);
	/* Hurried, and put back; then taken from the wheel. */
	w.answer = defers_once;
	scheduler_hurry(w.s, &mail->recipients[2], w.now);
	assert_int_equal(mail->recipients[2].state, RECIPIENT_READY);
	check_counts(&w);
	mail->recipients[2].attempts = 0;
	run(&w, 1 * SECOND);
	assert_int_equal(mail->recipients[2].state, RECIPIENT_WAITING);
	scheduler_remove(w.s, &mail->recipients[2], RECIPIENT_ENDING);
	check_counts(&w);
	assert_int_equal(w.s->lanes.count, 0);
	settle(&w, &mail->recipients[2]);
	scheduler_add(w.s, &mail->recipients[0], text_of("s0"), 0, w.now);
	w.answer = takes_all;
	run(&w, 3 * SECOND);
	world_empty(&w);
	world_free(&w);
}

static void test_reject_route_ends_in_slices(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "route no.example { to = \"reject: not here\" }");
	for (int i = 0; i < 50; i++)
		for (char submitter[] = "u0"; submitter[1] < '4'; submitter[1]++)
			add(&w, submitter, "no.example", 50);
	scheduler_tick(w.s, w.now);
	assert_int_equal(w.failed, END_MAX);
	check_counts(&w);
	run(&w, 2 * SECOND);
	assert_int_equal(w.failed, 10000);
	assert_int_equal(w.asked, 0);
	assert_int_equal(w.s->domains.count, 0);
	world_empty(&w);
	world_free(&w);
}

static void no_such_domain(struct world *w, const char *domain, char *site, size_t size)
{
	(void)w;
	snprintf(site, size, domain[0] == 'x' ? "!5" : domain[0] == 't' ? "!4" : "s0");
}

static void test_no_site(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "retry { first = 1m longest = 4m }");
	w.site_of = no_such_domain;
	w.step_us = 10000;
	for (int i = 0; i < 10; i++) {
		add(&w, "u0", "x.example", 10);
		add(&w, "u0", "t.example", 10);
	}
	run(&w, 2 * SECOND);
	assert_int_equal(w.failed, 100);
	assert_int_equal(scheduler_figures(w.s).ready, 100);
	assert_int_equal(w.asked, 2);
	run(&w, 10 * MINUTE);
	assert_true(w.asked >= 5 && w.asked <= 7); /* with a growing wait */
	check_counts(&w);
	w.site_of = site_is_domain;
	run(&w, 6 * MINUTE);
	assert_int_equal(w.taken, 100);
	world_empty(&w);
	world_free(&w);
}

static enum answer tls_fails(struct world *w, const struct job *job)
{
	(void)w;
	return text_equals(job->domain->name, "strict.example") ? DOMAIN_FAILS : TAKES;
}

/* A domain's own policy fails: the site's other domains go on, and the domain's wait grows. */
static void test_domain_fails(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "retry { first = 1m longest = 32m }");
	w.site_of = all_one_site;
	w.answer = tls_fails;
	w.step_us = 10000;
	for (int i = 0; i < 20; i++) {
		add(&w, "u0", "strict.example", 1);
		add(&w, "u0", "easy.example", 1);
	}
	run(&w, 10 * SECOND);
	assert_int_equal(w.taken, 20);
	assert_int_equal(w.downs, 0);
	check_counts(&w);
	uint64_t before = w.started;

	assert_true(before <= 40); /* those under way together fail together */
	run(&w, 63 * MINUTE);
	assert_true(w.started - before >= 4 && w.started - before <= 6 * 20);
	assert_true(w.asked >= 6 && w.asked <= 8); /* once a round, with a growing wait */
	w.answer = takes_all;
	run(&w, 41 * MINUTE);
	assert_int_equal(w.taken, 40);
	world_empty(&w);
	world_free(&w);
}

static void test_wheel(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	struct mail *mail = mail_new(&w.mails, 1, text_of("u0"), 5);
	/* This very second, soon, the last slot, beyond a turn of the wheel, beyond two. */
	const int64_t waits[] = {700000, 61 * SECOND, 8191 * SECOND + 5, 8192 * SECOND + 300000,
				 20000 * SECOND + 999999};

	w.now += 200000;
	for (uint32_t i = 0; i < 5; i++)
		scheduler_add(w.s, &mail->recipients[i], text_of("s0"), w.now + waits[i], w.now);
	int64_t start = w.now;

	w.step_us = 50000;
	for (uint32_t i = 0; i < 5; i++) {
		while (w.taken == i && w.now < start + 30000 * SECOND)
			run(&w, 100000);
		int64_t late = w.now - start - waits[i];

		assert_int_equal(w.taken, i + 1);
		assert_true(late >= 0 && late < 2 * SECOND);
	}
	run(&w, 3 * SECOND);
	world_empty(&w);
	world_free(&w);
}

static void test_clock_stands_still_and_jumps(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	struct mail *mail = mail_new(&w.mails, 1, text_of("u0"), 100);

	for (uint32_t i = 0; i < 100; i++)
		scheduler_add(w.s, &mail->recipients[i], text_of("s0"),
			      w.now + (int64_t)(i + 1) * 400 * SECOND, w.now);
	for (int i = 0; i < 1000; i++)
		scheduler_tick(w.s, w.now);
	assert_int_equal(scheduler_figures(w.s).waiting, 100);
	w.now += 100 * 1000 * SECOND; /* a machine that slept for a day */
	run(&w, 3 * SECOND);
	assert_int_equal(w.taken, 100);
	run(&w, 3 * SECOND);
	world_empty(&w);
	world_free(&w);
}

/* One message that breaks each connection must not hold up those behind it. */
static enum answer poison(struct world *w, const struct job *job)
{
	(void)w;
	return job->mail->id == 1 ? SITE_FAILS : TAKES;
}

static void test_poison_holds_up_nobody(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "retry { first = 1m longest = 2m }\nlimits { site-connections = 1 }");
	w.answer = poison;
	w.step_us = 10000;
	for (int i = 0; i < 20; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 10 * MINUTE);
	assert_int_equal(w.taken, 19);
	assert_int_equal(scheduler_figures(w.s).ready, 1);
	check_counts(&w);
	world_free(&w);
}

static void test_flush(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "retry { first = 1h longest = 4h }");
	w.answer = s0_is_dead;
	for (int i = 0; i < 10; i++)
		add(&w, "u0", "s0", 1);
	run(&w, 2 * SECOND);
	w.answer = defers_once;
	for (int i = 0; i < 10; i++)
		add(&w, "u0", "s1", 1);
	run(&w, 2 * SECOND);
	assert_int_equal(w.taken, 0);
	w.answer = takes_all;
	assert_int_equal(scheduler_flush(w.s, w.now), 20);
	run(&w, 4 * SECOND);
	assert_int_equal(w.taken, 20);
	world_empty(&w);
	world_free(&w);
}

/* More than go in one tick; who begins to wait meanwhile waits on. */
static void test_flush_of_many(void **state)
{
	enum { MANY = 25000, TURN = 10000 };
	struct world w;

	(void)state;
	world_init(&w, "retry { first = 1h longest = 4h }");
	struct mail *mail = mail_new(&w.mails, w.next_id++, text_of("u0"), MANY + 1);

	mail->committed = true;
	scheduler_allow(w.s, false);
	for (uint32_t i = 0; i < MANY; i++)
		scheduler_add(w.s, &mail->recipients[i], text_of("s0"),
			      w.now + (int64_t)(1 + i % 7000) * SECOND, w.now);
	assert_int_equal(scheduler_flush(w.s, w.now), MANY);
	assert_int_equal(scheduler_figures(w.s).ready, TURN);
	scheduler_add(w.s, &mail->recipients[MANY], text_of("s0"), w.now + 6999 * SECOND, w.now);
	scheduler_tick(w.s, w.now);
	assert_int_equal(scheduler_figures(w.s).ready, 2 * TURN);
	scheduler_tick(w.s, w.now);
	scheduler_tick(w.s, w.now);
	assert_int_equal(scheduler_figures(w.s).ready, MANY);
	assert_int_equal(scheduler_figures(w.s).waiting, 1);
	assert_int_equal(mail->recipients[MANY].state, RECIPIENT_WAITING);
	/* Asked for twice, it goes as well. */
	assert_int_equal(scheduler_flush(w.s, w.now), 1);
	assert_int_equal(scheduler_figures(w.s).waiting, 0);
	check_counts(&w);
	scheduler_allow(w.s, true);
	run(&w, 40 * MINUTE);
	assert_int_equal(w.taken, MANY + 1);
	world_empty(&w);
	world_free(&w);
}

/* Who flushes the queue does not make a released one go before that is on disk. */
static void test_flush_waits_for_a_release(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	struct mail *mail = mail_new(&w.mails, w.next_id++, text_of("u0"), 2);

	mail->committed = true;
	for (uint32_t i = 0; i < 2; i++) {
		mail->recipients[i].releasing = i == 1;
		scheduler_add(w.s, &mail->recipients[i], text_of("s0"), w.now + 60 * MINUTE, w.now);
	}
	assert_int_equal(scheduler_flush(w.s, w.now), 1);
	scheduler_hurry(w.s, &mail->recipients[1], w.now);
	run(&w, SECOND);
	assert_int_equal(w.taken, 1);
	mail->recipients[1].releasing = false;
	scheduler_hurry(w.s, &mail->recipients[1], w.now);
	run(&w, SECOND);
	assert_int_equal(w.taken, 2);
	world_empty(&w);
	world_free(&w);
}

static void test_reload(void **state)
{
	struct world w;
	struct config *other =
	    config_of("hostname = mail.example.net\npostmaster = p@example.net\n"
		      "queue = /tmp/q\nroute asked.example { to = \"reject: no\" }\n");

	(void)state;
	world_init(&w, "route no.example { to = \"reject: not here\" }");
	w.silent_resolver = true;
	add(&w, "u0", "asked.example", 10);
	add(&w, "u0", "no.example", 10);
	scheduler_configure(w.s, other);
	w.silent_resolver = false;
	run(&w, 1 * SECOND);
	assert_int_equal(w.failed, 10);
	assert_int_equal(w.taken, 10);
	run(&w, 3 * SECOND);
	world_empty(&w);
	config_drop(&other);
	world_free(&w);
}

/* Ten thousand submitters at one domain, and as many domains: nothing is looked for one by one. */
static void test_many(void **state)
{
	struct world w;
	char submitter[32], domain[32];

	(void)state;
	world_init(&w, "");
	w.latency_us = 1000;
	for (int i = 0; i < 200000; i++) {
		snprintf(submitter, sizeof submitter, "login:%d", i % 20000);
		add(&w, submitter, "s0", 1);
	}
	for (int i = 0; i < 100000; i++) {
		snprintf(domain, sizeof domain, "d%d.example", i);
		add(&w, "u0", domain, 1);
	}
	run(&w, 1 * SECOND);
	assert_true(w.question_count <= ASKED_MAX);
	run(&w, 20 * SECOND);
	assert_int_equal(w.taken, 300000);
	assert_true(w.s->domains.count <= DOMAINS_KEPT);
	world_empty(&w);
	world_free(&w);
}

/* What a worker says of a slot that is gone does not touch the one that took its place. */
static void test_slot_numbers(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "");
	w.answer = never;
	add(&w, "u0", "s0", 1);
	run(&w, 5000);
	uint32_t number = w.flights[0].slot;

	scheduler_slot_done(w.s, scheduler_slot(w.s, number));
	add(&w, "u0", "s1", 1);
	run(&w, 5000);
	assert_null(scheduler_slot(w.s, number));
	assert_int_equal(w.flights[1].slot & SLOT_INDEX, number & SLOT_INDEX);
	w.answer = takes_all;
	run(&w, 4 * SECOND);
	assert_int_equal(w.taken, 2); /* the first one runs on without its slot */
	world_empty(&w);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_simple),
	    cmocka_unit_test(test_site_down_and_back),
	    cmocka_unit_test(test_backoff_bounds),
	    cmocka_unit_test(test_rate),
	    cmocka_unit_test(test_idle_slots_close),
	    cmocka_unit_test(test_worker_dies),
	    cmocka_unit_test(test_wishes),
	    cmocka_unit_test(test_worker_is_choked),
	    cmocka_unit_test(test_adopt),
	    cmocka_unit_test(test_remove_in_each_state),
	    cmocka_unit_test(test_reject_route_ends_in_slices),
	    cmocka_unit_test(test_no_site),
	    cmocka_unit_test(test_domain_fails),
	    cmocka_unit_test(test_wheel),
	    cmocka_unit_test(test_clock_stands_still_and_jumps),
	    cmocka_unit_test(test_poison_holds_up_nobody),
	    cmocka_unit_test(test_flush),
	    cmocka_unit_test(test_flush_of_many),
	    cmocka_unit_test(test_flush_waits_for_a_release),
	    cmocka_unit_test(test_reload),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_slot_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
