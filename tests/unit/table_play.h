/* SPDX-License-Identifier: ISC */
/* The process table as a test plays it, and local's channel to it. */
#ifndef TESTS_UNIT_TABLE_PLAY_H
#define TESTS_UNIT_TABLE_PLAY_H

#include "lookup.h"

enum { PLAY_LATER_MAX = 300 };

struct table_play {
	struct loop *loop;
	struct lookups *lookups; /* local's */
	struct channel *asks, *answers;
	/* What stands at KEY in TABLE, into ROOM or anywhere else; NULL: nothing. "!": it can't be
	 * told. */
	const char *(*says)(struct text table, const char *key, char *room, size_t size);
	bool silent; /* what is asked waits in LATER */
	uint32_t asked, later;
	uint64_t queries[PLAY_LATER_MAX];
	char keys[2000]; /* all that were asked for, a blank behind each; the first ones */
};

/* With SAYS set. */
void table_play_begin(struct table_play *p, struct loop *loop);
void table_play_end(struct table_play *p);

/* Table ends. */
void table_play_close(struct table_play *p);

/* Answers all that waits: VALUE stands there. */
void table_play_speak(struct table_play *p, const char *value);

#endif
