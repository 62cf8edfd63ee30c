/* SPDX-License-Identifier: ISC */
/* Who waits, and which child has whom. */
#include "crew.h"

#include "child.h"
#include "mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	AGAIN_MS = 1000, /* there was no process to be had */
	LATE_LOOK_MS = 1000,
	ENDING_S = 10,	 /* for a process that has said all */
	ENDING_EACH = 8, /* processes for each that may deliver: their end takes its time */
	LOOK_MAX = 2000, /* so many that wait are looked at for one child, and */
	WRONG_MAX = 8,	 /* so many of them may turn out to be somebody else's */
	SHARES = 4,	 /* one of so many parts of the children may be one user's */
};

struct batch {
	struct child child; /* first */
	struct batch *next; /* of all that run */
	struct crew *crew;
	uint64_t whom;
	bool common;
	uint32_t count;
	struct recipient *recipients[CHILD_ORDERS_MAX]; /* NULL: settled */
};

static void crew_run(void *arg);
static void again_look(void *arg);
static void late_look(void *arg);

void crew_init(struct crew *c, struct daemon *d, struct lookups *table,
	       const struct crew_face *face)
{
	c->daemon = d;
	c->table = table;
	c->face = face;
	c->planner.aliases.log = d->log;
	c->planner.tables.log = d->log;
	c->planner.aliases.tables = &c->planner.tables;
	c->planner.unprivileged = d->unprivileged;
	c->waiting.end = &c->waiting.first;
	c->asking.end = &c->asking.first;
	c->unasked.end = &c->unasked.first;
	c->plans = mem_new(CHILD_ORDERS_MAX, sizeof *c->plans);
	c->patience = SECONDS(PATIENCE_S);
	timer_init(&c->again, d->loop, again_look, c);
	timer_init(&c->late, d->loop, late_look, c);
}

bool crew_is_idle(const struct crew *c)
{
	return !c->children && !c->waiting.count && !c->asking.count && !c->unasked.count;
}

static void settle(struct crew *c, struct recipient *r, struct result *result)
{
	answers_free(&r->answers);
	c->face->settle(c->daemon->self, r, result);
}

/* -- who waits --------------------------------------------------------------------------- */

static void put_in(struct line *l, struct recipient **at, struct recipient *r)
{
	r->next = *at;
	*at = r;
	if (!r->next)
		l->end = &r->next;
	l->count++;
}

static struct recipient *take(struct line *l, struct recipient **at)
{
	struct recipient *r = *at;

	*at = r->next;
	if (!*at)
		l->end = at;
	l->count--;
	r->next = NULL;
	return r;
}

static bool take_out(struct line *l, const struct recipient *r)
{
	for (struct recipient **at = &l->first; *at; at = &(*at)->next)
		if (*at == r) {
			take(l, at);
			return true;
		}
	return false;
}

void crew_add(struct crew *c, struct recipient *r)
{
	struct line *l = plan_asks(r->job->config, r->address) ? &c->unasked : &c->waiting;

	r->crew = c;
	r->since = loop_now(c->daemon->loop);
	r->whom = plan_whom(r->job, r, &r->common);
	put_in(l, l->end, r);
	/* A turn brings many. */
	turn_end_schedule(&c->turn, c->daemon->loop, crew_run, c);
}

void crew_remove(struct crew *c, struct recipient *r)
{
	if (take_out(&c->waiting, r) || take_out(&c->asking, r) || take_out(&c->unasked, r))
		answers_free(&r->answers);
}

/* -- plans --------------------------------------------------------------------------------- */

static void answers_are_there(void *owner);

/* What is to be done for R, who is in no line, as the plan at AT; else false: he is settled, or
 * has questions, and gets into the line once more when they are answered. */
static bool plan_at(struct crew *c, uint32_t at, struct recipient *r)
{
	struct result result = {0};

	if (!r->answers && plan_asks(r->job->config, r->address))
		r->answers = answers_new(c->table, answers_are_there, r);
	switch (plan_recipient(&c->planner, r->job, r, &c->plans[at], &result)) {
	case PLAN_ORDER:
		return true;
	case PLAN_SETTLED:
		settle(c, r, &result);
		return false;
	case PLAN_WAITS:
		break;
	}
	put_in(&c->asking, c->asking.end, r);
	return false;
}

