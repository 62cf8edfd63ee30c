/* SPDX-License-Identifier: ISC */
/* A small qmgr with a conscience. */
#include "ledger.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

enum {
	TEXT_BYTES = 4096,
};

uint64_t ledger_random(struct ledger *l, uint64_t limit)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return (l->random * 0x2545f4914f6cdd1du >> 16) % limit;
}

void ledger_broken(struct ledger *l, const char *what, uint64_t id)
{
	if (l->broken)
		return;
	l->broken = what;
	l->broken_id = id;
}

struct ledger_message *ledger_message(struct ledger *l, uint64_t id)
{
	while (id >= l->count) {
		uint64_t count = l->count ? l->count * 2 : 1024;

		l->messages = mem_resize(l->messages, count, sizeof(*l->messages));
		memset(l->messages + l->count, 0, (count - l->count) * sizeof(*l->messages));
		l->count = count;
	}
	return &l->messages[id];
}

/* A message's content follows from its ID. */
void ledger_content(uint64_t id, size_t len, char *to)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (char)(id * 31 + i * 7 + i / 251);
}

/* ---- what the queue asks and tells ---- */

static void on_entry(void *self, const struct queue_entry *e)
{
	struct ledger *l = self;
	struct ledger_message *m = ledger_message(l, e->id);

	if (!m->sent)
		ledger_broken(l, "a message that nobody sent", e->id);
	if (m->refused)
		ledger_broken(l, "a refused message came to life", e->id);
	if (m->seen)
		ledger_broken(l, "a message was loaded twice", e->id);
	if (m->sent && m->expanding && e->recipient_count == m->count + 1)
		m->count++;
	m->expanding = false;
	if (m->sent && e->recipient_count != m->count)
		ledger_broken(l, "another number of recipients", e->id);
	m->seen = m->known = true;
	m->location = e->location;
	m->open_count = e->open_count;
	for (uint32_t i = 0; i < e->open_count && e->open[i].number < LEDGER_RECIPIENTS; i++) {
		const struct queue_recipient *o = &e->open[i];
		struct ledger_recipient *r = &m->recipients[o->number];

		r->open = true;
		r->kind = o->kind;
		r->flags = o->flags;
		r->attempts = o->attempts;
		r->where = o->where;
		if (o->domain.len != 11 || memcmp(o->domain.data, "example.net", 11) != 0)
			ledger_broken(l, "another domain", e->id);
	}
}

static void on_damage(void *self, const struct queue_damage *d)
{
	struct ledger *l = self;

	(void)d;
	/* What a disk that stopped does not give is no damage. */
	if (!simdisk_stopped(l->sim))
		l->damages++;
}

static bool on_placed(void *self, uint64_t id, const struct queue_location *location)
{
	struct ledger *l = self;
	struct ledger_message *m = ledger_message(l, id);

	if (!m->known) {
		if (m->acked)
			return false;
		m->known = true;
		m->open_count = m->count;
		for (uint32_t i = 0; i < m->count; i++)
			m->recipients[i].open = true;
	}
	m->location = *location;
	return true;
}

static bool same_where(struct queue_where a, struct queue_where b)
{
	return a.generation == b.generation && a.offset == b.offset;
}

static void body_done(struct ledger *l, uint64_t id)
{
	if (l->bodies_done_count == l->bodies_done_size) {
		l->bodies_done_size = l->bodies_done_size ? l->bodies_done_size * 2 : 64;
		l->bodies_done =
		    mem_resize(l->bodies_done, l->bodies_done_size, sizeof(*l->bodies_done));
	}
	l->bodies_done[l->bodies_done_count++] = id;
}

static struct queue_where on_outcome(void *self, const struct queue_outcome *o,
				     struct queue_where now, bool moved, struct queue_where old)
{
	struct ledger *l = self;
	struct ledger_message *m = ledger_message(l, o->id);
	struct ledger_recipient *r = &m->recipients[o->recipient];

