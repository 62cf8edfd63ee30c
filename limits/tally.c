/* SPDX-License-Identifier: ISC */
/* Counting in sliding windows. */
#include "tally.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t lengths[RATE_PERIODS] = {60, 3600, 86400};

struct tally {
	struct tally_state state;
	struct tally *next;		/* in its bucket */
	struct tally *older, **younger; /* of its kind; younger points to what points here */
	/* In the list of those counted since the last look; fresh_at: what points here, or NULL. */
	struct tally *fresh, **fresh_at;
};

/* Newest first. */
struct kind {
	struct tally *newest, *oldest;
	size_t count;
};

struct tallies {
	uint8_t key[SIPHASH_KEY_BYTES];
	size_t most, size, count; /* size: of buckets, a power of two */
	struct tally **buckets;
	struct kind kinds[RATE_KINDS];
	struct tally *fresh;
};

struct tallies *tallies_new(const uint8_t *key, size_t most)
{
	struct tallies *t = mem_new(1, sizeof *t);

	memcpy(t->key, key, sizeof t->key);
	t->most = most;
	t->size = 256;
	t->buckets = mem_new(t->size, sizeof(struct tally *));
	return t;
}

static struct tally **bucket_of(struct tallies *t, uint64_t who)
{
	return &t->buckets[who & (t->size - 1)];
}

static void grow(struct tallies *t)
{
	struct tally **old = t->buckets;
	size_t size = t->size;

	t->size *= 2;
	t->buckets = mem_new(t->size, sizeof(struct tally *));
	for (size_t i = 0; i < size; i++)
		for (struct tally *y = old[i]; y;) {
			struct tally *next = y->next;
			struct tally **at = bucket_of(t, y->state.who);

			y->next = *at;
			*at = y;
			y = next;
		}
	free(old);
}

/* -- by age --------------------------------------------------------------------- */

static void age_out(struct kind *k, struct tally *y)
{
	*y->younger = y->older;
	if (y->older)
		y->older->younger = y->younger;
	else
		k->oldest =
		    y->younger == &k->newest
			? NULL
			: (struct tally *)((char *)y->younger - offsetof(struct tally, older));
	k->count--;
}

static void age_in(struct kind *k, struct tally *y)
{
	y->older = k->newest;
	y->younger = &k->newest;
	if (y->older)
		y->older->younger = &y->older;
	else
		k->oldest = y;
	k->newest = y;
	k->count++;
}

static void fresh_in(struct tallies *t, struct tally *y)
{
	if (y->fresh_at)
		return;
	y->fresh = t->fresh;
	y->fresh_at = &t->fresh;
	if (y->fresh)
		y->fresh->fresh_at = &y->fresh;
	t->fresh = y;
}

static void fresh_out(struct tally *y)
{
	if (!y->fresh_at)
		return;
	*y->fresh_at = y->fresh;
	if (y->fresh)
		y->fresh->fresh_at = y->fresh_at;
	y->fresh_at = NULL;
}

static void tally_forget(struct tallies *t, struct tally *y)
{
	struct tally **at = bucket_of(t, y->state.who);

	while (*at != y)
		at = &(*at)->next;
	*at = y->next;
	fresh_out(y);
	age_out(&t->kinds[y->state.kind], y);
	t->count--;
	free(y);
}

static struct tally *tally_find(struct tallies *t, uint64_t who, uint8_t kind)
{
	struct tally *y = *bucket_of(t, who);

	while (y && (y->state.who != who || y->state.kind != kind))
		y = y->next;
	return y;
}

static struct tally *tally_take(struct tallies *t, uint64_t who, uint8_t kind)
{
	struct kind *k = &t->kinds[kind];
	struct tally *y = tally_find(t, who, kind);

	if (y) {
		age_out(k, y);
		age_in(k, y);
		return y;
	}
	if (k->count >= t->most)
		tally_forget(t, k->oldest);
	if (t->count >= t->size)
		grow(t);
	y = mem_new(1, sizeof *y);
	y->state.who = who;
	y->state.kind = kind;
	struct tally **at = bucket_of(t, who);

	y->next = *at;
	*at = y;
	t->count++;
	age_in(k, y);
	return y;
}

