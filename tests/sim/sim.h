/* SPDX-License-Identifier: ISC */
/*
 * The simulator's state. Of qmgr it runs store.c, ageing.c, control.c, the scheduler and the
 * tables as they are:
 *   sim.c        the loop, crashes
 *   sim_face.c   what those call: threads, timers, doors, log
 *   sim_mail.c   senders, reports, outcomes, as door.c, report.c and delivery.c do it
 *   sim_person.c a person at the control socket
 *   sim_world.c  who is asked and delivered to
 *   fault.c, shrink.c, trace.c  what goes wrong, and which of it matters
 *   scenario.c   runs without chance
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "book.h"
#include "fault.h"
#include "qmgr.h"
#include "simdisk.h"
#include "trace.h"

enum {
	STEP_US = 10000,
	SECOND = 1000000,
	SITES = 40,
	DOMAINS = 400,
	SEGMENT = 512 << 10,
	WORKERS = 2,
	POISON = 9973, /* of so many messages one kills its worker */
	TASK_MAX = 8,
};

/* What an smtp-client knows of a job; it lives until the outcome is confirmed. */
struct task {
	struct table_link link; /* by job */
	uint64_t job, mail;
	uint32_t slot, site, count;
	unsigned worker;
	bool said;   /* the outcome is on its way to disk */
	bool orphan; /* and its worker has died meanwhile */
	enum failure_scope scope;
	struct {
		uint32_t number;
		enum outcome_kind kind;
	} recipients[TASK_MAX];
};

struct sim;

struct arrival {
	int64_t at_us;
	uint64_t job;
};

enum mood { TAKING, DEFERRING, REFUSING, FLAKY, DEAD, MOODS };

struct receiver {
	enum mood mood;
	int64_t until_us;
};

struct owed {
	uint64_t id;
	uint32_t recipient;
	int64_t due_us;
};

/* A pool of store.c's: one thread, whose work takes its time. */
struct pool {
	struct sim *sim;
	struct work *todo, **todo_end;
	int64_t run_us, done_us; /* of the first one: when it touches the disk, and is told of */
	bool ran;
	size_t pending;
};

enum {
	POOLS = 4,
	TIMERS = 8,
	RESERVE = 2, /* segments */
	CONTENT_BYTES = 8 << 20,
};

struct query {
	uint64_t query, domain;
};

/* What a scenario says instead of chance. Messages have one recipient then. */
struct plan {
	const char *settings;
	uint64_t (*domain)(struct sim *s, uint64_t id);
	uint32_t (*site)(struct sim *s, uint64_t domain);
	int64_t (*takes_us)(struct sim *s, uint32_t site); /* a delivery that begins now */
	bool (*dead)(struct sim *s, uint32_t site);	   /* at its end */
	void (*taken)(struct sim *s, uint64_t id, uint32_t site);
};

struct sim {
	const struct plan *plan; /* NULL: chance */
	const struct recipe *recipe;
	struct fault fault;	     /* the next one */
	struct trace trace, watched; /* all events; those of the message that is watched */
	uint64_t step, mails_sent, cleaned;
	uint64_t random, world_random, mail_random, crash_random;
	int64_t now, wall_ahead;
	struct simdisk *disk;
	struct daemon daemon;
	struct qmgr q;
	struct engine engine; /* all senders */
	struct pool pools[POOLS];
	size_t pool_count;
	struct {
		struct timer *timer;
		int64_t at_us;
	} timers[TIMERS];
	size_t timer_count;
	struct control person;	  /* the one connection */
	struct queue_owner owner; /* store.c's, behind the one that keeps the book */
	struct config *config;
	struct worker workers[WORKERS];
	struct bytes envelope;
	int64_t over_since_us, full_until_us, readonly_until_us;
	uint64_t *removals; /* large bodies of messages that are gone */
	size_t removal_count, removal_size;
	struct owed *owed;
	size_t owed_count, owed_size;
	struct table tasks;
	struct arrival *events; /* a heap */
	size_t event_count, event_size;
	struct query *queries;
	uint64_t *closes;
	size_t query_count, query_size, close_count, close_size;
	struct receiver receivers[SITES];
	uint32_t site_of_domain[DOMAINS];
	struct book book;
	bool ending;
	struct {
		uint64_t accepted, refused, full, unanswered, taken, failed, deferred,
		    site_failures, bounces, held, power, process, qmgr, aborts, segments_most,
		    questions, large, actions, double_bounces, faults[FAULT_KINDS];
	} n;
};

void sim_init(struct sim *s, const struct recipe *recipe, const struct plan *plan);
void sim_free(struct sim *s);
double sim_seconds(void); /* real ones */
int scenario_main(int argc, char **argv);

uint64_t sim_chance(struct sim *s, uint64_t limit);
/* For the last events before a break. */
void sim_note(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_world_changes(struct sim *s);
int64_t sim_wall(const struct sim *s);
void *sim_grow(void *list, size_t count, size_t *size, size_t item);
struct task *sim_task_find(const struct sim *s, uint64_t job);
void sim_task_free(struct sim *s, struct task *t);
void sim_answer_queries(struct sim *s);
void sim_deliveries(struct sim *s);
void sim_outcome_apply(struct sim *s, struct task *t, struct job *job);
void sim_tasks_die(struct sim *s, unsigned worker); /* WORKERS: of all */
void sim_worker_dies(struct sim *s, unsigned worker);
struct scheduler_face sim_face(struct sim *s);
void sim_record(struct sim *s, struct recipient *r, enum queue_kind kind, uint8_t flags,
		int64_t due_us);
void sim_finish(struct sim *s, struct recipient *r, enum queue_kind kind);
struct text sim_domain_name(char *to, size_t size, uint64_t domain);
uint64_t sim_domain(struct sim *s, uint64_t id, uint32_t recipient);
/* One message for one recipient; its ID, or 0. */
uint64_t sim_send(struct sim *s, struct text submitter);
void sim_sender_sends(struct sim *s, bool really);
void sim_reports(struct sim *s);
void sim_job_await(struct sim *s, uint64_t job);
/* A report about that recipient is to be made. */
void sim_owe(struct sim *s, uint64_t id, uint32_t recipient);

static inline struct sim *sim_of_qmgr(const struct qmgr *q)
{
	return (struct sim *)(void *)q->loop;
}

/* -- sim_face.c -- */
bool sim_store_open(struct sim *s); /* false: the disk stopped, or the book says why */
void sim_store_drop(struct sim *s); /* as a crash does */
void sim_threads(struct sim *s);    /* their work, as far as it is due */

/* -- sim_person.c -- */
void sim_person(struct sim *s); /* now and then holds, releases, deletes, returns, hurries */
/* Asked for while it flew. */
bool sim_wish(struct sim *s, struct recipient *r);

#endif
