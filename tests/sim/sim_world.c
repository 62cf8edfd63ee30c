/* SPDX-License-Identifier: ISC */
/* The simulator's world: name servers, workers and receivers, by chance or as a scenario's plan
 * says. */
#include "sim.h"

#include "mem.h"
#include "must.h"

#include <stdio.h>
#include <stdlib.h>

/* -- events: a heap by time --------------------------------------------------------- */

static void arrival_add(struct sim *s, int64_t at_us, uint64_t job)
{
	s->events = sim_grow(s->events, s->event_count, &s->event_size, sizeof *s->events);
	size_t at = s->event_count++;

	for (; at && s->events[(at - 1) / 2].at_us > at_us; at = (at - 1) / 2)
		s->events[at] = s->events[(at - 1) / 2];
	s->events[at] = (struct arrival){at_us, job};
}

static uint64_t arrival_take(struct sim *s)
{
	uint64_t job = s->events[0].job;
	struct arrival last = s->events[--s->event_count];
	size_t at = 0;

	for (size_t child; (child = 2 * at + 1) < s->event_count; at = child) {
		if (child + 1 < s->event_count &&
		    s->events[child + 1].at_us < s->events[child].at_us)
			child++;
		if (last.at_us <= s->events[child].at_us)
			break;
		s->events[at] = s->events[child];
	}
	s->events[at] = last;
	return job;
}

static struct task *task_find(const struct sim *s, uint64_t job)
{
	struct table_link *l = table_first(&s->tasks, table_hash_number(&s->tasks, job));

	for (; l; l = table_again(l))
		if (ITEM_OF(l, struct task, link)->job == job)
			return ITEM_OF(l, struct task, link);
	return NULL;
}

static void task_free(struct sim *s, struct task *t)
{
	table_remove(&s->tasks, &t->link);
	free(t);
}

/* "d17.example", "s17" */
static uint64_t number_of(struct text name)
{
	uint64_t n = 0;

	for (size_t i = 1; i < name.len && name.data[i] >= '0' && name.data[i] <= '9'; i++)
		n = n * 10 + (uint64_t)(name.data[i] - '0');
	return n;
}

/* -- the resolver ----------------------------------------------------------------------------- */

void sim_asked(struct sim *s, const struct msg_site_ask *m)
{
	s->queries = sim_grow(s->queries, s->query_count, &s->query_size, sizeof *s->queries);
	s->queries[s->query_count++] = (struct query){m->query, number_of(m->target)};
	s->n.questions++;
}

static uint32_t site_of(struct sim *s, uint64_t domain)
{
	if (s->plan)
		return s->plan->site(s, domain);
	must(domain < DOMAINS);
	return s->site_of_domain[domain];
}

void sim_answer_queries(struct sim *s)
{
	size_t count = s->query_count;
	struct query *queries = s->queries;

	/* Answers make new questions. */
	s->queries = NULL;
	s->query_count = s->query_size = 0;
	for (size_t i = 0; i < count; i++) {
		char name[32];
		struct message m = {.type = MSG_site_is, .site_is = {.query = queries[i].query}};
		struct msg_site_is *a = &m.site_is;

		snprintf(name, sizeof name, "s%u", site_of(s, queries[i].domain));
		if (!s->plan && !s->recipe->calm && !sim_chance(s, 500) && !s->ending) {
			a->verdict = sim_chance(s, 4) ? HOP_TEMPORARY : HOP_PERMANENT;
			a->code = 550;
			a->dsn = text_of("5.4.4");
			a->reason = text_of("no such domain");
			a->lifetime_s = 30;
		} else {
			a->verdict = HOP_FOUND;
			a->site = a->hop = text_of(name);
			a->lifetime_s = (uint32_t)(30 + sim_chance(s, 600));
		}
		delivery_site_is(sim_channel(&s->resolver), &m);
	}
	free(queries);
}

void sim_world_changes(struct sim *s)
{
	uint64_t *random = &s->world_random;

	for (uint32_t i = 0; i < SITES; i++) {
		struct receiver *r = &s->receivers[i];

		if (s->ending || s->recipe->calm) {
			r->mood = TAKING;
			continue;
		}
		if (r->until_us > s->now)
			continue;
		uint64_t dice = fault_chance(random, 100);

		r->mood = dice < 60   ? TAKING
			  : dice < 75 ? DEFERRING
			  : dice < 85 ? REFUSING
			  : dice < 93 ? FLAKY
				      : DEAD;
		/* One in ten that die do so for a day. */
		r->until_us = s->now + (r->mood == DEAD && !fault_chance(random, 10)
					    ? 86400LL * SECOND
					    : (int64_t)fault_chance(random, 600) * SECOND);
	}
	if (!s->recipe->calm && !fault_chance(random, 10))
		s->site_of_domain[fault_chance(random, DOMAINS)] =
		    (uint32_t)fault_chance(random, SITES);
}

