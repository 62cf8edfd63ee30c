/* SPDX-License-Identifier: ISC */
/*
 * Frozen logins as this command sees them: qmgr knows which ones, has limits
 * freeze and release them, and acts on their mail.
 */
#ifndef CTL_FROZEN_LOGINS_H
#define CTL_FROZEN_LOGINS_H

#include "control.h"

#include <jansson.h>

/* What is known of a login; texts live as long as the list. */
struct frozen_row {
	char login[256], why[201];
	struct walltime since;
	bool frozen; /* else it only looked taken over */
};

struct frozen_rows {
	struct frozen_row *items; /* owned */
	size_t count;
	bool known; /* false: qmgr can't be asked, or has not heard of limits yet */
};

/* Says nothing when it can't be asked. Frees with frozen_rows_free(). */
void frozen_rows_read(const struct ctl *ctl, struct frozen_rows *rows);
/* The same over a connection that is there. */
bool frozen_rows_ask(struct control *control, struct frozen_rows *rows);
void frozen_rows_free(struct frozen_rows *rows);

/* NULL: nothing is known of it. */
const struct frozen_row *frozen_rows_find(const struct frozen_rows *rows, struct text login);

/* "frozen since 2026-11-22T05:00:00+00:00: REASON" into TO. */
void frozen_row_say(const struct frozen_row *row, char *to, size_t size);

/* Adds frozen, suspect, why and since to a user's row. */
void frozen_row_json(const struct frozen_row *row, json_t *to);

/* The verbs of veredus user. */
int user_freeze_verb(struct ctl *ctl);
int user_release_verb(struct ctl *ctl);
int user_purge_verb(struct ctl *ctl);

#endif
