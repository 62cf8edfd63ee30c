/* SPDX-License-Identifier: ISC */
/* Reading header blocks. */
#include "header.h"

#include <string.h>

/* The length of the field's name, 0 when LINE begins none. Blanks before the colon are obsolete but
 * read (RFC 5322 4.5). */
static size_t name_length(struct text line, size_t *colon)
{
	size_t n = 0;

	while (n < line.len && line.data[n] > 32 && line.data[n] < 127 && line.data[n] != ':')
		n++;
	*colon = n;
	while (*colon < line.len && (line.data[*colon] == ' ' || line.data[*colon] == '\t'))
		++*colon;
	return *colon < line.len && line.data[*colon] == ':' ? n : 0;
}

bool header_is_field(struct text line)
{
	size_t colon;

	return name_length(line, &colon) > 0;
}

/* The end of the field: behind the LF that no blank follows. */
static size_t field_length(struct text block)
{
	size_t at = 0;

	while (at < block.len) {
		const char *lf = memchr(block.data + at, '\n', block.len - at);

		if (!lf)
			return block.len;
		at = (size_t)(lf - block.data) + 1;
		if (at == block.len || (block.data[at] != ' ' && block.data[at] != '\t'))
			return at;
	}
	return at;
}

bool header_next(struct text *block, struct header_field *field)
{
	size_t colon, name = name_length(*block, &colon);

	if (!name)
		return false;
	size_t len = field_length(*block), end = len;

	if (colon >= len)
		return false;
	if (end && block->data[end - 1] == '\n')
		end--;
	if (end && block->data[end - 1] == '\r')
		end--;
	if (end <= colon)
		end = colon + 1;
	field->name = (struct text){block->data, name};
	field->value = (struct text){block->data + colon + 1, end - colon - 1};
	field->whole = (struct text){block->data, len};
	*block = (struct text){block->data + len, block->len - len};
	return true;
}

/* What stands between "<" and ">", or the first word. */
static struct text id_of(struct text value)
{
	size_t from = 0, to;

	while (from < value.len && strchr(" \t\r\n<", value.data[from]) && value.data[from])
		from++;
	for (to = from; to < value.len; to++)
		if (value.data[to] == '\0' || strchr(" \t\r\n>", value.data[to]))
			break;
	return (struct text){value.data + from, to - from};
}

bool header_lines_fit(struct text lines, size_t most)
{
	size_t line = 0;

	for (size_t i = 0; i < lines.len; i++) {
		line = lines.data[i] == '\n' ? 0 : line + 1;
		if (line > most + 1)
			return false;
	}
	return true;
}

static bool is_named(const struct header_field *f, const char *name, size_t len)
{
	return f->name.len == len && text_equal_case(f->name, (struct text){name, len});
}

/* The one word of a field's value: [FWS] "No". */
static struct text unfolded(struct text value)
{
	while (value.len && strchr(" \t\r\n", value.data[0]) && value.data[0])
		value = (struct text){value.data + 1, value.len - 1};
	return value;
}

struct header_facts header_read_facts(struct text block)
{
	struct header_facts facts = {0};
	struct header_field f;
	unsigned tls_required = 0;

	while (header_next(&block, &f)) {
		if (is_named(&f, "Received", 8)) {
			facts.received++;
		} else if (is_named(&f, "Message-ID", 10)) {
			if (!facts.has_message_id)
				facts.message_id = id_of(f.value);
			facts.has_message_id = true;
		} else if (is_named(&f, "TLS-Required", 12)) {
			/* RFC 8689 section 3: "More than one instance of the TLS-Required header
			 * field MUST NOT appear": which of them counts nobody knows. */
			facts.tls_optional =
			    !tls_required++ &&
			    text_equal_case(text_trim(unfolded(f.value)), (struct text)TEXT("No"));
		} else if (is_named(&f, "Date", 4)) {
			facts.date = true;
		} else if (is_named(&f, "From", 4)) {
			facts.from = true;
		}
	}
	return facts;
}
