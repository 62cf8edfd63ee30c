/* SPDX-License-Identifier: ISC */
/*
 * Reads a configuration: statements and blocks here, values in
 * config_value.c, what the rows are in settings.def. Goes on after an error,
 * so that all of them are said at once.
 */
#include "config_finish.h"
#include "config_row.h"
#include "config_source.h"
#include "config_token.h"
#include "config_value.h"
#include "envelope.h"
#include "mem.h"
#include "must.h"
#include "nearest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	CONTENT_MAX_BYTES = 1048576,
	ERRORS_MAX = 200,
	SITE_NAME_MAX_BYTES = 64,
};

/* Far above what 1 MB of text can fill: "::," makes the most of its bytes, 17 for 3, doubled. */
static const size_t ARENA_LIMIT_BYTES = 256u << 20;

struct reader {
	struct token_source source;
	struct config *config;
	struct config_errors *errors;
	uint32_t *lines;		   /* by row: where it was set */
	uint32_t block_lines[BLOCK_COUNT]; /* where blocks that stand once began */
	struct place *ports;		   /* of each listen endpoint, in order */
	size_t port_count;
};

/* A block being read, or the top level. */
struct scope {
	const struct block_row *row;
	enum setting_block block;
	void *base;	 /* the struct that its fields are in */
	uint32_t *lines; /* by row */
	struct place begin;
};

void config_errors_add(struct config_errors *errors, bool warning, uint32_t line, uint32_t column,
		       const char *format, ...)
{
	va_list args;

	if (errors->count == ERRORS_MAX)
		return;
	errors->items = mem_resize(errors->items, errors->count + 1, sizeof *errors->items);
	struct config_error *e = &errors->items[errors->count++];

	*e = (struct config_error){.line = line, .column = column, .warning = warning};
	va_start(args, format);
	vsnprintf(e->text, sizeof e->text, format, args);
	va_end(args);
}

void config_errors_free(struct config_errors *errors)
{
	free(errors->items);
	*errors = (struct config_errors){0};
}

#define WRONG(r, at, ...) config_errors_add((r)->errors, false, (at).line, (at).column, __VA_ARGS__)
#define WARN(r, at, ...) config_errors_add((r)->errors, true, (at).line, (at).column, __VA_ARGS__)

/* -- what was probably meant ---------------------------------------------------- */

static const struct setting_row *row_named(enum setting_block block, struct text name)
{
	for (size_t i = 0; i < setting_count; i++)
		if (setting_rows[i].block == block && text_equals(name, setting_rows[i].name))
			return &setting_rows[i];
	return NULL;
}

static bool from_postfix(struct reader *r, const struct token *name, const char *word)
{
	const char *ours = postfix_meaning(name->text);

	if (ours)
		WRONG(r, *name, "unknown setting \"%s\"; what it is in Postfix is here %s", word,
		      ours);
	return ours != NULL;
}

static void unknown_setting(struct reader *r, const struct scope *scope, const struct token *name)
{
	const char *names[128];
	size_t count = 0;
	char word[SHOWN_BYTES], where[64] = "";

	shown(word, name->text);
	if (scope->block)
		snprintf(where, sizeof where, " in %s { }", scope->row->name);
	for (size_t i = 0; i < setting_count && count < 128; i++)
		if (setting_rows[i].block == scope->block)
			names[count++] = setting_rows[i].name;
	if (from_postfix(r, name, word))
		return;
	const char *near = nearest_name(name->text, names, count);

	if (near) {
		WRONG(r, *name, "unknown setting \"%s\"%s; did you mean %s?", word, where, near);
		return;
	}
	for (size_t i = 0; i < setting_count; i++)
		if (text_equals(name->text, setting_rows[i].name)) {
			const char *block = block_rows[setting_rows[i].block].name;

			WRONG(r, *name, "unknown setting \"%s\"%s; it belongs %s%s", word, where,
			      *block ? "into the block " : "outside of all blocks", block);
			return;
		}
	WRONG(r, *name, "unknown setting \"%s\"%s", word, where);
}

static void unknown_block(struct reader *r, const struct token *name)
{
	const char *names[BLOCK_COUNT];
	size_t count = 0;
	char word[SHOWN_BYTES];

	shown(word, name->text);
	for (size_t i = 1; i < BLOCK_COUNT; i++)
		names[count++] = block_rows[i].name;
	if (row_named(BLOCK_top, name->text)) {
		WRONG(r, *name, "\"%s\" is a setting, not a block: write %s = VALUE", word, word);
		return;
	}
	const char *near = nearest_name(name->text, names, count);

	WRONG(r, *name, "unknown block \"%s\"%s%s%s", word, near ? "; did you mean " : "",
	      near ? near : "", near ? "?" : "");
}

