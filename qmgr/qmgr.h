/* SPDX-License-Identifier: ISC */
/*
 * qmgr's own state, shared by its files:
 *   qmgr.c      main, peers, the loop's turn
 *   store.c     rounds of the queue's batches, and the threads around them
 *   door.c      intake: engines hand messages in
 *   import.c    the veredus command hands messages in
 *   delivery.c  jobs to workers, outcomes from them
 *   join.c      what is known of a domain when all have answered
 *   expand.c    others take a recipient's place
 *   workers.c   workers come and go
 *   report.c    what is owed to senders
 *   control.c   the control socket
 *   route.c     veredus route
 *   try.c       veredus route --connect
 *   policy.c    MTA-STS policies of domains, kept.c those that fetcher has on disk
 *   ageing.c    expiry and delay notices
 *   takeover.c  frozen logins
 *   tls_counts.c what limits has counted of TLS, for people
 */
#ifndef QMGR_QMGR_H
#define QMGR_QMGR_H

#include "daemon.h"
#include "envelope.h"
#include "mail.h"
#include "policy_find.h"
#include "pool.h"
#include "queue_id.h"
#include "scheduler.h"

/* Leases: a slow client keeps its id while others use up many ranges. */
enum { WORKERS_MAX = 128, ENGINES_MAX = 128, LEASES_MAX = 1024 };

/* qmgr's own bits among a recipient's flags on disk: what its envelope says of NOTIFY. */
enum {
	FLAG_NOTIFY_KNOWN = 0x80,
	FLAG_WANTS_SUCCESS = 0x10,
	FLAG_NO_FAILURE = 0x20,
	FLAG_NO_DELAY = 0x40,
};

struct round;
struct reports;
struct takeover;
struct tls_counts;
struct control_listener;
struct expansion;

/* A process that hands mail in. Outlives its channel: settled goes to whoever is there then. */
struct engine {
	unsigned kind, instance;
	struct channel *channel; /* NULL while it is away */
	struct {
		uint64_t first, count;
		uint8_t *used; /* a bit an id: it was submitted */
	} leases[LEASES_MAX];  /* ids that it may use; the oldest is forgotten first */
	unsigned lease_at;
	uint64_t forgotten;	/* ids below it may be of a lease that was forgotten */
	uint32_t life;		/* another one for each of its channels */
	uint32_t leases_wanted; /* ids asked for, not yet given */
	struct bytes stash;	/* a submit that did not fit into the batch, encoded */
	struct bytes doubts;	/* ids of in_doubt, u64 each, answered when all is loaded */
};

enum { IMPORTS_KNOWN = 256 };

/* An import that was taken. */
struct import_known {
	uint64_t key, id;
};

/* One connection of the veredus command. */
struct control {
	struct engine engine; /* first: door.c and store.c see it as one */
	uid_t uid;
	uint32_t
	    importing; /* its request that is under way, else 0; so long it outlives its channel */
	uint64_t file; /* the id whose body file it has and did not hand in yet, else 0 */
	uint64_t key;  /* of the import that is under way */
	/* The MTA-STS policy that route told last, and of which domain; owned, or NULL. */
	struct sts_policy *told;
	char told_of[256];
};

struct counters {
	uint64_t accepted, relayed, failed, reports;
};

struct qmgr {
	struct daemon *d;
	struct loop *loop;
	struct queue *queue;
	struct mails mails;
	struct scheduler *scheduler;
	struct pool *appender, *maintainer, *readers;
	/* Makes body files and drops them, in the order in which that was asked for: a file that is
	 * dropped before it is there would stay. */
	struct pool *bodies;

	/* store.c */
	struct round *filling, *flying;
	struct work append_work, maintain_work;
	struct monotime append_begin, append_end; /* of the last batch, or the one that flies */
	struct timer gather;			  /* before the next one goes */
	struct bytes removed; /* ids, u64 each, whose log line follows those of their reports */
	enum queue_result append_result;
	struct queue_batch *flying_batch;
	struct turn_end turn;
	bool maintaining, loaded, damage_seen;
	struct late *late, **late_end; /* outcomes that found no room in the batch */
	size_t late_count;

