/* SPDX-License-Identifier: ISC */
/* The IDs that engines were lent, and which of them are used. */
#include "qmgr.h"

#include "mem.h"

#include <stdlib.h>

void lease_give(struct qmgr *q, struct engine *e)
{
	uint64_t first;

	if (!e->leases_wanted || !e->channel)
		return;
	if (queue_ids_take(q->queue, e->leases_wanted, &first) != QUEUE_OK) {
		store_kick(q); /* a lease record is in the batch */
		return;
	}
	unsigned at = e->lease_at++ % LEASES_MAX;

	if (e->leases[at].count && e->forgotten < e->leases[at].first + e->leases[at].count)
		e->forgotten = e->leases[at].first + e->leases[at].count;
	e->leases[at].first = first;
	e->leases[at].count = e->leases_wanted;
	free(e->leases[at].used);
	e->leases[at].used = mem_new(e->leases_wanted / 8 + 1, 1);
	channel_send_leased(e->channel, &(struct msg_leased){first, e->leases_wanted});
	e->leases_wanted = 0;
}

bool lease_holds(const struct engine *e, uint64_t id)
{
	/* The newest first: an id is mostly of that one. */
	for (unsigned i = 1; i <= LEASES_MAX; i++) {
		unsigned at = (e->lease_at - i) % LEASES_MAX;

		if (!e->leases[at].count)
			break;
		if (id >= e->leases[at].first && id - e->leases[at].first < e->leases[at].count)
			return true;
	}
	return false;
}

bool lease_use(struct engine *e, uint64_t id)
{
	unsigned at = 0;

	while (id < e->leases[at].first || id - e->leases[at].first >= e->leases[at].count)
		at++;
	uint64_t bit = id - e->leases[at].first;
	uint8_t *byte = &e->leases[at].used[bit / 8], mask = (uint8_t)(1u << bit % 8);
	bool fresh = !(*byte & mask);

	*byte |= mask;
	return fresh;
}
