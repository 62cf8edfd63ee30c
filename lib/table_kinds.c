/* SPDX-License-Identifier: ISC */
/* The kinds of tables: a row each, made of the functions of those who read them. */
#include "table_db.h"
#include "table_rules.h"
#include "tables.h"

/* The row's functions take any table, those of a kind their own. */
#define KIND_FUNCTIONS(name, call, type)                                                           \
	static void name##_free(void **table)                                                      \
	{                                                                                          \
		struct type *t = *table;                                                           \
                                                                                                   \
		type##_free(&t);                                                                   \
		*table = NULL;                                                                     \
	}                                                                                          \
	static bool name##_next(const void *table, size_t *at, struct text *key,                   \
				struct bytes *value)                                               \
	{                                                                                          \
		return type##_next(table, at, key, value);                                         \
	}                                                                                          \
	static enum table_verdict name##_find(const void *table, struct text key, bool plain,      \
					      struct bytes *value)                                 \
	{                                                                                          \
		(void)plain;                                                                       \
		return call;                                                                       \
	}

KIND_FUNCTIONS(plain, table_text_find(table, key, value) ? TABLE_FOUND : TABLE_ABSENT, table_text)
KIND_FUNCTIONS(db, table_db_find(table, key, value) ? TABLE_FOUND : TABLE_ABSENT, table_db)
KIND_FUNCTIONS(rules, table_rules_find(table, key, plain, value), table_rules)

static void *plain_read(struct bytes *content, table_fault *fault, void *owner)
{
	return table_text_read(content, fault, owner);
}

static void *hash_read(struct bytes *content, table_fault *fault, void *owner)
{
	return table_db_read(TABLE_DB_HASH, content, fault, owner);
}

static void *btree_read(struct bytes *content, table_fault *fault, void *owner)
{
	return table_db_read(TABLE_DB_BTREE, content, fault, owner);
}

static void *cidr_read(struct bytes *content, table_fault *fault, void *owner)
{
	return table_rules_read(TABLE_RULES_CIDR, content, fault, owner);
}

static void *pcre_read(struct bytes *content, table_fault *fault, void *owner)
{
	return table_rules_read(TABLE_RULES_PCRE, content, fault, owner);
}

static uint32_t plain_line(const void *table, struct text key)
{
	return table_text_line(table, key);
}

static uint32_t rules_line(const void *table, struct text key)
{
	return table_rules_line(table, key);
}

static uint32_t no_line(const void *table, struct text key)
{
	(void)table;
	(void)key;
	return 0;
}

static const struct table_kind kinds[TABLE_TYPES] = {
    [TABLE_TEXT] = {plain_read, plain_free, plain_find, plain_next, plain_line, false},
    [TABLE_HASH] = {hash_read, db_free, db_find, db_next, no_line, false},
    [TABLE_BTREE] = {btree_read, db_free, db_find, db_next, no_line, false},
    [TABLE_CIDR] = {cidr_read, rules_free, rules_find, rules_next, rules_line, false},
    [TABLE_PCRE] = {pcre_read, rules_free, rules_find, rules_next, rules_line, true},
};

const struct table_kind *table_kind_of(struct text table, struct text *path)
{
	enum table_type type;

	return table_parse(table, &type, path) ? &kinds[type] : NULL;
}
