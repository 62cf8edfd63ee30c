/* SPDX-License-Identifier: ISC */
/* Asking about a sender, one key after the other. */
#include "sender_find.h"

#include "mem.h"
#include "table_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sender_find {
	struct lookups *lookups;
	struct lookup *lookup;
	struct config *config; /* the one that it began with */
	struct sender_keys keys;
	sender_done *done;
	void *owner;
	bool stepping, ended, again;
};

/* -- entries ------------------------------------------------------------------------------ */

static bool word_takes(struct text *word, const char *prefix)
{
	size_t len = strlen(prefix);

	if (!text_starts_case(*word, prefix))
		return false;
	*word = (struct text){word->data + len, word->len - len};
	return true;
}

bool sender_words_read(const struct config *config, struct text words, struct sender_choice *to,
		       char *why)
{
	struct text word;

	*to = (struct sender_choice){0};
	while (table_word_next(&words, &word)) {
		struct text value = word;
		struct text *field = word_takes(&value, "source=")  ? &to->source
				     : word_takes(&value, "route=") ? &to->route
								    : NULL;
		struct text name = {NULL, 0};

		if (field == &to->source)
			name = config_source_name(config, value);
		else if (field && config_route_named(config, value))
			name = config_route_named(config, value)->label;
		if (!field || field->len || !name.len) {
			snprintf(why, SENDER_WHY_BYTES, "\"%.*s\" %s",
				 (int)(word.len < 100 ? word.len : 100), word.data,
				 !field	      ? "is neither source=NAME nor route=@NAME"
				 : field->len ? "is one too many"
					      : "names nothing that there is");
			return false;
		}
		*field = name;
	}
	if (to->source.len || to->route.len)
		return true;
	snprintf(why, SENDER_WHY_BYTES, "there is neither source=NAME nor route=@NAME");
	return false;
}

/* -- finding ------------------------------------------------------------------------------ */

static void find_free(struct sender_find *f)
{
	lookup_cancel(&f->lookup);
	config_drop(&f->config);
	free(f);
}

void sender_find_cancel(struct sender_find **find)
{
	if (*find)
		find_free(*find);
	*find = NULL;
}

static void find_end(struct sender_find *f, const struct sender_found *found)
{
	f->ended = true;
	f->done(f->owner, found);
}

static void find_failed(struct sender_find *f, const char *why)
{
	find_end(f,
		 &(struct sender_found){.verdict = TABLE_FAILED, .key = f->keys.key, .why = why});
}

static void find_found(struct sender_find *f, const struct sender_choice *choice, bool table)
{
	find_end(
	    f, &(struct sender_found){
		   .verdict = TABLE_FOUND, .choice = *choice, .key = f->keys.key, .table = table});
}

/* The table has nothing at this key. True: what there is beyond it is to be looked at. */
static bool find_go_on(struct sender_find *f)
{
	struct sender_choice choice;

	if (config_sender_named(f->config, f->keys.key, &choice)) {
		find_found(f, &choice, false);
		return false;
	}
	if (sender_keys_next(&f->keys))
		return true;
	find_end(f, &(struct sender_found){.verdict = TABLE_ABSENT});
	return false;
}

static void find_answer(void *owner, uint8_t verdict, struct text value);

/* An answer may come from within, so the questions are a loop and no recursion. */
static void find_step(struct sender_find *f)
{
	f->stepping = true;
	do {
		f->again = false;
		if (f->config->sender_routes.len)
			f->lookup = lookup_ask(f->lookups, f->config->sender_routes, f->keys.key,
					       find_answer, f);
		else
			f->again = find_go_on(f);
	} while (f->again && !f->ended);
	f->stepping = false;
}

static void find_answer(void *owner, uint8_t verdict, struct text value)
{
	struct sender_find *f = owner;
	struct sender_choice choice;
	char why[SENDER_WHY_BYTES];

	f->lookup = NULL;
	if (verdict == TABLE_FOUND && sender_words_read(f->config, value, &choice, why))
		find_found(f, &choice, true);
	else if (verdict != TABLE_ABSENT)
		find_failed(f, verdict == TABLE_FOUND ? why : "the table can't be read");
	else
		f->again = find_go_on(f);
	if (f->stepping)
		return;
	if (f->again)
		find_step(f);
	if (f->ended)
		find_free(f);
}

struct sender_find *sender_find_start(struct lookups *lookups, const struct config *config,
				      struct text sender, struct text login, sender_done *done,
				      void *owner)
{
	struct sender_find *f = mem_new(1, sizeof *f);

	f->lookups = lookups;
	f->config = config_keep(config);
	f->done = done;
	f->owner = owner;
	sender_keys_begin(&f->keys, sender, login);
	sender_keys_next(&f->keys);
	find_step(f);
	if (!f->ended)
		return f;
	find_free(f);
	return NULL;
}
