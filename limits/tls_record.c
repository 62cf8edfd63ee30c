/* SPDX-License-Identifier: ISC */
/*
 * RFC 8460 section 3:
 *   tlsrpt-record    = tlsrpt-version 1*(field-delim tlsrpt-field) [field-delim]
 *   field-delim      = *WSP ";" *WSP
 *   tlsrpt-field     = tlsrpt-rua / tlsrpt-extension
 *   tlsrpt-rua       = %s"rua=" tlsrpt-uri *(*WSP "," *WSP tlsrpt-uri)
 */
#include "tls_record.h"

#include "address.h"
#include "url.h"

#include <string.h>

static const char version[] = "v=TLSRPTv1";

enum { NAME_MAX_BYTES = 32 };

/* Up to the next C, without blanks around it; moves *T behind that C. */
static struct text piece_take(struct text *t, char c)
{
	ptrdiff_t at = text_find(*t, c);
	struct text piece = {t->data, at < 0 ? t->len : (size_t)at};
	size_t used = at < 0 ? t->len : (size_t)at + 1;

	*t = (struct text){t->data + used, t->len - used};
	return text_trim(piece);
}

bool tls_record_begins(struct text t)
{
	const size_t len = sizeof version - 1;

	if (t.len <= len || memcmp(t.data, version, len) != 0)
		return false;
	/* The delimiter may have blanks before it. */
	t = text_trim((struct text){t.data + len, t.len - len});
	return t.len && t.data[0] == ';';
}

/* -- addresses of reports ------------------------------------------------------------------- */

static int digit_of(char c)
{
	c = ascii_lower(c);
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986 section 2.1. False: it is none, or too long. */
static bool percent_decode(struct text t, char *to, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < t.len; i++) {
		char c = t.data[i];

		if (n + 1 >= size)
			return false;
		if (c == '%') {
			int high = t.len - i > 2 ? digit_of(t.data[i + 1]) : -1;
			int low = high >= 0 ? digit_of(t.data[i + 2]) : -1;

			if (low < 0)
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		}
		to[n++] = c;
	}
	to[n] = '\0';
	return memchr(to, '\0', n) == NULL;
}

/* RFC 6068: what stands behind a question mark is for people's programs. */
static bool mailto_read(struct text t, char *to)
{
	struct address address;
	char decoded[ADDRESS_MAX + 1];
	ptrdiff_t end = text_find(t, '?');

	if (end >= 0)
		t.len = (size_t)end;
	if (!percent_decode(t, decoded, sizeof decoded) ||
	    address_read(text_of(decoded), &address) != ADDRESS_FINE || address.utf8 ||
	    address.len > TLS_TARGET_BYTES)
		return false;
	text_copy(to, TLS_TARGET_BYTES + 1, address_text(&address));
	return true;
}

/* "commas, exclamation points, and semicolons MUST be encoded" */
static bool target_read(struct text t, struct tls_target *to)
{
	struct url url;

	*to = (struct tls_target){.https = text_starts_case(t, "https:")};
	if (text_find(t, '!') >= 0)
		return false;
	if (!to->https)
		return text_starts_case(t, "mailto:") &&
		       mailto_read((struct text){t.data + 7, t.len - 7}, to->to);
	if (t.len > TLS_TARGET_BYTES || url_read(t, &url))
		return false;
	text_copy(to->to, sizeof to->to, t);
	return true;
}

static void targets_read(struct text list, struct tls_record *to)
{
	while (list.len && to->count < TLS_TARGETS_MOST) {
		struct text one = piece_take(&list, ',');

		to->count += target_read(one, &to->targets[to->count]);
	}
}

/* -- fields ----------------------------------------------------------------------------------- */

/*
 *   tlsrpt-ext-name  = (ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / ".")
 *   tlsrpt-ext-value = 1*(%x21-3A / %x3C / %x3E-7E)
 * "unknown fields SHALL be ignored", if they are fields.
 */
static bool is_extension(struct text name, struct text value)
{
	static const struct text others = TEXT("_-.");

	if (!name.len || name.len > NAME_MAX_BYTES || !ascii_is_alnum(name.data[0]) || !value.len)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!ascii_is_alnum(name.data[i]) && text_find(others, name.data[i]) < 0)
			return false;
	for (size_t i = 0; i < value.len; i++)
		if (value.data[i] <= ' ' || value.data[i] > '~' || value.data[i] == '=')
			return false;
	return true;
}

static bool field_read(struct text field, struct tls_record *to)
{
	ptrdiff_t at = text_find(field, '=');

	if (at < 0)
		return false;
	struct text name = {field.data, (size_t)at};
	struct text value = {field.data + at + 1, field.len - (size_t)at - 1};

	if (!text_equals(name, "rua"))
		return is_extension(name, value);
	targets_read(value, to);
	return true;
}

bool tls_record_read(struct text t, struct tls_record *to)
{
	*to = (struct tls_record){.count = 0};
	if (t.len > TLS_RECORD_BYTES || !tls_record_begins(t) || memchr(t.data, '\0', t.len))
		return false;
	piece_take(&t, ';');
	while (t.len) {
		struct text field = piece_take(&t, ';');

		/* The last delimiter has nothing behind it. */
		if (!field.len && !t.len)
			break;
		if (!field_read(field, to))
			return false;
	}
	return to->count > 0;
}
