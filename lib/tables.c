/* SPDX-License-Identifier: ISC */
/* The names of tables, and which ones there are. */
#include "tables.h"

#include "config_row.h"

/* Who asks for tables, beside local. */
enum { OTHERS = PEER_SMTPD | PEER_SUBMISSION | PEER_QMGR };

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

bool table_is_asked(struct text table)
{
	enum table_type type;
	struct text path;

	return table_parse(table, &type, &path) && (type == TABLE_CIDR || type == TABLE_PCRE);
}

struct uses {
	struct table_use *to;
	size_t count;
	uint32_t over; /* the line of the first one too many; 0: there is none */
};

static void use_add(struct uses *all, const struct table_use *use, uint32_t line)
{
	for (size_t i = 0; i < all->count; i++)
		if (text_equal(all->to[i].table, use->table)) {
			all->to[i].peers |= use->peers;
			return;
		}
	if (all->count < TABLES_MAX)
		all->to[all->count++] = *use;
	else if (!all->over)
		all->over = line ? line : 1;
}

static void uses_take(struct uses *all, const struct config *config)
{
	const struct text *field;
	uint32_t line;

	for (size_t i = 0; i < setting_count; i++) {
		const struct setting_row *row = &setting_rows[i];
		bool local = row->type == TYPE_LOCAL_TABLE;

		if (row->type != TYPE_TABLE && !local)
			continue;
		for (size_t k = 0; (field = setting_field(config, row, k, &line)); k++)
			if (field->len && (!local || table_is_asked(*field)))
				use_add(all,
					&(struct table_use){*field, local ? PEER_LOCAL : OTHERS},
					line);
	}
}

size_t config_tables(const struct config *config, struct table_use *to)
{
	struct uses all = {.to = to};

	uses_take(&all, config);
	return all.count;
}

void config_tables_finish(const struct config *config, struct config_errors *errors)
{
	struct table_use to[TABLES_MAX];
	struct uses all = {.to = to};

	uses_take(&all, config);
	if (all.over)
		config_errors_add(errors, false, all.over, 1,
				  "more than %d tables (text, hash and btree ones of local and "
				  "virtual blocks do not count)",
				  TABLES_MAX);
}