/* How long the receiver takes. */
static int64_t task_us(struct sim *s, const struct task *t)
{
	static const int64_t latencies[MOODS] = {100000, 150000, 100000, 300000, 30 * SECOND};

	if (s->plan)
		return s->plan->takes_us(s, t->site);
	return 1000 + (int64_t)sim_chance(s, (uint64_t)latencies[s->receivers[t->site].mood]);
}

static void content_check(struct sim *s, const struct msg_job *m, int fd)
{
	static char content[BOOK_LARGE_MAX];
	const struct disk *d = simdisk_disk(s->disk);
	struct text body = m->body;

	if (fd >= 0) {
		int64_t len = d->read(d->self, fd, content, sizeof content, 0);

		if (simdisk_stopped(s->disk))
			return;
		body = (struct text){content, len < 0 ? 0 : (size_t)len};
	}
	if (body.len != m->body_length)
		book_break(&s->book, "a body that is not as long as was said", m->id);
	if (!text_equals(m->prelude, sim_prelude().data))
		book_break(&s->book, "another header", m->id);
	book_compare(&s->book, m->id, body);
}

void sim_job(struct sim *s, unsigned worker, const struct msg_job *m, int fd)
{
	struct task *t = mem_new(1, sizeof *t);
	struct wire_list list = m->recipients;
	struct rec_job_recipient r;

	must(m->recipients.count <= TASK_MAX);
	content_check(s, m, fd);
	if (m->tls != sim_tls(m->id))
		book_break(&s->book, "a job that forgot what its sender asked for", m->id);
	t->job = m->job;
	t->mail = m->id;
	t->slot = m->slot;
	t->site = (uint32_t)number_of(m->site);
	t->worker = worker;
	while (list_next_job_recipient(&list, &r))
		t->recipients[t->count++].number = r.number;
	table_add(&s->tasks, &t->link, table_hash_number(&s->tasks, t->job));
	arrival_add(s, s->now + task_us(s, t), t->job);
}

void sim_recorded(struct sim *s, uint64_t job)
{
	struct task *t = task_find(s, job);

	if (!t || !t->sent)
		book_break(&s->book, "recorded what nobody reported", job);
	else
		task_free(s, t);
}

void sim_slot_closes(struct sim *s, unsigned worker, uint32_t slot)
{
	s->closes = sim_grow(s->closes, s->close_count, &s->close_size, sizeof *s->closes);
	s->closes[s->close_count++] = (struct sim_close){worker, slot};
}

/* As the plan says: the site takes all, or nothing. */
static void task_planned(struct sim *s, struct task *t)
{
	bool dead = s->plan->dead(s, t->site);

	t->scope = dead ? SCOPE_SITE : SCOPE_NONE;
	for (uint32_t i = 0; i < t->count; i++) {
		t->recipients[i].kind = dead ? OUTCOME_DEFERRED : OUTCOME_RELAYED;
		if (dead)
			continue;
		book_taken(&s->book, t->mail, t->recipients[i].number);
		s->n.taken++;
		s->plan->taken(s, t->mail, t->site);
	}
}

/* The receiver makes up its mind. */
static void task_verdict(struct sim *s, struct task *t)
{
	struct receiver *r = &s->receivers[t->site];
	bool broken = r->mood == DEAD || (r->mood == FLAKY && !sim_chance(s, 4));

	t->scope = broken ? SCOPE_SITE : SCOPE_NONE;
	for (uint32_t i = 0; i < t->count; i++) {
		uint64_t dice = sim_chance(s, 100);
		enum outcome_kind kind = OUTCOME_RELAYED;

		if (s->recipe->calm)
			dice = 99;
		if (broken || dice < (r->mood == DEFERRING ? 60 : 2))
			kind = OUTCOME_DEFERRED;
		else if (dice < (r->mood == REFUSING ? 50 : 4))
			kind = OUTCOME_FAILED;
		t->recipients[i].kind = kind;
		if (kind == OUTCOME_RELAYED) {
			book_taken(&s->book, t->mail, t->recipients[i].number);
			s->n.taken++;
		} else if (kind == OUTCOME_DEFERRED && !broken) {
			t->scope = SCOPE_RECIPIENT;
		}
		s->n.deferred += kind == OUTCOME_DEFERRED && !broken;
		s->n.failed += kind == OUTCOME_FAILED;
	}
}