/* -- settings ---------------------------------------------------------------------- */

/* Where the endpoints of listen blocks stand, to name them when they overlap. */
static void note_port(struct reader *r, const struct token *word)
{
	struct setting_list list = {r->ports, r->port_count};
	struct place *at = config_list_grow(r->config->arena, &list, sizeof *at);

	*at = (struct place){word->line, word->column};
	r->ports = list.items;
	r->port_count = list.count;
}

static void read_value(struct reader *r, const struct scope *scope, const struct setting_row *row,
		       const struct token *word)
{
	char *field = (char *)scope->base + row->offset;
	size_t size = setting_item_size(row->type);
	union {
		struct network network;
		struct text text;
		struct endpoint endpoint;
		struct source_share share;
	} item = {0};

	if (!size) {
		value_read(row, word, r->config->arena, r->errors, field, scope->base);
		return;
	}
	if (!value_read(row, word, r->config->arena, r->errors, &item, scope->base))
		return;
	struct setting_list list;

	memcpy(&list, field, sizeof list);
	memcpy(config_list_grow(r->config->arena, &list, size), &item, size);
	memcpy(field, &list, sizeof list);
	if (row->type == TYPE_ENDPOINTS)
		note_port(r, word);
}

/* "{ a, b }" behind its brace. Commas may be left out. */
static void read_list(struct reader *r, const struct scope *scope, const struct setting_row *row,
		      struct token open)
{
	bool after_comma = true;

	for (;;) {
		struct token_source before = r->source;
		struct token t = token_next(&r->source, false);

		if (t.kind == TOKEN_CLOSE)
			return;
		if (t.kind == TOKEN_END || t.kind == TOKEN_OPEN ||
		    (t.kind == TOKEN_WORD && !t.quoted && text_equals(t.text, "="))) {
			r->source = before;
			WRONG(r, open,
			      "the list of %s that begins here is not closed: a } is missing",
			      row ? row->name : "values");
			return;
		}
		if (t.kind == TOKEN_BAD)
			WRONG(r, t, "%.*s", (int)t.text.len, t.text.data);
		if (t.kind == TOKEN_COMMA && after_comma)
			WRONG(r, t, "a comma with no value before it");
		if (t.kind == TOKEN_WORD && row)
			read_value(r, scope, row, &t);
		after_comma = t.kind == TOKEN_COMMA;
	}
}

/* Words behind a value on its line, which belong to nothing: quotes were forgotten. */
static void read_stray_words(struct reader *r, const struct setting_row *row, uint32_t line,
			     bool said)
{
	for (;; said = true) {
		struct token_source before = r->source;
		struct token t = token_next(&r->source, true);

		if (t.kind == TOKEN_COMMA && t.line == line) {
			if (!said)
				WRONG(r, t, "several values stand in braces: %s = { a, b }",
				      row ? row->name : "NAME");
			continue;
		}
		struct token_source behind = r->source;
		struct token next = token_next(&r->source, true);

		r->source = before;
		if (t.kind != TOKEN_WORD || t.line != line || next.kind == TOKEN_EQUALS ||
		    next.kind == TOKEN_OPEN)
			return;
		if (next.kind == TOKEN_WORD && next.line == line) {
			struct token_source third = behind;

			token_next(&third, true);
			if (token_next(&third, true).kind == TOKEN_OPEN)
				return;
		}
		if (!said)
			WRONG(
			    r, t,
			    "the value of %s ended before this word: a value with blanks stands in "
			    "quotes",
			    row ? row->name : "the setting");
		r->source = behind;
	}
}

