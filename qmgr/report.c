/* SPDX-License-Identifier: ISC */
/*
 * What is owed to senders: gathered for a message up to a minute, read from
 * disk, written by bounce, and settled by the very commit that takes the
 * report in (RFC 3461 section 5, RFC 5321 section 6.1).
 */
#include "qmgr.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

enum {
	GATHER_S = 60,	       /* how long a report waits for its message's other recipients */
	AGAIN_S = 60,	       /* after a report was refused */
	SENT_S = 300,	       /* the longest that bounce and the door may take */
	SENT_MAX = 64,	       /* reports under way at once */
	TICK_MAX = 1000,       /* looked at in one tick */
	RECIPIENTS_PER = 1000, /* of one report */
	RELAY_MAX = 320,       /* of the message between processes */
};

struct report_item {
	uint32_t number;
	struct queue_where where;
	struct queue_outcome_copy copy;
	bool has_copy;
};

enum report_step { STEP_WAITING, STEP_READING, STEP_SENT };

/* One message that owes its sender something. */
struct report {
	struct report *next, **prev; /* in the list of its step */
	struct work work;
	struct qmgr *q;
	uint64_t id, mail;
	int64_t due_us; /* waiting: when it is made; sent: when it is given up */
	enum report_step step;
	uint8_t owed; /* which flag this report settles */
	bool taken;   /* sent: its mail is in a batch */
	struct queue_location location;
	struct queue_content content;
	struct report_item *items;
	struct queue_outcome *settles;
	uint32_t count;
	enum queue_result result;
};

struct report_list {
	struct report *first, **end;
};

struct reports {
	struct report_list waiting, sent;
	uint64_t next_id;
	unsigned busy; /* reading or sent */
};

void reports_init(struct qmgr *q)
{
	q->reports = mem_new(1, sizeof *q->reports);
	q->reports->waiting.end = &q->reports->waiting.first;
	q->reports->sent.end = &q->reports->sent.first;
	q->reports->next_id = (q->d->epoch << 32) & INT64_MAX;
}

static void report_empty(struct report *r)
{
	queue_content_free(&r->content);
	free(r->items);
	free(r->settles);
	r->items = NULL;
	r->settles = NULL;
	r->count = 0;
}

static void list_free(struct report_list *list)
{
	for (struct report *r = list->first, *next; r; r = next) {
		next = r->next;
		report_empty(r);
		free(r);
	}
}

void reports_free(struct qmgr *q)
{
	if (q->reports) {
		list_free(&q->reports->waiting);
		list_free(&q->reports->sent);
	}
	free(q->reports);
	q->reports = NULL;
}

static void list_add(struct report_list *list, struct report *r)
{
	r->next = NULL;
	r->prev = list->end;
	*list->end = r;
	list->end = &r->next;
}

static void list_remove(struct report_list *list, struct report *r)
{
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		list->end = r->prev;
	r->next = NULL;
	r->prev = NULL;
}

/* Nothing but reports is left to do for it. */
static bool all_owed(const struct mail *mail)
{
	for (uint32_t i = 0; i < mail->recipient_count; i++)
		if (mail->recipients[i].state != RECIPIENT_OWED &&
		    mail->recipients[i].state != RECIPIENT_GONE)
			return false;
	return true;
}

void report_owe(struct qmgr *q, struct mail *mail, bool now)
{
	if (mail->report_due)
		return;
	struct report *r = mem_new(1, sizeof *r);

	mail->report_due = true;
	r->q = q;
	r->mail = mail->id;
	r->due_us = now_us(q) + (now ? 0 : (int64_t)GATHER_S * 1000000);
	list_add(&q->reports->waiting, r);
}

static void report_free(struct qmgr *q, struct report *r)
{
	struct mail *mail = mail_find(&q->mails, r->mail);

	if (mail)
		mail->report_due = false;
	report_empty(r);
	free(r);
}

