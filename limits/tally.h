/* SPDX-License-Identifier: ISC */
/*
 * Messages and recipients counted by sender, in a minute, an hour and a day.
 * A window slides: of the one before counts the part that is still within the
 * last minute, hour or day. Who sends is known by a keyed hash alone, so that
 * the journal holds no name. Memory is bounded: of each kind the senders that
 * were heard of longest ago are forgotten first.
 */
#ifndef LIMITS_TALLY_H
#define LIMITS_TALLY_H

#include "config.h"
#include "siphash.h"

enum { TALLIES_MAX = 100000 }; /* of a kind */

/* What is known of a sender: as it stands in the journal. */
struct tally_state {
	uint64_t who;		       /* keyed hash of kind and name */
	uint8_t kind;		       /* enum rate_who */
	uint32_t window[RATE_PERIODS]; /* the one that runs: seconds since 1970 by its length */
	uint32_t messages[RATE_PERIODS][2]; /* in that window, in the one before */
	uint32_t recipients[RATE_PERIODS][2];
};

/* A rate that would be passed. */
struct tally_hit {
	const struct config_rate *rule;
	struct rate rate;
	bool recipients; /* or messages */
};

struct tallies;

/* KEY: SIPHASH_KEY_BYTES; MOST: of a kind. */
struct tallies *tallies_new(const uint8_t *key, size_t most);
void tallies_free(struct tallies **t);
size_t tallies_count(const struct tallies *t);

/* Would one more message with RECIPIENTS pass a rate of RULE? *HIT is the first. NOW: seconds since
 * 1970. Nothing is counted. */
bool tally_passes(struct tallies *t, enum rate_who kind, struct text name,
		  const struct config_rate *rule, uint32_t recipients, int64_t now,
		  struct tally_hit *hit);

void tally_count(struct tallies *t, enum rate_who kind, struct text name, uint32_t recipients,
		 int64_t now);

/* What was counted since the last call for it, until VISIT returns false (then it comes again). */
void tallies_fresh(struct tallies *t, bool (*visit)(void *arg, const struct tally_state *state),
		   void *arg);
/* All of them, the one heard of longest ago first. */
void tallies_each(const struct tallies *t,
		  bool (*visit)(void *arg, const struct tally_state *state), void *arg);

/* As the journal says it; what nobody counts any more at NOW is left out. */
void tallies_restore(struct tallies *t, const struct tally_state *state, int64_t now);

#endif
