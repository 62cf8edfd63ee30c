/* SPDX-License-Identifier: ISC */
/*
 * qmgr: takes messages in, makes them safe, decides what goes where and when,
 * and records what became of it. The only writer of the queue folder. Parses
 * no mail and looks nothing up.
 */
#include "qmgr.h"

#include "kept.h"
#include "mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

static const struct daemon_row row = {
    .name = "qmgr",
    .kind = PEER_QMGR,
    .user = "veredus-qmgr",
    .root = JAIL_QUEUE,
    .capabilities = "",
    .system_calls =
	"openat mkdirat pwrite64 pwritev pread64 preadv lseek fsync fdatasync ftruncate "
	"fallocate renameat renameat2 unlinkat newfstatat fstat getdents64 flock fcntl dup "
	"clone clone3 set_robust_list rseq set_tid_address sched_yield sched_getaffinity "
	"prctl eventfd2 accept4 getsockopt geteuid",
    .peers = PEER_SMTPD | PEER_SUBMISSION | PEER_BOUNCE | PEER_RESOLVER | PEER_SMTP_CLIENT |
	     PEER_LIMITS | PEER_TABLE | PEER_FETCHER | PEER_LOCAL,
};

enum {
	TICK_MS = 100,
	RETRY_TICKS = 10,  /* between two tries to find room on a full disk */
	CLEAN_TICKS = 100, /* after which a segment that could not be freed is tried again */
	PUMP_JOBS = 256,   /* started in one turn */
	FETCHES_MAX = 256, /* messages being read from disk at once */
	DRAIN_LOOK_MS = 20,
	BATCH_MAPPING_BYTES = 1 << 20,
};

static void qmgr_tick(void *arg)
{
	struct qmgr *q = arg;

	timer_set(&q->tick, MILLISECONDS(TICK_MS));
	if (!q->queue)
		return; /* it could not be opened */
	scheduler_tick(q->scheduler, now_us(q));
	workers_tick(q);
	reports_tick(q);
	takeover_tick(q);
	joins_tick(q);
	policy_tick(q);
	route_tick(q);
	ageing_clock(q);
	bool urgent = q->intake == INTAKE_FULL || q->intake == INTAKE_BROKEN || !q->loaded;

	if (++q->ticks % (urgent ? RETRY_TICKS : CLEAN_TICKS) == 0)
		queue_retry(q->queue);
	store_kick(q);
}

static void qmgr_peer(struct daemon *d, struct channel *c)
{
	struct qmgr *q = d->self;

	switch (channel_peer(c)) {
	case PEER_SMTPD:
	case PEER_SUBMISSION:
		door_peer(q, c);
		break;
	case PEER_SMTP_CLIENT:
	case PEER_LOCAL:
		workers_peer(q, c);
		break;
	case PEER_RESOLVER:
		q->resolver = c;
		if (q->scheduler)
			scheduler_ask_again(q->scheduler);
		break;
	case PEER_BOUNCE:
		q->bounce = c;
		break;
	case PEER_TABLE:
		q->table = c;
		lookups_open(q->lookups, c);
		break;
	case PEER_LIMITS:
		takeover_peer(q, c);
		tls_counts_peer(q, c);
		break;
	case PEER_FETCHER:
		policy_fetcher(q, c);
		break;
	default:
		break;
	}
}

static void qmgr_gone(struct daemon *d, struct channel *c)
{
	struct qmgr *q = d->self;

	door_gone(q, c);
	try_gone(q, c);
	workers_gone(q, c);
	takeover_gone(q, c);
	tls_counts_gone(q, c);
	if (channel_peer(c) == PEER_CONTROL)
		control_gone(q, c);
	if (q->resolver == c) {
		q->resolver = NULL;
		route_resolver_gone(q);
	}
	if (q->table == c) {
		q->table = NULL;
		lookups_gone(q->lookups);
	}
	if (q->fetcher == c)
		policy_fetcher(q, NULL);
	if (q->bounce == c) {
		q->bounce = NULL;
		if (q->reports)
			reports_bounce_gone(q);
	}
}

static void qmgr_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	if (m->role == HANDLE_LISTEN_CONTROL)
		control_listen(d->self, fd);
	else if (m->role == HANDLE_POLICIES)
		kept_handle(((struct qmgr *)d->self)->kept, fd, m->index);
	else
		close(fd);
}

static void qmgr_warm_up(struct daemon *d)
{
	struct qmgr *q = mem_new(1, sizeof *q);

	/* Batches come and go among a million small records: in mappings of their own they leave no
	 * holes. */
	mallopt(M_MMAP_THRESHOLD, BATCH_MAPPING_BYTES);
	d->self = q;
	q->d = d;
	q->loop = d->loop;
	q->intake = INTAKE_CLOSED;
	q->started = loop_wall(q->loop);
	takeover_init(q);
	joins_init(q);
	q->kept = kept_new(q);
	timer_init(&q->tick, q->loop, qmgr_tick, q);
}

