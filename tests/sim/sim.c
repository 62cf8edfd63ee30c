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
 * Ends with 1 at the first broken promise, and says at which step.
 */
#include "sim.h"

#include "mem.h"
#include "must.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* The tables' seeds come from the one seed too. */
static uint64_t table_random;

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
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (s->random * 0x2545f4914f6cdd1du >> 16) % limit;
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
			    s->now + s->config->retry_first.us, s->now);
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

static void world_changes(struct sim *s)
{
	for (uint32_t i = 0; i < SITES; i++) {
		struct receiver *r = &s->receivers[i];

		if (s->ending) {
			r->mood = TAKING;
			continue;
		}
		if (r->until_us > s->now)
			continue;
		uint64_t dice = sim_chance(s, 100);

		r->mood = dice < 60   ? TAKING
			  : dice < 75 ? DEFERRING
			  : dice < 85 ? REFUSING
			  : dice < 93 ? FLAKY
				      : DEAD;
		/* One in ten that die do so for a day. */
		r->until_us = s->now + (r->mood == DEAD && !sim_chance(s, 10)
					    ? 86400LL * SECOND
					    : (int64_t)sim_chance(s, 600) * SECOND);
	}
	if (!sim_chance(s, 10))
		s->site_of_domain[sim_chance(s, DOMAINS)] = (uint32_t)sim_chance(s, SITES);
	if (!sim_chance(s, 600) && !s->ending) {
		s->wall_ahead += ((int64_t)sim_chance(s, 1200) - 600) * SECOND;
		s->n.jumps++;
	}
}

/* Faults of the disk that the whole lives through. */
static void disk_changes(struct sim *s)
{
	if (s->full_until_us && (s->full_until_us <= s->now || s->ending)) {
		s->full_until_us = 0;
		simdisk_capacity(s->disk, 1 << 30);
	}
	if (s->ending)
		return;
	if (!s->full_until_us && !sim_chance(s, 300)) {
		s->full_until_us = s->now + (int64_t)(1 + sim_chance(s, 30)) * SECOND;
		simdisk_capacity(s->disk, simdisk_used(s->disk) + sim_chance(s, 3 * SEGMENT));
	}
	if (!sim_chance(s, 400)) {
		/* All at once: the commit fails, and so does what should make that durable. */
		simdisk_fail(s->disk, SIMDISK_SYNC, 1, EIO);
		simdisk_fail(s->disk, SIMDISK_RENAME, 1, EIO);
		simdisk_fail(s->disk, SIMDISK_WRITE, 2, EIO);
		simdisk_fail(s->disk, SIMDISK_ALLOCATE, 1, ENOSPC);
		return;
	}
	if (!sim_chance(s, 60))
		simdisk_fail(s->disk, SIMDISK_SYNC, 1 + sim_chance(s, 40), EIO);
	if (!sim_chance(s, 120))
		simdisk_fail(s->disk, SIMDISK_WRITE, 1 + sim_chance(s, 40), EIO);
	if (!sim_chance(s, 120))
		simdisk_fail(s->disk, SIMDISK_RENAME, 1 + sim_chance(s, 4), EIO);
	if (!sim_chance(s, 120))
		simdisk_fail(s->disk, SIMDISK_SYNC_FOLDER, 1 + sim_chance(s, 4), EIO);
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
	s->scheduler = scheduler_new(&face, &s->mails, s->seed * 1000003 + s->step);
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
	uint64_t dice = s->book.broken ? 0 : sim_chance(s, 10);
	bool power = dice < 5, whole = dice < 7;
	int tries = 0;

	s->n.power += power;
	s->n.process += whole && !power;
	s->n.qmgr += !whole;
	qmgr_dies(s);
	if (whole)
		sim_tasks_die(s, WORKERS);
	simdisk_crash(s->disk, power);
	/* And once more while it recovers. */
	if (!sim_chance(s, 3))
		simdisk_stop_after(s->disk, 1 + sim_chance(s, 30));
	while (!qmgr_opens(s) && !s->book.broken && tries++ < 10) {
		qmgr_dies(s);
		simdisk_crash(s->disk, power);
	}
	if (!s->queue)
		book_break(&s->book, "no recovery", 0);
	simdisk_stop_after(s->disk, 0);
	book_recovered(&s->book);
	if (s->book.broken || simdisk_stopped(s->disk))
		return;
	tasks_told(s);
	scheduler_allow(s->scheduler, true);
	s->full_until_us = 0;
	simdisk_capacity(s->disk, 1 << 30);
}

static void crashes(struct sim *s)
{
	if (s->worker_crash_at_us <= s->now && !s->ending) {
		s->worker_crash_at_us = s->now + (int64_t)(1 + sim_chance(s, 120)) * SECOND;
		sim_worker_dies(s, (unsigned)sim_chance(s, WORKERS));
	}
	if (s->crash_at_us <= s->now && !s->ending) {
		s->crash_at_us = s->now + (int64_t)(1 + sim_chance(s, 60)) * SECOND;
		simdisk_stop_after(s->disk, 1 + sim_chance(s, 200));
	}
	while (simdisk_stopped(s->disk) && !s->book.broken)
		crash(s);
}

