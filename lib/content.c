/* SPDX-License-Identifier: ISC */
/* Checking and splitting content. */
#include "content.h"

#include "header.h"

#include <string.h>

static void fault(struct content *c, enum content_fault what)
{
	if (!c->fault)
		c->fault = what;
}

static void emit(struct content *c, const uint8_t *data, size_t len)
{
	if (!len || c->fault)
		return;
	if (c->octets > c->limit_octets || len > c->limit_octets - c->octets) {
		fault(c, CONTENT_SIZE);
		return;
	}
	c->octets += len;
	if (c->in_body) {
		c->body(c->owner, data, len);
		return;
	}
	if (len > c->limit_header - bytes_len(&c->head)) {
		fault(c, CONTENT_HEADER);
		return;
	}
	if (!c->head.size)
		bytes_room(&c->head, 2048);
	bytes_add(&c->head, data, len);
}

/* A line of the header block is complete in head. Returns true when the block has ended. */
static bool head_line_end(struct content *c)
{
	if (c->fault)
		return false;
	size_t begin = c->head_line, end = bytes_len(&c->head);
	struct text line = {(const char *)bytes_at(&c->head) + begin, end - begin};

	c->head_line = end;
	if (line.len == 2) {
		c->in_body = true;
		return true;
	}
	if (begin > 0 && (line.data[0] == ' ' || line.data[0] == '\t'))
		return false;
	if (header_is_field(line))
		return false;
	/* No field: the body begins here, and the empty line before it is still owed. */
	c->in_body = c->headless = true;
	c->head.end -= line.len;
	c->body(c->owner, (const uint8_t *)line.data, line.len);
	return true;
}

static bool line_end(struct content *c)
{
	c->line_used = 0;
	return !c->in_body && head_line_end(c);
}

static void line_grow(struct content *c, size_t n)
{
	c->line_used += n;
	if (c->line_used > c->limit_line)
		fault(c, CONTENT_LINE);
}

/* One line, or a piece of one: how it ends is told apart by these. */
enum line_kind { LINE_OPEN, LINE_CRLF, LINE_BARE_LF, LINE_BARE_CR };

/* Measures from DATA[AT]; *NEXT is behind the line's end or what there is of it. */
static enum line_kind measure(struct content *c, const uint8_t *data, size_t at, size_t len,
			      size_t *next)
{
	if (c->cr && data[at] != '\n') {
		*next = at;
		return LINE_BARE_CR;
	}
	const uint8_t *lf = memchr(data + at, '\n', len - at);
	size_t end = lf ? (size_t)(lf - data) : len;
	const uint8_t *cr = end > at ? memchr(data + at, '\r', end - at) : NULL;
	size_t text_end = cr ? (size_t)(cr - data) : end;

	line_grow(c, text_end - at);
	if (cr && text_end + 1 < end) {
		c->cr = true;
		*next = text_end + 1;
		return LINE_BARE_CR;
	}
	if (!lf) {
		c->cr = cr != NULL;
		*next = len;
		return LINE_OPEN;
	}
	*next = end + 1;
	return cr || (c->cr && end == at) ? LINE_CRLF : LINE_BARE_LF;
}

size_t content_take(struct content *c, const uint8_t *data, size_t len)
{
	size_t run = 0, at = 0, next;
	bool stop = false;

	if (!c->fault && len && memchr(data, '\0', len))
		fault(c, CONTENT_NUL);
	while (at < len && !stop && !c->fault) {
		enum line_kind kind = measure(c, data, at, len, &next);

		at = next;
		if (kind == LINE_OPEN)
			break;
		c->cr = false;
		if (kind != LINE_CRLF) {
			/* RFC 5321 2.3.8: CR and LF "MUST NOT" come but together. */
			if (!c->normalise) {
				fault(c, CONTENT_BARE);
				break;
			}
			emit(c, data + run, at - run - (kind == LINE_BARE_LF));
			emit(c, (const uint8_t *)(kind == LINE_BARE_LF ? "\r\n" : "\n"),
			     kind == LINE_BARE_LF ? 2 : 1);
			run = at;
		} else if (!c->in_body) {
			emit(c, data + run, at - run);
			run = at;
		}
		stop = line_end(c);
	}
	if (c->fault) {
		/* Counted on, so that the owner can end what has no end. */
		c->octets += len - run;
		return len;
	}
	emit(c, data + run, at - run);
	return at;
}

void content_end(struct content *c)
{
	if (c->cr && !c->normalise)
		fault(c, CONTENT_BARE);
	if (c->cr && !c->fault)
		emit(c, (const uint8_t *)"\n", 1);
	else if (c->line_used && !c->fault)
		emit(c, (const uint8_t *)"\r\n", 2);
	else
		return;
	c->cr = false;
	line_end(c);
}

void content_shed(struct content *c)
{
	fault(c, CONTENT_SHED);
	bytes_free(&c->head);
}

void content_free(struct content *c)
{
	bytes_free(&c->head);
}
