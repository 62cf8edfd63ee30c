/* SPDX-License-Identifier: ISC */
/*
 * What of an address an envelope's recipient is (envelope.h): a command, a
 * file or a list, and where that must still stand when it is delivered.
 */
#ifndef LOCAL_TARGET_H
#define LOCAL_TARGET_H

#include "alias_list.h"
#include "config_local.h"

enum { TARGET_BYTES = 1001 }; /* of a target with its NUL */

struct target {
	enum local_source from;
	bool forward;	      /* the user's .forward leads to it, else an alias */
	struct text list;     /* the list that it stands in; empty: it stands there itself */
	enum alias_kind kind; /* command, file or list */
	struct text value;    /* as in struct alias_item */
};

/* False: it is none of these. The texts are of T. */
bool target_read(struct text t, struct target *to);

/* What the alias or .forward must say, as a target; TO has TARGET_BYTES. */
struct text target_source(const struct target *t, char *to);

/* ITEM of the file LIST as a target; false: too long. */
bool target_of_list(char *to, bool forward, const char *list, const struct alias_item *item);

#endif
