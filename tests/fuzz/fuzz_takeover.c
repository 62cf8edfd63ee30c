/* SPDX-License-Identifier: ISC */
/*
 * What limits reads from its own disk: habits, or the list of frozen logins,
 * by the first byte. What is taken is written the same again, and used; what
 * is not leaves nothing.
 */
#include "freezer.h"
#include "habits.h"
#include "must.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1790000000 };

static void habits_try(const uint8_t *data, size_t size)
{
	static const uint8_t key[SIPHASH_KEY_BYTES] = "fuzz";
	struct habits *h = habits_new(key, 100), *again = habits_new(key, 100);
	struct bytes one = {0}, two = {0};
	bool good = habits_decode(h, data, size, NOW);

	must(good || !habits_count(h));
	habits_encode(h, &one);
	must(habits_decode(again, bytes_at(&one), bytes_len(&one), NOW));
	habits_encode(again, &two);
	must(bytes_len(&one) == bytes_len(&two) &&
	     memcmp(bytes_at(&one), bytes_at(&two), bytes_len(&one)) == 0);
	for (int i = 0; i < 70; i++) {
		uint8_t address[16] = {0x20, 1, 0, (uint8_t)i};

		habit_network(h, text_of("ann"), address, NOW + i);
		habit_count(h, text_of("bob"), HABIT_RECIPIENTS, UINT32_MAX, NOW + i * 86400L);
	}
	bytes_free(&one);
	bytes_free(&two);
	habits_free(&h);
	habits_free(&again);
}

static void freezer_try(const uint8_t *data, size_t size)
{
	struct freezer *f = freezer_new(), *again = freezer_new();
	struct bytes one = {0}, two = {0}, list = {0};
	bool good = freezer_decode(f, data, size);

	must(good || !freezer_list(f, &list).count);
	freezer_encode(f, &one);
	must(!good || (bytes_len(&one) == size && memcmp(bytes_at(&one), data, size) == 0));
	must(freezer_decode(again, bytes_at(&one), bytes_len(&one)));
	freezer_encode(again, &two);
	must(bytes_len(&one) == bytes_len(&two));
	(void)freezer_expire(f, INT64_C(1000000) * NOW);
	while (freezer_untold(f))
		freezer_untold(f)->told = true;
	bytes_free(&one);
	bytes_free(&two);
	bytes_free(&list);
	freezer_free(&f);
	freezer_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1)
		habits_try(data + 1, size - 1);
	else
		freezer_try(data + 1, size - 1);
	return 0;
}
