/* SPDX-License-Identifier: ISC */
#include "scheduler_world.h"

/* -- the face ------------------------------------------------------------------- */

static void on_ask(void *owner, const struct domain *d)
{
	struct world *w = owner;

	if (w->question_count == w->question_size) {
		w->question_size = w->question_size ? w->question_size * 2 : 64;
		w->questions = mem_resize(w->questions, w->question_size, sizeof *w->questions);
	}
	struct question *q = &w->questions[w->question_count++];

	q->query = d->query;
	text_copy(q->domain, sizeof q->domain, text_of(d->target));
	w->asked++;
}

static void note_start(struct world *w, const struct job *job)
{
	struct text site = job->slot->site->name, submitter = job->mail->submitter->name;

	if (w->started == w->starts_size) {
		w->starts_size = w->starts_size ? w->starts_size * 2 : 256;
		w->starts_us = mem_resize(w->starts_us, w->starts_size, sizeof *w->starts_us);
	}
	w->starts_us[w->started++] = w->now;
	if (site.len == 2 && site.data[0] == 's')
		w->by_site[(site.data[1] - '0') & 7]++;
	if (submitter.len == 2 && submitter.data[0] == 'u') {
		w->by_submitter[(submitter.data[1] - '0') & 3] += job->count;
		if (w->by_submitter[1] == 10 && !w->to_see_all_of_u1)
			w->to_see_all_of_u1 = w->started;
	}
}

static void keep_first_sender(struct world *w, struct job *job)
{
	bool keep[1000];

	assert_true(job->count <= sizeof keep);
	for (uint32_t i = 0; i < job->count; i++)
		keep[i] = job->recipients[i]->number % 2 == job->recipients[0]->number % 2;
	scheduler_job_keep(w->s, job, keep);
}

static void on_start(void *owner, struct job *job)
{
	struct world *w = owner;

	if (w->parts)
		keep_first_sender(w, job);
	if (w->flight_count == w->flight_size) {
		w->flight_size = w->flight_size ? w->flight_size * 2 : 64;
		w->flights = mem_resize(w->flights, w->flight_size, sizeof *w->flights);
	}
	w->flights[w->flight_count++] =
	    (struct flight){job->id, job->slot->number, w->now + w->latency_us};
	note_start(w, job);
	assert_true(job->slot->site->slots <= job->slot->site->cap);
	if (job->slot->site->slots > w->most_slots)
		w->most_slots = job->slot->site->slots;
}

static void on_close(void *owner, struct slot *slot)
{
	struct world *w = owner;

	assert_true(w->close_count < sizeof w->closes / sizeof *w->closes);
	w->closes[w->close_count++] = slot->number;
	w->closed++;
}

static void on_end(void *owner, struct recipient *r, const struct domain_verdict *v)
{
	struct world *w = owner;

	if (v->kind == QUEUE_HELD) {
		assert_int_equal(r->state, RECIPIENT_HELD);
		w->held++;
		return;
	}
	assert_int_equal(r->state, RECIPIENT_ENDING);
	w->failed++;
	if (w->ended_count == w->ended_size) {
		w->ended_size = w->ended_size ? w->ended_size * 2 : 64;
		w->ended = mem_resize(w->ended, w->ended_size, sizeof(struct recipient *));
	}
	w->ended[w->ended_count++] = r;
}

static void on_down(void *owner, const struct site *site, int64_t wait_us)
{
	struct world *w = owner;

	(void)site;
	w->downs++;
	w->down_wait_us = wait_us;
}

static void on_up(void *owner, const struct site *site)
{
	struct world *w = owner;

	(void)site;
	w->ups++;
}

/* -- the world --------------------------------------------------------------------- */

enum answer takes_all(struct world *w, const struct job *job)
{
	(void)w;
	(void)job;
	return TAKES;
}

enum answer defers_once(struct world *w, const struct job *job)
{
	(void)w;
	return job->recipients[0]->attempts ? TAKES : DEFERS;
}

void all_one_site(struct world *w, const char *domain, char *site, size_t size)
{
	(void)w;
	(void)domain;
	snprintf(site, size, "s5");
}

enum answer never(struct world *w, const struct job *job)
{
	(void)w;
	(void)job;
	return NEVER;
}

void site_is_domain(struct world *w, const char *domain, char *site, size_t size)
{
	(void)w;
	snprintf(site, size, "%s", domain);
}

struct config *config_of(const char *text)
{
	struct config_errors errors = {0};
	struct config *c = config_read(text_of(text), &errors);

