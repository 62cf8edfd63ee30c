/* SPDX-License-Identifier: ISC */
/* One thing after the other, by chance. */
#include "ledger.h"

uint64_t ledger_open_message(struct ledger *l)
{
	uint64_t start = l->count ? ledger_random(l, l->count) : 0;

	for (uint64_t i = 0; i < l->count; i++) {
		uint64_t id = (start + i) % l->count;

		if (l->messages[id].known)
			return id;
	}
	return 0;
}

void ledger_step(struct ledger *l)
{
	static const enum queue_kind kinds[] = {QUEUE_RELAYED, QUEUE_DEFERRED, QUEUE_RELAYED,
						QUEUE_HELD,    QUEUE_FAILED,   QUEUE_RELAYED};
	uint64_t what = ledger_random(l, 14), id = 0;

	if (what < 3) {
		(void)ledger_put(l, 3000);
	} else if (what < 7) {
		id = ledger_open_message(l);
		if (id)
			ledger_outcome(l, id,
				       (uint32_t)ledger_random(l, ledger_message(l, id)->count),
				       kinds[ledger_random(l, 6)]);
	} else if (what < 9) {
		(void)ledger_commit(l);
	} else if (what == 9) {
		for (int i = 0; i < 2 && (id = ledger_open_message(l)); i++)
			for (uint32_t n = 0; n < l->messages[id].count; n++)
				ledger_outcome(l, id, n, QUEUE_RELAYED);
	} else if (what == 12 && ledger_random(l, 4) == 0) {
		(void)ledger_put_large(l);
	} else if (what == 13) {
		id = ledger_open_message(l);
		for (uint32_t n = 0; id && n < ledger_message(l, id)->count; n++)
			if (!ledger_report(l, id, n) && ledger_random(l, 2))
				ledger_fail(l, id, n);
	} else if (what == 10 && ledger_random(l, 4) == 0) {
		id = ledger_open_message(l);
		if (id)
			ledger_expand(l, id);
	} else {
		ledger_work(l, (int)ledger_random(l, 6));
	}
}
