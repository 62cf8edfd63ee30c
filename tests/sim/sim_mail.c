/* SPDX-License-Identifier: ISC */
/* Mail on its way in and out of the queue: senders, reports, outcomes, as qmgr's door.c, report.c
 * and delivery.c hand them to store.c. */
#include "sim.h"

#include "envelope.h"
#include "mem.h"
#include "must.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- time ------------------------------------------------------------------------------------ */

struct walltime wall_of(const struct qmgr *q, int64_t mono_us)
{
	return (struct walltime){mono_us + sim_of_qmgr(q)->wall_ahead};
}

int64_t mono_of(const struct qmgr *q, struct walltime wall)
{
	int64_t wait = wall.us - loop_wall(q->loop).us,
		longest = q->d->config->retry_longest.us * 2;

	return now_us(q) + (wait > longest ? longest : wait);
}

/* -- outcomes -------------------------------------------------------------------------------- */

static void outcome_to_disk(struct qmgr *q, const struct recipient *r, struct text dsn,
			    struct text text, struct walltime at, struct walltime next)
{
	store_outcome(q, &(struct queue_outcome){.id = r->mail->id,
						 .recipient = r->number,
						 .kind = (enum queue_kind)r->kind,
						 .flags = r->flags,
						 .attempts = r->attempts,
						 .code = r->code,
						 .dsn = dsn,
						 .text = text,
						 .at = at,
						 .next = next});
}

void recipient_finish_at(struct qmgr *q, struct recipient *r, enum queue_kind kind, uint8_t flags,
			 uint16_t code, struct text dsn, struct text text, struct walltime at)
{
	struct sim *s = sim_of_qmgr(q);

	s->n.failed += kind == QUEUE_FAILED;
	s->n.held += kind == QUEUE_HELD;
	r->kind = (uint8_t)kind;
	r->code = code;
	r->flags = (uint8_t)((r->flags & ~QUEUE_OWED_DELAY) | flags);
	mail_count_held(&q->mails, r, kind == QUEUE_HELD);
	r->state = kind == QUEUE_HELD		   ? RECIPIENT_HELD
		   : queue_settled(kind, r->flags) ? RECIPIENT_ENDING
						   : RECIPIENT_OWED;
	outcome_to_disk(q, r, dsn, text, at, (struct walltime){0});
	if (r->state == RECIPIENT_OWED)
		sim_owe(s, r->mail->id, r->number);
}

void recipient_finish(struct qmgr *q, struct recipient *r, enum queue_kind kind, uint8_t flags,
		      uint16_t code, struct text dsn, struct text text)
{
	recipient_finish_at(q, r, kind, flags, code, dsn, text, loop_wall(q->loop));
}

void recipient_record(struct qmgr *q, struct recipient *r, enum queue_kind kind, uint16_t code,
		      struct text dsn, struct text text, int64_t due_us)
{
	r->kind = (uint8_t)kind;
	r->code = code;
	outcome_to_disk(q, r, dsn, text, loop_wall(q->loop),
			due_us ? wall_of(q, due_us) : (struct walltime){0});
}

void sim_record(struct sim *s, struct recipient *r, enum queue_kind kind, uint8_t flags,
		int64_t due_us)
{
	r->flags = flags;
	recipient_record(&s->q, r, kind, 250, text_of("2.0.0"),
			 text_of("mx.example[192.0.2.1]:25 said: 250 2.0.0 taken"), due_us);
}

void sim_finish(struct sim *s, struct recipient *r, enum queue_kind kind)
{
	recipient_finish(&s->q, r, kind, kind == QUEUE_FAILED ? QUEUE_OWED_FAILURE : 0, 250,
			 text_of("2.0.0"),
			 text_of("mx.example[192.0.2.1]:25 said: 250 2.0.0 taken"));
}

void mail_remove(struct qmgr *q, struct mail *mail)
{
	queue_message_forget(q->queue, &mail->location);
	if (mail->body_in_file)
		door_body_refused(q, mail->id);
	mail_free(&q->mails, mail);
}

