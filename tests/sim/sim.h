/* SPDX-License-Identifier: ISC */
/*
 * The simulator's state. It runs all of qmgr as it is, but for its main and its threads:
 *   sim.c         the loop, crashes, qmgr.c's part
 *   sim_face.c    what qmgr calls: threads, timers, log
 *   sim_channel.c its channels, and who is behind them
 *   sim_mail.c    senders, with smtpd; bounce, with submission
 *   sim_world.c   smtp-clients, resolver, receivers
 *   sim_person.c  a person at the control socket
 *   fault.c, shrink.c, trace.c  what goes wrong, and which of it matters
 *   scenario.c    runs without chance
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
	ENGINES_COUNT = 2,
	HANDINS = 256,
};

/* One end of a channel of qmgr's, for who is behind it. */
struct sim_channel {
	struct sim *sim;
	unsigned kind, instance;
	uint32_t pid;
	void *state;
	bool paused; /* qmgr reads nothing from it */
};

/* What an smtp-client knows of a job; it lives until the outcome is confirmed. */
struct task {
	struct table_link link; /* by job */
	uint64_t job, mail;
	uint32_t slot, site, count;
	unsigned worker;
	bool said;   /* the receiver has made up its mind */
	bool sent;   /* and qmgr was told */
	bool orphan; /* and its worker has died meanwhile */
	enum failure_scope scope;
	struct {
		uint32_t number;
		enum outcome_kind kind;
	} recipients[TASK_MAX];
};

struct sim_worker {
	struct sim_channel channel;
	bool up, told;
	int64_t back_us; /* when there is a channel again */
};

struct sim_range {
	uint64_t first;
	uint32_t count;
};

/* smtpd, or submission. */
struct sim_engine {
	struct sim_channel channel;
	struct sim_range now, next; /* leased */
	bool asked;
	uint8_t intake; /* enum intake_state */
};

/* A message that an engine has begun and that is not settled. */
struct letter {
	struct table_link link; /* by ID */
	uint64_t id, report, of;
	unsigned engine;
	uint32_t count;
	uint8_t failures; /* a report's: which recipients of OF */
	bool unwanted;	  /* nobody is to be told that it failed */
	bool submitted;
	int fd;
	struct bytes envelope;
};

/* A report that bounce is at. */
struct handin {
	uint64_t report, of;
	uint8_t failures;
	bool fails;
	int64_t due_us;
	char to[80];
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

/* A slot that qmgr wants back. */
struct sim_close {
	unsigned worker;
	uint32_t slot;
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
	struct sim_engine engines[ENGINES_COUNT];
	struct sim_worker workers[WORKERS];
	struct sim_channel control, resolver, bounce;
	struct handin handins[HANDINS];
	size_t handin_count;
	struct table letters;
	uint64_t *ready; /* letters whose file is there */
	size_t ready_count, ready_size;
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
	int64_t over_since_us, full_until_us, readonly_until_us;
	struct table tasks;
	struct arrival *events; /* a heap */
	size_t event_count, event_size;
	struct query *queries;
	struct sim_close *closes;
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

/* -- sim_channel.c -- */
struct channel *sim_channel(struct sim_channel *c);
void sim_descriptors_of(
    struct sim *s); /* close() means its disk's from now on; NULL: the kernel's */

/* -- sim_mail.c -- */
struct text sim_domain_name(char *to, size_t size, uint64_t domain);
uint64_t sim_domain(struct sim *s, uint64_t id, uint32_t recipient);
struct text sim_prelude(void);
uint8_t sim_tls(uint64_t id); /* enum mail_tls of that message */
/* One message for one recipient; its ID, or 0. */
uint64_t sim_send(struct sim *s, struct text submitter);
void sim_sender_sends(struct sim *s, bool really);
void sim_doors(struct sim *s); /* goes on with what was begun, reports too */
void sim_letters_lost(struct sim *s, bool engines_too);
void sim_engines_connect(struct sim *s); /* to a new qmgr */
void sim_engines_doubt(struct sim *s);	 /* and ask it about what was handed in */
void sim_leased(struct sim *s, unsigned engine, const struct msg_leased *m);
void sim_settled(struct sim *s, const struct msg_settled *m);
void sim_body_file(struct sim *s, const struct msg_body_file *m, int fd);
void sim_report(struct sim *s, const struct msg_report *m);

/* -- sim_world.c -- */
void sim_asked(struct sim *s, const struct msg_site_ask *m);
void sim_answer_queries(struct sim *s);
void sim_job(struct sim *s, unsigned worker, const struct msg_job *m, int fd);
void sim_recorded(struct sim *s, uint64_t job);
void sim_slot_closes(struct sim *s, unsigned worker, uint32_t slot);
void sim_deliveries(struct sim *s);
void sim_tasks_die(struct sim *s, unsigned worker); /* WORKERS: of all */
void sim_worker_dies(struct sim *s, unsigned worker);
void sim_worker_cut(struct sim *s, unsigned worker); /* its channel alone */
void sim_workers_connect(struct sim *s);	     /* to a new qmgr */
void sim_workers_tell(struct sim *s);		     /* what they are at, once all is loaded */

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

#endif
