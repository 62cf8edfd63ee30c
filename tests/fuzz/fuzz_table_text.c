/* SPDX-License-Identifier: ISC */
/*
 * Text tables: the first byte is the length of a key to look for, the rest is
 * a file. Entries come in the order of their keys, each is found again with at
 * least its own value, and what is found is bounded.
 */
#include "must.h"
#include "table_text.h"
#include "tables.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_fault(void *owner, uint32_t line, const char *what)
{
	unsigned *count = owner;

	must(line > 0 && *what && ++*count <= TABLE_FAULTS_MAX);
}

static void check_entries(const struct table_text *t, size_t lines)
{
	struct bytes value = {0}, found = {0};
	struct text key, words, word;
	size_t at = 0;

	while (table_text_next(t, &at, &key, &value)) {
		must(key.len > 0 && key.len <= TABLE_KEY_MAX && value.end > 0);
		found.start = found.end = 0;
		must(table_text_find(t, key, &found));
		must(found.end >= value.end && found.end <= TABLE_VALUE_MAX);
		must(table_text_line(t, key) <= lines);
		words = (struct text){(const char *)found.data, found.end};
		while (table_word_next(&words, &word))
			must(word.len > 0 && !memchr(word.data, ' ', word.len) &&
			     !memchr(word.data, '\n', word.len));
	}
	must(at == table_text_count(t));
	bytes_free(&value);
	bytes_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes content = {0}, value = {0};
	unsigned faults = 0;
	size_t lines = 1;

	if (size < 2)
		return 0;
	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	struct text all = {(const char *)data + 1, size - 1};
	struct text key = {all.data, data[0] < all.len ? data[0] : all.len}, path;
	const struct table_kind *kind = table_kind_of(all, &path);

	must(!kind || path.data[0] == '/');
	kind = table_kind_of(text_of("text:/x"), &path);
	must(kind && text_equals(path, "/x"));
	bytes_add(&content, all.data, all.len);
	void *t = kind->read(&content, count_fault, &faults);

	must((t != NULL) == (faults == 0) && !content.data);
	if (t) {
		check_entries(t, lines);
		must(kind->find(t, key, false, &value) != TABLE_FAILED);
	}
	kind->free(&t);
	bytes_free(&value);
	return 0;
}
