/* SPDX-License-Identifier: ISC */
/*
 * What qmgr keeps in memory, and how it hangs together:
 *
 *   mail -- its open recipients (an array)
 *   recipient -> lane (domain, submitter) -> share (site, submitter) -> site
 *   domain (its name, a way) -> site and hop, as the resolver answered last
 *   job: recipients of one message on their way over one slot of a worker
 *
 * A message costs at most 96 bytes and an open recipient 64; addresses and
 * replies stay on disk.
 */
#ifndef QMGR_MODEL_H
#define QMGR_MODEL_H

#include "config.h"
#include "queue.h"
#include "table.h"

#include <assert.h>

struct job;
struct lane;
struct slot;

/* Where a recipient is. Each has exactly one of these states. */
enum recipient_state {
	RECIPIENT_NEW,	   /* in the batch being filled or written: not yet safe */
	RECIPIENT_READY,   /* in its lane */
	RECIPIENT_WAITING, /* deferred by itself: in the wheel until its time */
	RECIPIENT_FLYING,  /* in a job */
	RECIPIENT_HELD,	   /* waits for a person */
	RECIPIENT_ENDING,  /* its final outcome is on its way to disk */
	RECIPIENT_OWED,	   /* final, but a report about it is still to be made */
	RECIPIENT_GONE,	   /* settled: nothing left */
};

struct recipient {
	struct mail *mail;
	struct lane *lane; /* NULL when held, ending, owed or gone */
	union {
		struct {
			struct recipient *next, **prev; /* in the lane or the wheel */
		};
		struct job *job; /* while flying */
	};
	struct queue_where where;
	int64_t due_us; /* monotonic; of a waiting one */
	uint32_t number;
	uint16_t attempts, code;
	uint8_t state;		       /* enum recipient_state */
	uint8_t kind;		       /* enum queue_kind, as on disk */
	uint8_t flags;		       /* enum queue_flag */
	uint8_t wish : 4, crashes : 4; /* wish: enum queue_action to carry out when it comes back */
	bool held_counted;	       /* in mails.held */
	bool said;		       /* its end stands in the log */
	bool expiring;		       /* its last reply is being read */
	bool releasing : 1;	       /* it waits until its release is durable */
	uint8_t ours : 4;	       /* times in a row that it came back by a fault of ours */
};
static_assert(sizeof(struct recipient) <= 64, "a recipient costs at most 64 bytes");

struct submitter {
	struct table_link link;
	struct text name;
	uint32_t holders;
	uint32_t failures;	   /* of its recipients, since limits was last told */
	struct submitter *failing; /* the next one with such */
	bool frozen;		   /* it is a login that limits has frozen */
};

/* Content still in the memory of its batch. */
struct content {
	struct content *newer;
	uint64_t at; /* how much had been written before it */
	struct mail *mail;
	struct queue_batch *batch;
	struct queue_placed placed;
};

struct mail {
	struct table_link link; /* by id; hash is of the id */
	uint64_t id;
	int64_t arrival_wall, size_bytes;
	struct queue_location location;
	uint32_t recipient_count; /* in the array: those open when it was taken in or loaded */
	uint32_t open_count;
	struct submitter *submitter;
	struct content *content; /* NULL: on disk */
	bool body_in_file, report_due, committed, damaged;
	uint16_t source, route;	       /* what its sender chose: mails_source(); 0: nothing */
	uint8_t tls;		       /* enum mail_tls */
	struct recipient recipients[]; /* by number */
};
static_assert(sizeof(struct mail) <= 96, "a message costs at most 96 bytes");

/* Recipients of one submitter for one domain. */
struct lane {
	struct table_link link;		       /* by domain and submitter */
	struct lane *next, **prev;	       /* of the domain */
	struct lane *share_next, **share_prev; /* in its share, while it has ready ones */
	struct domain *domain;
	struct submitter *submitter;
	struct share *share; /* NULL while the domain's site is unknown */
	struct recipient *ready, **ready_end;
	uint32_t ready_count, count; /* count: all that name this lane */
};

enum domain_state {
	DOMAIN_UNKNOWN, /* to be asked for */
	DOMAIN_ASKED,
	DOMAIN_KNOWN,
	DOMAIN_DOWN,   /* its lookup, or its own policy, failed for now */
	DOMAIN_ENDING, /* its recipients end without delivery, as verdict says */
};

/* Why a domain is down or ending. */
struct domain_verdict {
	enum queue_kind kind; /* failed, removed or held, when ending */
	uint16_t code;
	char dsn[12];
	char text[300];
};

