/* SPDX-License-Identifier: ISC */
/* Base64. */
#include "base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct bytes *to, const void *data, size_t len)
{
	const uint8_t *in = data;

	if (!len)
		return;
	uint8_t *out = bytes_room(to, BASE64_LEN(len));

	to->end += BASE64_LEN(len);
	for (; len >= 3; in += 3, len -= 3) {
		*out++ = (uint8_t)alphabet[in[0] >> 2];
		*out++ = (uint8_t)alphabet[(in[0] & 3) << 4 | in[1] >> 4];
		*out++ = (uint8_t)alphabet[(in[1] & 15) << 2 | in[2] >> 6];
		*out++ = (uint8_t)alphabet[in[2] & 63];
	}
	if (!len)
		return;
	uint8_t second = len > 1 ? in[1] : 0;

	*out++ = (uint8_t)alphabet[in[0] >> 2];
	*out++ = (uint8_t)alphabet[(in[0] & 3) << 4 | second >> 4];
	*out++ = len > 1 ? (uint8_t)alphabet[(second & 15) << 2] : '=';
	*out = '=';
}

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* COUNT characters of a group of four; false when one is foreign or a bit is left over. */
static bool group_read(const char *in, size_t count, uint8_t *out)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < 4; i++) {
		int v = i < count ? value_of(in[i]) : 0;

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
	}
	out[0] = (uint8_t)(bits >> 16);
	out[1] = (uint8_t)(bits >> 8);
	out[2] = (uint8_t)bits;
	return (count > 2 || !out[1]) && (count > 3 || !out[2]);
}

bool base64_read(struct text t, void *to, size_t size, size_t *len)
{
	uint8_t *out = to, group[3];
	size_t used = 0;

	*len = 0;
	if (t.len % 4)
		return false;
	for (size_t at = 0; at < t.len; at += 4) {
		size_t count = 4;

		if (at + 4 == t.len && t.data[at + 3] == '=')
			count = t.data[at + 2] == '=' ? 2 : 3;
		if (!group_read(t.data + at, count, group) || count - 1 > size - used)
			return false;
		for (size_t i = 0; i + 1 < count; i++)
			out[used++] = group[i];
	}
	*len = used;
	return true;
}
