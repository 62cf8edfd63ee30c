/* SPDX-License-Identifier: ISC */
/*
 * Questions of smtpd and submission whether there is a user (user_ask). Most
 * are answered at once; those whose answer the process table has are kept until
 * it comes, or whoever asked is gone.
 */
#ifndef LOCAL_INQUIRIES_H
#define LOCAL_INQUIRIES_H

#include "channel.h"
#include "plan.h"

enum { INQUIRIES_MAX = 4096 }; /* at once; one more is TABLE_FAILED */

struct inquiry;

/* PLANNER and TABLE are set. */
struct inquiries {
	struct planner *planner;
	struct lookups *table;
	struct inquiry *first;
	uint32_t count;
};

/* Answers M to FROM, now or later. */
void inquiries_ask(struct inquiries *all, struct config *config, struct channel *from,
		   const struct msg_user_ask *m);

/* FROM is gone. */
void inquiries_forget(struct inquiries *all, const struct channel *from);

#endif
