/* SPDX-License-Identifier: ISC */
/* The simulator's state: sim.c is chance and crashes, sim_world.c who is asked and delivered to,
 * sim_store.c qmgr's side of the queue, scenario.c runs without chance. */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "book.h"
#include "fault.h"
#include "scheduler.h"
#include "simdisk.h"
#include "trace.h"

enum {
	STEP_US = 10000,
	SECOND = 1000000,
	SITES = 40,
	DOMAINS = 400,
	SEGMENT = 512 << 10,
	WORKERS = 2,
	LATE_MAX = 20000,
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

struct event {
	int64_t at_us;
	uint64_t job;
};

enum mood { TAKING, DEFERRING, REFUSING, FLAKY, DEAD, MOODS };

struct receiver {
	enum mood mood;
	int64_t until_us;
};

struct round {
	uint64_t *mails, *jobs;
	size_t mail_count, mail_size, job_count, job_size;
};

struct late {
	struct late *next;
	struct queue_outcome_copy copy;
};

struct owed {
	uint64_t id;
	uint32_t recipient;
	int64_t due_us;
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
	uint64_t step, mails_sent;
	uint64_t random, world_random, mail_random, crash_random;
	int64_t now, wall_ahead;
	struct simdisk *disk;
	struct queue *queue;
	struct mails mails;
	struct scheduler *scheduler;
	struct config *config;
	struct worker workers[WORKERS];
	struct round filling, flying;
	struct queue_batch *batch; /* in flight */
	int64_t batch_end_us, work_end_us, over_since_us, full_until_us, readonly_until_us;
	struct late *late, **late_end;
	size_t late_count;
	struct owed *owed;
	size_t owed_count, owed_size;
	struct table tasks;
	struct event *events; /* a heap */
	size_t event_count, event_size;
	struct query *queries;
	uint64_t *closes;
	size_t query_count, query_size, close_count, close_size;
	struct receiver receivers[SITES];
	uint32_t site_of_domain[DOMAINS];
	struct book book;
	size_t age_at;
	bool ending;
	struct {
		uint64_t accepted, refused, full, unanswered, taken, failed, deferred,
		    site_failures, bounces, held, power, process, qmgr, aborts, segments_most,
		    questions, faults[FAULT_KINDS];
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
		int64_t next);
void sim_finish(struct sim *s, struct recipient *r, enum queue_kind kind);
bool sim_on_placed(void *self, uint64_t id, const struct queue_location *location);
struct queue_where sim_on_outcome(void *self, const struct queue_outcome *o, struct queue_where now,
				  bool moved, struct queue_where old);
bool sim_on_locate(void *self, uint64_t id, struct queue_location *location);
uint32_t sim_on_open(void *self, uint64_t id, struct queue_recipient *open, uint32_t max);
bool sim_on_recipient(void *self, uint64_t id, uint32_t number, struct queue_recipient *state);
void sim_on_damage(void *self, const struct queue_damage *d);
void sim_on_entry(void *self, const struct queue_entry *e);
struct text sim_domain_name(char *to, size_t size, uint64_t domain);
uint64_t sim_domain(struct sim *s, uint64_t id, uint32_t recipient);
/* One message for one recipient; its ID, or 0. */
uint64_t sim_send(struct sim *s, struct text submitter);
void sim_sender_sends(struct sim *s, bool really);
void sim_reports(struct sim *s);
void sim_job_await(struct sim *s, uint64_t job);
void sim_append_done(struct sim *s);
void sim_seal(struct sim *s);
void sim_maintain(struct sim *s);

#endif
