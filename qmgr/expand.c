/* SPDX-License-Identifier: ISC */
/*
 * Expansions: local says that an alias, a list or a .forward puts others in a
 * recipient's place. One record closes that one and adds them: a new envelope
 * for the same message, so nobody is lost between the two, and content and
 * ORCPT stay what they were. Of a list with an owner the others have him as
 * their sender, each in his part of the envelope: one message, several senders.
 *
 *   waiting    for one of the same message before it, or for others' reading
 *   reading    the message's record is being read
 *   ready      to be put into a batch, when none is in flight
 *   flying     in the batch that is being written
 *
 * Whom it closes is RECIPIENT_ENDING meanwhile. The worker hears `recorded`
 * when the batch is durable, and tells a new qmgr the same again: so a crash at
 * any time makes the same expansion once more, or finds it done.
 */
#include "qmgr.h"

#include "mem.h"
#include "siphash.h"

#include <stdlib.h>
#include <string.h>

enum {
	READING_MAX = 8, /* at once, each with its message in memory */
	DEPTH_MAX = 50,
};

enum expand_step { STEP_WAITING, STEP_READING, STEP_READY, STEP_FLYING };

struct expansion {
	struct expansion *next;
	struct work work;
	struct qmgr *q;
	enum expand_step step;
	struct worker *worker;
	uint32_t life;
	uint64_t job, mail;
	struct bytes added; /* rec_addition, ADDED_COUNT of them */
	uint32_t added_count;
	uint32_t *numbers, number_count; /* whom it closes */
	struct queue_location location;
	struct queue_content content;
	enum queue_result result;
	/* Made when it is ready: */
	struct bytes envelope;
	struct text *domains;
	struct config *config;	   /* some of them are our own name in it */
	uint32_t first_new, count; /* recipients before and after */
};

static void expansion_empty(struct expansion *x)
{
	queue_content_free(&x->content);
	bytes_free(&x->envelope);
	free(x->domains);
	config_drop(&x->config);
	x->domains = NULL;
}

static void expansion_free(struct expansion **at)
{
	struct expansion *x = *at;

	*at = x->next;
	expansion_empty(x);
	bytes_free(&x->added);
	free(x->numbers);
	free(x);
}

/* -- all recipients that there are, to fold doubled ones ------------------------------- */

struct seen {
	struct envelope_recipient *all; /* by number */
	uint32_t count;
	uint32_t *slots; /* an index of them: 1 and a number, 0: free */
	uint32_t mask;	 /* of the index */
	uint64_t key[2];
};

static uint32_t *seen_slot(struct seen *s, struct text address, struct text target)
{
	const uint8_t *key = (const uint8_t *)s->key;
	char folded[ADDRESS_MAX];
	size_t len = address.len < sizeof folded ? address.len : sizeof folded;

	/* "Ann" and "ann" in two lists are meant for one. */
	for (size_t i = 0; i < len; i++)
		folded[i] = ascii_lower(address.data[i]);
	uint32_t at = (uint32_t)(siphash(key, folded, len) ^
				 (target.len ? siphash(key, target.data, target.len) : 0));

	for (;; at++) {
		uint32_t *slot = &s->slots[at & s->mask];

		if (!*slot || (text_equal_case(s->all[*slot - 1].address, address) &&
			       text_equal(s->all[*slot - 1].target, target)))
			return slot;
	}
}

static bool seen_add(struct seen *s, const struct envelope_recipient *r)
{
	uint32_t *slot = seen_slot(s, r->address, r->target);
	bool fresh = !*slot;

	s->all[s->count++] = *r;
	if (fresh)
		*slot = s->count;
	return fresh;
}

/* Does R lead back to whom it came from? NUMBER is the one whose place it takes. */
static bool leads_back(const struct seen *s, uint32_t number, const struct envelope_recipient *r)
{
	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		const struct envelope_recipient *parent = &s->all[number];

		if (text_equal_case(parent->address, r->address) &&
		    text_equal(parent->target, r->target))
			return true;
		if (!parent->parent)
			return false;
		number = parent->parent - 1;
	}
	return true; /* so deep no list is */
}

/* -- the new envelope -------------------------------------------------------------------- */

static struct seen *seen_make(const struct qmgr *q, const struct expansion *x)
{
	struct envelope_iter it = envelope_recipients(x->content.envelope);
	struct envelope_recipient er;
	struct seen *s = mem_new(1, sizeof *s);
	uint32_t room = x->content.recipient_count + x->added_count, size = 16;