static void read_setting(struct reader *r, const struct scope *scope, const struct token *name,
			 uint32_t line)
{
	const struct setting_row *row = row_named(scope->block, name->text);
	struct token_source before = r->source;
	struct token t = token_next(&r->source, false);
	char word[SHOWN_BYTES];

	shown(word, name->text);
	if (!row) {
		unknown_setting(r, scope, name);
	} else if (scope->lines[row - setting_rows]) {
		WRONG(r, *name, "%s is set twice; the first is on line %u", word,
		      scope->lines[row - setting_rows]);
	} else {
		scope->lines[row - setting_rows] = name->line;
	}
	if (t.line != line || t.kind == TOKEN_END || t.kind == TOKEN_CLOSE ||
	    t.kind == TOKEN_COMMA) {
		r->source = before;
		WRONG(r, *name, "%s has no value", word);
		return;
	}
	if (t.kind == TOKEN_OPEN) {
		bool many = row && (setting_item_size(row->type) || row->type == TYPE_ROUTE_TO);

		if (row && !many)
			WRONG(r, t, "%s takes one value, not a list", word);
		read_list(r, scope, many ? row : NULL, t);
		return;
	}
	if (t.kind == TOKEN_BAD)
		WRONG(r, t, "%.*s", (int)t.text.len, t.text.data);
	else if (row)
		read_value(r, scope, row, &t);
	read_stray_words(r, row, line, false);
}

/* Values for what was not set; what must be set and was not is an error of the block. */
static void fill_defaults(struct reader *r, const struct scope *scope)
{
	for (size_t i = 0; i < setting_count; i++) {
		const struct setting_row *row = &setting_rows[i];

		if (row->block != scope->block || scope->lines[i])
			continue;
		if (!row->fallback) {
			if (row->least && scope->row->many)
				WRONG(r, scope->begin, "this %s block lacks its setting %s",
				      scope->row->name, row->name);
			continue;
		}
		struct token_source outer = r->source;

		r->source = token_source_over(text_of(row->fallback), r->config->arena);
		struct token t = token_next(&r->source, false);

		if (t.kind == TOKEN_OPEN)
			read_list(r, scope, row, t);
		else
			read_value(r, scope, row, &t);
		r->source = outer;
	}
}

/* -- blocks ---------------------------------------------------------------------- */

static void read_statements(struct reader *r, const struct scope *scope);

/* Goes behind the end of a block that is not known. */
static void skip_block(struct reader *r, struct place begin)
{
	for (size_t depth = 1; depth;) {
		struct token t = token_next(&r->source, false);

		if (t.kind == TOKEN_END) {
			WRONG(r, begin, "the block that begins here is not closed: a } is missing");
			return;
		}
		depth += t.kind == TOKEN_OPEN;
		depth -= t.kind == TOKEN_CLOSE;
	}
}

static bool listen_label(struct reader *r, const struct token *label, struct config_listen *listen)
{
	static const char *const kinds[] = {"smtp", "submission", "submissions"};
	char word[SHOWN_BYTES];

	listen->role = HANDLE_LISTEN_SMTP;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (text_equals(label->text, kinds[i])) {
			listen->role = (enum handle_role)(HANDLE_LISTEN_SMTP + i);
			return true;
		}
	shown(word, label->text);
	const char *near = nearest_name(label->text, kinds, 3);

	if (text_equals(label->text,
			"smtps")) /* as /etc/services has it; smtp would be in the clear */
		near = kinds[2];
	WRONG(r, *label, "listen: \"%s\" is no kind of listener; did you mean %s?", word,
	      near ? near : kinds[0]);
	return false;
}

static void site_label(struct reader *r, const struct token *label)
{
	char word[SHOWN_BYTES];
	bool fits = label->text.len <= SITE_NAME_MAX_BYTES;

	for (size_t i = 0; i < label->text.len; i++)
		fits = fits && (ascii_is_alnum(label->text.data[i]) ||
				text_find(text_of("-_."), label->text.data[i]) >= 0);
	if (!fits)
		WRONG(r, *label,
		      "site: the name \"%s\" is not of letters, digits, - _ . (at most 64)",
		      shown(word, label->text));
}

/* RFC 9525 6.3: a wildcard is the whole first label. */
static void tls_label(struct reader *r, const struct token *label, struct text *to)
{
	char word[SHOWN_BYTES];
	const char *why = "a name that begins with a dot";

	if (label->text.data[0] == '.' || !pattern_read(label->text, r->config->arena, to, &why))
		WRONG(r, *label, "tls: \"%s\" is no host name or *.NAME: %s",
		      shown(word, label->text), why);
}

static void route_label(struct reader *r, const struct token *label, struct text *to)
{
	char word[SHOWN_BYTES];
	const char *why;

	if (text_equals(label->text, "*") || route_name_read(label->text, r->config->arena, to))
		return;
	if (!pattern_read(label->text, r->config->arena, to, &why)) {
		WRONG(r, *label, "route: \"%s\" is no domain, .domain, * or @NAME: %s",
		      shown(word, label->text), why);
		return;
	}
	if (to->data[0] == '*')
		*to = (struct text){to->data + 1, to->len - 1};
}

