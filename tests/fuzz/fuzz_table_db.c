/* SPDX-License-Identifier: ISC */
/*
 * Berkeley DB files: the first byte tells hash or btree, the rest is a file.
 * What is read is no more than the file, each entry is found again, and
 * lengths are bounded.
 */
#include "must.h"
#include "table_db.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_fault(void *owner, uint32_t line, const char *what)
{
	unsigned *count = owner;

	must(line == 0 && *what && ++*count == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes content = {0}, value = {0}, found = {0};
	unsigned faults = 0;
	struct text key;
	size_t at = 0, all = 0;

	if (!size)
		return 0;
	bytes_add(&content, data + 1, size - 1);
	struct table_db *t = table_db_read(data[0] & 1 ? TABLE_DB_BTREE : TABLE_DB_HASH, &content,
					   count_fault, &faults);

	must((t != NULL) == (faults == 0) && !content.data);
	while (t && table_db_next(t, &at, &key, &value)) {
		must(key.len <= TABLE_KEY_MAX && value.end <= TABLE_VALUE_MAX);
		must(text_is_utf8(key));
		all += key.len + value.end;
		found.start = found.end = 0;
		must(table_db_find(t, key, &found));
	}
	must(all < size);
	table_db_free(&t);
	bytes_free(&value);
	bytes_free(&found);
	return 0;
}
