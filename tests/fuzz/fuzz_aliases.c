/* SPDX-License-Identifier: ISC */
/*
 * Aliases files and lists: reading ends, faults are bounded and name a line,
 * what is found is what a second reading of its list gives, and no item holds
 * what could end a line of a log or of an envelope.
 */
#include "aliases.h"
#include "must.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_fault(void *owner, uint32_t line, const char *what)
{
	unsigned *count = owner;

	must(line > 0 && *what && ++*count <= TABLE_FAULTS_MAX);
}

/* Whether all of it can be used. */
static bool check_list(struct text list, bool lines)
{
	struct alias_item item;
	enum alias_next next;
	const char *why = NULL;
	bool fine = true;
	size_t before = list.len + 1;

	while ((next = alias_next(&list, lines, &item, &why)) != ALIAS_END) {
		must(list.len < before);
		before = list.len;
		if (next == ALIAS_FAULT) {
			must(why && *why);
			fine = false;
			continue;
		}
		must(item.len > 0 && item.len <= ALIAS_VALUE_MAX && strlen(item.value) == item.len);
		for (size_t i = 0; i < item.len; i++)
			must((unsigned char)item.value[i] >= ' ' && item.value[i] != 0x7f);
		must(item.kind != ALIAS_FILE || item.value[0] == '/');
		must(item.kind != ALIAS_INCLUDE || item.value[0] == '/');
	}
	return fine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"a", "root", "postmaster", "odd name", "x y"};
	struct text whole = {(const char *)data, size}, list;
	struct bytes content = {0};
	unsigned faults = 0;

	check_list(whole, true);
	must(check_list(whole, false) || alias_pattern_fault(whole));
	bytes_add(&content, data, size);
	struct aliases *a = aliases_read(&content, count_fault, &faults);

	must(aliases_count(a) <= size);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		enum aliases_found found = aliases_find(a, text_of(names[i]), &list);

		if (found == ALIASES_FOUND)
			must(check_list(list, false));
	}
	size_t at = 0, seen = 0;
	struct text name;

	while (aliases_next(a, &at, &name, &list))
		seen++;
	must(seen <= aliases_count(a));
	aliases_free(&a);
	return 0;
}
