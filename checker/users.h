/* SPDX-License-Identifier: ISC */
/*
 * The users file in memory: its bytes, and an index of names. A user is read
 * from his line when he is asked for (passwd_file.h).
 */
#ifndef CHECKER_USERS_H
#define CHECKER_USERS_H

#include "passwd_file.h"

struct users;

/* Each broken or doubled line goes to SAY, with its number. CONTENT is taken over. */
struct users *users_new(struct bytes *content,
			void (*say)(void *arg, unsigned line, const char *why), void *arg);
void users_free(struct users **users);

size_t users_count(const struct users *users);

/* Those who can do SCRAM: all, when it is equal to users_count(). */
size_t users_scram(const struct users *users);

/* False: there is none of that name. LINE is the whole line. Both live as long as USERS. */
bool users_find(const struct users *users, struct text name, struct passwd_user *user,
		struct text *line);

/*
 * What stored passwords look like, in general: a user whose hash costs what
 * NUMBER's would, picked so that each kind of hash has its users' share of all
 * numbers. Adding or removing a user changes few numbers' picks. False: there is none.
 */
bool users_like(const struct users *users, uint64_t number, struct passwd_user *user);

#endif
