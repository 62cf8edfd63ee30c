/* SPDX-License-Identifier: ISC */
/* The text of a report: for people, for programs, and the original. */
#include "report.h"

#include "queue_id.h"
#include "report_field.h"

#include <string.h>

enum {
	WORDS_MAX = 48 * 1024,	      /* part for people; then the rest is counted */
	STATUS_FULL_MAX = 192 * 1024, /* above it only required fields */
	STATUS_MAX = 320 * 1024,
	AROUND_BYTES = 4096, /* our header, boundaries */
};

struct maker {
	const struct report_maker *m;
	const struct msg_report *r;
	bool utf8; /* RFC 6533 forms */
	uint32_t counts[REPORT_EXPANDED + 1];
	struct bytes words, status, original;
	const char *original_type;
};

static bool is_8bit(const struct bytes *b)
{
	return !text_is_ascii(bytes_text(b));
}

static const char *action_word(unsigned action)
{
	static const char *const words[] = {"failed",  "failed",    "delayed",
					    "relayed", "delivered", "expanded"};

	return words[action <= REPORT_EXPANDED ? action : 0];
}

/* -- for people --------------------------------------------------------------------- */

static const struct {
	uint8_t action;
	const char *heading;
} sections[] = {
    {REPORT_FAILED, "Your message was not delivered to the following recipients. Delivery to them "
		    "has ended; nothing more will be tried."},
    {REPORT_DELAYED, "Your message has not been delivered to the following recipients yet. It is "
		     "kept and tried again; you do not need to send it again."},
    {REPORT_DELIVERED, "Your message was delivered to the following recipients."},
    {REPORT_RELAYED, "Your message was handed on for the following recipients to a mail system "
		     "that does not report deliveries. There may be no further news of it."},
    {REPORT_EXPANDED, "Your message was handed on to the members behind the following addresses. "
		      "There will be no news of each of them."},
};

static void put_recipient_words(struct maker *k, const struct rec_report_recipient *rcpt)
{
	char text[PRINTABLE_BYTES], line[PRINTABLE_BYTES * 2], relay[400];

	printable(text, sizeof text, rcpt->address, !k->utf8);
	snprintf(line, sizeof line, "<%s>", text);
	put_wrapped(&k->words, "  ", line);
	if (!rcpt->reply.len)
		return;
	printable(text, sizeof text, rcpt->reply, !k->utf8);
	printable(relay, sizeof relay, rcpt->relay, !k->utf8);
	bool said = rcpt->code != 0 && *relay;

	snprintf(line, sizeof line, "%s%s%s", said ? relay : "", said ? " said: " : "", text);
	put_wrapped(&k->words, "    ", line);
}

/* One section of recipients with one action. */
static void put_section(struct maker *k, uint8_t action, const char *heading)
{
	struct wire_list list = k->r->recipients;
	struct rec_report_recipient rcpt;
	uint32_t untold = 0;

	if (!k->counts[action])
		return;
	put_text(&k->words, "\r\n");
	put_wrapped(&k->words, "", heading);
	put_text(&k->words, "\r\n");
	while (list_next_report_recipient(&list, &rcpt)) {
		if (rcpt.action != action)
			continue;
		if (bytes_len(&k->words) < WORDS_MAX)
			put_recipient_words(k, &rcpt);
		else
			untold++;
	}
	if (untold)
		put_format(&k->words, "  and %u more\r\n", untold);
}

static void put_words(struct maker *k)
{
	char host[PRINTABLE_BYTES], line[PRINTABLE_BYTES + 200], date[WALLTIME_TEXT_BYTES];

	printable(host, sizeof host, k->m->hostname, !k->utf8);
	snprintf(line, sizeof line, "This is the mail system at %s.", host);
	put_wrapped(&k->words, "", line);
	if (k->r->double_bounce) {
		put_text(&k->words, "\r\n");
		put_wrapped(&k->words, "",
			    "A message without a sender that can be told, often itself a report, "
			    "could not be delivered. It comes to you as the postmaster.");
	}
	for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
		put_section(k, sections[i].action, sections[i].heading);
	if (k->counts[REPORT_DELAYED] && k->r->expires_wall) {
		walltime_rfc5322((struct walltime){(int64_t)k->r->expires_wall}, date);
		put_format(&k->words, "\r\nIt will be tried until %s.\r\n", date);
	}
	put_text(&k->words, "\r\nDetails for programs, and the message or its header, follow.\r\n");
}

