/* SPDX-License-Identifier: ISC */
/*
 * Good passwords of the last minutes, so that a program that logs in for
 * every message costs one hash and not one each. What is kept is a keyed
 * hash of the user's whole line and the password: a changed line is another
 * user. Fixed in size; the key is fresh at each start.
 */
#ifndef CHECKER_MEMORY_H
#define CHECKER_MEMORY_H

#include "clock.h"
#include "text.h"

#include <stdbool.h>

struct memory;

struct memory *memory_new(void);
void memory_free(struct memory **m);

bool memory_has(const struct memory *m, struct monotime now, struct text line,
		struct text password);
void memory_keep(struct memory *m, struct monotime now, struct duration how_long, struct text line,
		 struct text password);

#endif