static void source_label(struct reader *r, enum setting_block block, const struct token *label,
			 struct text *to)
{
	char word[SHOWN_BYTES];

	if (!source_name_read(label->text, r->config->arena, to))
		WRONG(r, *label,
		      "%s: the name \"%s\" is not of letters, digits, - _ . (at most %d)",
		      block_rows[block].name, shown(word, label->text), SOURCE_MAX);
}

static void sender_label(struct reader *r, const struct token *label, struct text *to)
{
	char word[SHOWN_BYTES];
	const char *why;

	if (!sender_label_read(label->text, r->config->arena, to, &why))
		WRONG(r, *label,
		      "sender: \"%s\" is no address, domain, .domain, login:NAME, <> or *: %s",
		      shown(word, label->text), why);
}

/* The first of COUNT items that bears the label; blocks are few, but for routes, which are sorted
 * later. */
static void read_label(struct reader *r, enum setting_block block, const struct token *label,
		       void *item)
{
	struct text *to = item;
	char *copy = arena_copy(r->config->arena, label->text.data, label->text.len);

	must(copy);
	*to = (struct text){copy, label->text.len};
	if (block == BLOCK_listen)
		listen_label(r, label, item);
	else if (block == BLOCK_site)
		site_label(r, label);
	else if (block == BLOCK_route)
		route_label(r, label, to);
	else if (block == BLOCK_tls)
		tls_label(r, label, to);
	else if (block == BLOCK_source || block == BLOCK_pool)
		source_label(r, block, label, to);
	else if (block == BLOCK_sender)
		sender_label(r, label, to);
}

/* A block of which several may stand: a new item in its array. */
static void read_item(struct reader *r, struct scope scope, const struct token *label)
{
	uint32_t lines[256] = {0};
	struct setting_list list;
	char *config = (char *)r->config;

	must(setting_count <= sizeof lines / sizeof *lines);
	memcpy(&list.items, config + scope.row->items, sizeof list.items);
	memcpy(&list.count, config + scope.row->count, sizeof list.count);
	scope.base = config_list_grow(r->config->arena, &list, scope.row->size);
	scope.lines = lines;
	memset(scope.base, 0, scope.row->size);
	memcpy((char *)scope.base + scope.row->line, &scope.begin.line, sizeof(uint32_t));
	memcpy(config + scope.row->items, &list.items, sizeof list.items);
	memcpy(config + scope.row->count, &list.count, sizeof list.count);
	read_label(r, scope.block, label, scope.base);
	read_statements(r, &scope);
	fill_defaults(r, &scope);
	for (size_t i = 0; i < setting_count; i++)
		if (lines[i])
			r->lines[i] = lines[i];
}

static void read_block(struct reader *r, const struct token *name, const struct token *label)
{
	struct scope scope = {
	    .base = r->config, .lines = r->lines, .begin = {name->line, name->column}};
	char word[SHOWN_BYTES];

	for (size_t i = 1; i < BLOCK_COUNT && !scope.row; i++)
		if (text_equals(name->text, block_rows[i].name)) {
			scope.block = (enum setting_block)i;
			scope.row = &block_rows[i];
		}
	if (!scope.row) {
		unknown_block(r, name);
		skip_block(r, scope.begin);
		return;
	}
	if (scope.row->label && !label) {
		WRONG(r, *name, "%s lacks the word between its name and the brace: %s %s { ... }",
		      scope.row->name, scope.row->name,
		      scope.block == BLOCK_listen  ? "smtp"
		      : scope.block == BLOCK_route ? "*"
						   : "NAME");
		skip_block(r, scope.begin);
		return;
	}
	if (!scope.row->label && label)
		WRONG(r, *label, "%s takes no word before its brace: \"%s\"", scope.row->name,
		      shown(word, label->text));
	if (scope.row->many) {
		read_item(r, scope, label);
		return;
	}
	if (r->block_lines[scope.block])
		WRONG(r, *name, "the block %s stands twice; the first is on line %u",
		      scope.row->name, r->block_lines[scope.block]);
	else
		r->block_lines[scope.block] = name->line;
	read_statements(r, &scope);
}

