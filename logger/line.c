/* SPDX-License-Identifier: ISC */
/* Rendering lines. Every message costs four of them, so nothing is parsed or converted twice. */
#include "line.h"

#include "mem.h"
#include "queue_id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PIECES_MAX = EVENT_VALUES_MAX + 1,
	EVENTS_MAX = 256,
	STAMP_BYTES = 64,
	SYSLOG_MAIL = 2 << 3, /* facility, RFC 3164 4.1.1 */
	ESCAPED_MAX = 6,      /* a byte of a value becomes at most \u00NN */
	PREFIX_MAX = 512,
};

/* A part of a row's line: literal text, then the value of WORD (none after the last). */
struct piece {
	struct text literal, word;
};

struct form_row {
	const struct event_row *row;
	struct piece pieces[PIECES_MAX];
	size_t count;
};

struct line_writer {
	char host[256];
	int64_t second; /* whose stamps these are */
	char stamp[STAMP_BYTES], date[STAMP_BYTES], zone[STAMP_BYTES];
	struct form_row rows[EVENTS_MAX];
	bool plain[256]; /* bytes that stand for themselves in text and in JSON */
};

static const char *const severity_names[] = {"debug", "info", "warning", "error"};
static const uint8_t syslog_severity[] = {7, 6, 4, 3};

const char *line_program(unsigned daemon)
{
	/* Log readers tell submission from smtpd by this name. */
	return daemon == PEER_SUBMISSION ? "submission/smtpd" : peer_name(daemon);
}

static void form_row_init(struct form_row *f, const struct event_row *row)
{
	const char *p = row->line;

	f->row = row;
	while (f->count < PIECES_MAX) {
		struct piece *piece = &f->pieces[f->count++];
		const char *open = strchr(p, '{'), *close = open ? strchr(open, '}') : NULL;

		if (!close) {
			piece->literal = text_of(p);
			break;
		}
		piece->literal = (struct text){p, (size_t)(open - p)};
		piece->word = (struct text){open + 1, (size_t)(close - open - 1)};
		p = close + 1;
	}
}

struct line_writer *line_writer_new(const char *host)
{
	struct line_writer *w = mem_new(1, sizeof *w);

	tzset();
	text_copy(w->host, sizeof w->host, text_of(host));
	w->second = -1;
	for (unsigned i = 0; i < EVENTS_MAX; i++)
		if (event_row(i))
			form_row_init(&w->rows[i], event_row(i));
	for (unsigned c = 0x20; c < 0x7f; c++)
		w->plain[c] = c != '\\';
	return w;
}

void line_writer_free(struct line_writer **writer)
{
	free(*writer);
	*writer = NULL;
}

