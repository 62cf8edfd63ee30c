/* SPDX-License-Identifier: ISC */
/*
 * Workers come and go: what they tell of jobs in flight when a channel is
 * new, and what becomes of their jobs when it is gone.
 *
 *   state              channel  told  telling  claims       away_us
 *   not there          NULL     -     -        -            0
 *   new channel        yes      no    yes      all/crashed  as before
 *   late: after 5 s    yes      no*   yes      nothing      0 (AWAY_US is shorter)
 *   at work            yes      yes   no       nothing      0
 *   away               NULL     -     -        -            since when
 *
 *   told      it gets jobs. (*) When qmgr starts, those who are late are given jobs all the same.
 *   telling   it may say in_flight: from the beginning of a channel to in_flight_end. What one
 *             that is late says there is read, and claims nothing.
 *   claims    what it may report on though no job of ours says so. All that waits when the channel
 *             is its first or this qmgr has not begun; else only who was in flight when a worker
 *             was given up, for it may have been this one. Never for longer than CLAIM_TICKS.
 *   away_us   the channel broke, the process (pid) perhaps not: its jobs wait AWAY_US for it, then
 *             they go back and count as crashed.
 *   life      counts channels, ends too: who waits for a commit to answer over one channel must
 *             not answer over the next.
 */
#include "qmgr.h"

#include "mem.h"

#include <stdlib.h>

enum {
	IN_FLIGHT_WAIT_S = 5,
	CLAIM_TICKS = 50, /* the same in ticks: after a pause of the machine nobody is late */
	AWAY_US = 3 * 1000 * 1000, /* for a new channel: of its own, or of its successor */
	CHOKED_US = 60 * 1000 * 1000,
};

static void may_deliver(struct qmgr *q)
{
	scheduler_allow(q->scheduler, q->delivering && !q->draining);
	store_kick(q);
}

/* Its jobs go back; who was in flight there at three such ends is held. */
static void worker_lost(struct qmgr *q, struct worker *w)
{
	w->away_us = 0;
	w->pid = 0;
	scheduler_worker_died(q->scheduler, w, now_us(q));
}

/*
 * The first word over a new channel. A channel that ended while both processes live must not
 * make jobs go out twice: the same process tells what it has, as it would tell a new qmgr.
 */
void workers_heard(struct qmgr *q, struct worker *w, const struct channel *c)
{
	if (w->away_us && w->pid != channel_peer_pid(c))
		worker_lost(q, w);
	w->pid = channel_peer_pid(c);
}

bool workers_may_have(const struct worker *w, struct mail *mail, uint32_t number)
{
	const struct recipient *r = mail_recipient(mail, number);

	return w->claims == CLAIMS_ALL || (w->claims == CLAIMS_CRASHED && r && r->crashes);
}

void workers_in_flight(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct worker *w = daemon_peer_state(c);
	struct mail *mail = mail_find(&q->mails, m->in_flight.id);
	struct wire_list list = m->in_flight.recipients;
	uint32_t *numbers, count = 0;
	struct rec_number n;

	if (!w->telling) {
		channel_end(c, "told of jobs in flight out of phase");
		return;
	}
	workers_heard(q, w, c);
	struct job *job = scheduler_job(q->scheduler, m->in_flight.job);

	if (job && job->worker == w && job->mail == mail)
		job->told = w->away_us != 0;
	if (!mail || job || !w->claims)
		return;
	numbers = mem_new(list.count, sizeof *numbers);
	while (list_next_number(&list, &n))
		if (workers_may_have(w, mail, n.number))
			numbers[count++] = n.number;
	scheduler_adopt(q->scheduler, w, m->in_flight.job, mail, numbers, count);
	free(numbers);
}

static void workers_begin(struct qmgr *q)
{
	bool all = true;

	for (size_t i = 0; i < q->worker_count; i++)
		/* Also one whose channel broke before it had told: it, or who comes after it, has 5
		 * s. */
		all &= q->workers[i].told;
	if (q->delivering || !q->loaded || !(all && q->worker_count))
		return;
	q->delivering = true;
	timer_clear(&q->in_flight_limit);
	may_deliver(q);
}

