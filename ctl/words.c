/* SPDX-License-Identifier: ISC */
/* Numbers and their words. */
#include "words.h"

#include "message.h"
#include "must.h"
#include "queue.h"

struct word {
	uint8_t value;
	const char *text; /* NULL ends the row */
};

/* The first word of a value is the one that is written. */
static const struct word words[][8] = {
    [WORD_RET] = {{RET_UNSET, ""}, {RET_FULL, "FULL"}, {RET_HDRS, "HDRS"}},
    [WORD_BODY] = {{BODY_7BIT, "7BIT"},
		   {BODY_8BITMIME, "8BITMIME"},
		   {BODY_BINARYMIME, "BINARYMIME"}},
    [WORD_TLS] = {{MAIL_TLS_ANY, ""},
		  {MAIL_TLS_REQUIRED, "required"},
		  {MAIL_TLS_OPTIONAL, "optional"}},
    [WORD_OUTCOME] = {{QUEUE_FAILED, "failed"},
		      {QUEUE_RELAYED, "relayed"},
		      {QUEUE_DELIVERED, "delivered"}},
    [WORD_STATE] = {{QUEUE_WAITING, "ready"},
		    {QUEUE_DEFERRED, "deferred"},
		    {QUEUE_HELD, "held"},
		    {QUEUE_RELEASED, "ready"},
		    {QUEUE_FAILED, "report"},
		    {QUEUE_RELAYED, "report"},
		    {QUEUE_DELIVERED, "report"}},
};

static const struct word sets[][8] = {
    [WORDS_NOTIFY] = {{NOTIFY_NEVER, "NEVER"},
		      {NOTIFY_SUCCESS, "SUCCESS"},
		      {NOTIFY_FAILURE, "FAILURE"},
		      {NOTIFY_DELAY, "DELAY"}},
    [WORDS_OWED] = {{QUEUE_OWED_FAILURE, "failure"},
		    {QUEUE_OWED_DELAY, "delay"},
		    {QUEUE_OWED_SUCCESS, "success"}},
};

const char *word_of(enum word_kind kind, unsigned value)
{
	for (const struct word *w = words[kind]; w->text; w++)
		if (w->value == value)
			return w->text;
	return "?";
}

static bool find(const struct word *w, struct text word, uint8_t *value)
{
	for (; w->text; w++)
		if (text_equals(word, w->text)) {
			*value = w->value;
			return true;
		}
	return false;
}

bool word_read(enum word_kind kind, struct text word, uint8_t *value)
{
	return find(words[kind], word, value);
}

json_t *words_json(enum word_set set, uint8_t bits)
{
	json_t *list = json_array();

	must(list);
	for (const struct word *w = sets[set]; w->text; w++)
		if (bits & w->value)
			json_array_append_new(list, json_string(w->text));
	return list;
}

bool words_read(enum word_set set, const json_t *list, uint8_t *bits)
{
	*bits = 0;
	if (!json_is_array(list))
		return false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct text word = {json_string_value(item), json_string_length(item)};
		uint8_t bit;

		if (!json_is_string(item) || !find(sets[set], word, &bit))
			return false;
		*bits |= bit;
	}
	return true;
}
