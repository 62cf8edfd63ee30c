/* SPDX-License-Identifier: ISC */
/*
 * The event loop of a process: libevent behind a small face. A turn runs
 * everything that became ready, then the end-of-turn hooks, which write all
 * that the turn produced in as few system calls as possible.
 */
#ifndef LIB_LOOP_H
#define LIB_LOOP_H

#include "clock.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

struct loop;

struct loop *loop_new(void);
void loop_free(struct loop **loop);

/* Runs turns until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* One turn that waits at most WAIT; for tests. */
void loop_turn(struct loop *loop, struct duration wait);

/* After this turn nobody is heard for so long: who is woken for every word can take many at once.
 */
void loop_rest(struct loop *loop, struct duration rest);

/* The time at which this turn began; costs nothing. */
struct monotime loop_now(const struct loop *loop);
struct walltime loop_wall(const struct loop *loop);

/* A buffer of LOOP_SCRATCH_BYTES that whoever runs may use until it returns to the loop. */
enum { LOOP_SCRATCH_BYTES = 128 * 1024 };
uint8_t *loop_scratch(struct loop *loop);

/* libevent's base, for libunbound alone. */
struct event_base *loop_base(struct loop *loop);

/* A file descriptor that is watched. Embedded in its owner; not moved while added. */
struct watch {
	struct event in, out;
	struct loop *loop;
	void (*ready)(void *arg, bool readable, bool writable);
	void *arg;
	int fd;
	bool wants_in, wants_out;
};

/* Starts with nothing wanted. READY may call watch_remove() and free the owner. */
void watch_add(struct watch *w, struct loop *loop, int fd,
	       void (*ready)(void *arg, bool readable, bool writable), void *arg);
void watch_want(struct watch *w, bool in, bool out);
void watch_remove(struct watch *w); /* does not close the descriptor; harmless when not added */

/* A timer. Embedded in its owner. */
struct timer {
	struct event event;
	struct loop *loop;
	void (*fired)(void *arg);
	void *arg;
};

void timer_init(struct timer *t, struct loop *loop, void (*fired)(void *arg), void *arg);
void timer_set(struct timer *t, struct duration after); /* replaces an earlier setting */
void timer_clear(struct timer *t);
bool timer_is_set(const struct timer *t);

/*
 * Something to be done once at the end of this turn (a write), behind what was
 * scheduled earlier. Embedded in its owner; scheduling it twice is once. turn_end_cancel() before
 * the owner goes.
 */
struct turn_end {
	struct turn_end *next, **prev;
	struct loop *loop;
	void (*run)(void *arg);
	void *arg;
};

void turn_end_schedule(struct turn_end *t, struct loop *loop, void (*run)(void *arg), void *arg);
void turn_end_cancel(struct turn_end *t);

/* Calls HANDLER in the loop when the signal arrives; the loop owns the memory. */
void loop_signal(struct loop *loop, int number, void (*handler)(void *arg), void *arg);

#endif
