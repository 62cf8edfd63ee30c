/* SPDX-License-Identifier: ISC */
/* Opening what the checker needs. */
#include "logins.h"

#include "places.h"
#include "route_login.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { CHECKER_KEY_BYTES = 32 };

/* Of the login with that number. Tokens that came later lie beside the queue, by the route's own
 * name for what it logs in with. */
static struct text relay_name(const struct config *config, unsigned role, unsigned index)
{
	static char state[ROUTE_STATE_BYTES];
	const struct config_route *r = route_login_at(config, index);

	if (!r)
		return (struct text){NULL, 0};
	switch (role) {
	case HANDLE_RELAY_PASSWORD:
		return r->password_file;
	case HANDLE_RELAY_CLIENT_SECRET:
		return r->client_secret_file;
	case HANDLE_RELAY_REFRESH_TOKEN:
		return r->refresh_token_file;
	default:
		return r->refresh_token_file.len ? text_of(route_state_name(r, state))
						 : (struct text){NULL, 0};
	}
}

bool logins_need(const struct config *config, unsigned role, unsigned index)
{
	/* Where names that do not exist are given salts. */
	if (role == HANDLE_CHECKER_KEY)
		return config->auth_users.len > 0;
	return logins_name(config, role, index).len > 0;
}

struct text logins_name(const struct config *config, unsigned role, unsigned index)
{
	switch (role) {
	case HANDLE_USERS:
		return config->auth_users;
	case HANDLE_DOVECOT:
		return config->auth_dovecot;
	case HANDLE_TOKEN_SECRET:
		return config->auth_introspection.len ? config->auth_introspection_secret
						      : (struct text){NULL, 0};
	case HANDLE_CHECKER_KEY:
		return text_of("checker.key");
	case HANDLE_RELAY_PASSWORD:
	case HANDLE_RELAY_CLIENT_SECRET:
	case HANDLE_RELAY_REFRESH_TOKEN:
	case HANDLE_RELAY_STATE:
		return relay_name(config, role, index);
	default:
		return (struct text){NULL, 0};
	}
}

static int file_open(const char *path)
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

/* A crash leaves a whole key or none: it comes by a new name. */
static int key_make(int folder)
{
	uint8_t key[CHECKER_KEY_BYTES];
	int fd = openat(folder, "checker.key.new",
			O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool made;

	if (fd < 0)
		return -1;
	made = getrandom(key, sizeof key, 0) == (ssize_t)sizeof key &&
	       write(fd, key, sizeof key) == (ssize_t)sizeof key && fsync(fd) == 0 &&
	       renameat(folder, "checker.key.new", folder, "checker.key") == 0;
	explicit_bzero(key, sizeof key);
	close(fd);
	return made ? openat(folder, "checker.key", O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
}

static int key_open(const struct config *config, char *path)
{
	text_copy(path, PATH_MAX, config->queue);
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, error;
	struct stat st;

	if (folder < 0)
		return -1;
	fd = openat(folder, "checker.key", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd >= 0 && (fstat(fd, &st) != 0 || st.st_size != CHECKER_KEY_BYTES)) {
		close(fd);
		fd = -1;
		errno = ENOENT;
	}
	if (fd < 0 && errno == ENOENT)
		fd = key_make(folder);
	error = errno;
	close(folder);
	errno = error;
	strncat(path, "/checker.key", PATH_MAX - strlen(path) - 1);
	return fd;
}

/* NAME, in the queue's folder, to be read and written. */
static int state_open(const struct config *config, char *path)
{
	char name[ROUTE_STATE_BYTES];
	int folder, fd, error;

	text_copy(name, sizeof name, text_of(path));
	text_copy(path, PATH_MAX, config->queue);
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return -1;
	fd = openat(folder, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	error = errno;
	close(folder);
	errno = error;
	strncat(path, "/", PATH_MAX - strlen(path) - 1);
	strncat(path, name, PATH_MAX - strlen(path) - 1);
	return fd;
}

int logins_open(const struct config *config, unsigned role, unsigned index, char *why)
{
	char path[PATH_MAX];
	int fd;

	text_copy(path, sizeof path, logins_name(config, role, index));
	if (role == HANDLE_CHECKER_KEY)
		fd = key_open(config, path);
	else if (role == HANDLE_RELAY_STATE)
		fd = state_open(config, path);
	else
		fd = role == HANDLE_DOVECOT ? dovecot_open(path) : file_open(path);
	if (fd < 0)
		snprintf(why, WHY_BYTES, "%s: %s", path,
			 errno == EINVAL ? "not a regular file" : strerror(errno));
	return fd;
}
