/* SPDX-License-Identifier: ISC */
/* The opening of a session: from the greeting over EHLO, STARTTLS and the login to the first mail.
 */
#include "dialog_private.h"

#include <stdio.h>
#include <string.h>

static enum dialog_says refused(struct dialog *d)
{
	d->over = true;
	return DIALOG_REFUSED;
}

static void send_hello(struct dialog *d, const char *verb, enum dialog_verb expected)
{
	struct text name = d->helo.len ? d->helo : d->config->hostname;

	bytes_add(d->out, verb, strlen(verb));
	bytes_add(d->out, name.data, name.len);
	PUT(d->out, "\r\n");
	ring_push(d, expected);
}

enum dialog_says opening_on_greeting(struct dialog *d, struct reply *r)
{
	if (reply_class(r) != 2)
		return refused(d);
	send_hello(d, hop_is_lmtp(d->how) ? "LHLO " : "EHLO ", VERB_EHLO);
	return DIALOG_WAIT;
}

static enum dialog_says session_up(struct dialog *d)
{
	/* RFC 5321 5.1: mail that comes back to its own server loops. */
	if (d->loops && d->how == HOP_MX) {
		dialog_say(&d->reader.reply, "5.4.6", "mail loops back to myself");
		return refused(d);
	}
	if (d->login)
		return DIALOG_LOGIN;
	return dialog_logged_in(d);
}

/* Nothing of the mail is shown to whoever stripped the offer. */
static enum dialog_says lacks_tls(struct dialog *d, const char *what)
{
	char text[REPLY_TEXT_MAX];

	/* RFC 3463 section 3.8, X.7.4: security features that "could not be supported on the
	 * delivery protocol". */
	snprintf(text, sizeof text, "TLS is required, but %s", what);
	dialog_say(&d->reader.reply, "4.7.4", text);
	d->lacks_tls = true;
	return refused(d);
}

/* -- the login */

enum dialog_says opening_on_auth(struct dialog *d, struct reply *r)
{
	if (reply_class(r) == 3) {
		if (r->code != 334 || d->reader.lines != 1)
			return dialog_fail(d, "4.5.0", "protocol error: unexpected reply to AUTH");
		d->challenge = d->reader.line;
		return DIALOG_CHALLENGE;
	}
	d->reader.challenges = false;
	if (r->code == 421)
		return refused(d);
	return DIALOG_JUDGED;
}

/* The receiver is known; now or never is the time for TLS. */
static enum dialog_says greeted(struct dialog *d)
{
	if (d->secured || d->tls == DIALOG_CLEAR)
		return session_up(d);
	if (d->offers.set & OFFERS_STARTTLS) {
		PUT(d->out, "STARTTLS\r\n");
		ring_push(d, VERB_STARTTLS);
		return DIALOG_WAIT;
	}
	d->lacks_for_good = true;
	return d->tls == DIALOG_TLS_NEEDED ? lacks_tls(d, "the receiver does not offer it")
					   : session_up(d);
}

/* RFC 3207 4.1: when it is refused, "the client must decide whether or not to continue". */
enum dialog_says opening_on_starttls(struct dialog *d, struct reply *r)
{
	char what[REPLY_TEXT_MAX / 2];
	int most = r->len < REPLY_TEXT_MAX / 4 ? (int)r->len : REPLY_TEXT_MAX / 4;

	if (reply_class(r) == 2)
		return DIALOG_SECURE;
	if (reply_class(r) == 3)
		return dialog_fail(d, "4.5.0", "protocol error: unexpected reply to STARTTLS");
	if (r->code == 421)
		return refused(d);
	d->lacks_for_good = reply_class(r) == 5;
	snprintf(what, sizeof what, "STARTTLS was refused: %.*s", most, r->text);
	if (d->tls == DIALOG_TLS_NEEDED)
		return lacks_tls(d, what);
	d->declined = true;
	return session_up(d);
}

enum dialog_says opening_on_ehlo(struct dialog *d, struct reply *r)
{
	if (reply_class(r) == 2)
		return greeted(d);
	/* RFC 5321 3.2: a server without EHLO is greeted with HELO. */
	if (reply_class(r) == 5 && !hop_is_lmtp(d->how)) {
		d->offers = (struct offers){0};
		send_hello(d, "HELO ", VERB_HELO);
		return DIALOG_WAIT;
	}
	return refused(d);
}

enum dialog_says opening_on_helo(struct dialog *d, struct reply *r)
{
	return reply_class(r) == 2 ? greeted(d) : refused(d);
}

void opening_ehlo_line(struct dialog *d, struct text line)
{
	if (d->heard)
		d->heard(d->hearer, line);
	if (d->reader.lines > 1) {
		offers_take(&d->offers, line);
		if (!d->proved)
			d->offers.set &= ~(unsigned)OFFERS_REQUIRETLS;
		return;
	}
	size_t n = 0;

	while (n < line.len && line.data[n] != ' ')
		n++;
	d->loops = text_equal_case((struct text){line.data, n}, d->config->hostname);
}

/*
 * RFC 3207 4.2: "The client MUST discard any knowledge obtained from the
 * server, such as the list of SMTP service extensions, which was not obtained
 * from the TLS negotiation itself."
 */
void dialog_secured(struct dialog *d)
{
	must(!d->up && !d->over && !d->ring_count && !d->secured);
	d->secured = true;
	d->offers = (struct offers){0};
	d->loops = false;
	memset(&d->reader, 0, sizeof d->reader);
	send_hello(d, hop_is_lmtp(d->how) ? "LHLO " : "EHLO ", VERB_EHLO);
}
