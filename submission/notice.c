/* SPDX-License-Identifier: ISC */
/*
 * Notices to the postmaster: limits says of which login and why, the words
 * and the recipient are ours, so that it can write to nobody else, and not
 * without end.
 */
#include "submission.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	/* takeover { most } is 1000 at most, in an hour that begins at another time, and a notice
	 * that was not taken comes again each minute. */
	NOTICES_AN_HOUR = 2100,
	SHOWN_BYTES = 600,
};

/* Printable ASCII: what a name is made of was never ours. */
static const char *plain(char *to, size_t size, struct text t)
{
	text_printable(to, size, t);
	for (char *c = to; *c; c++)
		if (*c & 0x80)
			*c = '?';
	return to;
}

static void put(struct bytes *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct bytes *to, const char *format, ...)
{
	char line[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	bytes_add(to, line, strlen(line));
	bytes_add(to, "\r\n", 2);
}

static void put_header(struct bytes *to, const struct config *config, const struct msg_notice *m,
		       const char *login, const char *postmaster)
{
	char host[SHOWN_BYTES];

	plain(host, sizeof host, config->hostname);
	put(to, "From: \"Mail Delivery System\" <MAILER-DAEMON@%s>", host);
	put(to, "To: <%s>", postmaster);
	/* A name may be long, a line may not be. */
	put(to, "Subject: Login %.200s%s", login, m->frozen ? " is frozen" : " looks taken over");
	/* The same one should it be sent again. */
	put(to, "Message-ID: <takeover.%llx.%zx@%s>", (unsigned long long)m->since_wall,
	    strlen(login), host);
	put(to, "Auto-Submitted: auto-generated"); /* RFC 3834 section 5 */
	put(to, "MIME-Version: 1.0");
	put(to, "Content-Type: text/plain; charset=us-ascii");
	put(to, "%s", "");
}

static void put_body(struct bytes *to, const struct msg_notice *m, const char *login)
{
	char when[WALLTIME_TEXT_BYTES], why[SHOWN_BYTES];

	walltime_rfc5322((struct walltime){(int64_t)m->since_wall}, when);
	put(to, "It looks as if somebody else had the password of the login");
	put(to, "%s", "");
	put(to, "    %.900s", login);
	put(to, "%s", "");
	put(to, "Sign:   %s", plain(why, sizeof why, m->why));
	put(to, "Since:  %s", when);
	put(to, "%s", "");
	if (m->frozen) {
		put(to, "Nobody can sign in by it now, and what it had in the queue is held.");
		put(to, "What waits there:      veredus queue list login=LOGIN");
		put(to, "If it was its owner:   veredus user release LOGIN");
		put(to, "If it was not:         veredus user purge LOGIN    (deletes that mail)");
		put(to, "                       veredus user passwd LOGIN");
		put(to, "                       veredus user release LOGIN");
	} else {
		put(to, "Nothing was done about it, since takeover { then } is \"tell\".");
		put(to, "What it has queued:    veredus queue list login=LOGIN");
		put(to, "To shut it out:        veredus user freeze LOGIN");
	}
}

/* False: limits wants more than there can be reason for. */
static bool may_write(struct submission *self)
{
	struct monotime now = loop_now(self->d->loop);

	if (!self->notices_since.us ||
	    seconds_of(monotime_since(now, self->notices_since)) >= 3600) {
		self->notices_since = now;
		self->notices = 0;
	}
	return ++self->notices <= NOTICES_AN_HOUR;
}

void notice_new(struct submission *self, struct channel *from, const struct msg_notice *m)
{
	const struct config *config = self->d->config;
	char login[4 * 255 + 1], postmaster[513];
	struct bytes content = {0}, recipients = {0};

	if (!may_write(self) || m->frozen > 1 || m->since_wall > INT64_MAX) {
		channel_end(from, "wants notices without end, or of nothing");
		return;
	}
	plain(login, sizeof login, m->login);
	config_postmaster(config, postmaster, sizeof postmaster);
	put_header(&content, config, m, login, postmaster);
	put_body(&content, m, login);
	/* RFC 3461 section 6.1: nobody is told of its failure. */
	rec_handin_recipient_encode(
	    &recipients, &(struct rec_handin_recipient){text_of(postmaster), NOTIFY_NEVER});
	letter_new(
	    self, from,
	    &(struct msg_handin){
		.token = m->token,
		.recipients = {1, {(const char *)bytes_at(&recipients), bytes_len(&recipients)}},
		.content = {(const char *)bytes_at(&content), bytes_len(&content)},
		.content_length = bytes_len(&content),
	    },
	    -1, false);
	bytes_free(&content);
	bytes_free(&recipients);
}
