/* SPDX-License-Identifier: ISC */
/* What is to be done for a recipient: known at once, or an order for a child. */
#ifndef LOCAL_PLAN_H
#define LOCAL_PLAN_H

#include "job.h"

/*
 * An order, which the caller frees, and whose texts live as long as JOB; or NULL, and *RESULT says
 * what becomes of R. HOST is our own name. UNPRIVILEGED: we can be nobody but who we are.
 */
struct order *plan_recipient(const struct job *job, const struct recipient *r, const char *host,
			     bool unprivileged, struct result *result);

/* Can there be mail for ADDRESS here? enum table_verdict. */
unsigned plan_knows(const struct config *config, struct text address, bool unprivileged);

#endif
