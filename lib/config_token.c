/* SPDX-License-Identifier: ISC */
/* Splits the configuration into words, with line and column of each. */
#include "config_token.h"

#include "must.h"

#include <string.h>

struct token_source token_source_over(struct text content, struct arena *arena)
{
	struct token_source s = {content.data, content.data + content.len, arena, 1, 1};

	if (!content.len)
		s.at = s.end = "";
	/* Some editors put a byte order mark in front. */
	if (content.len >= 3 && memcmp(content.data, "\xef\xbb\xbf", 3) == 0)
		s.at += 3;
	return s;
}

static void step(struct token_source *s)
{
	unsigned char c = (unsigned char)*s->at++;

	if (c == '\n') {
		s->line++;
		s->column = 1;
	} else if ((c & 0xc0) != 0x80) {
		s->column++;
	}
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_control(char c)
{
	return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static bool ends_word(char c, bool in_name)
{
	return is_blank(c) || c == '#' || c == '{' || c == '}' || c == ',' || (in_name && c == '=');
}

static void skip_blanks(struct token_source *s)
{
	while (s->at < s->end && (is_blank(*s->at) || *s->at == '#')) {
		if (*s->at != '#') {
			step(s);
			continue;
		}
		while (s->at < s->end && *s->at != '\n')
			step(s);
	}
}

static struct token bad(struct token t, const char *what)
{
	t.kind = TOKEN_BAD;
	t.text = text_of(what);
	return t;
}

/* The inside of quotes without its escapes; RAW holds only \" and \\ as such. */
static struct text unescape(struct arena *arena, struct text raw)
{
	char *copy = arena_alloc(arena, raw.len + 1);
	size_t n = 0;

	must(copy);
	for (size_t i = 0; i < raw.len; i++) {
		if (raw.data[i] == '\\')
			i++;
		copy[n++] = raw.data[i];
	}
	return (struct text){copy, n};
}

static struct token quoted_word(struct token_source *s, struct token t)
{
	bool escaped = false;
	const char *wrong = NULL;

	t.quoted = true;
	step(s);
	const char *begin = s->at;

	while (s->at < s->end && *s->at != '"' && *s->at != '\n') {
		if (is_control(*s->at) && *s->at != '\r')
			wrong = "control character in quotes";
		if (*s->at == '\\') {
			escaped = true;
			step(s);
			if (s->at == s->end || (*s->at != '"' && *s->at != '\\')) {
				wrong = "in quotes a \\ stands only in front of \" or another \\";
				continue;
			}
		}
		step(s);
	}
	if (s->at == s->end || *s->at == '\n')
		return bad(t, "closing quote is missing on this line");
	t.text = (struct text){begin, (size_t)(s->at - begin)};
	step(s);
	if (!wrong && s->at < s->end && !ends_word(*s->at, true))
		wrong = "quotes stand around a whole value: a blank is missing behind them";
	if (!wrong && t.text.len > WORD_MAX_BYTES)
		wrong = "value of more than 4095 bytes";
	if (wrong)
		return bad(t, wrong);
	if (escaped)
		t.text = unescape(s->arena, t.text);
	return t;
}

static struct token bare_word(struct token_source *s, struct token t, bool in_name)
{
	const char *begin = s->at, *wrong = NULL;

	while (s->at < s->end && !ends_word(*s->at, in_name)) {
		if (is_control(*s->at))
			wrong = "control character";
		if (*s->at == '"' && !wrong)
			wrong = "quote inside a word: put quotes around the whole value";
		step(s);
	}
	t.text = (struct text){begin, (size_t)(s->at - begin)};
	if (!wrong && t.text.len > WORD_MAX_BYTES)
		wrong = "word of more than 4095 bytes";
	return wrong ? bad(t, wrong) : t;
}

struct token token_next(struct token_source *s, bool in_name)
{
	skip_blanks(s);
	struct token t = {.kind = TOKEN_END, .line = s->line, .column = s->column};

	if (s->at == s->end)
		return t;
	t.text = (struct text){s->at, 1};
	switch (*s->at) {
	case '{':
		t.kind = TOKEN_OPEN;
		break;
	case '}':
		t.kind = TOKEN_CLOSE;
		break;
	case ',':
		t.kind = TOKEN_COMMA;
		break;
	case '=':
		t.kind = in_name ? TOKEN_EQUALS : TOKEN_WORD;
		break;
	default:
		t.kind = TOKEN_WORD;
		break;
	}
	if (t.kind != TOKEN_WORD) {
		step(s);
		return t;
	}
	if (*s->at == '"')
		return quoted_word(s, t);
	return bare_word(s, t, in_name);
}
