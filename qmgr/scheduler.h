/* SPDX-License-Identifier: ISC */
/*
 * Decides what goes where and when. Does no I/O and reads no clock: what
 * happened and what time it is go in, jobs and questions come out through
 * struct scheduler_face. Times are monotonic microseconds.
 *
 * The rules: sites take turns, submitters take turns within a site, lanes
 * within a submitter. A site is trusted with a window of connections that
 * grows with success and shrinks with failure; one that fails is down and
 * tried again with one connection after a back-off with jitter. A recipient
 * that was deferred by itself waits in the wheel.
 */
#ifndef QMGR_SCHEDULER_H
#define QMGR_SCHEDULER_H

#include "mail.h"
#include "sts.h"

struct scheduler;

/* The site of this machine's mailboxes: no name that a host or a person's block can have. */
#define LOCAL_SITE ":local"

/* Of a recipient that was to be held when it comes back from its job. */
#define HELD_BY_WISH_DSN "4.7.0"

struct scheduler_face {
	void *owner;
	/* Where does mail for this domain go? Answer with scheduler_site_is() or
	 * scheduler_no_site(), but not from within. */
	void (*ask)(void *owner, const struct domain *domain);
	/* Send this job; a first job opens its slot. The job is the owner's from here on, until
	 * scheduler_job_done(). */
	void (*start)(void *owner, struct job *job);
	/* No more work for this slot: scheduler_slot_done() follows. */
	void (*close_slot)(void *owner, struct slot *slot);
	/* This recipient ends without delivery (state is RECIPIENT_ENDING), or is held
	 * (RECIPIENT_HELD). */
	void (*end)(void *owner, struct recipient *r, const struct domain_verdict *verdict);
	/* For the log. */
	void (*site_down)(void *owner, const struct site *site, int64_t wait_us);
	void (*site_up)(void *owner, const struct site *site);
	/* Its next hop can't be found for now (domain->verdict says why). May be NULL. */
	void (*domain_down)(void *owner, const struct domain *domain, int64_t wait_us);
};

/* None of FACE's functions may call the scheduler, but for scheduler_allow() and
 * scheduler_job_keep(). */
struct scheduler *scheduler_new(const struct scheduler_face *face, struct mails *mails,
				uint64_t seed);
/* With all jobs, slots, lanes and sites; MAILS are the caller's, and so is what flies. */
void scheduler_free(struct scheduler **s);

/* Also at reload: every route is looked up anew. The configuration is kept. */
void scheduler_configure(struct scheduler *s, const struct config *config);

/* Deliverers, in the order of their instances; one without a channel, or choked, gets nothing. */
void scheduler_set_workers(struct scheduler *s, struct worker *workers, size_t count);

/* Nothing is started before this (in-flight jobs of an earlier qmgr must be known), nor while
 * stopped. */
void scheduler_allow(struct scheduler *s, bool allow);

/* A recipient to be delivered: into the lane of its domain and its message's way; ready now, or at
 * DUE_US. */
void scheduler_add(struct scheduler *s, struct recipient *r, struct text domain, int64_t due_us,
		   int64_t now_us);

/* Takes it out of lane or wheel (hold, delete, expiry); state becomes STATE. Not for flying ones.
 */
void scheduler_remove(struct scheduler *s, struct recipient *r, enum recipient_state state);

/* A waiting one becomes ready now; not one whose release is not durable yet. */
void scheduler_hurry(struct scheduler *s, struct recipient *r, int64_t now_us);

/* All sites and domains that are down are tried now, and all that wait: ten thousand at once, and
 * as many in each tick. Returns how many waited. */
uint32_t scheduler_flush(struct scheduler *s, int64_t now_us);
/* The site or domain that this recipient's mail goes to is tried now. */
void scheduler_flush_of(struct scheduler *s, struct recipient *r, int64_t now_us);

void scheduler_site_is(struct scheduler *s, uint64_t query, struct text site, struct text hop,
		       uint32_t lifetime_s, int64_t now_us);
void scheduler_no_site(struct scheduler *s, uint64_t query, bool permanent, uint16_t code,
		       struct text dsn, struct text reason, uint32_t lifetime_s, int64_t now_us);
/* The domain that this question is about; NULL: the answer is not waited for any more. */
struct domain *scheduler_asked(const struct scheduler *s, uint64_t query);
/* By which it goes: its own, or the one that its senders chose; route_is_lost() when that is gone.
 */
const struct config_route *domain_route(const struct config *config, const struct domain *d);
/* Words of the table tls-policies for it (copied), empty: none. Before its site is told. */
void domain_set_policy(struct domain *d, struct text words, bool names_domain);
/*
 * The MTA-STS policy of the domain that is asked for (NULL: it has none), good
 * up to UNTIL_US; before scheduler_site_is(). Without this call a policy that it had
 * stays, until it is too old.
 */
void scheduler_policy_is(struct scheduler *s, uint64_t query, const struct sts_policy *policy,
			 int64_t until_us);
