/* SPDX-License-Identifier: ISC */
/* Reading TXT records and policy files. */
#include "sts_policy.h"

#include <string.h>

enum { NAME_MAX_BYTES = 32, LABEL_MAX = 63, DOMAIN_MAX = 253, MAX_AGE_DIGITS = 10 };

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct text rest(struct text t, size_t n)
{
	return (struct text){t.data + n, t.len - n};
}

static struct text blanks_off(struct text t)
{
	while (t.len && is_blank(t.data[0]))
		t = rest(t, 1);
	return t;
}

/* Both: (ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / ".") */
static bool is_name(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (!ascii_is_alnum(t.data[i]) && (!i || !strchr("_-.", t.data[i])))
			return false;
	return t.len > 0 && t.len <= NAME_MAX_BYTES;
}

static bool is_alphanumeric(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (!ascii_is_alnum(t.data[i]))
			return false;
	return true;
}

/* -- the record --------------------------------------------------------------------------- */

static const struct text version = TEXT("v=STSv1");

static bool begins_with_version(struct text t)
{
	return t.len >= version.len && memcmp(t.data, version.data, version.len) == 0;
}

/*
 * Section 3.1: "records that do not begin with "v=STSv1;" are discarded". The
 * grammar allows blanks before that semicolon.
 */
bool sts_txt_is_ours(struct text t)
{
	if (!begins_with_version(t))
		return false;
	t = blanks_off(rest(t, version.len));
	return t.len && t.data[0] == ';';
}

/* 1*(%x21-3A / %x3C / %x3E-7E): no blank, semicolon or equals sign. */
static bool is_txt_value(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (t.data[i] <= ' ' || t.data[i] > '~' || t.data[i] == ';' || t.data[i] == '=')
			return false;
	return t.len > 0;
}

/* *WSP ";" *WSP */
static bool take_delimiter(struct text *t)
{
	*t = blanks_off(*t);
	if (!t->len || t->data[0] != ';')
		return false;
	*t = blanks_off(rest(*t, 1));
	return true;
}

/* "NAME=VALUE", up to a blank, a semicolon or the end. */
static bool take_field(struct text *t, struct text *name, struct text *value)
{
	size_t n = 0;

	while (n < t->len && !is_blank(t->data[n]) && t->data[n] != ';')
		n++;
	struct text field = {t->data, n};
	ptrdiff_t equals = text_find(field, '=');

	if (equals < 0)
		return false;
	*name = (struct text){field.data, (size_t)equals};
	*value = rest(field, (size_t)equals + 1);
	*t = rest(*t, n);
	return is_name(*name) && is_txt_value(*value);
}

const char *sts_txt_read(struct text t, struct text *id)
{
	struct text name, value;

	*id = (struct text){NULL, 0};
	if (!begins_with_version(t))
		return "it is of another version";
	t = rest(t, version.len);
	if (!take_delimiter(&t))
		return "behind its version stands something";
	while (t.len) {
		if (!take_field(&t, &name, &value))
			return "a field of it is none";
		if (text_equals(name, "id") && !id->len) {
			if (value.len > STS_ID_MAX || !is_alphanumeric(value))
				return "its id is none";
			*id = value;
		}
		if (t.len && !take_delimiter(&t))
			return "behind a field stands something";
	}
	return id->len ? NULL : "it has no id";
}

/* -- the file ----------------------------------------------------------------------------- */

bool sts_is_domain(struct text t)
{
	size_t label = 0;

	for (size_t i = 0; i < t.len; i++) {
		char c = t.data[i];
		bool last = i + 1 == t.len || t.data[i + 1] == '.';

		if (c == '.') {
			if (!label || last)
				return false;
			label = 0;
		} else if ((!ascii_is_alnum(c) && (c != '-' || !label || last)) ||
			   ++label > LABEL_MAX) {
			return false;
		}
	}
	return t.len > 0 && t.len <= DOMAIN_MAX;
}

