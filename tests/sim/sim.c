/* SPDX-License-Identifier: ISC */
/*
 * The simulator: the real queue and the real qmgr, but for its main, on a disk that loses, tears
 * and fills up, among receivers that defer, refuse and die, in virtual time. All chance comes from
 * one seed; what was promised is kept in a book beside it and compared.
 *
 *   sim [seed=N] [hours=H] [seconds=S]   H virtual hours, at most S real seconds
 *   sim scenario NAME                    a question that needs no faults: scenario.c
 *
 * Ends with 1 at the first broken promise, after looking for the smallest run
 * that breaks it too (shrink.h; shrink=S seconds at most, 0: not at all).
 */
#include "sim.h"

#include "mem.h"
#include "must.h"
#include "shrink.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* The tables' seeds come from the one seed too. */
static uint64_t table_random;

static const int64_t START_US = 1000LL * SECOND;

enum { REST_STEPS = 3000 };

ssize_t getrandom(void *to, size_t len, unsigned flags)
{
	uint8_t *bytes = to;

	(void)flags;
	for (size_t i = 0; i < len; i++) {
		table_random = table_random * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (uint8_t)(table_random >> 56);
	}
	return (ssize_t)len;
}

uint64_t sim_chance(struct sim *s, uint64_t limit)
{
	return fault_chance(&s->random, limit);
}

