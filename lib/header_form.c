/* SPDX-License-Identifier: ISC */
/* The forms of Date and Message-ID. */
#include "header_form.h"

#include <string.h>

struct cursor {
	struct text t;
	size_t at;
};

static char peek(const struct cursor *c)
{
	return c->at < c->t.len ? c->t.data[c->at] : '\0';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* CFWS; a comment without end is no end of the value either, so the forms below fail on it. */
static void skip_blanks(struct cursor *c)
{
	size_t depth = 0;

	for (; c->at < c->t.len; c->at++) {
		char ch = peek(c);

		if (ch == '(')
			depth++;
		else if (!depth && !is_blank(ch))
			return;
		else if (ch == ')')
			depth--;
		else if (ch == '\\')
			c->at++;
	}
	if (depth)
		c->at = c->t.len + 1;
}

static bool at_end(const struct cursor *c)
{
	return c->at == c->t.len;
}

/* LEAST to MOST digits. */
static bool take_number(struct cursor *c, size_t least, size_t most, unsigned *value)
{
	size_t from = c->at;

	*value = 0;
	while (c->at - from < most && peek(c) >= '0' && peek(c) <= '9') {
		*value = *value * 10 + (unsigned)(peek(c) - '0');
		c->at++;
	}
	return c->at - from >= least && !(peek(c) >= '0' && peek(c) <= '9');
}

static struct text take_letters(struct cursor *c)
{
	size_t from = c->at;

	while (c->at < c->t.len && ascii_is_alnum(peek(c)) && (peek(c) < '0' || peek(c) > '9'))
		c->at++;
	return (struct text){c->t.data + from, c->at - from};
}

/* The place of a word in a list of words of three letters, from 1; 0: in none. */
static unsigned place_of(struct text word, const char *words)
{
	for (unsigned i = 0; word.len == 3 && words[3 * (size_t)i]; i++)
		if (text_equal_case(word, (struct text){words + 3 * (size_t)i, 3}))
			return i + 1;
	return 0;
}

static bool take(struct cursor *c, char wanted)
{
	skip_blanks(c);
	if (peek(c) != wanted)
		return false;
	c->at++;
	skip_blanks(c);
	return true;
}

/* [day-name ","] day month year */
static bool take_day(struct cursor *c)
{
	static const unsigned char lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	unsigned day, month, year;

	skip_blanks(c);
	struct text name = take_letters(c);

	if (name.len && (!place_of(name, "MonTueWedThuFriSatSun") || !take(c, ',')))
		return false;
	if (!take_number(c, 1, 2, &day))
		return false;
	skip_blanks(c);
	month = place_of(take_letters(c), "JanFebMarAprMayJunJulAugSepOctNovDec");
	skip_blanks(c);
	if (!month || !day || day > lengths[month - 1] || !take_number(c, 2, 4, &year))
		return false;
	return year < 1000 || year >= 1900;
}

/* hour ":" minute [ ":" second ]; 60 is a leap second. */
static bool take_time(struct cursor *c)
{
	unsigned hour, minute, second = 0;

	skip_blanks(c);
	if (!take_number(c, 1, 2, &hour) || !take(c, ':') || !take_number(c, 2, 2, &minute))
		return false;
	skip_blanks(c);
	if (peek(c) == ':' && (!take(c, ':') || !take_number(c, 2, 2, &second)))
		return false;
	return hour < 24 && minute < 60 && second <= 60;
}

static bool take_zone(struct cursor *c)
{
	static const char *const names[] = {"UT",  "GMT", "UTC", "EST", "EDT", "CST",
					    "CDT", "MST", "MDT", "PST", "PDT"};
	unsigned offset;

	skip_blanks(c);
	if (peek(c) == '+' || peek(c) == '-') {
		c->at++;
		return take_number(c, 4, 4, &offset) && offset % 100 < 60;
	}
	struct text name = take_letters(c);

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (text_equal_case(name, text_of(names[i])))
			return true;
	/* The military zones, which mean nothing since RFC 822 had them wrong, but are read. */
	return name.len == 1 && name.data[0] != 'J' && name.data[0] != 'j';
}

bool header_is_date(struct text value)
{
	struct cursor c = {value, 0};

	if (!take_day(&c) || !take_time(&c) || !take_zone(&c))
		return false;
	skip_blanks(&c);
	return at_end(&c);
}

bool header_is_message_id(struct text value)
{
	struct cursor c = {value, 0};
	size_t parts[2] = {0, 0}, ats = 0;

	skip_blanks(&c);
	if (peek(&c) != '<')
		return false;
	for (c.at++; peek(&c) != '>'; c.at++) {
		unsigned char ch = (unsigned char)peek(&c);

		/* Quoted strings with blanks are legal there and break threads everywhere. */
		if (ch <= ' ' || ch == 127 || ch == '<' || (ch == '@' && ++ats > 1))
			return false;
		parts[ats] += ch != '@';
	}
	return parts[0] && parts[1] && take(&c, '>') && at_end(&c);
}
