/* SPDX-License-Identifier: ISC */
/*
 * Questions that no test machine answers, put to the real queue and the real
 * scheduler in virtual time, without faults: each prints its figures as
 * tab-separated rows, and lines with # that sum them up.
 *
 *   sim scenario outage [CONNECTIONS]   a site with a third of the mail is dead for a day
 *   sim scenario destinations           a million messages for a million sites
 *   sim scenario fairness               a submitter of a million beside one of ten
 */
#include "sim.h"

#include "mem.h"
#include "must.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	MILLION = 1000000,
	HOUR = 3600,
	WAITS = 12000, /* of a step each; what is longer counts as the last */
	RECEIVERS = 30,
	HANG = 30,	/* seconds until a connection to a dead site is given up */
	MAIL_EVERY = 6, /* steps: 16.7 messages a second */
	ROW_STEPS = 600 * SECOND / STEP_US,
	TEN = 10,
};

static const struct recipe recipe = {.seed = 1, .mails = UINT64_MAX, .picked = true};

struct waits {
	uint32_t of[WAITS];
	uint64_t count;
};

static struct {
	int64_t *sent; /* by message ID: when */
	size_t size;
	bool one; /* destinations: all for one */
	int64_t receiver_us;
	bool dead;
	uint64_t attempts, first_try, dead_taken; /* at the dead site */
	uint64_t attempts_shown, dead_taken_shown;
	struct waits row, phase; /* of the others' mail */
	int64_t ten[TEN];
	uint64_t ten_ids[TEN];
} self;

/* -- pieces ----------------------------------------------------------------------------- */

static void wait_add(struct waits *w, int64_t wait_us)
{
	int64_t at = wait_us / STEP_US;

	w->of[at < WAITS ? at : WAITS - 1]++;
	w->count++;
}

/* The wait in ms that a part in a thousand of the mail did not exceed. */
static int wait_of(const struct waits *w, uint64_t thousandth)
{
	uint64_t seen = 0, want = w->count * thousandth / 1000;

	for (int i = 0; i < WAITS; i++) {
		seen += w->of[i];
		if (seen && seen >= want)
			return i * (STEP_US / 1000);
	}
	return 0;
}

static uint64_t send_one(struct sim *s, const char *submitter)
{
	uint64_t id = sim_send(s, text_of(submitter));

	if (id >= self.size) {
		size_t size = self.size ? self.size : MILLION;

		while (id >= size)
			size *= 2;
		self.sent = mem_resize(self.sent, size, sizeof *self.sent);
		self.size = size;
	}
	self.sent[id] = s->now;
	return id;
}

/* A turn of qmgr, as in sim.c but with nothing that breaks. */
static void turn(struct sim *s)
{
	s->now += STEP_US;
	s->step++;
	sim_threads(s);
	sim_answer_queries(s);
	sim_deliveries(s);
	qmgr_turn(&s->q);
}

static int over(struct sim *s)
{
	int status = s->book.broken != NULL;

	if (!status && !s->q.mails.recipients)
		book_close(&s->book);
	if (s->book.broken)
		printf("BROKEN: %s (%" PRIu64 ")\n", s->book.broken, s->book.broken_id);
	status = s->book.broken != NULL;
	sim_free(s);
	free(self.sent);
	self.sent = NULL;
	self.size = 0;
	return status;
}

static bool nobody_dead(struct sim *s, uint32_t site)
{
	(void)s;
	(void)site;
	return false;
}

/* Around the receiver's usual time, half of it to both sides. */
static int64_t usual_us(struct sim *s, uint32_t site)
{
	(void)site;
	return self.receiver_us / 2 + (int64_t)sim_chance(s, (uint64_t)self.receiver_us);
}

static uint32_t own_site(struct sim *s, uint64_t domain)
{
	(void)s;
	return (uint32_t)domain;
}

/* -- a day of outage ---------------------------------------------------------------------- */

static uint64_t outage_domain(struct sim *s, uint64_t id)
{
	uint64_t n = book_domain(id, 0) % RECEIVERS;

	(void)s;
	return n < RECEIVERS / 3 ? 0 : n;
}

static int64_t outage_us(struct sim *s, uint32_t site)
{
	if (site == 0) {
		self.attempts++;
		if (self.dead)
			return (int64_t)HANG * SECOND;
	}
	return usual_us(s, site);
}

static bool outage_dead(struct sim *s, uint32_t site)
{
	(void)s;
	return site == 0 && self.dead;
}

static void outage_taken(struct sim *s, uint64_t id, uint32_t site)
{
	if (site != 0) {
		wait_add(&self.row, s->now - self.sent[id]);
		wait_add(&self.phase, s->now - self.sent[id]);
		return;
	}
	if (!self.first_try)
		self.first_try = s->step;
	self.dead_taken++;
}

