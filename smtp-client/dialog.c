/* SPDX-License-Identifier: ISC */
/* The engine: how it ends, the table of verbs, and the owner's calls. */
#include "outbound.h"

#include <stdio.h>
#include <string.h>

enum { QUIT_PATIENCE_S = 2, IDLE_PATIENCE_S = 120 };

/* -- how it ends --------------------------------------------------------------- */

void dialog_say(struct reply *to, const char *dsn, const char *what)
{
	int n = snprintf(to->text, sizeof to->text, "%s", what);

	to->code = 0;
	to->enhanced = true;
	to->len = (uint16_t)((size_t)n < sizeof to->text ? (size_t)n : sizeof to->text - 1);
	text_copy(to->dsn, sizeof to->dsn, text_of(dsn));
}

/* What was not sent must never be: a content that counts as deferred would arrive. */
static void unsent_drop(struct dialog *d)
{
	d->out->end = d->out->start;
	d->unflushed = d->feeding = false;
}

/*
 * The conversation is over before its end: what is open of the job gets the
 * verdict of the reader's reply (a receiver's or ours).
 */
static enum dialog_says broken_off(struct dialog *d, enum failure_scope scope)
{
	struct verdict v = outbound_verdict(&d->reader.reply);

	unsent_drop(d);
	d->over = true;
	d->ring_count = 0;
	if (!d->up)
		return DIALOG_REFUSED;
	if (!d->job)
		return DIALOG_OVER;
	if (v.kind == OUTCOME_RELAYED)
		v.kind = OUTCOME_DEFERRED;
	job_widen(d->job, scope);
	job_settle_open(d->job, &v);
	return outbound_job_settled(d);
}

/* Before the content the host is to blame, afterwards it may be the message. */
static enum failure_scope scope_now(const struct dialog *d)
{
	return d->next_verb == VERB_COUNT && (d->accepted || ring_has(d, VERB_BDAT)) &&
		       !ring_has(d, VERB_DATA)
		   ? SCOPE_MESSAGE
		   : SCOPE_SITE;
}

enum dialog_says dialog_fail(struct dialog *d, const char *dsn, const char *what)
{
	enum failure_scope scope = scope_now(d);

	d->strange |= strcmp(dsn, "4.5.0") == 0;
	dialog_say(&d->reader.reply, dsn, what);
	return broken_off(d, scope);
}

/* A job on a reused connection that got no answer to MAIL was never begun. */
static bool job_is_stale(const struct dialog *d)
{
	return d->job && d->jobs > 1 && !d->mail_answered && !d->job->retried;
}

static enum dialog_says stale(struct dialog *d)
{
	unsent_drop(d);
	d->over = true;
	d->ring_count = 0;
	for (uint32_t i = 0; i < d->job->recipient_count; i++)
		if (d->job->recipients[i].stage != RECIPIENT_SETTLED)
			d->job->recipients[i].stage = RECIPIENT_WAITING;
	d->job->retried = true;
	d->job = NULL;
	return DIALOG_STALE;
}

/*
 * Has the host not got as far as the content, so that another one may be
 * tried at once? RFC 5321 5.1: the client "MUST be able to try (and retry)
 * each of the relevant addresses in this list in order". A 421 to what came
 * before the content says that it was not taken; without a reply (ANSWERED is
 * false), a chunk that went with the commands may have been.
 */
static bool job_may_go_on(const struct dialog *d, bool answered)
{
	enum dialog_verb verb = ring_head(d);

	return d->up && d->job && d->job->open && !d->feeding && verb >= VERB_RSET &&
	       verb <= VERB_DATA && (answered || !ring_has(d, VERB_BDAT));
}

enum dialog_says dialog_go_on(struct dialog *d)
{
	unsent_drop(d);
	d->over = true;
	d->job = NULL;
	return DIALOG_REFUSED;
}

/* -- verbs ----------------------------------------------------------------------- */

static enum dialog_says on_quit(struct dialog *d, struct reply *r)
{
	(void)r;
	d->over = true;
	return DIALOG_OVER;
}

