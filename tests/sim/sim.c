/* SPDX-License-Identifier: ISC */
/*
 * The simulator: the real queue and the real scheduler, with a round as
 * qmgr's store.c has it, on a disk that loses, tears and fills up, among
 * receivers that defer, refuse and die, in virtual time. All chance comes
 * from one seed; what was promised is kept in a book beside it and compared.
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
/* -- time, and what a person does ------------------------------------------------------------- */

static void age_mail(void *arg, struct table_link *link)
{
	struct sim *s = arg;
	struct mail *mail = ITEM_OF(link, struct mail, link);
	bool old = sim_wall(s) - mail->arrival_wall >= s->config->retry_expire.us && !s->ending;

	for (uint32_t i = 0; mail->committed && i < mail->recipient_count; i++) {
		struct recipient *r = &mail->recipients[i];
		char name[32];

		if (r->state == RECIPIENT_HELD) {
			sim_record(s, r, QUEUE_RELEASED, r->flags, sim_wall(s));
			scheduler_add(
			    s->scheduler, r,
			    sim_domain_name(name, sizeof name, sim_domain(s, mail->id, r->number)),
			    s->now + s->config->retry_expire.us, s->now);
		} else if (old && (r->state == RECIPIENT_READY || r->state == RECIPIENT_WAITING)) {
			scheduler_remove(s->scheduler, r, RECIPIENT_ENDING);
			sim_finish(s, r, QUEUE_FAILED);
		}
	}
}

static void ageing(struct sim *s)
{
	for (int i = 0; i < 64; i++)
		if (!table_slice(&s->mails.by_id, &s->age_at, age_mail, s))
			s->age_at = 0;
}

/* Disk use: twice what lives, two segments, the reserve and those kept free. The cleaner has a
 * while. */
static void disk_use_check(struct sim *s)
{
	struct queue_figures f = queue_figures(s->queue);
	uint64_t used =
	    (uint64_t)(f.segments + f.free_segments + f.reserve_segments) * f.segment_bytes;
	uint64_t most = 2 * f.live_bytes + (2 + 2 + 4) * (uint64_t)f.segment_bytes;

	if (f.segments > s->n.segments_most)
		s->n.segments_most = f.segments;
	if (used <= most || s->full_until_us) {
		s->over_since_us = 0;
		return;
	}
	if (!s->over_since_us)
		s->over_since_us = s->now;
	if (s->now - s->over_since_us > 60LL * SECOND)
		book_break(&s->book, "disk use is beyond its bound", used / f.segment_bytes);
}

/* -- lives and deaths ------------------------------------------------------------------------- */

static void round_free(struct round *r)
{
	free(r->mails);
	free(r->jobs);
	*r = (struct round){0};
}

static void qmgr_dies(struct sim *s)
{
	scheduler_free(&s->scheduler);
	mails_free(&s->mails);
	if (s->batch)
		queue_batch_done(s->queue, &s->batch, QUEUE_IO);
	queue_close(&s->queue);
	round_free(&s->filling);
	round_free(&s->flying);
	while (s->late) {
		struct late *late = s->late;

		s->late = late->next;
		free(late);
	}
	s->late_end = &s->late;
	s->late_count = s->owed_count = s->query_count = s->close_count = 0;
	s->batch_end_us = s->work_end_us = s->over_since_us = 0;
	s->age_at = 0;
}

static bool qmgr_opens(struct sim *s)
{
	const struct queue_owner owner = {.self = s,
					  .entry = sim_on_entry,
					  .damage = sim_on_damage,
					  .placed = sim_on_placed,
					  .outcome = sim_on_outcome,
					  .locate = sim_on_locate,
					  .open = sim_on_open,
					  .recipient = sim_on_recipient};
	const struct queue_options options = {.segment_bytes = s->plan ? 4 * SEGMENT : SEGMENT,
					      .reserve_segments = 2,
					      .lease_ids = 4096,
					      .free_segments = 2};
	const struct scheduler_face face = sim_face(s);

	mails_init(&s->mails, 8 << 20);
	s->scheduler = scheduler_new(&face, &s->mails, s->recipe->seed * 1000003 + s->step);
	scheduler_configure(s->scheduler, s->config);
	scheduler_set_workers(s->scheduler, s->workers, WORKERS);
	book_recover(&s->book);
	enum queue_result r =
	    queue_open(&s->queue, simdisk_disk(s->disk), simdisk_root(s->disk), &options, &owner);

	if (r == QUEUE_OK)
		r = queue_load_all(s->queue);
	if (r == QUEUE_OK)
		return true;
	if (!simdisk_stopped(s->disk))
		book_break(&s->book, queue_result_text(r), 0);
	return false;
}

/* A new qmgr hears from the workers first: what flies, and what it was not told to be durable. */
static void tasks_told(struct sim *s)
{
	uint32_t numbers[TASK_MAX];

	for (size_t i = 0; i < s->tasks.size; i++)
		for (struct table_link *l = s->tasks.slots[i], *next; l; l = next) {
			struct task *t = ITEM_OF(l, struct task, link);
			struct mail *mail = mail_find(&s->mails, t->mail);

			next = l->next;
			for (uint32_t k = 0; k < t->count; k++)
				numbers[k] = t->recipients[k].number;
			if (t->orphan) {
				/* Both who knew of it are gone. */
				for (uint32_t k = 0; k < t->count; k++)
					book_parted(&s->book, t->mail, numbers[k]);
				sim_task_free(s, t);
				continue;
			}
			struct job *job =
			    mail ? scheduler_adopt(s->scheduler, &s->workers[t->worker], t->job,
						   mail, numbers, t->count)
				 : NULL;

			if (!t->said)
				continue;
			if (job)
				sim_outcome_apply(s, t, job);
			sim_job_await(s, t->job);
		}
}