/* -- workers ---------------------------------------------------------------------------------- */

static struct channel *worker_channel(struct sim *s, unsigned worker)
{
	return sim_channel(&s->workers[worker].channel);
}

static void outcome_send(struct sim *s, struct task *t)
{
	struct bytes items = {0};
	struct message m = {.type = MSG_outcome,
			    .outcome = {.slot = t->slot,
					.job = t->job,
					.id = t->mail,
					.scope = (uint8_t)t->scope,
					.relay = text_of("mx.example[192.0.2.1]:25")}};

	for (uint32_t i = 0; i < t->count; i++) {
		enum outcome_kind kind = t->recipients[i].kind;
		bool good = kind == OUTCOME_RELAYED, later = kind == OUTCOME_DEFERRED;

		rec_outcome_recipient_encode(&items,
					     &(struct rec_outcome_recipient){
						 .number = t->recipients[i].number,
						 .kind = (uint8_t)kind,
						 .code = good	 ? 250
							 : later ? 450
								 : 550,
						 .dsn = text_of(good	? "2.0.0"
								: later ? "4.2.1"
									: "5.1.1"),
						 .reply = text_of(good	  ? "250 2.0.0 taken"
								  : later ? "450 4.2.1 later"
									  : "550 5.1.1 nobody")});
	}
	m.outcome.recipients = (struct wire_list){t->count, bytes_text(&items)};
	t->sent = true;
	outcome_take(worker_channel(s, t->worker), &m);
	bytes_free(&items);
}

/* Its connection is free for the next one, or broken. */
static void slot_goes_on(struct sim *s, const struct task *t, uint32_t slot)
{
	struct message want = {.type = MSG_want, .want = {slot}};
	struct message done = {.type = MSG_slot_done, .slot_done = {slot, 0}};

	if (t->scope == SCOPE_SITE)
		delivery_slot_done(worker_channel(s, t->worker), &done);
	else
		delivery_want(worker_channel(s, t->worker), &want);
}

static void task_ends(struct sim *s, struct task *t)
{
	struct task copy = *t; /* it may be confirmed at once */

	if (s->plan)
		task_planned(s, t);
	else
		task_verdict(s, t);
	t->said = true;
	copy.scope = t->scope;
	if (!s->workers[t->worker].up)
		return;
	outcome_send(s, t);
	slot_goes_on(s, &copy, copy.slot);
}

/* Tasks of one worker (or of all) die; their receivers may have taken the mail at that very moment.
 */
void sim_tasks_die(struct sim *s, unsigned worker)
{
	for (size_t i = 0; i < s->tasks.size; i++)
		for (struct table_link *l = s->tasks.slots[i], *next; l; l = next) {
			struct task *t = ITEM_OF(l, struct task, link);

			next = l->next;
			if (worker < WORKERS && t->worker != worker)
				continue;
			if (t->sent && worker < WORKERS) {
				t->orphan = true; /* qmgr has the outcome already */
				continue;
			}
			for (uint32_t k = 0; k < t->count; k++) {
				if (!t->said && s->receivers[t->site].mood == TAKING &&
				    sim_chance(s, 2))
					book_taken(&s->book, t->mail, t->recipients[k].number);
				book_parted(&s->book, t->mail, t->recipients[k].number);
			}
			task_free(s, t);
		}
	for (unsigned i = 0; i < WORKERS; i++)
		if (worker == i || worker == WORKERS)
			s->workers[i].channel.pid++;
}

static void worker_gone(struct sim *s, unsigned worker, uint64_t most_us)
{
	struct sim_worker *w = &s->workers[worker];

	w->up = false;
	w->back_us = s->now + (int64_t)sim_chance(s, most_us);
	for (size_t i = 0; i < s->close_count;)
		if (s->closes[i].worker == worker)
			s->closes[i] = s->closes[--s->close_count];
		else
			i++;
	workers_gone(&s->q, sim_channel(&w->channel));
}

void sim_worker_dies(struct sim *s, unsigned worker)
{
	if (!s->workers[worker].up)
		return;
	sim_tasks_die(s, worker);
	worker_gone(s, worker, 5 * SECOND);
}

