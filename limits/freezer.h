/* SPDX-License-Identifier: ISC */
/*
 * The logins that are frozen, by name, and those that looked taken over
 * within a day and were only told of: each with the reason and since when.
 * Bounded: FROZEN_MOST of both, and so many new ones an hour.
 */
#ifndef LIMITS_FREEZER_H
#define LIMITS_FREEZER_H

#include "bytes.h"
#include "message.h"

enum { FREEZER_LOGIN_BYTES = 256, FREEZER_WHY_BYTES = 201, FREEZER_TOLD_S = 86400 };

struct frozen_entry {
	char login[FREEZER_LOGIN_BYTES], why[FREEZER_WHY_BYTES];
	int64_t since_us; /* since 1970 */
	bool frozen;	  /* else only told of */
	bool told;	  /* the postmaster has his mail, or needs none */
};

struct freezer;

struct freezer *freezer_new(void);
void freezer_free(struct freezer **f);

/* What there is of LOGIN, in any case of letters; NULL: nothing. Valid until the next change. */
struct frozen_entry *freezer_find(struct freezer *f, struct text login);

enum freezer_result {
	FREEZER_ADDED,
	FREEZER_KNOWN, /* nothing changed */
	FREEZER_HASTY, /* MOST within the last hour: not added */
	FREEZER_FULL,  /* not added */
};

/*
 * One more, or one that was told of and is frozen now. MOST: how many are added
 * in an hour (0: a person asks, who is not bound by it). When all is full the
 * oldest that is not frozen makes room.
 */
enum freezer_result freezer_add(struct freezer *f, struct text login, struct text why, bool frozen,
				uint64_t most, int64_t now_us);

/* False: it is not there. */
bool freezer_remove(struct freezer *f, struct text login);

/* Forgets those that were told of a day ago; true when there were some. */
bool freezer_expire(struct freezer *f, int64_t now_us);

/* The first that the postmaster was not told of; NULL: none. */
struct frozen_entry *freezer_untold(struct freezer *f);

size_t freezer_count(const struct freezer *f);

/* As the neighbours are told: rec_frozen_login each, appended to TO. */
struct wire_list freezer_list(const struct freezer *f, struct bytes *to);

/* On disk, and back; false when it is none: nothing is there then. */
void freezer_encode(const struct freezer *f, struct bytes *to);
bool freezer_decode(struct freezer *f, const void *data, size_t len);

enum { FREEZER_BYTES_MOST = 1 << 20 };

#endif
