/* SPDX-License-Identifier: ISC */
/*
 * Reports on TLS, by the first byte: a TXT record that a stranger wrote, or
 * the counts of a day as limits reads them from its own disk. Who is named in
 * a record is an address or a URL; what is taken of a day is written the same
 * again, and becomes JSON.
 */
#include "address.h"
#include "must.h"
#include "tls_day.h"
#include "tls_record.h"
#include "tls_report.h"
#include "url.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t key[SIPHASH_KEY_BYTES] = "fuzz";

static void record_try(struct text t)
{
	struct tls_record record;
	struct address address;
	struct url url;

	if (!tls_record_read(t, &record))
		return;
	must(tls_record_begins(t) && record.count && record.count <= TLS_TARGETS_MOST);
	for (size_t i = 0; i < record.count; i++) {
		struct text to = text_of(record.targets[i].to);

		must(to.len && text_is_ascii(to));
		must(record.targets[i].https ? !url_read(to, &url)
					     : address_read(to, &address) == ADDRESS_FINE);
	}
}

static void day_write(const struct tls_day *day)
{
	const struct tls_report_maker maker = {TEXT("fuzz"), TEXT("a@b.example"), TEXT("h.example"),
					       tls_day_number(day) % 100000};
	struct bytes json = {0}, small = {0};

	for (size_t i = 0; i < tls_day_count(day); i++)
		tls_report_json(&maker, tls_day_domain(day, i), &json);
	tls_report_gzip(&json, &small);
	bytes_free(&json);
	bytes_free(&small);
}

static void day_try(const uint8_t *data, size_t size)
{
	struct wire_reader in = wire_reader_over(data, size);
	struct tls_day *day = tls_day_decode(key, &in), *again;
	struct bytes one = {0};

	if (!day)
		return;
	tls_day_encode(day, &one);
	/* Names are made lower case, and nothing else is changed. */
	must(bytes_len(&one) == size - (size_t)(in.end - in.at));
	day_write(day);
	in = wire_reader_over(bytes_at(&one), bytes_len(&one));
	again = tls_day_decode(key, &in);
	must(again && wire_done(&in) && tls_day_count(again) == tls_day_count(day));
	tls_day_free(&again);
	tls_day_free(&day);
	bytes_free(&one);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1)
		day_try(data + 1, size - 1);
	else
		record_try((struct text){(const char *)data + 1, size - 1});
	return 0;
}