/* -- the loop ---------------------------------------------------------------------------------- */

static void step(struct sim *s)
{
	s->now += STEP_US;
	s->step++;
	if (s->step % 10 == 0) {
		scheduler_tick(s->scheduler, s->now);
		ageing(s);
	}
	if (s->step % 100 == 0) {
		world_changes(s);
		disk_changes(s);
		disk_use_check(s);
		if (queue_intake(s->queue) != QUEUE_OK || s->step % 1000 == 0)
			queue_retry(s->queue);
	}
	if (s->batch && s->batch_end_us <= s->now)
		sim_append_done(s);
	sim_answer_queries(s);
	sim_deliveries(s);
	/* Intake is paced, as door.c paces it. */
	if (!s->ending && s->mails.recipients < 60000)
		for (uint64_t n = sim_chance(s, 8); n; n--)
			sim_sender_sends(s);
	sim_reports(s);
	if (s->late_count < LATE_MAX)
		scheduler_pump(s->scheduler, s->now, 1000);
	if (!s->batch && !simdisk_stopped(s->disk))
		sim_seal(s);
	if (!simdisk_stopped(s->disk))
		sim_maintain(s);
	crashes(s);
}

void sim_init(struct sim *s, uint64_t seed, const struct plan *plan)
{
	struct config_errors errors = {0};
	char text[400];

	*s = (struct sim){.seed = seed,
			  .plan = plan,
			  .now = 1000LL * SECOND,
			  .wall_ahead = 1700000000LL * SECOND};
	table_random = s->random = seed * 0x9e3779b97f4a7c15u + 1;
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
	s->disk = simdisk_new(seed, plan ? 8ULL << 30 : 1 << 30);
	book_init(&s->book);
	table_init(&s->tasks);
	for (unsigned i = 0; i < WORKERS; i++)
		s->workers[i] =
		    (struct worker){.instance = i,
				    .told = true,
				    .channel = (struct channel *)(void *)s}; /* never looked into */
	for (uint32_t i = 0; i < DOMAINS; i++)
		s->site_of_domain[i] = (uint32_t)sim_chance(s, SITES);
	s->crash_at_us = s->worker_crash_at_us = s->now + 5LL * SECOND;
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
	       LLU(s->seed), LLU(s->step), (double)s->step * STEP_US / 3.6e9, LLU(s->n.accepted),
	       LLU(s->n.taken), (double)s->n.taken / seconds, LLU(s->n.deferred), LLU(s->n.failed),
	       LLU(s->n.bounces), LLU(s->n.held), LLU(s->n.site_failures));
	printf("crashes: %llu of power, %llu of all processes, %llu of qmgr, %llu of a worker; "
	       "%llu failed commits, "
	       "%llu refused (%llu full), %llu without an answer; %llu duplicates, all excused; "
	       "at most %llu segments; %llu clock jumps; %.1f s\n",
	       LLU(s->n.power), LLU(s->n.process), LLU(s->n.qmgr), LLU(s->n.worker),
	       LLU(s->n.aborts), LLU(s->n.refused), LLU(s->n.full), LLU(s->n.unanswered),
	       LLU(s->book.duplicates), LLU(s->n.segments_most), LLU(s->n.jumps), seconds);
}

int main(int argc, char **argv)
{
	struct sim s;
	unsigned long long seed = 1;
	double hours = 1, most = 1e9, start = sim_seconds();

	if (argc > 2 && strcmp(argv[1], "scenario") == 0)
		return scenario_main(argc - 2, argv + 2);
	for (int i = 1; i < argc; i++)
		if (sscanf(argv[i], "seed=%llu", &seed) != 1 &&
		    sscanf(argv[i], "hours=%lf", &hours) != 1 &&
		    sscanf(argv[i], "seconds=%lf", &most) != 1) {
			fprintf(stderr, "sim [seed=N] [hours=H] [seconds=S] | sim scenario NAME\n");
			return 2;
		}
	sim_init(&s, seed, NULL);
	uint64_t steps = (uint64_t)(hours * 3.6e9 / STEP_US);

	while (s.step < steps && !s.book.broken && (s.step % 1000 || sim_seconds() - start < most))
		step(&s);
	/* Then the world is kind, and all that was accepted must get where it belongs. */
	s.ending = true;
	for (uint64_t left = 360000; left && s.mails.recipients && !s.book.broken; left--)
		step(&s);
	if (!s.book.broken && s.mails.recipients)
		book_break(&s.book, "mail that never ends", s.mails.recipients);
	book_close(&s.book);
	say(&s, sim_seconds() - start);
	if (s.book.broken)
		printf("BROKEN: seed %llu, step %llu: %s (%llu)\n", seed, LLU(s.step),
		       s.book.broken, LLU(s.book.broken_id));
	int status = s.book.broken != NULL;

	sim_free(&s);
	return status;
}
