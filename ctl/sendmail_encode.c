/* SPDX-License-Identifier: ISC */
/* Encoded words. */
#include "sendmail_encode.h"

#include "base64.h"
#include "header.h"

#include <string.h>

/* RFC 2047 2: 75 characters a word; with "=?unknown-8bit?B?" and "?=" 42 octets in base64 fit. */
enum { WORD_OCTETS = 42 };

void header_put_words(struct bytes *to, struct text t)
{
	const char *charset = text_is_utf8(t) ? "=?utf-8?B?" : "=?unknown-8bit?B?";

	while (t.len) {
		size_t len = t.len < WORD_OCTETS ? t.len : WORD_OCTETS;

		/* Section 5: a multi-octet character stands in one word. */
		while (len < t.len && len > 1 && ((uint8_t)t.data[len] & 0xc0) == 0x80)
			len--;
		bytes_add(to, charset, strlen(charset));
		base64_put(to, t.data, len);
		t.data += len;
		t.len -= len;
		bytes_add(to, t.len ? "?=\r\n " : "?=", t.len ? 5 : 2);
	}
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* -- text ---------------------------------------------------------------------------------- */

/* A run from a word that is not ASCII to the last such before ASCII words: one text. */
static size_t run_length(struct text t)
{
	size_t end = 0, i = 0;

	while (i < t.len) {
		size_t from = i;

		while (i < t.len && !is_blank(t.data[i]))
			i++;
		if (text_is_ascii((struct text){t.data + from, i - from}))
			break;
		end = i;
		while (i < t.len && is_blank(t.data[i]))
			i++;
	}
	return end;
}

/* RFC 2047 5 (1). T is a field's value, folding and all. */
static void put_text(struct bytes *to, struct text t)
{
	for (size_t i = 0; i < t.len;) {
		size_t from = i, len;

		while (i < t.len && is_blank(t.data[i]))
			i++;
		bytes_add(to, t.data + from, i - from);
		len = run_length((struct text){t.data + i, t.len - i});
		if (len)
			header_put_words(to, (struct text){t.data + i, len});
		i += len;
		from = i;
		while (!len && i < t.len && !is_blank(t.data[i]))
			i++;
		bytes_add(to, t.data + from, i - from);
	}
}

/* -- address lists -------------------------------------------------------------------------- */

/* The phrase before "<", without its quotes. */
static void put_phrase(struct bytes *to, struct text t)
{
	struct bytes plain = {0};

	for (size_t i = 0; i < t.len; i++) {
		if (t.data[i] == '"' || t.data[i] == '\r' || t.data[i] == '\n')
			continue;
		if (t.data[i] == '\\' && i + 1 < t.len)
			i++;
		bytes_add(&plain, t.data + i, 1);
	}
	header_put_words(to, text_trim(bytes_text(&plain)));
	bytes_free(&plain);
}

/* One address of a list: "phrase <address>" or another form, of which nothing is encoded. */
static void put_address(struct bytes *to, struct text t, size_t bracket)
{
	struct text phrase = {t.data, bracket};
	size_t before = 0;

	if (bracket == t.len || text_is_ascii(phrase) || memchr(t.data, '(', bracket)) {
		bytes_add(to, t.data, t.len);
		return;
	}
	while (before < bracket && is_blank(t.data[before]))
		before++;
	bytes_add(to, t.data, before);
	put_phrase(to, (struct text){t.data + before, bracket - before});
	bytes_add(to, " ", 1);
	bytes_add(to, t.data + bracket, t.len - bracket);
}

/* Cut at commas, colons and semicolons that stand in no quotes, comments or brackets. */
static void put_list(struct bytes *to, struct text t)
{
	size_t from = 0, bracket = t.len, comment = 0;
	bool quoted = false, inside = false;

	for (size_t i = 0; i <= t.len; i++) {
		char c = i < t.len ? t.data[i] : ',';
		bool plain = i == t.len || (!quoted && !comment && !inside);

		if (c == '\\' && i + 1 < t.len && (quoted || comment)) {
			i++;
		} else if (plain && (c == ',' || c == ';' || c == ':')) {
			size_t end = i < t.len ? i + 1 : i;

			put_address(to, (struct text){t.data + from, end - from},
				    bracket < i ? bracket - from : end - from);
			from = end;
			bracket = t.len;
		} else if (c == '"' && !comment) {
			quoted = !quoted;
		} else if (!quoted && (c == '(' || (c == ')' && comment))) {
			comment += c == '(' ? 1 : (size_t)-1;
		} else if (plain && c == '<') {
			bracket = i;
			inside = true;
		} else if (!quoted && !comment && c == '>') {
			inside = false;
		}
	}
}

/* -- header --------------------------------------------------------------------------------- */

enum form { FORM_TEXT, FORM_LIST, FORM_OTHER };

static enum form form_of(struct text name)
{
	static const char *const lists[] = {"From",	 "To",	       "Cc",	       "Bcc",
					    "Reply-To",	 "Sender",     "Resent-From",  "Resent-To",
					    "Resent-Cc", "Resent-Bcc", "Resent-Sender"};
	static const char *const others[] = {"Message-ID", "In-Reply-To", "References",	 "Date",
					     "Received",   "Return-Path", "MIME-Version"};

	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
		if (text_equal_case(name, text_of(lists[i])))
			return FORM_LIST;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (text_equal_case(name, text_of(others[i])))
			return FORM_OTHER;
	if (text_starts_case(name, "Content-") &&
	    !text_equal_case(name, text_of("Content-Description")))
		return FORM_OTHER;
	return FORM_TEXT;
}

static bool is_signed(struct text header)
{
	struct header_field f;

	while (header_next(&header, &f))
		if (text_equal_case(f.name, text_of("DKIM-Signature")))
			return true;
	return false;
}

void header_encode(struct text header, struct bytes *to)
{
	struct header_field f;

	if (text_is_ascii(header) || is_signed(header)) {
		bytes_add(to, header.data, header.len);
		return;
	}
	while (header_next(&header, &f)) {
		enum form form = form_of(f.name);

		if (form == FORM_OTHER || text_is_ascii(f.whole)) {
			bytes_add(to, f.whole.data, f.whole.len);
			continue;
		}
		bytes_add(to, f.whole.data, (size_t)(f.value.data - f.whole.data));
		if (form == FORM_LIST)
			put_list(to, f.value);
		else
			put_text(to, f.value);
		bytes_add(to, "\r\n", 2);
	}
	bytes_add(to, header.data, header.len); /* the empty line */
}
