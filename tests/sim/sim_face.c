/* SPDX-License-Identifier: ISC */
/*
 * What qmgr calls, in virtual time: threads whose work takes a while, timers, a log that only
 * counts. The queue is opened by store.c itself; the linker leads its queue_open() through here
 * (--wrap), where the disk becomes the simulated one and the book hears what store.c hears.
 */
#include "sim.h"

#include "log.h"
#include "mem.h"
#include "must.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { APPENDER, MAINTAINER, READERS, FETCHES_MAX = 256, QUICK_READ_US = 60 };

/* -- the loop ------------------------------------------------------------------------------- */

static struct sim *sim_of_loop(const struct loop *loop)
{
	return (struct sim *)(uintptr_t)loop;
}

struct monotime loop_now(const struct loop *loop)
{
	return (struct monotime){sim_of_loop(loop)->now};
}

struct walltime loop_wall(const struct loop *loop)
{
	return (struct walltime){sim_wall(sim_of_loop(loop))};
}

void timer_init(struct timer *t, struct loop *loop, void (*fired)(void *arg), void *arg)
{
	*t = (struct timer){.loop = loop, .fired = fired, .arg = arg};
}

void timer_set(struct timer *t, struct duration after)
{
	struct sim *s = sim_of_loop(t->loop);
	size_t i = 0;

	while (i < s->timer_count && s->timers[i].timer != t)
		i++;
	must(i < TIMERS);
	s->timers[i].timer = t;
	s->timers[i].at_us = s->now + after.us;
	s->timer_count += i == s->timer_count;
}

static int64_t *timer_at(const struct timer *t)
{
	struct sim *s = sim_of_loop(t->loop);
	size_t i = 0;

	while (i < s->timer_count && s->timers[i].timer != t)
		i++;
	return i < s->timer_count ? &s->timers[i].at_us : NULL;
}

void timer_clear(struct timer *t)
{
	if (timer_at(t))
		*timer_at(t) = INT64_MAX;
}

bool timer_is_set(const struct timer *t)
{
	return timer_at(t) && *timer_at(t) != INT64_MAX;
}

static void timers_fire(struct sim *s)
{
	for (size_t i = 0; i < s->timer_count; i++) {
		struct timer *t = s->timers[i].timer;

		if (s->timers[i].at_us > s->now)
			continue;
		s->timers[i].at_us = INT64_MAX;
		t->fired(t->arg);
	}
}

/* There is a turn at each step, so nothing is to be remembered. */
void turn_end_schedule(struct turn_end *t, struct loop *loop, void (*run)(void *arg), void *arg)
{
	(void)t;
	(void)loop;
	(void)run;
	(void)arg;
}

void watch_add(struct watch *w, struct loop *loop, int fd,
	       void (*ready)(void *arg, bool readable, bool writable), void *arg)
{
	(void)w;
	(void)loop;
	(void)fd;
	(void)ready;
	(void)arg;
}

void watch_want(struct watch *w, bool in, bool out)
{
	(void)w;
	(void)in;
	(void)out;
}

void watch_remove(struct watch *w)
{
	(void)w;
}

/* -- threads -------------------------------------------------------------------------------- */

/* The appender takes up to 30 ms, the maintainer 20, bodies 10, and so do readers one time in ten,
 * else 60 us: somewhere in that time they touch the disk. */
static void pool_begin(struct pool *p, int64_t from_us)
{
	static const uint64_t longest[POOLS] = {3 * STEP_US, 20000, STEP_US, STEP_US};
	struct sim *s = p->sim;
	uint64_t takes = longest[p - s->pools];

	if (!p->todo)
		return;
	if (p == &s->pools[READERS] && (s->plan || sim_chance(s, 10)))
		takes = QUICK_READ_US;
	p->done_us = from_us + (int64_t)sim_chance(s, takes);
	p->run_us = p >= &s->pools[READERS]
			? p->done_us
			: from_us + (int64_t)sim_chance(s, (uint64_t)(p->done_us - from_us) + 1);
}

