/* SPDX-License-Identifier: ISC */
/*
 * The users of this machine, as the system knows them (getpwnam). A name is
 * looked up in lower case; of ann+lists, when nobody is called that, what
 * stands before the separator counts.
 */
#ifndef LOCAL_USER_H
#define LOCAL_USER_H

#include "config.h"

#include <limits.h>
#include <sys/types.h>

enum { USER_NAME_MAX = 64, USER_GROUPS_MAX = 1024 };

enum user_found {
	USER_FOUND,
	USER_ABSENT,
	USER_FAILED, /* not known now: the user database can't be asked */
};

struct user {
	char name[USER_NAME_MAX + 1];
	char home[PATH_MAX];
	uid_t uid;
	gid_t gid;
	gid_t groups[USER_GROUPS_MAX];
	int group_count;
};

/* LOCAL is a local part without quotes, whose tag, as CONFIG has it, may be left out; NULL: whole.
 */
enum user_found user_find(struct user *u, struct text local, const struct config *config);

/* The local part of ADDRESS in lower case and without quotes, to TO; false: too long to be a name.
 */
bool user_part(struct text address, char *to, size_t size);

/*
 * Where in the local part NAME the user's name ends and the tag's separator stands; its length:
 * there is none. owner-ann and ann-request are no tags, though "-" be a separator: mail for a
 * list's owner must not come to owner, and a request not to the list.
 */
size_t user_end(const struct config *config, struct text name);

/*
 * The folder of a Maildir that ADDRESS' tag is the name of, ".lists" of ann+lists; false: it has
 * none, or one that is no name of a folder.
 */
bool user_folder(const struct config *config, struct text address, char *to, size_t size);

/* Where PATTERN (config.h, local_mailbox) says that the user's mailbox is, of mail for DOMAIN.
 * False: too long, or the domain is no name of a folder. */
bool user_mailbox(const struct user *u, struct text pattern, struct text domain, char *to,
		  size_t size);

#endif
