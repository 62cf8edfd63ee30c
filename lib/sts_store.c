/* SPDX-License-Identifier: ISC */
/* Policies in memory, and as the file has them. */
#include "sts_store.h"

#include "mem.h"
#include "must.h"
#include "siphash.h"

#include <stdlib.h>
#include <string.h>

enum {
	VERSION = 1,
	BUCKETS = 32768,
	RECORD_BYTES = 4 + 1 + 4 + 4 + 4 + 8 + 8, /* of the file, without its texts */
	HEAD_BYTES = 1 + 4,
};

static const uint64_t TIME_MOST_S = UINT64_C(1) << 40;

struct sts_store {
	uint8_t key[SIPHASH_KEY_BYTES];
	struct sts_known *buckets[BUCKETS];
	TAILQ_HEAD(, sts_known) all, large;
	size_t count, bytes;
	bool changed;
};

struct sts_store *sts_store_new(void)
{
	struct sts_store *s = mem_new(1, sizeof *s);

	siphash_key_make(s->key);
	TAILQ_INIT(&s->all);
	TAILQ_INIT(&s->large);
	return s;
}

static struct sts_known **bucket_of(struct sts_store *s, struct text domain)
{
	return &s->buckets[siphash(s->key, domain.data, domain.len) % BUCKETS];
}

static bool is_large(const struct sts_known *k)
{
	return k->bytes > STS_LARGE_BYTES;
}

static void known_free(struct sts_store *s, struct sts_known *k)
{
	struct sts_known **at = bucket_of(s, k->domain);

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	TAILQ_REMOVE(&s->all, k, age);
	if (is_large(k))
		TAILQ_REMOVE(&s->large, k, large);
	s->count--;
	s->bytes -= k->bytes;
	free(k);
}

void sts_store_free(struct sts_store **store)
{
	struct sts_store *s = *store;
	struct sts_known *k;

	*store = NULL;
	if (!s)
		return;
	while ((k = TAILQ_FIRST(&s->all)))
		known_free(s, k);
	free(s);
}

void sts_store_forget(struct sts_store *s, struct sts_known *k)
{
	known_free(s, k);
	s->changed = true;
}

struct sts_known *sts_store_first(const struct sts_store *s)
{
	return TAILQ_FIRST(&s->all);
}

size_t sts_store_count(const struct sts_store *s)
{
	return s->count;
}

bool sts_store_changed(const struct sts_store *s)
{
	return s->changed;
}

void sts_store_saved(struct sts_store *s)
{
	s->changed = false;
}

size_t sts_store_bytes(const struct sts_store *s)
{
	return s->bytes;
}

static bool clock_is_set(int64_t now_s)
{
	return now_s >= STS_CLOCK_LEAST_S;
}

int64_t sts_store_left(struct sts_store *s, struct sts_known *k, int64_t now_s)
{
	int64_t left;

	if (clock_is_set(now_s) && (k->fetched_s > now_s || !clock_is_set(k->fetched_s))) {
		k->fetched_s = now_s;
		s->changed = true;
	}
	left = k->fetched_s + (int64_t)k->policy.max_age_s - now_s;
	return left < (int64_t)k->policy.max_age_s ? left : (int64_t)k->policy.max_age_s;
}

static struct sts_known *known_find(struct sts_store *s, struct text domain)
{
	struct sts_known *k = *bucket_of(s, domain);

	while (k && !text_equal(k->domain, domain))
		k = k->next;
	return k;
}

struct sts_known *sts_store_find(struct sts_store *s, struct text domain, int64_t now_s)
{
	struct sts_known *k = known_find(s, domain);

	if (!k || sts_store_left(s, k, now_s) > 0)
		return k;
	sts_store_forget(s, k);
	return NULL;
}

void sts_store_use(struct sts_store *s, struct sts_known *k, int64_t now_s)
{
	k->asked_s = now_s;
	TAILQ_REMOVE(&s->all, k, age);
	TAILQ_INSERT_TAIL(&s->all, k, age);
	if (!is_large(k))
		return;
	TAILQ_REMOVE(&s->large, k, large);
	TAILQ_INSERT_TAIL(&s->large, k, large);
}

static struct text take_text(char **at, struct text t)
{
	struct text copy = {*at, t.len};

	if (t.len)
		memcpy(*at, t.data, t.len);
	*at += t.len;
	return copy;
}

