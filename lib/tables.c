/* SPDX-License-Identifier: ISC */
/* The kinds of tables, and which ones there are. */
#include "tables.h"

#include "config_row.h"

#include <string.h>

static void *text_read(struct bytes *content, table_fault *fault, void *owner)
{
	return table_text_read(content, fault, owner);
}

static void text_free(void **table)
{
	struct table_text *t = *table;

	table_text_free(&t);
	*table = NULL;
}

static bool text_find_key(const void *table, struct text key, struct bytes *value)
{
	return table_text_find(table, key, value);
}

static const struct table_kind kinds[] = {
    {"text", text_read, text_free, text_find_key},
};

const struct table_kind *table_kind_of(struct text table, struct text *path)
{
	ptrdiff_t colon = text_find(table, ':');

	*path = table;
	if (table.len && table.data[0] == '/')
		return &kinds[0];
	if (colon < 0)
		return NULL;
	*path = (struct text){table.data + colon + 1, table.len - (size_t)colon - 1};
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (text_equals((struct text){table.data, (size_t)colon}, kinds[i].name))
			return path->len && path->data[0] == '/' ? &kinds[i] : NULL;
	return NULL;
}

size_t config_tables(const struct config *config, struct text *to)
{
	size_t count = 0, j;

	for (size_t i = 0; i < setting_count && count < TABLES_MAX; i++) {
		const struct setting_row *row = &setting_rows[i];
		struct text table;

		if (row->type != TYPE_TABLE)
			continue;
		memcpy(&table, (const char *)config + row->offset, sizeof table);
		for (j = 0; j < count && !text_equal(to[j], table); j++)
			;
		if (table.len && j == count)
			to[count++] = table;
	}
	return count;
}
