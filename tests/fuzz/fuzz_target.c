/* SPDX-License-Identifier: ISC */
/* What stands in an envelope as a recipient's target: what is read of it is of it, and can be found
 * again. */
#include "must.h"
#include "target.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct text text = {(const char *)data, size};
	char source[TARGET_BYTES], again[TARGET_BYTES], list[TARGET_BYTES];
	struct target t;

	if (size >= TARGET_BYTES || memchr(data, 0, size) || !target_read(text, &t))
		return 0;
	must(t.value.len &&
	     (t.kind == ALIAS_COMMAND || t.value.data[0] == '/' || t.kind == ALIAS_INCLUDE));
	must((t.from == LOCAL_INCLUDE) == (t.list.len > 0));
	struct text said = target_source(&t, source);

	must(said.len && (t.list.len || said.len == size));
	if (!t.list.len || t.value.len > ALIAS_VALUE_MAX)
		return 0;
	struct alias_item item = {.kind = t.kind, .len = t.value.len};

	text_copy(item.value, sizeof item.value, t.value);
	text_copy(list, sizeof list, t.list);
	/* Leading zeros of the length are not written again. */
	must(target_of_list(again, t.forward, list, &item));
	must(strlen(again) <= size);
	return 0;
}
