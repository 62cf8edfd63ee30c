/* SPDX-License-Identifier: ISC */
/* Counting what logins do. */
#include "habits.h"

#include "mem.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

static const uint32_t lengths[RATE_PERIODS] = {60, 3600, 86400};
static const char *const period_words[RATE_PERIODS] = {"a minute", "an hour", "a day"};

enum {
	BUCKETS = 65536,
	FADE = 32, /* of its busiest day a part of this is forgotten each day */
	FIXED_BYTES = 8 + 4 + 4 + 4 * RATE_PERIODS * (1 + 2 * HABIT_KINDS) + 1,
	NETWORK_BYTES = 8,
	VERSION = 1,
};

/* One that it sent from: a hash of its first bits. */
struct place {
	uint32_t hash, seen; /* seconds since 1970 */
};

struct habit {
	TAILQ_ENTRY(habit) age;
	struct habit *next; /* in its bucket */
	uint64_t who;
	uint32_t first_day, busiest; /* busiest: recipients of a day */
	uint32_t window[RATE_PERIODS];
	uint32_t counts[HABIT_KINDS][RATE_PERIODS][2]; /* in that window, in the one before */
	struct place *places;			       /* owned; the one seen last is the last */
	uint8_t place_count, place_room;
};

struct habits {
	uint8_t key[SIPHASH_KEY_BYTES];
	size_t most, count;
	struct habit *buckets[BUCKETS];
	TAILQ_HEAD(, habit) by_age; /* oldest first */
};

struct habits *habits_new(const uint8_t *key, size_t most)
{
	struct habits *h = mem_new(1, sizeof *h);

	memcpy(h->key, key, sizeof h->key);
	h->most = most;
	TAILQ_INIT(&h->by_age);
	return h;
}

static struct habit **bucket_of(struct habits *h, uint64_t who)
{
	return &h->buckets[who % BUCKETS];
}

static void habit_forget(struct habits *h, struct habit *b)
{
	struct habit **at = bucket_of(h, b->who);

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	TAILQ_REMOVE(&h->by_age, b, age);
	h->count--;
	free(b->places);
	free(b);
}

static void habits_clear(struct habits *h)
{
	while (!TAILQ_EMPTY(&h->by_age))
		habit_forget(h, TAILQ_FIRST(&h->by_age));
}

void habits_free(struct habits **h)
{
	if (!*h)
		return;
	habits_clear(*h);
	free(*h);
	*h = NULL;
}

size_t habits_count(const struct habits *h)
{
	return h->count;
}

static struct habit *habit_find(struct habits *h, uint64_t who)
{
	struct habit *b = *bucket_of(h, who);

	while (b && b->who != who)
		b = b->next;
	return b;
}

static struct habit *habit_add(struct habits *h, uint64_t who)
{
	struct habit *b = mem_new(1, sizeof *b), **bucket;

	if (h->count >= h->most)
		habit_forget(h, TAILQ_FIRST(&h->by_age));
	bucket = bucket_of(h, who);
	b->who = who;
	b->next = *bucket;
	*bucket = b;
	TAILQ_INSERT_TAIL(&h->by_age, b, age);
	h->count++;
	return b;
}

/* Names differ in case and are the same. */
static uint64_t who_of(const struct habits *h, struct text login)
{
	char lower[255];
	size_t n = login.len < sizeof lower ? login.len : sizeof lower;

	for (size_t i = 0; i < n; i++)
		lower[i] = ascii_lower(login.data[i]);
	return siphash(h->key, lower, n);
}

/* -- windows -------------------------------------------------------------------------- */

/* Days are over: the busiest one is remembered, and fades. */
static void days_pass(struct habit *b, uint32_t days)
{
	uint32_t last = b->counts[HABIT_RECIPIENTS][PER_DAY][0];

	for (uint32_t i = 0; i < days && i < 1000 && b->busiest; i++)
		b->busiest -= b->busiest / FADE;
	if (last > b->busiest)
		b->busiest = last;
}

/* A clock that was set back leaves the windows as they are: what was counted stays counted. */
static void roll(struct habit *b, int64_t now)
{
	for (size_t p = 0; p < RATE_PERIODS; p++) {
		uint32_t window = (uint32_t)(now / lengths[p]), past = window - b->window[p];

		if (window <= b->window[p])
			continue;
		if (p == PER_DAY && b->window[p])
			days_pass(b, past);
		for (size_t k = 0; k < HABIT_KINDS; k++) {
			b->counts[k][p][1] = past == 1 ? b->counts[k][p][0] : 0;
			b->counts[k][p][0] = 0;
		}
		b->window[p] = window;
	}
}

static struct habit *habit_take(struct habits *h, struct text login, int64_t now)
{
	uint64_t who = who_of(h, login);
	struct habit *b = habit_find(h, who);

