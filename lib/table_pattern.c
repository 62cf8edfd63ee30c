/* SPDX-License-Identifier: ISC */
/* Networks and patterns, read and tried. */
#include "table_pattern.h"

#include "mem.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	STEPS_MAX = 200000, /* about some milliseconds */
	DEPTH_MAX = 2000,
	HEAP_KB_MAX = 2048
};

struct pattern {
	pcre2_code *code;
	pcre2_match_data *found;
	pcre2_match_context *limits;
	uint32_t groups;
};

/* -- patterns ------------------------------------------------------------------------- */

static bool flag_turn(char flag, uint32_t *options)
{
	static const struct {
		char flag;
		uint32_t option;
	} flags[] = {
	    {'i', PCRE2_CASELESS}, {'m', PCRE2_MULTILINE},
	    {'s', PCRE2_DOTALL},   {'x', PCRE2_EXTENDED},
	    {'A', PCRE2_ANCHORED}, {'E', PCRE2_DOLLAR_ENDONLY},
	    {'U', PCRE2_UNGREEDY}, {'X', 0 /* what it asked of PCRE1 is always so in PCRE2 */},
	};

	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		if (flags[i].flag == flag) {
			*options ^= flags[i].option;
			return true;
		}
	return false;
}

/* The end of what begins behind DELIMITER; a backslash takes the next one's meaning away. */
static size_t pattern_end(struct text t, char delimiter)
{
	size_t i = 1;

	while (i < t.len && t.data[i] != delimiter)
		i += t.data[i] == '\\' && i + 1 < t.len ? 2 : 1;
	return i;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool compile(struct pattern *p, struct text re, uint32_t options, char *why)
{
	PCRE2_SIZE at = 0;
	int error = 0;

	p->code =
	    pcre2_compile((PCRE2_SPTR)re.data, re.len,
			  options | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
			  &error, &at, NULL);
	if (!p->code) {
		PCRE2_UCHAR said[120];

		pcre2_get_error_message(error, said, sizeof said);
		snprintf(why, PATTERN_WHY_BYTES, "in the pattern at character %zu: %s", at + 1,
			 (const char *)said);
		return false;
	}
	p->found = pcre2_match_data_create_from_pattern(p->code, NULL);
	p->limits = pcre2_match_context_create(NULL);
	if (!p->found || !p->limits) {
		snprintf(why, PATTERN_WHY_BYTES, "a pattern that takes too much memory");
		return false;
	}
	pcre2_set_match_limit(p->limits, STEPS_MAX);
	pcre2_set_depth_limit(p->limits, DEPTH_MAX);
	pcre2_set_heap_limit(p->limits, HEAP_KB_MAX);
	pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &p->groups);
	return true;
}

struct pattern *pattern_new(struct text *text, char *why)
{
	uint32_t options = PCRE2_CASELESS | PCRE2_DOTALL;
	char delimiter = text->len ? text->data[0] : 'x';
	struct pattern *p = NULL;

	if (ascii_is_alnum(delimiter) || is_blank(delimiter) || delimiter == '\\') {
		snprintf(why, PATTERN_WHY_BYTES, "no pattern: /PATTERN/ and a value were expected");
		return NULL;
	}
	size_t end = pattern_end(*text, delimiter);

	if (end >= text->len) {
		snprintf(why, PATTERN_WHY_BYTES, "a pattern without a %c at its end", delimiter);
		return NULL;
	}
	struct text re = {text->data + 1, end - 1};

	*text = (struct text){text->data + end + 1, text->len - end - 1};
	for (; text->len && !is_blank(text->data[0]); text->data++, text->len--)
		if (!flag_turn(text->data[0], &options)) {
			snprintf(why, PATTERN_WHY_BYTES,
				 "a flag behind the pattern that is none of imsxAEUX");
			return NULL;
		}
	p = mem_new(1, sizeof *p);
	if (!compile(p, re, options, why))
		pattern_free(&p);
	return p;
}

void pattern_free(struct pattern **pattern)
{
	struct pattern *p = *pattern;

	if (!p)
		return;
	pcre2_match_context_free(p->limits);
	pcre2_match_data_free(p->found);
	pcre2_code_free(p->code);
	free(p);
	*pattern = NULL;
}

size_t pattern_bytes(const struct pattern *pattern)
{
	size_t size = 0;

	pcre2_pattern_info(pattern->code, PCRE2_INFO_SIZE, &size);
	return size + (size_t)pattern->groups * 2 * sizeof(size_t) + 512;
}

unsigned pattern_groups(const struct pattern *pattern)
{
	return pattern->groups;
}

