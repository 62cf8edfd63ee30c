/* SPDX-License-Identifier: ISC */
/* From CRLF to what stands in mailboxes. */
#include "letter.h"

#include "file.h"
#include "header.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OUT_BYTES = 65536, IN_BYTES = 65536, HEAD_BYTES = 2048, FROM_BYTES = 512 };

static const char from_line[] = "From ";
enum { FROM_LEN = sizeof from_line - 1 };

/* Turns lines; what it has made is given on in large pieces. */
struct writer {
	letter_put *put;
	void *arg;
	bool quotes;	  /* mbox */
	bool failed, cr;  /* cr: one that may be half of a line's end */
	bool line_start;  /* only ">" were seen of this line */
	size_t from_seen; /* octets of "From " that wait to be told from text */
	char last;	  /* what was written last */
	size_t len;
	char out[OUT_BYTES];
};

static void flush(struct writer *w)
{
	if (w->len && !w->failed && !w->put(w->arg, w->out, w->len))
		w->failed = true;
	w->len = 0;
}

static void put(struct writer *w, char c)
{
	if (w->len == OUT_BYTES)
		flush(w);
	w->out[w->len++] = c;
	w->last = c;
}

static void put_all(struct writer *w, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		put(w, data[i]);
}

static void from_give_up(struct writer *w)
{
	size_t seen = w->from_seen;

	w->from_seen = 0;
	w->line_start = false;
	put_all(w, from_line, seen);
}

/* One octet behind the turning of line ends. */
static void turned(struct writer *w, char c)
{
	if (!w->quotes) {
		put(w, c);
		return;
	}
	/* mboxrd: any number of ">" and then "From " gets one ">" more, so that it can be undone.
	 */
	if (w->line_start && c == from_line[w->from_seen]) {
		if (++w->from_seen == FROM_LEN) {
			put(w, '>');
			from_give_up(w);
		}
		return;
	}
	if (w->line_start && (w->from_seen || c != '>'))
		from_give_up(w);
	put(w, c);
	if (c == '\n')
		w->line_start = true;
}

static void take(struct writer *w, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = data[i];

		if (w->cr && c != '\n')
			turned(w, '\r');
		w->cr = c == '\r';
		if (!w->cr)
			turned(w, c);
	}
}

static void take_header(struct writer *w, struct text block)
{
	struct header_field f;
	struct text rest = block;

	while (header_next(&rest, &f))
		if (!text_equal_case(f.name, text_of("return-path")) &&
		    !text_equal_case(f.name, text_of("content-length")))
			take(w, f.whole.data, f.whole.len);
	/* The empty line, or what is no field. */
	take(w, rest.data, rest.len);
}

static bool take_file(struct writer *w, const struct letter *l)
{
	char block[IN_BYTES];
	uint64_t at = 0;

	while (at < l->body_length && !w->failed) {
		uint64_t left = l->body_length - at;
		ssize_t n =
		    pread(l->fd, block, left < IN_BYTES ? (size_t)left : IN_BYTES, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = EIO; /* it is shorter than was recorded */
			return false;
		}
		take(w, block, (size_t)n);
		at += (uint64_t)n;
	}
	return true;
}

/* "From sender Sat Nov 21 22:05:00 2026", in UTC as asctime has it: readers look for this form. */
static void put_from(struct writer *w, const struct letter *l)
{
	char line[FROM_BYTES], when[40] = "";
	time_t seconds = (time_t)(l->arrival.us / 1000000);
	struct tm tm;

	if (gmtime_r(&seconds, &tm))
		strftime(when, sizeof when, "%a %b %e %H:%M:%S %Y", &tm);
	struct text sender = l->sender;
	int n = snprintf(line, sizeof line, "From %.*s %s\n",
			 sender.len && sender.len < 400 ? (int)sender.len : 13,
			 sender.len && sender.len < 400 ? sender.data : "MAILER-DAEMON", when);

	/* A blank in a quoted local part would end the address early for whoever reads the line. */
	for (int i = FROM_LEN; i < FROM_LEN + (int)sender.len && sender.len < 400; i++)
		if (line[i] == ' ')
			line[i] = '_';
	put_all(w, line, n > 0 ? (size_t)n : 0);
}

static void put_field(struct writer *w, const char *name, struct text value)
{
	put_all(w, name, strlen(name));
	put_all(w, value.data, value.len);
}

static void put_head(struct writer *w, const struct letter *l)
{
	put_field(w, "Return-Path: <", l->sender);
	put_field(w, ">\n", (struct text){NULL, 0});
	if (l->original.len && !text_equal_case(l->original, l->address)) {
		put_field(w, "X-Original-To: ", l->original);
		put(w, '\n');
	}
	put_field(w, "Delivered-To: ", l->address);
	put(w, '\n');
}

bool letter_each(const struct letter *l, enum letter_form form, letter_put *sink, void *arg)
{
	static struct writer w; /* in the child alone, once at a time; too large for a stack */

	w.put = sink;
	w.arg = arg;
	w.quotes = false;
	w.failed = w.cr = false;
	w.len = w.from_seen = 0;
	w.last = '\n';
	if (form != LETTER_PLAIN)
		put_from(&w, l);
	put_head(&w, l);
	w.quotes = form == LETTER_MBOX;
	w.line_start = true;
	take_header(&w, l->prelude);
	take(&w, l->body.data, l->body.len);
	if (l->fd >= 0 && !take_file(&w, l))
		return false;
	if (w.cr)
		turned(&w, '\r');
	if (w.from_seen)
		from_give_up(&w);
	if (w.last != '\n')
		put(&w, '\n');
	if (form == LETTER_MBOX)
		put(&w, '\n');
	flush(&w);
	return !w.failed;
}

static bool put_to_file(void *arg, const char *data, size_t len)
{
	return file_write(*(int *)arg, data, len);
}

bool letter_write(const struct letter *l, int fd, enum letter_form form)
{
	return letter_each(l, form, put_to_file, &fd);
}

bool letter_loops(const struct letter *l)
{
	struct text rest = l->prelude;
	struct header_field f;

	while (header_next(&rest, &f)) {
		struct text value = text_trim(f.value);

		if (text_equal_case(f.name, text_of("delivered-to")) &&
		    text_equal_case(value, l->address))
			return true;
	}
	return false;
}