/* R has his place among those who ask. Once nothing is left to be asked he is planned again when
 * there is a child for him: by then another alias may lead to another question. */
static void ask(struct crew *c, struct recipient *r)
{
	if (plan_at(c, 0, r))
		put_in(&c->waiting, c->waiting.end, r);
}

static void answers_are_there(void *owner)
{
	struct recipient *r = owner;
	struct crew *c = r->crew;

	take_out(&c->asking, r);
	ask(c, r);
	turn_end_schedule(&c->turn, c->daemon->loop, crew_run, c);
}

static void ask_more(struct crew *c)
{
	while (c->asking.count < ASKING_MAX && c->unasked.count)
		ask(c, take(&c->unasked, &c->unasked.first));
}

/* -- children ------------------------------------------------------------------------------ */

static void process_has(struct crew *c, const struct child *child, struct duration time)
{
	processes_until(&c->processes, child->pid, monotime_add(monotime_read(), time));
}

static void said(void *owner, uint32_t number, struct result *result)
{
	struct batch *b = owner;
	struct recipient *r = b->recipients[number];

	b->recipients[number] = NULL;
	process_has(b->crew, &b->child, b->child.limit);
	if (r)
		settle(b->crew, r, result);
}

/* One letter that ends its child must not take the others' with it again and again. */
static void left_without_a_word(struct batch *b, struct recipient *r)
{
	struct result result = {0};

	if (b->count > 1) {
		r->alone = true;
		r->sending = (struct walltime){0};
		r->since = loop_now(b->crew->daemon->loop);
		put_in(&b->crew->waiting, b->crew->waiting.end, r);
		return;
	}
	result_set(&result, OUTCOME_DEFERRED, 0, "4.3.0",
		   "the delivering process ended without a word");
	settle(b->crew, r, &result);
}

static void batch_forget(struct batch *b)
{
	struct batch **at = &b->crew->batches;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	b->crew->children--;
}

static void ended(void *owner)
{
	struct batch *b = owner;
	struct crew *c = b->crew;

	batch_forget(b);
	process_has(c, &b->child, SECONDS(ENDING_S));
	for (uint32_t i = 0; i < b->count; i++)
		if (b->recipients[i])
			left_without_a_word(b, b->recipients[i]);
	free(b);
	crew_run(c);
	if (crew_is_idle(c))
		c->face->idle(c->daemon->self);
}

/* R, whose plan is the last one. */
static void batch_add(struct batch *b, struct recipient *r)
{
	r->sending = loop_wall(b->crew->daemon->loop);
	b->recipients[b->count++] = r;
}

/* What else waits for the same person. */
static void batch_fill(struct batch *b)
{
	struct line *waiting = &b->crew->waiting;
	struct recipient *first = b->recipients[0], **at = &waiting->first;
	uint32_t seen = 0, wrong = 0;
	struct plan *plans = b->crew->plans;

	if (first->alone || !order_is_shared(&plans[0].order))
		return;
	for (; *at && seen < LOOK_MAX && wrong < WRONG_MAX && b->count < CHILD_ORDERS_MAX; seen++) {
		struct recipient *r = *at;

		if (r->whom != first->whom || r->alone || r->job->fd >= 0) {
			at = &r->next;
			continue;
		}
		take(waiting, at);
		if (!plan_at(b->crew, b->count, r))
			continue;
		if (order_fits(&plans[0].order, &plans[b->count].order)) {
			batch_add(b, r);
			continue;
		}
		put_in(waiting, at, r);
		at = &r->next;
		wrong++;
	}
}

/* There is no process or descriptor for it. */
static void batch_failed(struct batch *b, int error)
{
	struct crew *c = b->crew;

	for (uint32_t i = b->count; i-- > 0;) {
		struct recipient *r = b->recipients[i];
		struct result result = {0};

		r->sending = (struct walltime){0};
		if (c->children) {
			put_in(&c->waiting, &c->waiting.first, r);
			continue;
		}
		/* Nothing will end and free what is missing: it is told as it is. */
		result_set(&result, OUTCOME_DEFERRED, 0, "4.3.2", "no process for it: %s",
			   strerror(error));
		settle(c, r, &result);
	}
}