/* The resolver was restarted: questions in the air are asked again. */
void scheduler_ask_again(struct scheduler *s);

/* A slot can take one more job, beside those that it has and waits for. */
void scheduler_want(struct scheduler *s, struct slot *slot, int64_t now_us);
/* A slot's connection is gone; frees it. Its jobs lose their slot but run on. */
void scheduler_slot_done(struct scheduler *s, struct slot *slot);
struct slot *scheduler_slot(const struct scheduler *s, uint32_t number);

struct job *scheduler_job(const struct scheduler *s, uint64_t id);
/* One that start() was told of, and whose content had to be read first: is its slot there yet, and
 * does its domain's mail still go where it did? If not, it is to be done again. */
bool job_may_begin(const struct job *job);
/* Of a job that was not sent yet: its recipients without KEEP (at least one has it) go back to
 * their lanes. Also from face->start(). */
void scheduler_job_keep(struct scheduler *s, struct job *job, const bool *keep);
/* A job of an earlier life that a worker reported; its recipients become flying. NULL: none is
 * open. */
struct job *scheduler_adopt(struct scheduler *s, struct worker *worker, uint64_t id,
			    struct mail *mail, const uint32_t *numbers, uint32_t count);

/*
 * What became of a recipient of a job. DEFERRED with scope site or domain:
 * back into its lane, behind the others; scheduler_failed() came before, once. Else it waits by
 * itself, *DUE_US tells until when. Final kinds: RECIPIENT_ENDING.
 */
void scheduler_outcome(struct scheduler *s, struct recipient *r, enum outcome_kind kind,
		       enum failure_scope scope, int64_t now_us, int64_t *due_us);
/* The job is over: frees it. Recipients that are still flying go back to their lanes, or end as
 * their wish says. */
void scheduler_job_done(struct scheduler *s, struct job *job, bool relayed, int64_t now_us);
/* A failure of the job's site or domain, or (nobody) of ours: many of these in a row are one of the
 * site. Before the outcomes of its recipients. */
void scheduler_failed(struct scheduler *s, struct job *job, enum failure_scope scope,
		      struct text reason, int64_t now_us);
/* The worker died: its slots are freed, its recipients go back; one that was
 * in flight at three such deaths is held. */
void scheduler_worker_died(struct scheduler *s, struct worker *worker, int64_t now_us);

/* Its channel is gone, its process perhaps not: frees its slots; its jobs fly on. */
void scheduler_worker_away(struct scheduler *s, struct worker *worker);
/* The same process is back and has told of all it has: its other jobs were never begun, and go
 * back unharmed. */
void scheduler_worker_back(struct scheduler *s, struct worker *worker, int64_t now_us);

/* It is no longer choked: its waiting slots are served again. */
void scheduler_worker_reads(struct scheduler *s, const struct worker *worker);

/* Serves all sites that have something to do; bounded by BUDGET jobs. Once a turn; true: there is
 * more. */
bool scheduler_pump(struct scheduler *s, int64_t now_us, unsigned budget);

/* Timers: down sites, the wheel, idle slots. Every 100 ms or so; a call late is no harm. */
void scheduler_tick(struct scheduler *s, int64_t now_us);

struct scheduler_figures {
	uint64_t ready; /* all, also at sites that are down */
	/* At sites that did not fail; of what waits for a slow one, or one that never answered,
	 * few. What intake is paced by. */
	uint64_t ready_soon;
	uint64_t waiting, flying, slots;
};
struct scheduler_figures scheduler_figures(const struct scheduler *s);

/* The busiest sites by recipients, at most MAX; returns how many. */
size_t scheduler_top(const struct scheduler *s, const struct site **to, size_t max);

/* NULL when no mail was for it lately. */
struct site *site_find(const struct scheduler *s, struct text name);

/* A site's own limits: of its configured block, if it has one. Rate: messages a minute, 0: any. */
struct site_limits {
	uint32_t connections;
	uint64_t rate;
};
struct site_limits site_limits(const struct config *config, struct text name);

/* Domains without a next hop now, or ending, that have mail; at most MAX, returns how many. */
size_t scheduler_down_domains(const struct scheduler *s, const struct domain **to, size_t max);
/* Those of that name, one for each way: the first, or the one after LAST. NULL: no more. */
const struct domain *scheduler_domain(const struct scheduler *s, struct text name,
				      const struct domain *last);
/* Their recipients in lanes, ready and waiting. */
uint32_t domain_recipients(const struct domain *d);

/* The site's or domain's last error that holds this recipient up; empty when none. */
struct text scheduler_reason(const struct recipient *r);
/* When that was, monotonic; 0: there is none. */
int64_t scheduler_failed_us(const struct recipient *r);

/* Back-off with jitter for the n-th failure in a row (from 1). */
int64_t scheduler_backoff(struct scheduler *s, uint32_t n);

#endif