	if (!m->known || !r->open)
		return now;
	struct queue_where before = r->where;

	if (moved) {
		if (!same_where(before, old))
			return now;
		r->where = now;
		return old;
	}
	r->where = now;
	r->kind = o->kind;
	r->flags = o->flags;
	r->attempts = o->attempts;
	if (!queue_settled(o->kind, o->flags))
		return before;
	r->open = false;
	r->where = (struct queue_where){0, 0};
	if (--m->open_count == 0) {
		m->known = false;
		queue_message_forget(l->queue, &m->location);
		if (m->large)
			body_done(l, o->id);
	}
	return before;
}

static bool on_locate(void *self, uint64_t id, struct queue_location *location)
{
	struct ledger *l = self;
	struct ledger_message *m = ledger_message(l, id);

	*location = m->location;
	return m->known;
}

static void recipient_fill(const struct ledger_message *m, uint32_t n, struct queue_recipient *to)
{
	const struct ledger_recipient *r = &m->recipients[n];

	*to = (struct queue_recipient){.number = n,
				       .kind = r->kind,
				       .flags = r->flags,
				       .attempts = r->attempts,
				       .where = r->where};
}

static uint32_t on_open(void *self, uint64_t id, struct queue_recipient *open, uint32_t max)
{
	struct ledger *l = self;
	struct ledger_message *m = ledger_message(l, id);
	uint32_t n = 0;

	for (uint32_t i = 0; m->known && i < m->count && n < max; i++)
		if (m->recipients[i].open)
			recipient_fill(m, i, &open[n++]);
	return n;
}

static bool on_recipient(void *self, uint64_t id, uint32_t number, struct queue_recipient *state)
{
	struct ledger *l = self;
	struct ledger_message *m = ledger_message(l, id);

	if (!m->known || number >= m->count || !m->recipients[number].open)
		return false;
	recipient_fill(m, number, state);
	return true;
}

/* ---- recovery ---- */

void ledger_init(struct ledger *l, struct simdisk *sim, uint64_t seed)
{
	*l = (struct ledger){.sim = sim};
	l->random = seed * 0x9e3779b97f4a7c15u + 99;
	l->options = (struct queue_options){.segment_bytes = QUEUE_SEGMENT_MIN,
					    .reserve_segments = 2,
					    .lease_ids = 64,
					    .free_segments = 2};
}

static void index_count(void *arg, const char *name)
{
	uint64_t *count = arg;

	*count += strstr(name, ".idx") != NULL;
}

void ledger_forget_queue(struct ledger *l)
{
	if (l->queue) {
		struct queue_figures f = queue_figures(l->queue);

		l->did.aborts += f.aborts;
		l->did.cleaned += f.cleaned;
		l->did.moved_bytes += f.moved_bytes;
		simdisk_names(l->sim, "index", index_count, &l->did.indexes);
	}
	queue_close(&l->queue);
	l->batch_count = 0;
	l->outcome_count = 0;
	l->bodies_done_count = 0;
}

void ledger_free(struct ledger *l)
{
	ledger_forget_queue(l);
	free(l->messages);
	free(l->batch_ids);
	free(l->outcomes);
	free(l->bodies_done);
}

/* The report and what it settles are one record: both are there or neither. */
static void report_compare(struct ledger *l, uint64_t id)
{
	struct ledger_message *m = &l->messages[id];
	const struct ledger_recipient *r = &l->messages[m->of].recipients[m->of_recipient];

	if (!m->acked && !m->seen && !r->open)
		ledger_broken(l, "settled by a report that is not there", m->of);
	if (m->seen && r->open)
		ledger_broken(l, "a report beside what it should have settled", id);
}