static void qmgr_start(struct daemon *d)
{
	struct qmgr *q = d->self;

	reports_init(q);
	delivery_init(q);
	if (!store_open(q)) {
		loop_stop(q->loop);
		return;
	}
	ageing_init(q);
	timer_set(&q->tick, (struct duration){0});
}

static void qmgr_reload(struct daemon *d)
{
	struct qmgr *q = d->self;

	scheduler_configure(q->scheduler, d->config);
}

/* Drained: nothing flies any more and all that is known is on disk. */
static void drain_look(void *arg)
{
	struct qmgr *q = arg;
	struct scheduler_figures f = scheduler_figures(q->scheduler);
	bool late = loop_now(q->loop).us >= q->drain_until_us;

	if (!late && (f.flying || q->flying || q->late || !queue_batch_empty(q->queue))) {
		timer_set(&q->drain, MILLISECONDS(DRAIN_LOOK_MS));
		store_kick(q);
		return;
	}
	daemon_drained(q->d, (uint32_t)f.flying);
}

static void qmgr_drain(struct daemon *d, struct duration limit)
{
	struct qmgr *q = d->self;

	q->draining = true;
	scheduler_allow(q->scheduler, false);
	q->drain_until_us = now_us(q) + limit.us;
	timer_init(&q->drain, q->loop, drain_look, q);
	timer_set(&q->drain, (struct duration){0});
	store_kick(q);
}

/* After all handlers of a turn: new work goes out, then the batch. */
void qmgr_turn(struct qmgr *q)
{
	/* What could not be recorded is not begun. */
	bool busy = store_congested(q) || pool_pending(q->readers) > FETCHES_MAX ||
		    q->intake == INTAKE_BROKEN;

	if (!busy && scheduler_pump(q->scheduler, now_us(q), PUMP_JOBS))
		timer_set(&q->tick, (struct duration){0});
	store_turn(q);
	door_pace(q);
}

#define ENGINES_SERVED (PEER_SMTPD | PEER_SUBMISSION)
#define DELIVERERS (PEER_SMTP_CLIENT | PEER_LOCAL)

static const struct serve serves[] = {
    {MSG_lease, ENGINES_SERVED, door_lease},
    {MSG_submit, ENGINES_SERVED, door_submit},
    {MSG_body_open, ENGINES_SERVED, door_body_open},
    {MSG_body_drop, ENGINES_SERVED, door_body_drop},
    {MSG_in_doubt, ENGINES_SERVED, door_in_doubt},
    {MSG_in_doubt_end, ENGINES_SERVED, door_in_doubt_end},
    {MSG_want, DELIVERERS, delivery_want},
    {MSG_outcome, DELIVERERS, outcome_take},
    {MSG_slot_done, DELIVERERS, delivery_slot_done},
    {MSG_job_back, PEER_SMTP_CLIENT, delivery_job_back},
    {MSG_in_flight, DELIVERERS, workers_in_flight},
    {MSG_in_flight_end, DELIVERERS, workers_in_flight_end},
    {MSG_site_is, PEER_RESOLVER, delivery_site_is},
    {MSG_path_is, PEER_RESOLVER, route_path_is},
    {MSG_looked_up, PEER_TABLE, join_looked_up},
    {MSG_sts_is, PEER_FETCHER, policy_is},
    {MSG_sts_heard, PEER_FETCHER, policy_heard},
    {MSG_report_failed, PEER_BOUNCE, report_failed},
    {MSG_frozen, PEER_LIMITS, takeover_frozen},
    {MSG_login_settled, PEER_LIMITS, takeover_settled},
    {MSG_login_act, PEER_CONTROL, takeover_act},
    {MSG_logins_ask, PEER_CONTROL, takeover_ask},
    {MSG_tls_counts_ask, PEER_CONTROL, tls_counts_ask},
    {MSG_tls_counts_seen, PEER_LIMITS, tls_counts_seen},
    {MSG_act, PEER_CONTROL, control_act},
    {MSG_status_ask, PEER_CONTROL, control_status},
    {MSG_waits_ask, PEER_CONTROL, control_waits},
    {MSG_route_ask, PEER_CONTROL, route_ask},
    {MSG_try_ask, PEER_CONTROL, try_ask},
    {MSG_probe_is, PEER_SMTP_CLIENT, try_probe_is},
    {MSG_import, PEER_CONTROL, import_mail},
    {MSG_import_open, PEER_CONTROL, import_open},
    {MSG_import_drop, PEER_CONTROL, import_drop},
    {MSG_NONE, 0, NULL},
};

static const struct daemon_face face = {
    .warm_up = qmgr_warm_up,
    .start = qmgr_start,
    .reload = qmgr_reload,
    .handle = qmgr_handle,
    .peer = qmgr_peer,
    .gone = qmgr_gone,
    .drain = qmgr_drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