	/* door.c */
	struct engine engines[ENGINES_MAX];
	size_t engine_count;
	enum intake_state intake;
	bool congested; /* intake is paused */
	size_t burst;	/* messages that a commit sets free at once, the most of late */
	struct timer pace;

	/* delivery.c, workers.c */
	struct worker workers[WORKERS_MAX];
	size_t worker_count;
	struct channel *resolver, *bounce, *table, *fetcher;
	struct lookups *lookups; /* of table */
	struct table joins;	 /* domains about which not all have answered; by query */
	struct timer in_flight_limit;
	bool delivering;
	int64_t short_said_us; /* when too few descriptors were last warned of */

	/* policy.c */
	struct table policy_asks;
	struct kept *kept;	/* what fetcher has on disk */
	int64_t policy_said_us; /* when a fetcher that does not answer was last warned of */

	struct expansion *expansions; /* oldest first */
	struct reports *reports;
	struct takeover *takeover;
	struct tls_counts *tls_counts; /* NULL: limits was never there */
	struct timer tick, age;
	size_t age_at;
	int64_t clock_offset; /* wall time less monotonic time, us */
	unsigned ticks;
	struct counters counters;

	/* import.c: the last ones, in turn */
	struct import_known imports[IMPORTS_KNOWN];
	size_t imports_at;
	struct walltime started;
	int64_t oldest_wall; /* arrival of the oldest message, as ageing met it last */
	int64_t oldest_next;
	struct control_listener *listener;
	unsigned controls;
	struct route_query *routes; /* unanswered; at most one a control */
	struct try_query *tries;    /* the same */
	uint64_t last_route;
	struct timer drain;
	int64_t drain_until_us;
	bool draining;
};

/* -- store.c ---------------------------------------------------------------------- */

bool store_open(struct qmgr *q);
void store_close(struct qmgr *q);

/* Once a turn: seals and sends off what was gathered. */
void store_turn(struct qmgr *q);
void store_kick(struct qmgr *q); /* makes sure that there is such a turn */

/* A submit has been added: its verdict goes to the engine after the commit. */
void store_await_submit(struct qmgr *q, struct engine *e, struct mail *mail, uint64_t report);

/*
 * Records an outcome of a committed message. Never fails: what finds no room
 * waits for the next round, and store_congested() says so.
 */
void store_outcome(struct qmgr *q, const struct queue_outcome *o);

/*
 * A recipient enters the model in the state that its kind and flags say:
 * ready or waiting (DUE_US, 0: now), held, or owed a report.
 */
void recipient_enter(struct qmgr *q, struct recipient *r, struct text domain, int64_t due_us);

/* The job's outcomes were given to store_outcome(): say recorded once they are durable. */
void store_await_job(struct qmgr *q, struct worker *w, uint64_t job);

bool store_congested(const struct qmgr *q);

/* -- lease.c ------------------------------------------------------------------------ */

/* Gives the ids that were asked for, if they can be had now. */
void lease_give(struct qmgr *q, struct engine *e);
bool lease_holds(const struct engine *e, uint64_t id);
/* Notes that ID, of a lease that holds it, is submitted; false when it was before. */
bool lease_use(struct engine *e, uint64_t id);

/* -- door.c; bodies: door_body.c ---------------------------------------------------- */

