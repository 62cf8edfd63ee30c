/* SPDX-License-Identifier: ISC */
/* The rows of settings.def as tables, for the reader, the printer and the man page. */
#ifndef LIB_CONFIG_ROW_H
#define LIB_CONFIG_ROW_H

#include "config.h"

#include <stddef.h>

enum setting_type {
	TYPE_HOST,
	TYPE_ADDRESS,
	TYPE_PATH,
	TYPE_LOG_TO,
	TYPE_TABLE,
	TYPE_LOCAL_TABLE, /* read by local itself, unless it is of patterns or networks */
	TYPE_TEXT,
	TYPE_URL, /* url.h */
	TYPE_IPV4,
	TYPE_IPV6,
	TYPE_NAME,  /* of a source or pool */
	TYPE_ROUTE, /* @NAME of a route */
	TYPE_ROUTE_TO,
	TYPE_BOOL,
	TYPE_NUMBER,
	TYPE_SIZE,
	TYPE_TIME,
	TYPE_WORD_NEWLINE,
	TYPE_WORD_LOG,
	TYPE_WORD_FAMILY,
	TYPE_WORD_CLEAR,
	TYPE_WORD_TLS,
	TYPE_WORD_RULE,
	TYPE_WORD_REFUSE,
	TYPE_WORD_ACTION,
	TYPE_WORD_TAKEOVER,
	TYPE_WORD_POLICY,
	TYPE_NETWORKS,
	TYPE_DOMAINS,
	TYPE_ENDPOINTS, /* ADDRESS:PORT */
	TYPE_SERVERS,	/* ADDRESS@PORT */
	TYPE_RATES,
	TYPE_LOGINS,
	TYPE_TEXTS,
	TYPE_DIGESTS, /* SHA-256 in hexadecimal digits */
	TYPE_SHARES,  /* NAME[*WEIGHT] */
	TYPE_COUNT
};

enum setting_block {
	BLOCK_top,
#define SETTING(block, name, field, type, fallback, least, most, text)
#define BLOCK(name, label, many, text) BLOCK_##name,
#include "settings.def"
#undef SETTING
#undef BLOCK
	BLOCK_COUNT
};

struct setting_row {
	const char *name;
	const char *fallback; /* as written; NULL: none */
	const char *text;
	uint64_t least, most;
	size_t offset; /* of the field in struct config, or in the block's own struct */
	enum setting_block block;
	enum setting_type type;
};

struct block_row {
	const char *name; /* "" for BLOCK_top */
	const char *text;
	bool label, many;
	size_t items, count; /* many: offsets in struct config of the array and its length */
	size_t size;	     /* many: of an item, which begins with its label */
	size_t line;	     /* many: offset of the line in an item */
};

extern const struct setting_row setting_rows[];
extern const size_t setting_count;
extern const struct block_row block_rows[BLOCK_COUNT];

/* The words of a WORD_x type, in the order of its enum, ended by NULL; NULL for other types. */
const char *const *setting_words(enum setting_type type);

/*
 * The field of ROW in the I-th block of its kind, from 0, and the *LINE on
 * which it stands (of a block that may stand several times: the block); NULL
 * behind the last. What looks at all settings of a type goes this way: the
 * offset alone does not say in what.
 */
const void *setting_field(const struct config *config, const struct setting_row *row, size_t i,
			  uint32_t *line);

/* Any list of config.h: they are all alike. */
struct setting_list {
	void *items;
	size_t count;
};

/* The size of a list type's item; 0: the type is no list. */
size_t setting_item_size(enum setting_type type);

#endif
