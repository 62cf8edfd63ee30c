/* SPDX-License-Identifier: ISC */
/*
 * Notices to the postmaster: limits says of which login and why, the words
 * and the recipient are ours, so that it can write to nobody else, and not
 * without end.
 */
#include "submission.h"

#include "mail_line.h"

#include <stdio.h>
#include <string.h>

enum {
	/* takeover { most } is 1000 at most, in an hour that begins at another time, and a notice
	 * that was not taken comes again each minute. */
	NOTICES_AN_HOUR = 2100,
	SHOWN_BYTES = 600,
};

static void put_header(struct bytes *to, const struct config *config, const struct msg_notice *m,
		       const char *login, const char *postmaster)
{
	char host[SHOWN_BYTES];

	mail_plain(host, sizeof host, config->hostname);
	mail_line(to, "From: \"Mail Delivery System\" <MAILER-DAEMON@%s>", host);
	mail_line(to, "To: <%s>", postmaster);
	/* A name may be long, a line may not be. */
	mail_line(to, "Subject: Login %.200s%s", login,
		  m->frozen ? " is frozen" : " looks taken over");
	/* The same one should it be sent again. */
	mail_line(to, "Message-ID: <takeover.%llx.%zx@%s>", (unsigned long long)m->since_wall,
		  strlen(login), host);
	mail_line(to, "Auto-Submitted: auto-generated"); /* RFC 3834 section 5 */
	mail_line(to, "MIME-Version: 1.0");
	mail_line(to, "Content-Type: text/plain; charset=us-ascii");
	mail_line(to, "%s", "");
}

static void put_body(struct bytes *to, const struct msg_notice *m, const char *login)
{
	char when[WALLTIME_TEXT_BYTES], why[SHOWN_BYTES];

	walltime_rfc5322((struct walltime){(int64_t)m->since_wall}, when);
	mail_line(to, "It looks as if somebody else had the password of the login");
	mail_line(to, "%s", "");
	mail_line(to, "    %.900s", login);
	mail_line(to, "%s", "");
	mail_line(to, "Sign:   %s", mail_plain(why, sizeof why, m->why));
	mail_line(to, "Since:  %s", when);
	mail_line(to, "%s", "");
	if (m->frozen) {
		mail_line(to,
			  "Nobody can sign in by it now, and what it had in the queue is held.");
		mail_line(to, "What waits there:      veredus queue list login=LOGIN");
		mail_line(to, "If it was its owner:   veredus user release LOGIN");
		mail_line(to,
			  "If it was not:         veredus user purge LOGIN    (deletes that mail)");
		mail_line(to, "                       veredus user passwd LOGIN");
		mail_line(to, "                       veredus user release LOGIN");
	} else {
		mail_line(to, "Nothing was done about it, since takeover { then } is \"tell\".");
		mail_line(to, "What it has queued:    veredus queue list login=LOGIN");
		mail_line(to, "To shut it out:        veredus user freeze LOGIN");
	}
}

void notice_new(struct submission *self, struct channel *from, const struct msg_notice *m)
{
	const struct config *config = self->d->config;
	char login[4 * 255 + 1], postmaster[513];
	struct bytes content = {0};

	if (!hourly_take(self, &self->notices, NOTICES_AN_HOUR) || m->frozen > 1 ||
	    m->since_wall > INT64_MAX) {
		channel_end(from, "wants notices without end, or of nothing");
		return;
	}
	mail_plain(login, sizeof login, m->login);
	config_postmaster(config, postmaster, sizeof postmaster);
	put_header(&content, config, m, login, postmaster);
	put_body(&content, m, login);
	letter_ours(self, from, m->token, (struct text){NULL, 0}, text_of(postmaster), &content);
	bytes_free(&content);
}
