/* SPDX-License-Identifier: ISC */
/* Rows by what they say. */
#include "results.h"

#include "mem.h"
#include "siphash.h"

#include <stdlib.h>
#include <string.h>

enum {
	ROWS_MAX = 1000,	 /* as tls_results takes */
	BYTES_MAX = 1024 * 1024, /* half a frame */
	BUCKETS = 256,
	GATHER_S = 3,
	COUNT_BYTES = 4, /* a row ends with its count (messages.def) */
};

/* A row as it is sent, without its count. */
struct row {
	struct row *next;
	uint64_t hash;
	uint32_t count;
	uint32_t len;
	uint8_t data[];
};

struct results {
	struct log *log;
	struct channel *limits; /* NULL while there is none */
	struct timer timer;
	uint8_t key[SIPHASH_KEY_BYTES];
	struct row *buckets[BUCKETS];
	size_t count, bytes;
	uint64_t lost;
	struct bytes work;
};

static void fired(void *arg)
{
	results_send(arg);
}

struct results *results_new(struct loop *loop, struct log *log)
{
	struct results *r = mem_new(1, sizeof *r);

	r->log = log;
	siphash_key_make(r->key);
	timer_init(&r->timer, loop, fired, r);
	return r;
}

void results_set_limits(struct results *r, struct channel *limits)
{
	r->limits = limits;
	if (limits && r->count && !timer_is_set(&r->timer))
		timer_set(&r->timer, SECONDS(GATHER_S));
}

static bool is_full(const struct results *r, size_t more)
{
	return r->count == ROWS_MAX || more > BYTES_MAX - r->bytes;
}

static void row_add(struct results *r, uint64_t hash, const uint8_t *data, size_t len)
{
	struct row *row = mem_new(1, sizeof *row + len);

	row->hash = hash;
	row->count = 1;
	row->len = (uint32_t)len;
	memcpy(row->data, data, len);
	row->next = r->buckets[hash % BUCKETS];
	r->buckets[hash % BUCKETS] = row;
	r->count++;
	r->bytes += len + COUNT_BYTES;
	if (!timer_is_set(&r->timer))
		timer_set(&r->timer, SECONDS(GATHER_S));
}

void results_add(struct results *r, const struct rec_tls_result *what)
{
	r->work.start = r->work.end = 0;
	rec_tls_result_encode(&r->work, what);
	size_t len = bytes_len(&r->work) - COUNT_BYTES;
	uint64_t hash = siphash(r->key, r->work.data, len);

	for (struct row *row = r->buckets[hash % BUCKETS]; row; row = row->next)
		if (row->hash == hash && row->len == len &&
		    memcmp(row->data, r->work.data, len) == 0) {
			row->count += row->count < UINT32_MAX;
			return;
		}
	if (is_full(r, len + COUNT_BYTES) && r->limits) {
		/* Sending takes the same memory for its list. */
		struct bytes keep = r->work;

		r->work = (struct bytes){0};
		results_send(r);
		bytes_free(&r->work);
		r->work = keep;
	}
	if (is_full(r, len + COUNT_BYTES))
		r->lost++;
	else
		row_add(r, hash, r->work.data, len);
}

void results_send(struct results *r)
{
	struct wire_list list = {0};

	if (!r->limits || !r->count)
		return;
	timer_clear(&r->timer);
	r->work.start = r->work.end = 0;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct row *row = r->buckets[i], *next; row; row = next) {
			next = row->next;
			bytes_add(&r->work, row->data, row->len);
			wire_put_u32(&r->work, row->count);
			free(row);
		}
	list.count = (uint32_t)r->count;
	list.items = bytes_text(&r->work);
	memset(r->buckets, 0, sizeof r->buckets);
	r->count = r->bytes = 0;
	channel_send_tls_results(r->limits, &(struct msg_tls_results){list});
	if (r->lost)
		log_warning(r->log, "results of %llu TLS sessions were lost: limits was away",
			    (unsigned long long)r->lost);
	r->lost = 0;
}