static void report_later(struct qmgr *q, struct report *r, int64_t wait_us)
{
	report_empty(r);
	r->step = STEP_WAITING;
	r->taken = false;
	r->id = 0;
	r->due_us = now_us(q) + wait_us;
	list_add(&q->reports->waiting, r);
}

/* -- reading -------------------------------------------------------------------------- */

static void read_run(void *arg)
{
	struct report *r = arg;

	r->result = queue_read_message(r->q->queue, &r->location, &r->content);
	for (uint32_t i = 0; r->result == QUEUE_OK && i < r->count; i++)
		r->items[i].has_copy =
		    r->items[i].where.generation &&
		    queue_read_outcome(r->q->queue, r->items[i].where, r->mail, r->items[i].number,
				       &r->items[i].copy) == QUEUE_OK;
}

/* Which kind goes first, and its recipients. 0: nothing is owed, or not yet on disk. */
static uint8_t report_choose(const struct mail *mail, struct report_item *items, uint32_t *count)
{
	static const uint8_t kinds[] = {QUEUE_OWED_FAILURE, QUEUE_OWED_SUCCESS, QUEUE_OWED_DELAY};

	for (size_t k = 0; k < sizeof kinds; k++) {
		*count = 0;
		for (uint32_t i = 0; i < mail->recipient_count && *count < RECIPIENTS_PER; i++) {
			const struct recipient *r = &mail->recipients[i];

			if (r->state == RECIPIENT_GONE || !(r->flags & kinds[k]) ||
			    (r->state == RECIPIENT_OWED && !r->where.generation))
				continue;
			items[*count].number = r->number;
			items[(*count)++].where = r->where;
		}
		if (*count)
			return kinds[k];
	}
	return 0;
}

static void read_done(void *arg);

/* True when it is on its way, or over. */
static bool report_begin(struct qmgr *q, struct report *r)
{
	struct mail *mail = mail_find(&q->mails, r->mail);

	if (!mail) {
		list_remove(&q->reports->waiting, r);
		report_free(q, r);
		return true;
	}
	uint32_t room =
	    mail->recipient_count < RECIPIENTS_PER ? mail->recipient_count : RECIPIENTS_PER;

	r->items = mem_new(room, sizeof *r->items);
	r->owed = report_choose(mail, r->items, &r->count);
	list_remove(&q->reports->waiting, r);
	if (!r->owed) {
		bool later = false;

		for (uint32_t i = 0; i < mail->recipient_count; i++)
			later |= mail->recipients[i].state == RECIPIENT_OWED;
		if (later)
			report_later(q, r, 100000);
		else
			report_free(q, r);
		return true;
	}
	r->location = mail->location;
	r->step = STEP_READING;
	r->work = (struct work){.run = read_run, .done = read_done, .arg = r};
	q->reports->busy++;
	pool_add(q->readers, &r->work);
	return true;
}

/* -- writing ------------------------------------------------------------------------------ */

static bool address_is_postmaster(const struct qmgr *q, struct text address)
{
	struct text set = q->d->config->postmaster;

	if (set.len)
		return text_equal_case(address, set);
	return text_starts_case(address, "postmaster@") &&
	       text_equal_case(address_domain(address), q->d->config->hostname);
}

static bool notify_allows(uint8_t notify, uint8_t owed)
{
	if (notify == NOTIFY_UNSET)
		return owed != QUEUE_OWED_SUCCESS;
	return (notify & (owed == QUEUE_OWED_FAILURE   ? NOTIFY_FAILURE
			  : owed == QUEUE_OWED_SUCCESS ? NOTIFY_SUCCESS
						       : NOTIFY_DELAY)) != 0;
}

