/* SPDX-License-Identifier: ISC */
/*
 * Header blocks and content: fields lie one behind the other within the
 * block; content cut in pieces of any size is cut in the same places; what
 * passed holds CRLF lines only.
 */
#include "content.h"
#include "header.h"
#include "must.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void to_bytes(void *owner, const uint8_t *data, size_t len)
{
	bytes_add(owner, data, len);
}

static void take(struct content *c, const uint8_t *data, size_t size, size_t step)
{
	for (size_t at = 0; at < size;) {
		bool stopped = c->in_body;
		size_t n = content_take(c, data + at, size - at < step ? size - at : step);

		must(n <= size - at && (n > 0 || (!stopped && c->in_body)));
		at += n;
	}
	content_end(c);
}

static void check_lines(const struct bytes *b)
{
	for (size_t i = 0; i < b->end; i++) {
		must(b->data[i] != '\0');
		must(b->data[i] != '\n' || (i > 0 && b->data[i - 1] == '\r'));
		must(b->data[i] != '\r' || (i + 1 < b->end && b->data[i + 1] == '\n'));
	}
	must(!b->end || b->data[b->end - 1] == '\n');
}

static void check_content(const uint8_t *data, size_t size, bool normalise, size_t step)
{
	struct bytes whole = {0}, pieces = {0};
	struct content a = {.limit_octets = 4096,
			    .limit_header = 1024,
			    .limit_line = 200,
			    .normalise = normalise,
			    .body = to_bytes,
			    .owner = &whole},
		       b = a;

	b.owner = &pieces;
	take(&a, data, size, size ? size : 1);
	take(&b, data, size, step);
	must((a.fault != CONTENT_FINE) == (b.fault != CONTENT_FINE));
	if (!a.fault) {
		must(a.head.end == b.head.end && whole.end == pieces.end);
		must(!whole.end || memcmp(whole.data, pieces.data, whole.end) == 0);
		must(!a.head.end || memcmp(a.head.data, b.head.data, a.head.end) == 0);
		must(a.octets == a.head.end + whole.end);
		check_lines(&a.head);
		check_lines(&whole);
	}
	content_free(&a);
	content_free(&b);
	bytes_free(&whole);
	bytes_free(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text block = {(const char *)data, size};
	struct header_field f;

	header_read_facts(block);
	while (header_next(&block, &f)) {
		must(f.whole.data + f.whole.len == block.data);
		must(f.name.len > 0 && f.value.data + f.value.len <= block.data);
	}
	if (size < 2)
		return 0;
	check_content(data + 1, size - 1, (data[0] & 1) != 0, 1 + data[0] / 2);
	return 0;
}
