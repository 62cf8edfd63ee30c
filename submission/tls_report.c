/* SPDX-License-Identifier: ISC */
/*
 * Reports on TLS by mail (RFC 8460 section 5.3): limits says for which domain,
 * to whom, and brings the compressed report; the words, who it is from, and
 * the form are ours, so that limits can write nothing else, and not without end.
 */
#include "submission.h"

#include "base64.h"
#include "mail_line.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum {
	REPORTS_AN_HOUR = 20000, /* twice what limits wants at most */
	SHOWN_BYTES = 700,
	LINE_OCTETS = 57, /* 76 characters of base64 */
	BOUNDARY_BYTES = 33,
};

/* A name for a header: letters, digits, dots and their like, and nothing that ends a field. */
static bool is_name(struct text t, const char *more)
{
	for (size_t i = 0; i < t.len; i++)
		if (!ascii_is_alnum(t.data[i]) && text_find(text_of(more), t.data[i]) < 0)
			return false;
	return t.len > 0 && t.len < SHOWN_BYTES;
}

/* An address as tls_record.c makes it: printable ASCII. */
static bool is_address(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (t.data[i] < ' ' || t.data[i] > '~')
			return false;
	return t.len > 0 && text_find(t, '@') > 0;
}

static void boundary_make(char to[BOUNDARY_BYTES])
{
	uint8_t random[(BOUNDARY_BYTES - 1) / 2];

	if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		memset(random, 0, sizeof random); /* base64 has no line that begins with "--" */
	for (size_t i = 0; i < sizeof random; i++)
		snprintf(to + 2 * i, 3, "%02x", random[i]);
}

/*
 * RFC 8460 section 5.3: TLS-Report-Submitter "MUST match the value found in
 * the filename" and the contact's domain. RFC 8689 section 5: "TLS-Required:
 * No", since the mail is about the TLS that fails: RFC 8460 section 3,
 * "Sending MTAs MUST deliver reports despite any TLS-related failures".
 */
static void put_header(struct bytes *to, const struct config *config,
		       const struct msg_tls_report *m, const char *submitter, const char *boundary)
{
	char domain[SHOWN_BYTES], id[SHOWN_BYTES];

	text_copy(domain, sizeof domain, m->domain);
	text_copy(id, sizeof id, m->report_id);
	mail_line(to, "From: <%.*s>", (int)config->tlsrpt_contact.len, config->tlsrpt_contact.data);
	mail_line(to, "To: <%.*s>", (int)m->to.len, m->to.data);
	mail_line(to, "Subject: Report Domain: %s", domain);
	mail_line(to, " Submitter: %s", submitter);
	mail_line(to, " Report-ID: <%s>", id);
	mail_line(to, "Message-ID: <%s>", id);
	mail_line(to, "TLS-Report-Domain: %s", domain);
	mail_line(to, "TLS-Report-Submitter: %s", submitter);
	mail_line(to, "TLS-Required: No");
	mail_line(to, "Auto-Submitted: auto-generated"); /* RFC 3834 section 5 */
	mail_line(to, "MIME-Version: 1.0");
	mail_line(to, "Content-Type: multipart/report; report-type=\"tlsrpt\";");
	mail_line(to, " boundary=\"%s\"", boundary);
	mail_line(to, "%s", "");
}

static void put_words(struct bytes *to, const struct msg_tls_report *m, const char *submitter,
		      const char *boundary)
{
	char domain[SHOWN_BYTES];

	text_copy(domain, sizeof domain, m->domain);
	mail_line(to, "--%s", boundary);
	mail_line(to, "Content-Type: text/plain; charset=us-ascii");
	mail_line(to, "%s", "");
	mail_line(to, "A report on TLS (RFC 8460) of sessions for mail to");
	mail_line(to, "%s", "");
	mail_line(to, "    %s", domain);
	mail_line(to, "%s", "");
	mail_line(to, "is attached. It comes from %s,", submitter);
	mail_line(to, "since that domain asks for such reports at _smtp._tls.");
	mail_line(to, "%s", "");
}

static void put_attachment(struct bytes *to, const struct msg_tls_report *m, const char *submitter,
			   const char *boundary)
{
	char domain[SHOWN_BYTES];
	struct text left = m->report;

	text_copy(domain, sizeof domain, m->domain);
	mail_line(to, "--%s", boundary);
	mail_line(to, "Content-Type: application/tlsrpt+gzip");
	mail_line(to, "Content-Transfer-Encoding: base64");
	mail_line(to, "Content-Disposition: attachment;");
	mail_line(to, " filename=\"%s!%s!%llu!%llu.json.gz\"", submitter, domain,
		  (unsigned long long)m->begin_s, (unsigned long long)m->end_s);
	mail_line(to, "%s", "");
	while (left.len) {
		size_t n = left.len < LINE_OCTETS ? left.len : LINE_OCTETS;

		base64_put(to, left.data, n);
		mail_line(to, "%s", "");
		left = (struct text){left.data + n, left.len - n};
	}
	mail_line(to, "--%s--", boundary);
}

static void refuse(struct channel *from, uint64_t token, unsigned code, const char *reply)
{
	channel_send_handed(
	    from,
	    &(struct msg_handed){.token = token, .code = (uint16_t)code, .reply = text_of(reply)});
}

void tls_report_new(struct submission *self, struct channel *from, const struct msg_tls_report *m)
{
	struct text contact = self->d->config->tlsrpt_contact;
	ptrdiff_t at = text_find(contact, '@');
	char boundary[BOUNDARY_BYTES], submitter[SHOWN_BYTES];
	struct bytes content = {0};

	if (!is_name(m->domain, "-_.") || !is_name(m->report_id, "-_.@") || !is_address(m->to)) {
		channel_end(from, "wants reports to nobody");
		return;
	}
	if (!hourly_take(self, &self->reports, REPORTS_AN_HOUR)) {
		refuse(from, m->token, 451, "4.3.2 too many reports in this hour");
		return;
	}
	if (at < 0) { /* across a reload it may be behind */
		refuse(from, m->token, 554, "5.3.5 not configured");
		return;
	}
	text_copy(submitter, sizeof submitter,
		  (struct text){contact.data + at + 1, contact.len - (size_t)at - 1});
	boundary_make(boundary);
	put_header(&content, self->d->config, m, submitter, boundary);
	put_words(&content, m, submitter, boundary);
	put_attachment(&content, m, submitter, boundary);
	letter_ours(self, from, m->token, self->d->config->tlsrpt_sender, m->to, &content);
	bytes_free(&content);
}