struct pool *pool_new(struct loop *loop, unsigned threads)
{
	struct sim *s = sim_of_loop(loop);
	struct pool *p = &s->pools[s->pool_count++];

	(void)threads;
	*p = (struct pool){.sim = s};
	p->todo_end = &p->todo;
	return p;
}

void pool_add(struct pool *p, struct work *work)
{
	bool first = !p->todo;

	work->next = NULL;
	*p->todo_end = work;
	p->todo_end = &work->next;
	p->pending++;
	if (first)
		pool_begin(p, p->sim->now);
}

size_t pool_pending(const struct pool *p)
{
	return p->pending;
}

/* What waits is lost with the process; readers' work is its own. */
void pool_free(struct pool **pool)
{
	struct pool *p = *pool;

	for (struct work *w = p ? p->todo : NULL, *next; w; w = next) {
		next = w->next;
		if (p >= &p->sim->pools[READERS])
			free(w->arg);
	}
	*pool = NULL;
}

/* One that stops the disk stops here: nobody hears of it. */
static void pool_turn(struct pool *p)
{
	struct sim *s = p->sim;

	while (p->todo && p->run_us <= s->now) {
		struct work *w = p->todo;

		if (!p->ran)
			w->run(w->arg);
		p->ran = true;
		if (simdisk_stopped(s->disk) || p->done_us > s->now)
			return;
		p->ran = false;
		p->todo = w->next;
		if (!p->todo)
			p->todo_end = &p->todo;
		p->pending--;
		int64_t over_us = p >= &s->pools[READERS] ? p->done_us : s->now;

		w->done(w->arg);
		pool_begin(p, over_us);
		if (p < &s->pools[READERS])
			return;
	}
}

void sim_threads(struct sim *s)
{
	timers_fire(s);
	for (size_t i = 0; i < s->pool_count && !simdisk_stopped(s->disk); i++)
		pool_turn(&s->pools[i]);
}

/* -- the log -------------------------------------------------------------------------------- */

static struct sim *sim_of_log(struct log *log)
{
	return (struct sim *)(uintptr_t)log;
}

void log_event(struct log *log, enum event_kind what, uint64_t id, const struct text *values,
	       size_t count)
{
	struct sim *s = sim_of_log(log);

	/* delivery.c says so of what it can't read; nothing here gives it reason to. */
	if (what == EVENT_held && !simdisk_stopped(s->disk) &&
	    text_starts_case(values[count - 1], "its content can't be read"))
		book_break(&s->book, "a live message can't be read", id);
	if (what == EVENT_damage && !simdisk_stopped(s->disk))
		book_break(&s->book, "damage was reported after a crash", id);
	s->n.held += what == EVENT_held;
	s->n.bounces += what == EVENT_report_sent;
	s->n.site_failures += what == EVENT_site_down;
}

