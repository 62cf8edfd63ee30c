/* SPDX-License-Identifier: ISC */
/* The names of tables, and which ones there are. */
#include "tables.h"

#include "config_row.h"

static const struct {
	const char *name;   /* what stands before the colon */
	const char *suffix; /* of the file, whether it is written or not */
} table_names[TABLE_TYPES] = {
    [TABLE_TEXT] = {"text", ""}, [TABLE_HASH] = {"hash", ".db"}, [TABLE_BTREE] = {"btree", ".db"},
    [TABLE_CIDR] = {"cidr", ""}, [TABLE_PCRE] = {"pcre", ""},
};

const char *table_type_name(enum table_type type)
{
	return table_names[type].name;
}

bool table_parse(struct text table, enum table_type *type, struct text *path)
{
	ptrdiff_t colon = text_find(table, ':');

	*path = table;
	*type = TABLE_TEXT;
	if (table.len && table.data[0] == '/')
		return true;
	if (colon < 0)
		return false;
	*path = (struct text){table.data + colon + 1, table.len - (size_t)colon - 1};
	for (*type = 0; *type < TABLE_TYPES; (*type)++)
		if (text_equals((struct text){table.data, (size_t)colon}, table_names[*type].name))
			return path->len && path->data[0] == '/';
	return false;
}

bool table_file(struct text table, char *to)
{
	enum table_type type;
	struct text path;

	*to = '\0';
	if (!table_parse(table, &type, &path) || path.len > TABLE_PATH_MAX)
		return false;
	struct text suffix = text_of(table_names[type].suffix);

	if (path.len > suffix.len &&
	    text_equal((struct text){path.data + path.len - suffix.len, suffix.len}, suffix))
		suffix.len = 0;
	text_copy(to, TABLE_FILE_BYTES, path);
	text_copy(to + path.len, TABLE_FILE_BYTES - path.len, suffix);
	return true;
}

const char *table_plain_fault(const struct table_kind *kind, struct text value)
{
	return kind->substitutes && text_find(value, '$') >= 0
		   ? "a $ in what chooses a mailbox, an alias or a quota"
		   : NULL;
}

static size_t table_add(struct text *to, size_t count, struct text table)
{
	for (size_t i = 0; i < count; i++)
		if (text_equal(to[i], table))
			return count;
	if (table.len && count < TABLES_MAX)
		to[count++] = table;
	return count;
}

size_t config_tables(const struct config *config, struct text *to)
{
	size_t count = 0;
	const struct text *field;
	uint32_t line;

	for (size_t i = 0; i < setting_count; i++) {
		if (setting_rows[i].type != TYPE_TABLE)
			continue;
		for (size_t k = 0; (field = setting_field(config, &setting_rows[i], k, &line)); k++)
			count = table_add(to, count, *field);
	}
	return count;
}
