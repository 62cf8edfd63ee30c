/* SPDX-License-Identifier: ISC */
/*
 * Expiry and delay notices. All messages are looked at in slices, again and
 * again: that costs no memory for each of them.
 */
#include "qmgr.h"

#include "mem.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	SLICE_SLOTS = 4096, /* of the table, in one go */
	SLICE_MS = 20,
	ROUND_LONGEST_S = 60,
	READS_MAX = 256,
	CLOCK_SET_S = 10, /* wall and monotonic time part by more between two looks: it was set */
};

static void hold_damaged(struct qmgr *q, struct mail *mail)
{
	for (uint32_t i = 0; i < mail->recipient_count; i++) {
		struct recipient *r = &mail->recipients[i];

		if (r->state != RECIPIENT_READY && r->state != RECIPIENT_WAITING)
			continue;
		scheduler_remove(q->scheduler, r, RECIPIENT_HELD);
		recipient_finish(q, r, QUEUE_HELD, 0, 0, text_of("4.3.0"),
				 text_of("part of its record was damaged on disk"));
	}
	mail->damaged = false;
	LOG(q->d->log, held, mail->id, {NULL, 0},
	    text_of("part of its record was damaged on disk"));
}

static void hold_if_damaged(void *arg, struct table_link *link)
{
	struct mail *mail = ITEM_OF(link, struct mail, link);

	if (mail->damaged && mail->committed)
		hold_damaged(arg, mail);
}

void ageing_hold_damaged(struct qmgr *q)
{
	for (size_t at = 0; table_slice(&q->mails.by_id, &at, hold_if_damaged, q);)
		;
}

struct shift {
	int64_t us;
};

static void shift_mail(void *arg, struct table_link *link)
{
	struct shift *shift = arg;

	ITEM_OF(link, struct mail, link)->arrival_wall += shift->us;
}

/*
 * A clock that was set is no time that passed: what is queued keeps its age.
 * Across a restart only the arrival on disk is known.
 */
void ageing_clock(struct qmgr *q)
{
	int64_t offset = loop_wall(q->loop).us - now_us(q);
	struct shift shift = {offset - q->clock_offset};
	bool was_set = q->clock_offset && llabs(shift.us) > (int64_t)CLOCK_SET_S * 1000000;

	q->clock_offset = offset;
	if (!was_set)
		return;
	log_warning(q->d->log, "the clock was set by %lld s; what is queued keeps its age",
		    (long long)(shift.us / 1000000));
	for (size_t at = 0; table_slice(&q->mails.by_id, &at, shift_mail, &shift);)
		;
}

/* REASON is what the last attempt, at LAST, ended with. */
static void expire_one(struct qmgr *q, struct recipient *r, struct text reason,
		       struct walltime last)
{
	char text[QUEUE_TEXT_MAX];

	snprintf(text, sizeof text, "%s%.*s", reason.len ? EXPIRED_LAST : EXPIRED_TEXT,
		 (int)reason.len, reason.len ? reason.data : "");
	scheduler_remove(q->scheduler, r, RECIPIENT_ENDING);
	q->counters.failed++;
	/* Owed whatever NOTIFY says: report.c logs it, and settles in silence. */
	recipient_finish_at(q, r, QUEUE_FAILED, QUEUE_OWED_FAILURE, 0, text_of("4.4.7"),
			    text_of(text), last);
}

/* The reply that a recipient was deferred with stands on disk; its sender should read it. */
struct last_reply {
	struct work work;
	struct qmgr *q;
	uint64_t id;
	uint32_t number;
	struct queue_where where;
	struct queue_outcome_copy copy;
	enum queue_result result;
};

static void last_reply_run(void *arg)
{
	struct last_reply *l = arg;

	l->result = queue_read_outcome(l->q->queue, l->where, l->id, l->number, &l->copy);
}

