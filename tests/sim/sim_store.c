/* SPDX-License-Identifier: ISC */
/* The simulator's qmgr: senders' mail, outcomes and reports go to the queue in rounds, as store.c
 * does it. */
#include "sim.h"

#include "mem.h"
#include "must.h"

#include <stdio.h>
#include <stdlib.h>

/* -- outcomes on their way to disk ------------------------------------------------------ */

static void late_add(struct sim *s, const struct queue_outcome *o)
{
	struct late *late = mem_new(1, sizeof *late);
	struct queue_outcome_copy *c = &late->copy;

	c->outcome = *o;
	c->outcome.dsn = (struct text){c->dsn, text_copy(c->dsn, sizeof c->dsn, o->dsn)};
	c->outcome.text = (struct text){c->text, text_copy(c->text, sizeof c->text, o->text)};
	*s->late_end = late;
	s->late_end = &late->next;
	s->late_count++;
}

static void late_retry(struct sim *s)
{
	while (s->late && queue_add_outcome(s->queue, &s->late->copy.outcome) == QUEUE_OK) {
		struct late *late = s->late;

		s->late = late->next;
		if (!s->late)
			s->late_end = &s->late;
		s->late_count--;
		free(late);
	}
}

static void outcome_add(struct sim *s, const struct queue_outcome *o)
{
	if (s->late || queue_add_outcome(s->queue, o) != QUEUE_OK)
		late_add(s, o);
}

void sim_record(struct sim *s, struct recipient *r, enum queue_kind kind, uint8_t flags,
		int64_t next)
{
	r->kind = (uint8_t)kind;
	r->flags = flags;
	outcome_add(s, &(struct queue_outcome){
			   .id = r->mail->id,
			   .recipient = r->number,
			   .kind = kind,
			   .flags = flags,
			   .attempts = r->attempts,
			   .code = 250,
			   .dsn = text_of("2.0.0"),
			   .text = text_of("mx.example[192.0.2.1]:25 said: 250 2.0.0 taken"),
			   .at = {sim_wall(s)},
			   .next = {next}});
}

static void owe(struct sim *s, uint64_t id, uint32_t recipient)
{
	s->owed = sim_grow(s->owed, s->owed_count, &s->owed_size, sizeof *s->owed);
	s->owed[s->owed_count++] = (struct owed){id, recipient, s->now + 2 * SECOND};
}

/* Ends, held or failed: state is set, the record goes out. A report's own failure owes nothing. */
void sim_finish(struct sim *s, struct recipient *r, enum queue_kind kind)
{
	bool owes = kind == QUEUE_FAILED && !text_equals(r->mail->submitter->name, "bounce");

	s->n.failed += kind == QUEUE_FAILED;
	s->n.held += kind == QUEUE_HELD;
	if (kind == QUEUE_FAILED && !owes)
		book_dropped(&s->book, r->mail->id, r->number);
	r->state = kind == QUEUE_HELD ? RECIPIENT_HELD : owes ? RECIPIENT_OWED : RECIPIENT_ENDING;
	sim_record(s, r, kind, owes ? QUEUE_OWED_FAILURE : 0, 0);
	if (owes)
		owe(s, r->mail->id, r->number);
}

/* -- what the queue asks and tells --------------------------------------------------------- */

bool sim_on_placed(void *self, uint64_t id, const struct queue_location *location)
{
	struct sim *s = self;
	struct mail *mail = mail_find(&s->mails, id);

	if (mail)
		mail->location = *location;
	return mail != NULL;
}

struct queue_where sim_on_outcome(void *self, const struct queue_outcome *o, struct queue_where now,
				  bool moved, struct queue_where old)
{
	struct sim *s = self;
	struct mail *mail = mail_find(&s->mails, o->id);
	struct recipient *r = mail ? mail_recipient(mail, o->recipient) : NULL;

	if (!moved)
		book_recorded(&s->book, o->id, o->recipient, queue_settled(o->kind, o->flags));
	if (!r)
		return now;
	struct queue_where had = r->where;

	if (moved && (had.generation != old.generation || had.offset != old.offset))
		return now;
	r->where = now;
	if (!moved && o->kind == QUEUE_RELEASED)
		scheduler_hurry(s->scheduler, r, s->now);
	if (moved || !queue_settled(o->kind, o->flags))
		return had;
	if ((r->state == RECIPIENT_ENDING || r->state == RECIPIENT_OWED) &&
	    mail_settle(&s->mails, r)) {
		queue_message_forget(s->queue, &mail->location);
		mail_free(&s->mails, mail);
	}
	return had;
}

