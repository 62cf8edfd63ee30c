/* SPDX-License-Identifier: ISC */
/*
 * Expiry and delay notices. All messages are looked at in slices, again and
 * again: that costs no memory for each of them, and a clock that was set
 * wrong for a while does no harm that is not seen at once.
 */
#include "qmgr.h"

#include <stddef.h>
#include <stdio.h>

enum {
	SLICE_SLOTS = 4096,	/* of the table, in one go */
	SLICE_MS = 20,
	ROUND_LONGEST_S = 60,
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
}

/* RFC 5321 section 4.5.4.1: a give-up time of at least 4 to 5 days. */
static void expire(struct qmgr *q, struct mail *mail)
{
	for (uint32_t i = 0; i < mail->recipient_count; i++) {
		struct recipient *r = &mail->recipients[i];
		struct text reason;
		char text[400];

		if (r->state != RECIPIENT_READY && r->state != RECIPIENT_WAITING)
			continue;
		reason = scheduler_reason(r);
		snprintf(text, sizeof text, "delivery time expired%s%.*s", reason.len ? "; last: " : "",
			 (int)reason.len, reason.len ? reason.data : "");
		scheduler_remove(q->scheduler, r, RECIPIENT_ENDING);
		q->counters.failed++;
		recipient_finish(q, r, QUEUE_FAILED,
				 r->flags & FLAG_NO_FAILURE ? 0 : QUEUE_OWED_FAILURE, 0,
				 text_of("4.4.7"), text_of(text));
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