	if (!c)
		fail_msg("%s", errors.count ? errors.items[0].text : "no configuration");
	config_errors_free(&errors);
	return c;
}

void world_init(struct world *w, const char *more)
{
	const struct scheduler_face face = {.owner = w,
					    .ask = on_ask,
					    .start = on_start,
					    .close_slot = on_close,
					    .end = on_end,
					    .site_down = on_down,
					    .site_up = on_up};
	char text[1024];

	*w = (struct world){.now = 1000 * SECOND, .step_us = 1000, .latency_us = 10000};
	w->answer = takes_all;
	w->site_of = site_is_domain;
	snprintf(text, sizeof text,
		 "hostname = mail.example.net\npostmaster = p@example.net\nqueue = /tmp/q\n%s\n",
		 more);
	w->config = config_of(text);
	mails_init(&w->mails, 1 << 20);
	w->s = scheduler_new(&face, &w->mails, 0x123456789abcd);
	scheduler_configure(w->s, w->config);
	w->workers[0].channel = w->workers[1].channel = (struct channel *)(void *)w;
	w->workers[0].told = w->workers[1].told = true;
	w->workers[1].instance = 1;
	scheduler_set_workers(w->s, w->workers, 2);
	scheduler_allow(w->s, true);
	w->next_id = 1;
}

void settle(struct world *w, struct recipient *r)
{
	struct mail *mail = r->mail;

	if (mail_settle(&w->mails, r))
		mail_free(&w->mails, mail);
}

struct mail *add(struct world *w, const char *submitter, const char *domain, uint32_t count)
{
	struct mail *mail = mail_new(&w->mails, w->next_id++, text_of(submitter), count);

	mail->committed = true;
	for (uint32_t i = 0; i < count; i++)
		scheduler_add(w->s, &mail->recipients[i], text_of(domain), 0, w->now);
	return mail;
}

void answer_questions(struct world *w)
{
	size_t count = w->silent_resolver ? 0 : w->question_count;
	struct question *list = w->questions;

	if (!count)
		return;
	w->questions = NULL;
	w->question_count = w->question_size = 0;
	for (size_t i = 0; i < count; i++) {
		char site[80];

		w->site_of(w, list[i].domain, site, sizeof site);
		if (site[0] == '!')
			scheduler_no_site(w->s, list[i].query, site[1] == '5', 550,
					  text_of("5.4.4"), text_of("no such domain"), 60, w->now);
		else
			scheduler_site_is(w->s, list[i].query, text_of(site), text_of(site), 300,
					  w->now);
	}
	free(list);
}

static void finish_job(struct world *w, struct job *job, enum answer a)
{
	static const enum outcome_kind kinds[] = {OUTCOME_RELAYED,  OUTCOME_FAILED,
						  OUTCOME_DEFERRED, OUTCOME_DEFERRED,
						  OUTCOME_DEFERRED, OUTCOME_DEFERRED};
	static const enum failure_scope scopes[] = {SCOPE_NONE, SCOPE_NONE,   SCOPE_RECIPIENT,
						    SCOPE_SITE, SCOPE_DOMAIN, SCOPE_NOBODY};

	if (scopes[a] == SCOPE_SITE || scopes[a] == SCOPE_DOMAIN || scopes[a] == SCOPE_NOBODY)
		scheduler_failed(w->s, job, scopes[a], text_of("connection refused"), w->now);
	for (uint32_t i = 0; i < job->count; i++) {
		struct recipient *r = job->recipients[i];
		int64_t due;

		if (kinds[a] == OUTCOME_DEFERRED && scopes[a] == SCOPE_RECIPIENT)
			r->attempts++;
		scheduler_outcome(w->s, r, kinds[a], scopes[a], w->now, &due);
		w->taken += a == TAKES;
		w->failed += a == REFUSES;
	}
	struct mail *mail = job->mail;
	uint32_t count = mail->recipient_count;

	scheduler_job_done(w->s, job, a == TAKES, w->now);
	for (uint32_t i = 0; i < count; i++)
		if (mail->recipients[i].state == RECIPIENT_ENDING) {
			bool last = mail->open_count == 1;

			settle(w, &mail->recipients[i]);
			if (last)
				break;
		}
}