static void recovered_compare(struct ledger *l, uint64_t id)
{
	struct ledger_message *m = &l->messages[id];

	if (!m->sent || m->refused)
		return;
	if (m->of)
		report_compare(l, id);
	if (!m->acked && !m->seen) {
		m->refused = true; /* and may not come back */
		return;
	}
	m->acked = true;
	for (uint32_t i = 0; i < m->count; i++) {
		struct ledger_recipient *r = &m->recipients[i];

		if (r->open && r->settle_acked)
			ledger_broken(l, "a settled recipient came back", id);
		if (!r->open && !r->settle_sent)
			ledger_broken(l, "a recipient was lost", id);
		if (r->open && (r->attempts < r->attempts_acked || r->attempts > r->attempts_sent))
			ledger_broken(l, "attempts were lost or invented", id);
		r->settle_acked = r->settle_sent = !r->open;
		r->attempts_sent = r->attempts_acked = r->attempts;
	}
}

/* As a process with a worker thread loads: it looks at any time, also while the worker reads. */
static enum queue_result load_slowly(struct ledger *l)
{
	enum queue_result result;

	while ((result = queue_load_apply(l->queue, 1 + (uint32_t)ledger_random(l, 64))) !=
	       QUEUE_OK) {
		if (result == QUEUE_MORE)
			continue;
		if (result != QUEUE_WAIT || !queue_work_wanted(l->queue))
			return result;
		if (queue_load_apply(l->queue, 1) == QUEUE_OK)
			ledger_broken(l, "loading ended while a segment was being read", 0);
		queue_work_run(l->queue);
		queue_work_done(l->queue);
	}
	/* A disk that stopped makes segments look unreadable. */
	return simdisk_stopped(l->sim) ? QUEUE_IO : result;
}

bool ledger_recover(struct ledger *l)
{
	const struct queue_owner owner = {.self = l,
					  .entry = on_entry,
					  .damage = on_damage,
					  .placed = on_placed,
					  .outcome = on_outcome,
					  .locate = on_locate,
					  .open = on_open,
					  .recipient = on_recipient};

	for (uint64_t id = 0; id < l->count; id++) {
		struct ledger_message *m = &l->messages[id];

		m->seen = m->known = false;
		m->location = (struct queue_location){0, 0, 0};
		for (uint32_t i = 0; i < m->count; i++) {
			m->recipients[i].open = false;
			m->recipients[i].where = (struct queue_where){0, 0};
		}
	}
	enum queue_result result =
	    queue_open(&l->queue, simdisk_disk(l->sim), simdisk_root(l->sim), &l->options, &owner);

	if (result == QUEUE_OK)
		result = ledger_random(l, 2) ? load_slowly(l) : queue_load_all(l->queue);
	if (result != QUEUE_OK) {
		if (!simdisk_stopped(l->sim))
			ledger_broken(l, queue_result_text(result), 0);
		return false;
	}
	for (uint64_t id = 0; id < l->count; id++)
		recovered_compare(l, id);
	return true;
}

void ledger_verify(struct ledger *l)
{
	char *want = mem_new(1, TEXT_BYTES);
	struct queue_content c = {0};

	for (uint64_t id = 1; id < l->count; id++) {
		struct ledger_message *m = &l->messages[id];

		if (!m->known)
			continue;
		if (queue_read_message(l->queue, &m->location, &c) != QUEUE_OK) {
			ledger_broken(l, "a live message can't be read", id);
			continue;
		}
		if (m->large) {
			if (!c.body_in_file || c.body_length != m->large || c.body.len)
				ledger_broken(l, "another content", id);
			ledger_body_verify(l, id);
		}
		ledger_content(id, c.body.len, want);
		if (c.id != id || c.recipient_count != m->count ||
		    memcmp(want, c.body.data, c.body.len) != 0 || c.prelude.len != 6)
			ledger_broken(l, "another content", id);
		queue_content_free(&c);
	}
	free(want);
}

/* ---- work ---- */