static void stamps_make(struct line_writer *w, uint64_t wall)
{
	static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	int64_t second = (int64_t)(wall / 1000000);
	time_t t = (time_t)second;
	struct tm tm;

	if (second == w->second)
		return;
	if (!localtime_r(&t, &tm))
		tm = (struct tm){.tm_year = 70, .tm_mday = 1};
	w->second = second;
	snprintf(w->stamp, sizeof w->stamp, "%s %2d %02d:%02d:%02d",
		 months[(unsigned)tm.tm_mon % 12], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	snprintf(w->date, sizeof w->date, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
		 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	long minutes = labs(tm.tm_gmtoff) / 60;

	snprintf(w->zone, sizeof w->zone, "%c%02ld:%02ld", tm.tm_gmtoff < 0 ? '-' : '+',
		 minutes / 60, minutes % 60);
}

/* The caller has made room. */
static void put(struct bytes *to, const char *data, size_t len)
{
	if (len)
		memcpy(to->data + to->end, data, len);
	to->end += len;
}

static void put_string(struct bytes *to, const char *s)
{
	put(to, s, strlen(s));
}

static size_t plain_length(const struct line_writer *w, struct text t, bool json)
{
	size_t n = 0;

	while (n < t.len && w->plain[(uint8_t)t.data[n]] && !(json && t.data[n] == '"'))
		n++;
	return n;
}

static void put_value(const struct line_writer *w, struct bytes *to, struct text t)
{
	size_t n = plain_length(w, t, false);

	put(to, t.data, n);
	if (n < t.len)
		to->end += text_printable((char *)to->data + to->end, (t.len - n) * 4 + 1,
					  (struct text){t.data + n, t.len - n});
}

/* RFC 8259 section 7. What is no UTF-8 is made printable first, as in the text log. */
static void put_json(const struct line_writer *w, struct bytes *to, struct text t)
{
	size_t n = plain_length(w, t, true);
	char printable[EVENT_VALUE_BYTES * 4 + 1];

	put(to, t.data, n);
	t = (struct text){t.data + n, t.len - n};
	if (!t.len)
		return;
	if (!text_is_utf8(t)) {
		if (t.len > EVENT_VALUE_BYTES)
			t.len = EVENT_VALUE_BYTES;
		t.len = text_printable(printable, sizeof printable, t);
		t.data = printable;
	}
	for (size_t i = 0; i < t.len; i++) {
		uint8_t c = (uint8_t)t.data[i];
		/* C1 controls drive terminals too. */
		bool c1 = c == 0xc2 && i + 1 < t.len && (uint8_t)t.data[i + 1] < 0xa0;

		if (c == '"' || c == '\\') {
			put(to, (char[]){'\\', (char)c}, 2);
		} else if (c < 0x20 || c == 0x7f || c1) {
			char escape[8];

			snprintf(escape, sizeof escape, "\\u%04x",
				 c1 ? (unsigned)(uint8_t)t.data[++i] : (unsigned)c);
			put(to, escape, 6);
		} else {
			put(to, t.data + i, 1);
		}
	}
}

/* Room for the whole line, however its values must be escaped. */
static void room_make(struct bytes *to, const struct form_row *f, const struct history_event *e)
{
	size_t want = PREFIX_MAX;

	for (size_t i = 0; i < f->count; i++)
		want += f->pieces[i].literal.len + f->pieces[i].word.len + 8;
	for (size_t i = 0; i < e->count; i++)
		want += e->values[i].len * ESCAPED_MAX + 1;
	bytes_room(to, want);
}

/* "veredus/qmgr[123]: " */
static void put_tag(struct bytes *to, const struct history_event *e)
{
	char digits[10];
	size_t n = 0;
	uint32_t pid = e->pid;

	put_string(to, "veredus/");
	put_string(to, line_program(e->daemon));
	do
		digits[n++] = (char)('0' + pid % 10);
	while ((pid /= 10) != 0);
	put(to, "[", 1);
	while (n)
		put(to, &digits[--n], 1);
	put(to, "]: ", 3);
}

static void put_id(struct bytes *to, uint64_t id)
{
	char digits[QUEUE_ID_BYTES];

	put_string(to, queue_id_print(id, digits));
}

static void put_message(const struct line_writer *w, struct bytes *to, const struct form_row *f,
			const struct history_event *e)
{
	if (e->id) {
		put_id(to, e->id);
		put(to, ": ", 2);
	} else if (e->what == EVENT_reject) {
		/* What log readers look for where a refusal has no message. */
		put_string(to, "NOQUEUE: ");
	}
	for (size_t i = 0; i < f->count; i++) {
		put(to, f->pieces[i].literal.data, f->pieces[i].literal.len);
		if (f->pieces[i].word.len && i < e->count)
			put_value(w, to, e->values[i]);
	}
}

static void write_text(struct line_writer *w, struct bytes *to, const struct form_row *f,
		       const struct history_event *e)
{
	put_string(to, w->stamp);
	put(to, " ", 1);
	put_string(to, w->host);
	put(to, " ", 1);
	put_tag(to, e);
	put_message(w, to, f, e);
	put(to, "\n", 1);
}

static void write_syslog(struct line_writer *w, struct bytes *to, const struct form_row *f,
			 const struct history_event *e)
{
	char priority[8];

	snprintf(priority, sizeof priority, "<%d>",
		 SYSLOG_MAIL | syslog_severity[f->row->severity]);
	put_string(to, priority);
	put_string(to, w->stamp);
	put(to, " ", 1);
	put_tag(to, e);
	put_message(w, to, f, e);
	put(to, "", 1);
}

static void write_journal(struct line_writer *w, struct bytes *to, const struct form_row *f,
			  const struct history_event *e)
{
	char fields[128];

	snprintf(fields, sizeof fields, "PRIORITY=%d\nSYSLOG_FACILITY=2\nSYSLOG_PID=%u\n",
		 syslog_severity[f->row->severity], e->pid);
	put_string(to, fields);
	put_string(to, "SYSLOG_IDENTIFIER=veredus/");
	put_string(to, line_program(e->daemon));
	put_string(to, "\nVEREDUS_EVENT=");
	put_string(to, f->row->name);
	if (e->id) {
		put_string(to, "\nVEREDUS_ID=");
		put_id(to, e->id);
	}
	put_string(to, "\nMESSAGE=");
	put_message(w, to, f, e);
	put(to, "\n", 2);
}

static void write_json(struct line_writer *w, struct bytes *to, const struct form_row *f,
		       const struct history_event *e)
{
	char part[32];

	put_string(to, "{\"time\":\"");
	put_string(to, w->date);
	snprintf(part, sizeof part, ".%06u", (unsigned)(e->wall % 1000000));
	put_string(to, part);
	put_string(to, w->zone);
	put_string(to, "\",\"severity\":\"");
	put_string(to, severity_names[f->row->severity]);
	put_string(to, "\",\"daemon\":\"");
	put_string(to, peer_name(e->daemon));
	snprintf(part, sizeof part, "\",\"pid\":%u,", e->pid);
	put_string(to, part);
	if (e->id) {
		put_string(to, "\"id\":\"");
		put_id(to, e->id);
		put_string(to, "\",");
	}
	put_string(to, "\"event\":\"");
	put_string(to, f->row->name);
	put(to, "\"", 1);
	for (size_t i = 0; i < f->count && i < e->count; i++) {
		if (!f->pieces[i].word.len)
			break;
		put_string(to, ",\"");
		put(to, f->pieces[i].word.data, f->pieces[i].word.len);
		put_string(to, "\":\"");
		put_json(w, to, e->values[i]);
		put(to, "\"", 1);
	}
	put_string(to, "}\n");
}

bool line_write(struct line_writer *w, enum line_form form, struct bytes *to,
		const struct history_event *e)
{
	const struct form_row *f = e->what < EVENTS_MAX ? &w->rows[e->what] : NULL;

	if (!f || !f->row)
		return false;
	stamps_make(w, e->wall);
	room_make(to, f, e);
	switch (form) {
	case LINE_TEXT:
		write_text(w, to, f, e);
		break;
	case LINE_JSON:
		write_json(w, to, f, e);
		break;
	case LINE_SYSLOG:
		write_syslog(w, to, f, e);
		break;
	case LINE_JOURNAL:
		write_journal(w, to, f, e);
		break;
	}
	return true;
}
