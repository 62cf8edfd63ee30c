/* SPDX-License-Identifier: ISC */
/*
 * Replies: whatever a receiver sends, the reader takes whole lines in order,
 * gives a code of three digits, a status of its class and printable UTF-8
 * within bounds, and the same however the bytes are cut.
 */
#include "must.h"
#include "reply.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct reply_reader *r)
{
	const struct reply *reply = &r->reply;

	must(reply->code >= 200 && reply->code <= 599);
	must((unsigned)(reply->dsn[0] - '0') == reply_class(reply));
	must(strlen(reply->dsn) >= 5 && strlen(reply->dsn) < sizeof reply->dsn);
	must(reply->len <= REPLY_TEXT_MAX && strlen(reply->text) == reply->len);
	must(text_is_utf8((struct text){reply->text, reply->len}));
	for (size_t i = 0; i < reply->len; i++)
		must((unsigned char)reply->text[i] >= ' ' && reply->text[i] != 0x7f);
	must(r->lines >= 1 && r->lines <= REPLY_LINES_MAX);
}

/* Reads with at most WINDOW new bytes at a time; how far it came, and how many replies that was. */
static size_t read_with(const uint8_t *data, size_t size, size_t window, size_t *replies)
{
	struct reply_reader r = {0};
	size_t at = 0, end = 0;

	for (*replies = 0;;) {
		enum reply_step step;
		size_t n = reply_read(&r, data + at, end - at, &step);

		must(n <= end - at);
		at += n;
		if (step == REPLY_BROKEN)
			return size + 1;
		if (step == REPLY_LAST) {
			check(&r);
			(*replies)++;
		}
		if (step != REPLY_MORE)
			continue;
		must(n == 0);
		if (end == size)
			return at;
		end = size - end < window ? size : end + window;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t whole, bytewise;
	size_t a = read_with(data, size, size, &whole);
	size_t b = read_with(data, size, 1, &bytewise);

	/* A line that is broken anyway may be found out before its end. */
	if (a <= size && b <= size)
		must(a == b && whole == bytewise);
	else
		must(a == b);
	return 0;
}