static void crash(struct sim *s)
{
	uint64_t *random = &s->crash_random;
	uint64_t dice = s->book.broken ? 0 : fault_chance(random, 10);
	bool power = dice < 5, whole = dice < 7;
	int tries = 0;

	s->n.power += power;
	s->n.process += whole && !power;
	s->n.qmgr += !whole;
	sim_note(s, "crash of %s", power ? "the machine" : whole ? "all processes" : "qmgr");
	qmgr_dies(s);
	if (whole)
		sim_tasks_die(s, WORKERS);
	simdisk_crash(s->disk, power);
	fault_reset(s);
	/* And once more while it recovers. */
	if (!fault_chance(random, 3))
		simdisk_stop_after(s->disk, 1 + fault_chance(random, 30));
	while (!qmgr_opens(s) && !s->book.broken && tries++ < 10) {
		sim_note(s, "crash during recovery");
		qmgr_dies(s);
		simdisk_crash(s->disk, power);
	}
	if (!s->queue)
		book_break(&s->book, "no recovery", 0);
	simdisk_stop_after(s->disk, 0);
	book_recovered(&s->book);
	if (s->book.broken || simdisk_stopped(s->disk))
		return;
	sim_note(s, "recovered: %llu recipients are queued",
		 (unsigned long long)s->mails.recipients);
	tasks_told(s);
	scheduler_allow(s->scheduler, true);
}

/* -- the loop ---------------------------------------------------------------------------------- */

static void senders_send(struct sim *s)
{
	/* Thrown at each step, so that what is sent does not hang on what was refused. */
	uint64_t count = fault_chance(&s->mail_random, 8);

	/* Intake is paced, as door.c paces it. */
	if (s->ending || s->mails.recipients >= 60000)
		return;
	for (; count && s->mails_sent < s->recipe->mails; count--)
		sim_sender_sends(s, s->mails_sent++ >= s->recipe->from);
}

static void step(struct sim *s)
{
	s->now += STEP_US;
	s->step++;
	if (s->step % 10 == 0) {
		scheduler_tick(s->scheduler, s->now);
		ageing(s);
	}
	if (s->step % 100 == 0) {
		sim_world_changes(s);
		disk_use_check(s);
		if (queue_intake(s->queue) != QUEUE_OK || s->step % 1000 == 0)
			queue_retry(s->queue);
	}
	fault_turn(s);
	if (s->batch && s->batch_end_us <= s->now)
		sim_append_done(s);
	sim_answer_queries(s);
	sim_deliveries(s);
	senders_send(s);
	sim_reports(s);
	/* As qmgr_turn() does it: what could not be recorded is not begun. */
	if (s->late_count < LATE_MAX && queue_intake(s->queue) != QUEUE_IO)
		scheduler_pump(s->scheduler, s->now, 1000);
	if (!s->batch && !simdisk_stopped(s->disk))
		sim_seal(s);
	if (!simdisk_stopped(s->disk))
		sim_maintain(s);
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
	s->late_end = &s->late;
	snprintf(text, sizeof text,
		 "hostname = mail.example.net\npostmaster = p@example.net\nqueue = /q\n%s\n",
		 plan ? plan->settings
		      : "retry { first = 10s longest = 3m expire = 30m notice = 0s }\n"
			"site s3 { mx = *.slow.example rate = 900 }");
	s->config = config_read(text_of(text), &errors);
	if (!s->config)
		fprintf(stderr, "%s\n", errors.count ? errors.items[0].text : "no configuration");
	must(s->config);
	config_errors_free(&errors);
	s->disk = simdisk_new(recipe->seed, plan ? 8ULL << 30 : 1 << 30);
	book_init(&s->book);
	s->book.note = note_promise;
	s->book.note_arg = s;
	table_init(&s->tasks);
	for (unsigned i = 0; i < WORKERS; i++)
		s->workers[i] =
		    (struct worker){.instance = i,
				    .told = true,
				    .channel = (struct channel *)(void *)s}; /* never looked into */
	for (uint32_t i = 0; i < DOMAINS; i++)
		s->site_of_domain[i] = (uint32_t)sim_chance(s, SITES);
	if (qmgr_opens(s))
		scheduler_allow(s->scheduler, true);
}

void sim_free(struct sim *s)
{
	sim_tasks_die(s, WORKERS);
	qmgr_dies(s);
	table_free(&s->tasks);
	config_drop(&s->config);
	simdisk_free(&s->disk);
	book_free(&s->book);
	free(s->events);
	free(s->queries);
	free(s->closes);
	free(s->owed);
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
	printf("faults:");
	for (unsigned k = 0; k < FAULT_KINDS; k++)
		if (s->n.faults[k])
			printf(" %llu %s;", LLU(s->n.faults[k]), fault_kind_text(k));
	printf("\n");
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
	for (uint64_t left = 360000; left && s->mails.recipients && !s->book.broken; left--)
		step(s);
	if (!s->book.broken && s->mails.recipients)
		book_break(&s->book, "mail that never ends", s->mails.recipients);
	book_close(&s->book);
	v.broken = s->book.broken;
	v.id = s->book.broken_id;
	v.step = s->step;
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