static void in_flight_late(void *arg)
{
	struct qmgr *q = arg;

	if (!q->loaded) {
		timer_set(&q->in_flight_limit, SECONDS(IN_FLIGHT_WAIT_S));
		return;
	}
	for (size_t i = 0; i < q->worker_count; i++)
		q->workers[i].told = true;
	workers_begin(q);
	if (!q->delivering) /* there is none yet */
		timer_set(&q->in_flight_limit, SECONDS(IN_FLIGHT_WAIT_S));
}

void workers_in_flight_end(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct worker *w = daemon_peer_state(c);

	(void)m;
	workers_heard(q, w, c);
	if (w->away_us)
		scheduler_worker_back(q->scheduler, w, now_us(q));
	w->away_us = 0;
	w->told = true;
	w->telling = false;
	w->claims = CLAIMS_NOTHING;
	workers_begin(q);
	store_kick(q);
}

void workers_loaded(struct qmgr *q)
{
	for (size_t i = 0; i < q->worker_count; i++) {
		q->workers[i].patience = CLAIM_TICKS;
		if (q->workers[i].channel)
			channel_resume(q->workers[i].channel);
	}
	workers_begin(q);
}

void workers_init(struct qmgr *q)
{
	timer_init(&q->in_flight_limit, q->loop, in_flight_late, q);
	timer_set(&q->in_flight_limit, SECONDS(IN_FLIGHT_WAIT_S));
}

void workers_peer(struct qmgr *q, struct channel *c)
{
	struct worker *w = NULL;

	for (size_t i = 0; i < q->worker_count; i++)
		if (q->workers[i].kind == channel_peer(c) &&
		    q->workers[i].instance == channel_instance(c))
			w = &q->workers[i];
	if (!w && q->worker_count == WORKERS_MAX) {
		channel_end(c, "is one worker too many");
		return;
	}
	if (!w) {
		w = &q->workers[q->worker_count++];
		w->kind = channel_peer(c);
		w->instance = channel_instance(c);
	}
	w->channel = c;
	w->told = false;
	w->telling = true;
	/* Jobs of a qmgr before this one are its own to report, once. */
	w->claims = !q->delivering || !w->life ? CLAIMS_ALL : CLAIMS_CRASHED;
	w->patience = CLAIM_TICKS;
	w->life++;
	daemon_set_peer_state(c, w);
	if (q->scheduler)
		scheduler_set_workers(q->scheduler, q->workers, q->worker_count);
	if (!q->loaded)
		channel_pause(c); /* what it tells is about messages that must be known first */
}

static void worker_away(struct qmgr *q, struct worker *w)
{
	/* One that never told what it has, or that stops with us, does not come back. */
	if (!w->pid || q->draining) {
		worker_lost(q, w);
	} else {
		scheduler_worker_away(q->scheduler, w);
		if (!w->away_us)
			w->away_us = now_us(q);
	}
	may_deliver(q);
}

void workers_gone(struct qmgr *q, struct channel *c)
{
	for (size_t i = 0; i < q->worker_count; i++) {
		if (q->workers[i].channel != c)
			continue;
		struct worker *w = &q->workers[i];

		w->channel = NULL;
		w->life++;
		w->choked = false;
		if (q->scheduler)
			worker_away(q, w);
	}
}

void workers_tick(struct qmgr *q)
{
	for (size_t i = 0; i < q->worker_count; i++) {
		struct worker *w = &q->workers[i];

		/* It could settle whatever waits, as long as it keeps in_flight_end back. */
		if (q->loaded && w->patience && !--w->patience)
			w->claims = CLAIMS_NOTHING;
		if (w->away_us && now_us(q) - w->away_us >= AWAY_US)
			worker_lost(q, w);
		/* Sites that have their connections there would wait for ever. */
		if (w->choked && w->channel && now_us(q) - w->choked_us >= CHOKED_US)
			channel_end(w->channel, "does not read");
	}
}
