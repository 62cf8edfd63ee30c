/* SPDX-License-Identifier: ISC */
/* One value of the configuration, read and printed by its type. */
#ifndef LIB_CONFIG_VALUE_H
#define LIB_CONFIG_VALUE_H

#include "bytes.h"
#include "config_row.h"
#include "config_token.h"

/*
 * Reads WORD as ROW's type (of a list: one item) into TO; OWNER is the struct
 * that holds the field. Texts are copied to ARENA. False: *ERRORS says why.
 */
bool value_read(const struct setting_row *row, const struct token *word, struct arena *arena,
		struct config_errors *errors, void *to, void *owner);

/* Reads what stands behind a route's `to =` into the parts of ROUTE (config_route_to.c). */
bool route_to_read(const struct token *word, struct arena *arena, struct config_errors *errors,
		   struct config_route *route);

/* The same for each word of a list of next hops: adds it to those that ROUTE has, and to its `to`
 * (config_route_list.c). */
bool route_to_add(const struct token *word, struct arena *arena, struct config_errors *errors,
		  struct config_route *route);

/* Appends the value as it would be written; lists with braces. */
void value_print(const struct setting_row *row, const void *from, struct bytes *to);

/* True when a text field was never set, so that there is nothing to print. */
bool value_is_unset(const struct setting_row *row, const void *from);

/* Appends a word, with quotes if it needs them. */
void word_print(struct text word, struct bytes *to);

/* "example.net", letters in lower case, copied to ARENA; false: *WHY says what is wrong. */
bool domain_read(struct text t, struct arena *arena, struct text *to, const char **why);

/* The same with ".example.net" and "*.example.net" (which stays as it is). */
bool pattern_read(struct text t, struct arena *arena, struct text *to, const char **why);

/* What a source or pool is called: letters, digits, - _ . up to SOURCE_MAX; in lower case. */
bool source_name_read(struct text t, struct arena *arena, struct text *to);
/* "@NAME", of a route that senders name: the same behind its mark. */
bool route_name_read(struct text t, struct arena *arena, struct text *to);

/* A size: digits, and K, M or G behind them. */
bool size_read(struct text t, uint64_t *to);

/* A text for an error message: printable, at most 60 characters. */
enum { SHOWN_BYTES = 64 };
const char *shown(char *to, struct text t);

#endif
