/* SPDX-License-Identifier: ISC */
/* veredus queue shape: recipients by domain and age, the columns of qshape. */
#include "queue_verbs.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { BINS = 10, BUCKETS = 65536, SHOWN = 50 };

/* Up to 5 minutes, 10, 20 ... 1280, and older. */
struct shape_row {
	struct shape_row *next;
	struct text domain;
	uint64_t total, bins[BINS];
};

struct shape {
	struct shape_row *buckets[BUCKETS];
	struct shape_row all;
	struct arena *arena;
	size_t count;
	struct walltime now;
	bool by_sender;
};

static struct shape_row *row_of(struct shape *s, struct text domain)
{
	uint32_t hash = queue_crc32c(0, domain.data, domain.len) % BUCKETS;

	for (struct shape_row *r = s->buckets[hash]; r; r = r->next)
		if (text_equal(r->domain, domain))
			return r;
	struct shape_row *row = arena_alloc(s->arena, sizeof *row);
	char *copy = arena_copy(s->arena, domain.data, domain.len);

	if (!row || !copy)
		return &s->all;
	row->domain = (struct text){copy, domain.len};
	row->next = s->buckets[hash];
	s->buckets[hash] = row;
	s->count++;
	return row;
}

static void count_in(struct shape_row *row, int64_t minutes)
{
	unsigned bin = 0;

	while (bin < BINS - 1 && minutes >= 5ll << bin)
		bin++;
	row->total++;
	row->bins[bin]++;
}

static bool shape_one(void *arg, const struct hit *hit)
{
	struct shape *s = arg;
	int64_t minutes = (s->now.us - hit->message->arrival.us) / 60000000;
	struct text sender = address_domain(hit->envelope.sender);

	for (uint32_t i = 0; i < hit->count; i++) {
		if (!hit->recipients[i].matches)
			continue;
		struct text key = s->by_sender ? sender : hit->recipients[i].state->domain;

		if (!key.len)
			key = text_of(s->by_sender ? "MAILER-DAEMON" : "-");
		count_in(row_of(s, key), minutes);
		count_in(&s->all, minutes);
		if (s->by_sender)
			break;
	}
	return true;
}

static int by_total(const void *a, const void *b)
{
	const struct shape_row *const *x = a, *const *y = b;

	return ((*x)->total < (*y)->total) - ((*x)->total > (*y)->total);
}

static void row_text(const struct shape_row *r)
{
	char name[256];

	text_printable(name, sizeof name, r->domain);
	printf("%40s %6llu", name, (unsigned long long)r->total);
	for (int i = 0; i < BINS; i++)
		printf(" %5llu", (unsigned long long)r->bins[i]);
	putchar('\n');
}

static void row_json(const struct shape_row *r)
{
	json_t *bins = json_array();

	for (int i = 0; i < BINS; i++)
		json_array_append_new(bins, json_u64(r->bins[i]));
	json_print(json_pack("{s:o s:o s:o}", "domain", json_text(r->domain), "total",
			     json_u64(r->total), "bins", bins),
		   stdout);
}

static void shape_print(struct shape *s, const struct ctl *ctl)
{
	struct shape_row **rows = mem_new(s->count, sizeof(struct shape_row *));
	size_t n = 0;

	for (size_t i = 0; i < BUCKETS; i++)
		for (struct shape_row *r = s->buckets[i]; r; r = r->next)
			rows[n++] = r;
	if (n)
		qsort(rows, n, sizeof(struct shape_row *), by_total);
	if (!ctl->json) {
		printf("%40s %6s", "", "T");
		for (int i = 0; i < BINS - 1; i++)
			printf(" %5lld", 5ll << i);
		printf(" %4lld+\n", 5ll << (BINS - 2));
	}
	(ctl->json ? row_json : row_text)(&s->all);
	for (size_t i = 0; i < n && (ctl->json || ctl->all || i < SHOWN); i++)
		(ctl->json ? row_json : row_text)(rows[i]);
	if (!ctl->json && !ctl->all && n > SHOWN)
		printf("... and %zu more domains: --all shows them\n", n - SHOWN);
	free(rows);
}

int queue_shape_verb(struct ctl *ctl)
{
	struct filter filter;
	int status;

	if (!queue_filter(ctl, 0, &filter))
		return EX_USAGE;
	struct view *view = view_open(ctl, &status);

	if (!view)
		return status;
	struct shape *s = mem_new(1, sizeof *s);

	s->arena = arena_new(SIZE_MAX / 2);
	s->now = walltime_read();
	s->by_sender = ctl->by_sender;
	s->all.domain = text_of("TOTAL");
	bool good =
	    view_each(view, &filter, s->by_sender ? VIEW_ENVELOPE : VIEW_INDEX, shape_one, s);

	shape_print(s, ctl);
	arena_free(&s->arena);
	free(s);
	view_close(&view);
	return good ? 0 : 1;
}
