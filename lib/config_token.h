/* SPDX-License-Identifier: ISC */
/*
 * The words of a configuration file. A word ends at blanks, #, braces and
 * commas, or stands in quotes, where \" and \\ stand for " and \. An = is a
 * token of its own where a name is read, and an ordinary character in values.
 */
#ifndef LIB_CONFIG_TOKEN_H
#define LIB_CONFIG_TOKEN_H

#include "mem.h"
#include "text.h"

#include <stdbool.h>
#include <stdint.h>

enum { WORD_MAX_BYTES = 4095 };

enum token_kind {
	TOKEN_END,
	TOKEN_WORD,
	TOKEN_OPEN,
	TOKEN_CLOSE,
	TOKEN_COMMA,
	TOKEN_EQUALS,
	TOKEN_BAD, /* text says what is wrong; reading goes on behind it */
};

struct token {
	enum token_kind kind;
	struct text text; /* points into the content, or into the arena when there were escapes */
	uint32_t line, column; /* from 1; columns count characters */
	bool quoted;
};

/* A place in the content; copied to come back to it. */
struct token_source {
	const char *at, *end;
	struct arena *arena; /* for words with escapes */
	uint32_t line, column;
};

struct token_source token_source_over(struct text content, struct arena *arena);

/* The next token; IN_NAME: a name is expected, so an = ends the word. */
struct token token_next(struct token_source *s, bool in_name);

#endif
