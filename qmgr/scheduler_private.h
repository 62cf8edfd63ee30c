/* SPDX-License-Identifier: ISC */
/*
 * Shared by the scheduler's files: domains.c and lanes.c (the structure),
 * jobs.c (slots and jobs), answers.c (the resolver's, early ones), scheduler.c (who goes next),
 * wheel.c (time).
 */
#ifndef QMGR_SCHEDULER_PRIVATE_H
#define QMGR_SCHEDULER_PRIVATE_H

#include "scheduler.h"
#include "way.h"

enum {
	WHEEL_SLOTS = 8192,		    /* of one second */
	FIRST_WINDOW = 5,		    /* connections to a site that nothing is known of */
	IDLE_US = 2 * 1000 * 1000,	    /* an idle connection is kept so long */
	LOOKUP_FIRST_US = 15 * 1000 * 1000, /* after a first failed lookup at most; doubles */
	CRASHES_MAX = 3,
	OURS_FIRST_US = 1000 * 1000,
	OURS_DOUBLED_MOST = 10,
	OURS_MANY = 20, /* at one site, for so long, with no more between two */
	OURS_LONG_US = 30 * 1000 * 1000,
	OURS_REST_US = 60 * 1000 * 1000,
	TURN_RECIPIENTS = 100,	      /* of one job, while another submitter waits at the site */
	LOCAL_RECIPIENTS = 20,	      /* of one job for mailboxes here */
	SLOT_INDEX = 0xfffff,	      /* of a slot's number; the rest differs from life to life */
	SLOW_US = 50 * 1000,	      /* a site where a job takes longer is slow */
	SLOW_COUNT = 4,		      /* of a slow site's ready ones so many slow the intake */
	SERVED_US = 60 * 1000 * 1000, /* a success so recent outweighs a failure */
	DOMAINS_KEPT = 20000,	      /* known, without mail */
	SPREAD_SLOTS = 100,	      /* a site stays on one worker up to so many slots */
	ASKED_MAX = 4096,	      /* questions in the air; further domains wait for a tick */
	ANSWER_WAIT_US = 50 * 1000,   /* the longest that an answer waits for others */
	LIFETIME_LEAST_S = 5,	      /* of an answer, whatever it says of itself */
	LIFETIME_MOST_S = 86400,
	TURN_JOBS = 16,	  /* of a site, before the next one's turn */
	YIELD_JOBS = 100, /* over a site's last connection before it yields to a site without any */
	LOOK_BACK_MAX = 1000, /* recipients of a message that are all looked through for each job */
	LOOK_MAX = 4096,      /* recipients of a message that are looked through for one job */
	WAKE_MAX = 10000,     /* domains, and sites that are down, looked at in one tick */
	FLUSH_MAX = 10000,    /* recipients that a flush makes ready in one tick */
	SITE_NAME_BYTES = 255,
	END_MAX = 1000, /* recipients that end without delivery in one tick */
};

/* Sites that would have a connection and can't have one now, each in one of these lists until it
 * gets it or needs it no more. */
enum {
	HUNGRY_NONE,	/* has none, and all are taken: the first to get one */
	HUNGRY_MORE,	/* has some, and would have more */
	HUNGRY_STRANGE, /* has not answered, and it or such sites have their part already */
	HUNGRY_LISTS,
};

struct hungry {
	struct site *first, **end;
	uint32_t count;
};

struct scheduler {
	struct scheduler_face face;
	struct mails *mails;
	struct config *config;
	struct worker *workers;
	size_t worker_count;
	struct table domains, lanes, asked, sites, shares, jobs;
	struct site *pump, **pump_end; /* sites with something to do, in turn */
	struct site *paced;	       /* sites that wait for their rate */
	struct site *down, *down_at;   /* that are down; where the next tick goes on */
	struct hungry hungry[HUNGRY_LISTS];
	struct kept_answer *answers, **answers_end;  /* oldest first; at most one a question */
	struct domain *timed_domains, *timed_at;     /* timed_at: where the next tick goes on */
	struct slot **slots;			     /* by number; NULL: free */
	uint32_t slot_size, slot_count, slot_lowest; /* no number below slot_lowest is free */
	uint32_t closing;			     /* slots that were asked to */
	uint32_t strange;			     /* slots of sites that have not answered */
	/* Slots that hungry sites may have since the last pump. An allowance and no stock: each of
	 * the three lists is woken for the whole of it, for a site that is woken may find that it
	 * can have none, and then one of the next list must be awake; site_may_open() gives out no
	 * slot twice. */
	uint32_t freed;
	struct slot *oldest_idle, **newest_idle;
	struct recipient *wheel[WHEEL_SLOTS];
	/* Those that waited when a person flushed the queue, and are not ready yet. */
	struct recipient *flushed[WHEEL_SLOTS];
	size_t flush_at;  /* of these; WHEEL_SLOTS: none is left */
	bool flush_again; /* asked for meanwhile: who has begun to wait since goes too */
	size_t sweep_at;  /* in the table of domains */
	int64_t wheel_at; /* the second up to which the wheel has turned */
	uint64_t next_job, next_query, random;
	struct scheduler_figures figures;
	uint32_t life;
	bool allowed, ticked;
};

