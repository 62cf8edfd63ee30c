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

enum plan_verdict {
	PLAN_ORDER,   /* *PLAN has what is to be done; its texts live as long as JOB */
	PLAN_SETTLED, /* *RESULT says what becomes of R */
	PLAN_WAITS,   /* for R's answers, whose ready() is called: then it is to be made anew */
};

/* Does R's plan ask the process table? Then R must have answers. */
bool plan_asks(const struct config *config, struct text address);

enum plan_verdict plan_recipient(struct planner *p, const struct job *job,
				 const struct recipient *r, struct plan *plan,
				 struct result *result);

/* Who R's mail is likely to be delivered by, as a number: equal for equal ones. *COMMON: he has
 * the mailboxes of many. */
uint64_t plan_whom(const struct job *job, const struct recipient *r, bool *common);

/* Can there be mail for ADDRESS here? enum table_verdict, to *VERDICT; false: ANSWERS are waited
 * for, as in PLAN_WAITS. They may be NULL if plan_asks() is false. */
bool plan_knows(struct planner *p, const struct config *config, struct answers *answers,
		struct text address, unsigned *verdict);

#endif