static void batch_note(struct ledger *l, uint64_t id)
{
	if (l->batch_count == l->batch_size) {
		l->batch_size = l->batch_size ? l->batch_size * 2 : 64;
		l->batch_ids = mem_resize(l->batch_ids, l->batch_size, sizeof(*l->batch_ids));
	}
	l->batch_ids[l->batch_count++] = id;
}

uint64_t ledger_added(struct ledger *l, const struct queue_message *message,
		      enum queue_result result)
{
	struct ledger_message *m = ledger_message(l, message->id);

	if (m->sent)
		ledger_broken(l, "an ID was given out twice", message->id);
	l->full += result == QUEUE_FULL;
	m->sent = true;
	m->count = message->recipient_count;
	m->large = message->body_in_file ? (uint32_t)message->body_length : 0;
	if (result != QUEUE_OK) {
		m->refused = true;
		return 0;
	}
	batch_note(l, message->id);
	return message->id;
}

uint64_t ledger_put(struct ledger *l, size_t max_bytes)
{
	static const struct text domain = TEXT("example.net");
	struct text domains[LEDGER_RECIPIENTS] = {domain, domain, domain, domain};
	char content[TEXT_BYTES];
	size_t len = (size_t)ledger_random(l, max_bytes + 1);
	uint64_t id = 0;

	if (queue_ids_take(l->queue, 1, &id) != QUEUE_OK)
		return 0;
	ledger_content(id, len, content);
	struct queue_message message = {
	    .id = id,
	    .submitter = TEXT("login:ann"),
	    .envelope = TEXT("envelope"),
	    .prelude = TEXT("A: b\r\n"),
	    .body = {content, len},
	    .recipient_count = (uint32_t)(1 + ledger_random(l, LEDGER_RECIPIENTS)),
	    .domains = domains,
	};

	return ledger_added(l, &message, queue_add_message(l->queue, &message, NULL));
}

static void outcome_add(struct ledger *l, const struct queue_outcome *o)
{
	enum queue_result result = queue_add_outcome(l->queue, o);

	if (result != QUEUE_OK) {
		if (result != QUEUE_BATCH_FULL && result != QUEUE_WAIT)
			ledger_broken(l, "an outcome was refused", o->id);
		return;
	}
	struct ledger_recipient *r = &ledger_message(l, o->id)->recipients[o->recipient];

	r->settle_sent |= queue_settled(o->kind, o->flags);
	if (o->attempts > r->attempts_sent)
		r->attempts_sent = o->attempts;
	if (l->outcome_count == l->outcome_size) {
		l->outcome_size = l->outcome_size ? l->outcome_size * 2 : 64;
		l->outcomes = mem_resize(l->outcomes, l->outcome_size, sizeof(*l->outcomes));
	}
	l->outcomes[l->outcome_count++] = *o;
}

void ledger_outcome(struct ledger *l, uint64_t id, uint32_t recipient, enum queue_kind kind)
{
	struct ledger_recipient *r = &ledger_message(l, id)->recipients[recipient];
	const struct queue_outcome o = {.id = id,
					.recipient = recipient,
					.kind = kind,
					.attempts = (uint16_t)(r->attempts_sent + 1),
					.code = 250,
					.dsn = TEXT("2.0.0"),
					.text = TEXT("250 2.0.0 taken, thank you")};

	if (r->open && !r->settle_sent)
		outcome_add(l, &o);
}

void ledger_fail(struct ledger *l, uint64_t id, uint32_t recipient)
{
	struct ledger_recipient *r = &ledger_message(l, id)->recipients[recipient];
	const struct queue_outcome o = {.id = id,
					.recipient = recipient,
					.kind = QUEUE_FAILED,
					.flags = QUEUE_OWED_FAILURE,
					.attempts = (uint16_t)(r->attempts_sent + 1),
					.code = 550,
					.dsn = TEXT("5.1.1"),
					.text = TEXT("550 5.1.1 nobody here")};

	if (r->open && !r->settle_sent)
		outcome_add(l, &o);
}

