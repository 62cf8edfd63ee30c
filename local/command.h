/* SPDX-License-Identifier: ISC */
/*
 * Running a command of an alias or a .forward, as its user. Nothing of the mail
 * ever stands in the command: the letter is its standard input, addresses are
 * in its environment, with all but harmless characters made "_".
 */
#ifndef LOCAL_COMMAND_H
#define LOCAL_COMMAND_H

#include "letter.h"
#include "result.h"
#include "user.h"

struct command {
	const char *line;
	const struct user *user;
	const char *folder; /* where it runs */
	struct duration limit;
	bool (*still_wanted)(void *arg); /* false: whoever would hear of it is gone */
};

/* Runs it to its end, and says in R what came of it: its exit code, and what it printed. */
void command_run(const struct command *c, const struct letter *l, struct result *r);

#endif