void door_lease(struct channel *c, const struct message *m);
void door_submit(struct channel *c, const struct message *m);
void door_body_open(struct channel *c, const struct message *m);
void door_body_drop(struct channel *c, const struct message *m);
void door_in_doubt(struct channel *c, const struct message *m);
void door_in_doubt_end(struct channel *c, const struct message *m);
void door_peer(struct qmgr *q, struct channel *c);
void door_gone(struct qmgr *q, struct channel *c);
void door_round(struct qmgr *q);   /* after a commit: leases, stashes, pace */
void door_stashes(struct qmgr *q); /* what found no room is tried again */
void door_stashes_refuse(struct qmgr *q, enum queue_result why); /* there will be none */
void door_loaded(struct qmgr *q);				 /* answers doubts */
void door_pace(struct qmgr *q);					 /* pauses and resumes intake */
void door_took(struct qmgr *q, struct engine *e, uint64_t id);	 /* it is durable */
void door_refuse(struct engine *e, uint64_t id, enum queue_result why);
void door_body_refused(struct qmgr *q, uint64_t id); /* nothing names the file any more */
void door_body_remove(struct qmgr *q, struct engine *e, uint64_t id); /* the same, of an engine */
void door_state(struct qmgr *q); /* tells engines when intake's state changed */
bool door_over_limit(const struct qmgr *q, uint32_t recipients); /* with so many more */

/*
 * A message into the batch being filled, with the outcomes that its commit
 * carries. QUEUE_OK: *PUT is in the table, and its verdict goes to E after the
 * commit. Else as queue_add_message(), and nobody was told.
 */
enum queue_result door_put(struct qmgr *q, struct engine *e, const struct msg_submit *m,
			   const struct queue_outcome *settles, size_t settle_count,
			   struct mail **put);
/* Such outcomes in memory; delivery_release() reads them once the commit is through. */
void door_states(struct qmgr *q, struct mail *mail, const struct queue_outcome *o, size_t count);

/* -- import.c ------------------------------------------------------------------------ */

void import_open(struct channel *c, const struct message *m);
void import_drop(struct channel *c, const struct message *m);
void import_mail(struct channel *c, const struct message *m);
void import_gone(struct qmgr *q, struct control *control);	 /* its channel is; frees it */
void import_took(struct qmgr *q, struct engine *e, uint64_t id); /* it is durable */
void import_refuse(struct engine *e, enum queue_result why);

/* -- delivery.c ----------------------------------------------------------------------- */

/* Before store_open(): mails and the scheduler, which it fills. */
void delivery_init(struct qmgr *q);
void delivery_want(struct channel *c, const struct message *m);
void delivery_slot_done(struct channel *c, const struct message *m);
void delivery_job_back(struct channel *c, const struct message *m);
void delivery_site_is(struct channel *c, const struct message *m);

/* All have answered. */
void delivery_site_settle(struct qmgr *q, const struct msg_site_is *m);

/* -- join.c ---------------------------------------------------------------------------- */

/* The domain is asked for, or asked for again of another resolver. */
void join_begin(struct qmgr *q, const struct domain *d);
/* Resolver's answer; true: it waits for the others, or nobody waits for it. */
bool join_site_is(struct qmgr *q, const struct msg_site_is *m);
void join_looked_up(struct channel *c, const struct message *m);
void joins_init(struct qmgr *q); /* before any peer comes */
void joins_free(struct qmgr *q);
void joins_tick(struct qmgr *q); /* ends those that nobody waits for */

/* A message is durable: its recipients may go. Domains are read from the envelope. */
void delivery_release(struct qmgr *q, struct mail *mail, struct text envelope);

/* outcome.c: what became of a job, of whoever has it. */
void outcome_take(struct channel *c, const struct message *m);

/* A recipient's final outcome, or its being held: state is ENDING or HELD, and goes to disk. */
void recipient_finish(struct qmgr *q, struct recipient *r, enum queue_kind kind, uint8_t flags,
		      uint16_t code, struct text dsn, struct text text);

/* RFC 3464 section 2.3.7: a report names the last attempt, not the day on which we gave up. The
 * same with the time of that; 0: there was none, or it is not known. */
void recipient_finish_at(struct qmgr *q, struct recipient *r, enum queue_kind kind, uint8_t flags,
			 uint16_t code, struct text dsn, struct text text, struct walltime at);

