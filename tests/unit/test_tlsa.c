/* SPDX-License-Identifier: ISC */
/* TLSA record sets: what is of use in them, and their bounds (resolver/tlsa.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tlsa.h"

#include <stdlib.h>
#include <string.h>

static uint8_t octets[65536]; /* any data; a DER sequence where der() was called */

static const uint8_t *der(size_t len)
{
	memset(octets, 0, sizeof octets);
	octets[0] = 0x30;
	octets[1] = len < 130 ? (uint8_t)(len - 2) : 0x82;
	if (len >= 130) {
		octets[2] = (uint8_t)((len - 4) >> 8);
		octets[3] = (uint8_t)(len - 4);
	}
	return octets;
}

static struct dns_record record(unsigned usage, unsigned selector, unsigned matching,
				const void *data, size_t len)
{
	return (struct dns_record){.usage = (uint8_t)usage,
				   .selector = (uint8_t)selector,
				   .matching = (uint8_t)matching,
				   .data = data,
				   .len = len};
}

static struct tlsa_set *set_of(const struct dns_record *records, size_t count)
{
	return tlsa_set_new(&(struct dns_answer){.count = count, .records = records});
}

static void every_kind_of_record(void **state)
{
	(void)state;
	for (unsigned usage = 0; usage < 256; usage++)
		for (unsigned selector = 0; selector<256; selector += selector> 3 ? 50 : 1)
			for (unsigned matching = 0; matching < 4; matching++) {
				size_t len = matching == 1 ? 32 : matching == 2 ? 64 : 500;
				struct dns_record r =
				    record(usage, selector, matching, der(len), len);
				struct tlsa_set *set = set_of(&r, 1);
				bool good =
				    (usage == 2 || usage == 3) && selector < 2 && matching < 3;

				assert_int_equal(set->state, good ? TLSA_USABLE : TLSA_UNUSABLE);
				assert_int_equal(set->usable, good);
				assert_int_equal(set->records[0].given, len);
				free(set);
			}
}

static void data_must_fit_its_matching_type(void **state)
{
	static const struct {
		unsigned matching;
		size_t len;
		uint8_t first[5];
		bool good;
	} rows[] = {
	    {1, 0, {0}, false},
	    {1, 31, {0}, false},
	    {1, 32, {0}, true},
	    {1, 33, {0}, false},
	    {2, 32, {0}, false},
	    {2, 64, {0}, true},
	    {0, 0, {0}, false},
	    {0, 1, {0x30}, false},
	    {0, 2, {0x30}, true},
	    {0, 12, {0x30, 10}, true},
	    {0, 12, {0x30, 9}, false}, /* more behind it */
	    {0, 12, {0x30, 11}, false},
	    {0, 12, {0x31, 10}, false},	  /* no sequence */
	    {0, 12, {0x30, 0x80}, false}, /* BER's indefinite length */
	    {0, 13, {0x30, 0x81, 10}, true},
	    {0, 14, {0x30, 0x82, 0, 10}, true},
	    {0, 3, {0x30, 0x82, 1}, false}, /* the length itself is cut */
	    {0, 15, {0x30, 0x83, 0, 0, 10}, true},
	    {0, 16, {0x30, 0x84, 0, 0, 0}, false}, /* lengths beyond what a record can hold */
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t data[64] = {0};

		memcpy(data, rows[i].first, sizeof rows[i].first);
		struct dns_record r = record(3, 1, rows[i].matching, data, rows[i].len);
		struct tlsa_set *set = set_of(&r, 1);

		assert_int_equal(set->usable, rows[i].good);
		assert_int_equal(set->records[0].fault,
				 rows[i].good ? TLSA_FAULT_NONE : TLSA_FAULT_DATA);
		free(set);
	}
}

static void usable_ones_stand_first(void **state)
{
	const struct dns_record records[] = {
	    record(1, 1, 1, octets, 32), record(3, 1, 2, octets, 64), record(3, 9, 1, octets, 32),
	    record(3, 1, 1, octets, 32), record(2, 0, 1, octets, 32),
	};
	struct tlsa_set *set = set_of(records, 5);

	(void)state;
	assert_int_equal(set->state, TLSA_USABLE);
	assert_int_equal(set->usable, 3);
	assert_int_equal(set->count, 5);
	assert_int_equal(set->bytes, 128);
	assert_int_equal(set->records[0].usage, 2);
	assert_int_equal(set->records[2].matching, 2);
	assert_int_equal(set->records[3].fault, TLSA_FAULT_PKIX);
	assert_int_equal(set->records[4].fault, TLSA_FAULT_SELECTOR);
	free(set);
}

/* Too much is never taken for "nothing of use": that would be a way from authenticated to not. */
static void what_is_too_large_is_a_failure(void **state)
{
	struct dns_record records[DNS_RECORDS_MAX];

	(void)state;
	for (size_t i = 0; i < DNS_RECORDS_MAX; i++)
		records[i] = record(3, 0, 0, der(TLSA_DATA_MAX + 1), TLSA_DATA_MAX + 1);
	struct tlsa_set *set = set_of(records, DNS_RECORDS_MAX);

	assert_int_equal(set->state, TLSA_FAILED);
	assert_int_equal(set->count, TLSA_KEPT_MAX);
	assert_int_equal(set->records[0].fault, TLSA_FAULT_LARGE);
	assert_int_equal(set->records[0].data.len, TLSA_SHOWN_BYTES);
	free(set);
	/* of many that would do each alone, as many as there is room for */
	for (size_t i = 0; i < DNS_RECORDS_MAX; i++)
		records[i] = record(3, 0, 0, der(TLSA_DATA_MAX), TLSA_DATA_MAX);
	set = set_of(records, DNS_RECORDS_MAX);
	assert_int_equal(set->state, TLSA_USABLE);
	assert_int_equal(set->usable, TLSA_SET_BYTES / TLSA_DATA_MAX);
	assert_int_equal(set->bytes, TLSA_SET_BYTES);
	free(set);
	for (size_t i = 0; i < DNS_RECORDS_MAX; i++)
		records[i] = record(3, 1, 1, octets, 32);
	set = set_of(records, DNS_RECORDS_MAX);
	assert_int_equal(set->usable, TLSA_USABLE_MAX);
	assert_int_equal(set->count, TLSA_KEPT_MAX);
	free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_kind_of_record),
	    cmocka_unit_test(data_must_fit_its_matching_type),
	    cmocka_unit_test(usable_ones_stand_first),
	    cmocka_unit_test(what_is_too_large_is_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
