/* SPDX-License-Identifier: ISC */
/* Owners and modes of postdrop(1) and of the maildrop. */
#include "check_maildrop.h"

#include "drop.h"
#include "program.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_installed(void)
{
	char folder[PATH_MAX], path[PATH_MAX + 32];

	if (!program_folder(folder, sizeof folder))
		return false;
	snprintf(path, sizeof path, "%s/../libexec/veredus/master", folder);
	return access(path, X_OK) == 0;
}

/* Without its right it can leave mail nowhere, with more it could do more. */
static bool check_postdrop(const struct group *group, struct config_errors *errors)
{
	char path[PATH_MAX];
	struct stat st;

	if (!program_beside("postdrop", path, sizeof path) || stat(path, &st) != 0) {
		config_errors_add(errors, false, 0, 0, "%s: %s; run make install", path,
				  strerror(errno));
		return false;
	}
	if (st.st_uid == 0 && st.st_gid == group->gr_gid && (st.st_mode & 07777) == 02755)
		return true;
	config_errors_add(errors, false, 0, 0,
			  "%s has owner %u, group %u and mode %04o; it must be root's, of group "
			  "%s, and 2755: run make install",
			  path, (unsigned)st.st_uid, (unsigned)st.st_gid,
			  (unsigned)(st.st_mode & 07777), DROP_GROUP);
	return false;
}

static bool check_folder(const char *path, const struct group *group, struct config_errors *errors)
{
	const struct passwd *user = getpwnam("veredus-pickup");
	struct stat st;

	/* One that is not there is master's to make. */
	if (!user || lstat(path, &st) != 0)
		return true;
	if (S_ISDIR(st.st_mode) && st.st_uid == user->pw_uid && st.st_gid == group->gr_gid &&
	    (st.st_mode & 07777) == 01730)
		return true;
	config_errors_add(errors, false, 0, 0,
			  "%s has owner %u, group %u and mode %04o; it must be a folder of "
			  "veredus-pickup, of group %s, and 1730",
			  path, (unsigned)st.st_uid, (unsigned)st.st_gid,
			  (unsigned)(st.st_mode & 07777), DROP_GROUP);
	return false;
}

bool check_maildrop(const struct ctl *ctl, struct config_errors *errors)
{
	const struct group *group = getgrnam(DROP_GROUP);
	char path[PATH_MAX];

	if (!is_installed() || geteuid() != 0)
		return true;
	if (!group) {
		config_errors_add(errors, false, 0, 0, "the group %s is missing: run make install",
				  DROP_GROUP);
		return false;
	}
	ctl_path(ctl, DROP_FOLDER, path, sizeof path);
	if (strcmp(path, VEREDUS_SPOOL "/" DROP_FOLDER) != 0)
		config_errors_add(errors, true, 0, 0,
				  "sendmail(1) leaves its mail in %s, where nobody collects it: "
				  "this queue's maildrop is %s",
				  VEREDUS_SPOOL "/" DROP_FOLDER, path);
	bool program = check_postdrop(group, errors);

	return check_folder(path, group, errors) && program;
}