bool sim_on_locate(void *self, uint64_t id, struct queue_location *location)
{
	struct sim *s = self;
	struct mail *mail = mail_find(&s->mails, id);

	if (!mail || !mail->committed)
		return false;
	*location = mail->location;
	return true;
}

static void state_of(const struct sim *s, const struct recipient *r, struct queue_recipient *to)
{
	*to = (struct queue_recipient){.number = r->number,
				       .kind = (enum queue_kind)r->kind,
				       .flags = r->flags,
				       .attempts = r->attempts,
				       .where = r->where};
	if (r->state == RECIPIENT_WAITING)
		to->next = (struct walltime){r->due_us + s->wall_ahead};
}

uint32_t sim_on_open(void *self, uint64_t id, struct queue_recipient *open, uint32_t max)
{
	struct sim *s = self;
	struct mail *mail = mail_find(&s->mails, id);
	uint32_t n = 0;

	for (uint32_t i = 0; mail && i < mail->recipient_count && n < max; i++)
		if (mail->recipients[i].state != RECIPIENT_GONE)
			state_of(s, &mail->recipients[i], &open[n++]);
	return n;
}

bool sim_on_recipient(void *self, uint64_t id, uint32_t number, struct queue_recipient *state)
{
	struct sim *s = self;
	struct mail *mail = mail_find(&s->mails, id);
	struct recipient *r = mail ? mail_recipient(mail, number) : NULL;

	if (r)
		state_of(s, r, state);
	return r != NULL;
}

void sim_on_damage(void *self, const struct queue_damage *d)
{
	struct sim *s = self;

	book_break(&s->book, "damage was reported after a crash", d->id);
}

static int64_t mono_of(const struct sim *s, int64_t wall_us)
{
	int64_t wait = wall_us - sim_wall(s), longest = s->config->retry_longest.us * 2;

	return s->now + (wait > longest ? longest : wait);
}

void sim_on_entry(void *self, const struct queue_entry *e)
{
	struct sim *s = self;

	book_entry(&s->book, e);
	if (mail_find(&s->mails, e->id))
		return;
	struct mail *mail = mail_new(&s->mails, e->id, e->submitter, e->open_count);

	mail->arrival_wall = e->arrival.us;
	mail->location = e->location;
	mail->committed = true;
	for (uint32_t i = 0; i < e->open_count; i++)
		mail->recipients[i].number = e->open[i].number;
	for (uint32_t i = 0; i < e->open_count; i++) {
		const struct queue_recipient *o = &e->open[i];
		struct recipient *r = &mail->recipients[i];

		r->kind = (uint8_t)o->kind;
		r->flags = o->flags;
		r->attempts = o->attempts;
		r->where = o->where;
		if (o->kind == QUEUE_HELD) {
			r->state = RECIPIENT_HELD;
		} else if (o->kind == QUEUE_FAILED) {
			r->state = RECIPIENT_OWED;
			owe(s, e->id, o->number);
		} else {
			scheduler_add(s->scheduler, r, o->domain,
				      o->next.us ? mono_of(s, o->next.us) : 0, s->now);
		}
	}
}

/* -- senders --------------------------------------------------------------------------------- */

struct text sim_domain_name(char *to, size_t size, uint64_t domain)
{
	int n = snprintf(to, size, "d%llu.example", (unsigned long long)domain);

	return (struct text){to, (size_t)n};
}

uint64_t sim_domain(struct sim *s, uint64_t id, uint32_t recipient)
{
	return s->plan ? s->plan->domain(s, id) : book_domain(id, recipient) % DOMAINS;
}

