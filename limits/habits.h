/* SPDX-License-Identifier: ISC */
/*
 * What logins do, and whether it looks as if somebody else had the password:
 * too often above their rate, from too many networks, to too many addresses
 * that are refused, or far more than they ever sent. Windows slide as those of
 * tallies (tally.h), and a login is known by a keyed hash alone. Memory is
 * bounded: who was heard of longest ago is forgotten first.
 */
#ifndef LIMITS_HABITS_H
#define LIMITS_HABITS_H

#include "bytes.h"
#include "config.h"
#include "siphash.h"

enum {
	HABITS_MOST = 100000,
	HABIT_KNOWN_DAYS = 7, /* before a rise counts */
	HABIT_WHY_BYTES = 200,
};

enum habit_kind {
	HABIT_RECIPIENTS, /* taken, and refused */
	HABIT_REFUSED,	  /* of these, by us or by their receivers */
	HABIT_LIMITED,	  /* messages above a rate */
	HABIT_KINDS
};

struct habits;

/* KEY: SIPHASH_KEY_BYTES. */
struct habits *habits_new(const uint8_t *key, size_t most);
void habits_free(struct habits **h);
size_t habits_count(const struct habits *h);

/* NOW: seconds since 1970. */
void habit_count(struct habits *h, struct text login, enum habit_kind kind, uint32_t count,
		 int64_t now);

/* It sent from ADDRESS (16 bytes). */
void habit_network(struct habits *h, struct text login, const uint8_t *address, int64_t now);

/* True when a sign of CONFIG's takeover block shows; WHY (HABIT_WHY_BYTES) says which. */
bool habit_looks_taken(struct habits *h, struct text login, const struct config *config,
		       int64_t now, char *why);

/* A person says that it was its owner: counted anew, and what it sent today was usual. */
void habit_pardon(struct habits *h, struct text login, int64_t now);

/* All that is known, with its key; and back. False when it is none: H is as new then. */
void habits_encode(const struct habits *h, struct bytes *to);
bool habits_decode(struct habits *h, const void *data, size_t len, int64_t now);

/* What habits_encode() writes at most. */
size_t habits_size_most(size_t most);

#endif
