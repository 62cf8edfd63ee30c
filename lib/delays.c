/* SPDX-License-Identifier: ISC */
/* delay= and delays= of log lines. */
#include "delays.h"

static void put_seconds(struct bytes *to, int64_t us)
{
	uint64_t hundredths = us > 0 ? (uint64_t)us / 10000 : 0;

	bytes_add_number(to, hundredths / 100);
	hundredths %= 100;
	if (us >= 100000000 || !hundredths)
		return;
	bytes_add(to, ".", 1);
	bytes_add_number(to, hundredths / 10);
	if (us < 10000000 && hundredths % 10)
		bytes_add_number(to, hundredths % 10);
}

static int64_t between(struct walltime from, struct walltime to)
{
	return from.us && to.us > from.us ? to.us - from.us : 0;
}

void delays_put_total(struct bytes *to, const struct delays *d)
{
	put_seconds(to, between(d->arrival, d->done));
}

void delays_put(struct bytes *to, const struct delays *d)
{
	struct walltime sending = d->sending.us ? d->sending : d->done;

	put_seconds(to, between(d->arrival, d->active));
	bytes_add(to, "/", 1);
	put_seconds(to, between(d->active, d->begun));
	bytes_add(to, "/", 1);
	put_seconds(to, between(d->begun, sending));
	bytes_add(to, "/", 1);
	put_seconds(to, between(sending, d->done));
}
