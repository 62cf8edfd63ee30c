/* SPDX-License-Identifier: ISC */
/* From the configuration file to what daemons get. */
#ifndef MASTER_LOAD_H
#define MASTER_LOAD_H

#include "bytes.h"
#include "config.h"

/*
 * Reads and checks PATH, fills in what only the machine knows (its name) and
 * writes the canonical text to *CANONICAL. Each error and warning goes to
 * SAY as "FILE:LINE:COLUMN: text", and whether it is a mere warning. NULL when something is not.
 */
struct config *load_config(const char *path, struct bytes *canonical,
			   void (*say)(void *arg, const char *line, bool warning), void *arg);

#endif
