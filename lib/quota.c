/* SPDX-License-Identifier: ISC */
/* Quotas as tables say them. */
#include "quota.h"

#include "config_value.h"
#include "table_text.h"

static bool take(struct text word, const char *name, struct text *value)
{
	struct text before = text_of(name);

	if (!text_starts_case(word, name))
		return false;
	*value = (struct text){word.data + before.len, word.len - before.len};
	return true;
}

const char *quota_read(struct text words, struct quota *to)
{
	struct text word, value;

	while (table_word_next(&words, &word)) {
		to->named = true;
		if (take(word, "quota=", &value)) {
			if (!size_read(value, &to->bytes))
				return "quota= is no size, such as 50M";
		} else if (take(word, "quota-messages=", &value)) {
			if (!text_number(value, UINT64_MAX, &to->messages))
				return "quota-messages= is no number";
		} else {
			return "a word is neither quota=SIZE nor quota-messages=NUMBER";
		}
	}
	return NULL;
}
