/* SPDX-License-Identifier: ISC */
/*
 * The report about a mail that submission did not take (RFC 3464, in a
 * multipart/report of RFC 6522): why, for whom, and the mail as far as it may
 * be returned. What a program handed in was perhaps refused for its octets, so
 * that they are made harmless here.
 */
#include "pickup.h"

#include "mail_line.h"

#include <stdio.h>
#include <string.h>

enum {
	RETURN_MAX = 65536, /* octets of the mail */
	LINE_MAX_OCTETS = 990,
};

/* Lines that any receiver takes: no NUL, no bare CR or LF, none too long. */
static void put_harmless(struct bytes *to, const struct bytes *content)
{
	const uint8_t *data = bytes_at(content);
	size_t len = bytes_len(content), line = 0;

	for (size_t i = 0; i < len; i++) {
		bool ends =
		    data[i] == '\n' || (data[i] == '\r' && (i + 1 == len || data[i + 1] != '\n'));

		if (ends || line == LINE_MAX_OCTETS) {
			bytes_add(to, "\r\n", 2);
			line = 0;
		}
		if (ends || data[i] == '\r')
			continue;
		bytes_add(to, data[i] < 0x20 && data[i] != '\t' ? (const void *)"?" : data + i, 1);
		line++;
	}
	if (line)
		bytes_add(to, "\r\n", 2);
}

static void put_recipients(struct bytes *to, const struct drop_file *f, const char *reply)
{
	struct text rest = f->fields.recipients, address;
	char shown[4 * DROP_ADDRESS_MAX + 1], status[12] = "5.0.0";
	uint8_t notify;
	unsigned a, b, c;

	/* "550 5.6.9 ..." */
	if (sscanf(reply, "%*u %1u.%3u.%3u", &a, &b, &c) == 3)
		snprintf(status, sizeof status, "%u.%u.%u", a == 5 ? a : 5, b % 1000, c % 1000);
	while (drop_recipient_next(&rest, &address, &notify)) {
		mail_line(to, "%s", "");
		mail_line(to, "Final-Recipient: rfc822; %.600s",
			  mail_plain(shown, sizeof shown, address));
		mail_line(to, "Action: failed");
		mail_line(to, "Status: %s", status);
		mail_line(to, "Diagnostic-Code: smtp; %.900s", reply);
	}
}

static void put_head(struct bytes *to, const char *host, const struct drop_file *f,
		     const char *boundary)
{
	/* What is asked back is what the sender wrote himself. */
	bytes_add(to, "To: <", 5);
	bytes_add(to, f->fields.sender.data, f->fields.sender.len);
	mail_line(to, ">");
	mail_line(to, "From: \"Mail Delivery System\" <MAILER-DAEMON@%s>", host);
	mail_line(to, "Subject: Undelivered Mail Returned to Sender");
	mail_line(to, "Auto-Submitted: auto-replied"); /* RFC 3834 section 5 */
	mail_line(to, "MIME-Version: 1.0");
	mail_line(
	    to, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"",
	    boundary);
	mail_line(to, "%s", "");
}

static void put_words(struct bytes *to, const char *host, const char *when, const char *reply)
{
	mail_line(to, "Content-Type: text/plain; charset=us-ascii");
	mail_line(to, "%s", "");
	mail_line(to, "This is the mail system at host %.600s.", host);
	mail_line(to, "%s", "");
	mail_line(to, "The mail that you handed in on this machine, %s,", when);
	mail_line(to, "was not taken, and is sent to nobody:");
	mail_line(to, "%s", "");
	mail_line(to, "    %.900s", reply);
	mail_line(to, "%s", "");
}

void returned_write(const struct config *config, const struct drop_file *f, struct text reply,
		    struct walltime now, struct bytes *to)
{
	char host[600], when[WALLTIME_TEXT_BYTES], shown[1000], boundary[48];
	bool whole = f->head.content <= RETURN_MAX;
	struct bytes content = {0};

	mail_plain(host, sizeof host, config->hostname);
	mail_plain(shown, sizeof shown, reply);
	/* Random, so that nothing in the mail is taken for it. */
	snprintf(boundary, sizeof boundary, "%016llx.%llx", (unsigned long long)f->head.token,
		 (unsigned long long)now.us);
	walltime_rfc5322((struct walltime){(int64_t)f->head.wall}, when);
	put_head(to, host, f, boundary);
	mail_line(to, "--%s", boundary);
	put_words(to, host, when, shown);
	mail_line(to, "--%s", boundary);
	mail_line(to, "Content-Type: message/delivery-status");
	mail_line(to, "%s", "");
	mail_line(to, "Reporting-MTA: dns; %.600s", host);
	mail_line(to, "Arrival-Date: %s", when);
	put_recipients(to, f, shown);
	mail_line(to, "%s", "");
	mail_line(to, "--%s", boundary);
	/* A part of it is shown as text: cut off, it would be another message. */
	mail_line(to, "Content-Type: %s", whole ? "message/rfc822" : "text/plain; charset=utf-8");
	mail_line(to, "Content-Transfer-Encoding: 8bit");
	mail_line(to, "%s", "");
	if (!drop_file_content(f, RETURN_MAX, &content))
		mail_line(to, "(It cannot be read any more.)");
	put_harmless(to, &content);
	mail_line(to, "%s", "");
	mail_line(to, "--%s--", boundary);
	bytes_free(&content);
}
