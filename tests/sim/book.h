/* SPDX-License-Identifier: ISC */
/*
 * What the simulator promised, and to whom: each message and recipient by
 * number, kept apart from all that is being tested.
 */
#ifndef TESTS_SIM_BOOK_H
#define TESTS_SIM_BOOK_H

#include "queue.h"

enum { BOOK_RECIPIENTS = 3, BOOK_CONTENT_MAX = 1600, BOOK_LARGE_MAX = 80000 };

struct book_recipient {
	uint8_t taken;	     /* how often a receiver said 250 */
	bool unrecorded : 1; /* a 250 whose record is not known to be durable */
	bool excused : 1;    /* a crash parted the two: it may be taken once more */
	bool settled : 1;    /* durably: it must not come back */
	bool reported : 1;   /* a report about it was taken in */
	bool dropped : 1;    /* a report that nobody wanted: it ends there */
	bool open : 1;	     /* found by the last recovery */
};

struct book_message {
	bool sent : 1, acked : 1, refused : 1, seen : 1;
	uint8_t count;
	uint8_t of_recipients; /* a bit each */
	uint64_t of;	       /* a report of failures: about this message */
	struct book_recipient recipients[BOOK_RECIPIENTS];
};

struct book {
	struct book_message *messages; /* by ID */
	uint64_t count, lowest;	       /* all below lowest is settled */
	uint64_t duplicates;
	const char *broken; /* a promise that was broken, or NULL */
	uint64_t broken_id;
	uint64_t watch; /* a message of which NOTE is told everything; 0: none */
	void (*note)(void *arg, uint64_t id, uint32_t recipient, const char *what);
	void *note_arg;
};

void book_init(struct book *b);
void book_free(struct book *b);
void book_break(struct book *b, const char *what, uint64_t id);

/* One message of 200 has a body that goes to a file. */
bool book_is_large(uint64_t id);
/* Content and domains follow from the ID; room for BOOK_LARGE_MAX. Returns the length. */
size_t book_content(uint64_t id, char *to);
void book_compare(struct book *b, uint64_t id, struct text body);
uint64_t book_domain(uint64_t id, uint32_t recipient);

void book_sent(struct book *b, uint64_t id, uint32_t recipients);
void book_acked(struct book *b, uint64_t id);	/* 250 was said */
void book_refused(struct book *b, uint64_t id); /* 4xx was said: it must never be seen */
/* Message ID reports the failure of those recipients, a bit each. */
void book_reports(struct book *b, uint64_t id, uint64_t of, uint8_t recipients);
/* Nobody wants to hear of its failure, or somebody deleted it. */
void book_dropped(struct book *b, uint64_t id, uint32_t recipient);

void book_taken(struct book *b, uint64_t id, uint32_t recipient); /* by its receiver */
void book_recorded(struct book *b, uint64_t id, uint32_t recipient, bool settled);
void book_parted(struct book *b, uint64_t id,
		 uint32_t recipient); /* a crash came between the two */

void book_recover(struct book *b); /* a recovery begins */
void book_entry(struct book *b, const struct queue_entry *e);
void book_recovered(struct book *b);
void book_close(struct book *b); /* the end: nothing is queued any more */

#endif
