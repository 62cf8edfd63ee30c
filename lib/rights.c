/* SPDX-License-Identifier: ISC */
/* Sender rights. */
#include "rights.h"

#include "config.h"
#include "table_text.h"

/* Index of the "@" before the domain, or -1. */
static ptrdiff_t last_at(struct text t)
{
	ptrdiff_t at = (ptrdiff_t)t.len - 1;

	while (at >= 0 && t.data[at] != '@')
		at--;
	return at;
}

bool rights_is_own(struct text own, struct text address)
{
	ptrdiff_t mine = last_at(own), at = last_at(address);

	if (mine <= 0 || at <= 0)
		return false;
	struct text local = {own.data, (size_t)mine};
	struct text host = {own.data + mine, own.len - (size_t)mine};

	if (!text_equal_case(host, (struct text){address.data + at, address.len - (size_t)at}))
		return false;
	if (at > mine && address.data[mine] == '+')
		at = mine;
	return text_equal_case(local, (struct text){address.data, (size_t)at});
}

/* Without case, and without recursion: one place to go back to is enough, the last "*". */
static bool glob(struct text pattern, struct text t)
{
	size_t p = 0, i = 0, star = SIZE_MAX, from = 0;

	while (i < t.len) {
		if (p < pattern.len && pattern.data[p] == '*') {
			star = p++;
			from = i;
		} else if (p < pattern.len &&
			   (pattern.data[p] == '?' ||
			    ascii_lower(pattern.data[p]) == ascii_lower(t.data[i]))) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++from;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.data[p] == '*')
		p++;
	return p == pattern.len;
}

static bool word_has(struct text word, struct text address)
{
	ptrdiff_t at = last_at(address);

	if (word.data[0] != '@' && word.data[0] != '.')
		return glob(word, address);
	if (at <= 0)
		return false;
	if (word.data[0] == '@')
		word = (struct text){word.data + 1, word.len - 1};
	return domain_matches(word,
			      (struct text){address.data + at + 1, address.len - (size_t)at - 1});
}

bool rights_list_has(struct text list, struct text address)
{
	struct text word;

	while (table_word_next(&list, &word))
		if (word_has(word, address))
			return true;
	return false;
}

const char *rights_word_fault(struct text word)
{
	ptrdiff_t at = last_at(word);

	if (text_equals(word, "*"))
		return NULL;
	if (word.len && word.data[0] == '.')
		return word.len > 1 ? NULL : "no domain behind the dot";
	if (at < 0)
		return "no address: it has no @";
	return (size_t)at + 1 < word.len ? NULL : "no domain behind the @";
}