	if (b) {
		TAILQ_REMOVE(&h->by_age, b, age);
		TAILQ_INSERT_TAIL(&h->by_age, b, age);
	} else {
		b = habit_add(h, who);
		b->first_day = (uint32_t)(now / lengths[PER_DAY]);
	}
	roll(b, now);
	return b;
}

void habit_count(struct habits *h, struct text login, enum habit_kind kind, uint32_t count,
		 int64_t now)
{
	struct habit *b = habit_take(h, login, now);

	for (size_t p = 0; p < RATE_PERIODS; p++) {
		uint32_t *to = &b->counts[kind][p][0];

		*to = count > UINT32_MAX - *to ? UINT32_MAX : *to + count;
	}
}

/* Of the window before, what is left of it in the last minute, hour or day. */
static uint64_t estimate(const struct habit *b, enum habit_kind kind, size_t p, int64_t now)
{
	uint64_t left = lengths[p] - (uint64_t)(now % lengths[p]);

	return b->counts[kind][p][0] + b->counts[kind][p][1] * left / lengths[p];
}

/* -- networks --------------------------------------------------------------------------- */

/* A provider gives a phone another address each hour, but mostly of a few of its networks. */
static uint32_t network_hash(const struct habits *h, const uint8_t *address)
{
	return (uint32_t)siphash(h->key, address, host_address_is_ipv4(address) ? 15 : 6);
}

void habit_network(struct habits *h, struct text login, const uint8_t *address, int64_t now)
{
	struct habit *b = habit_take(h, login, now);
	struct place place = {network_hash(h, address), (uint32_t)now};
	size_t at = 0;

	while (at < b->place_count && b->places[at].hash != place.hash)
		at++;
	/* A new one takes the place of the one seen longest ago. */
	if (at == b->place_count && b->place_count == TAKEOVER_NETWORKS_MOST)
		at = 0;
	if (at < b->place_count) {
		memmove(&b->places[at], &b->places[at + 1],
			(b->place_count - at - 1u) * sizeof *b->places);
		b->place_count--;
	}
	if (b->place_count == b->place_room) {
		b->place_room = b->place_room ? (uint8_t)(2 * b->place_room) : 2;
		b->places = mem_resize(b->places, b->place_room, sizeof *b->places);
	}
	b->places[b->place_count++] = place;
}

static uint64_t networks_within(const struct habit *b, uint32_t seconds, int64_t now)
{
	uint64_t n = 0;

	for (size_t i = 0; i < b->place_count; i++)
		n += (int64_t)b->places[i].seen + seconds > now;
	return n;
}

/* -- signs ------------------------------------------------------------------------------ */

static bool is_limited(const struct habit *b, const struct config *c, int64_t now, char *why)
{
	for (size_t i = 0; i < c->takeover_limits.count; i++) {
		const struct rate *r = &c->takeover_limits.items[i];
		uint64_t n = estimate(b, HABIT_LIMITED, r->period, now);

		if (n < r->count)
			continue;
		snprintf(why, HABIT_WHY_BYTES, "%llu messages above its rate in %s",
			 (unsigned long long)n, period_words[r->period]);
		return true;
	}
	return false;
}

static bool roams(const struct habit *b, const struct config *c, int64_t now, char *why)
{
	for (size_t i = 0; i < c->takeover_networks.count; i++) {
		const struct rate *r = &c->takeover_networks.items[i];
		uint64_t n = networks_within(b, lengths[r->period], now);

		if (n < r->count)
			continue;
		snprintf(why, HABIT_WHY_BYTES, "mail from %llu networks in %s",
			 (unsigned long long)n, period_words[r->period]);
		return true;
	}
	return false;
}

static bool is_refused(const struct habit *b, const struct config *c, int64_t now, char *why)
{
	for (size_t i = 0; i < c->takeover_refused.count; i++) {
		const struct rate *r = &c->takeover_refused.items[i];
		uint64_t n = estimate(b, HABIT_REFUSED, r->period, now);
		uint64_t all = estimate(b, HABIT_RECIPIENTS, r->period, now);

		if (n < r->count || n * 100 < c->takeover_share * all)
			continue;
		snprintf(why, HABIT_WHY_BYTES, "%llu of %llu recipients refused in %s",
			 (unsigned long long)n, (unsigned long long)(all > n ? all : n),
			 period_words[r->period]);
		return true;
	}
	return false;
}

static bool rises(const struct habit *b, const struct config *c, int64_t now, char *why)
{
	uint64_t today = estimate(b, HABIT_RECIPIENTS, PER_DAY, now);
	uint64_t days = (uint64_t)(now / lengths[PER_DAY]) - b->first_day;

	if (!c->takeover_rise || b->first_day > now / lengths[PER_DAY] || days < HABIT_KNOWN_DAYS ||
	    today <= c->takeover_rise_least || today <= c->takeover_rise * b->busiest)
		return false;
	snprintf(why, HABIT_WHY_BYTES, "%llu recipients in a day, at most %u in one before",
		 (unsigned long long)today, b->busiest);
	return true;
}

