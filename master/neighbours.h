/* SPDX-License-Identifier: ISC */
/*
 * Which daemons there are, in the order in which they start, and who talks
 * to whom: the two tables that docs/ shows. A channel exists between two
 * daemons only if a row here says so.
 */
#ifndef MASTER_NEIGHBOURS_H
#define MASTER_NEIGHBOURS_H

#include "config.h"

#include <stdbool.h>
#include <stddef.h>

struct kind_row {
	unsigned kind;
	const char *user; /* system user when started by root */
	unsigned workers; /* 1, or 0: as many as kind_workers() reads from the configuration */
	unsigned handles; /* set of 1 << handle_role: the descriptors it gets */
};

/* Ends with kind 0. */
extern const struct kind_row kind_rows[];

const struct kind_row *kind_row(unsigned kind); /* NULL: master starts no such daemon */
unsigned kind_workers(const struct kind_row *row, const struct config *config);

/* May there be a channel between these two? In either order. */
bool kinds_talk(unsigned a, unsigned b);

#endif
