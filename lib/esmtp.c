/* SPDX-License-Identifier: ISC */
/* Reading ESMTP parameters. */
#include "esmtp.h"

#include <string.h>

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	/* hexchar = "+" immediately followed by two upper case hexadecimal digits (RFC 3461 section
	 * 4) */
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool esmtp_is_xtext(struct text t)
{
	for (size_t i = 0; i < t.len; i++) {
		unsigned char c = (unsigned char)t.data[i];

		if (c < 33 || c > 126 || c == '=')
			return false;
		if (c != '+')
			continue;
		if (t.len - i < 3)
			return false;
		int high = hex_value(t.data[i + 1]), low = hex_value(t.data[i + 2]);

		/* Decoded control characters would end a line of a report or the log. */
		if (high < 0 || low < 0 || high * 16 + low < 32 || high * 16 + low == 127)
			return false;
		i += 2;
	}
	return true;
}

/* utf-8-addr-unitext: visible ASCII but "+" and "=", and UTF-8; "\x{...}" for the rest (RFC 6533
 * section 3) */
static bool is_utf8_addr(struct text t)
{
	for (size_t i = 0; i < t.len; i++) {
		unsigned char c = (unsigned char)t.data[i];

		if (c < 33 || c == 127 || c == '+' || c == '=')
			return false;
	}
	return text_is_utf8(t);
}

bool esmtp_is_orcpt(struct text t)
{
	ptrdiff_t semicolon = text_find(t, ';');

	if (!t.data || semicolon <= 0 || t.len > ORCPT_MAX)
		return false;
	struct text type = {t.data, (size_t)semicolon};
	struct text value = {t.data + semicolon + 1, t.len - (size_t)semicolon - 1};

	for (size_t i = 0; i < type.len; i++)
		if (!ascii_is_alnum(type.data[i]) && type.data[i] != '-')
			return false;
	if (!value.len)
		return false;
	if (text_equal_case(type, text_of("utf-8")) && is_utf8_addr(value))
		return true;
	return esmtp_is_xtext(value);
}

/* Takes the next "NAME[=VALUE]" off; false at the end. */
static bool next_parameter(struct text *args, struct text *name, struct text *value)
{
	*args = text_trim(*args);
	if (!args->len)
		return false;
	ptrdiff_t space = text_find(*args, ' ');
	size_t len = space < 0 ? args->len : (size_t)space;
	struct text word = {args->data, len};
	ptrdiff_t equal = text_find(word, '=');

	*args = (struct text){args->data + len, args->len - len};
	*name = word;
	*value = (struct text){NULL, 0};
	if (equal >= 0) {
		*name = (struct text){word.data, (size_t)equal};
		*value = (struct text){word.data + equal + 1, word.len - (size_t)equal - 1};
	}
	return true;
}

static bool take_size(struct esmtp_mail *m, struct text v)
{
	/* size-value = 1*20DIGIT (RFC 1870 section 3) */
	return v.len <= 20 && text_number(v, UINT64_MAX, &m->size);
}

static bool take_body(struct esmtp_mail *m, struct text v)
{
	m->body_type = text_equal_case(v, text_of("8BITMIME")) ? BODY_8BITMIME : BODY_7BIT;
	return m->body_type == BODY_8BITMIME || text_equal_case(v, text_of("7BIT"));
}

static bool take_ret(struct esmtp_mail *m, struct text v)
{
	m->ret = text_equal_case(v, text_of("FULL")) ? RET_FULL : RET_HDRS;
	return m->ret == RET_FULL || text_equal_case(v, text_of("HDRS"));
}

static bool take_envid(struct esmtp_mail *m, struct text v)
{
	m->envid = v;
	return v.len > 0 && v.len <= ENVID_MAX && esmtp_is_xtext(v);
}

static bool take_smtputf8(struct esmtp_mail *m, struct text v)
{
	m->smtputf8 = 1;
	return v.data == NULL;
}

/* RFC 8689 section 2: "No value is associated with this parameter." */
static bool take_requiretls(struct esmtp_mail *m, struct text v)
{
	m->requiretls = true;
	return v.data == NULL;
}

static bool take_auth(struct esmtp_mail *m, struct text v)
{
	m->auth = v;
	/* The 500 octets by which RFC 4954 section 3 makes the command longer. */
	return v.len > 0 && v.len <= 500 && (text_equals(v, "<>") || esmtp_is_xtext(v));
}

static const struct {
	const char *name;
	bool (*take)(struct esmtp_mail *m, struct text value);
} mail_parameters[] = {
    {"SIZE", take_size},
    {"BODY", take_body},
    {"RET", take_ret},
    {"ENVID", take_envid},
    {"SMTPUTF8", take_smtputf8},
    {"AUTH", take_auth},
    {"REQUIRETLS", take_requiretls},
};

enum esmtp_result esmtp_read_mail(struct text args, struct esmtp_mail *m)
{
	struct text name, value;

	*m = (struct esmtp_mail){0};
	while (next_parameter(&args, &name, &value)) {
		size_t i = 0, count = sizeof mail_parameters / sizeof *mail_parameters;

		while (i < count && !text_equal_case(name, text_of(mail_parameters[i].name)))
			i++;
		if (i == count)
			return ESMTP_UNKNOWN;
		if ((m->seen & 1u << i) || !mail_parameters[i].take(m, value))
			return ESMTP_VALUE;
		m->seen |= 1u << i;
	}
	return ESMTP_FINE;
}

/* "NEVER" alone, or a list of the others (RFC 3461 section 4.1). */
static bool take_notify(struct esmtp_rcpt *r, struct text v)
{
	static const struct {
		const char *word;
		uint8_t bit;
	} words[] = {{"NEVER", NOTIFY_NEVER},
		     {"SUCCESS", NOTIFY_SUCCESS},
		     {"FAILURE", NOTIFY_FAILURE},
		     {"DELAY", NOTIFY_DELAY}};

	for (bool more = true; more;) {
		ptrdiff_t comma = text_find(v, ',');
		struct text word = {v.data, comma < 0 ? v.len : (size_t)comma};
		size_t i = 0;

		more = comma >= 0;
		if (more)
			v = (struct text){v.data + comma + 1, v.len - (size_t)comma - 1};
		while (i < 4 && !text_equal_case(word, text_of(words[i].word)))
			i++;
		if (i == 4 || (r->notify & words[i].bit))
			return false;
		r->notify |= words[i].bit;
	}
	return !(r->notify & NOTIFY_NEVER) || r->notify == NOTIFY_NEVER;
}

static bool take_orcpt(struct esmtp_rcpt *r, struct text v)
{
	r->orcpt = v;
	return esmtp_is_orcpt(v);
}

enum esmtp_result esmtp_read_rcpt(struct text args, struct esmtp_rcpt *r)
{
	struct text name, value;

	*r = (struct esmtp_rcpt){0};
	while (next_parameter(&args, &name, &value)) {
		bool notify = text_equal_case(name, text_of("NOTIFY"));
		unsigned bit = notify ? 1 : 2;

		if (!notify && !text_equal_case(name, text_of("ORCPT")))
			return ESMTP_UNKNOWN;
		if ((r->seen & bit) || !(notify ? take_notify(r, value) : take_orcpt(r, value)))
			return ESMTP_VALUE;
		r->seen |= bit;
	}
	return ESMTP_FINE;
}
