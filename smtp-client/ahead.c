/* SPDX-License-Identifier: ISC */
/*
 * Jobs that are sent ahead of the replies to the one under way.
 *
 * Several whole mails: MAIL RCPT.. BDAT n LAST, RSET MAIL RCPT.. BDAT n LAST, ... RFC 2920 section
 * 3.1: "the commands RSET, MAIL FROM, SEND FROM, SOML FROM, SAML FROM, and RCPT TO can all appear
 * anywhere in a pipelined command group", and a BDAT with its octets is told from what follows by
 * its length alone. What becomes of a mail is not known when the next one is sent, and RFC 3030
 * section 2 says: "The resulting state from a failed BDAT command is indeterminate. A RSET command
 * MUST be issued to clear the transaction before additional commands may be sent." So each has a
 * RSET before it, whatever came of the one before: after its reply no transaction is open. And that
 * reply has to be a 2xx: a receiver that took part of a content for commands is found out there,
 * before any of its replies is taken for the next mail's.
 *
 * A mail whose MAIL, or all of whose RCPTs, were refused has been sent all the same: the receiver
 * "MUST accept and discard the associated message data before sending the appropriate 5XX or 4XX
 * code" (there).
 *
 * RFC 2920 section 3.1 forbids a deadlock of two sides that both only write: replies are read
 * whenever they come, whatever is still to be written.
 */
#include "outbound.h"

#include <string.h>

size_t ahead_bytes(const struct dialog *d)
{
	size_t bytes = 0;

	for (uint8_t i = 0; i < d->ahead_count; i++)
		bytes += d->ahead[i].bytes;
	return bytes;
}

static bool has_room(const struct dialog *d, const struct job *job)
{
	size_t used = d->job->content.len;

	for (uint8_t i = 0; i < d->ahead_count; i++)
		used += d->ahead[i].job->content.len;
	return used <= DIALOG_AHEAD_BYTES && job->content.len <= DIALOG_AHEAD_BYTES - used;
}

static bool may_mail(const struct dialog *d)
{
	return !d->offers.mail_max || d->mails < d->offers.mail_max;
}

/* Behind a chunk, of which the reply is missing like those of what went before it. */
static bool may_go_whole(const struct dialog *d, const struct job *job)
{
	if (!d->several || !d->job || d->over || d->next_verb != VERB_COUNT)
		return false;
	if (d->job->alone || job->alone || !outbound_chunks(d, job) || ring_last(d) != VERB_BDAT)
		return false;
	return d->ahead_count < DIALOG_AHEAD && may_mail(d) && has_room(d, job);
}

/* Its commands alone, behind the final dot. */
static bool may_go_ahead(const struct dialog *d, const struct job *job)
{
	if (!d->job || d->ahead_count || d->over || d->feeding || d->needs_rset ||
	    hop_is_lmtp(d->how))
		return false;
	if (!(d->offers.set & OFFERS_PIPELINING) || outbound_chunks(d, job) || !may_mail(d))
		return false;
	/* Nobody of the one under way needs a further transaction. */
	return d->ring_count == 1 && ring_head(d) == VERB_DOT && d->accepted == d->job->open;
}

bool dialog_chunks(const struct dialog *d)
{
	return (d->offers.set & OFFERS_CHUNKING) && (d->offers.set & OFFERS_PIPELINING) &&
	       !hop_is_lmtp(d->how);
}

bool dialog_send_ahead(struct dialog *d, struct job *job)
{
	bool whole = may_go_whole(d, job);

	/* What might be refused without asking is left to dialog_begin(). */
	if ((!whole && !may_go_ahead(d, job)) || !dialog_may_take(d, job))
		return false;
	d->ahead_whole = whole;
	outbound_send_behind(d, job, whole ? VERB_RSET : VERB_MAIL);
	return true;
}

void dialog_forget_ahead(struct dialog *d)
{
	if (!d->ahead_count || d->ahead_whole)
		return;
	d->over = true;
	d->ahead_count = 0;
}

void ahead_take(struct dialog *d)
{
	d->job = d->ahead[0].job;
	d->batch_end = d->ahead[0].batch_end;
	memmove(d->ahead, d->ahead + 1, --d->ahead_count * sizeof *d->ahead);
	d->was_ahead = true;
	d->accepted = d->reply_cursor = 0;
	d->mail_refused = d->later = false;
}
