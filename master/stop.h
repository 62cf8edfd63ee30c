/* SPDX-License-Identifier: ISC */
/*
 * Ending: those who take mail in are drained first, then those who deliver,
 * then the queue, and the log last, each stage within its limit.
 */
#ifndef MASTER_STOP_H
#define MASTER_STOP_H

#include "child.h"

/* SIGTERM, SIGINT: begins; when it has begun already, hurries. */
void stop_begin(void *master);

void stop_child_drained(struct child *child);
void stop_child_gone(struct child *child, int status);

#endif