/* Who was asked for longest ago goes, of octets a large one while there is one; KEEP does not. */
static void store_bound(struct sts_store *s, const struct sts_known *keep)
{
	while (s->count > 1 &&
	       (s->count > STS_STORED_MOST || s->bytes > STS_STORED_BYTES - HEAD_BYTES)) {
		struct sts_known *k = TAILQ_FIRST(&s->large);

		if (k == keep)
			k = TAILQ_NEXT(k, large);
		if (!k || s->count > STS_STORED_MOST)
			k = TAILQ_FIRST(&s->all);
		if (k == keep)
			k = TAILQ_NEXT(k, age);
		known_free(s, k);
	}
}

struct sts_known *sts_store_put(struct sts_store *s, struct text domain,
				const struct sts_policy *policy, int64_t now_s)
{
	size_t texts = domain.len + policy->id.len + policy->mx.len;
	struct sts_known *old = known_find(s, domain);
	struct sts_known *k = mem_new(1, sizeof *k + texts + 1);
	char *at = (char *)(k + 1);

	must(domain.len <= STS_DOMAIN_MAX && policy->id.len <= STS_ID_MAX &&
	     policy->mx.len <= STS_MX_BYTES);
	k->policy = *policy;
	k->fetched_s = now_s;
	k->asked_s = old ? old->asked_s : now_s;
	k->domain = take_text(&at, domain);
	k->policy.id = take_text(&at, policy->id);
	k->policy.mx = take_text(&at, policy->mx);
	k->bytes = RECORD_BYTES + texts;
	struct sts_known **bucket = bucket_of(s, domain);

	k->next = *bucket;
	*bucket = k;
	/* To be fetched anew is not to be asked for. */
	if (old)
		TAILQ_INSERT_BEFORE(old, k, age);
	else
		TAILQ_INSERT_TAIL(&s->all, k, age);
	if (is_large(k) && old && is_large(old))
		TAILQ_INSERT_BEFORE(old, k, large);
	else if (is_large(k))
		TAILQ_INSERT_TAIL(&s->large, k, large);
	s->count++;
	s->bytes += k->bytes;
	s->changed = true;
	if (old)
		known_free(s, old);
	store_bound(s, k);
	return k;
}

/* -- the file ---------------------------------------------------------------------------- */

void sts_store_encode(const struct sts_store *s, struct bytes *to)
{
	const struct sts_known *k;

	wire_put_u8(to, VERSION);
	wire_put_u32(to, (uint32_t)s->count);
	TAILQ_FOREACH(k, &s->all, age)
	{
		wire_put_text(to, k->domain);
		wire_put_u8(to, k->policy.mode);
		wire_put_u32(to, k->policy.max_age_s);
		wire_put_text(to, k->policy.id);
		wire_put_text(to, k->policy.mx);
		wire_put_u64(to, (uint64_t)k->fetched_s);
		wire_put_u64(to, (uint64_t)k->asked_s);
	}
}

static bool has_only(struct text t, const char *marks)
{
	for (size_t i = 0; i < t.len; i++)
		if (!ascii_is_alnum(t.data[i]) && (!t.data[i] || !strchr(marks, t.data[i])))
			return false;
	return true;
}

static bool is_sound(struct text domain, const struct sts_policy *p)
{
	return domain.len && has_only(domain, ".-_") && p->mode <= STS_ENFORCE &&
	       p->max_age_s <= STS_MAX_AGE_MOST_S && p->id.len && has_only(p->id, "") &&
	       has_only(p->mx, ".-* ") && (p->mx.len || p->mode == STS_NONE);
}

static bool take_known(struct sts_store *s, struct wire_reader *in, int64_t now_s)
{
	struct sts_policy policy = {0};
	struct text domain = wire_text(in, STS_DOMAIN_MAX);

	policy.mode = wire_u8(in);
	policy.max_age_s = wire_u32(in);
	policy.id = wire_text(in, STS_ID_MAX);
	policy.mx = wire_text(in, STS_MX_BYTES);
	uint64_t fetched = wire_u64(in), asked = wire_u64(in);

	if (in->bad || !is_sound(domain, &policy) || fetched > TIME_MOST_S || asked > TIME_MOST_S)
		return false;
	struct sts_known *k = sts_store_put(s, domain, &policy, now_s);

	k->fetched_s = (int64_t)fetched;
	k->asked_s = (int64_t)asked;
	if (k->asked_s > now_s && clock_is_set(now_s))
		k->asked_s = now_s;
	if (sts_store_left(s, k, now_s) <= 0)
		known_free(s, k);
	return true;
}

bool sts_store_decode(struct sts_store *s, struct text content, int64_t now_s)
{
	struct wire_reader in = wire_reader_over(content.data, content.len);
	bool good = wire_u8(&in) == VERSION;
	uint32_t count = wire_u32(&in);

	for (uint32_t i = 0; good && !in.bad && i < count; i++)
		good = take_known(s, &in, now_s);
	s->changed = false;
	return good && wire_done(&in);
}
