/* SPDX-License-Identifier: ISC */
/*
 * Opening tables for the table process, which can open nothing: it asks when
 * it wants to know whether a file has changed, and gets the file that stands
 * under that name now.
 */
#ifndef MASTER_TABLES_OPEN_H
#define MASTER_TABLES_OPEN_H

#include "child.h"

/* False: the configuration names no such table. */
bool tables_open(struct child *child, struct text table);

#endif