uint64_t ledger_report(struct ledger *l, uint64_t id, uint32_t recipient)
{
	static const struct text domain = TEXT("example.net");
	struct ledger_recipient *r = &ledger_message(l, id)->recipients[recipient];
	const struct queue_outcome settle = {.id = id,
					     .recipient = recipient,
					     .kind = QUEUE_FAILED,
					     .attempts = r->attempts,
					     .dsn = TEXT("5.1.1")};
	struct queue_message message = {.submitter = TEXT("bounce"),
					.envelope = TEXT("envelope"),
					.prelude = TEXT("A: b\r\n"),
					.recipient_count = 1,
					.domains = &domain,
					.settles = &settle,
					.settle_count = 1};
	char content[100];

	if (!r->open || r->settle_sent || !(r->flags & QUEUE_OWED_FAILURE) ||
	    queue_ids_take(l->queue, 1, &message.id) != QUEUE_OK)
		return 0;
	ledger_content(message.id, sizeof(content), content);
	message.body = (struct text){content, sizeof(content)};
	uint64_t report = ledger_added(l, &message, queue_add_message(l->queue, &message, NULL));

	if (!report)
		return 0;
	ledger_message(l, report)->of = id;
	ledger_message(l, report)->of_recipient = recipient;
	ledger_message(l, id)->recipients[recipient].settle_sent = true;
	return report;
}

/*
 * The new recipient counts as added only once the commit is done; what the ledger
 * expects of it then is what it expects of any other.
 */
void ledger_expand(struct ledger *l, uint64_t id)
{
	static const struct text domain = TEXT("example.net");
	const struct text domains[LEDGER_RECIPIENTS] = {domain, domain, domain, domain};
	struct ledger_message *m = ledger_message(l, id);
	char content[100];
	uint32_t closed = 0;

	while (closed < m->count &&
	       (!m->recipients[closed].open || m->recipients[closed].settle_sent))
		closed++;
	if (!m->known || closed == m->count || m->count == LEDGER_RECIPIENTS)
		return;
	const struct queue_outcome settle = {.id = id, .recipient = closed, .kind = QUEUE_EXPANDED};

	ledger_content(id, sizeof(content), content);
	const struct queue_message message = {.id = id,
					      .submitter = TEXT("login:ann"),
					      .envelope = TEXT("envelope"),
					      .prelude = TEXT("A: b\r\n"),
					      .body = {content, m->large ? 0 : sizeof(content)},
					      .body_in_file = m->large != 0,
					      .body_length = m->large,
					      .body_crc =
						  m->large ? ledger_body_crc(id, m->large) : 0,
					      .recipient_count = m->count + 1,
					      .first_new = m->count,
					      .domains = domains,
					      .settles = &settle,
					      .settle_count = 1,
					      .replaces = true};
	struct queue_batch *b = NULL;

	/* Alone in its batch, so that what comes of it is known at once; but for what the cleaner
	 * moves, which may be this very message. */
	if (ledger_commit(l) != QUEUE_OK || l->batch_count || l->outcome_count)
		return;
	ledger_work(l, 3);
	if (!queue_batch_empty(l->queue) || queue_add_message(l->queue, &message, NULL) != QUEUE_OK)
		return;
	queue_clean_apply(l->queue);
	enum queue_result result = QUEUE_WAIT;

	for (int i = 0; i < 8 && result == QUEUE_WAIT; i++) {
		result = queue_batch_seal(l->queue, &b);
		ledger_work(l, 1);
	}
	m->recipients[closed].settle_sent = true;
	m->expanding = true;
	if (!b)
		return;
	result = queue_batch_write(l->queue, b);
	if (result == QUEUE_OK) {
		m->recipients[m->count].open = true;
		m->recipients[closed].settle_acked = true;
		m->count++;
		m->open_count++;
		m->expanding = false;
		l->did.expanded++;
	}
	queue_batch_done(l->queue, &b, result);
}