static void outage_row(struct sim *s, const char *phase)
{
	printf("%.2f\t%s\t%" PRIu64 "\t%d\t%d\t%d\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n",
	       (double)s->step * STEP_US / SECOND / HOUR, phase, self.row.count,
	       wait_of(&self.row, 500), wait_of(&self.row, 990), wait_of(&self.row, 1000),
	       self.attempts - self.attempts_shown, self.dead_taken - self.dead_taken_shown,
	       s->q.mails.recipients);
	memset(&self.row, 0, sizeof self.row);
	self.attempts_shown = self.attempts;
	self.dead_taken_shown = self.dead_taken;
}

/* One part of the day: so many steps, or until what was left behind is gone. */
static void outage_phase(struct sim *s, const char *name, uint64_t steps, bool drain)
{
	uint64_t begun = s->step, attempts = self.attempts;

	memset(&self.phase, 0, sizeof self.phase);
	while (s->step - begun < steps && !s->book.broken) {
		if (s->step % MAIL_EVERY == 0)
			send_one(s, "net:192.0.2.1");
		turn(s);
		if (s->step % ROW_STEPS == 0)
			outage_row(s, name);
		if (drain && self.first_try && s->q.mails.recipients < 100)
			break;
	}
	double hours = (double)(s->step - begun) * STEP_US / SECOND / HOUR;

	printf("# %s: %.2f h, other mail %.3f/s, its wait median %d ms, 99 %% %d ms, worst %d ms; "
	       "%.1f attempts an hour at the site\n",
	       name, hours, (double)self.phase.count / (hours * HOUR), wait_of(&self.phase, 500),
	       wait_of(&self.phase, 990), wait_of(&self.phase, 1000),
	       (double)(self.attempts - attempts) / hours);
	if (drain)
		printf("# the site's first mail %.2f h after it came back, the last of the day's "
		       "mail %.2f h after that\n",
		       (double)(self.first_try - begun) * STEP_US / SECOND / HOUR,
		       (double)(s->step - self.first_try) * STEP_US / SECOND / HOUR);
}

static int outage(unsigned connections)
{
	char settings[100];
	const struct plan plan = {settings,  outage_domain, own_site,
				  outage_us, outage_dead,   outage_taken};
	const uint64_t hour = (uint64_t)HOUR * SECOND / STEP_US;
	struct sim s;

	snprintf(settings, sizeof settings, "limits { deliveries = %u }", connections);
	self.receiver_us = 300000;
	sim_init(&s, &recipe, &plan);
	printf("hours\tphase\tothers_taken\twait_median_ms\twait_99_ms\twait_worst_ms\t"
	       "site_attempts\tsite_taken\tqueued\n");
	outage_phase(&s, "before", hour, false);
	self.dead = true;
	outage_phase(&s, "dead", 24 * hour, false);
	self.dead = false;
	self.first_try = 0;
	outage_phase(&s, "drain", 48 * hour, true);
	outage_phase(&s, "after", hour, false);
	return over(&s);
}

/* -- a million destinations ------------------------------------------------------------------ */

static uint64_t million_domain(struct sim *s, uint64_t id)
{
	(void)s;
	return self.one ? 0 : id;
}

static void taken_quietly(struct sim *s, uint64_t id, uint32_t site)
{
	(void)s;
	(void)id;
	(void)site;
}

/* What the process holds, without the simulated disk and the book of promises. */
static uint64_t held_bytes(const struct sim *s)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd - simdisk_memory(s->disk) -
	       s->book.count * sizeof *s->book.messages - self.size * sizeof *self.sent;
}

static void fill(struct sim *s)
{
	for (uint64_t n = 0; n < MILLION && !s->book.broken;) {
		for (int i = 0; i < 100; i++)
			n += send_one(s, "net:192.0.2.1") != 0;
		turn(s);
	}
	/* Until all is safe, and each destination was asked for. */
	for (int i = 0; i < 6000 && !s->book.broken; i++)
		turn(s);
}

