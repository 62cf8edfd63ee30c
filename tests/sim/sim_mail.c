/* SPDX-License-Identifier: ISC */
/*
 * Who hands mail in: smtpd for senders, submission for bounce. Both number their messages from
 * leases, have large bodies made into files, keep what is not settled yet, and ask a new qmgr for
 * it. Bounce is here as well: a report is handed in a while after qmgr asked for it, or never.
 */
#include "sim.h"

#include "envelope.h"
#include "mem.h"
#include "must.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEASE = 64, SMTPD = 0, SUBMISSION = 1 };

static const char prelude[] = "Subject: x\r\n\r\n";

struct text sim_prelude(void)
{
	return text_of(prelude);
}

struct text sim_domain_name(char *to, size_t size, uint64_t domain)
{
	int n = snprintf(to, size, "d%llu.example", (unsigned long long)domain);

	return (struct text){to, (size_t)n};
}

uint64_t sim_domain(struct sim *s, uint64_t id, uint32_t recipient)
{
	return s->plan ? s->plan->domain(s, id) : book_domain(id, recipient) % DOMAINS;
}

/* -- letters: what was begun and is not settled ------------------------------------------------ */

static struct letter *letter_find(const struct sim *s, uint64_t id)
{
	struct table_link *l = table_first(&s->letters, table_hash_number(&s->letters, id));

	for (; l; l = table_again(l))
		if (ITEM_OF(l, struct letter, link)->id == id)
			return ITEM_OF(l, struct letter, link);
	return NULL;
}

static struct letter *letter_new(struct sim *s, unsigned engine, uint64_t id)
{
	struct letter *l = mem_new(1, sizeof *l);

	l->id = id;
	l->engine = engine;
	l->fd = -1;
	table_add(&s->letters, &l->link, table_hash_number(&s->letters, id));
	return l;
}

static void letter_free(struct sim *s, struct letter *l)
{
	table_remove(&s->letters, &l->link);
	bytes_free(&l->envelope);
	free(l);
}

/* -- numbers --------------------------------------------------------------------------------- */

void sim_leased(struct sim *s, unsigned engine, const struct msg_leased *m)
{
	s->engines[engine].next = (struct sim_range){m->first, m->count};
	s->engines[engine].asked = false;
}

/* 0: there is none now. */
static uint64_t id_take(struct sim *s, unsigned engine)
{
	struct sim_engine *e = &s->engines[engine];
	struct message m = {.type = MSG_lease, .lease = {LEASE}};

	if (!e->now.count) {
		e->now = e->next;
		e->next = (struct sim_range){0};
	}
	if (!e->next.count && !e->asked) {
		e->asked = true;
		door_lease(sim_channel(&e->channel), &m);
	}
	if (!e->now.count)
		return 0;
	e->now.count--;
	return e->now.first++;
}

/* -- handing in ------------------------------------------------------------------------------- */

static void submit(struct sim *s, struct letter *l, struct text body, bool in_file)
{
	struct sim_engine *e = &s->engines[l->engine];
	struct message m = {
	    .type = MSG_submit,
	    .submit = {.id = l->id,
		       .report = l->report,
		       .envelope = bytes_text(&l->envelope),
		       .prelude = sim_prelude(),
		       .body = in_file ? (struct text){0} : body,
		       .body_length = body.len,
		       .body_crc = in_file ? queue_crc32c(0, body.data, body.len) : 0,
		       .body_in_file = in_file}};
	uint64_t id = l->id;

	book_sent(&s->book, id, l->count);
	/* Nobody wants to hear of a failure. */
	for (uint32_t i = 0; l->unwanted && i < l->count; i++)
		book_dropped(&s->book, id, i);
	if (l->failures)
		book_reports(&s->book, id, l->of, l->failures);
	l->submitted = true;
	door_submit(sim_channel(&e->channel), &m);
	s->n.large += in_file;
	/* The reserve is for what is queued already. */
	if (mail_find(&s->q.mails, id) && s->full_until_us &&
	    queue_figures(s->q.queue).reserve_segments < RESERVE)
		book_break(&s->book, "new mail was taken while the reserve is in use", id);
}

static void letter_begin(struct sim *s, struct letter *l)
{
	static char content[BOOK_LARGE_MAX];
	struct message m = {.type = MSG_body_open, .body_open = {l->id}};

	if (!s->plan && book_is_large(l->id))
		door_body_open(sim_channel(&s->engines[l->engine].channel), &m);
	else
		submit(s, l, (struct text){content, book_content(l->id, content)}, false);
}

void sim_body_file(struct sim *s, const struct msg_body_file *m, int fd)
{
	struct letter *l = letter_find(s, m->id);

	if (!l) {
		book_break(&s->book, "a file that nobody asked for", m->id);
		return;
	}
	l->fd = fd;
	s->ready = sim_grow(s->ready, s->ready_count, &s->ready_size, sizeof *s->ready);
	s->ready[s->ready_count++] = m->id;
}