/* Before the last reply, in the text of a recipient that expired: report.c takes it apart again. */
#define EXPIRED_TEXT "delivery time expired"
#define EXPIRED_LAST EXPIRED_TEXT "; last: "

/* Deferred, held, ... : its disk record without a change of state. */
void recipient_record(struct qmgr *q, struct recipient *r, enum queue_kind kind, uint16_t code,
		      struct text dsn, struct text text, int64_t due_us);

/* Of an address; what has none, or one that can't be, is for this host. */
struct text domain_of(const struct qmgr *q, struct text address);

/* Monotonic time to wall time and back, clamped to what a retry may take. */
struct walltime wall_of(const struct qmgr *q, int64_t mono_us);
int64_t mono_of(const struct qmgr *q, struct walltime wall);

/* A settled message leaves memory and disk. */
void mail_remove(struct qmgr *q, struct mail *mail);

/* -- expand.c ------------------------------------------------------------------------------ */

/* Of an outcome: those NUMBERS, which are RECIPIENT_ENDING, give way to what M adds for them.
 * `recorded` goes to W when that is durable. */
void expansion_add(struct qmgr *q, struct worker *w, const struct msg_outcome *m,
		   const uint32_t *numbers, uint32_t count);
void expansions_round(struct qmgr *q); /* no batch is in flight: what is ready goes into this one */
void expansions_committed(struct qmgr *q, bool durable); /* the batch in flight is, or is not */
void expansions_free(struct qmgr *q);			 /* when no thread reads any more */

/* -- workers.c ---------------------------------------------------------------------------- */

void workers_init(struct qmgr *q);
void workers_peer(struct qmgr *q, struct channel *c);
void workers_gone(struct qmgr *q, struct channel *c);
void workers_in_flight(struct channel *c, const struct message *m);
void workers_in_flight_end(struct channel *c, const struct message *m);
/* Before what a worker says over a channel is taken: is it the process that had the last one? */
void workers_heard(struct qmgr *q, struct worker *w, const struct channel *c);
/* Of a worker that claims a job unknown to us: can this recipient be in it? */
bool workers_may_have(const struct worker *w, struct mail *mail, uint32_t number);
void workers_loaded(struct qmgr *q); /* all of the queue is in memory */
/* Gives up those that are away, or read nothing; ends what they may claim. */
void workers_tick(struct qmgr *q);

/* -- report.c --------------------------------------------------------------------------- */

void reports_init(struct qmgr *q);
void reports_free(struct qmgr *q); /* but for what a thread reads for just now */
/* A recipient of it is owed a report: NOW, or when its other recipients are through, or a minute
 * later. */
void report_owe(struct qmgr *q, struct mail *mail, bool now);
void report_failed(struct channel *c, const struct message *m);
/* A message with this report id was taken in: the recipients that it settles, for its commit
 * record. */
size_t report_settles(struct qmgr *q, uint64_t report, const struct queue_outcome **outcomes);
bool report_known(const struct qmgr *q, uint64_t report); /* and not in a batch already */
void report_taken(struct qmgr *q, uint64_t report);	  /* it is in a batch now */
void report_committed(struct qmgr *q, uint64_t report, uint64_t id);
void report_refused(struct qmgr *q, uint64_t report);
void reports_tick(struct qmgr *q);
void reports_bounce_gone(struct qmgr *q);

/* -- ageing.c ---------------------------------------------------------------------------- */

void ageing_init(struct qmgr *q);
void ageing_hold_damaged(struct qmgr *q); /* once all is loaded, before anything is delivered */
void ageing_clock(struct qmgr *q);	  /* often: sees when the clock was set */

/* -- control.c ----------------------------------------------------------------------------- */

void control_listen(struct qmgr *q, int fd);
void control_gone(struct qmgr *q, struct channel *c);
void control_act(struct channel *c, const struct message *m);
void control_status(struct channel *c, const struct message *m);
void control_waits(struct channel *c, const struct message *m);

/* -- route.c ------------------------------------------------------------------------------- */

