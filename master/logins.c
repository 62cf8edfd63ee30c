/* SPDX-License-Identifier: ISC */
/* Opening the checker's backend. */
#include "logins.h"

#include "places.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

unsigned logins_role(const struct config *config)
{
	if (config->auth_users.len)
		return HANDLE_USERS;
	return config->auth_dovecot.len ? HANDLE_DOVECOT : 0;
}

static int users_open(const char *path)
{
	/* A FIFO in its place must not stop us. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		errno = EINVAL;
		fd = -1;
	}
	return fd;
}

static int dovecot_open(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof to.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(to.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
		int error = errno;

		close(fd);
		errno = error;
		fd = -1;
	}
	return fd;
}

int logins_open(const struct config *config, unsigned role, char *why)
{
	char path[4096];
	int fd;

	text_copy(path, sizeof path,
		  role == HANDLE_USERS ? config->auth_users : config->auth_dovecot);
	fd = role == HANDLE_USERS ? users_open(path) : dovecot_open(path);
	if (fd < 0)
		snprintf(why, WHY_BYTES, "%s: %s", path,
			 errno == EINVAL ? "not a regular file" : strerror(errno));
	return fd;
}