struct domain {
	struct table_link link;
	struct table_link asked; /* by query, while it is asked for */
	struct text name;
	struct text source; /* of its way; empty: the system's choice */
	struct text route;  /* likewise; empty: the domain's own */
	uint8_t tls;	    /* likewise: enum mail_tls */
	struct lane *lanes;
	struct site *site;
	char *hop;		   /* owned; with TLS policy and way: the key of its connections */
	uint64_t query, asked_for; /* the message that it was asked for; 0: none */
	bool answered;		   /* while it is asked for: its answer waits for others */
	int64_t until_us;	   /* monotonic: known until, down until, ending until */
	struct domain *timed_next, **timed_prev; /* down or ending */
	struct domain_verdict *verdict;		 /* owned */
	uint32_t lookup_failures, failures;	 /* in a row; failures: of its own policy */
	int64_t failed_us;			 /* monotonic, of the last one; 0: never */
	uint32_t lane_count, flying, waiting;
	enum domain_state state;
	enum hop_how how;
	char *target; /* owned */
	char *policy; /* owned; words of the table tls-policies, or NULL */
	bool policy_names_domain;
	uint16_t port;
	struct sts_policy *sts; /* owned; its MTA-STS policy, NULL: none */
	int64_t sts_until_us;	/* monotonic: it is too old then */
};

/* A submitter's part of a site's work. */
struct share {
	struct table_link link;
	struct site *site;
	struct submitter *submitter;
	struct share *next, **prev; /* in the site's ring, while a lane of it is ready */
	struct lane *lanes, **lanes_end;
	uint32_t lanes_total; /* that name it, ready or not */
};

struct site {
	struct table_link link;
	struct text name;		     /* with " source=NAME", where its mail has a source */
	struct share *ring, **ring_end;	     /* shares take turns */
	struct slot *idle;		     /* slots that wait for a job */
	struct site *pump_next, **pump_prev; /* to be served in this turn */
	struct site *timed_next, **timed_prev; /* down, or waiting for its rate */
	bool timed_down;		       /* which of the two lists it is in */
	struct site *hungry_next,
	    **hungry_prev;			/* no connection of the process's was left for it */
	uint8_t hungry;				/* in which of the lists */
	uint32_t domains, shares;		/* that name it */
	uint32_t ready, flying, waiting, slots; /* recipients, and connections */
	uint32_t closing, idling;		/* of its slots: asked to end, waiting for a job */
	uint32_t window;			/* connections that it is trusted with now */
	uint32_t cap;				/* and at most */
	uint32_t threshold;			/* up to it the window grows with each success */
	uint32_t grown;				/* successes since the window grew */
	uint32_t opened;			/* connections since it answered last */
	uint32_t failures;			/* rounds in a row that failed */
	int64_t served_us;			/* monotonic, of the last success; 0: never */
	int64_t failed_us;			/* of the last failure */
	int64_t shrunk_us;			/* when the window last shrank; 0: never */
	int64_t ours_since_us, ours_us;		/* faults of ours in a row: the first, the last */
	uint32_t ours;				/* and how many */
	uint64_t relayed, rate;			/* rate: messages a minute, 0: any */
	int64_t down_until_us;			/* monotonic; 0: it takes mail */
	int64_t next_send_us;			/* by its rate */
	bool local;				/* mailboxes of this machine */
	bool proven;				/* it answered since it failed last */
	uint32_t soon;				/* of its ready ones, those counted in ready_soon */
	int64_t job_us;				/* how long a job takes there, of late */
	char last_error[300];
};

/* The right to one connection of a worker to a site. */
struct slot {
	struct slot *idle_next, **idle_prev; /* in its site, while it waits for a job */
	struct slot *age_next, **age_prev;   /* among all that wait, oldest first */
	struct site *site;
	struct worker *worker;
	char *hop; /* owned; of its last job */
	int64_t idle_since_us;
	uint32_t number, jobs, sent; /* jobs: on their way; sent: over this connection */
	uint32_t wants;		     /* jobs that its worker has asked for and not got */
	bool closing;
};

/* Recipients of one message on their way over one slot. */
struct job {
	struct table_link link; /* by id */
	uint64_t id;
	struct slot *slot; /* NULL once the slot is gone */
	struct worker *worker;
	struct mail *mail;
	struct domain *domain; /* of the first recipient; held by its lane */
	char *hop;	       /* owned; the domain's when it began: NULL: in an earlier life */
	int64_t started_us;    /* monotonic; 0: in an earlier life */
	uint32_t count;
	bool failed; /* scheduler_failed() was told of it */
	bool told;   /* its worker, over a new channel: it still runs */
	struct recipient *recipients[];
};

/* A deliverer process. */
/* Which recipients a worker may report on whose job is not known. */
enum worker_claims {
	CLAIMS_NOTHING,
	CLAIMS_CRASHED, /* those that were in flight when a worker was given up */
	CLAIMS_ALL,	/* any that waits: jobs of a qmgr before this one */
};

/* workers.c has the picture of its states. */
struct worker {
	unsigned kind, instance;
	struct channel *channel; /* NULL while it is away */
	uint32_t slots;
	bool told;	   /* what it has in flight */
	bool choked;	   /* its channel is full: no jobs for it meanwhile */
	bool telling;	   /* of them, until it says that it is through */
	uint8_t claims;	   /* enum worker_claims */
	unsigned patience; /* ticks until it claims nothing any more, said or not */
	uint32_t life;	   /* another one for each of its channels */
	uint32_t pid;	   /* of the process that had the last channel; 0: it never said anything */
	/* Monotonic; 0: not so. */
	int64_t away_us;   /* since when its jobs wait for it to come back */
	int64_t choked_us; /* since when it is choked */
};

#endif
