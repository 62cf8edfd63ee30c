/* SPDX-License-Identifier: ISC */
/* The verbs below veredus queue; the configuration is loaded, words begin behind the verb. */
#ifndef CTL_QUEUE_VERBS_H
#define CTL_QUEUE_VERBS_H

#include "ctl.h"
#include "print.h"
#include "view.h"

int queue_list_verb(struct ctl *ctl);
int queue_shape_verb(struct ctl *ctl);
int queue_show_verb(struct ctl *ctl);
int queue_cat_verb(struct ctl *ctl);
int queue_hold_verb(struct ctl *ctl);
int queue_release_verb(struct ctl *ctl);
int queue_requeue_verb(struct ctl *ctl);
int queue_flush_verb(struct ctl *ctl);
int queue_delete_verb(struct ctl *ctl);
int queue_bounce_verb(struct ctl *ctl);
int queue_export_verb(struct ctl *ctl);
int queue_import_verb(struct ctl *ctl);
int queue_check_verb(struct ctl *ctl);

/* Reads the words from the FROMth on as a filter; false after saying what is wrong. */
bool queue_filter(const struct ctl *ctl, int from, struct filter *filter);

/* The filter that is one ID; false after saying that WORD is none. */
bool queue_filter_id(const char *word, struct filter *filter);

/* "ready", "deferred", "hold": Postfix's queue names for a message. */
const char *queue_name_of(const struct hit *hit);

/* When it is tried next, in seconds since 1970; 0: now, or never. */
uint64_t next_attempt(const struct hit_recipient *r);

/* All queued mail of a signed-in login: ACTION_RELEASE lets go on what is held since the login was
 * frozen or above its rate; ACTION_DELETE deletes all of it. Prints counts; an exit status. */
int queue_act_on_login(struct ctl *ctl, const char *login, enum queue_action action);

#endif