/* The recipient's state without what this report settles. */
static struct queue_outcome settle_of(const struct report *r, const struct recipient *rcpt,
				      const struct report_item *item)
{
	struct qmgr *q = r->q;
	struct queue_outcome o = {.id = r->mail,
				  .recipient = rcpt->number,
				  .kind = (enum queue_kind)rcpt->kind,
				  .attempts = rcpt->attempts,
				  .code = rcpt->code};

	/* A delayed one's last attempt is asked for again when it expires. */
	if (item->has_copy) {
		o.at = item->copy.outcome.at;
		o.dsn = (struct text){item->copy.dsn, item->copy.outcome.dsn.len};
		o.text = (struct text){item->copy.text, item->copy.outcome.text.len};
	}
	o.flags = (uint8_t)(rcpt->flags & ~r->owed);
	if (r->owed == QUEUE_OWED_DELAY) {
		o.flags |= QUEUE_NOTICED;
		if (o.kind == QUEUE_WAITING)
			o.kind = QUEUE_DEFERRED;
		o.next = rcpt->state == RECIPIENT_WAITING ? wall_of(q, rcpt->due_us)
							  : loop_wall(q->loop);
	}
	return o;
}

static enum report_action action_of(const struct report *r, const struct recipient *rcpt)
{
	if (r->owed == QUEUE_OWED_FAILURE)
		return REPORT_FAILED;
	if (r->owed == QUEUE_OWED_DELAY)
		return REPORT_DELAYED;
	return rcpt->kind == QUEUE_DELIVERED ? REPORT_DELIVERED : REPORT_RELAYED;
}

/*
 * delivery.c stored "RELAY said: REPLY", ageing.c perhaps EXPIRED_LAST before it. RFC 3464 section
 * 2.3.5: the remote MTA is the one that reported the status, also when we gave up afterwards.
 */
static void take_relay(struct rec_report_recipient *rr)
{
	size_t skip = text_starts_case(rr->reply, EXPIRED_LAST) ? sizeof EXPIRED_LAST - 1 : 0;
	struct text rest = {rr->reply.data + skip, rr->reply.len - skip};
	const char *said = rest.len ? memmem(rest.data, rest.len, " said: ", 7) : NULL;
	size_t len = said ? (size_t)(said - rest.data) : 0;

	if (!len || !(rr->code || skip) || len > RELAY_MAX || memchr(rest.data, ' ', len))
		return;
	rr->relay = (struct text){rest.data, len};
	if (!skip)
		rr->reply = (struct text){said + 7, rest.len - len - 7};
}

static void put_recipient(struct bytes *to, const struct report *r, const struct recipient *rcpt,
			  const struct report_item *item, const struct envelope_recipient *er)
{
	struct rec_report_recipient rr = {.address = er->address,
					  .orcpt = er->orcpt,
					  .action = (uint8_t)action_of(r, rcpt),
					  .code = rcpt->code};
	int64_t failed_us = scheduler_failed_us(rcpt);

	if (item->has_copy) {
		rr.dsn = (struct text){item->copy.dsn, item->copy.outcome.dsn.len};
		rr.reply = (struct text){item->copy.text, item->copy.outcome.text.len};
		rr.attempt_wall = (uint64_t)item->copy.outcome.at.us;
	} else {
		rr.reply = scheduler_reason(rcpt);
		rr.attempt_wall = failed_us ? (uint64_t)wall_of(r->q, failed_us).us : 0;
	}
	if (!rr.dsn.len)
		rr.dsn = text_of(r->owed == QUEUE_OWED_FAILURE ? "5.0.0"
				 : r->owed == QUEUE_OWED_DELAY ? "4.4.1"
							       : "2.0.0");
	take_relay(&rr);
	rec_report_recipient_encode(to, &rr);
}

/* What ended without a deliverer has no delivery line yet: its address is known only here. */
static void log_unsaid(const struct report *r, struct recipient *rcpt,
		       const struct report_item *item, const struct envelope_recipient *er)
{
	struct qmgr *q = r->q;
	char delay[32];
	int64_t age = loop_wall(q->loop).us - rcpt->mail->arrival_wall;

	if (r->owed != QUEUE_OWED_FAILURE || rcpt->said)
		return;
	rcpt->said = true;
	snprintf(delay, sizeof delay, "%lld", (long long)(age / 1000000));
	LOG(q->d->log, delivery, r->mail, er->address, text_of("none"), text_of(delay),
	    text_of("0/0/0/0"), item->copy.outcome.dsn, text_of("bounced"), item->copy.outcome.text,
	    text_of("none"), text_of("none"));
}