	while (size < 4 * room)
		size *= 2;
	s->mask = size - 1;
	s->slots = mem_new(size, sizeof *s->slots);
	s->key[0] = q->d->epoch;
	s->key[1] = x->mail;
	s->all = mem_new(room, sizeof *s->all);
	while (s->count < x->content.recipient_count && envelope_next(&it, &er))
		seen_add(s, &er);
	return s;
}

static void seen_free(struct seen *s)
{
	free(s->slots);
	free(s->all);
	free(s);
}

static void recipient_give_up(struct expansion *x, uint32_t number, const char *dsn,
			      const char *text)
{
	struct qmgr *q = x->q;
	struct mail *mail = mail_find(&q->mails, x->mail);
	struct recipient *r = mail ? mail_recipient(mail, number) : NULL;

	if (!r || r->state != RECIPIENT_ENDING)
		return;
	q->counters.failed++;
	r->said = false; /* report.c logs why */
	recipient_finish(q, r, QUEUE_FAILED, QUEUE_OWED_FAILURE, 554, text_of(dsn), text_of(text));
}

static bool closes(const struct expansion *x, uint32_t number)
{
	for (uint32_t i = 0; i < x->number_count; i++)
		if (x->numbers[i] == number)
			return true;
	return false;
}

/* Does any of what takes NUMBER's place lead further? Nothing at all leads nowhere, but back
 * neither. */
static bool leads_on(const struct expansion *x, const struct seen *s, uint32_t number)
{
	struct wire_list list = {x->added_count, bytes_text(&x->added)};
	struct rec_addition a;
	bool any = false;

	while (list_next_addition(&list, &a)) {
		struct envelope_recipient r = {.address = a.address, .target = a.target};

		if (a.number != number)
			continue;
		if (!leads_back(s, number, &r))
			return true;
		any = true;
	}
	return !any;
}

/* Who would only go round in a circle fails. */
static void loops_cut(struct expansion *x, const struct seen *s)
{
	for (uint32_t i = 0; i < x->number_count; i++) {
		uint32_t number = x->numbers[i];

		if (number < s->count && leads_on(x, s, number))
			continue;
		x->numbers[i--] = x->numbers[--x->number_count];
		recipient_give_up(x, number, "5.4.6",
				  "mail forwarding loop: it leads back to itself");
	}
}

static struct text original_of(const struct envelope_recipient *parent)
{
	return parent->original.len ? parent->original : parent->address;
}

/*
 * RFC 3461 section 5.2: of a list, which has a sender of its own, ENVID, NOTIFY, RET and ORCPT
 * are not those of the message that was sent to it; of any other alias they are.
 */
static void inherit(struct envelope_recipient *r, const struct envelope_recipient *parent,
		    struct text sender)
{
	r->original = original_of(parent);
	r->sender = sender.len ? sender : parent->sender;
	if (sender.len)
		return;
	r->orcpt = parent->orcpt;
	r->notify = parent->notify;
}

/* Appends who is new; false: more than a message can have. */
static bool additions_put(struct expansion *x, struct seen *s)
{
	struct wire_list list = {x->added_count, bytes_text(&x->added)};
	struct rec_addition a;

	while (list_next_addition(&list, &a)) {
		if (!closes(x, a.number) || a.number >= x->first_new)
			continue;
		const struct envelope_recipient *parent = &s->all[a.number];
		struct envelope_recipient r = {
		    .address = a.address, .target = a.target, .parent = a.number + 1};

		inherit(&r, parent, a.sender);
		if (*seen_slot(s, r.address, r.target))
			continue;
		if (s->count == RECIPIENTS_MAX || bytes_len(&x->envelope) > ENVELOPE_MAX - 4096)
			return false;
		seen_add(s, &r);
		envelope_put_recipient(&x->envelope, &r);
	}
	return true;
}

static void expansion_make(struct expansion *x)
{
	struct seen *s = seen_make(x->q, x);

	x->first_new = s->count;
	loops_cut(x, s);
	bytes_add(&x->envelope, x->content.envelope.data, x->content.envelope.len);
	if (!additions_put(x, s)) {
		for (uint32_t i = 0; i < x->number_count; i++)
			/* RFC 3463 3.3, X.2.4: mailing list expansion problem */
			recipient_give_up(x, x->numbers[i], "5.2.4",
					  "the list has more recipients than a message can have");
		x->number_count = 0;
		s->count = x->first_new;
	}
	x->count = s->count;
	x->domains = mem_new(x->count, sizeof *x->domains);
	x->config = config_keep(x->q->d->config);
	/* Of the content's and the list's memory, which stay as they are. */
	for (uint32_t i = 0; i < x->count; i++)
		x->domains[i] = domain_of(x->q, s->all[i].address);
	x->step = STEP_READY;
	seen_free(s);
}

