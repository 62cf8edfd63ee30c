/* SPDX-License-Identifier: ISC */
/*
 * Lists of rules: the first byte tells networks or patterns, the second is the
 * length of a key to look for, which stands in front of the file. What is
 * found is bounded, and each rule's line is one of the file.
 */
#include "must.h"
#include "table_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_fault(void *owner, uint32_t line, const char *what)
{
	unsigned *count = owner;

	must(line > 0 && *what && ++*count <= TABLE_FAULTS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes content = {0}, value = {0};
	unsigned faults = 0;
	size_t lines = 1, at = 0;

	if (size < 2 || size > 8192)
		return 0;
	struct text all = {(const char *)data + 2, size - 2};
	struct text key = {all.data, data[1] < all.len ? data[1] : all.len}, asked;

	bytes_add(&content, key.data + key.len, all.len - key.len);
	for (size_t i = key.len; i < all.len; i++)
		lines += all.data[i] == '\n';
	struct table_rules *t = table_rules_read(data[0] & 1 ? TABLE_RULES_PCRE : TABLE_RULES_CIDR,
						 &content, count_fault, &faults);

	must((t != NULL) == (faults == 0) && !content.data);
	while (t && table_rules_next(t, &at, &asked, &value)) {
		uint32_t line = table_rules_line(t, asked);

		must(asked.len > 0 && value.end > 0 && value.end <= TABLE_VALUE_MAX);
		must(line > 0 && line <= lines);
	}
	value.start = value.end = 0;
	if (t && table_rules_find(t, key, data[0] & 2, &value) == TABLE_FOUND)
		must(value.end <= TABLE_VALUE_MAX);
	table_rules_free(&t);
	bytes_free(&value);
	return 0;
}