/* Settles without a report: NOTIFY says so, or there is nobody to tell. */
static void settle_silently(struct report *r, struct recipient *rcpt,
			    const struct report_item *item, bool hold)
{
	struct queue_outcome o = settle_of(r, rcpt, item);

	rcpt->flags = o.flags;
	if (hold) {
		rcpt->state = RECIPIENT_HELD;
		mail_count_held(&r->q->mails, rcpt, true);
		rcpt->kind = QUEUE_HELD;
		o.kind = QUEUE_HELD;
	}
	store_outcome(r->q, &o);
}

/*
 * Its record is nowhere, and with it the addresses: there is nobody to write to. Who failed is
 * held, so that a person sees it; the rest can only be forgotten.
 */
static void report_lost(struct report *r, struct mail *mail)
{
	char who[32];

	for (uint32_t i = 0; i < r->count; i++) {
		struct recipient *rcpt = mail_recipient(mail, r->items[i].number);

		if (!rcpt || !(rcpt->flags & r->owed))
			continue;
		if (r->owed == QUEUE_OWED_FAILURE) {
			snprintf(who, sizeof who, "recipient %u", rcpt->number);
			LOG(r->q->d->log, held, r->mail, text_of(who),
			    text_of(
				"its sender can't be told of its failure: the message is lost"));
		}
		settle_silently(r, rcpt, &r->items[i], r->owed == QUEUE_OWED_FAILURE);
	}
}

/* For a list that has an owner, the report is the owner's. */
static void report_to(struct envelope *e, const struct envelope_recipient *er)
{
	if (!er->sender.len)
		return;
	e->sender = er->sender;
	e->envid.len = e->ret = 0;
}

/*
 * Who is told of what, once per recipient; fills the list for bounce and the settles. A report has
 * one receiver, whom E's sender becomes: what others are told is still owed after it.
 */
static void report_sort(struct report *r, const struct mail *mail, struct envelope *e,
			struct bytes *list)
{
	struct envelope_iter it = envelope_recipients(r->content.envelope);
	struct envelope_recipient er;
	uint32_t at = 0, kept = 0, count = r->count;
	struct text message = e->sender;

	r->settles = mem_new(count, sizeof *r->settles);
	for (uint32_t number = 0; at < count && envelope_next(&it, &er); number++) {
		struct report_item *item = &r->items[at];

		if (item->number != number)
			continue;
		at++;
		struct recipient *rcpt = mail_recipient((struct mail *)(uintptr_t)mail, number);

		if (!rcpt || !(rcpt->flags & r->owed))
			continue;
		struct text sender = er.sender.len ? er.sender : message;

		log_unsaid(r, rcpt, item, &er);
		if (kept && !text_equal(sender, e->sender))
			continue;
		bool null_sender = sender.len == 0;
		/* A double bounce that fails stays with us: it must not make a third one. So does
		 * all mail for the postmaster when no setting says who that is. */
		bool hold = r->owed == QUEUE_OWED_FAILURE &&
			    (null_sender || !r->q->d->config->postmaster.len) &&
			    address_is_postmaster(r->q, er.address);

		/* Reports carry NOTIFY=NEVER, which does not mean that nobody hears of their
		 * failure. */
		bool told = notify_allows(er.notify, r->owed) ||
			    (null_sender && er.notify == NOTIFY_NEVER &&
			     r->owed == QUEUE_OWED_FAILURE && text_equals(e->submitter, "bounce"));

		if (hold && (told || !null_sender)) {
			LOG(r->q->d->log, held, r->mail, er.address,
			    text_of("nobody is left to be told of its failure"));
			settle_silently(r, rcpt, item, true);
		} else if (!told || (null_sender && r->owed != QUEUE_OWED_FAILURE)) {
			settle_silently(r, rcpt, item, false);
		} else {
			report_to(e, &er);
			put_recipient(list, r, rcpt, item, &er);
			r->settles[kept++] = settle_of(r, rcpt, item);
		}
	}
	r->count = kept;
}