void sim_note(struct sim *s, const char *format, ...)
{
	char text[TRACE_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	trace_add(&s->trace, s->now - START_US, text);
}

static void note_promise(void *arg, uint64_t id, uint32_t recipient, const char *what)
{
	struct sim *s = arg;
	char text[TRACE_TEXT];

	snprintf(text, sizeof text, "message %llu, recipient %u: %s", (unsigned long long)id,
		 recipient, what);
	trace_add(&s->watched, s->now - START_US, text);
}

int64_t sim_wall(const struct sim *s)
{
	return s->now + s->wall_ahead;
}

void *sim_grow(void *list, size_t count, size_t *size, size_t item)
{
	if (count < *size)
		return list;
	*size = *size ? *size * 2 : 64;
	return mem_resize(list, *size, item);
}
/* -- what holds at any time ------------------------------------------------------------------- */

/* Disk use: twice what lives, two segments, the reserve and the one kept free. What is
 * above that is being cleaned: a segment that could not be freed is tried again after 10 s. */
static void disk_use_check(struct sim *s)
{
	struct queue_figures f = queue_figures(s->q.queue);
	uint64_t used =
	    (uint64_t)(f.segments + f.free_segments + f.reserve_segments) * f.segment_bytes;
	uint64_t most = 2 * f.live_bytes + (2 + RESERVE + 1) * (uint64_t)f.segment_bytes;

	if (f.segments > s->n.segments_most)
		s->n.segments_most = f.segments;
	if (used <= most || f.cleaned != s->cleaned || s->full_until_us || s->readonly_until_us) {
		s->over_since_us = 0;
		s->cleaned = f.cleaned;
		return;
	}
	if (!s->over_since_us)
		s->over_since_us = s->now;
	if (s->now - s->over_since_us > 25LL * SECOND)
		book_break(&s->book, "disk use is beyond its bound, and nothing is cleaned",
			   used / f.segment_bytes);
}

/* -- lives and deaths ------------------------------------------------------------------------- */

/* As qmgr_tick() in qmgr.c. */
static void tick(void *arg)
{
	struct qmgr *q = arg;

	timer_set(&q->tick, MILLISECONDS(100));
	scheduler_tick(q->scheduler, now_us(q));
	workers_tick(q);
	reports_tick(q);
	ageing_clock(q);
	bool urgent = q->intake == INTAKE_FULL || q->intake == INTAKE_BROKEN || !q->loaded;

	if (++q->ticks % (urgent ? 10 : 100) == 0)
		queue_retry(q->queue);
}

static void qmgr_dies(struct sim *s)
{
	sim_store_drop(s);
	sim_letters_lost(s, false);
	s->query_count = s->close_count = 0;
	s->over_since_us = 0;
}

static bool qmgr_opens(struct sim *s)
{
	bool early = sim_chance(s, 2);

	s->daemon.epoch = s->recipe->seed * 1000003 + s->step;
	s->q.d = &s->daemon;
	s->q.loop = s->daemon.loop;
	s->q.intake = INTAKE_CLOSED;
	s->q.started = loop_wall(s->q.loop);
	timer_init(&s->q.tick, s->q.loop, tick, &s->q);
	takeover_init(&s->q);
	joins_init(&s->q);
	reports_init(&s->q);
	delivery_init(&s->q);
	s->q.resolver = sim_channel(&s->resolver);
	s->q.bounce = sim_channel(&s->bounce);
	sim_workers_connect(s);
	sim_engines_connect(s);
	if (early)
		sim_engines_doubt(s);
	book_recover(&s->book);
	if (!sim_store_open(s))
		return false;
	if (!early)
		sim_engines_doubt(s);
	timer_set(&s->q.tick, (struct duration){0});
	if (!s->plan)
		ageing_init(&s->q);
	return true;
}

/* Mostly by chance; now and then in one of the ways that chance hardly finds. */
static enum simdisk_loss loss_of(uint64_t dice)
{
	static const enum simdisk_loss losses[] = {
	    SIMDISK_CHANCE, SIMDISK_CHANCE, SIMDISK_OUT_OF_ORDER, SIMDISK_OUT_OF_ORDER,
	    SIMDISK_ALL,    SIMDISK_DATA,   SIMDISK_NAMES};

	return losses[dice % (sizeof losses / sizeof *losses)];
}

static void crash(struct sim *s)
{
	uint64_t *random = &s->crash_random;
	uint64_t dice = s->book.broken ? 0 : fault_chance(random, 10);
	bool power = dice < 5, whole = dice < 7;
	enum simdisk_loss loss = power ? loss_of(fault_chance(random, 700)) : SIMDISK_PROCESS;
	int tries = 0;

	s->n.power += power;
	s->n.process += whole && !power;
	s->n.qmgr += !whole;
	sim_note(s, "crash of %s", power ? "the machine" : whole ? "all processes" : "qmgr");
	qmgr_dies(s);
	if (whole) {
		sim_letters_lost(s, true);
		sim_tasks_die(s, WORKERS);
	}
	simdisk_crash_as(s->disk, loss);
	fault_reset(s);
	/* And once more while it recovers. */
	if (!fault_chance(random, 3))
		simdisk_stop_after(s->disk, 1 + fault_chance(random, 30));
	while (!qmgr_opens(s) && !s->book.broken && tries++ < 10) {
		sim_note(s, "crash during recovery");
		qmgr_dies(s);
		simdisk_crash_as(s->disk, loss);
	}
	if (!s->q.queue)
		book_break(&s->book, "no recovery", 0);
	simdisk_stop_after(s->disk, 0);
	book_recovered(&s->book);
	if (s->book.broken || simdisk_stopped(s->disk))
		return;
	sim_note(s, "recovered: %llu recipients are queued",
		 (unsigned long long)s->q.mails.recipients);
}

/* -- the loop ---------------------------------------------------------------------------------- */

static void senders_send(struct sim *s)
{
	/* Thrown at each step, so that what is sent does not hang on what was refused. */
	uint64_t count = fault_chance(&s->mail_random, 8);

	/* Intake is paced, as door.c paces it. */
	if (s->ending || s->q.mails.recipients >= 60000)
		return;
	for (; count && s->mails_sent < s->recipe->mails; count--)
		sim_sender_sends(s, s->mails_sent++ >= s->recipe->from);
}

static void step(struct sim *s)
{
	s->now += STEP_US;
	s->step++;
	if (s->step % 100 == 0) {
		sim_world_changes(s);
		disk_use_check(s);
	}
	fault_turn(s);
	sim_threads(s);
	sim_answer_queries(s);
	sim_deliveries(s);
	senders_send(s);
	sim_doors(s);
	sim_person(s);
	if (!simdisk_stopped(s->disk))
		qmgr_turn(&s->q);
	if (simdisk_resynced(s->disk))
		book_break(&s->book, "a file was synced again after its sync had failed", 0);
	while (simdisk_stopped(s->disk) && !s->book.broken)
		crash(s);
}

void sim_init(struct sim *s, const struct recipe *recipe, const struct plan *plan)
{
	struct config_errors errors = {0};
	char text[400];

	*s = (struct sim){.recipe = recipe,
			  .plan = plan,
			  .now = START_US,
			  .fault = {.at_us = START_US},
			  .wall_ahead = 1700000000LL * SECOND};
	table_random = s->random = recipe->seed * 0x9e3779b97f4a7c15u + 1;
	s->world_random = s->random + 1;
	s->mail_random = s->random + 2;
	s->crash_random = s->random + 3;
	fault_next(recipe, &s->fault);
	snprintf(text, sizeof text,
		 "hostname = mail.example.net\npostmaster = u0@d7.example\nqueue = /q\n"
		 "route * { to = mx sts = no }\n%s\n",
		 plan ? plan->settings
		      : "retry { first = 10s longest = 3m expire = 30m notice = 5m }\n"
			"site s3 { mx = *.slow.example rate = 900 }");
	s->config = config_read(text_of(text), &errors);
	if (!s->config)
		fprintf(stderr, "%s\n", errors.count ? errors.items[0].text : "no configuration");
	must(s->config);
	config_errors_free(&errors);
	s->daemon = (struct daemon){.loop = (struct loop *)(void *)s,
				    .log = (struct log *)(void *)s,
				    .config = s->config,
				    .self = &s->q};
	s->disk = simdisk_new(recipe->seed, plan ? 8ULL << 30 : 1 << 30);
	book_init(&s->book);
	s->book.note = note_promise;
	s->book.note_arg = s;
	table_init(&s->tasks);
	table_init(&s->letters);
	s->control = (struct sim_channel){s, PEER_CONTROL, 0, 1, &s->person, false};
	s->resolver = (struct sim_channel){s, PEER_RESOLVER, 0, 2, NULL, false};
	s->bounce = (struct sim_channel){s, PEER_BOUNCE, 0, 3, NULL, false};
	sim_descriptors_of(s);
	for (uint32_t i = 0; i < DOMAINS; i++)
		s->site_of_domain[i] = (uint32_t)sim_chance(s, SITES);
	if (qmgr_opens(s))
		sim_workers_tell(s);
}

void sim_free(struct sim *s)
{
	sim_tasks_die(s, WORKERS);
	qmgr_dies(s);
	sim_letters_lost(s, true);
	table_free(&s->tasks);
	table_free(&s->letters);
	sim_descriptors_of(NULL);
	config_drop(&s->config);
	simdisk_free(&s->disk);
	book_free(&s->book);
	free(s->events);
	free(s->queries);
	free(s->closes);
	free(s->ready);
}

double sim_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#define LLU(x) ((unsigned long long)(x))

static void say(const struct sim *s, double seconds)
{
	printf("seed %llu: %llu steps, %.2f hours; %llu accepted, %llu deliveries (%.0f/s), %llu "
	       "deferred, "
	       "%llu failed, %llu reports, %llu held, %llu site failures\n",
	       LLU(s->recipe->seed), LLU(s->step), (double)s->step * STEP_US / 3.6e9,
	       LLU(s->n.accepted), LLU(s->n.taken), (double)s->n.taken / seconds,
	       LLU(s->n.deferred), LLU(s->n.failed), LLU(s->n.bounces), LLU(s->n.held),
	       LLU(s->n.site_failures));
	printf("crashes: %llu of power, %llu of all processes, %llu of qmgr; %llu failed commits, "
	       "%llu refused (%llu full), %llu without an answer; %llu duplicates, all excused; "
	       "at most %llu segments; %.1f s\n",
	       LLU(s->n.power), LLU(s->n.process), LLU(s->n.qmgr), LLU(s->n.aborts),
	       LLU(s->n.refused), LLU(s->n.full), LLU(s->n.unanswered), LLU(s->book.duplicates),
	       LLU(s->n.segments_most), seconds);
	printf("%llu large bodies, %llu recipients changed by a person, %llu reports that failed\n",
	       LLU(s->n.large), LLU(s->n.actions), LLU(s->n.double_bounces));
	printf("faults:");
	for (unsigned k = 0; k < FAULT_KINDS; k++)
		if (s->n.faults[k])
			printf(" %llu %s;", LLU(s->n.faults[k]), fault_kind_text(k));
	printf("\n");
}

static void body_left(void *arg, const char *name)
{
	struct sim *s = arg;

	book_break(&s->book, "a body file that no message names", strtoull(name, NULL, 16));
}

/* Nothing is queued any more. After a restart nothing comes back, no body file is left, and what
 * stands on disk is what stands beside live mail at all times. */
static void empty_check(struct sim *s)
{
	qmgr_dies(s);
	simdisk_crash(s->disk, false);
	if (!qmgr_opens(s))
		book_break(&s->book, "no recovery", 0);
	for (int left = REST_STEPS; left && !s->book.broken; left--)
		step(s);
	if (s->book.broken)
		return;
	simdisk_names(s->disk, "bodies", body_left, s);
	struct queue_figures f = queue_figures(s->q.queue);
	uint32_t used = f.segments + f.free_segments + f.reserve_segments;

	if (s->q.mails.recipients)
		book_break(&s->book, "mail came back", s->q.mails.recipients);
	if (f.live_bytes || used > 2 + RESERVE + 1)
		book_break(&s->book, "an empty queue takes more than its segments", used);
}

/* WATCH: also what happens to that message, and all is said at the end. */
static struct verdict run(const struct recipe *r, double most, bool loud, uint64_t watch)
{
	struct sim *s = mem_new(1, sizeof *s);
	struct verdict v = {0};
	double start = sim_seconds();

	sim_init(s, r, NULL);
	s->book.watch = watch;
	while (s->step < r->steps && !s->book.broken && !v.unfinished) {
		step(s);
		v.unfinished = s->step % 1000 == 0 && sim_seconds() - start >= most;
	}
	/* Then the world is kind, and all that was accepted must get where it belongs. */
	s->ending = true;
	sim_note(s, "from here on the world is kind");
	for (uint64_t left = 360000; left && s->q.mails.recipients && !s->book.broken; left--)
		step(s);
	if (!s->book.broken && s->q.mails.recipients)
		book_break(&s->book, "mail that never ends", s->q.mails.recipients);
	book_close(&s->book);
	if (!s->book.broken)
		empty_check(s);
	v.broken = s->book.broken;
	v.id = s->book.broken_id;
	v.step = s->step;
	if (loud && s->q.queue)
		s->n.aborts += queue_figures(s->q.queue).aborts;
	if (loud)
		say(s, sim_seconds() - start);
	if (loud && v.broken) {
		trace_print(&s->trace);
		if (watch)
			printf("and to the message:\n");
		trace_print(&s->watched);
		printf("BROKEN: seed %llu, step %llu: %s (%llu)\n", LLU(r->seed), LLU(v.step),
		       v.broken, LLU(v.id));
	}
	sim_free(s);
	free(s);
	return v;
}

static struct verdict run_quietly(const struct recipe *r, double seconds)
{
	return run(r, seconds, false, 0);
}

int main(int argc, char **argv)
{
	struct recipe r = {.seed = 1, .steps = 360000, .mails = UINT64_MAX};
	double most = 1e9, patience = 300;
	unsigned long long watch = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2 && strcmp(argv[1], "scenario") == 0)
		return scenario_main(argc - 2, argv + 2);
	for (int i = 1; i < argc; i++)
		if (!recipe_word(&r, argv[i]) && sscanf(argv[i], "seconds=%lf", &most) != 1 &&
		    sscanf(argv[i], "watch=%llu", &watch) != 1 &&
		    sscanf(argv[i], "shrink=%lf", &patience) != 1) {
			fprintf(stderr,
				"sim [seed=N] [hours=H | steps=N] [only=N,N,... | only=none] "
				"[from=N] [mails=N] [calm=1] [seconds=S] [shrink=S] [watch=ID] "
				"[plant=lie]\n"
				"sim scenario NAME\n");
			return 2;
		}
	struct verdict v = run(&r, most, true, watch);

	if (v.broken && patience > 0) {
		v = shrink(&r, v, patience, run_quietly);
		(void)run(&r, most, true, v.id);
		printf("the smallest that still breaks: ");
		recipe_print(&r);
	}
	recipe_free(&r);
	return v.broken != NULL;
}