/* NAME = VALUE, NAME { ... } or NAME LABEL { ... }; false: the scope ends in front of it. */
static bool read_statement(struct reader *r, const struct scope *scope, const struct token *name,
			   struct token_source before)
{
	struct token_source behind = r->source;
	struct token label = {0}, t = token_next(&r->source, true);
	char word[SHOWN_BYTES];

	if (t.kind == TOKEN_EQUALS) {
		read_setting(r, scope, name, t.line);
		return true;
	}
	if (t.kind == TOKEN_WORD) {
		label = t;
		t = token_next(&r->source, true);
	}
	if (t.kind != TOKEN_OPEN) {
		r->source = behind;
		WRONG(r, *name,
		      "\"%s\" is neither a setting (NAME = VALUE) nor a block (NAME { ... })",
		      shown(word, name->text));
		read_stray_words(r, NULL, name->line, true);
		return true;
	}
	if (scope->block) {
		WRONG(r, *name,
		      "a block inside of the block %s of line %u: is the } of that one missing?",
		      scope->row->name, scope->begin.line);
		r->source = before;
		return false;
	}
	read_block(r, name, label.kind == TOKEN_WORD ? &label : NULL);
	return true;
}

static void read_statements(struct reader *r, const struct scope *scope)
{
	for (;;) {
		struct token_source before = r->source;
		struct token t = token_next(&r->source, true);

		switch (t.kind) {
		case TOKEN_END:
			if (scope->block)
				WRONG(r, scope->begin,
				      "the block %s that begins here is not closed: a } is missing",
				      scope->row->name);
			return;
		case TOKEN_CLOSE:
			if (scope->block)
				return;
			WRONG(r, t, "a } with no block open");
			break;
		case TOKEN_WORD:
			if (!read_statement(r, scope, &t, before))
				return;
			break;
		case TOKEN_BAD:
			WRONG(r, t, "%.*s", (int)t.text.len, t.text.data);
			break;
		case TOKEN_OPEN:
			WRONG(r, t, "a { with no name before it");
			skip_block(r, (struct place){t.line, t.column});
			break;
		case TOKEN_COMMA:
		case TOKEN_EQUALS:
			WRONG(r, t, "a %s with no name before it",
			      t.kind == TOKEN_COMMA ? "," : "=");
			read_stray_words(r, NULL, t.line, true);
			break;
		}
	}
}

static struct config *config_new(struct reader *r, struct text content)
{
	struct config *config = mem_new(1, sizeof *config);

	config->holders = 1;
	config->arena = arena_new(ARENA_LIMIT_BYTES);
	r->lines = arena_alloc(config->arena, setting_count * sizeof *r->lines);
	must(r->lines);
	config->lines = r->lines;
	r->config = config;
	r->source = token_source_over(content, config->arena);
	return config;
}

static int compare_errors(const void *a, const void *b)
{
	const struct config_error *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return (x->column > y->column) - (x->column < y->column);
}

struct config *config_read(struct text content, struct config_errors *errors)
{
	struct reader r = {.errors = errors};

	*errors = (struct config_errors){0};
	if (content.len > CONTENT_MAX_BYTES) {
		config_errors_add(errors, false, 0, 0, "the file is larger than 1 MB");
		return NULL;
	}
	struct config *config = config_new(&r, content);
	struct scope top = {.row = &block_rows[BLOCK_top], .base = config, .lines = r.lines};

	read_statements(&r, &top);
	fill_defaults(&r, &top);
	for (size_t i = 1; i < BLOCK_COUNT; i++)
		if (!block_rows[i].many)
			fill_defaults(&r, &(struct scope){.row = &block_rows[i],
							  .block = (enum setting_block)i,
							  .base = config,
							  .lines = r.lines});
	config_finish(config, r.ports, errors);
	if (errors->count > 1)
		qsort(errors->items, errors->count, sizeof *errors->items, compare_errors);
	if (config_errors_matter(errors))
		config_drop(&config);
	return config;
}

struct config *config_keep(const struct config *config)
{
	struct config *held = (struct config *)(uintptr_t)config;

	held->holders++;
	return held;
}

void config_drop(struct config **config)
{
	struct config *c = *config;

	*config = NULL;
	if (!c || --c->holders)
		return;
	arena_free(&c->arena);
	free(c);
}

void config_postmaster(const struct config *config, char *to, size_t size)
{
	if (config->postmaster.len && config->postmaster.len < size)
		text_copy(to, size, config->postmaster);
	else
		snprintf(to, size, "postmaster@%.*s", (int)config->hostname.len,
			 config->hostname.data);
}