/* Master gives both a new one at once. */
void sim_worker_cut(struct sim *s, unsigned worker)
{
	if (!s->workers[worker].up)
		return;
	for (size_t i = 0; i < s->tasks.size; i++)
		for (struct table_link *l = s->tasks.slots[i]; l; l = l->next) {
			struct task *t = ITEM_OF(l, struct task, link);

			if (t->worker == worker && !t->orphan)
				t->sent = false;
		}
	worker_gone(s, worker, 2 * SECOND);
}

/* What it has in flight, then what it was not told to be durable, then that this was all. */
static void worker_tells(struct sim *s, unsigned worker)
{
	struct message end = {.type = MSG_in_flight_end};

	for (int outcomes = 0; outcomes < 2; outcomes++)
		for (size_t i = 0; i < s->tasks.size; i++)
			for (struct table_link *l = s->tasks.slots[i]; l; l = l->next) {
				struct task *t = ITEM_OF(l, struct task, link);
				struct bytes items = {0};
				struct message m = {
				    .type = MSG_in_flight,
				    .in_flight = {.slot = t->slot, .job = t->job, .id = t->mail}};

				if (t->worker != worker || t->orphan || t->said != outcomes)
					continue;
				if (outcomes) {
					outcome_send(s, t);
					continue;
				}
				for (uint32_t k = 0; k < t->count; k++)
					rec_number_encode(
					    &items, &(struct rec_number){t->recipients[k].number});
				m.in_flight.recipients =
				    (struct wire_list){t->count, bytes_text(&items)};
				workers_in_flight(worker_channel(s, worker), &m);
				bytes_free(&items);
			}
	workers_in_flight_end(worker_channel(s, worker), &end);
	s->workers[worker].told = true;
}

static void worker_connects(struct sim *s, unsigned worker)
{
	struct sim_worker *w = &s->workers[worker];

	w->up = true;
	w->told = false;
	workers_peer(&s->q, sim_channel(&w->channel));
}

void sim_workers_tell(struct sim *s)
{
	for (unsigned i = 0; i < WORKERS; i++)
		if (s->workers[i].up && !s->workers[i].told && !s->workers[i].channel.paused)
			worker_tells(s, i);
}

/* Those who reported what a dead one had done are gone as well. */
static void orphans_end(struct sim *s)
{
	for (size_t i = 0; i < s->tasks.size; i++)
		for (struct table_link *l = s->tasks.slots[i], *next; l; l = next) {
			struct task *t = ITEM_OF(l, struct task, link);

			next = l->next;
			t->sent = false;
			if (!t->orphan)
				continue;
			for (uint32_t k = 0; k < t->count; k++)
				book_parted(&s->book, t->mail, t->recipients[k].number);
			task_free(s, t);
		}
}

void sim_workers_connect(struct sim *s)
{
	orphans_end(s);
	for (unsigned i = 0; i < WORKERS; i++) {
		s->workers[i].channel.sim = s;
		s->workers[i].channel.kind = PEER_SMTP_CLIENT;
		s->workers[i].channel.instance = i;
		s->workers[i].channel.pid += s->workers[i].channel.pid ? 0 : 100 + 100000 * i;
		s->workers[i].channel.paused = false;
		worker_connects(s, i);
	}
}

static void workers_turn(struct sim *s)
{
	for (unsigned i = 0; i < WORKERS; i++)
		if (!s->workers[i].up && s->workers[i].back_us <= s->now)
			worker_connects(s, i);
	sim_workers_tell(s);
}

static void slots_close(struct sim *s)
{
	for (size_t i = 0; i < s->close_count;) {
		uint32_t number = s->closes[i].slot;
		struct slot *slot = scheduler_slot(s->q.scheduler, number);
		struct message m = {.type = MSG_slot_done, .slot_done = {number, 0}};

		if (slot && slot->jobs) {
			i++;
			continue;
		}
		if (slot)
			delivery_slot_done(worker_channel(s, s->closes[i].worker), &m);
		s->closes[i] = s->closes[--s->close_count];
	}
}

void sim_deliveries(struct sim *s)
{
	workers_turn(s);
	while (s->event_count && s->events[0].at_us <= s->now) {
		struct task *t = task_find(s, arrival_take(s));

		if (!t || t->said)
			continue;
		if (!s->plan && !s->recipe->calm && t->mail % POISON == 7 && sim_chance(s, 3) &&
		    !s->ending && s->workers[t->worker].up)
			sim_worker_dies(s, t->worker);
		else
			task_ends(s, t);
	}
	slots_close(s);
}
