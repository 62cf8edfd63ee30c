/* SPDX-License-Identifier: ISC */
/*
 * TLS policies of a table: a byte says where the domain's route leads to, the
 * words follow. What is taken for a policy demands something that can be had,
 * and has all of its words: nothing that was meant is left out unsaid.
 */
#include "must.h"
#include "policy_row.h"
#include "route_tls.h"
#include "table_text.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct config_route bases[] = {
    {.label = TEXT("*"), .kind = ROUTE_HOP, .how = HOP_MX},
    {.label = TEXT("a.test"), .kind = ROUTE_HOP, .how = HOP_HOST, .target = TEXT("mx.test")},
    {.label = TEXT("a.test"), .kind = ROUTE_HOP, .how = HOP_LITERAL, .target = TEXT("192.0.2.1")},
    {.label = TEXT("a.test"),
     .kind = ROUTE_HOP,
     .how = HOP_HOST,
     .target = TEXT("mx.test:25,[192.0.2.1]:25")},
};

/* Words that are not the policy's own and not a bare prefix. */
static size_t items_of(struct text words)
{
	struct text word;
	size_t count = 0;

	table_word_next(&words, &word);
	while (table_word_next(&words, &word))
		count += !text_equal_case(word, text_of("names=")) &&
			 !text_equal_case(word, text_of("fingerprints="));
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[POLICY_WHY_BYTES] = "";

	if (!size)
		return 0;
	struct text words = {(const char *)data + 1, size - 1};
	struct policy_row *row = policy_row_new(&bases[data[0] % 4], words, why);

	must(row || *why);
	if (!row)
		return 0;
	struct policy_row *held = policy_row_keep(row);
	const struct config_route *r = policy_row_route(held);

	policy_row_drop(&row);
	must(!route_policy_fault(r) && r->tls != POLICY_DEFAULT);
	must(text_equals(r->label, "table") && words.len <= POLICY_ROW_BYTES);
	must(r->tls_names.count + r->tls_fingerprints.count == items_of(words));
	for (size_t i = 0; i < r->tls_fingerprints.count; i++)
		must(r->tls_fingerprints.items[i].len == 64);
	policy_row_drop(&held);
	return 0;
}
