/* SPDX-License-Identifier: ISC */
/* A list of entries, oldest first. */
#include "freezer.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, HASTE_MOST = 1000 };

static const int64_t hour_us = INT64_C(3600000000);

struct freezer {
	struct frozen_entry items[FROZEN_MOST];
	size_t count;
	/* When entries were added of late, released ones as well; a ring. */
	int64_t added[HASTE_MOST];
	size_t added_at;
};

struct freezer *freezer_new(void)
{
	return mem_new(1, sizeof(struct freezer));
}

void freezer_free(struct freezer **f)
{
	if (!*f)
		return;
	free(*f);
	*f = NULL;
}

struct frozen_entry *freezer_find(struct freezer *f, struct text login)
{
	for (size_t i = 0; i < f->count; i++)
		if (text_equal_case(text_of(f->items[i].login), login))
			return &f->items[i];
	return NULL;
}

static void take_out(struct freezer *f, size_t at)
{
	f->count--;
	memmove(&f->items[at], &f->items[at + 1], (f->count - at) * sizeof *f->items);
}

bool freezer_remove(struct freezer *f, struct text login)
{
	const struct frozen_entry *e = freezer_find(f, login);

	if (!e)
		return false;
	take_out(f, (size_t)(e - f->items));
	return true;
}

static uint64_t added_within_an_hour(const struct freezer *f, int64_t now_us)
{
	uint64_t n = 0;

	for (size_t i = 0; i < HASTE_MOST; i++)
		n += f->added[i] && f->added[i] > now_us - hour_us;
	return n;
}

/* False: all are frozen. */
static bool make_room(struct freezer *f)
{
	for (size_t i = 0; i < f->count && f->count >= FROZEN_MOST; i++)
		if (!f->items[i].frozen)
			take_out(f, i);
	return f->count < FROZEN_MOST;
}

static void note_added(struct freezer *f, int64_t when_us)
{
	f->added[f->added_at++ % HASTE_MOST] = when_us;
}

enum freezer_result freezer_add(struct freezer *f, struct text login, struct text why, bool frozen,
				uint64_t most, int64_t now_us)
{
	struct frozen_entry *e = freezer_find(f, login);

	if (e && (e->frozen || !frozen))
		return FREEZER_KNOWN;
	if (most && added_within_an_hour(f, now_us) >= most)
		return FREEZER_HASTY;
	if (!e && !make_room(f))
		return FREEZER_FULL;
	if (!e)
		e = &f->items[f->count++];
	*e = (struct frozen_entry){.since_us = now_us, .frozen = frozen, .told = !most};
	text_copy(e->login, sizeof e->login, login);
	text_copy(e->why, sizeof e->why, why);
	if (most)
		note_added(f, now_us);
	return FREEZER_ADDED;
}

bool freezer_expire(struct freezer *f, int64_t now_us)
{
	size_t before = f->count;

	for (size_t i = 0; i < f->count;) {
		const struct frozen_entry *e = &f->items[i];

		if (!e->frozen && e->since_us < now_us - FREEZER_TOLD_S * INT64_C(1000000))
			take_out(f, i);
		else
			i++;
	}
	return f->count < before;
}

struct frozen_entry *freezer_untold(struct freezer *f)
{
	for (size_t i = 0; i < f->count; i++)
		if (!f->items[i].told)
			return &f->items[i];
	return NULL;
}

size_t freezer_count(const struct freezer *f)
{
	return f->count;
}

struct wire_list freezer_list(const struct freezer *f, struct bytes *to)
{
	size_t from = bytes_len(to);

	for (size_t i = 0; i < f->count; i++) {
		const struct frozen_entry *e = &f->items[i];

		rec_frozen_login_encode(to, &(struct rec_frozen_login){
						.login = text_of(e->login),
						.why = text_of(e->why),
						.since_wall = (uint64_t)e->since_us,
						.frozen = e->frozen,
					    });
	}
	return (struct wire_list){(uint32_t)f->count,
				  {(const char *)bytes_at(to) + from, bytes_len(to) - from}};
}

void freezer_encode(const struct freezer *f, struct bytes *to)
{
	wire_put_u8(to, VERSION);
	wire_put_u32(to, (uint32_t)f->count);
	for (size_t i = 0; i < f->count; i++) {
		const struct frozen_entry *e = &f->items[i];

		wire_put_text(to, text_of(e->login));
		wire_put_text(to, text_of(e->why));
		wire_put_u64(to, (uint64_t)e->since_us);
		wire_put_u8(to, e->frozen);
		wire_put_u8(to, e->told);
	}
}

static bool take_entry(struct freezer *f, struct wire_reader *in)
{
	struct frozen_entry e = {.since_us = 0};
	struct text login = wire_text(in, sizeof e.login - 1);
	struct text why = wire_text(in, sizeof e.why - 1);
	uint64_t since = wire_u64(in);
	uint8_t frozen = wire_u8(in), told = wire_u8(in);

	if (in->bad || frozen > 1 || told > 1 || since > INT64_MAX || !login.len ||
	    memchr(login.data, '\0', login.len) || (why.len && memchr(why.data, '\0', why.len)) ||
	    freezer_find(f, login))
		return false;
	e.since_us = (int64_t)since;
	e.frozen = frozen == 1;
	e.told = told == 1;
	text_copy(e.login, sizeof e.login, login);
	text_copy(e.why, sizeof e.why, why);
	f->items[f->count++] = e;
	note_added(f, e.since_us);
	return true;
}

bool freezer_decode(struct freezer *f, const void *data, size_t len)
{
	struct wire_reader in = wire_reader_over(data, len);
	bool good = wire_u8(&in) == VERSION;
	uint32_t count = wire_u32(&in);

	good = good && !in.bad && count <= FROZEN_MOST;
	for (uint32_t i = 0; good && i < count; i++)
		good = take_entry(f, &in);
	good = good && wire_done(&in);
	if (!good)
		f->count = 0;
	return good;
}
