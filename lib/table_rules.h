/* SPDX-License-Identifier: ISC */
/*
 * Tables that are lists of rules, of which the first that fits counts, as in
 * Postfix's cidr_table(5) and pcre_table(5): networks for keys that are
 * addresses, or patterns. A line that begins with blanks goes on with the one
 * before; empty lines and lines whose first character is # are skipped.
 *
 *   192.0.2.0/24 value     !192.0.2.0/24 value     if 192.0.2.0/24 ... endif
 *   /pattern/flags value   !/pattern/flags value   if /pattern/flags ... endif
 *
 * Where a pattern has groups, $1 or ${1} or $(1) in its value is what the group
 * found, and $$ is a $.
 */
#ifndef LIB_TABLE_RULES_H
#define LIB_TABLE_RULES_H

#include "message.h"
#include "table_text.h"

enum table_rules_type { TABLE_RULES_CIDR, TABLE_RULES_PCRE };

enum {
	TABLE_RULES_MAX = 100000, /* of networks */
	TABLE_PATTERNS_MAX = 10000,
	TABLE_NESTING_MAX = 32, /* of if in if */
};

struct table_rules;

/* As table_text_read(). */
struct table_rules *table_rules_read(enum table_rules_type type, struct bytes *content,
				     table_fault *fault, void *owner);
void table_rules_free(struct table_rules **table);

/* TABLE_FAILED: a pattern took too long, or its value becomes too long, or was to be PLAIN and has
 * a $ in it. */
enum table_verdict table_rules_find(const struct table_rules *table, struct text key, bool plain,
				    struct bytes *value);

/* The rule at *AT or behind it that has a value: KEY is its pattern. False at the end. */
bool table_rules_next(const struct table_rules *table, size_t *at, struct text *key,
		      struct bytes *value);

/* Where the rule stands whose pattern KEY is, as table_rules_next() gave it. */
uint32_t table_rules_line(const struct table_rules *table, struct text key);

#endif
