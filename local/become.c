/* SPDX-License-Identifier: ISC */
/* The change of user, each step checked. */
#include "become.h"

#include <grp.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Between two users who are not root the kernel takes no capability away by itself. */
static bool capabilities_drop(void)
{
	cap_t none = cap_init();
	bool fine = none && cap_set_proc(none) == 0;

	cap_free(none);
	return fine;
}

static bool capabilities_gone(void)
{
	cap_t now = cap_get_proc(), none = cap_init();
	bool gone = now && none && cap_compare(now, none) == 0;

	cap_free(now);
	cap_free(none);
	return gone;
}

const char *become_checked(uid_t uid)
{
	uid_t real, effective, saved;

	if (uid == 0)
		return "it is root";
	if (getresuid(&real, &effective, &saved) != 0 || real != uid || effective != uid ||
	    saved != uid)
		return "the user is another one";
	if (!capabilities_gone())
		return "capabilities are left";
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? NULL : "dumpable";
}

const char *become_user(const struct user *u, gid_t extra)
{
	gid_t groups[USER_GROUPS_MAX + 1];
	size_t count = 0;
	uid_t before = geteuid();

	if (u->uid == 0 || u->gid == 0)
		return "it is root";
	for (int i = 0; i < u->group_count; i++)
		if (u->groups[i]) /* group root would open more than mailboxes */
			groups[count++] = u->groups[i];
	if (extra)
		groups[count++] = extra;
	if (setgroups(count, groups) != 0)
		return "setgroups";
	if (setresgid(u->gid, u->gid, u->gid) != 0)
		return "setresgid";
	if (setresuid(u->uid, u->uid, u->uid) != 0)
		return "setresuid";
	if (!capabilities_drop())
		return "capabilities";
	if (before != u->uid && (setresuid(before, before, before) == 0 || setgid(0) == 0))
		return "there is a way back";
	return become_checked(u->uid);
}