static const struct {
	const char *name; /* for people */
	enum dialog_says (*on_reply)(struct dialog *d, struct reply *r);
} verbs[VERB_COUNT] = {
    [VERB_GREETING] = {"the greeting", opening_on_greeting},
    [VERB_EHLO] = {"the reply to EHLO", opening_on_ehlo},
    [VERB_HELO] = {"the reply to HELO", opening_on_helo},
    [VERB_STARTTLS] = {"the reply to STARTTLS", opening_on_starttls},
    [VERB_AUTH] = {"the reply to AUTH", opening_on_auth},
    [VERB_RSET] = {"the reply to RSET", outbound_on_rset},
    [VERB_MAIL] = {"the reply to MAIL", outbound_on_mail},
    [VERB_RCPT] = {"the reply to RCPT", outbound_on_rcpt},
    [VERB_DATA] = {"the reply to DATA", outbound_on_data},
    [VERB_DOT] = {"the reply to the final dot", outbound_on_dot},
    [VERB_LONE_DOT] = {"the reply to the final dot", outbound_on_lone_dot},
    [VERB_BDAT] = {"the reply to BDAT", outbound_on_content},
    [VERB_QUIT] = {"the reply to QUIT", on_quit},
};

/* -- input -------------------------------------------------------------------------- */

/* A reply that nothing was sent for. */
static enum dialog_says unasked(struct dialog *d)
{
	struct reply *r = &d->reader.reply;

	/* A refusal while the content is still going out is its reply; going on would be pointless.
	 */
	if (d->job && d->feeding && reply_class(r) >= 4)
		return broken_off(d, r->code == 421 ? SCOPE_SITE : SCOPE_MESSAGE);
	return dialog_fail(d, "4.5.0", "protocol error: a reply that was not asked for");
}

static enum dialog_says take_reply(struct dialog *d, bool more_behind)
{
	enum dialog_verb verb = ring_head(d);
	size_t appended = bytes_len(d->out);
	bool last = d->ring_count == 1 && d->ring[d->ring_head].count == 1;

	if (verb == VERB_COUNT)
		return unasked(d);
	/* RFC 5321 3.8: 421 may come at any time, and ends it. */
	if (d->reader.reply.code == 421 && d->up && verb != VERB_QUIT) {
		if (job_is_stale(d))
			return stale(d);
		return job_may_go_on(d, true) ? dialog_go_on(d) : broken_off(d, SCOPE_SITE);
	}
	ring_pop(d);
	enum dialog_says says = verbs[verb].on_reply(d, &d->reader.reply);

	/* LMTP's further replies to the dot are in the ring by now. */
	if (!more_behind || !last || (verb == VERB_DOT && ring_head(d) == VERB_DOT))
		return says;
	/* Bytes that came before the question was asked answer nothing: what was just said is taken
	 * back. */
	if (says == DIALOG_SETTLED || says == DIALOG_REFUSED || says == DIALOG_OVER) {
		d->over = true;
		return says;
	}
	if (says == DIALOG_READY)
		d->up = false;
	if (bytes_len(d->out) > appended)
		d->out->end = d->out->start + appended;
	return d->job || !d->up
		   ? dialog_fail(d, "4.5.0", "protocol error: a reply that was not asked for")
		   : says;
}

enum dialog_says dialog_input(struct dialog *d, const uint8_t *data, size_t len, size_t *used)
{
	for (*used = 0; *used < len;) {
		enum reply_step step;
		enum dialog_says says;

		*used += reply_read(&d->reader, data + *used, len - *used, &step);
		if (step == REPLY_MORE)
			return DIALOG_WAIT;
		if (step == REPLY_BROKEN)
			return dialog_fail(d, "4.5.0",
					   "protocol error: the receiver's reply is malformed");
		if (ring_head(d) == VERB_EHLO && d->reader.reply.code / 100 == 2)
			opening_ehlo_line(d, d->reader.line);
		if (step == REPLY_LINE)
			continue;
		says = take_reply(d, *used < len);
		if (says != DIALOG_WAIT)
			return says;
	}
	return DIALOG_WAIT;
}

/* -- the owner's other calls ----------------------------------------------------------- */

