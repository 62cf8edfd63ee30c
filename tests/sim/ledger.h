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
	uint8_t flags;
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
	uint32_t large; /* bytes of its body file; 0: its body is inline */
	uint64_t of;	/* it is a report about that message and recipient; 0: none */
	uint32_t of_recipient;
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
	uint64_t *bodies_done; /* large ones that are settled: their files go after the commit */
	size_t bodies_done_count, bodies_done_size;
	struct {
		uint64_t aborts, cleaned, moved_bytes, indexes, reports, expanded, large;
	} did; /* over all its lives: whether a scenario had everything */
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
/* Fails for good with a report owed; and the report, a message that settles it, when that is
 * durable. */
void ledger_fail(struct ledger *l, uint64_t id, uint32_t recipient);
uint64_t ledger_report(struct ledger *l, uint64_t id, uint32_t recipient);
/* Each open message is read back and compared. */
void ledger_verify(struct ledger *l);
uint64_t ledger_open_message(struct ledger *l); /* a random one that is known, or 0 */

/* -- ledger_body.c: bodies in files of their own -- */

/* A message with a large body; its ID or 0. */
uint64_t ledger_put_large(struct ledger *l);
void ledger_bodies_forget(struct ledger *l); /* files of what is settled durably */
void ledger_body_verify(struct ledger *l, uint64_t id);
/* After ledger_recover() and ledger_idle(): no file without its message. */
void ledger_bodies_verify(struct ledger *l);

/* For the ledger's own files. */
struct ledger_message *ledger_message(struct ledger *l, uint64_t id);
void ledger_broken(struct ledger *l, const char *what, uint64_t id);
uint32_t ledger_body_crc(uint64_t id, uint32_t len);
void ledger_content(uint64_t id, size_t len, char *to);
/* The message M of the batch being filled was added, or refused with RESULT. */
uint64_t ledger_added(struct ledger *l, const struct queue_message *m, enum queue_result result);

#endif