/* -- for programs --------------------------------------------------------------------- */

static void put_date_field(struct bytes *b, const char *name, uint64_t wall)
{
	char date[WALLTIME_TEXT_BYTES];

	if (!wall)
		return;
	walltime_rfc5322((struct walltime){(int64_t)wall}, date);
	put_field(b, name, date);
}

/* RFC 3464 section 2.2 */
static void put_message_fields(struct maker *k)
{
	char text[PRINTABLE_BYTES], value[PRINTABLE_BYTES + 16], id[QUEUE_ID_BYTES];

	/* "decoded from xtext" by the reporting MTA: RFC 3464 section 2.2.1 */
	if (k->r->envid.len && xtext_decode(text, sizeof text, k->r->envid))
		put_field(&k->status, "Original-Envelope-Id", text);
	printable(text, sizeof text, k->m->hostname, !k->utf8);
	snprintf(value, sizeof value, "dns; %s", text);
	put_field(&k->status, "Reporting-MTA", value);
	put_date_field(&k->status, "Arrival-Date", k->r->arrival_wall);
	if (k->r->id)
		put_field(&k->status, "X-Veredus-Queue-ID", queue_id_print(k->r->id, id));
}

/* "rfc822;xtext" as MAIL had it (RFC 3461 section 4.2), decoded; left out when it is not good. */
static void put_original_recipient(struct maker *k, struct text orcpt)
{
	char address[PRINTABLE_BYTES], type[64], value[PRINTABLE_BYTES + 80];
	ptrdiff_t at = text_find(orcpt, ';');

	if (at <= 0 || at >= (ptrdiff_t)sizeof type)
		return;
	for (ptrdiff_t i = 0; i < at; i++)
		if (!ascii_is_alnum(orcpt.data[i]) && orcpt.data[i] != '-')
			return;
	struct text rest = {orcpt.data + at + 1, orcpt.len - (size_t)at - 1};

	text_copy(type, sizeof type, (struct text){orcpt.data, (size_t)at});
	/* RFC 6533 section 3: an address of type utf-8 may stand unencoded */
	if (text_equal_case(text_of(type), text_of("utf-8")) && !text_is_ascii(rest))
		printable(address, sizeof address, rest, !k->utf8);
	else if (!xtext_decode(address, sizeof address, rest))
		return;
	snprintf(value, sizeof value, "%s; %s", type, address);
	put_field(&k->status, "Original-Recipient", value);
}

static void put_final_recipient(struct maker *k, struct text address)
{
	char text[PRINTABLE_BYTES], value[PRINTABLE_BYTES + 16];

	printable(text, sizeof text, address, !k->utf8);
	snprintf(value, sizeof value, "%s; %s", text_is_ascii(address) ? "rfc822" : "utf-8", text);
	put_field(&k->status, "Final-Recipient", value);
}

static void put_status(struct maker *k, const struct rec_report_recipient *rcpt)
{
	const char *plain = rcpt->action == REPORT_FAILED    ? "5.0.0"
			    : rcpt->action == REPORT_DELAYED ? "4.0.0"
							     : "2.0.0";
	char text[16];

	text_copy(text, sizeof text, status_is_good(rcpt->dsn) ? rcpt->dsn : text_of(plain));
	put_field(&k->status, "Status", text);
}

static bool begins_with_code(struct text reply, uint16_t code)
{
	uint64_t n;

	return reply.len >= 3 && text_number((struct text){reply.data, 3}, 999, &n) && n == code &&
	       (reply.len == 3 || reply.data[3] == ' ' || reply.data[3] == '-');
}