static uint64_t name_hash(const struct tallies *t, enum rate_who kind, struct text name)
{
	char text[1 + 255];
	size_t n = name.len < 255 ? name.len : 255;

	text[0] = (char)('0' + (int)kind);
	memcpy(text + 1, name.data, n);
	/* A backend may take a login in any case and hand it on as it was said: it is the same one.
	 */
	for (size_t i = 1; kind == RATE_LOGIN && i <= n; i++)
		text[i] = ascii_lower(text[i]);
	return siphash(t->key, text, n + 1);
}

/* -- windows ------------------------------------------------------------------------ */

static void shift(uint32_t counts[2], uint32_t windows)
{
	counts[1] = windows == 1 ? counts[0] : 0;
	counts[0] = 0;
}

/* A clock that was set back leaves the windows as they are: what was counted stays counted. */
static void roll(struct tally_state *s, int64_t now)
{
	for (size_t p = 0; p < RATE_PERIODS; p++) {
		uint32_t window = (uint32_t)(now / lengths[p]);

		if (window <= s->window[p])
			continue;
		shift(s->messages[p], window - s->window[p]);
		shift(s->recipients[p], window - s->window[p]);
		s->window[p] = window;
	}
}

/* Of the window before, what is left of it in the last minute, hour or day. */
static uint64_t estimate(const uint32_t counts[2], size_t period, int64_t now)
{
	uint64_t left = lengths[period] - (uint64_t)(now % lengths[period]);

	return counts[0] + counts[1] * left / lengths[period];
}

static bool passes(const struct rate_list *rates, uint32_t counts[RATE_PERIODS][2], uint32_t more,
		   int64_t now, struct rate *hit)
{
	for (size_t i = 0; i < rates->count; i++) {
		const struct rate *r = &rates->items[i];

		if (estimate(counts[r->period], r->period, now) + more > r->count) {
			*hit = *r;
			return true;
		}
	}
	return false;
}

bool tally_passes(struct tallies *t, enum rate_who kind, struct text name,
		  const struct config_rate *rule, uint32_t recipients, int64_t now,
		  struct tally_hit *hit)
{
	const struct tally *y = tally_find(t, name_hash(t, kind, name), (uint8_t)kind);
	struct tally_state s = y ? y->state : (struct tally_state){0};

	roll(&s, now);
	hit->rule = rule;
	hit->recipients = false;
	if (passes(&rule->messages, s.messages, 1, now, &hit->rate))
		return true;
	hit->recipients = true;
	return passes(&rule->recipients, s.recipients, recipients, now, &hit->rate);
}

static void add(uint32_t *count, uint32_t more)
{
	*count = more > UINT32_MAX - *count ? UINT32_MAX : *count + more;
}

void tally_count(struct tallies *t, enum rate_who kind, struct text name, uint32_t recipients,
		 int64_t now)
{
	struct tally *y = tally_take(t, name_hash(t, kind, name), (uint8_t)kind);

	roll(&y->state, now);
	for (size_t p = 0; p < RATE_PERIODS; p++) {
		add(&y->state.messages[p][0], 1);
		add(&y->state.recipients[p][0], recipients);
	}
	fresh_in(t, y);
}

/* -- all of them ---------------------------------------------------------------------- */

void tallies_fresh(struct tallies *t, bool (*visit)(void *arg, const struct tally_state *state),
		   void *arg)
{
	while (t->fresh && visit(arg, &t->fresh->state))
		fresh_out(t->fresh);
}

void tallies_each(const struct tallies *t,
		  bool (*visit)(void *arg, const struct tally_state *state), void *arg)
{
	for (size_t k = 0; k < RATE_KINDS; k++) {
		const struct tally *y = t->kinds[k].oldest;

		while (y && visit(arg, &y->state))
			y = y->younger == &t->kinds[k].newest
				? NULL
				: (const struct tally *)((const char *)y->younger -
							 offsetof(struct tally, older));
	}
}

void tallies_restore(struct tallies *t, const struct tally_state *state, int64_t now)
{
	if (state->kind >= RATE_KINDS ||
	    (int64_t)state->window[PER_DAY] + 1 < now / lengths[PER_DAY])
		return;
	tally_take(t, state->who, state->kind)->state = *state;
}

size_t tallies_count(const struct tallies *t)
{
	return t->count;
}

void tallies_free(struct tallies **t)
{
	if (!*t)
		return;
	for (size_t k = 0; k < RATE_KINDS; k++)
		while ((*t)->kinds[k].oldest)
			tally_forget(*t, (*t)->kinds[k].oldest);
	free((*t)->buckets);
	free(*t);
	*t = NULL;
}
