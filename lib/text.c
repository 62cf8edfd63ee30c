/* SPDX-License-Identifier: ISC */
/* Texts: comparing, numbers, and making hostile bytes printable. */
#include "text.h"

#include <string.h>

struct text text_of(const char *s)
{
	return (struct text){s, s ? strlen(s) : 0};
}

char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool ascii_is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

bool text_equal(struct text a, struct text b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool text_equal_case(struct text a, struct text b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (ascii_lower(a.data[i]) != ascii_lower(b.data[i]))
			return false;
	return true;
}

int text_order_case(struct text a, struct text b)
{
	for (size_t i = 0; i < a.len && i < b.len; i++) {
		unsigned char x = (unsigned char)ascii_lower(a.data[i]);
		unsigned char y = (unsigned char)ascii_lower(b.data[i]);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return (a.len > b.len) - (a.len < b.len);
}

bool text_equals(struct text a, const char *b)
{
	return text_equal(a, text_of(b));
}

bool text_starts_case(struct text t, const char *prefix)
{
	struct text p = text_of(prefix);

	return t.len >= p.len && text_equal_case((struct text){t.data, p.len}, p);
}

bool text_ends_case(struct text t, struct text s)
{
	return t.len >= s.len && text_equal_case((struct text){t.data + (t.len - s.len), s.len}, s);
}

struct text text_trim(struct text t)
{
	while (t.len && (t.data[0] == ' ' || t.data[0] == '\t'))
		t = (struct text){t.data + 1, t.len - 1};
	while (t.len && (t.data[t.len - 1] == ' ' || t.data[t.len - 1] == '\t'))
		t.len--;
	return t;
}

ptrdiff_t text_find(struct text t, char c)
{
	const char *p = t.len ? memchr(t.data, c, t.len) : NULL;

	return p ? p - t.data : -1;
}

size_t text_copy(char *to, size_t size, struct text t)
{
	size_t n = t.len < size - 1 ? t.len : size - 1;

	if (n)
		memcpy(to, t.data, n);
	to[n] = '\0';
	return n;
}

bool text_number(struct text t, uint64_t max, uint64_t *value)
{
	uint64_t v = 0;

	if (!t.len)
		return false;
	for (size_t i = 0; i < t.len; i++) {
		if (t.data[i] < '0' || t.data[i] > '9')
			return false;
		uint64_t digit = (uint64_t)(t.data[i] - '0');

		if (v > (UINT64_MAX - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	if (v > max)
		return false;
	*value = v;
	return true;
}

/* Length of the UTF-8 sequence at P (RFC 3629 section 4), 0 when it is not one. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
	if (p[0] < 0x80)
		return 1;
	size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

	if (p[0] < 0xc2 || p[0] > 0xf4 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

bool text_is_utf8(struct text t)
{
	const unsigned char *p = (const unsigned char *)t.data;

	for (size_t i = 0; i < t.len;) {
		size_t n = utf8_length(p + i, t.len - i);

		if (!n)
			return false;
		i += n;
	}
	return true;
}

bool text_is_ascii(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if ((unsigned char)t.data[i] > 0x7f)
			return false;
	return true;
}

size_t text_printable(char *to, size_t size, struct text t)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *p = (const unsigned char *)t.data;
	size_t out = 0;

	for (size_t i = 0; i < t.len;) {
		size_t n = utf8_length(p + i, t.len - i);
		/* C1 controls (U+0080..U+009F) drive terminals as well. */
		bool plain = n && p[i] >= 0x20 && p[i] != 0x7f && p[i] != '\\' &&
			     !(n == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0);

		if ((plain ? n : 4) > size - 1 - out)
			break;
		if (plain) {
			memcpy(to + out, p + i, n);
			out += n;
			i += n;
			continue;
		}
		to[out++] = '\\';
		to[out++] = 'x';
		to[out++] = hex[p[i] >> 4];
		to[out++] = hex[p[i] & 15];
		i++;
	}
	to[out] = '\0';
	return out;
}