/* RFC 3464 section 2.3.6: type smtp is for replies that were really read. */
static void put_diagnostic(struct maker *k, const struct rec_report_recipient *rcpt)
{
	char text[PRINTABLE_BYTES], dsn[64], value[PRINTABLE_BYTES + 128], code[8] = "";
	size_t len = printable(text, sizeof text, rcpt->reply, !k->utf8);

	if (!len && !rcpt->code)
		return;
	printable(dsn, sizeof dsn, rcpt->dsn, true);
	if (rcpt->code && !begins_with_code(rcpt->reply, rcpt->code)) {
		snprintf(code, sizeof code, "%u ", rcpt->code % 1000u);
		if (*dsn && strncmp(text, dsn, strlen(dsn)) != 0)
			strcat(dsn, " ");
		else
			*dsn = '\0';
	} else {
		*dsn = '\0';
	}
	snprintf(value, sizeof value, "%s; %s%s%s", rcpt->code ? "smtp" : "X-Veredus", code, dsn,
		 text);
	put_field(&k->status, "Diagnostic-Code", value);
}

/* "mx.example[192.0.2.1]:25" names the host before the bracket. */
static void put_remote(struct maker *k, struct text relay)
{
	char text[PRINTABLE_BYTES], value[PRINTABLE_BYTES + 8];
	ptrdiff_t at = text_find(relay, '[');

	if (at >= 0)
		relay.len = (size_t)at;
	if (!relay.len || text_equals(relay, "none"))
		return;
	printable(text, sizeof text, relay, !k->utf8);
	snprintf(value, sizeof value, "dns; %s", text);
	put_field(&k->status, "Remote-MTA", value);
}

/* RFC 3464 section 2.3, in its order */
static void put_recipient_fields(struct maker *k, const struct rec_report_recipient *rcpt)
{
	bool full = bytes_len(&k->status) < STATUS_FULL_MAX;

	if (bytes_len(&k->status) >= STATUS_MAX)
		return;
	put_text(&k->status, "\r\n");
	if (full)
		put_original_recipient(k, rcpt->orcpt);
	put_final_recipient(k, rcpt->address);
	put_field(&k->status, "Action", action_word(rcpt->action));
	put_status(k, rcpt);
	if (!full)
		return;
	put_remote(k, rcpt->relay);
	put_diagnostic(k, rcpt);
	put_date_field(&k->status, "Last-Attempt-Date", rcpt->attempt_wall);
	if (rcpt->action == REPORT_DELAYED)
		put_date_field(&k->status, "Will-Retry-Until", k->r->expires_wall);
}

static void put_status_part(struct maker *k)
{
	struct wire_list list = k->r->recipients;
	struct rec_report_recipient rcpt;

	put_message_fields(k);
	while (list_next_report_recipient(&list, &rcpt))
		put_recipient_fields(k, &rcpt);
}

/* -- the original ------------------------------------------------------------------------ */

/* The header block without the empty line that ends it, cut to whole lines within MAX. */
static struct text header_of(struct text prelude, size_t max)
{
	if (prelude.len >= 4 && memcmp(prelude.data + prelude.len - 4, "\r\n\r\n", 4) == 0)
		prelude.len -= 2;
	if (prelude.len <= max)
		return prelude;
	prelude.len = max;
	while (prelude.len && prelude.data[prelude.len - 1] != '\n')
		prelude.len--;
	return prelude;
}

/*
 * RFC 3461 section 4.3: RET holds for failures; "if a DSN contains no
 * indications of delivery failure, only the headers of the message should be
 * returned". Without RET a failure brings the message back whole, if qmgr gave it.
 */
static void put_original(struct maker *k)
{
	const struct msg_report *r = k->r;
	size_t used = bytes_len(&k->words) + bytes_len(&k->status) + AROUND_BYTES;
	size_t room = used < REPORT_CONTENT_MAX ? REPORT_CONTENT_MAX - used : 0;
	bool whole = r->ret != RET_HDRS && r->tls != MAIL_TLS_REQUIRED &&
		     k->counts[REPORT_FAILED] && !r->body_cut && r->prelude.len <= room &&
		     r->body.len <= room - r->prelude.len;

	if (whole) {
		k->original_type = k->utf8 ? "message/global" : "message/rfc822";
		bytes_add(&k->original, r->prelude.data, r->prelude.len);
		bytes_add(&k->original, r->body.data, r->body.len);
	} else {
		struct text header = header_of(r->prelude, room);

		k->original_type = k->utf8 ? "message/global-headers" : "text/rfc822-headers";
		bytes_add(&k->original, header.data, header.len);
	}
}

/* -- the whole ------------------------------------------------------------------------- */

