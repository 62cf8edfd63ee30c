/* SPDX-License-Identifier: ISC */
/* Words of tables as TLS policies; each word is read as the setting of a route that it stands for.
 */
#include "policy_row.h"

#include "config_finish.h"
#include "config_row.h"
#include "config_value.h"
#include "mem.h"
#include "must.h"
#include "route_tls.h"
#include "table_text.h"

#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 256 * 1024 };

struct policy_row {
	uint32_t holders;
	struct arena *arena;
	struct config_route route;
};

struct reading {
	struct policy_row *row;
	struct config_errors errors;
};

static const struct setting_row *setting_of(const char *name)
{
	for (size_t i = 0; i < setting_count; i++)
		if (setting_rows[i].block == BLOCK_route && strcmp(setting_rows[i].name, name) == 0)
			return &setting_rows[i];
	must(false); /* it stands in settings.def */
	return NULL;
}

static bool word_read(struct reading *r, const char *setting, struct text word, void *to)
{
	const struct token token = {.kind = TOKEN_WORD, .text = word};

	return value_read(setting_of(setting), &token, r->row->arena, &r->errors, to,
			  &r->row->route);
}

static bool item_read(struct reading *r, const char *setting, struct texts *list, struct text word)
{
	struct setting_list grown = {list->items, list->count};
	struct text item;

	if (!word_read(r, setting, word, &item))
		return false;
	memcpy(config_list_grow(r->row->arena, &grown, sizeof item), &item, sizeof item);
	*list = (struct texts){grown.items, grown.count};
	return true;
}

static bool wrong(struct reading *r, const char *why)
{
	config_errors_add(&r->errors, false, 0, 0, "%s", why);
	return false;
}

/* The policy's name; then lists, whose further items stand alone, since commas part words. */
static bool words_read(struct reading *r, struct text words)
{
	static const struct {
		const char *prefix, *setting;
	} lists[] = {{"names=", "tls-names"}, {"fingerprints=", "tls-fingerprints"}};
	struct config_route *route = &r->row->route;
	const char *setting = NULL;
	struct text word;

	if (!table_word_next(&words, &word))
		return wrong(r, "there is no policy");
	if (!word_read(r, "tls", word, &route->tls))
		return false;
	if (route->tls == POLICY_DEFAULT)
		return wrong(r, "default is no policy for a table");
	while (table_word_next(&words, &word)) {
		for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
			size_t len = strlen(lists[i].prefix);

			if (!text_starts_case(word, lists[i].prefix))
				continue;
			setting = lists[i].setting;
			word = (struct text){word.data + len, word.len - len};
		}
		if (!setting)
			return wrong(r, "behind the policy stands what is neither names= nor "
					"fingerprints=");
		if (word.len && !item_read(r, setting,
					   setting == lists[0].setting ? &route->tls_names
								       : &route->tls_fingerprints,
					   word))
			return false;
	}
	const char *fault = route_policy_fault(route);

	return !fault || wrong(r, fault);
}

struct policy_row *policy_row_new(const struct config_route *base, struct text words, char *why)
{
	struct policy_row *row = mem_new(1, sizeof *row);
	struct reading r = {.row = row};

	row->holders = 1;
	row->arena = arena_new(ARENA_BYTES);
	row->route = *base;
	row->route.label = (struct text)TEXT("table");
	row->route.tls_names = row->route.tls_fingerprints = (struct texts){0};
	if (words.len > POLICY_ROW_BYTES)
		wrong(&r, "more than 4096 bytes");
	else
		words_read(&r, words);
	if (r.errors.count) {
		text_copy(why, POLICY_WHY_BYTES, text_of(r.errors.items[0].text));
		policy_row_drop(&row);
	}
	config_errors_free(&r.errors);
	return row;
}

struct policy_row *policy_row_keep(struct policy_row *row)
{
	row->holders++;
	return row;
}

void policy_row_drop(struct policy_row **at)
{
	struct policy_row *row = *at;

	*at = NULL;
	if (!row || --row->holders)
		return;
	arena_free(&row->arena);
	free(row);
}

const struct config_route *policy_row_route(const struct policy_row *row)
{
	return &row->route;
}