static int destinations_of(bool one)
{
	const struct plan plan = {"limits { deliveries = 5000 }",
				  million_domain,
				  own_site,
				  usual_us,
				  nobody_dead,
				  taken_quietly};
	struct sim s;

	self.one = one;
	self.receiver_us = 200000;
	sim_init(&s, &recipe, &plan);
	scheduler_allow(s.q.scheduler, false);
	uint64_t before = held_bytes(&s), asked;
	double start = sim_seconds();

	fill(&s);
	double filled = sim_seconds();
	uint64_t held = held_bytes(&s) - before, queued = s.q.mails.recipients, begun = s.step;

	asked = s.n.questions;
	scheduler_allow(s.q.scheduler, true);
	while (s.n.taken < queued && !s.book.broken)
		turn(&s);
	double seconds = (double)(s.step - begun) * STEP_US / SECOND;

	printf("%s\t%" PRIu64 "\t%.0f\t%" PRIu64 "\t%" PRIu64 "\t%.1f\t%.0f\t%.1f\t%.1f\n",
	       one ? "one" : "million", queued, (double)held / (double)queued, asked,
	       s.n.questions - asked, seconds, (double)s.n.taken / seconds, filled - start,
	       sim_seconds() - filled);
	for (int i = 0; i < 1000 && s.q.mails.recipients; i++)
		turn(&s);
	return over(&s);
}

static int destinations(void)
{
	printf("sites\tmessages\tbytes_each\tquestions_queued\tquestions_delivering\t"
	       "drained_virtual_s\tdeliveries_per_virtual_s\treal_s_taking\treal_s_delivering\n");
	return destinations_of(true) || destinations_of(false);
}

/* -- a million beside ten -------------------------------------------------------------------- */

static uint64_t fairness_domain(struct sim *s, uint64_t id)
{
	(void)s;
	(void)id;
	return 0;
}

static void fairness_taken(struct sim *s, uint64_t id, uint32_t site)
{
	(void)site;
	for (int i = 0; i < TEN; i++)
		if (self.ten_ids[i] == id)
			self.ten[i] = s->now - self.sent[id];
}

static int compare(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The ten come all at once, or one every three seconds. */
static void ten_send(struct sim *s, bool at_once)
{
	for (int i = 0; i < TEN; i++) {
		self.ten[i] = -1;
		self.ten_ids[i] = send_one(s, "net:198.51.100.7");
		for (int k = 0; !at_once && k < 3 * SECOND / STEP_US; k++)
			turn(s);
	}
	for (int left = 100000, open = 1; open && left; left--) {
		turn(s);
		open = 0;
		for (int i = 0; i < TEN; i++)
			open += self.ten[i] < 0;
	}
}

static void fairness_rows(struct sim *s, unsigned connections, bool at_once)
{
	uint64_t before = s->n.taken, step = s->step, queued;

	ten_send(s, at_once);
	queued = s->q.mails.recipients;
	qsort(self.ten, TEN, sizeof *self.ten, compare);
	for (int i = 0; i < TEN; i++)
		printf("%u\t%" PRId64 "\t%s\t%d\t%" PRId64 "\n", connections,
		       self.receiver_us / 1000, at_once ? "once" : "spread", i + 1,
		       self.ten[i] < 0 ? -1 : self.ten[i] / 1000);
	printf("# %u connections, %" PRId64 " ms, %s: median %" PRId64 " ms, worst %" PRId64
	       " ms; the million's rate meanwhile %.0f/s, %" PRIu64 " of it queued: %.0f s to go\n",
	       connections, self.receiver_us / 1000, at_once ? "once" : "spread",
	       (self.ten[TEN / 2 - 1] + self.ten[TEN / 2]) / 2000, self.ten[TEN - 1] / 1000,
	       (double)(s->n.taken - before) * SECOND / STEP_US / (double)(s->step - step), queued,
	       (double)queued * (double)(s->step - step) * STEP_US / SECOND /
		   (double)(s->n.taken - before));
}

static int fairness(void)
{
	static const unsigned connections[] = {50, 10, 5};
	int status = 0;

	printf("connections\treceiver_ms\tten\tn\twait_ms\n");
	for (size_t i = 0; i < sizeof connections / sizeof *connections && !status; i++) {
		char settings[100];
		const struct plan plan = {settings, fairness_domain, own_site,
					  usual_us, nobody_dead,     fairness_taken};
		struct sim s;

		self.receiver_us = 200000;
		snprintf(settings, sizeof settings, "limits { site-connections = %u }",
			 connections[i]);
		sim_init(&s, &recipe, &plan);
		fill(&s);
		fairness_rows(&s, connections[i], false);
		fairness_rows(&s, connections[i], true);
		status = over(&s);
	}
	return status;
}

int scenario_main(int argc, char **argv)
{
	const char *name = argv[0];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(name, "outage") == 0)
		return outage(argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100);
	if (strcmp(name, "destinations") == 0)
		return destinations();
	if (strcmp(name, "fairness") == 0)
		return fairness();
	fprintf(stderr, "sim scenario outage [CONNECTIONS] | destinations | fairness\n");
	return 2;
}