static const char *subject_of(const struct maker *k)
{
	if (k->r->double_bounce)
		return "Postmaster Notice: Undeliverable Mail (Double Bounce)";
	if (k->counts[REPORT_FAILED])
		return "Undelivered Mail Returned to Sender";
	if (k->counts[REPORT_DELAYED])
		return "Delayed Mail (still being retried)";
	return "Successful Mail Delivery Report";
}

static void put_header(const struct maker *k, struct bytes *out, struct text to, bool eight)
{
	char host[PRINTABLE_BYTES], value[PRINTABLE_BYTES + 200];

	put_date_field(out, "Date", (uint64_t)k->m->now.us);
	printable(host, sizeof host, k->m->hostname, !k->utf8);
	snprintf(value, sizeof value, "\"Mail Delivery System\" <MAILER-DAEMON@%s>", host);
	put_field(out, "From", value);
	put_field(out, "Subject", subject_of(k));
	char address[PRINTABLE_BYTES];

	printable(address, sizeof address, to, !k->utf8);
	snprintf(value, sizeof value, "<%s>", address);
	put_field(out, "To", value);
	snprintf(value, sizeof value, "<%s@%s>", k->m->unique, host);
	put_field(out, "Message-ID", value);
	/* RFC 3834 section 5 */
	put_field(out, "Auto-Submitted", "auto-replied");
	put_field(out, "MIME-Version", "1.0");
	put_format(out,
		   "Content-Type: multipart/report; report-type=%sdelivery-status;\r\n"
		   "    boundary=\"=_%s\"\r\n",
		   k->utf8 ? "global-" : "", k->m->unique);
	if (eight)
		put_field(out, "Content-Transfer-Encoding", "8bit");
	put_text(out, "\r\nThis is a MIME message.\r\n");
}

static void put_part(const struct maker *k, struct bytes *out, const char *type,
		     const char *description, const struct bytes *content)
{
	put_format(out, "\r\n--=_%s\r\n", k->m->unique);
	put_field(out, "Content-Description", description);
	put_field(out, "Content-Type", type);
	if (is_8bit(content))
		put_field(out, "Content-Transfer-Encoding", "8bit");
	put_text(out, "\r\n");
	bytes_add(out, bytes_at(content), bytes_len(content));
}

static void count_actions(struct maker *k)
{
	struct wire_list list = k->r->recipients;
	struct rec_report_recipient rcpt;

	while (list_next_report_recipient(&list, &rcpt))
		if (rcpt.action <= REPORT_EXPANDED)
			k->counts[rcpt.action]++;
}

void report_build(const struct report_maker *m, const struct msg_report *report, struct bytes *out,
		  struct report_form *form)
{
	struct maker k = {.m = m, .r = report, .utf8 = report->smtputf8 != 0};
	struct text to = report->double_bounce ? m->postmaster : report->to;

	count_actions(&k);
	put_words(&k);
	put_status_part(&k);
	put_original(&k);
	bool eight = is_8bit(&k.words) || is_8bit(&k.status) || is_8bit(&k.original);

	put_header(&k, out, to, eight);
	put_part(&k, out,
		 is_8bit(&k.words) ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii",
		 "Notification", &k.words);
	put_part(&k, out, k.utf8 ? "message/global-delivery-status" : "message/delivery-status",
		 "Delivery report", &k.status);
	put_part(&k, out, k.original_type, "Original message", &k.original);
	put_format(out, "\r\n--=_%s--\r\n", m->unique);
	/* Parts in UTF-8 need 8BITMIME; only a header in UTF-8 needs SMTPUTF8. */
	bool utf8_header = k.utf8 && !(text_is_ascii(to) && text_is_ascii(m->hostname));

	*form = (struct report_form){
	    .to = to,
	    .body_type = eight || utf8_header ? BODY_8BITMIME : BODY_7BIT,
	    .smtputf8 = utf8_header,
	    /* RFC 8689 section 5: "All non-delivery messages resulting from messages with the
	     * REQUIRETLS SMTP option [...] MUST also specify the REQUIRETLS SMTP option". */
	    .tls = report->tls == MAIL_TLS_REQUIRED ? MAIL_TLS_REQUIRED : MAIL_TLS_ANY,
	};
	bytes_free(&k.words);
	bytes_free(&k.status);
	bytes_free(&k.original);
}