static const char *take_mx(struct sts_file *to, struct text value)
{
	size_t *len = &to->policy.mx.len;
	struct text domain = text_starts_case(value, "*.") ? rest(value, 2) : value;

	if (!sts_is_domain(domain))
		return "an mx of it is no host's name";
	if (value.len + 1 > STS_MX_BYTES - *len)
		return "it has more mx than are held";
	if (*len)
		to->mx[(*len)++] = ' ';
	for (size_t i = 0; i < value.len; i++)
		to->mx[(*len)++] = ascii_lower(value.data[i]);
	to->mx[*len] = '\0';
	return NULL;
}

/* 1*10(DIGIT), "maximum value of 31557600". */
static const char *take_max_age(struct sts_file *to, struct text value)
{
	uint64_t seconds;

	if (value.len > MAX_AGE_DIGITS || !text_number(value, STS_MAX_AGE_MOST_S, &seconds))
		return "its max_age is none";
	to->policy.max_age_s = (uint32_t)seconds;
	return NULL;
}

static const char *take_mode(struct sts_file *to, struct text value)
{
	for (unsigned mode = STS_NONE; mode <= STS_ENFORCE; mode++)
		if (text_equals(value, sts_mode_name((uint8_t)mode))) {
			to->policy.mode = (uint8_t)mode;
			return NULL;
		}
	return "its mode is none";
}

static const char *take_version(struct sts_file *to, struct text value)
{
	(void)to;
	return text_equals(value, "STSv1") ? NULL : "it is of another version";
}

/* Printable, blanks only within; UTF-8 was looked at before. */
static bool is_file_value(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if ((unsigned char)t.data[i] < ' ' || t.data[i] == 0x7f)
			return false;
	return t.len > 0 && !is_blank(t.data[0]);
}

/* "If any field other than "mx" is duplicated, all entries except for the first MUST be ignored."
 */
static const struct {
	const char *name;
	bool many;
	const char *(*take)(struct sts_file *to, struct text value);
} fields[] = {
    {"version", false, take_version},
    {"mode", false, take_mode},
    {"max_age", false, take_max_age},
    {"mx", true, take_mx},
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* SEEN: a bit a row of fields[]. */
static const char *take_line(struct sts_file *to, struct text line, unsigned *seen)
{
	ptrdiff_t colon = text_find(line, ':');

	while (line.len && is_blank(line.data[line.len - 1]))
		line.len--;
	if (colon < 0 || (size_t)colon >= line.len ||
	    !is_name((struct text){line.data, (size_t)colon}))
		return "a line of it is no field";
	struct text name = {line.data, (size_t)colon};
	struct text value = blanks_off(rest(line, (size_t)colon + 1));

	if (!is_file_value(value))
		return "a field of it has no value";
	for (size_t i = 0; i < FIELDS; i++) {
		if (!text_equals(name, fields[i].name))
			continue;
		bool again = *seen >> i & 1;

		*seen |= 1u << i;
		return again && !fields[i].many ? NULL : fields[i].take(to, value);
	}
	return NULL; /* "unknown fields SHALL be ignored" */
}

const char *sts_file_read(struct text body, struct sts_file *to)
{
	static const char *const missing[FIELDS] = {"it has no version", "it has no mode",
						    "it has no max_age", "it has no mx"};
	unsigned seen = 0;

	to->policy = (struct sts_policy){.mx = {to->mx, 0}};
	to->mx[0] = '\0';
	if (!text_is_utf8(body))
		return "it is no text";
	while (body.len) {
		ptrdiff_t end = text_find(body, '\n');
		struct text line = {body.data, end < 0 ? body.len : (size_t)end};
		const char *why;

		body = end < 0 ? (struct text){NULL, 0} : rest(body, (size_t)end + 1);
		if (end > 0 && line.data[end - 1] == '\r')
			line.len--;
		if ((why = take_line(to, line, &seen)))
			return why;
	}
	for (size_t i = 0; i < FIELDS; i++)
		/* "at least once, except when mode is "none"" */
		if (!(seen >> i & 1) && !(fields[i].many && to->policy.mode == STS_NONE))
			return missing[i];
	return NULL;
}

bool sts_type_is_plain(struct text type)
{
	static const struct text plain = TEXT("text/plain");
	ptrdiff_t parameters = text_find(type, ';');

	if (parameters >= 0)
		type.len = (size_t)parameters;
	return text_equal_case(text_trim(type), plain);
}
