/* SPDX-License-Identifier: ISC */
/*
 * What is said of a sender, by the table sender-routes and by sender blocks:
 * at each key from the most exact on (sender_keys) the table is asked, then
 * the blocks. A table that can't be asked, or says what makes no sense, is a failure and no
 * absence.
 */
#ifndef LIB_SENDER_FIND_H
#define LIB_SENDER_FIND_H

#include "config_source.h"
#include "lookup.h"

enum { SENDER_WHY_BYTES = 200 };

struct sender_find;

struct sender_found {
	uint8_t verdict;	     /* enum table_verdict; of a broken entry TABLE_FAILED */
	struct sender_choice choice; /* of TABLE_FOUND; texts of the configuration */
	struct text key;	     /* of TABLE_FOUND, and where it failed */
	bool table;		     /* the table has it, and no block */
	const char *why;	     /* of TABLE_FAILED */
};

/* Texts live until it returns. The find is gone then. */
typedef void sender_done(void *owner, const struct sender_found *found);

/* DONE follows once, perhaps from within: then NULL is returned. CONFIG is held meanwhile. */
struct sender_find *sender_find_start(struct lookups *lookups, const struct config *config,
				      struct text sender, struct text login, sender_done *done,
				      void *owner);
void sender_find_cancel(struct sender_find **find); /* takes NULL, leaves NULL */

/* "source=NAME route=@NAME", one of them or both, as CONFIG has them; else WHY (SENDER_WHY_BYTES)
 * says what is wrong. */
bool sender_words_read(const struct config *config, struct text words, struct sender_choice *to,
		       char *why);

#endif