static bool round_add(struct sim *s, struct queue_message *m, struct text *domains)
{
	char content[BOOK_CONTENT_MAX];
	struct queue_placed placed;

	m->body = (struct text){content, book_content(m->id, content)};
	m->envelope = text_of("envelope");
	m->prelude = text_of("Subject: x\r\n\r\n");
	m->arrival = (struct walltime){sim_wall(s)};
	m->domains = domains;
	book_sent(&s->book, m->id, m->recipient_count);
	enum queue_result result = queue_add_message(s->queue, m, &placed);

	if (result != QUEUE_OK) {
		book_refused(&s->book, m->id);
		s->n.full += result == QUEUE_FULL;
		s->n.refused++;
		return false;
	}
	struct mail *mail = mail_new(&s->mails, m->id, m->submitter, m->recipient_count);

	mail->arrival_wall = sim_wall(s);
	mail_keep_content(&s->mails, mail, queue_batch_filling(s->queue), &placed);
	struct round *r = &s->filling;

	r->mails = sim_grow(r->mails, r->mail_count, &r->mail_size, sizeof *r->mails);
	r->mails[r->mail_count++] = m->id;
	return true;
}

void sim_sender_sends(struct sim *s, bool really)
{
	uint64_t *random = &s->mail_random;
	uint64_t more = fault_chance(random, 4), recipients = fault_chance(random, 3);
	uint64_t network = fault_chance(random, 20);
	struct queue_message m = {.recipient_count = (uint32_t)(1 + (more ? 0 : recipients))};
	struct text domains[BOOK_RECIPIENTS];
	char names[BOOK_RECIPIENTS][32], submitter[32];

	if (!really || queue_ids_take(s->queue, 1, &m.id) != QUEUE_OK)
		return;
	snprintf(submitter, sizeof submitter, "net:192.0.2.%llu", (unsigned long long)network);
	m.submitter = text_of(submitter);
	for (uint32_t i = 0; i < m.recipient_count; i++)
		domains[i] = sim_domain_name(names[i], sizeof names[i], sim_domain(s, m.id, i));
	round_add(s, &m, domains);
}

uint64_t sim_send(struct sim *s, struct text submitter)
{
	struct queue_message m = {.recipient_count = 1, .submitter = submitter};
	char name[32];
	struct text domain;

	if (queue_ids_take(s->queue, 1, &m.id) != QUEUE_OK)
		return 0;
	domain = sim_domain_name(name, sizeof name, sim_domain(s, m.id, 0));
	return round_add(s, &m, &domain) ? m.id : 0;
}

/* One report for one recipient: the record that takes it in settles what it reports. */
static bool report(struct sim *s, const struct owed *o)
{
	struct mail *mail = mail_find(&s->mails, o->id);
	struct recipient *r = mail ? mail_recipient(mail, o->recipient) : NULL;
	struct queue_outcome settle = {
	    .id = o->id, .recipient = o->recipient, .kind = QUEUE_FAILED};
	struct queue_message m = {.submitter = text_of("bounce"),
				  .recipient_count = 1,
				  .settles = &settle,
				  .settle_count = 1};
	char name[32];
	struct text domain;

	if (!r || r->state != RECIPIENT_OWED)
		return true;
	if (!r->where.generation || queue_ids_take(s->queue, 1, &m.id) != QUEUE_OK)
		return false;
	domain = sim_domain_name(name, sizeof name, sim_domain(s, m.id, 0));
	settle.attempts = r->attempts;
	book_reports(&s->book, m.id, o->id, o->recipient);
	return round_add(s, &m, &domain);
}

void sim_reports(struct sim *s)
{
	size_t count = s->owed_count < 50 ? s->owed_count : 50;

	for (size_t i = 0; i < count;) {
		struct owed o = s->owed[i];

		if (o.due_us > s->now) {
			i++;
			continue;
		}
		s->owed[i] = s->owed[--s->owed_count];
		count = count < s->owed_count ? count : s->owed_count;
		if (!report(s, &o)) {
			o.due_us = s->now + SECOND;
			s->owed = sim_grow(s->owed, s->owed_count, &s->owed_size, sizeof *s->owed);
			s->owed[s->owed_count++] = o;
		}
	}
}

