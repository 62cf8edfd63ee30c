/* SPDX-License-Identifier: ISC */
/* Words of the local block. */
#include "config_local.h"

#include "config_row.h"
#include "config_value.h"

static const char *const words[LOCAL_SOURCES] = {"alias", "forward", "include"};

bool config_local_allows(const struct texts *list, enum local_source from)
{
	for (size_t i = 0; i < list->count; i++)
		if (text_equals(list->items[i], words[from]))
			return true;
	return false;
}

static uint32_t line_of(const struct config *config, const char *name)
{
	for (size_t i = 0; i < setting_count; i++)
		if (setting_rows[i].block == BLOCK_local &&
		    text_equals(text_of(name), setting_rows[i].name))
			return config->lines[i];
	return 0;
}

static void check_words(const struct config *config, const struct texts *list, const char *name,
			struct config_errors *errors)
{
	char word[SHOWN_BYTES];

	for (size_t i = 0; i < list->count; i++) {
		size_t known = 0;

		while (known < LOCAL_SOURCES && !text_equals(list->items[i], words[known]))
			known++;
		if (known == LOCAL_SOURCES)
			config_errors_add(errors, false, line_of(config, name), 1,
					  "local: %s: \"%s\" is none of alias, forward, include",
					  name, shown(word, list->items[i]));
	}
}

void config_local_finish(const struct config *config, struct config_errors *errors)
{
	check_words(config, &config->local_commands, "commands", errors);
	check_words(config, &config->local_files, "files", errors);
}
