/* SPDX-License-Identifier: ISC */
/* The history's records: whatever stands on disk, reading stays within it and ends. */
#include "history.h"
#include "must.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input cut into values is written and read again, whole and with a bit turned. */
static void round_trip(const uint8_t *data, size_t size)
{
	struct history_event in = {.what = size ? data[0] : 0, .id = size}, out;
	struct bytes b = {0};

	for (size_t at = 1; at < size && in.count < EVENT_VALUES_MAX; in.count++) {
		size_t n = data[at] * (size_t)9, left = size - at - 1;

		in.values[in.count] =
		    (struct text){(const char *)data + at + 1, n < left ? n : left};
		at += 1 + in.values[in.count].len;
	}
	history_encode(&b, &in);
	must(history_decode(bytes_at(&b), bytes_len(&b), &out) == (ptrdiff_t)bytes_len(&b));
	must(out.count == in.count && out.what == in.what && out.id == in.id);
	bytes_at(&b)[size % bytes_len(&b)] ^= 1;
	must(history_decode(bytes_at(&b), bytes_len(&b), &out) <= 0);
	bytes_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t at = 0;

	round_trip(data, size);

	while (at < size) {
		struct history_event e;
		ptrdiff_t step = history_decode(data + at, size - at, &e);

		if (step == 0)
			break;
		must((size_t)(step > 0 ? step : -step) <= size - at);
		if (step > 0) {
			struct bytes again = {0};

			/* What was read is written as the same bytes. */
			for (size_t i = 0; i < e.count; i++)
				must(e.values[i].len <= EVENT_VALUE_BYTES);
			history_encode(&again, &e);
			must(bytes_len(&again) == (size_t)step &&
			     memcmp(bytes_at(&again), data + at, (size_t)step) == 0);
			bytes_free(&again);
		}
		at += (size_t)(step > 0 ? step : -step);
	}
	return 0;
}
