/* SPDX-License-Identifier: ISC */
/* Reading and replacing the users file. */
#include "users_file.h"

#include "file.h"
#include "passwd_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool say(const char *path)
{
	ctl_say("%s: %s", path, strerror(errno));
	return false;
}

static bool content_read(struct users_file *file)
{
	int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT || say(file->path);
	file->exists = true;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		errno = EINVAL;
		close(fd);
		return say(file->path);
	}
	do {
		n = read(fd, bytes_room(&file->content, 65536), 65536);
		if (n > 0)
			file->content.end += (size_t)n;
	} while (n > 0 && bytes_len(&file->content) <= PASSWD_FILE_MAX);
	if (n > 0)
		errno = EFBIG;
	close(fd);
	return n == 0 || say(file->path);
}

/* The target of a symbolic link is what is replaced. */
static bool path_find(struct users_file *file, struct text path)
{
	char given[4096];

	if (text_copy(given, sizeof given, path) < path.len) {
		errno = ENAMETOOLONG;
		return say(given);
	}
	char *real = realpath(given, NULL);

	snprintf(file->path, sizeof file->path, "%s", real ? real : given);
	free(real);
	memcpy(file->folder, file->path, sizeof file->folder);
	char *slash = strrchr(file->folder, '/');

	if (slash)
		slash[slash == file->folder ? 1 : 0] = '\0';
	return true;
}

bool users_file_open(struct users_file *file, const struct ctl *ctl, bool lock)
{
	*file = (struct users_file){.folder_fd = -1};
	if (!ctl->config->auth_users.len) {
		ctl_say("%s: no users file is set: auth { users = /etc/veredus/users }",
			ctl->config_path);
		return false;
	}
	if (!path_find(file, ctl->config->auth_users))
		return false;
	if (lock) {
		file->folder_fd = open(file->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (file->folder_fd < 0 || flock(file->folder_fd, LOCK_EX) != 0)
			return say(file->folder);
	}
	return content_read(file);
}

void users_file_close(struct users_file *file)
{
	if (file->folder_fd >= 0)
		close(file->folder_fd);
	file->folder_fd = -1;
	if (file->content.data)
		explicit_bzero(file->content.data, file->content.size);
	bytes_free(&file->content);
}

static bool owner_set(const struct users_file *file, int fd)
{
	const struct passwd *checker;
	struct stat st;

	if (file->exists && stat(file->path, &st) == 0)
		return (st.st_uid == geteuid() && st.st_gid == getegid()) ||
		       fchown(fd, st.st_uid, st.st_gid) == 0;
	if (geteuid() != 0)
		return true;
	checker = getpwnam("veredus-checker");
	return !checker || fchown(fd, checker->pw_uid, checker->pw_gid) == 0;
}

bool users_file_replace(struct users_file *file, const struct bytes *content)
{
	char temporary[sizeof file->path + 16];
	int n = snprintf(temporary, sizeof temporary, "%s.XXXXXX", file->path);
	int fd = n > 0 && (size_t)n < sizeof temporary ? mkostemp(temporary, O_CLOEXEC) : -1;

	if (fd < 0)
		return say(file->folder);
	/* mkostemp() made it 0600: nobody has seen it otherwise. */
	bool done = owner_set(file, fd) && file_write(fd, bytes_at(content), bytes_len(content)) &&
		    fsync(fd) == 0;

	done = close(fd) == 0 && done;
	done = done && rename(temporary, file->path) == 0;
	if (!done) {
		say(file->path);
		unlink(temporary);
		return false;
	}
	return fsync(file->folder_fd) == 0 || say(file->folder);
}