static bool has_his_share(const struct crew *c, const struct recipient *r)
{
	uint64_t share = (c->daemon->config->local_deliveries + SHARES - 1) / SHARES, has = 0;

	if (r->common)
		return false;
	for (const struct batch *b = c->batches; b; b = b->next)
		has += !b->common && b->whom == r->whom;
	return has >= share;
}

static struct slow_user *slow_find(struct crew *c, uint64_t whom)
{
	return &c->slow[whom % SLOW_USERS];
}

/* He has his share of the children: has he waited long for it, or has another of his letters? */
static bool is_for_later(struct crew *c, const struct recipient *r, struct monotime now)
{
	struct slow_user *u = slow_find(c, r->whom);

	if (monotime_since(now, r->since).us >= c->patience.us)
		*u = (struct slow_user){r->whom, monotime_add(now, c->patience)};
	return u->whom == r->whom && monotime_since(u->until, now).us > 0;
}

/* Those whom their own letters keep waiting. */
static void lose_patience(struct crew *c)
{
	struct monotime now = loop_now(c->daemon->loop);
	struct recipient **at = &c->waiting.first;

	for (uint32_t seen = 0; *at && seen < LOOK_MAX; seen++) {
		struct result result = {0};
		struct recipient *r = *at;

		if (!has_his_share(c, r) || !is_for_later(c, r, now)) {
			at = &r->next;
			continue;
		}
		take(&c->waiting, at);
		result_set(&result, OUTCOME_DEFERRED, 0, "4.2.0",
			   "other mail to this user takes long to deliver (a command, a lock or a "
			   "full disk), and this is for later");
		settle(c, r, &result);
	}
}

/* The first for whom another child may be made; NULL: nobody. */
static struct recipient **next_one(struct crew *c)
{
	struct recipient **at = &c->waiting.first;

	for (uint32_t seen = 0; *at && seen < LOOK_MAX; seen++, at = &(*at)->next)
		if (!has_his_share(c, *at))
			return at;
	return NULL;
}

/* The one that waits there, and who goes with it. False: no more can be begun now. */
static bool batch_begin(struct crew *c, struct recipient **at)
{
	struct order *orders[CHILD_ORDERS_MAX];
	struct recipient *first = take(&c->waiting, at);

	if (!plan_at(c, 0, first))
		return true;
	struct batch *b = mem_new(1, sizeof *b);

	b->crew = c;
	b->child.done = said;
	b->child.ended = ended;
	b->child.owner = b;
	b->whom = first->whom;
	b->common = first->common;
	batch_add(b, first);
	batch_fill(b);
	for (uint32_t i = 0; i < b->count; i++)
		orders[i] = &c->plans[i].order;
	bool begun = child_start(&b->child, c->daemon->loop, orders, b->count);
	int error = errno;

	if (begun) {
		for (uint32_t i = 0; i < b->count; i++)
			answers_free(&b->recipients[i]->answers);
		c->children++;
		b->next = c->batches;
		c->batches = b;
		processes_add(&c->processes, b->child.pid, c->plans[0].user.uid,
			      monotime_add(monotime_read(), b->child.limit));
		if (!timer_is_set(&c->late))
			timer_set(&c->late, MILLISECONDS(LATE_LOOK_MS));
		return true;
	}
	batch_failed(b, error);
	free(b);
	return !c->children;
}

static bool crew_has_room(const struct crew *c)
{
	uint64_t most = c->daemon->config->local_deliveries;

	return c->children < most && c->processes.count < most * ENDING_EACH;
}

void crew_reap(void *crew)
{
	struct crew *c = crew;

	processes_reap(&c->processes);
	crew_run(c);
}

/* Their users may stop them. */
static void late_look(void *arg)
{
	struct crew *c = arg;

	processes_end_late(&c->processes, monotime_read());
	if (c->processes.count)
		timer_set(&c->late, MILLISECONDS(LATE_LOOK_MS));
}

static void crew_run(void *arg)
{
	struct crew *c = arg;
	struct recipient **at;

	ask_more(c);
	while (crew_has_room(c) && (at = next_one(c)))
		if (!batch_begin(c, at))
			break;
	if (c->waiting.count && !timer_is_set(&c->again))
		timer_set(&c->again, MILLISECONDS(AGAIN_MS));
}

static void again_look(void *arg)
{
	struct crew *c = arg;

	lose_patience(c);
	crew_run(c);
	if (crew_is_idle(c))
		c->face->idle(c->daemon->self);
}