/* -- reading -------------------------------------------------------------------------------- */

static void expansion_read(void *arg)
{
	struct expansion *x = arg;

	x->result = queue_read_message(x->q->queue, &x->location, &x->content);
}

/* What can't be read is held, so that a person sees it. */
static void expansion_unreadable(struct expansion *x, struct mail *mail)
{
	static const struct text why = TEXT("its record can't be read for an expansion");

	for (uint32_t i = 0; mail && i < x->number_count; i++) {
		struct recipient *r = mail_recipient(mail, x->numbers[i]);

		if (!r || r->state != RECIPIENT_ENDING)
			continue;
		LOG(x->q->d->log, held, x->mail, {NULL, 0}, why);
		recipient_finish(x->q, r, QUEUE_HELD, 0, 0, text_of("4.3.0"), why);
	}
	x->number_count = 0;
}

static void expansion_was_read(void *arg)
{
	struct expansion *x = arg;
	struct mail *mail = mail_find(&x->q->mails, x->mail);

	store_kick(x->q);
	if (mail && x->result == QUEUE_OK && !mail_moved(mail, &x->location)) {
		expansion_make(x);
		return;
	}
	queue_content_free(&x->content);
	x->step = STEP_WAITING; /* it moved, or there was no descriptor: once more */
	if (mail && (mail_moved(mail, &x->location) || x->result == QUEUE_SHORT))
		return;
	expansion_unreadable(x, mail);
}

static bool expansion_is_first(const struct qmgr *q, const struct expansion *x)
{
	const struct expansion *first = q->expansions;

	while (first->mail != x->mail)
		first = first->next;
	return first == x;
}

static void expansions_begin(struct qmgr *q)
{
	unsigned reading = 0;

	for (struct expansion *x = q->expansions; x && reading < READING_MAX; x = x->next) {
		if (x->step != STEP_WAITING) {
			reading++;
			continue;
		}
		struct mail *mail = mail_find(&q->mails, x->mail);

		if (!expansion_is_first(q, x) || !mail || !x->number_count)
			continue;
		reading++;
		x->location = mail->location;
		x->step = STEP_READING;
		x->work =
		    (struct work){.run = expansion_read, .done = expansion_was_read, .arg = x};
		pool_add(q->readers, &x->work);
	}
}

/* -- into a batch --------------------------------------------------------------------------- */

static bool is_list(const struct expansion *x, uint32_t number)
{
	struct wire_list list = {x->added_count,
				 {(const char *)bytes_at(&x->added), bytes_len(&x->added)}};
	struct rec_addition a;

	while (list_next_addition(&list, &a))
		if (a.number == number && a.sender.len)
			return true;
	return false;
}

/*
 * Who asked to hear of success, and wrote to a list with an owner, hears that the list has it
 * (RFC 3461 section 5.2): nothing of what follows is reported to him.
 */
static bool owes_success(struct expansion *x, uint32_t number)
{
	struct mail *mail = mail_find(&x->q->mails, x->mail);
	struct recipient *r = mail ? mail_recipient(mail, number) : NULL;

	if (!r || !(r->flags & FLAG_WANTS_SUCCESS) || !is_list(x, number))
		return false;
	r->kind = QUEUE_DELIVERED;
	r->code = 250;
	r->flags |= QUEUE_OWED_SUCCESS;
	r->state = RECIPIENT_OWED;
	report_owe(x->q, mail, false);
	return true;
}

static size_t settles_make(struct expansion *x, struct queue_outcome *to)
{
	for (uint32_t i = 0; i < x->number_count; i++) {
		bool owed = owes_success(x, x->numbers[i]);

		to[i] = (struct queue_outcome){.id = x->mail,
					       .recipient = x->numbers[i],
					       .kind = owed ? QUEUE_DELIVERED : QUEUE_EXPANDED,
					       .flags = owed ? QUEUE_OWED_SUCCESS : 0,
					       .code = 250,
					       .dsn = TEXT("2.1.5"),
					       .at = loop_wall(x->q->loop)};
	}
	return x->number_count;
}

