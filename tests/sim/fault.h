/* SPDX-License-Identifier: ISC */
/*
 * What goes wrong in a run: a list of faults that follows from the seed alone,
 * numbered from 1. A fault's time, kind and details come from its own number, so that one left
 * out changes none of the others: that is what lets shrink.c leave them out.
 */
#ifndef TESTS_SIM_FAULT_H
#define TESTS_SIM_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim;

enum fault_kind {
	FAULT_CRASH,  /* the disk stops within 200 changes; then power, all processes or qmgr */
	FAULT_WORKER, /* an smtp-client dies */
	FAULT_SYNC,   /* one of the next calls of that kind fails with EIO */
	FAULT_WRITE,
	FAULT_RENAME,
	FAULT_FOLDER,
	FAULT_ALLOCATE, /* ENOSPC: no inodes, or no blocks */
	FAULT_TOGETHER, /* a commit fails, and so does what should make that durable */
	FAULT_FULL,	/* for some seconds there is hardly any room */
	FAULT_READONLY, /* for some seconds every change is refused with EROFS */
	FAULT_CLOCK,	/* the wall clock jumps, by up to ten minutes to either side */
	FAULT_CHANNEL,	/* between an smtp-client and qmgr breaks, both live */
	FAULT_LIE,	/* a sync says yes and does nothing: only when it is planted */
	FAULT_KINDS,
};

struct fault {
	uint32_t number;
	enum fault_kind kind;
	int64_t at_us;
	uint64_t random; /* its own chance, for details */
};

/* What a run is made of. Two runs with equal recipes are equal. */
struct recipe {
	uint64_t seed;
	uint64_t steps; /* of 10 ms; then the world is kind until all mail has ended */
	uint64_t from;	/* senders' messages before this one are not sent, */
	uint64_t mails; /* nor from this one on */
	bool calm;	/* receivers take everything */
	bool plant_lie; /* the planted fault, for the test of shrinking */
	bool picked;	/* only the faults of ONLY happen, not all */
	uint32_t *only; /* rising numbers; owned */
	size_t only_count;
};

/* The one after F; *F all zero but for at_us (the start) gives the first. */
void fault_next(const struct recipe *r, struct fault *f);
bool fault_is_picked(const struct recipe *r, uint32_t number);
/* In words, into TO. */
void fault_text(const struct fault *f, char *to, size_t size);
const char *fault_kind_text(enum fault_kind kind);
uint64_t fault_chance(uint64_t *random, uint64_t limit);
/* All faults that are due; those of the disk end when their time is over. */
void fault_turn(struct sim *s);
/* The machine comes back: full and read-only are over. */
void fault_reset(struct sim *s);

/* `make sim` with what the recipe says. */
void recipe_print(const struct recipe *r);
/* One word of the command line; false: none of a recipe's. */
bool recipe_word(struct recipe *r, const char *word);
void recipe_free(struct recipe *r);

#endif