/* -- values --------------------------------------------------------------------------- */

enum piece { PIECE_TEXT, PIECE_GROUP, PIECE_WRONG, PIECE_END };

/* The next piece of a value: TEXT as it is, or a GROUP's number. */
static enum piece piece_take(struct text *value, struct text *text, uint64_t *group)
{
	size_t n = 0;

	if (!value->len)
		return PIECE_END;
	while (n < value->len && value->data[n] != '$')
		n++;
	if (n) {
		*text = (struct text){value->data, n};
		*value = (struct text){value->data + n, value->len - n};
		return PIECE_TEXT;
	}
	if (value->len > 1 && value->data[1] == '$') {
		*text = (struct text){value->data, 1};
		*value = (struct text){value->data + 2, value->len - 2};
		return PIECE_TEXT;
	}
	char open = value->len > 1 ? value->data[1] : ' ';
	char close = open == '{' ? '}' : open == '(' ? ')' : '\0';
	size_t from = close ? 2 : 1, to = from;

	while (to < value->len && value->data[to] >= '0' && value->data[to] <= '9')
		to++;
	if (!text_number((struct text){value->data + from, to - from}, 65535, group) ||
	    (close && (to == value->len || value->data[to] != close)))
		return PIECE_WRONG;
	to += close != '\0';
	*value = (struct text){value->data + to, value->len - to};
	return PIECE_GROUP;
}

const char *pattern_value_fault(struct text value, unsigned groups)
{
	for (;;) {
		struct text text;
		uint64_t group;

		switch (piece_take(&value, &text, &group)) {
		case PIECE_END:
			return NULL;
		case PIECE_WRONG:
			return "a $ that is none of $1, ${1}, $(1) and $$";
		case PIECE_GROUP:
			if (!group || group > groups)
				return "a $ whose group the pattern does not have";
			break;
		case PIECE_TEXT:
			break;
		}
	}
}

/* In place of a group that found nothing stands nothing. */
static bool expand_to(const struct pattern *p, struct text key, struct text expand, size_t most,
		      struct bytes *value)
{
	const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(p->found);

	for (;;) {
		struct text text = {NULL, 0};
		uint64_t group;
		enum piece piece = piece_take(&expand, &text, &group);

		if (piece == PIECE_END || piece == PIECE_WRONG)
			return piece == PIECE_END;
		if (piece == PIECE_GROUP && group <= p->groups && ends[2 * group] != PCRE2_UNSET &&
		    ends[2 * group] < ends[2 * group + 1])
			text = (struct text){key.data + ends[2 * group],
					     ends[2 * group + 1] - ends[2 * group]};
		if (text.len > most - bytes_len(value))
			return false;
		if (text.len)
			bytes_add(value, text.data, text.len);
	}
}

enum pattern_verdict pattern_fits(const struct pattern *pattern, struct text key,
				  struct text expand, size_t most, struct bytes *value)
{
	const char *data = key.data ? key.data : "";
	int n = pcre2_match(pattern->code, (PCRE2_SPTR)data, key.len, 0, 0, pattern->found,
			    pattern->limits);

	if (n == PCRE2_ERROR_NOMATCH)
		return PATTERN_DIFFERS;
	if (n < 0 || bytes_len(value) > most)
		return PATTERN_FAILED;
	return !expand.len || expand_to(pattern, key, expand, most, value) ? PATTERN_FITS
									   : PATTERN_FAILED;
}

/* -- networks ------------------------------------------------------------------------- */

const char *network_read(struct text text, struct network *to)
{
	ptrdiff_t slash = text_find(text, '/');
	struct text address = slash < 0 ? text : (struct text){text.data, (size_t)slash};
	uint64_t bits = 0;

	if (address.len > 2 && address.data[0] == '[' && address.data[address.len - 1] == ']')
		address = (struct text){address.data + 1, address.len - 2};
	if (!host_address_parse(address, to->address))
		return "no address and no network";
	unsigned most = text_find(address, ':') >= 0 ? 128 : 32;

	if (slash < 0)
		bits = most;
	else if (!text_number((struct text){text.data + slash + 1, text.len - (size_t)slash - 1},
			      most, &bits))
		return most == 32 ? "a network's bits that are not 0 to 32"
				  : "a network's bits that are not 0 to 128";
	to->bits = (uint8_t)(bits + 128 - most);
	for (unsigned i = to->bits; i < 128; i++)
		if (to->address[i / 8] & 0x80 >> i % 8)
			return "an address with bits behind its network's";
	return NULL;
}
