/* SPDX-License-Identifier: ISC */
/*
 * MTA-STS: a TXT record, a policy file, a domain, and the file of known
 * policies, by the first octet. What is taken is sound, and what is kept reads
 * back as it was.
 */
#include "../../fetcher/sts_domain.h"
#include "../../fetcher/sts_policy.h"

#include "must.h"
#include "sts_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1800000000 };

static void record(struct text t)
{
	struct text id;
	bool ours = sts_txt_is_ours(t);

	if (sts_txt_read(t, &id))
		return;
	must(ours && id.len && id.len <= STS_ID_MAX);
	must(id.data > t.data && id.data + id.len <= t.data + t.len);
	for (size_t i = 0; i < id.len; i++)
		must(ascii_is_alnum(id.data[i]));
}

/* A wildcard is one label, neither none nor two. */
static void wildcard(struct text pattern)
{
	char host[300];
	int base = (int)pattern.len - 1;

	snprintf(host, sizeof host, "h%.*s", base, pattern.data + 1);
	must(sts_names(pattern, text_of(host)));
	snprintf(host, sizeof host, "h%.*s.", base, pattern.data + 1);
	must(sts_names(pattern, text_of(host)));
	snprintf(host, sizeof host, "a.h%.*s", base, pattern.data + 1);
	must(!sts_names(pattern, text_of(host)));
	snprintf(host, sizeof host, "%.*s", base, pattern.data + 1);
	must(!sts_names(pattern, text_of(host)));
}

static void file(struct text t)
{
	struct sts_file file;
	struct text left, pattern;
	size_t len = 0;

	if (sts_file_read(t, &file))
		return;
	must(file.policy.mode <= STS_ENFORCE && file.policy.max_age_s <= STS_MAX_AGE_MOST_S);
	must(file.policy.mx.len <= STS_MX_BYTES && strlen(file.mx) == file.policy.mx.len);
	must(file.policy.mx.len || file.policy.mode == STS_NONE);
	for (left = file.policy.mx; sts_next(&left, &pattern); len += pattern.len + 1) {
		bool wild = text_starts_case(pattern, "*.");

		must(sts_is_domain(
		    (struct text){pattern.data + (wild ? 2 : 0), pattern.len - (wild ? 2 : 0)}));
		must(wild || sts_names(file.policy.mx, pattern));
		if (wild)
			wildcard(pattern);
	}
	must(!file.policy.mx.len || len == file.policy.mx.len + 1);
}

static void domain(struct text t)
{
	char to[STS_DOMAIN_MAX + 1], again[STS_DOMAIN_MAX + 1];

	if (!sts_domain_make(t, to))
		return;
	must(strlen(to) <= STS_DOMAIN_MAX && sts_is_domain(text_of(to)));
	must(sts_domain_make(text_of(to), again) && strcmp(to, again) == 0);
}

static void store(struct text t)
{
	struct sts_store *one = sts_store_new(), *two = sts_store_new();
	struct bytes content = {0}, again = {0};

	(void)sts_store_decode(one, t, NOW);
	must(sts_store_count(one) <= STS_STORED_MOST);
	for (struct sts_known *k = sts_store_first(one); k; k = TAILQ_NEXT(k, age))
		must(k->fetched_s <= NOW && sts_store_find(one, k->domain, NOW) == k);
	sts_store_encode(one, &content);
	must(sts_store_decode(two, bytes_text(&content), NOW));
	sts_store_encode(two, &again);
	must(bytes_len(&content) == bytes_len(&again) &&
	     memcmp(bytes_at(&content), bytes_at(&again), bytes_len(&again)) == 0);
	bytes_free(&content);
	bytes_free(&again);
	sts_store_free(&one);
	sts_store_free(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(struct text) = {record, file, domain, store};

	if (size)
		kinds[data[0] % 4]((struct text){(const char *)data + 1, size - 1});
	return 0;
}
