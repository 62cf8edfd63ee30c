/* SPDX-License-Identifier: ISC */
/* What a child of local says: what decodes is within its bounds, and the same when written again.
 */
#include "must.h"
#include "result.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result r = {0}, again = {0};
	struct bytes b = {0};

	if (result_decode((struct text){(const char *)data, size}, &r)) {
		must(r.kind >= OUTCOME_DELIVERED && r.kind <= OUTCOME_EXPANDED);
		must(strlen(r.reply) <= RESULT_REPLY_MAX && r.added <= RESULT_ADDITIONS_MAX);
		result_encode(&b, &r);
		must(result_decode(bytes_text(&b), &again));
		must(again.kind == r.kind && again.added == r.added &&
		     strcmp(again.reply, r.reply) == 0 &&
		     bytes_len(&again.additions) == bytes_len(&r.additions));
	}
	result_free(&r);
	result_free(&again);
	bytes_free(&b);
	return 0;
}