/* way.c */
/* The way of this message's mail for DOMAIN, now. Its text is as old as the configuration. */
struct way way_of(const struct scheduler *s, const struct mail *mail, struct text domain);

/* domains.c */
struct domain *domain_get(struct scheduler *s, struct text name, const struct way *way);
struct way domain_way(const struct domain *d);
void domain_place(struct scheduler *s, struct domain *d, struct text site, struct text hop);
void domain_unplace(struct scheduler *s, struct domain *d);
void domain_ask(struct scheduler *s, struct domain *d);
void domain_policy(struct domain *d, const struct sts_policy *policy, int64_t until_us);
void domain_stop(struct scheduler *s, struct domain *d, enum domain_state state, int64_t until_us,
		 const struct domain_verdict *verdict);
void domain_end_some(struct scheduler *s, struct domain *d, unsigned *budget);
void domain_collect(struct scheduler *s, struct domain *d); /* frees it when nothing names it */
void domain_sweep(struct scheduler *s, struct domain *d, int64_t now_us);
void domain_flies(struct domain *d, bool flies); /* one recipient more, or less */
void domain_waits(struct domain *d, bool waits);
void domains_free(struct scheduler *s); /* all of them; of lanes_free() */

/* lanes.c */
struct lane *lane_get(struct scheduler *s, struct domain *domain, struct submitter *submitter);
void lane_push(struct scheduler *s, struct lane *lane, struct recipient *r, bool front);
void lane_take(struct scheduler *s, struct recipient *r);
void lane_drop(struct scheduler *s, struct lane *lane); /* a recipient leaves it for good */
void lane_join_share(struct scheduler *s, struct lane *lane, struct site *site);
void lane_leave_share(struct scheduler *s, struct lane *lane);
struct site *site_get(struct scheduler *s, struct text name);
void site_pump_later(struct scheduler *s, struct site *site);
void site_hunger(struct scheduler *s, struct site *site, uint8_t list); /* at its end */
void site_feed(struct scheduler *s, struct site *site);			/* out of it */
void site_count_soon(struct scheduler *s, struct site *site); /* after each change to it */
void site_prove(struct scheduler *s, struct site *site, bool proven);
void site_pump_not(struct scheduler *s, struct site *site);
void site_time(struct scheduler *s, struct site *site, bool timed);
bool site_collect(struct scheduler *s, struct site *site);
void sites_configure(struct scheduler *s);

void lanes_free(struct scheduler *s); /* all of them, with domains, shares and sites */

/* jobs.c */
/* NULL: no worker; or no more at once, then the site is hungry. */
struct slot *slot_new(struct scheduler *s, struct site *site);
/* It waits for so many jobs: with any it is in its site's list and newest by age. */
void slot_wants(struct scheduler *s, struct slot *slot, uint32_t jobs, int64_t now_us);
void slot_close(struct scheduler *s, struct slot *slot);
struct job *job_make(struct scheduler *s, struct lane *lane);
/* As many sites as connections became free: those without one are served next, before others grow.
 * They stay in their list until they have it. */
void hungry_wake(struct scheduler *s);

/* answers.c */
/* True when the answer was kept: domain_answer() follows with the last one, or after 50 ms. */
bool answer_waits(struct scheduler *s, struct domain *d, struct text site, struct text hop,
		  uint32_t lifetime_s, int64_t now_us);
void answers_after(struct scheduler *s, uint64_t mail,
		   int64_t now_us); /* one more of MAIL's came */
void answers_due(struct scheduler *s, int64_t now_us);
void answers_free(struct scheduler *s);

/* wheel.c */
void wheel_add(struct scheduler *s, struct recipient *r, int64_t due_us);
void wheel_take(struct scheduler *s, struct recipient *r);
void wheel_turn(struct scheduler *s, int64_t now_us);
/* All that wait become ready, some in each tick. */
void wheel_flush(struct scheduler *s);
/* The next of them; returns how many of those it met wait for their release, and stay. */
uint32_t wheel_flush_some(struct scheduler *s);

/* scheduler.c */
void domain_answer(struct scheduler *s, uint64_t query, struct text site, struct text hop,
		   uint32_t lifetime_s, int64_t now_us);
void recipient_ready(struct scheduler *s, struct recipient *r, bool front);
uint64_t scheduler_random(struct scheduler *s);

#endif
