/* SPDX-License-Identifier: ISC */
/* Transactions: who is in one, and sending it. */
#include "outbound.h"

#include "envelope.h"

/* RFC 5321 4.2.1: the first digit alone decides. */
struct verdict outbound_verdict(const struct reply *r)
{
	enum outcome_kind kind = OUTCOME_DEFERRED;

	if (reply_class(r) == 2)
		kind = OUTCOME_RELAYED;
	else if (reply_class(r) == 5)
		kind = OUTCOME_FAILED;
	return (struct verdict){kind, r->code, r->dsn, {r->text, r->len}};
}

/* The job leaves the engine; the connection stays, if it can. */
enum dialog_says outbound_job_settled(struct dialog *d)
{
	must(d->job->open == 0);
	d->job = NULL;
	return DIALOG_SETTLED;
}

bool outbound_chunks(const struct dialog *d, const struct job *job)
{
	return dialog_chunks(d) && job->fd < 0;
}

/* Marks who is in this transaction, as many as the receiver takes (RFC 9422). */
static void batch_choose(struct dialog *d)
{
	uint32_t domains = 0;
	struct text domain = {0};

	d->batch = d->batch_end = 0;
	for (uint32_t i = 0; i < d->job->recipient_count; i++) {
		struct recipient *r = &d->job->recipients[i];

		if (r->stage != RECIPIENT_WAITING)
			continue;
		if (d->offers.rcpt_max && d->batch == d->offers.rcpt_max)
			break;
		if (!domains || !text_equal_case(domain, address_domain(r->address)))
			domains++;
		if (d->offers.rcpt_domain_max && domains > d->offers.rcpt_domain_max)
			break;
		domain = address_domain(r->address);
		r->stage = RECIPIENT_SENT;
		d->batch++;
		d->batch_end = i + 1;
	}
}

struct recipient *outbound_next(const struct dialog *d, uint32_t *cursor,
				enum recipient_stage stage)
{
	while (*cursor < d->batch_end) {
		struct recipient *r = &d->job->recipients[(*cursor)++];

		if (r->stage == stage)
			return r;
	}
	return NULL;
}

/* RFC 3030 section 4.2: the content as it is, in one chunk, behind the commands. */
static void content_as_chunk(struct dialog *d)
{
	PUT(d->out, "BDAT ");
	bytes_add_number(d->out, d->job->content.len);
	PUT(d->out, " LAST\r\n");
	bytes_add(d->out, d->job->content.data, d->job->content.len);
	d->unflushed = true;
	ring_push(d, VERB_BDAT);
}

void outbound_content_end(struct dialog *d)
{
	PUT(d->out, ".\r\n");
	ring_push(d, VERB_DOT);
}

enum dialog_says outbound_content(struct dialog *d)
{
	enum content_place place = CONTENT_LINE_START;

	if (d->job->dotted)
		must(content_stuff(&place, d->out, d->job->content));
	else
		bytes_add(d->out, d->job->content.data, d->job->content.len);
	d->place = (uint8_t)place;
	d->unflushed = true;
	d->body_left = d->job->fd < 0 ? 0 : d->job->body_length;
	d->feeding = d->body_left > 0;
	if (!d->feeding)
		outbound_content_end(d);
	return DIALOG_CONTENT;
}

static void send_rcpt(struct dialog *d)
{
	struct recipient *r = outbound_next(d, &d->send_cursor, RECIPIENT_SENT);

	must(r);
	offers_put_rcpt(&d->offers, d->out, r);
	ring_push(d, VERB_RCPT);
	if (!--d->batch)
		d->next_verb = VERB_DATA;
}

/* The next command; says whether the content went with it. */
static enum dialog_says send_next(struct dialog *d)
{
	switch (d->next_verb) {
	case VERB_RSET:
		PUT(d->out, "RSET\r\n");
		ring_push(d, VERB_RSET);
		d->needs_rset = false;
		d->next_verb = VERB_MAIL;
		return DIALOG_WAIT;
	case VERB_MAIL:
		offers_put_mail(&d->offers, d->out, d->job);
		ring_push(d, VERB_MAIL);
		d->next_verb = VERB_RCPT;
		return DIALOG_WAIT;
	case VERB_RCPT:
		send_rcpt(d);
		return DIALOG_WAIT;
	default:
		d->next_verb = VERB_COUNT;
		if (outbound_chunks(d, d->job)) {
			content_as_chunk(d);
			return DIALOG_CONTENT;
		}
		PUT(d->out, "DATA\r\n");
		ring_push(d, VERB_DATA);
		return DIALOG_WAIT;
	}
}

enum dialog_says outbound_send(struct dialog *d)
{
	enum dialog_says says = DIALOG_WAIT;

	do
		says = send_next(d);
	while (d->next_verb != VERB_COUNT && (d->offers.set & OFFERS_PIPELINING));
	return says;
}

/* Begins a transaction with the recipients that wait, if there are any. */
enum dialog_says outbound_begin(struct dialog *d)
{
	if (!d->job->open)
		return outbound_job_settled(d);
	/* A transaction of its own would come behind the others, and so would its replies. */
	if (d->ahead_count && !d->over)
		return outbound_later(d);
	if (d->over || (d->offers.mail_max && d->mails >= d->offers.mail_max)) {
		d->over = true;
		d->job = NULL;
		return DIALOG_AGAIN;
	}
	d->mails++;
	d->accepted = d->send_cursor = d->reply_cursor = 0;
	d->mail_refused = d->later = false;
	batch_choose(d);
	must(d->batch);
	d->next_verb = d->needs_rset ? VERB_RSET : VERB_MAIL;
	return outbound_send(d);
}

void outbound_send_behind(struct dialog *d, struct job *job, enum dialog_verb verb)
{
	struct dialog_ahead *to = &d->ahead[d->ahead_count];
	struct job *running = d->job;
	uint32_t running_end = d->batch_end;
	size_t before = bytes_len(d->out);

	must(d->ahead_count < DIALOG_AHEAD && d->next_verb == VERB_COUNT);
	d->job = job;
	d->mails++;
	d->send_cursor = 0;
	batch_choose(d);
	must(d->batch);
	d->next_verb = (uint8_t)verb;
	outbound_send(d);
	must(d->next_verb == VERB_COUNT);
	*to = (struct dialog_ahead){job, d->batch_end, bytes_len(d->out) - before};
	d->ahead_count++;
	d->batch_end = running_end;
	d->job = running;
}

enum dialog_says outbound_later(struct dialog *d)
{
	d->job->alone = true;
	d->job = NULL;
	return DIALOG_LATER;
}

/* A transaction is over; its failures have been settled. */
enum dialog_says outbound_end(struct dialog *d, bool fine)
{
	d->next_verb = VERB_COUNT;
	if (!fine)
		d->needs_rset = true;
	return outbound_begin(d);
}

/* All in STAGE of this transaction get REPLY's verdict. */
void outbound_settle(struct dialog *d, enum recipient_stage stage, const struct reply *reply)
{
	const struct verdict v = outbound_verdict(reply);
	uint32_t cursor = 0;

	for (struct recipient *r; (r = outbound_next(d, &cursor, stage));) {
		r->receiver_dsn = v.kind == OUTCOME_RELAYED && (d->offers.set & OFFERS_DSN);
		job_settle(d->job, r, &v);
	}
}
