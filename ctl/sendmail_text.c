/* SPDX-License-Identifier: ISC */
/* Lines, header and body of a mail from a program. */
#include "sendmail_text.h"

#include "header.h"

#include <string.h>

static void put_end(struct mail_lines *l, struct bytes *to, bool bare)
{
	if (l->dot)
		bytes_add(to, ".", 1);
	bytes_add(to, "\r\n", 2);
	l->dot = l->inside = false;
	l->bare = bare;
}

/* A LF, alone or behind a CR. */
static void take_newline(struct mail_lines *l, struct bytes *to)
{
	l->cr = false;
	/* Behind a bare CR a dot is text: progress bars write such. */
	if (l->dot && l->dots && !l->bare)
		l->ended = true;
	else
		put_end(l, to, false);
}

static void take_octet(struct mail_lines *l, uint8_t c, struct bytes *to)
{
	if (l->cr)
		put_end(l, to, true);
	l->cr = c == '\r';
	if (l->cr || !c)
		return;
	if (!l->inside && !l->dot && c == '.') {
		l->dot = true;
		return;
	}
	if (l->dot)
		bytes_add(to, ".", 1);
	l->dot = false;
	l->inside = true;
	l->eight = l->eight || c >= 0x80;
	bytes_add(to, &c, 1);
}

/* How much of DATA is text that stands for itself. */
static size_t plain_run(struct mail_lines *l, const uint8_t *data, size_t len)
{
	size_t n = 0;

	if (!l->inside || l->cr)
		return 0;
	for (; n < len && data[n] != '\n' && data[n] != '\r' && data[n]; n++)
		l->eight = l->eight || data[n] >= 0x80;
	return n;
}

void mail_lines_take(struct mail_lines *l, const uint8_t *data, size_t len, struct bytes *to)
{
	for (size_t i = 0; i < len && !l->ended;) {
		size_t n = plain_run(l, data + i, len - i);

		bytes_add(to, data + i, n);
		i += n;
		if (i == len)
			return;
		if (data[i] == '\n')
			take_newline(l, to);
		else
			take_octet(l, data[i], to);
		i++;
	}
}

void mail_lines_end(struct mail_lines *l, struct bytes *to)
{
	if (l->ended)
		return;
	if (l->cr)
		put_end(l, to, true);
	else if (l->dot && l->dots && !l->bare)
		l->ended = true;
	else if (l->inside || l->dot)
		put_end(l, to, false);
	l->cr = false;
}

/* -- header ------------------------------------------------------------------------------- */

/* An mbox's line in front of the header; how long it is. */
static size_t mbox_line(struct text t, bool *open)
{
	const char *end;

	*open = false;
	if (t.len < 5 || memcmp(t.data, "From ", 5) != 0)
		return 0;
	end = memchr(t.data, '\n', t.len);
	*open = !end;
	return end ? (size_t)(end + 1 - t.data) : 0;
}

static bool header_settle(struct bytes *in, size_t skip, size_t len, bool empty_line,
			  struct bytes *header)
{
	bytes_take(in, skip, SIZE_MAX);
	bytes_add(header, bytes_at(in), len);
	/* A body may begin without the empty line before it. */
	if (!empty_line)
		bytes_add(header, "\r\n", 2);
	bytes_take(in, len, SIZE_MAX);
	return true;
}

bool mail_header_take(struct bytes *in, bool ended, struct bytes *header)
{
	struct text all = bytes_text(in);
	bool open;
	size_t skip = mbox_line(all, &open), at = skip;

	while (at < all.len && !open) {
		const char *end = memchr(all.data + at, '\n', all.len - at);

		if (!end)
			break;
		struct text line = {all.data + at, (size_t)(end + 1 - all.data) - at};
		bool folded = at > skip && (line.data[0] == ' ' || line.data[0] == '\t');

		if (line.len == 2)
			return header_settle(in, skip, at + 2 - skip, true, header);
		if (!folded && !header_is_field(line))
			return header_settle(in, skip, at - skip, false, header);
		at += line.len;
	}
	return ended && header_settle(in, skip, all.len - skip, false, header);
}

/* -- body --------------------------------------------------------------------------------- */

void mail_fold_take(struct mail_fold *f, const uint8_t *data, size_t len, struct bytes *to)
{
	size_t from = 0;

	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n') {
			f->line = 0;
			continue;
		}
		/* A character of UTF-8 is not divided: its first octet says how many there are. */
		size_t octets = data[i] < 0xc0 ? 1 : data[i] < 0xe0 ? 2 : data[i] < 0xf0 ? 3 : 4;

		if (data[i] != '\r' && f->line + octets > MAIL_LINE_MAX) {
			bytes_add(to, data + from, i - from);
			bytes_add(to, "\r\n ", 3);
			from = i;
			f->line = 1;
		}
		f->line += data[i] != '\r';
	}
	bytes_add(to, data + from, len - from);
}
