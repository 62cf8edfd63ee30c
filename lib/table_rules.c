/* SPDX-License-Identifier: ISC */
/* Reading lists of rules, and finding the first that fits. */
#include "table_rules.h"

#include "mem.h"
#include "table_pattern.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What all patterns of a table together may take. */
enum {
	PATTERN_BYTES_MAX = 64 * 1024 * 1024,
	LINE_BYTES_MAX = 65536,
	FIND_US_MAX = 250000, /* of the processor, for one key */
	FIND_ASK_EACH = 16    /* patterns */
};

enum rule_what { RULE_VALUE, RULE_IF, RULE_ENDIF };

struct rule {
	enum rule_what what;
	bool negated;
	uint32_t line;
	uint32_t behind; /* of an if: the rule behind its endif */
	struct text asked, value;
	struct network network;
	struct pattern *pattern;
};

struct table_rules {
	enum table_rules_type type;
	struct bytes lines; /* what rules refer to: each line with those that go on with it */
	struct rule *rules;
	size_t count, room;
	size_t pattern_bytes;
};

struct reading {
	struct table_rules *table;
	table_fault *fault;
	void *owner;
	unsigned faults;
	uint32_t open[TABLE_NESTING_MAX]; /* the rules that are an if, from the outermost */
	size_t depth;
};

