/* SPDX-License-Identifier: ISC */
/* Folders, lock, log and users. */
#include "places.h"

#include "drop.h"
#include "neighbours.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

bool places_check_users(char *why)
{
	size_t out = 0;

	for (const struct kind_row *row = kind_rows; row->kind; row++) {
		if (getpwnam(row->user))
			continue;
		int n = snprintf(why + out, WHY_BYTES - out, "%s%s",
				 out ? " " : "users missing: ", row->user);

		if (n > 0 && (size_t)n < WHY_BYTES - out)
			out += (size_t)n;
	}
	if (!getgrnam(DROP_GROUP) && out < WHY_BYTES / 2)
		out += (size_t)snprintf(why + out, WHY_BYTES - out, "%s",
					out ? " and the group " DROP_GROUP
					    : "group missing: " DROP_GROUP);
	if (out)
		snprintf(why + out, WHY_BYTES - out, "; run make install");
	return out == 0;
}

/* -- folders ---------------------------------------------------------------------- */

static const struct place {
	const char *name;
	const char *user;  /* NULL: root */
	const char *group; /* NULL: the user's */
	mode_t mode;
} places[] = {
    {"queue", "veredus-qmgr", NULL, 0700},
    {"empty", NULL, NULL, 0555},
    {"limits", "veredus-limits", NULL, 0700},
    {"fetcher", "veredus-fetcher", NULL, 0700},
    {"history", "veredus-logger", NULL, 0700},
    /* Who has the group creates files there; nobody reads their names, or removes another's. */
    {DROP_FOLDER, "veredus-pickup", DROP_GROUP, 01730},
};

static bool place_fail(const char *path, const char *what, char *why)
{
	snprintf(why, WHY_BYTES, "%s: %s", path, what);
	return false;
}

/* DIR is open; a folder that was just made gets its owner, an old one must have it. */
static bool place_own(int dir, const struct place *place, bool made, const char *path, char *why)
{
	const struct passwd *user = place->user ? getpwnam(place->user) : NULL;
	uid_t uid = user ? user->pw_uid : 0;
	const struct group *group = place->group ? getgrnam(place->group) : NULL;
	gid_t gid = group ? group->gr_gid : user ? user->pw_gid : 0;
	struct stat st;

	if (fstat(dir, &st) != 0)
		return place_fail(path, strerror(errno), why);
	if (made && fchown(dir, uid, gid) != 0)
		return place_fail(path, strerror(errno), why);
	if (!made && st.st_uid != uid) {
		snprintf(why, WHY_BYTES, "%s belongs to uid %u and not to %s; give it to %s", path,
			 (unsigned)st.st_uid, user ? place->user : "root",
			 user ? place->user : "root");
		return false;
	}
	if (group && st.st_gid != gid && !made && fchown(dir, uid, gid) != 0)
		return place_fail(path, strerror(errno), why);
	return true;
}

static bool place_make(int queue, const char *folder, const struct place *place, bool unprivileged,
		       char *why)
{
	char path[PATH_MAX];
	bool made = mkdirat(queue, place->name, 0700) == 0, fine;
	int dir;

	snprintf(path, sizeof path, "%s/%s", folder, place->name);
	if (!made && errno != EEXIST)
		return place_fail(path, strerror(errno), why);
	dir = openat(queue, place->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return place_fail(path, strerror(errno), why);
	fine = unprivileged || place_own(dir, place, made, path, why);
	/* An ordinary user's group may have others in it. */
	if (fine && fchmod(dir, unprivileged && place->group ? 0700 : place->mode) != 0)
		fine = place_fail(path, strerror(errno), why);
	close(dir);
	return fine;
}

bool places_make(const struct config *config, bool unprivileged, char *why)
{
	char folder[PATH_MAX - 16];
	bool fine = true;
	int queue;

	if (text_copy(folder, sizeof folder, config->queue) < config->queue.len)
		return place_fail("queue", "the path is too long", why);
	/* Others pass through to the control socket; what is in the folders is not theirs to see.
	 */
	bool made = mkdir(folder, 0755) == 0;

	if (!made && errno != EEXIST)
		return place_fail(folder, strerror(errno), why);
	queue = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (queue < 0)
		return place_fail(folder, strerror(errno), why);
	if (made && fchmod(queue, 0755) != 0)
		fine = place_fail(folder, strerror(errno), why);
	for (size_t i = 0; fine && i < sizeof places / sizeof *places; i++)
		fine = place_make(queue, folder, &places[i], unprivileged, why);
	close(queue);
	return fine;
}

/* -- lock ---------------------------------------------------------------------------- */

static int lock_busy(int fd, const char *path, char *why)
{
	char pid[16] = "";
	ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
	uint64_t number = 0;

	for (ssize_t i = 0; i < n; i++)
		if (pid[i] == '\n')
			pid[i] = '\0';
	if (n > 0 && text_number(text_of(pid), INT32_MAX, &number))
		snprintf(why, WHY_BYTES, "%s: Veredus runs already on this queue, with pid %llu",
			 path, (unsigned long long)number);
	else
		snprintf(why, WHY_BYTES, "%s: Veredus runs already on this queue", path);
	close(fd);
	return -1;
}

int places_lock(const struct config *config, char *why)
{
	char path[PATH_MAX], pid[16];
	int n =
	    snprintf(path, sizeof path, "%.*s/lock", (int)config->queue.len, config->queue.data);
	int fd = n > 0 && (size_t)n < sizeof path
		     ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)
		     : -1;

	if (fd < 0) {
		place_fail(path, strerror(errno), why);
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return lock_busy(fd, path, why);
	n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
	if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
		place_fail(path, strerror(errno), why);
		close(fd);
		return -1;
	}
	return fd;
}

/* -- log and history --------------------------------------------------------------------- */

static int log_socket(const char *path, char *why)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	snprintf(why, WHY_BYTES, "log: %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

int places_open_log(const struct config *config, char *why)
{
	char path[PATH_MAX];
	int fd;

	if (text_equals(config->log, "syslog"))
		return log_socket("/dev/log", why);
	if (text_equals(config->log, "journal"))
		return log_socket("/run/systemd/journal/socket", why);
	text_copy(path, sizeof path, config->log);
	if (text_equals(config->log, "stdout"))
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 4);
	else if (text_equals(config->log, "none"))
		fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	else
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	if (fd < 0)
		snprintf(why, WHY_BYTES, "log: %s: %s", path, strerror(errno));
	return fd;
}

int places_open_history(const struct config *config, char *why)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof path, "%.*s/history", (int)config->queue.len, config->queue.data);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		snprintf(why, WHY_BYTES, "%s: %s", path, strerror(errno));
	return fd;
}