/* A worker that has told again over a new channel was answered there. */
static void expansion_await(struct qmgr *q, const struct expansion *x)
{
	if (x->life == x->worker->life)
		store_await_job(q, x->worker, x->job);
}

static enum queue_result expansion_put(struct qmgr *q, struct expansion *x)
{
	struct mail *mail = mail_find(&q->mails, x->mail);
	struct queue_outcome *settles = mem_new(x->number_count + 1, sizeof *settles);
	struct text submitter = x->content.submitter;
	struct queue_message m = {.id = x->mail,
				  .arrival = x->content.arrival,
				  .submitter = submitter,
				  .envelope = bytes_text(&x->envelope),
				  .prelude = x->content.prelude,
				  .body = x->content.body,
				  .body_length = x->content.body_length,
				  .body_crc = x->content.body_crc,
				  .body_in_file = x->content.body_in_file,
				  .replaces = true,
				  .first_new = x->first_new,
				  .recipient_count = x->count,
				  .domains = x->domains,
				  .settles = settles,
				  .settle_count = settles_make(x, settles)};
	enum queue_result result = queue_add_message(q->queue, &m, NULL);

	free(settles);
	if (result != QUEUE_OK)
		return result;
	/* What is in memory has the old envelope. */
	mail_drop_content(mail);
	mail_grow(&q->mails, mail, x->first_new, x->count - x->first_new);
	x->step = STEP_FLYING;
	expansion_await(q, x);
	return QUEUE_OK;
}

/* Nobody is added: all of them are recipients already, or there is nobody left to close. */
static void expansion_close(struct qmgr *q, struct expansion *x)
{
	struct queue_outcome *settles = mem_new(x->number_count + 1, sizeof *settles);
	size_t count = settles_make(x, settles);

	for (size_t i = 0; i < count; i++)
		store_outcome(q, &settles[i]);
	free(settles);
	expansion_await(q, x);
}

void expansions_round(struct qmgr *q)
{
	bool room = queue_intake(q->queue) == QUEUE_OK;

	for (struct expansion **at = &q->expansions; *at;) {
		struct expansion *x = *at;
		bool over =
		    x->step == STEP_WAITING && (!x->number_count || !mail_find(&q->mails, x->mail));

		if (over || (x->step == STEP_READY && x->count == x->first_new)) {
			expansion_close(q, x);
			expansion_free(at);
			continue;
		}
		if (x->step == STEP_READY && room && expansion_put(q, x) != QUEUE_OK)
			break;
		at = &x->next;
	}
	expansions_begin(q);
}

/* -- after the commit ------------------------------------------------------------------------- */

static void expansion_release(struct qmgr *q, const struct expansion *x)
{
	struct mail *mail = mail_find(&q->mails, x->mail);

	for (uint32_t number = x->first_new; mail && number < x->count; number++) {
		struct recipient *r = mail_recipient(mail, number);

		if (r && r->state == RECIPIENT_NEW)
			recipient_enter(q, r, x->domains[number], 0);
	}
	if (mail && mail->submitter->frozen)
		takeover_hold(q, mail);
}

void expansions_committed(struct qmgr *q, bool durable)
{
	for (struct expansion **at = &q->expansions; *at;) {
		struct expansion *x = *at;

		if (x->step != STEP_FLYING) {
			at = &x->next;
		} else if (durable) {
			expansion_release(q, x);
			expansion_free(at);
		} else {
			struct mail *mail = mail_find(&q->mails, x->mail);

			mail_shrink(&q->mails, mail, x->first_new);
			x->step = STEP_READY;
			at = &x->next;
		}
	}
}

/* -- from local ------------------------------------------------------------------------------- */

void expansion_add(struct qmgr *q, struct worker *w, const struct msg_outcome *m,
		   const uint32_t *numbers, uint32_t count)
{
	struct expansion **end = &q->expansions, *x;

	while (*end)
		end = &(*end)->next;
	x = mem_new(1, sizeof *x);
	x->q = q;
	x->worker = w;
	x->life = w->life;
	x->job = m->job;
	x->mail = m->id;
	bytes_add(&x->added, m->added.items.data, m->added.items.len);
	x->added_count = m->added.count;
	x->numbers = mem_new(count, sizeof *x->numbers);
	memcpy(x->numbers, numbers, count * sizeof *numbers);
	x->number_count = count;
	*end = x;
	store_kick(q);
}

void expansions_free(struct qmgr *q)
{
	while (q->expansions)
		expansion_free(&q->expansions);
}
