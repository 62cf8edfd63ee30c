/* SPDX-License-Identifier: ISC */
/* All that a child of local says of its orders: each is within bounds, and the same when said
 * again. */
#include "must.h"
#include "words.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Said again it is the same, and all that is said. */
static void check_same(uint32_t number, const struct result *r)
{
	struct bytes said = {0};
	struct result again = {0};
	uint32_t other;

	words_put(&said, number, r);
	must(words_take(&said, number + 1, &other, &again) == WORDS_ONE);
	must(other == number && again.kind == r->kind && again.added == r->added &&
	     bytes_len(&said) == 0);
	result_free(&again);
	bytes_free(&said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes said = {0};
	enum words_verdict verdict;
	uint32_t number;

	bytes_add(&said, data, size);
	do {
		struct result r = {0};
		size_t before = bytes_len(&said);

		verdict = words_take(&said, 4, &number, &r);
		must((verdict == WORDS_ONE) == (bytes_len(&said) < before));
		must(verdict == WORDS_ONE || (!r.added && !bytes_len(&r.additions)));
		if (verdict == WORDS_ONE) {
			must(number < 4 && strlen(r.reply) <= RESULT_REPLY_MAX);
			check_same(number, &r);
		}
		result_free(&r);
	} while (verdict == WORDS_ONE);
	bytes_free(&said);
	return 0;
}
