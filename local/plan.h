/* SPDX-License-Identifier: ISC */
/* What is to be done for a recipient: known at once, or an order for a child. */
#ifndef LOCAL_PLAN_H
#define LOCAL_PLAN_H

#include "alias_file.h"
#include "job.h"
#include "users.h"
#include "virtual.h"

struct planner {
	struct alias_file aliases;
	struct virtuals virtuals;
	struct users users;
	char host[256];	   /* our own name */
	bool unprivileged; /* we can be nobody but who we are */
};

/*
 * An order, which the caller frees, and whose texts live as long as JOB; or NULL, and *RESULT says
 * what becomes of R.
 */
struct order *plan_recipient(struct planner *p, const struct job *job, const struct recipient *r,
			     struct result *result);

/* Can there be mail for ADDRESS here? enum table_verdict. */
unsigned plan_knows(struct planner *p, const struct config *config, struct text address);

#endif