void log_error(struct log *log, const char *format, ...)
{
	char text[TRACE_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	sim_note(sim_of_log(log), "%s", text);
}

void log_notice(struct log *log, const char *format, ...)
{
	char text[TRACE_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	sim_note(sim_of_log(log), "%s", text);
}

void log_warning(struct log *log, const char *format, ...)
{
	char text[TRACE_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	sim_note(sim_of_log(log), "%s", text);
}

/* -- qmgr.c's turn ----------------------------------------------------------------------------- */

void qmgr_turn(struct qmgr *q)
{
	/* As qmgr.c has it: what could not be recorded is not begun. */
	bool busy = store_congested(q) || pool_pending(q->readers) > FETCHES_MAX ||
		    q->intake == INTAKE_BROKEN;

	if (!busy)
		scheduler_pump(q->scheduler, now_us(q), 1000);
	store_turn(q);
	door_pace(q);
}

/* -- opening -------------------------------------------------------------------------------- */

static void on_entry(void *self, const struct queue_entry *e)
{
	struct sim *s = self;

	book_entry(&s->book, e);
	s->owner.entry(s->owner.self, e);
}

static struct queue_where on_outcome(void *self, const struct queue_outcome *o,
				     struct queue_where now, bool moved, struct queue_where old)
{
	struct sim *s = self;

	if (!moved)
		book_recorded(&s->book, o->id, o->recipient, queue_settled(o->kind, o->flags));
	return s->owner.outcome(s->owner.self, o, now, moved, old);
}

static void on_damage(void *self, const struct queue_damage *d)
{
	struct sim *s = self;

	s->owner.damage(s->owner.self, d);
}

static bool on_placed(void *self, uint64_t id, const struct queue_location *location)
{
	struct sim *s = self;

	return s->owner.placed(s->owner.self, id, location);
}

static bool on_locate(void *self, uint64_t id, struct queue_location *location)
{
	struct sim *s = self;

	return s->owner.locate(s->owner.self, id, location);
}

static uint32_t on_open(void *self, uint64_t id, struct queue_recipient *open, uint32_t max)
{
	struct sim *s = self;

	return s->owner.open(s->owner.self, id, open, max);
}

static bool on_recipient(void *self, uint64_t id, uint32_t number, struct queue_recipient *state)
{
	struct sim *s = self;

	return s->owner.recipient(s->owner.self, id, number, state);
}

int __real_close(int fd);
enum queue_result __real_queue_open(struct queue **queue, const struct disk *disk, int dir,
				    const struct queue_options *options,
				    const struct queue_owner *owner);
enum queue_result __wrap_queue_open(struct queue **queue, const struct disk *disk, int dir,
				    const struct queue_options *options,
				    const struct queue_owner *owner);

enum queue_result __wrap_queue_open(struct queue **queue, const struct disk *disk, int dir,
				    const struct queue_options *options,
				    const struct queue_owner *owner)
{
	struct sim *s = sim_of_qmgr(owner->self);
	const struct queue_owner booked = {.self = s,
					   .entry = on_entry,
					   .damage = on_damage,
					   .placed = on_placed,
					   .outcome = on_outcome,
					   .locate = on_locate,
					   .open = on_open,
					   .recipient = on_recipient};
	/* Small segments and leases, so that all is used up and made again often. */
	const struct queue_options small = {.segment_bytes = s->plan ? 4 * SEGMENT : SEGMENT,
					    .reserve_segments = RESERVE,
					    .lease_ids = 4096,
					    .free_segments = options->free_segments};

	(void)disk;
	__real_close(dir);
	s->owner = *owner;
	return __real_queue_open(queue, simdisk_disk(s->disk), simdisk_root(s->disk), &small,
				 &booked);
}

bool sim_store_open(struct sim *s)
{
	if (!store_open(&s->q)) {
		if (!simdisk_stopped(s->disk))
			book_break(&s->book, "the queue can't be opened", 0);
		return false;
	}
	s->q.mails.content_max_bytes = CONTENT_BYTES;
	while (!s->q.loaded && !simdisk_stopped(s->disk) && !s->book.broken) {
		s->now += 1000;
		store_turn(&s->q);
		sim_threads(s);
	}
	return s->q.loaded && !simdisk_stopped(s->disk);
}

static void engine_free(struct engine *e)
{
	for (size_t i = 0; i < LEASES_MAX; i++)
		free(e->leases[i].used);
	bytes_free(&e->stash);
	bytes_free(&e->doubts);
}

void sim_store_drop(struct sim *s)
{
	for (size_t i = 0; i < s->q.engine_count; i++)
		engine_free(&s->q.engines[i]);
	takeover_free(&s->q);
	joins_free(&s->q);
	reports_free(&s->q);
	scheduler_free(&s->q.scheduler);
	mails_free(&s->q.mails);
	if (s->q.flying_batch)
		queue_batch_done(s->q.queue, &s->q.flying_batch, QUEUE_IO);
	if (s->q.queue)
		s->n.aborts += queue_figures(s->q.queue).aborts;
	store_close(&s->q);
	memset(&s->q, 0, sizeof s->q);
	s->pool_count = s->timer_count = 0;
}
