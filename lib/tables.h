/* SPDX-License-Identifier: ISC */
/*
 * The tables that a configuration names. A table is KIND:PATH, or a path
 * alone, which is text. Kinds are rows: how a file becomes something to look
 * keys up in; others join in table_names[] and in table_kinds.c.
 */
#ifndef LIB_TABLES_H
#define LIB_TABLES_H

#include "config.h"
#include "message.h"
#include "peer.h"
#include "table_text.h"

enum { TABLES_MAX = 64, TABLE_PATH_MAX = 500, TABLE_FILE_BYTES = TABLE_PATH_MAX + 8 };

enum table_type {
	TABLE_TEXT,  /* table_text.h */
	TABLE_HASH,  /* table_db.h */
	TABLE_BTREE, /* table_db.h */
	TABLE_CIDR,  /* table_rules.h */
	TABLE_PCRE,  /* table_rules.h */
	TABLE_TYPES
};

struct table_kind {
	/*
	 * A file's CONTENT, whose memory is taken over and which is left empty, as something to
	 * look keys up in. NULL when something in it is broken, which FAULT was told: at line 0
	 * when the file has no lines.
	 */
	void *(*read)(struct bytes *content, table_fault *fault, void *owner);
	void (*free)(void **table);
	/* Appends what stands at KEY to *VALUE, at most TABLE_VALUE_MAX; TABLE_FAILED when it can't
	 * be told: a pattern that takes too long; or, of a PLAIN value, one that
	 * table_plain_fault() has something to say of. */
	enum table_verdict (*find)(const void *table, struct text key, bool plain,
				   struct bytes *value);
	/* The entry at *AT, counted from 0; a rule's KEY is its pattern. False at the end. */
	bool (*next)(const void *table, size_t *at, struct text *key, struct bytes *value);
	/* Where KEY, which next() gave, stands in the file; 0: it has no lines. */
	uint32_t (*line)(const void *table, struct text key);
	bool substitutes; /* a value with $ in it becomes another one when it is looked up */
};

/* What TABLE as written is, and its *PATH; false when there is no such kind. */
bool table_parse(struct text table, enum table_type *type, struct text *path);

/* The name of TABLE's file to TO, of TABLE_FILE_BYTES: with .db behind it for hash and btree. */
bool table_file(struct text table, char *to);

/* "hash" and so on. */
const char *table_type_name(enum table_type type);

/* How to read TABLE, and its *PATH as written; NULL when there is no such kind. */
const struct table_kind *table_kind_of(struct text table, struct text *path);

/*
 * What chooses a mailbox, an alias or a quota is never made of what a stranger wrote: what is wrong
 * with VALUE, of a table of KIND, for that; NULL: nothing.
 */
const char *table_plain_fault(const struct table_kind *kind, struct text value);

/* Patterns and networks: none is tried in a process that may become any user. Local asks table. */
bool table_is_asked(struct text table);

/* A table that the table process reads, as it is written, and who may ask for it. */
struct table_use {
	struct text table;
	unsigned peers; /* enum peer_kind */
};

/* The tables that CONFIG names for the table process, each once; returns how many. TO holds
 * TABLES_MAX. */
size_t config_tables(const struct config *config, struct table_use *to);

/* Whole configurations: are there too many? */
void config_tables_finish(const struct config *config, struct config_errors *errors);

#endif