void sim_job_await(struct sim *s, uint64_t job)
{
	store_await_job(&s->q, &s->workers[0], job);
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

struct text domain_of(const struct qmgr *q, struct text address)
{
	(void)q;
	return address_domain(address);
}

static struct text envelope_of(struct sim *s, const struct queue_message *m,
			       const struct text *domains)
{
	char address[64];

	bytes_take(&s->envelope, bytes_len(&s->envelope), SIZE_MAX);
	envelope_put_head(&s->envelope,
			  &(struct envelope){.sender = text_of("s@client.example"),
					     .submitter = m->submitter,
					     .protocol = text_of("ESMTP"),
					     .arrival_wall = (uint64_t)m->arrival.us});
	for (uint32_t i = 0; i < m->recipient_count; i++) {
		snprintf(address, sizeof address, "u@%.*s", (int)domains[i].len, domains[i].data);
		envelope_put_recipient(&s->envelope,
				       &(struct envelope_recipient){.address = text_of(address)});
	}
	return (struct text){(const char *)bytes_at(&s->envelope), bytes_len(&s->envelope)};
}

/* As smtpd and qmgr do it between them: streamed, cut, synced, before it enters a batch. */
static enum queue_result body_to_file(struct sim *s, struct queue_message *m, const char *content)
{
	const struct disk *d = simdisk_disk(s->disk);
	int fd = -1, error = 0;
	enum queue_result result = queue_body_create(s->q.queue, m->id, &fd);

	if (result != QUEUE_OK)
		return result;
	error = d->write(d->self, fd, content, m->body.len, 0);
	d->close(d->self, fd);
	m->body_in_file = true;
	m->body_length = m->body.len;
	m->body_crc = queue_crc32c(0, content, m->body.len);
	m->body.len = 0;
	if (error >= 0)
		result = queue_body_finish(s->q.queue, m->id, m->body_length);
	return error < 0 ? QUEUE_IO : result;
}

/* Into the batch being filled, or refused. */
static bool submit(struct sim *s, struct queue_message *m, struct text *domains)
{
	static char content[BOOK_LARGE_MAX];
	struct queue_placed placed;
	enum queue_result result = QUEUE_OK;
	bool large = !s->plan && book_is_large(m->id);

	m->body = (struct text){content, book_content(m->id, content)};
	m->prelude = text_of("Subject: x\r\n\r\n");
	m->arrival = (struct walltime){sim_wall(s)};
	m->domains = domains;
	m->envelope = envelope_of(s, m, domains);
	book_sent(&s->book, m->id, m->recipient_count);
	if (large)
		result = body_to_file(s, m, content);
	if (result == QUEUE_OK)
		result = queue_add_message(s->q.queue, m, &placed);
	if (result != QUEUE_OK) {
		if (large)
			door_body_refused(&s->q, m->id);
		door_refuse(&s->engine, m->id, result == QUEUE_IO ? QUEUE_ABORTED : result);
		return false;
	}
	/* The reserve is for what is queued already. */
	if (s->full_until_us && queue_figures(s->q.queue).reserve_segments < RESERVE)
		book_break(&s->book, "new mail was taken while the reserve is in use", m->id);
	struct mail *mail = mail_new(&s->q.mails, m->id, m->submitter, m->recipient_count);

	s->n.large += large;
	mail->arrival_wall = m->arrival.us;
	mail->body_in_file = m->body_in_file;
	mail_keep_content(&s->q.mails, mail, queue_batch_filling(s->q.queue), &placed);
	store_await_submit(&s->q, &s->engine, mail, m->settle_count ? m->id : 0);
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

	if (!really || queue_ids_take(s->q.queue, 1, &m.id) != QUEUE_OK)
		return;
	snprintf(submitter, sizeof submitter, "net:192.0.2.%llu", (unsigned long long)network);
	m.submitter = text_of(submitter);
	for (uint32_t i = 0; i < m.recipient_count; i++)
		domains[i] = sim_domain_name(names[i], sizeof names[i], sim_domain(s, m.id, i));
	submit(s, &m, domains);
}

uint64_t sim_send(struct sim *s, struct text submitter)
{
	struct queue_message m = {.recipient_count = 1, .submitter = submitter};
	char name[32];
	struct text domain;

	if (queue_ids_take(s->q.queue, 1, &m.id) != QUEUE_OK)
		return 0;
	domain = sim_domain_name(name, sizeof name, sim_domain(s, m.id, 0));
	return submit(s, &m, &domain) ? m.id : 0;
}

/* It is durable: store.c says so, also for a report, and for mail whose sender heard nothing. */
void delivery_release(struct qmgr *q, struct mail *mail, struct text envelope)
{
	struct sim *s = sim_of_qmgr(q);
	struct envelope_iter it = envelope_recipients(envelope);
	struct envelope_recipient r;

	book_acked(&s->book, mail->id);
	for (uint32_t i = 0; i < mail->recipient_count && envelope_next(&it, &r); i++)
		scheduler_add(q->scheduler, &mail->recipients[i], domain_of(q, r.address), 0,
			      now_us(q));
}

void workers_loaded(struct qmgr *q)
{
	(void)q; /* sim.c lets the workers tell what they are at first */
}

/* -- reports ---------------------------------------------------------------------------------- */

void sim_owe(struct sim *s, uint64_t id, uint32_t recipient)
{
	s->owed = sim_grow(s->owed, s->owed_count, &s->owed_size, sizeof *s->owed);
	s->owed[s->owed_count++] = (struct owed){id, recipient, s->now + 2 * SECOND};
}

void report_owe(struct qmgr *q, struct mail *mail, bool now)
{
	(void)now;
	for (uint32_t i = 0; i < mail->recipient_count; i++)
		if (mail->recipients[i].state == RECIPIENT_OWED)
			sim_owe(sim_of_qmgr(q), mail->id, mail->recipients[i].number);
}

void report_committed(struct qmgr *q, uint64_t report, uint64_t id)
{
	(void)report;
	(void)id;
	sim_of_qmgr(q)->n.bounces++;
}

void report_refused(struct qmgr *q, uint64_t report)
{
	uint64_t of = 0;
	uint32_t recipient = 0;

	if (book_report_of(&sim_of_qmgr(q)->book, report, &of, &recipient))
		sim_owe(sim_of_qmgr(q), of, recipient);
}

/*
 * One report for one recipient: the record that takes it in settles what it
 * reports. A report that fails is told to the postmaster, and there it ends.
 */
static bool report(struct sim *s, const struct owed *o)
{
	struct mail *mail = mail_find(&s->q.mails, o->id);
	struct recipient *r = mail ? mail_recipient(mail, o->recipient) : NULL;
	struct queue_outcome settle = {
	    .id = o->id, .recipient = o->recipient, .kind = QUEUE_FAILED};
	struct queue_message m = {.recipient_count = 1, .settles = &settle, .settle_count = 1};
	char name[32];
	struct text domain;

	if (!r || r->state != RECIPIENT_OWED)
		return true;
	if (!r->where.generation)
		return false;
	if (text_equals(mail->submitter->name, "postmaster")) {
		book_dropped(&s->book, o->id, o->recipient);
		r->state = RECIPIENT_ENDING;
		sim_record(s, r, QUEUE_FAILED, 0, 0);
		return true;
	}
	if (queue_ids_take(s->q.queue, 1, &m.id) != QUEUE_OK)
		return false;
	bool twice = text_equals(mail->submitter->name, "bounce");

	m.submitter = text_of(twice ? "postmaster" : "bounce");
	s->n.double_bounces += twice;
	domain = sim_domain_name(name, sizeof name, sim_domain(s, m.id, 0));
	settle.attempts = r->attempts;
	book_reports(&s->book, m.id, o->id, o->recipient);
	return submit(s, &m, &domain);
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
