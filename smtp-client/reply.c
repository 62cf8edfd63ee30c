/* SPDX-License-Identifier: ISC */
/* The reader of replies. */
#include "reply.h"

#include <string.h>

/* How many of T's first bytes are one to three digits. */
static size_t digits(struct text t)
{
	size_t n = 0;

	while (n < t.len && n < 3 && t.data[n] >= '0' && t.data[n] <= '9')
		n++;
	return n;
}

/* Length of an enhanced status code of class C at the start of T (RFC 2034 section 4), or 0. */
static size_t status_len(struct text t, char c)
{
	size_t at = 1;

	if (t.len < 5 || t.data[0] != c)
		return 0;
	for (int part = 0; part < 2; part++) {
		if (at >= t.len || t.data[at] != '.')
			return 0;
		at++;
		size_t n = digits((struct text){t.data + at, t.len - at});

		if (!n)
			return 0;
		at += n;
	}
	return at == t.len || t.data[at] == ' ' || t.data[at] == '\t' ? at : 0;
}

bool reply_status_is(const struct reply *r, const char *rest)
{
	return r->enhanced && strcmp(r->dsn + 1, rest) == 0;
}

static void text_add(struct reply *r, struct text t)
{
	for (size_t i = 0; i < t.len && r->len < REPLY_TEXT_MAX; i++) {
		unsigned char c = (unsigned char)t.data[i];

		if (c == '\t')
			c = ' ';
		if (c >= ' ' && c != 0x7f)
			r->text[r->len++] = (char)c;
	}
}

/* A cut character goes, then whatever is still no UTF-8. */
static void text_settle(struct reply *r)
{
	for (int i = 0; i < 3 && r->len == REPLY_TEXT_MAX - i; i++)
		if (!text_is_utf8((struct text){r->text, r->len}))
			r->len--;
	if (!text_is_utf8((struct text){r->text, r->len}))
		for (size_t i = 0; i < r->len; i++)
			if ((unsigned char)r->text[i] >= 0x80)
				r->text[i] = '?';
	while (r->len && r->text[r->len - 1] == ' ')
		r->len--;
	r->text[r->len] = '\0';
}

static void reply_begin(struct reply_reader *r, uint16_t code, struct text rest)
{
	struct reply *reply = &r->reply;
	char class = (char)('0' + code / 100);
	size_t n = status_len(rest, class);

	reply->code = code;
	reply->len = 0;
	reply->enhanced = n > 0;
	if (n)
		text_copy(reply->dsn, sizeof reply->dsn, (struct text){rest.data, n});
	else
		memcpy(reply->dsn, (char[]){class, '.', '0', '.', '0', '\0'}, 6);
}

/* The code of a line, 0 when it has none. */
static uint16_t line_code(struct text line)
{
	if (digits(line) != 3 || line.data[0] < '2' || line.data[0] > '5')
		return 0;
	if (line.len > 3 && line.data[3] != ' ' && line.data[3] != '-')
		return 0;
	return (uint16_t)((line.data[0] - '0') * 100 + (line.data[1] - '0') * 10 +
			  (line.data[2] - '0'));
}

static enum reply_step reply_line(struct reply_reader *r, struct text line)
{
	uint16_t code = line_code(line);
	bool more = line.len > 3 && line.data[3] == '-', first = r->whole || !r->lines;
	size_t skip = line.len > 4 ? 4 : line.len;
	struct text rest = {line.data + skip, line.len - skip};

	if (first)
		r->lines = 0;
	/* RFC 5321 4.2.1: the code is the same on each line. */
	if (!code || (!first && code != r->reply.code) || r->lines == REPLY_LINES_MAX)
		return REPLY_BROKEN;
	r->line = rest;
	r->lines++;
	r->whole = !more;
	if (first) {
		reply_begin(r, code, rest);
		text_add(&r->reply, (struct text){line.data, 3});
	} else {
		size_t n = status_len(rest, line.data[0]);

		rest = (struct text){rest.data + n, rest.len - n};
	}
	rest = text_trim(rest);
	if (rest.len) {
		text_add(&r->reply, (struct text)TEXT(" "));
		text_add(&r->reply, rest);
	}
	if (!more)
		text_settle(&r->reply);
	return more ? REPLY_LINE : REPLY_LAST;
}

size_t reply_read(struct reply_reader *r, const uint8_t *data, size_t len, enum reply_step *step)
{
	size_t most = r->challenges ? REPLY_CHALLENGE_MAX : REPLY_LINE_MAX;
	size_t window = len < most ? len : most;
	const uint8_t *lf = window ? memchr(data, '\n', window) : NULL;

	if (!lf) {
		/* Binary is not waited for: a NUL is in no reply. */
		bool broken = window && (window == most || memchr(data, 0, window));

		*step = broken ? REPLY_BROKEN : REPLY_MORE;
		return 0;
	}
	struct text line = {(const char *)data, (size_t)(lf - data)};

	if (line.len && line.data[line.len - 1] == '\r')
		line.len--;
	*step = line.len && memchr(line.data, 0, line.len) ? REPLY_BROKEN : reply_line(r, line);
	return (size_t)(lf - data) + 1;
}