/* As smtpd does it: streamed into the file, or given up. */
static void letter_go_on(struct sim *s, struct letter *l)
{
	static char content[BOOK_LARGE_MAX];
	const struct disk *d = simdisk_disk(s->disk);
	struct message m = {.type = MSG_body_drop, .body_drop = {l->id}};
	size_t len = book_content(l->id, content);
	int error = 0;

	if (l->fd < 0) {
		s->n.refused++;
		letter_free(s, l);
		return;
	}
	error = d->write(d->self, l->fd, content, len, 0);
	d->close(d->self, l->fd);
	l->fd = -1;
	/* One in thirty clients thinks better of it. */
	if (error < 0 || !sim_chance(s, 30)) {
		door_body_drop(sim_channel(&s->engines[l->engine].channel), &m);
		letter_free(s, l);
		return;
	}
	submit(s, l, (struct text){content, len}, true);
}

void sim_settled(struct sim *s, const struct msg_settled *m)
{
	struct letter *l = letter_find(s, m->id);

	if (!l || !l->submitted) {
		book_break(&s->book, "settled what was not handed in", m->id);
		return;
	}
	if (m->committed) {
		book_acked(&s->book, m->id);
	} else if (m->code) {
		book_refused(&s->book, m->id);
	}
	s->n.accepted += m->committed;
	s->n.refused += !m->committed && m->code;
	s->n.unanswered += !m->committed && !m->code;
	s->n.full += m->code == 452;
	if (l->report && !m->committed)
		s->handins[s->handin_count++ % HANDINS] =
		    (struct handin){.report = l->report, .fails = true, .due_us = s->now};
	letter_free(s, l);
}

/* -- senders ---------------------------------------------------------------------------------- */

static bool engine_reads(struct sim *s, unsigned engine)
{
	const struct sim_engine *e = &s->engines[engine];

	/* A scenario hands in all it has; only what found no room holds it up. */
	return s->plan ? !bytes_len(&((struct engine *)e->channel.state)->stash)
		       : !e->channel.paused;
}

static void put_recipient(struct sim *s, struct letter *l, uint64_t domain, uint8_t notify)
{
	char name[32], address[64];
	struct text d = sim_domain_name(name, sizeof name, domain);

	snprintf(address, sizeof address, "u%u@%.*s", l->count++, (int)d.len, d.data);
	envelope_put_recipient(&l->envelope, &(struct envelope_recipient){
						 .address = text_of(address), .notify = notify});
	(void)s;
}

/* What a message's sender asked for follows from its ID. */
uint8_t sim_tls(uint64_t id)
{
	static const uint8_t wishes[] = {MAIL_TLS_REQUIRED, MAIL_TLS_OPTIONAL, MAIL_TLS_ANY,
					 MAIL_TLS_ANY, MAIL_TLS_ANY};

	return wishes[id % sizeof wishes];
}

static uint64_t sends(struct sim *s, struct text submitter, uint32_t recipients, uint64_t notify)
{
	static const uint8_t wants[] = {NOTIFY_NEVER, NOTIFY_SUCCESS | NOTIFY_FAILURE,
					NOTIFY_FAILURE | NOTIFY_DELAY, NOTIFY_SUCCESS};
	uint64_t id = engine_reads(s, SMTPD) ? id_take(s, SMTPD) : 0;
	char name[32], sender[64];

	if (!id)
		return 0;
	struct letter *l = letter_new(s, SMTPD, id);
	struct text d = sim_domain_name(name, sizeof name, sim_domain(s, id, 0));
	uint8_t want = notify < sizeof wants ? wants[notify] : NOTIFY_UNSET;

	snprintf(sender, sizeof sender, "u0@%.*s", (int)d.len, d.data);
	envelope_put_head(&l->envelope, &(struct envelope){.sender = text_of(sender),
							   .submitter = submitter,
							   .protocol = text_of("ESMTP"),
							   .tls = sim_tls(id),
							   .arrival_wall = (uint64_t)sim_wall(s)});
	while (l->count < recipients)
		put_recipient(s, l, sim_domain(s, id, l->count), want);
	l->unwanted = want && !(want & NOTIFY_FAILURE);
	letter_begin(s, l);
	return id;
}

void sim_sender_sends(struct sim *s, bool really)
{
	uint64_t *random = &s->mail_random;
	uint64_t more = fault_chance(random, 4), recipients = fault_chance(random, 3);
	uint64_t network = fault_chance(random, 20), notify = fault_chance(random, 80);
	char submitter[32];

	/* MAIL was answered with 452 or 451, but for those who had said it before. */
	if (!really || (s->engines[SMTPD].intake != INTAKE_OPEN && notify % 4))
		return;
	snprintf(submitter, sizeof submitter, "net:192.0.2.%llu", (unsigned long long)network);
	(void)sends(s, text_of(submitter), (uint32_t)(1 + (more ? 0 : recipients)), notify);
}

