/* SPDX-License-Identifier: ISC */
/* Connecting to mail stores. */
#include "sockets.h"

#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_named(const struct config *config, struct text path)
{
	for (size_t i = 0; i < config->route_count; i++)
		if (config->routes[i].kind == ROUTE_HOP && config->routes[i].how == HOP_LMTP_UNIX &&
		    text_equal(config->routes[i].target, path))
			return true;
	return false;
}

/* Non-blocking: a server that does not accept must not hold us up (EAGAIN). */
static int connect_to(struct text path, int *error)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	text_copy(to.sun_path, sizeof to.sun_path, path);
	*error = fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ? errno : 0;
	if (!*error)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

void sockets_connect(struct child *child, struct text path)
{
	/* One that a reload took away: the daemon will hear of that. */
	int error = ENOENT;
	int fd = is_named(child->master->config, path) ? connect_to(path, &error) : -1;

	if (fd < 0)
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		child_post(child, MSG_handle,
			   &(struct msg_handle){HANDLE_LMTP_SOCKET, (uint16_t)error, path}, fd);
}