void dialog_start(struct dialog *d, const struct config *config, enum hop_how how,
		  enum dialog_tls tls, struct bytes *out)
{
	memset(d, 0, sizeof *d);
	d->config = config;
	d->how = (uint8_t)how;
	d->tls = (uint8_t)tls;
	d->out = out;
	d->next_verb = VERB_COUNT;
	d->secured = tls == DIALOG_TLS_DONE;
	ring_push(d, VERB_GREETING);
}

static bool is_too_large(const struct dialog *d, const struct job *job)
{
	return d->offers.size_limit && job_size(job) > d->offers.size_limit;
}

/* What would fail here without asking; false: nothing. */
static bool refuse_unasked(struct dialog *d, struct job *job)
{
	char text[96];

	if (!content_is_clean(job->content, &job->dotted)) {
		/* Never sent: another server may take a bare CR or LF for an end of line. */
		const struct verdict v = {OUTCOME_FAILED, 0, "5.6.0",
					  TEXT("the message holds a bare CR or LF")};

		job_widen(job, SCOPE_MESSAGE);
		job_settle_open(job, &v);
		return true;
	}
	if (is_too_large(d, job)) {
		snprintf(
		    text, sizeof text, "message size %llu exceeds the receiver's limit of %llu",
		    (unsigned long long)job_size(job), (unsigned long long)d->offers.size_limit);
		const struct verdict v = {OUTCOME_FAILED, 0, "5.3.4", text_of(text)};

		job_widen(job, SCOPE_MESSAGE);
		job_settle_open(job, &v);
		return true;
	}
	return false;
}

/* RFC 6152 section 3 and RFC 6531 3.2: what the receiver does not take is never sent. */
static enum job_unfit unfit_here(const struct dialog *d, const struct job *job)
{
	if (d->requires && !(d->offers.set & OFFERS_REQUIRETLS))
		return UNFIT_REQUIRETLS;
	if (!(d->offers.set & OFFERS_SMTPUTF8) && job_needs_utf8(job))
		return UNFIT_UTF8;
	if (job->body_type == BODY_8BITMIME && !(d->offers.set & OFFERS_8BITMIME) &&
	    job_is_8bit(job))
		return UNFIT_8BIT;
	return UNFIT_NONE;
}

enum dialog_says dialog_begin(struct dialog *d, struct job *job)
{
	must(job && dialog_is_free(d) && !d->ring_count == !d->ahead_count);
	d->was_ahead = false;
	if (d->ahead_count) {
		must(d->ahead[0].job == job);
		d->jobs++;
		d->mail_answered = false;
		ahead_take(d);
		return DIALOG_WAIT;
	}
	if (!job->open || refuse_unasked(d, job))
		return DIALOG_SETTLED;
	enum job_unfit unfit = unfit_here(d, job);

	if (unfit) {
		job->unfit = (uint8_t)unfit;
		return DIALOG_UNFIT;
	}
	/* A transaction that a former connection did not finish begins anew. */
	for (uint32_t i = 0; i < job->recipient_count; i++)
		if (job->recipients[i].stage != RECIPIENT_SETTLED)
			job->recipients[i].stage = RECIPIENT_WAITING;
	d->jobs++;
	d->mail_answered = false;
	d->job = job;
	return outbound_begin(d);
}

bool dialog_may_take(const struct dialog *d, struct job *job)
{
	return job->open && job->fd < 0 && content_is_clean(job->content, &job->dotted) &&
	       !is_too_large(d, job) && !unfit_here(d, job);
}

void dialog_flushed(struct dialog *d)
{
	d->unflushed = false;
}

uint64_t dialog_wants_body(const struct dialog *d, uint64_t *offset)
{
	if (!d->feeding)
		return 0;
	*offset = d->job->body_length - d->body_left;
	return d->body_left;
}

static enum dialog_says content_is_bad(struct dialog *d)
{
	const struct verdict v = {OUTCOME_FAILED, 0, "5.6.0",
				  TEXT("the message holds a bare CR or LF")};

	/* No dot follows: the receiver throws away what it has. */
	unsent_drop(d);
	d->over = true;
	d->ring_count = 0;
	job_widen(d->job, SCOPE_MESSAGE);
	job_settle_open(d->job, &v);
	return outbound_job_settled(d);
}

enum dialog_says dialog_body(struct dialog *d, struct text block)
{
	enum content_place place = (enum content_place)d->place;

