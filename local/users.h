/* SPDX-License-Identifier: ISC */
/*
 * Users that were found a moment ago. The system's database is read anew for
 * each question (files from their beginning, for the groups perhaps hundreds
 * of system calls, or a server somewhere), and a mail asks at RCPT and when it
 * is delivered. What is remembered is ten seconds old at most, is forgotten when
 * /etc/passwd or /etc/group change, and is never that somebody is not there.
 */
#ifndef LOCAL_USERS_H
#define LOCAL_USERS_H

#include "clock.h"
#include "user.h"

#include <sys/stat.h>

enum { USERS_SETS = 128, USERS_EACH = 4 };

struct users_entry;

/* All zeros is an empty one. */
struct users {
	struct stat passwd, group; /* as they were */
	/* By a hash of what was asked. */
	struct users_entry *entries[USERS_SETS][USERS_EACH];
};

/* Who was found, of late, when NAME was asked for in the way that HOW stands for? */
bool users_recall(struct users *all, char how, struct text name, struct user *u);
void users_keep(struct users *all, char how, struct text name, const struct user *u);
void users_free(struct users *all);

#endif
