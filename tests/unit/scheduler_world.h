/* SPDX-License-Identifier: ISC */
/*
 * The scheduler's world in its unit test: a clock of its own, receivers that
 * follow a script, and counters computed anew.
 */
#ifndef TESTS_UNIT_SCHEDULER_WORLD_H
#define TESTS_UNIT_SCHEDULER_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "qmgr/scheduler_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000000LL
#define MINUTE (60 * SECOND)

enum answer { TAKES, REFUSES, DEFERS, SITE_FAILS, DOMAIN_FAILS, WE_FAIL, NEVER };

struct flight {
	uint64_t job;
	uint32_t slot;
	int64_t end_us;
};

struct question {
	uint64_t query;
	char domain[64];
};

struct world {
	struct mails mails;
	struct scheduler *s;
	struct config *config;
	struct worker workers[2];
	int64_t now, step_us, latency_us;
	struct flight *flights;
	size_t flight_count, flight_size;
	struct question *questions;
	size_t question_count, question_size;
	uint32_t closes[4096];
	size_t close_count;
	struct recipient **ended;
	size_t ended_count, ended_size;
	uint64_t next_id;
	bool silent_resolver, want_nothing;
	bool parts; /* recipients with even and odd numbers have other senders */
	/* The script. */
	enum answer (*answer)(struct world *w, const struct job *job);
	void (*site_of)(struct world *w, const char *domain, char *site, size_t size);
	/* What happened. */
	uint64_t started, taken, failed, held, asked, downs, ups, closed, most_slots;
	int64_t down_wait_us, *starts_us;
	size_t starts_size;
	uint64_t by_site[8];	   /* jobs of sites "s0" to "s7" */
	uint64_t by_submitter[4];  /* recipients of submitters "u0" to "u3" that were started */
	uint64_t to_see_all_of_u1; /* jobs started until u1 had its ten */
	void *script;
};

enum answer takes_all(struct world *w, const struct job *job);
enum answer defers_once(struct world *w, const struct job *job);
enum answer never(struct world *w, const struct job *job);
void all_one_site(struct world *w, const char *domain, char *site, size_t size);
void site_is_domain(struct world *w, const char *domain, char *site, size_t size);
struct config *config_of(const char *text);
void world_init(struct world *w, const char *more);
void settle(struct world *w, struct recipient *r);
/* A message to COUNT recipients at DOMAIN; %u in it is the recipient's number. */
struct mail *add(struct world *w, const char *submitter, const char *domain, uint32_t count);
void answer_questions(struct world *w);
void run(struct world *w, int64_t us);
void check_counts(struct world *w);
/* Nothing is left: no message, and no lane, share or submitter that one held. */
void world_empty(struct world *w);
void world_free(struct world *w);

#endif
