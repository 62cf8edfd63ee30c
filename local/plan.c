/* SPDX-License-Identifier: ISC */
/* Whose mailbox it is, and where. */
#include "plan.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART_BYTES = 330 };

struct plan {
	struct order order; /* first: who frees it frees all */
	struct user user;
};

static enum user_found find(const struct config *config, struct text address, bool unprivileged,
			    struct user *u)
{
	char part[PART_BYTES], separators[16];

	if (!user_part(address, part, sizeof part))
		return USER_ABSENT;
	text_copy(separators, sizeof separators, config->local_separators);
	if (text_equals(config->local_separators, "none"))
		separators[0] = '\0';
	enum user_found found = user_find(u, text_of(part), separators);

	return found == USER_FOUND && unprivileged && u->uid != geteuid() ? USER_ABSENT : found;
}

unsigned plan_knows(const struct config *config, struct text address, bool unprivileged)
{
	static struct user u; /* large */

	switch (find(config, address, unprivileged, &u)) {
	case USER_FOUND:
		return TABLE_FOUND;
	case USER_ABSENT:
		return TABLE_ABSENT;
	case USER_FAILED:
		break;
	}
	return TABLE_FAILED;
}

/*
 * Mailboxes in a folder of the system's that a group may write (/var/mail, group mail): the child
 * gets that group as well, for files that are made there, and for their locks.
 */
static gid_t folder_group(const char *path)
{
	char folder[PATH_MAX];
	size_t len = strlen(path);
	struct stat st;

	while (len > 1 && path[len - 1] == '/')
		len--;
	while (len > 1 && path[len - 1] != '/')
		len--;
	text_copy(folder, sizeof folder, (struct text){path, len});
	if (lstat(folder, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != 0 ||
	    !(st.st_mode & S_IWGRP))
		return 0;
	return st.st_gid;
}

static bool settle(struct result *result, const struct recipient *r, enum user_found found)
{
	if (found == USER_ABSENT)
		result_set(result, OUTCOME_FAILED, 550, "5.1.1", "there is no user %.*s here",
			   (int)(r->address.len < 320 ? r->address.len : 320), r->address.data);
	else if (found == USER_FAILED)
		result_set(result, OUTCOME_DEFERRED, 0, "4.3.0",
			   "the users of this machine can't be looked up now");
	return found != USER_FOUND;
}

/* Root's files are worth more than a mailbox: nothing here ever becomes root. */
static void settle_root(struct result *result)
{
	result_set(result, OUTCOME_DEFERRED, 0, "4.2.1",
		   "root has no mailbox: name who reads its mail in the aliases file (root: ann)");
}

struct order *plan_recipient(const struct job *job, const struct recipient *r, const char *host,
			     bool unprivileged, struct result *result)
{
	struct plan *p = mem_new(1, sizeof *p);
	const struct config *config = job->config;

	p->order.letter = (struct letter){.sender = job->sender,
					  .original = r->original,
					  .address = r->address,
					  .prelude = job->prelude,
					  .body = job->body,
					  .fd = job->fd,
					  .body_length = job->body_length,
					  .arrival = job->arrival,
					  .id = job->id,
					  .number = r->number};
	p->order.user = &p->user;
	p->order.host = host;
	p->order.stays = unprivileged;
	if (settle(result, r, find(config, r->address, unprivileged, &p->user)))
		;
	else if (letter_loops(&p->order.letter))
		result_set(result, OUTCOME_FAILED, 554, "5.4.6", "mail forwarding loop for %.*s",
			   (int)(r->address.len < 320 ? r->address.len : 320), r->address.data);
	else if (p->user.uid == 0)
		settle_root(result);
	else if (!user_mailbox(&p->user, config->local_mailbox, job->domain, p->order.path,
			       sizeof p->order.path))
		result_set(result, OUTCOME_DEFERRED, 0, "4.3.5",
			   "the mailbox's path can't be made up from local { mailbox }");
	else {
		if (!unprivileged)
			p->order.folder_group = folder_group(p->order.path);
		return &p->order;
	}
	free(p);
	return NULL;
}