static void again_count(void *arg, const struct queue_outcome *o)
{
	size_t *count = arg;

	(void)o;
	++*count;
}

/* A report's commit settles; refused, what it reports is owed as before. */
static void report_settle(struct ledger *l, const struct ledger_message *m,
			  enum queue_result result)
{
	struct ledger_recipient *r = &l->messages[m->of].recipients[m->of_recipient];

	r->settle_acked |= result == QUEUE_OK;
	l->did.reports += result == QUEUE_OK;
	if (result == QUEUE_ABORTED)
		r->settle_sent = false;
}

/* Takes the batch's promises: kept when RESULT is good. */
static void batch_settle(struct ledger *l, enum queue_result result, const uint64_t *ids,
			 size_t count, const struct queue_outcome *outcomes, size_t outcome_count)
{
	for (size_t i = 0; i < count; i++) {
		l->messages[ids[i]].acked |= result == QUEUE_OK;
		l->did.large += result == QUEUE_OK && l->messages[ids[i]].large;
		l->messages[ids[i]].refused |= result == QUEUE_ABORTED;
		l->acked += result == QUEUE_OK;
		l->refused += result == QUEUE_ABORTED;
		if (l->messages[ids[i]].of)
			report_settle(l, &l->messages[ids[i]], result);
		if (l->messages[ids[i]].large && result == QUEUE_ABORTED)
			body_done(l, ids[i]);
	}
	for (size_t i = 0; i < outcome_count; i++) {
		const struct queue_outcome *o = &outcomes[i];
		struct ledger_recipient *r = &l->messages[o->id].recipients[o->recipient];

		if (result != QUEUE_OK) {
			outcome_add(l, o);
			continue;
		}
		if (o->attempts > r->attempts_acked)
			r->attempts_acked = o->attempts;
		r->settle_acked |= queue_settled(o->kind, o->flags);
		l->settled += queue_settled(o->kind, o->flags);
	}
}

enum queue_result ledger_commit(struct ledger *l)
{
	struct queue_batch *b = NULL;

	queue_clean_apply(l->queue);
	enum queue_result result = queue_batch_seal(l->queue, &b);

	if (result != QUEUE_OK || !b)
		return result;
	uint64_t *ids = l->batch_ids;
	struct queue_outcome *outcomes = l->outcomes;
	size_t count = l->batch_count, outcome_count = l->outcome_count, visited = 0;

	l->batch_ids = NULL;
	l->outcomes = NULL;
	l->batch_count = l->batch_size = l->outcome_count = l->outcome_size = 0;
	result = queue_batch_write(l->queue, b);
	queue_batch_outcomes(b, again_count, &visited);
	if (visited != outcome_count)
		ledger_broken(l, "a batch forgot outcomes", 0);
	queue_batch_done(l->queue, &b, result);
	if (result == QUEUE_OK || !simdisk_stopped(l->sim))
		batch_settle(l, result, ids, count, outcomes, outcome_count);
	ledger_bodies_forget(l);
	free(ids);
	free(outcomes);
	return result;
}

void ledger_work(struct ledger *l, int jobs)
{
	while (jobs-- > 0 && queue_work_wanted(l->queue)) {
		queue_work_run(l->queue);
		queue_work_done(l->queue);
	}
}

void ledger_idle(struct ledger *l)
{
	for (int quiet = 0, turns = 0; quiet < 3 && turns < 10000; turns++) {
		bool busy = queue_work_wanted(l->queue);

		if (busy) {
			queue_work_run(l->queue);
			queue_work_done(l->queue);
		}
		queue_clean_apply(l->queue);
		busy |= !queue_batch_empty(l->queue);
		(void)ledger_commit(l);
		quiet = busy ? 0 : quiet + 1;
	}
}