static void wrong(struct reading *r, uint32_t line, const char *what)
{
	if (r->faults++ < TABLE_FAULTS_MAX && r->fault)
		r->fault(r->owner, line, what);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *line_fault(struct text line)
{
	for (size_t i = 0; i < line.len; i++) {
		unsigned char c = (unsigned char)line.data[i];

		if ((c < ' ' && c != '\t') || c == 127)
			return "a control character";
	}
	return text_is_utf8(line) ? NULL : "no UTF-8";
}

/* -- one rule ------------------------------------------------------------------------- */

static struct text rest_of(struct text t, size_t from)
{
	return (struct text){t.data + from, t.len - from};
}

static bool read_network(struct reading *r, struct rule *rule, struct text *text)
{
	size_t n = 0;

	while (n < text->len && !is_blank(text->data[n]))
		n++;
	const char *why = network_read((struct text){text->data, n}, &rule->network);

	*text = rest_of(*text, n);

	if (why)
		wrong(r, rule->line, why);
	return !why;
}

static bool read_pattern(struct reading *r, struct rule *rule, struct text *text)
{
	struct table_rules *t = r->table;
	char why[PATTERN_WHY_BYTES];

	rule->pattern = pattern_new(text, why);
	if (!rule->pattern) {
		wrong(r, rule->line, why);
		return false;
	}
	t->pattern_bytes += pattern_bytes(rule->pattern);
	if (t->pattern_bytes <= PATTERN_BYTES_MAX)
		return true;
	wrong(r, rule->line, "patterns of more than 64 MB together");
	return false;
}

static bool read_asked(struct reading *r, struct rule *rule, struct text *text)
{
	const char *from = text->data;

	rule->negated = text->len && text->data[0] == '!';
	if (rule->negated)
		*text = text_trim(rest_of(*text, 1));
	if (!(r->table->type == TABLE_RULES_CIDR ? read_network(r, rule, text)
						 : read_pattern(r, rule, text)))
		return false;
	rule->asked = (struct text){from, (size_t)(text->data - from)};
	return true;
}

static bool read_if(struct reading *r, struct rule *rule, struct text text)
{
	rule->what = RULE_IF;
	if (!read_asked(r, rule, &text))
		return false;
	if (text_trim(text).len)
		wrong(r, rule->line, "something behind an if");
	else if (r->depth == TABLE_NESTING_MAX)
		wrong(r, rule->line, "an if in more than 32 others");
	else
		r->open[r->depth++] = (uint32_t)r->table->count;
	return true;
}

static bool read_endif(struct reading *r, struct rule *rule, struct text text)
{
	rule->what = RULE_ENDIF;
	if (text_trim(text).len)
		wrong(r, rule->line, "something behind endif");
	else if (!r->depth)
		wrong(r, rule->line, "an endif without an if");
	else
		r->table->rules[r->open[--r->depth]].behind = (uint32_t)r->table->count + 1;
	return true;
}

static bool read_value(struct reading *r, struct rule *rule, struct text text)
{
	if (!read_asked(r, rule, &text))
		return false;
	rule->value = text_trim(text);
	if (!rule->value.len)
		wrong(r, rule->line, "a rule without a value");
	else if (rule->value.len > TABLE_VALUE_MAX)
		wrong(r, rule->line, "a value of more than 16384 characters");
	else if (rule->pattern) {
		const char *why = pattern_value_fault(
		    rule->value, rule->negated ? 0 : pattern_groups(rule->pattern));

		if (why)
			wrong(r, rule->line, why);
	}
	return true;
}

static bool is_word(struct text line, const char *word)
{
	size_t n = strlen(word);

	return text_starts_case(line, word) && (line.len == n || is_blank(line.data[n]));
}

static void read_rule(struct reading *r, struct text line, uint32_t number)
{
	struct table_rules *t = r->table;
	struct rule rule = {.line = number};
	size_t most = t->type == TABLE_RULES_CIDR ? (size_t)TABLE_RULES_MAX : TABLE_PATTERNS_MAX;
	bool whole;

	if (t->count == most) {
		wrong(r, number, "too many rules");
		return;
	}
	if (t->count == t->room) {
		t->room = t->room ? t->room * 2 : 64;
		t->rules = mem_resize(t->rules, t->room, sizeof *t->rules);
	}
	if (is_word(line, "if"))
		whole = read_if(r, &rule, text_trim(rest_of(line, 2)));
	else if (is_word(line, "endif"))
		whole = read_endif(r, &rule, rest_of(line, 5));
	else
		whole = read_value(r, &rule, line);
	if (whole)
		t->rules[t->count++] = rule;
	else
		pattern_free(&rule.pattern);
}

/* -- lines ---------------------------------------------------------------------------- */

/* The line that begins at *AT, without its end and blanks at it; *AT moves behind it. */
static struct text line_take(struct text all, size_t *at)
{
	const char *from = all.data + *at, *lf = memchr(from, '\n', all.len - *at);
	size_t len = lf ? (size_t)(lf - from) : all.len - *at;

	*at += len + (lf != NULL);
	while (len && (from[len - 1] == '\r' || is_blank(from[len - 1])))
		len--;
	return (struct text){from, len};
}

struct joined {
	size_t from; /* in the table's lines */
	uint32_t line;
	bool open;
};

static void join_end(struct reading *r, struct joined *j)
{
	const struct bytes *lines = &r->table->lines;
	struct text whole = {(const char *)lines->data + j->from, lines->end - j->from};

	if (!j->open)
		return;
	j->open = false;
	if (whole.len > LINE_BYTES_MAX)
		wrong(r, j->line, "a line of more than 65536 characters");
	else
		read_rule(r, whole, j->line);
}

/* Joined lines are never longer than they were: so their room is made at once, and stays where it
 * is, with the rules that point into it. */
static void read_lines(struct reading *r, struct text all)
{
	struct bytes *lines = &r->table->lines;
	struct joined j = {0};
	uint32_t number = 0;

	bytes_room(lines, all.len + 1);
	for (size_t at = 0; at < all.len && r->faults < TABLE_FAULTS_MAX;) {
		struct text line = line_take(all, &at), words = text_trim(line);

		number++;
		if (!words.len || words.data[0] == '#')
			continue;
		const char *what = line_fault(line);
		bool goes_on = is_blank(line.data[0]);

		if (!what && goes_on && !j.open)
			what = "a blank at its beginning, and no line to go on";
		if (what) {
			wrong(r, number, what);
			j.open = false;
			continue;
		}
		if (!goes_on) {
			join_end(r, &j);
			j = (struct joined){lines->end, number, true};
		} else {
			bytes_add(lines, " ", 1);
		}
		bytes_add(lines, words.data, words.len);
	}
	join_end(r, &j);
}

struct table_rules *table_rules_read(enum table_rules_type type, struct bytes *content,
				     table_fault *fault, void *owner)
{
	struct table_rules *t = mem_new(1, sizeof *t);
	struct reading r = {.table = t, .fault = fault, .owner = owner};

	t->type = type;
	if (bytes_len(content) > UINT32_MAX / 2)
		wrong(&r, 1, "more than 2 GB");
	else if (bytes_len(content))
		read_lines(&r, bytes_text(content));
	bytes_free(content);
	*content = (struct bytes){0};
	if (r.depth && !r.faults)
		wrong(&r, t->rules[r.open[r.depth - 1]].line, "an if without an endif");
	if (r.faults)
		table_rules_free(&t);
	return t;
}

void table_rules_free(struct table_rules **table)
{
	struct table_rules *t = *table;

	if (!t)
		return;
	for (size_t i = 0; i < t->count; i++)
		pattern_free(&t->rules[i].pattern);
	bytes_free(&t->lines);
	free(t->rules);
	free(t);
	*table = NULL;
}

/* -- looking up ----------------------------------------------------------------------- */

static enum pattern_verdict rule_fits(const struct rule *rule, struct text key,
				      const uint8_t *address, struct bytes *value)
{
	enum pattern_verdict verdict;

	if (rule->pattern)
		verdict = pattern_fits(rule->pattern, key,
				       rule->negated ? (struct text){NULL, 0} : rule->value,
				       TABLE_VALUE_MAX, value);
	else
		verdict =
		    networks_contain(
			&(struct networks){(struct network *)(uintptr_t)&rule->network, 1}, address)
			? PATTERN_FITS
			: PATTERN_DIFFERS;
	if (verdict == PATTERN_FAILED || !rule->negated)
		return verdict;
	return verdict == PATTERN_FITS ? PATTERN_DIFFERS : PATTERN_FITS;
}

/* An address as itself, and as it stands in an address literal (RFC 5321 section 4.1.3). */
static bool key_address(struct text key, uint8_t *address)
{
	if (key.len > 2 && key.data[0] == '[' && key.data[key.len - 1] == ']')
		key = (struct text){key.data + 1, key.len - 2};
	if (text_starts_case(key, "IPv6:"))
		key = rest_of(key, 5);
	return host_address_parse(key, address);
}

static enum table_verdict value_of(const struct rule *rule, bool plain, struct bytes *value)
{
	if (rule->pattern && plain && text_find(rule->value, '$') >= 0)
		return TABLE_FAILED;
	/* Of a pattern that was found, the value is there already; nothing is put into others. */
	if (!rule->pattern) {
		bytes_add(value, rule->value.data, rule->value.len);
	} else if (rule->negated) {
		for (size_t i = 0; i < rule->value.len; i++) {
			bytes_add(value, rule->value.data + i, 1);
			i += rule->value.data[i] == '$';
		}
	}
	return TABLE_FOUND;
}

static int64_t processor_us(void)
{
	struct timespec t = {0, 0};

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Many patterns that each stay below their limits hold up all who ask just as one does. */
static bool takes_too_long(const struct table_rules *table, size_t *tried, int64_t *began)
{
	if (table->type == TABLE_RULES_CIDR || ++*tried % FIND_ASK_EACH)
		return false;
	if (*tried == FIND_ASK_EACH)
		*began = processor_us();
	return processor_us() - *began > FIND_US_MAX;
}

enum table_verdict table_rules_find(const struct table_rules *table, struct text key, bool plain,
				    struct bytes *value)
{
	uint8_t address[16] = {0};
	size_t tried = 0;
	int64_t began = 0;

	if (table->type == TABLE_RULES_CIDR && !key_address(key, address))
		return TABLE_ABSENT;
	for (size_t i = 0; i < table->count;) {
		const struct rule *rule = &table->rules[i];

		if (rule->what == RULE_ENDIF) {
			i++;
			continue;
		}
		if (takes_too_long(table, &tried, &began))
			return TABLE_FAILED;
		switch (rule_fits(rule, key, address, value)) {
		case PATTERN_FAILED:
			return TABLE_FAILED;
		case PATTERN_DIFFERS:
			i = rule->what == RULE_IF ? rule->behind : i + 1;
			break;
		case PATTERN_FITS:
			if (rule->what == RULE_VALUE)
				return value_of(rule, plain, value);
			i++;
			break;
		}
	}
	return TABLE_ABSENT;
}

bool table_rules_next(const struct table_rules *table, size_t *at, struct text *key,
		      struct bytes *value)
{
	while (*at < table->count && table->rules[*at].what != RULE_VALUE)
		(*at)++;
	if (*at >= table->count)
		return false;
	const struct rule *rule = &table->rules[(*at)++];

	*key = rule->asked;
	value->start = value->end = 0;
	bytes_add(value, rule->value.data, rule->value.len);
	return true;
}

uint32_t table_rules_line(const struct table_rules *table, struct text key)
{
	for (size_t i = 0; i < table->count; i++)
		if (table->rules[i].asked.data == key.data)
			return table->rules[i].line;
	return 0;
}