uint64_t sim_send(struct sim *s, struct text submitter)
{
	uint64_t id = sends(s, submitter, 1, UINT64_MAX);

	return id && mail_find(&s->q.mails, id) ? id : 0;
}

/* -- bounce ----------------------------------------------------------------------------------- */

/* Recipients are u0, u1, u2. */
static uint8_t failures_of(struct wire_list list)
{
	struct rec_report_recipient r;
	uint8_t mask = 0;

	while (list_next_report_recipient(&list, &r))
		if (r.action == REPORT_FAILED)
			mask |= (uint8_t)(1 << (r.address.data[1] - '0'));
	return mask;
}

void sim_report(struct sim *s, const struct msg_report *m)
{
	struct handin *h = &s->handins[s->handin_count++ % HANDINS];

	*h = (struct handin){.report = m->report,
			     .of = m->id,
			     .failures = failures_of(m->recipients),
			     .fails = !s->plan && !s->ending && !sim_chance(s, 20),
			     .due_us = s->now + (int64_t)sim_chance(s, 2 * SECOND)};
	s->n.double_bounces += m->double_bounce;
	text_copy(h->to, sizeof h->to, m->double_bounce ? s->config->postmaster : m->to);
}

static bool hand_in(struct sim *s, const struct handin *h)
{
	struct message m = {.type = MSG_report_failed,
			    .report_failed = {.report = h->report, .reason = text_of("by chance")}};
	uint64_t id = 0;

	if (h->fails) {
		report_failed(sim_channel(&s->bounce), &m);
		return true;
	}
	if (!engine_reads(s, SUBMISSION) || !(id = id_take(s, SUBMISSION)))
		return false;
	struct letter *l = letter_new(s, SUBMISSION, id);

	l->report = h->report;
	l->of = h->of;
	l->failures = h->failures;
	l->count = 1;
	envelope_put_head(&l->envelope, &(struct envelope){.submitter = text_of("bounce"),
							   .protocol = text_of("ESMTP"),
							   .tls = sim_tls(id),
							   .arrival_wall = (uint64_t)sim_wall(s)});
	envelope_put_recipient(&l->envelope, &(struct envelope_recipient){.address = text_of(h->to),
									  .notify = NOTIFY_NEVER});
	letter_begin(s, l);
	return true;
}

/* -- a turn ------------------------------------------------------------------------------------ */

void sim_doors(struct sim *s)
{
	for (size_t i = 0; i < s->ready_count;) {
		struct letter *l = letter_find(s, s->ready[i]);

		if (l && !engine_reads(s, l->engine)) {
			i++;
			continue;
		}
		s->ready[i] = s->ready[--s->ready_count];
		if (l)
			letter_go_on(s, l);
	}
	for (size_t i = 0; i < HANDINS; i++) {
		struct handin h = s->handins[i];

		if (!h.report || h.due_us > s->now)
			continue;
		s->handins[i].report = 0;
		if (!hand_in(s, &h)) {
			s->handins[i] = h;
			s->handins[i].due_us = s->now + SECOND;
		}
	}
}

/* -- qmgr comes and goes ----------------------------------------------------------------------- */

/* Of what was handed in, an engine that lives on asks the next qmgr; the rest is forgotten. */
void sim_letters_lost(struct sim *s, bool engines_too)
{
	for (size_t i = 0; i < s->letters.size; i++)
		for (struct table_link *l = s->letters.slots[i], *next; l; l = next) {
			next = l->next;
			if (engines_too || !ITEM_OF(l, struct letter, link)->submitted)
				letter_free(s, ITEM_OF(l, struct letter, link));
		}
	s->ready_count = 0;
	if (engines_too)
		memset(s->handins, 0, sizeof s->handins);
}

void sim_engines_connect(struct sim *s)
{
	static const unsigned kinds[] = {[SMTPD] = PEER_SMTPD, [SUBMISSION] = PEER_SUBMISSION};

	for (unsigned i = 0; i < ENGINES_COUNT; i++) {
		struct sim_engine *e = &s->engines[i];

		*e = (struct sim_engine){
		    .channel = {.sim = s, .kind = kinds[i], .instance = i, .pid = 1000 + i}};
		door_peer(&s->q, sim_channel(&e->channel));
	}
}

void sim_engines_doubt(struct sim *s)
{
	struct message end = {.type = MSG_in_doubt_end};

	for (size_t i = 0; i < s->letters.size; i++)
		for (struct table_link *l = s->letters.slots[i]; l; l = l->next) {
			struct letter *letter = ITEM_OF(l, struct letter, link);
			struct message m = {.type = MSG_in_doubt, .in_doubt = {letter->id}};

			if (letter->submitted)
				door_in_doubt(sim_channel(&s->engines[letter->engine].channel), &m);
		}
	for (unsigned i = 0; i < ENGINES_COUNT; i++)
		door_in_doubt_end(sim_channel(&s->engines[i].channel), &end);
}