/* -- the round -------------------------------------------------------------------------------- */

static void mail_refused(struct sim *s, struct mail *mail, enum queue_result result)
{
	uint64_t of;
	uint32_t recipient;

	if (result == QUEUE_ABORTED)
		book_refused(&s->book, mail->id);
	s->n.refused += result == QUEUE_ABORTED;
	s->n.unanswered += result != QUEUE_ABORTED;
	if (book_report_of(&s->book, mail->id, &of, &recipient))
		owe(s, of, recipient);
	mail_free(&s->mails, mail);
}

static void mail_committed(struct sim *s, struct mail *mail)
{
	uint64_t of;
	uint32_t recipient;
	char name[32];

	mail->committed = true;
	book_acked(&s->book, mail->id);
	s->n.accepted++;
	s->n.bounces += book_report_of(&s->book, mail->id, &of, &recipient);
	for (uint32_t i = 0; i < mail->recipient_count; i++)
		scheduler_add(s->scheduler, &mail->recipients[i],
			      sim_domain_name(name, sizeof name, sim_domain(s, mail->id, i)), 0,
			      s->now);
}

static void again(void *arg, const struct queue_outcome *o)
{
	late_add(arg, o);
}

void sim_job_await(struct sim *s, uint64_t job)
{
	struct round *r = &s->filling;

	r->jobs = sim_grow(r->jobs, r->job_count, &r->job_size, sizeof *r->jobs);
	r->jobs[r->job_count++] = job;
}

static void jobs_done(struct sim *s, struct round *r, bool durable)
{
	for (size_t i = 0; i < r->job_count; i++) {
		struct task *t = sim_task_find(s, r->jobs[i]);

		if (!durable)
			sim_job_await(s, r->jobs[i]);
		else if (t && t->said)
			sim_task_free(s, t);
	}
	r->job_count = 0;
}

void sim_append_done(struct sim *s)
{
	struct round r = s->flying;
	enum queue_result result = queue_batch_write(s->queue, s->batch);

	if (simdisk_stopped(s->disk) && result != QUEUE_OK)
		return; /* the machine stands still: nobody hears of it */
	s->flying = (struct round){0};
	s->n.aborts += result != QUEUE_OK;
	if (result != QUEUE_OK)
		sim_note(s, "a commit of %zu messages: %s", r.mail_count,
			 queue_result_text(result));
	if (result != QUEUE_OK)
		queue_batch_outcomes(s->batch, again, s);
	queue_batch_done(s->queue, &s->batch, result);
	jobs_done(s, &r, result == QUEUE_OK);
	for (size_t i = 0; i < r.mail_count; i++) {
		struct mail *mail = mail_find(&s->mails, r.mails[i]);

		must(mail);
		if (result == QUEUE_OK)
			mail_committed(s, mail);
		else
			mail_refused(s, mail, result);
	}
	free(r.mails);
	free(r.jobs);
}

void sim_seal(struct sim *s)
{
	late_retry(s);
	queue_clean_apply(s->queue);
	if (queue_batch_seal(s->queue, &s->batch) != QUEUE_OK)
		return;
	if (!s->batch) {
		if (!s->late)
			jobs_done(s, &s->filling, true);
		return;
	}
	s->flying = s->filling;
	s->filling = (struct round){0};
	s->batch_end_us = s->now + (int64_t)sim_chance(s, 3 * STEP_US);
	if (s->late)
		jobs_done(s, &s->flying, false);
	late_retry(s);
}

void sim_maintain(struct sim *s)
{
	if (s->work_end_us && s->work_end_us <= s->now) {
		queue_work_run(s->queue);
		queue_work_done(s->queue);
		s->work_end_us = 0;
	}
	if (!s->work_end_us && queue_work_wanted(s->queue))
		s->work_end_us = s->now + 1 + (int64_t)sim_chance(s, 20000);
}
