/* SPDX-License-Identifier: ISC */
/* Safe pieces of a report. */
#include "report_field.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_WANTED = 76, LINE_HARD = 500 };

void put_text(struct bytes *b, const char *text)
{
	bytes_add(b, text, strlen(text));
}

void put_format(struct bytes *b, const char *format, ...)
{
	char line[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	put_text(b, line);
}

/* The code point of the valid UTF-8 sequence at P, and its length. */
static uint32_t code_point(const unsigned char *p, size_t *len)
{
	static const unsigned char first_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t v;

	*len = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	v = p[0] & first_mask[*len];
	for (size_t i = 1; i < *len; i++)
		v = v << 6 | (p[i] & 0x3f);
	return v;
}

size_t printable(char *to, size_t size, struct text t, bool ascii_only)
{
	char whole[PRINTABLE_BYTES];
	size_t out = 0, step;

	if (!ascii_only)
		return text_printable(to, size, t);
	size_t len = text_printable(whole, sizeof whole, t);

	for (size_t i = 0; i < len; i += step) {
		uint32_t c = code_point((const unsigned char *)whole + i, &step);
		size_t need = c < 0x80 ? 1 : (size_t)snprintf(NULL, 0, "\\x{%X}", c);

		if (need > size - 1 - out)
			break;
		if (c < 0x80)
			to[out++] = (char)c;
		else
			out += (size_t)snprintf(to + out, size - out, "\\x{%X}", c);
	}
	to[out] = '\0';
	return out;
}

/* How much of VALUE goes on a line that has ROOM left: up to the last blank, else up to HARD. */
static size_t line_cut(const char *value, size_t room)
{
	size_t len = strlen(value), cut = room, hard = LINE_HARD;

	if (len <= room)
		return len;
	while (cut > 0 && value[cut] != ' ')
		cut--;
	if (cut > 0)
		return cut;
	cut = strcspn(value, " ");
	if (cut <= hard)
		return cut;
	while (hard > 1 && ((unsigned char)value[hard] & 0xc0) == 0x80)
		hard--; /* not within a character */
	return hard;
}

static void put_lines(struct bytes *b, const char *value, size_t room, const char *next)
{
	for (;;) {
		size_t cut = line_cut(value, room);

		bytes_add(b, value, cut);
		value += cut;
		while (*value == ' ')
			value++;
		if (!*value)
			break;
		put_text(b, "\r\n");
		put_text(b, next);
		room = LINE_WANTED - strlen(next);
	}
	put_text(b, "\r\n");
}

void put_field(struct bytes *b, const char *name, const char *value)
{
	size_t used = strlen(name) + 2;

	put_text(b, name);
	put_text(b, ": ");
	put_lines(b, value, used < LINE_WANTED ? LINE_WANTED - used : 1, "    ");
}

void put_wrapped(struct bytes *b, const char *indent, const char *value)
{
	put_text(b, indent);
	put_lines(b, value, LINE_WANTED - strlen(indent), indent);
}

static int hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool xtext_decode(char *to, size_t size, struct text x)
{
	size_t out = 0;

	for (size_t i = 0; i < x.len; i++) {
		int c = (unsigned char)x.data[i];

		if (c == '+') {
			if (x.len - i < 3)
				return false;
			int high = hex_value(x.data[i + 1]), low = hex_value(x.data[i + 2]);

			if (high < 0 || low < 0)
				return false;
			c = high << 4 | low;
			i += 2;
		}
		if (c < 0x20 || c > 0x7e || out + 1 >= size)
			return false;
		to[out++] = (char)c;
	}
	to[out] = '\0';
	return out > 0;
}

static size_t digits(struct text t, size_t at)
{
	size_t n = 0;

	while (at + n < t.len && t.data[at + n] >= '0' && t.data[at + n] <= '9')
		n++;
	return n;
}

bool status_is_good(struct text dsn)
{
	if (dsn.len < 5 || !strchr("245", dsn.data[0]) || dsn.data[1] != '.')
		return false;
	size_t subject = digits(dsn, 2), at = 2 + subject;

	if (subject < 1 || subject > 3 || at >= dsn.len || dsn.data[at] != '.')
		return false;
	size_t detail = digits(dsn, at + 1);

	return detail >= 1 && detail <= 3 && at + 1 + detail == dsn.len;
}
