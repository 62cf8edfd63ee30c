/* SPDX-License-Identifier: ISC */
/* What a transaction's commands and its content are answered with. */
#include "outbound.h"

#include <string.h>

enum dialog_says outbound_on_rset(struct dialog *d, struct reply *r)
{
	if (reply_class(r) != 2)
		return dialog_fail(d, "4.5.0", "protocol error: RSET was refused");
	d->needs_rset = false;
	return d->next_verb == VERB_COUNT ? DIALOG_WAIT : outbound_send(d);
}

/* A fresh connection; nothing but commands went ahead. */
static enum dialog_says mail_again(struct dialog *d)
{
	d->over = true;
	d->job = NULL;
	return DIALOG_AGAIN;
}

/* The content is on its way: its reply, a refusal, comes first. */
static enum dialog_says mail_later(struct dialog *d)
{
	if (reply_class(&d->reader.reply) == 3)
		return dialog_fail(d, "4.5.0", "protocol error: unexpected reply to MAIL");
	d->mail_refused = d->later = true;
	d->mail_answered = false;
	return DIALOG_WAIT;
}

enum dialog_says outbound_on_mail(struct dialog *d, struct reply *r)
{
	bool pipelined = (d->offers.set & OFFERS_PIPELINING) != 0;

	/* Perhaps it cannot stand what went ahead: the answer that counts is one to MAIL alone. */
	if (d->was_ahead && reply_class(r) != 2)
		return ring_has(d, VERB_BDAT) ? mail_later(d) : mail_again(d);
	d->was_ahead = false;
	if (reply_class(r) == 3)
		return dialog_fail(d, "4.5.0", "protocol error: unexpected reply to MAIL");
	d->mail_answered = true;
	if (reply_class(r) == 2)
		return pipelined ? DIALOG_WAIT : outbound_send(d);
	/* RFC 4954 section 6, 530 and 535: that we are not, or no longer, logged in is not the
	 * mail's fault. */
	bool unlogged = d->login && (r->code == 530 || r->code == 535);

	/* "Not from you, for now": another host may think otherwise. */
	if (unlogged || (reply_class(r) == 4 && r->enhanced && strncmp(r->dsn, "4.7.", 4) == 0)) {
		/* The mails behind it may be taken: who leaves now sends them twice. */
		if (d->ahead_count)
			return mail_later(d);
		d->unlogged = unlogged;
		return dialog_go_on(d);
	}
	const struct verdict v = outbound_verdict(r);

	d->mail_refused = true;
	job_widen(d->job, SCOPE_MESSAGE);
	job_settle_open(d->job, &v);
	return pipelined ? DIALOG_WAIT : outbound_end(d, false);
}

/*
 * "Too many recipients" (RFC 5321 4.5.3.1.10): those that were accepted go
 * first, these in a transaction of their own.
 */
static bool is_too_many(const struct dialog *d, const struct reply *r)
{
	return r->code == 452 && d->accepted && (!r->enhanced || reply_status_is(r, ".5.3"));
}

static void rcpt_verdict(struct dialog *d, struct recipient *r, struct reply *reply)
{
	if (reply->code == 552) {
		/* RFC 5321 4.5.3.1.10: treated as if it were 452. */
		reply->code = 452;
		reply->dsn[0] = '4';
	}
	if (reply_class(reply) == 2) {
		r->stage = RECIPIENT_ACCEPTED;
		d->accepted++;
	} else if (is_too_many(d, reply)) {
		r->stage = RECIPIENT_WAITING;
	} else {
		const struct verdict v = outbound_verdict(reply);

		job_widen(d->job, SCOPE_RECIPIENT);
		job_settle(d->job, r, &v);
	}
}

enum dialog_says outbound_on_rcpt(struct dialog *d, struct reply *reply)
{
	if (!d->mail_refused) {
		struct recipient *r = outbound_next(d, &d->reply_cursor, RECIPIENT_SENT);

		if (!r || reply_class(reply) == 3)
			return dialog_fail(d, "4.5.0", "protocol error: unexpected reply to RCPT");
		rcpt_verdict(d, r, reply);
	}
	if (d->next_verb == VERB_COUNT)
		return DIALOG_WAIT;
	/* Step by step: no DATA without anybody to send to. */
	if (d->next_verb == VERB_DATA && !d->accepted)
		return outbound_end(d, false);
	return outbound_send(d);
}

enum dialog_says outbound_on_data(struct dialog *d, struct reply *r)
{
	if (reply_class(r) == 3) {
		if (d->accepted)
			return outbound_content(d);
		/* RFC 2920 section 3.1: an empty content, which delivers nothing. */
		PUT(d->out, ".\r\n");
		ring_push(d, VERB_LONE_DOT);
		return DIALOG_WAIT;
	}
	if (reply_class(r) == 2)
		return dialog_fail(d, "4.5.0", "protocol error: unexpected reply to DATA");
	if (d->accepted) {
		job_widen(d->job, SCOPE_MESSAGE);
		outbound_settle(d, RECIPIENT_ACCEPTED, r);
	}
	return outbound_end(d, false);
}

enum dialog_says outbound_on_content(struct dialog *d, struct reply *r)
{
	bool fine = reply_class(r) == 2 && d->accepted;

	if (reply_class(r) == 3)
		return dialog_fail(d, "4.5.0", "protocol error: unexpected reply to the content");
	if (d->later) {
		if (reply_class(r) == 2)
			return dialog_fail(d, "4.5.0",
					   "protocol error: content without MAIL taken");
		d->needs_rset = true;
		return outbound_later(d);
	}
	if (d->accepted && !fine)
		job_widen(d->job, SCOPE_MESSAGE);
	outbound_settle(d, RECIPIENT_ACCEPTED, r);
	return outbound_end(d, fine);
}

/* RFC 2033 section 4.2: after the final dot a reply for each recipient that was accepted. */
enum dialog_says outbound_on_dot(struct dialog *d, struct reply *r)
{
	if (!hop_is_lmtp(d->how))
		return outbound_on_content(d, r);
	if (d->accepted && d->reply_cursor == d->batch_end)
		d->reply_cursor = 0;
	struct recipient *to = outbound_next(d, &d->reply_cursor, RECIPIENT_ACCEPTED);

	if (!to || reply_class(r) == 3)
		return dialog_fail(d, "4.5.0", "protocol error: unexpected reply to the content");
	const struct verdict v = outbound_verdict(r);

	if (v.kind != OUTCOME_RELAYED)
		job_widen(d->job, SCOPE_RECIPIENT);
	to->receiver_dsn = v.kind == OUTCOME_RELAYED && (d->offers.set & OFFERS_DSN);
	job_settle(d->job, to, &v);
	if (!--d->accepted)
		return outbound_end(d, true);
	ring_push(d, VERB_DOT);
	return DIALOG_WAIT;
}

enum dialog_says outbound_on_lone_dot(struct dialog *d, struct reply *r)
{
	(void)r;
	return outbound_end(d, false);
}
