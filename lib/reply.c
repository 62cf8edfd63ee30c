/* SPDX-License-Identifier: ISC */
/* Writing SMTP replies. */
#include "reply.h"

#include <string.h>

const struct reply reply_not_yet =
    REPLY(451, "4.3.2", "Error: not accepting mail now, try again later");

static size_t put_code(char *to, const struct reply *r, bool more)
{
	size_t n = 0;

	to[n++] = (char)('0' + r->code / 100 % 10);
	to[n++] = (char)('0' + r->code / 10 % 10);
	to[n++] = (char)('0' + r->code % 10);
	to[n++] = more ? '-' : ' ';
	if (r->dsn) {
		/* "2.255.255" at the longest (RFC 3463 section 2), one more for a caller's slip */
		n += text_copy(to + n, 12, text_of(r->dsn));
		to[n++] = ' ';
	}
	return n;
}

static size_t put_line(char *to, const struct reply *r, bool more)
{
	size_t n = put_code(to, r, more);
	size_t len = r->text.len < REPLY_TEXT_MAX ? r->text.len : REPLY_TEXT_MAX;

	/* Texts repeat what strangers sent: a CR or LF among it would be a reply of its own. */
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)r->text.data[i];

		to[n++] = c < 0x20 || c > 0x7e ? '?' : (char)c;
	}
	return n;
}

void reply_write(struct bytes *out, const struct reply *r, bool more)
{
	char *to = (char *)bytes_room(out, REPLY_LINE_MAX);
	size_t n = put_line(to, r, more);

	to[n++] = '\r';
	to[n++] = '\n';
	out->end += n;
}

struct text reply_line(const struct reply *r, char *to)
{
	return (struct text){to, put_line(to, r, false)};
}
