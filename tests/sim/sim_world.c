/* SPDX-License-Identifier: ISC */
/* The simulator's world: name servers, workers and receivers, by chance or as a scenario's plan
 * says. */
#include "sim.h"

#include "must.h"

#include "mem.h"

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

struct task *sim_task_find(const struct sim *s, uint64_t job)
{
	struct table_link *l = table_first(&s->tasks, table_hash_number(&s->tasks, job));

	for (; l; l = table_again(l))
		if (ITEM_OF(l, struct task, link)->job == job)
			return ITEM_OF(l, struct task, link);
	return NULL;
}

void sim_task_free(struct sim *s, struct task *t)
{
	table_remove(&s->tasks, &t->link);
	free(t);
}

/* -- deliveries ------------------------------------------------------------------------------- */

static void face_ask(void *owner, const struct domain *d)
{
	struct sim *s = owner;

	s->queries = sim_grow(s->queries, s->query_count, &s->query_size, sizeof *s->queries);
	s->queries[s->query_count++] =
	    (struct query){d->query, (uint64_t)strtoul(d->name.data + 1, NULL, 10)};
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

	s->query_count = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t query = s->queries[i].query;
		char name[32];

		snprintf(name, sizeof name, "s%u", site_of(s, s->queries[i].domain));
		if (!s->plan && !s->recipe->calm && !sim_chance(s, 500) && !s->ending)
			scheduler_no_site(s->q.scheduler, query, !sim_chance(s, 4), 550,
					  text_of("5.4.4"), text_of("no such domain"), 30, s->now);
		else
			scheduler_site_is(s->q.scheduler, query, text_of(name), text_of(name),
					  (uint32_t)(30 + sim_chance(s, 600)), s->now);
	}
}

static void file_check(struct sim *s, uint64_t id)
{
	static char content[BOOK_LARGE_MAX];
	const struct disk *d = simdisk_disk(s->disk);
	int fd = -1;
	enum queue_result result = queue_body_open(s->q.queue, id, &fd);
	int64_t len = result == QUEUE_OK ? d->read(d->self, fd, content, sizeof content, 0) : -1;

	if (result == QUEUE_OK)
		d->close(d->self, fd);
	if (simdisk_stopped(s->disk))
		return;
	if (len < 0)
		book_break(&s->book, "a live message's body can't be read", id);
	else
		book_compare(&s->book, id, (struct text){content, (size_t)len});
}

static void content_check(struct sim *s, const struct mail *mail)
{
	struct queue_content c = {0};

	if (mail->body_in_file) {
		file_check(s, mail->id);
		return;
	}
	if (mail->content) {
		book_compare(&s->book, mail->id, mail->content->placed.body);
		return;
	}
	enum queue_result result = queue_read_message(s->q.queue, &mail->location, &c);

	if (simdisk_stopped(s->disk))
		return;
	if (result == QUEUE_OK)
		book_compare(&s->book, mail->id, c.body);
	else
		book_break(&s->book, "a live message can't be read", mail->id);
	queue_content_free(&c);
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

static void face_start(void *owner, struct job *job)
{
	struct sim *s = owner;
	struct task *t = mem_new(1, sizeof *t);

	must(job->count <= TASK_MAX);
	content_check(s, job->mail);
	t->job = job->id;
	t->mail = job->mail->id;
	t->slot = job->slot->number;
	t->site = (uint32_t)strtoul(job->slot->site->name.data + 1, NULL, 10);
	t->worker = job->worker->instance;
	for (; t->count < job->count; t->count++)
		t->recipients[t->count].number = job->recipients[t->count]->number;
	table_add(&s->tasks, &t->link, table_hash_number(&s->tasks, t->job));
	arrival_add(s, s->now + task_us(s, t), t->job);
}

static void face_close(void *owner, struct slot *slot)
{
	struct sim *s = owner;

	s->closes = sim_grow(s->closes, s->close_count, &s->close_size, sizeof *s->closes);
	s->closes[s->close_count++] = slot->number;
}

static void face_end(void *owner, struct recipient *r, const struct domain_verdict *v)
{
	sim_finish(owner, r, v->kind);
}

static void face_site(void *owner, const struct site *site, int64_t wait_us)
{
	struct sim *s = owner;

	(void)site;
	(void)wait_us;
	s->n.site_failures++;
}

static void face_up(void *owner, const struct site *site)
{
	(void)owner;
	(void)site;
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
	}
}