static void last_reply_done(void *arg)
{
	struct last_reply *l = arg;
	struct mail *mail = mail_find(&l->q->mails, l->id);
	struct recipient *r = mail ? mail_recipient(mail, l->number) : NULL;
	struct text reply = {NULL, 0};
	struct walltime last = {0};

	/* What a person, or recovery, wrote there was no attempt. */
	if (l->result == QUEUE_OK && l->copy.outcome.kind == QUEUE_DEFERRED) {
		reply = l->copy.outcome.text;
		last = l->copy.outcome.at;
	}
	if (r)
		r->expiring = false;
	/* The next round asks again. */
	if (r && l->result != QUEUE_SHORT &&
	    (r->state == RECIPIENT_READY || r->state == RECIPIENT_WAITING))
		expire_one(l->q, r, reply, last);
	free(l);
}

static void expire_after_reading(struct qmgr *q, struct recipient *r)
{
	if (r->expiring || pool_pending(q->readers) > READS_MAX)
		return; /* the next round meets it again */
	struct last_reply *l = mem_new(1, sizeof *l);

	l->work = (struct work){.run = last_reply_run, .done = last_reply_done, .arg = l};
	l->q = q;
	l->id = r->mail->id;
	l->number = r->number;
	l->where = r->where;
	r->expiring = true;
	pool_add(q->readers, &l->work);
}

static struct walltime failed_at(const struct qmgr *q, const struct recipient *r)
{
	int64_t us = scheduler_failed_us(r);

	return us ? wall_of(q, us) : (struct walltime){0};
}

/* RFC 5321 section 4.5.4.1: "the give-up time generally needs to be at least 4-5 days". */
static void expire(struct qmgr *q, struct mail *mail)
{
	for (uint32_t i = 0; i < mail->recipient_count; i++) {
		struct recipient *r = &mail->recipients[i];

		if (r->state != RECIPIENT_READY && r->state != RECIPIENT_WAITING)
			continue;
		struct text reason = scheduler_reason(r);

		if (!reason.len && r->where.generation)
			expire_after_reading(q, r);
		else
			expire_one(q, r, reason, failed_at(q, r));
	}
}

static void notice(struct qmgr *q, struct mail *mail)
{
	bool owed = false;

	for (uint32_t i = 0; i < mail->recipient_count; i++) {
		struct recipient *r = &mail->recipients[i];

		if ((r->state != RECIPIENT_READY && r->state != RECIPIENT_WAITING) ||
		    (r->flags & (QUEUE_NOTICED | QUEUE_OWED_DELAY | FLAG_NO_DELAY)))
			continue;
		r->flags |= QUEUE_OWED_DELAY;
		owed = true;
	}
	if (owed)
		report_owe(q, mail, true);
}

static void age_mail(void *arg, struct table_link *link)
{
	struct qmgr *q = arg;
	struct mail *mail = ITEM_OF(link, struct mail, link);
	const struct config *c = q->d->config;
	int64_t age = loop_wall(q->loop).us - mail->arrival_wall;

	if (!mail->committed)
		return;
	if (!q->oldest_next || mail->arrival_wall < q->oldest_next)
		q->oldest_next = mail->arrival_wall;
	if (mail->damaged)
		hold_damaged(q, mail);
	if (age >= c->retry_expire.us)
		expire(q, mail);
	else if (c->retry_notice.us && age >= c->retry_notice.us)
		notice(q, mail);
}

static int64_t round_us(const struct config *c)
{
	int64_t us = c->retry_expire.us;

	if (c->retry_notice.us && c->retry_notice.us < us)
		us = c->retry_notice.us;
	us /= 8;
	if (us > (int64_t)ROUND_LONGEST_S * 1000000)
		us = (int64_t)ROUND_LONGEST_S * 1000000;
	return us < 200000 ? 200000 : us;
}

static void age_slice(void *arg)
{
	struct qmgr *q = arg;

	if (q->loaded && !store_congested(q))
		for (int i = 0; i < SLICE_SLOTS; i++)
			if (!table_slice(&q->mails.by_id, &q->age_at, age_mail, q)) {
				q->age_at = 0;
				q->oldest_wall = q->oldest_next;
				q->oldest_next = 0;
				timer_set(&q->age, (struct duration){round_us(q->d->config)});
				return;
			}
	timer_set(&q->age, MILLISECONDS(SLICE_MS));
}

void ageing_init(struct qmgr *q)
{
	timer_init(&q->age, q->loop, age_slice, q);
	timer_set(&q->age, (struct duration){round_us(q->d->config)});
}
