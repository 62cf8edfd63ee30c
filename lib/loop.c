/* SPDX-License-Identifier: ISC */
/* The event loop over libevent. */
#include "loop.h"

#include "mem.h"
#include "must.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

enum { SIGNALS_MAX = 8 };

struct loop {
	struct event_base *base;
	struct turn_end *turn_ends, **turn_ends_end; /* the oldest first */
	struct monotime now;
	struct walltime wall;
	struct duration rest;
	bool stop;
	struct {
		struct event event;
		void (*handler)(void *arg);
		void *arg;
	} signals[SIGNALS_MAX];
	size_t signal_count;
	uint8_t scratch[LOOP_SCRATCH_BYTES];
};

struct loop *loop_new(void)
{
	struct loop *loop = mem_new(1, sizeof *loop);
	struct event_config *config = event_config_new();

	must(config);
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
	loop->base = event_base_new_with_config(config);
	event_config_free(config);
	must(loop->base);
	loop->turn_ends_end = &loop->turn_ends;
	loop->now = monotime_read();
	loop->wall = walltime_read();
	return loop;
}

void loop_free(struct loop **loop)
{
	if (!*loop)
		return;
	for (size_t i = 0; i < (*loop)->signal_count; i++)
		event_del(&(*loop)->signals[i].event);
	event_base_free((*loop)->base);
	free(*loop);
	*loop = NULL;
}

static void run_turn_ends(struct loop *loop)
{
	while (loop->turn_ends) {
		struct turn_end *t = loop->turn_ends;

		turn_end_cancel(t);
		t->run(t->arg);
	}
}

/* The first callback of a turn reads the clocks; the others see the same time. */
static void loop_tick(struct loop *loop)
{
	loop->now = monotime_read();
	loop->wall = walltime_read();
}

void loop_rest(struct loop *loop, struct duration rest)
{
	loop->rest = rest;
}

/* Not by a timer: the descriptors would still be watched, and what comes in wake us. */
static void take_rest(struct loop *loop)
{
	struct timespec rest = {loop->rest.us / 1000000, loop->rest.us % 1000000 * 1000};

	loop->rest.us = 0;
	nanosleep(&rest, NULL);
}

void loop_run(struct loop *loop)
{
	loop->stop = false;
	run_turn_ends(loop);
	while (!loop->stop) {
		loop->now.us = 0;
		event_base_loop(loop->base, EVLOOP_ONCE);
		run_turn_ends(loop);
		if (loop->rest.us && !loop->stop)
			take_rest(loop);
	}
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
	event_base_loopbreak(loop->base);
}

void loop_turn(struct loop *loop, struct duration wait)
{
	struct timeval tv = {wait.us / 1000000, wait.us % 1000000};

	run_turn_ends(loop);
	event_base_loopexit(loop->base, &tv);
	loop->now.us = 0;
	event_base_loop(loop->base, EVLOOP_ONCE);
	run_turn_ends(loop);
}

struct monotime loop_now(const struct loop *loop)
{
	if (!loop->now.us)
		loop_tick((struct loop *)(uintptr_t)loop);
	return loop->now;
}

struct walltime loop_wall(const struct loop *loop)
{
	loop_now(loop);
	return loop->wall;
}

uint8_t *loop_scratch(struct loop *loop)
{
	return loop->scratch;
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

static void watch_fired(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;

	(void)fd;
	w->ready(w->arg, (what & EV_READ) != 0, (what & EV_WRITE) != 0);
}

void watch_add(struct watch *w, struct loop *loop, int fd,
	       void (*ready)(void *arg, bool readable, bool writable), void *arg)
{
	*w = (struct watch){.loop = loop, .ready = ready, .arg = arg, .fd = fd};
	event_assign(&w->in, loop->base, fd, EV_READ | EV_PERSIST, watch_fired, w);
	event_assign(&w->out, loop->base, fd, EV_WRITE | EV_PERSIST, watch_fired, w);
}

static void watch_set(struct event *e, bool *has, bool wants)
{
	if (*has == wants)
		return;
	*has = wants;
	if (wants)
		must(event_add(e, NULL) == 0);
	else
		event_del(e);
}

void watch_want(struct watch *w, bool in, bool out)
{
	must(w->loop);
	watch_set(&w->in, &w->wants_in, in);
	watch_set(&w->out, &w->wants_out, out);
}

void watch_remove(struct watch *w)
{
	if (!w->loop)
		return;
	watch_want(w, false, false);
	w->loop = NULL;
}

static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
	struct timer *t = arg;

	(void)fd;
	(void)what;
	t->fired(t->arg);
}

void timer_init(struct timer *t, struct loop *loop, void (*fired)(void *arg), void *arg)
{
	t->loop = loop;
	t->fired = fired;
	t->arg = arg;
	evtimer_assign(&t->event, loop->base, timer_fired, t);
}

void timer_set(struct timer *t, struct duration after)
{
	int64_t us = after.us > 0 ? after.us : 0;
	struct timeval tv = {us / 1000000, us % 1000000};

	must(event_add(&t->event, &tv) == 0);
}

void timer_clear(struct timer *t)
{
	if (t->loop)
		event_del(&t->event);
}

bool timer_is_set(const struct timer *t)
{
	return t->loop && evtimer_pending(&t->event, NULL);
}

void turn_end_schedule(struct turn_end *t, struct loop *loop, void (*run)(void *arg), void *arg)
{
	if (t->prev)
		return;
	t->run = run;
	t->arg = arg;
	t->loop = loop;
	t->next = NULL;
	t->prev = loop->turn_ends_end;
	*t->prev = t;
	loop->turn_ends_end = &t->next;
}

void turn_end_cancel(struct turn_end *t)
{
	if (!t->prev)
		return;
	*t->prev = t->next;
	if (t->next)
		t->next->prev = t->prev;
	else
		t->loop->turn_ends_end = t->prev;
	t->next = NULL;
	t->prev = NULL;
}

static void signal_fired(evutil_socket_t number, short what, void *arg)
{
	struct loop *loop = arg;

	(void)what;
	for (size_t i = 0; i < loop->signal_count; i++)
		if (event_get_signal(&loop->signals[i].event) == number)
			loop->signals[i].handler(loop->signals[i].arg);
}

void loop_signal(struct loop *loop, int number, void (*handler)(void *arg), void *arg)
{
	must(loop->signal_count < SIGNALS_MAX);
	size_t i = loop->signal_count++;

	loop->signals[i].handler = handler;
	loop->signals[i].arg = arg;
	evsignal_assign(&loop->signals[i].event, loop->base, number, signal_fired, loop);
	must(evsignal_add(&loop->signals[i].event, NULL) == 0);
}