bool habit_looks_taken(struct habits *h, struct text login, const struct config *c, int64_t now,
		       char *why)
{
	struct habit *b = habit_find(h, who_of(h, login));

	if (!b)
		return false;
	roll(b, now);
	return is_limited(b, c, now, why) || roams(b, c, now, why) || is_refused(b, c, now, why) ||
	       rises(b, c, now, why);
}

void habit_pardon(struct habits *h, struct text login, int64_t now)
{
	struct habit *b = habit_find(h, who_of(h, login));

	if (!b)
		return;
	roll(b, now);
	uint64_t today = estimate(b, HABIT_RECIPIENTS, PER_DAY, now);

	if (today > b->busiest)
		b->busiest = today < UINT32_MAX ? (uint32_t)today : UINT32_MAX;
	memset(b->counts, 0, sizeof b->counts);
	b->place_count = 0;
}

/* -- on disk ------------------------------------------------------------------------------ */

size_t habits_size_most(size_t most)
{
	return 1 + SIPHASH_KEY_BYTES + 4 +
	       most * (FIXED_BYTES + (size_t)NETWORK_BYTES * (TAKEOVER_NETWORKS_MOST));
}

static void put_habit(struct bytes *to, const struct habit *b)
{
	wire_put_u64(to, b->who);
	wire_put_u32(to, b->first_day);
	wire_put_u32(to, b->busiest);
	for (size_t p = 0; p < RATE_PERIODS; p++) {
		wire_put_u32(to, b->window[p]);
		for (size_t k = 0; k < HABIT_KINDS; k++) {
			wire_put_u32(to, b->counts[k][p][0]);
			wire_put_u32(to, b->counts[k][p][1]);
		}
	}
	wire_put_u8(to, b->place_count);
	for (size_t i = 0; i < b->place_count; i++) {
		wire_put_u32(to, b->places[i].hash);
		wire_put_u32(to, b->places[i].seen);
	}
}

void habits_encode(const struct habits *h, struct bytes *to)
{
	const struct habit *b;

	wire_put_u8(to, VERSION);
	bytes_add(to, h->key, sizeof h->key);
	wire_put_u32(to, (uint32_t)h->count);
	TAILQ_FOREACH(b, &h->by_age, age)
	{
		put_habit(to, b);
	}
}

/* False: it is none, or one of that name is there already. */
static bool take_habit(struct habits *h, struct wire_reader *in)
{
	uint64_t who = wire_u64(in);

	if (in->bad || habit_find(h, who))
		return false;
	struct habit *b = habit_add(h, who);

	b->first_day = wire_u32(in);
	b->busiest = wire_u32(in);
	for (size_t p = 0; p < RATE_PERIODS; p++) {
		b->window[p] = wire_u32(in);
		for (size_t k = 0; k < HABIT_KINDS; k++) {
			b->counts[k][p][0] = wire_u32(in);
			b->counts[k][p][1] = wire_u32(in);
		}
	}
	uint8_t count = wire_u8(in);

	if (in->bad || count > TAKEOVER_NETWORKS_MOST)
		return false;
	b->places = mem_new(count + 1u, sizeof *b->places);
	b->place_room = (uint8_t)(count + 1u);
	for (; b->place_count < count; b->place_count++) {
		b->places[b->place_count].hash = wire_u32(in);
		b->places[b->place_count].seen = wire_u32(in);
	}
	return !in->bad;
}

/* A window of a clock that was far ahead would never end. */
static void set_right(struct habits *h, int64_t now)
{
	struct habit *b;

	TAILQ_FOREACH(b, &h->by_age, age)
	{
		for (size_t p = 0; p < RATE_PERIODS; p++)
			if (b->window[p] > now / lengths[p])
				b->window[p] = (uint32_t)(now / lengths[p]);
	}
}

bool habits_decode(struct habits *h, const void *data, size_t len, int64_t now)
{
	struct wire_reader in = wire_reader_over(data, len);
	bool good = wire_u8(&in) == VERSION;
	uint8_t key[SIPHASH_KEY_BYTES];

	for (size_t i = 0; i < sizeof key; i++)
		key[i] = wire_u8(&in);
	uint32_t count = wire_u32(&in);

	good = good && !in.bad && count <= h->most;
	for (uint32_t i = 0; good && i < count; i++)
		good = take_habit(h, &in);
	good = good && wire_done(&in);
	if (good) {
		memcpy(h->key, key, sizeof h->key);
		set_right(h, now);
	} else {
		habits_clear(h);
	}
	return good;
}