/* Why FOUND, a failure, lets no mail of that sender in. */
struct sender_found;
void sender_found_text(const struct sender_found *found, char *to, size_t size);
/* Of the address, or a bare domain, in lower case; else what is wrong with it. */
const char *route_domain(const struct qmgr *q, struct text t, char *domain, size_t size);
void route_ask(struct channel *c, const struct message *m);
void route_path_is(struct channel *c, const struct message *m);
void route_control_gone(struct qmgr *q, const struct channel *c);
void route_resolver_gone(struct qmgr *q);
bool route_policy_is(struct qmgr *q, const struct msg_sts_is *m); /* false: to no question here */
void route_fetcher(struct qmgr *q);				  /* it came, or went */
void route_tick(struct qmgr *q);

/* -- policy.c ------------------------------------------------------------------------------ */

/* The resolver is being asked for D: so is fetcher, where a policy of it would count. */
void policy_begin(struct qmgr *q, const struct domain *d);
/* The resolver's answer; true: it waits for fetcher's, and scheduler_site_is() follows. */
bool policy_site_is(struct qmgr *q, const struct msg_site_is *m);
void policy_is(struct channel *c, const struct message *m);
void policy_heard(struct channel *c, const struct message *m); /* the answer may take long */
void policy_fetcher(struct qmgr *q, struct channel *c);	       /* it came, or went (NULL) */
void policy_tick(struct qmgr *q);			       /* once a second is enough */

/* -- try.c --------------------------------------------------------------------------------- */

/* What route told of a domain holds when it is tried; takes over *STS. */
void try_remember(struct channel *control, const char *domain, struct sts_policy **sts);
void try_ask(struct channel *c, const struct message *m);
void try_probe_is(struct channel *c, const struct message *m);
void try_gone(struct qmgr *q, const struct channel *c); /* who asked, or was asked */

/* -- tls_counts.c -------------------------------------------------------------------------- */

void tls_counts_peer(struct qmgr *q, struct channel *limits);
void tls_counts_gone(struct qmgr *q, struct channel *c);
void tls_counts_ask(struct channel *c, const struct message *m);
void tls_counts_seen(struct channel *c, const struct message *m);

/* -- takeover.c ---------------------------------------------------------------------------- */

void takeover_init(struct qmgr *q);
void takeover_free(struct qmgr *q); /* before the mails go */
/* The channel to limits; and the end of that, or of one of the veredus command. */
void takeover_peer(struct qmgr *q, struct channel *c);
void takeover_gone(struct qmgr *q, struct channel *c);
void takeover_tick(struct qmgr *q); /* once a second is enough */

void takeover_frozen(struct channel *c, const struct message *m);
void takeover_act(struct channel *c, const struct message *m);
void takeover_settled(struct channel *c, const struct message *m);
void takeover_ask(struct channel *c, const struct message *m);

/* A receiver refused a recipient of it for good. */
void takeover_failed(struct qmgr *q, struct mail *mail);

/* Its submitter is frozen: what is not in flight is held now, the rest when it comes back. */
void takeover_hold(struct qmgr *q, struct mail *mail);

/* What its record says of a recipient that is held for that. `veredus user release` knows them by
 * the code, as it does those above a rate. */
#define FROZEN_DSN "4.7.1"
#define FROZEN_TEXT "the login is frozen"

/* -- qmgr.c -- */

/* Is it worth another look that its record was not at FROM? The cleaner may have moved it
 * meanwhile; else it is lost. */
static inline bool mail_moved(const struct mail *mail, const struct queue_location *from)
{
	return mail->location.generation != from->generation ||
	       mail->location.offset != from->offset;
}

/* After all handlers of a turn: new work goes out, then the batch. store_kick() makes sure of it.
 */
void qmgr_turn(struct qmgr *q);

static inline struct qmgr *qmgr_of(const struct channel *c)
{
	return daemon_of(c)->self;
}

static inline int64_t now_us(const struct qmgr *q)
{
	return loop_now(q->loop).us;
}

#endif