	must(d->feeding && block.len <= d->body_left);
	if (!block.len)
		return dialog_fail(d, "4.3.0", "the message could not be read");
	bool clean = content_stuff(&place, d->out, block);

	d->place = (uint8_t)place;
	d->body_left -= block.len;
	d->unflushed = true;
	if (!clean || (!d->body_left && place != CONTENT_LINE_START))
		return content_is_bad(d);
	if (!d->body_left) {
		d->feeding = false;
		outbound_content_end(d);
	}
	return DIALOG_WAIT;
}

bool dialog_is_sending(const struct dialog *d)
{
	return d->feeding || (d->unflushed && bytes_len(d->out) > ahead_bytes(d));
}

struct duration dialog_patience(const struct dialog *d)
{
	const struct config *c = d->config;

	/* RFC 5321 section 4.5.3.2: a time for each reply. A receiver that is at work on a content
	 * need not read what comes behind it. */
	if (dialog_is_sending(d))
		return c->timeout_block;
	switch (ring_head(d)) {
	case VERB_GREETING:
		return c->timeout_greeting;
	case VERB_DATA:
		return c->timeout_data;
	case VERB_DOT:
	case VERB_LONE_DOT:
	case VERB_BDAT:
		return c->timeout_dot;
	case VERB_QUIT:
		return SECONDS(QUIT_PATIENCE_S);
	case VERB_COUNT:
		return SECONDS(IDLE_PATIENCE_S);
	case VERB_EHLO:
	case VERB_HELO:
	case VERB_STARTTLS:
	case VERB_AUTH:
	case VERB_RSET:
	case VERB_MAIL:
	case VERB_RCPT:
	default:
		return c->timeout_mail;
	}
}

/* "WHAT while waiting for the reply to MAIL" */
static enum dialog_says interrupted(struct dialog *d, const char *what)
{
	char text[REPLY_TEXT_MAX];
	enum dialog_verb verb = ring_head(d);

	if (verb == VERB_COUNT && !d->up)
		snprintf(text, sizeof text, "%s while logging in", what);
	else if (verb == VERB_COUNT)
		snprintf(text, sizeof text, "%s while sending the content", what);
	else
		snprintf(text, sizeof text, "%s while waiting for %s", what, verbs[verb].name);
	if (job_may_go_on(d, false)) {
		dialog_say(&d->reader.reply, "4.4.2", text);
		return dialog_go_on(d);
	}
	return dialog_fail(d, "4.4.2", text);
}

enum dialog_says dialog_expired(struct dialog *d)
{
	if (d->up && !d->job && !d->over && !d->ring_count) {
		/* Idle for long: a server would rather be told. */
		dialog_quit(d);
		return DIALOG_WAIT;
	}
	if (d->was_ahead && job_is_stale(d))
		return stale(d);
	return interrupted(d, "timed out");
}

enum dialog_says dialog_ended(struct dialog *d, const char *why)
{
	char text[REPLY_TEXT_MAX / 2];

	if (job_is_stale(d))
		return stale(d);
	snprintf(text, sizeof text, "lost the connection (%s)", why);
	return interrupted(d, text);
}

enum dialog_says dialog_cut(struct dialog *d)
{
	dialog_say(&d->reader.reply, "4.3.2", "the delivery was interrupted: this server stops");
	return broken_off(d, SCOPE_RECIPIENT);
}

void dialog_quit(struct dialog *d)
{
	must(!d->job && !d->ahead_count);
	d->over = true;
	PUT(d->out, "QUIT\r\n");
	ring_push(d, VERB_QUIT);
}

bool dialog_asks_for_tls(const struct dialog *d)
{
	return !d->over && ring_head(d) == VERB_STARTTLS;
}

bool dialog_past_dot(const struct dialog *d)
{
	return ring_head(d) == VERB_DOT || ring_has(d, VERB_BDAT);
}

bool dialog_awaits_end(const struct dialog *d)
{
	enum dialog_verb verb = ring_head(d);

	return (verb == VERB_DOT || verb == VERB_BDAT) && !dialog_is_sending(d);
}

const struct reply *dialog_trouble(const struct dialog *d)
{
	return &d->reader.reply;
}
