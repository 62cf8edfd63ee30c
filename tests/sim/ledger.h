/* SPDX-License-Identifier: ISC */
/*
 * An owner of a queue that keeps beside its own state what was promised:
 * which messages were acknowledged and what was settled for good. After a crash it
 * compares the two.
 */
#ifndef TESTS_SIM_LEDGER_H
#define TESTS_SIM_LEDGER_H

#include "queue.h"
#include "simdisk.h"

enum {
	LEDGER_RECIPIENTS = 4,
};

struct ledger_recipient {
	bool open; /* as the owner sees it */
	enum queue_kind kind;
	uint16_t attempts;
	struct queue_where where;
	bool settle_sent, settle_acked;
	uint16_t attempts_sent, attempts_acked;
};

struct ledger_message {
	bool sent, acked, refused, known, seen;
	bool expanding; /* one more recipient may be there after a crash */
	struct queue_location location;
	uint32_t count, open_count;
	struct ledger_recipient recipients[LEDGER_RECIPIENTS];
};

struct ledger {
	struct simdisk *sim;
	struct queue_options options;
	struct queue *queue;
	struct ledger_message *messages; /* by ID */
	uint64_t count;
	uint64_t *batch_ids; /* in the batch being filled */
	size_t batch_count, batch_size;
	struct queue_outcome *outcomes; /* the same; texts are static */
	size_t outcome_count, outcome_size;
	uint64_t damages, refused, full, acked, settled;
	uint64_t random;
	const char *broken; /* a promise that was broken, or NULL */
	uint64_t broken_id;
};

void ledger_init(struct ledger *l, struct simdisk *sim, uint64_t seed);
void ledger_free(struct ledger *l);
uint64_t ledger_random(struct ledger *l, uint64_t limit);

/* Opens and loads the queue and compares; false when the disk stopped meanwhile. */
bool ledger_recover(struct ledger *l);
void ledger_forget_queue(struct ledger *l); /* closes it as a crash would */

/* Adds a message of at most MAX_BYTES; its ID or 0. */
uint64_t ledger_put(struct ledger *l, size_t max_bytes);
void ledger_outcome(struct ledger *l, uint64_t id, uint32_t recipient, enum queue_kind kind);
enum queue_result ledger_commit(struct ledger *l);
void ledger_work(struct ledger *l, int jobs); /* worker's jobs, at most */
void ledger_idle(struct ledger *l);	      /* commits and works until nothing is left */
void ledger_step(struct ledger *l);	      /* something at random */
/* Closes one recipient and adds another in its place, as an alias does. */
void ledger_expand(struct ledger *l, uint64_t id);
/* Each open message is read back and compared. */
void ledger_verify(struct ledger *l);
uint64_t ledger_open_message(struct ledger *l); /* a random one that is known, or 0 */

#endif
