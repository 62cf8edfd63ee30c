/* SPDX-License-Identifier: ISC */
/* What is to be done for a recipient: known at once, or an order for a child. */
#ifndef LOCAL_PLAN_H
#define LOCAL_PLAN_H

#include "alias_file.h"
#include "child.h"
#include "job.h"
#include "target.h"
#include "users.h"
#include "virtual.h"

struct planner {
	struct alias_file aliases;
	struct table_files tables;
	struct users users;
	char host[256];	   /* our own name */
	bool unprivileged; /* we can be nobody but who we are */
};

/* An order, with whom it makes a child become. */
struct plan {
	struct order order;
	struct user user;
	struct target target;
	struct virtual_found found;
	char source[TARGET_BYTES]; /* what the alias or .forward must say */
};

/*
 * What is to be done, to *PLAN, whose texts live as long as JOB; or false, and *RESULT says what
 * becomes of R.
 */
bool plan_recipient(struct planner *p, const struct job *job, const struct recipient *r,
		    struct plan *plan, struct result *result);

/* Who R's mail is likely to be delivered by, as a number: equal for equal ones. *COMMON: he has
 * the mailboxes of many. */
uint64_t plan_whom(const struct job *job, const struct recipient *r, bool *common);

/* Can there be mail for ADDRESS here? enum table_verdict. */
unsigned plan_knows(struct planner *p, const struct config *config, struct text address);

#endif