static void finish_flights(struct world *w)
{
	for (size_t i = 0; i < w->flight_count;) {
		struct flight f = w->flights[i];
		struct job *job = scheduler_job(w->s, f.job);
		enum answer a = job && f.end_us <= w->now ? w->answer(w, job) : NEVER;

		if (job && a == NEVER) {
			i++;
			continue;
		}
		w->flights[i] = w->flights[--w->flight_count];
		if (!job)
			continue;
		struct slot *slot = job->slot;

		finish_job(w, job, a);
		if (slot && a == SITE_FAILS)
			scheduler_slot_done(w->s, slot);
		else if (slot && !w->want_nothing)
			scheduler_want(w->s, slot, w->now);
	}
}

static void finish_closes(struct world *w)
{
	for (size_t i = 0; i < w->close_count; i++) {
		struct slot *slot = scheduler_slot(w->s, w->closes[i]);

		if (slot)
			scheduler_slot_done(w->s, slot);
	}
	w->close_count = 0;
}

void run(struct world *w, int64_t us)
{
	for (int64_t end = w->now + us, tick = w->now; w->now < end; w->now += w->step_us) {
		if (w->now >= tick) {
			scheduler_tick(w->s, w->now);
			tick = w->now + 100000;
		}
		answer_questions(w);
		finish_flights(w);
		finish_closes(w);
		while (scheduler_pump(w->s, w->now, 1000))
			;
		while (w->ended_count)
			settle(w, w->ended[--w->ended_count]);
	}
}

/* -- counters, computed anew ------------------------------------------------------------ */

void check_counts(struct world *w)
{
	struct scheduler_figures f = scheduler_figures(w->s), n = {0};
	uint64_t open = 0;
	uint32_t strange = 0;

	for (size_t i = 0; i < w->mails.by_id.size; i++)
		for (struct table_link *l = w->mails.by_id.slots[i]; l; l = l->next) {
			struct mail *mail = ITEM_OF(l, struct mail, link);

			for (uint32_t k = 0; k < mail->recipient_count; k++) {
				uint8_t state = mail->recipients[k].state;

				n.ready += state == RECIPIENT_READY;
				n.waiting += state == RECIPIENT_WAITING;
				n.flying += state == RECIPIENT_FLYING;
				open += state != RECIPIENT_GONE;
			}
		}
	assert_int_equal(open, w->mails.recipients);
	assert_int_equal(f.ready, n.ready);
	assert_int_equal(f.waiting, n.waiting);
	assert_int_equal(f.flying, n.flying);
	for (size_t i = 0; i < w->s->sites.size; i++)
		for (struct table_link *l = w->s->sites.slots[i]; l; l = l->next) {
			struct site *site = ITEM_OF(l, struct site, link);
			uint32_t ready = 0, flying = 0, waiting = 0, domains = 0, shares = 0;

			for (size_t k = 0; k < w->s->domains.size; k++)
				for (struct table_link *m = w->s->domains.slots[k]; m;
				     m = m->next) {
					struct domain *d = ITEM_OF(m, struct domain, link);

					if (d->site != site)
						continue;
					domains++;
					flying += d->flying;
					waiting += d->waiting;
					for (struct lane *lane = d->lanes; lane; lane = lane->next)
						ready += lane->share ? lane->ready_count : 0;
				}
			for (size_t k = 0; k < w->s->shares.size; k++)
				for (struct table_link *m = w->s->shares.slots[k]; m; m = m->next)
					shares += ITEM_OF(m, struct share, link)->site == site;
			assert_int_equal(site->ready, ready);
			assert_int_equal(site->flying, flying);
			assert_int_equal(site->waiting, waiting);
			assert_int_equal(site->domains, domains);
			assert_int_equal(site->shares, shares);
			if ((!site->proven || site->job_us > SLOW_US) && ready > SLOW_COUNT)
				ready = SLOW_COUNT;
			n.ready_soon += site->failures ? 0 : ready;
			n.slots += site->slots;
			strange += site->proven ? 0 : site->slots;
		}
	assert_int_equal(w->s->strange, strange);
	assert_int_equal(f.ready_soon, n.ready_soon);
	assert_int_equal(f.slots, n.slots);
}

void world_empty(struct world *w)
{
	check_counts(w);
	assert_int_equal(w->mails.recipients, 0);
	assert_int_equal(w->mails.by_id.count, 0);
	assert_int_equal(w->mails.submitters.count, 0);
	assert_int_equal(w->s->lanes.count, 0);
	assert_int_equal(w->s->shares.count, 0);
	assert_int_equal(w->s->jobs.count, 0);
}

void world_free(struct world *w)
{
	scheduler_free(&w->s);
	mails_free(&w->mails);
	config_drop(&w->config);
	free(w->flights);
	free(w->questions);
	free(w->ended);
	free(w->starts_us);
}