static void report_send(struct report *r, const struct mail *mail, const struct envelope *e,
			const struct bytes *list)
{
	struct qmgr *q = r->q;
	/* RFC 8689 section 5: "the server MUST behave as if RET=HDRS was present"; "If both
	 * RET=FULL and REQUIRETLS are present, the RET=FULL MUST be disregarded." */
	bool headers = e->tls == MAIL_TLS_REQUIRED;
	bool whole =
	    !headers && r->owed == QUEUE_OWED_FAILURE && !r->content.body_in_file &&
	    e->sender.len &&
	    r->content.prelude.len + r->content.body.len <= q->d->config->limit_return_body;
	struct msg_report m = {.report = r->id,
			       .id = r->mail,
			       .double_bounce = e->sender.len == 0,
			       .to = e->sender,
			       .envid = e->envid,
			       .ret = headers ? RET_HDRS : e->ret,
			       .smtputf8 = e->smtputf8,
			       .arrival_wall = e->arrival_wall,
			       .expires_wall =
				   (uint64_t)(mail->arrival_wall + q->d->config->retry_expire.us),
			       .recipients = {r->count, {(const char *)list->data, list->end}},
			       .prelude = r->content.prelude,
			       .body_cut = !whole,
			       .tls = e->tls};

	if (whole)
		m.body = r->content.body;
	channel_send_report(q->bounce, &m);
}

/* What ended a recipient may still be on its way to disk: the record before it says something else.
 */
static bool read_is_newest(const struct report *r, struct mail *mail)
{
	for (uint32_t i = 0; i < r->count; i++) {
		const struct report_item *item = &r->items[i];
		const struct recipient *rcpt = mail_recipient(mail, item->number);

		if (rcpt && rcpt->state == RECIPIENT_OWED && item->has_copy &&
		    item->copy.outcome.kind != (enum queue_kind)rcpt->kind)
			return false;
	}
	return true;
}

static void read_done(void *arg)
{
	struct report *r = arg;
	struct qmgr *q = r->q;
	struct mail *mail = mail_find(&q->mails, r->mail);
	struct envelope e;
	struct bytes list = {0};

	q->reports->busy--;
	if (!mail) {
		report_free(q, r);
		return;
	}
	if (r->result == QUEUE_OK && !read_is_newest(r, mail)) {
		report_later(q, r, 100000);
		return;
	}
	if (r->result == QUEUE_GONE) {
		bool moved = mail_moved(mail, &r->location);

		if (!moved)
			report_lost(r, mail);
		report_later(q, r, moved ? 0 : 100000); /* is anything else owed? */
		return;
	}
	if (r->result != QUEUE_OK)
		log_error(q->d->log, "a report waits, since its message can't be read: %s",
			  queue_result_text(r->result));
	if (r->result != QUEUE_OK || !q->bounce || !envelope_decode(r->content.envelope, &e)) {
		report_later(q, r, (int64_t)AGAIN_S * 1000000);
		return;
	}
	report_sort(r, mail, &e, &list);
	if (!r->count) {
		report_later(q, r, 100000); /* is anything else owed? */
		bytes_free(&list);
		return;
	}
	r->id = ++q->reports->next_id;
	r->step = STEP_SENT;
	r->due_us = now_us(q) + (int64_t)SENT_S * 1000000;
	q->reports->busy++;
	list_add(&q->reports->sent, r);
	report_send(r, mail, &e, &list);
	bytes_free(&list);
}

/* -- what comes back ----------------------------------------------------------------------- */

static struct report *report_find(const struct qmgr *q, uint64_t id)
{
	struct report *r = q->reports->sent.first;

	while (r && r->id != id)
		r = r->next;
	return r;
}

