/* SPDX-License-Identifier: ISC */
/*
 * The tables that a configuration names. A table is KIND:PATH, or a path
 * alone, which is text. Kinds are rows: how a file becomes something to look
 * keys up in; text is the first, others join here.
 */
#ifndef LIB_TABLES_H
#define LIB_TABLES_H

#include "config.h"
#include "table_text.h"

enum { TABLES_MAX = 64, TABLE_PATH_MAX = 500 };

struct table_kind {
	const char *name; /* what stands before the colon */
	/* As table_text_read(), table_text_free() and table_text_find(). */
	void *(*read)(struct bytes *content, table_fault *fault, void *owner);
	void (*free)(void **table);
	bool (*find)(const void *table, struct text key, struct bytes *value);
};

/* The kind of TABLE as written, and its *PATH; NULL when there is no such kind. */
const struct table_kind *table_kind_of(struct text table, struct text *path);

/* The tables that CONFIG names, each once, as written; returns how many. TO holds TABLES_MAX. */
size_t config_tables(const struct config *config, struct text *to);

#endif