/* As qmgr's delivery.c does it. */
void sim_outcome_apply(struct sim *s, struct task *t, struct job *job)
{
	struct slot *slot = job->slot;
	bool relayed = false;
	int64_t due = 0;

	if (t->scope == SCOPE_SITE)
		scheduler_failed(s->q.scheduler, job, SCOPE_SITE, text_of("connection lost"),
				 s->now);
	for (uint32_t i = 0; i < t->count; i++) {
		struct recipient *r = mail_recipient(job->mail, t->recipients[i].number);
		enum outcome_kind kind = t->recipients[i].kind;

		if (!r || r->state != RECIPIENT_FLYING || r->job != job)
			continue;
		if (t->scope != SCOPE_SITE)
			r->attempts++;
		scheduler_outcome(s->q.scheduler, r, kind,
				  kind == OUTCOME_DEFERRED ? t->scope : SCOPE_NONE, s->now, &due);
		relayed |= kind == OUTCOME_RELAYED;
		if (kind != OUTCOME_DEFERRED) {
			sim_finish(s, r, kind == OUTCOME_RELAYED ? QUEUE_RELAYED : QUEUE_FAILED);
		} else if (t->scope != SCOPE_SITE) {
			s->n.deferred++;
			mail_drop_content(r->mail);
			if (!sim_wish(s, r))
				sim_record(s, r, QUEUE_DEFERRED, r->flags, due);
		} else {
			(void)sim_wish(s, r);
		}
	}
	scheduler_job_done(s->q.scheduler, job, relayed, s->now);
	if (slot && t->scope == SCOPE_SITE)
		scheduler_slot_done(s->q.scheduler, slot);
	else if (slot)
		scheduler_want(s->q.scheduler, slot, s->now);
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
			if (t->said && worker < WORKERS) {
				t->orphan = true; /* qmgr has the outcome already */
				continue;
			}
			for (uint32_t k = 0; k < t->count; k++) {
				if (!t->said && s->receivers[t->site].mood == TAKING &&
				    sim_chance(s, 2))
					book_taken(&s->book, t->mail, t->recipients[k].number);
				book_parted(&s->book, t->mail, t->recipients[k].number);
			}
			sim_task_free(s, t);
		}
}

void sim_worker_dies(struct sim *s, unsigned w)
{
	sim_tasks_die(s, w);
	scheduler_worker_died(s->q.scheduler, &s->workers[w], s->now);
}

void sim_deliveries(struct sim *s)
{
	while (s->event_count && s->events[0].at_us <= s->now) {
		struct task *t = sim_task_find(s, arrival_take(s));
		struct job *job = t ? scheduler_job(s->q.scheduler, t->job) : NULL;

		if (!t || t->said)
			continue;
		if (!s->plan && !s->recipe->calm && t->mail % POISON == 7 && sim_chance(s, 3) &&
		    !s->ending) {
			sim_worker_dies(s, t->worker);
			continue;
		}
		if (s->plan)
			task_planned(s, t);
		else
			task_verdict(s, t);
		t->said = true;
		if (job)
			sim_outcome_apply(s, t, job);
		sim_job_await(s, t->job);
	}
	for (size_t i = 0; i < s->close_count;) {
		struct slot *slot = scheduler_slot(s->q.scheduler, (uint32_t)s->closes[i]);

		if (slot && slot->jobs) {
			i++;
			continue;
		}
		if (slot)
			scheduler_slot_done(s->q.scheduler, slot);
		s->closes[i] = s->closes[--s->close_count];
	}
}

struct scheduler_face sim_face(struct sim *s)
{
	return (struct scheduler_face){.owner = s,
				       .ask = face_ask,
				       .start = face_start,
				       .close_slot = face_close,
				       .end = face_end,
				       .site_down = face_site,
				       .site_up = face_up};
}