bool report_known(const struct qmgr *q, uint64_t report)
{
	const struct report *r = report_find(q, report);

	return r && !r->taken;
}

void report_taken(struct qmgr *q, uint64_t report)
{
	struct report *r = report_find(q, report);

	if (r)
		r->taken = true;
}

/* Since it was made a recipient may have ended, or been held: its newer state must not be written
 * over. */
static void settles_refresh(struct report *r, struct mail *mail)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < r->count; i++) {
		struct queue_outcome *o = &r->settles[i];
		const struct recipient *rcpt = mail ? mail_recipient(mail, o->recipient) : NULL;
		bool waits = rcpt && rcpt->kind == QUEUE_WAITING && o->kind == QUEUE_DEFERRED;

		if (!rcpt || !(rcpt->flags & r->owed) || !(waits || rcpt->kind == (uint8_t)o->kind))
			continue;
		o->attempts = rcpt->attempts;
		if (rcpt->state == RECIPIENT_WAITING)
			o->next = wall_of(r->q, rcpt->due_us);
		r->settles[kept++] = *o;
	}
	r->count = kept;
}

size_t report_settles(struct qmgr *q, uint64_t report, const struct queue_outcome **outcomes)
{
	struct report *r = report_find(q, report);

	if (r)
		settles_refresh(r, mail_find(&q->mails, r->mail));
	*outcomes = r ? r->settles : NULL;
	return r ? r->count : 0;
}

void report_committed(struct qmgr *q, uint64_t report, uint64_t id)
{
	struct report *r = report_find(q, report);
	char text[QUEUE_ID_BYTES];

	if (!r)
		return;
	struct mail *mail = mail_find(&q->mails, r->mail);

	q->counters.reports++;
	LOG(q->d->log, report_sent, r->mail,
	    text_of(r->owed == QUEUE_OWED_FAILURE ? "non-delivery"
		    : r->owed == QUEUE_OWED_DELAY ? "delay"
						  : "delivery status"),
	    text_of(queue_id_print(id, text)));
	for (uint32_t i = 0; mail && i < r->count; i++) {
		struct recipient *rcpt = mail_recipient(mail, r->settles[i].recipient);

		if (rcpt)
			rcpt->flags = (uint8_t)((rcpt->flags & ~r->owed) |
						(r->settles[i].flags & QUEUE_NOTICED));
	}
	list_remove(&q->reports->sent, r);
	q->reports->busy--;
	if (mail)
		report_later(q, r, 100000); /* is anything else owed? */
	else
		report_free(q, r);
}

void report_refused(struct qmgr *q, uint64_t report)
{
	struct report *r = report_find(q, report);

	if (!r)
		return;
	list_remove(&q->reports->sent, r);
	q->reports->busy--;
	report_later(q, r, (int64_t)AGAIN_S * 1000000);
}

void report_failed(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);

	log_warning(q->d->log, "a report could not be handed in: %.*s",
		    (int)m->report_failed.reason.len, m->report_failed.reason.data);
	if (report_known(q, m->report_failed.report)) /* else its mail is being written */
		report_refused(q, m->report_failed.report);
}

void reports_bounce_gone(struct qmgr *q)
{
	struct report *next;

	/* One that the door brings all the same is not known any more, and refused. */
	for (struct report *r = q->reports->sent.first; r; r = next) {
		next = r->next;
		if (!r->taken)
			report_refused(q, r->id);
	}
}

void reports_tick(struct qmgr *q)
{
	struct report *r = q->reports->waiting.first, *next;

	while (q->reports->sent.first && q->reports->sent.first->due_us <= now_us(q) &&
	       !q->reports->sent.first->taken)
		report_refused(q, q->reports->sent.first->id);
	for (int i = 0; r && i < TICK_MAX && q->reports->busy < SENT_MAX && q->bounce;
	     r = next, i++) {
		struct mail *mail = mail_find(&q->mails, r->mail);

		next = r->next;
		if (r->due_us <= now_us(q) || !mail || all_owed(mail))
			report_begin(q, r);
	}
}
