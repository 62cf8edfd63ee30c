/* SPDX-License-Identifier: ISC */
/* Words for the service manager. */
#include "notify.h"

#include "text.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int notify_connect(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd;

	if (len < 2 || len >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@'))
		return -1;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@') /* of the abstract namespace */
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&to,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

void notify_send(const struct notify *n, const char *state)
{
	if (n->fd >= 0)
		(void)!send(n->fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void notify_reloading(const struct notify *n)
{
	char state[96];

	snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)monotime_read().us);
	notify_send(n, state);
}

static void watchdog_fired(void *arg)
{
	struct notify *n = arg;

	notify_send(n, "WATCHDOG=1");
	timer_set(&n->watchdog, n->watchdog_every);
}

void notify_open(struct notify *n, struct loop *loop)
{
	const char *path = getenv("NOTIFY_SOCKET"), *every = getenv("WATCHDOG_USEC"),
		   *pid = getenv("WATCHDOG_PID");
	uint64_t us = 0, watched = 0;

	*n = (struct notify){.loop = loop, .fd = path ? notify_connect(path) : -1};
	timer_init(&n->watchdog, loop, watchdog_fired, n);
	if (n->fd < 0 || !text_number(text_of(every), INT64_MAX, &us) || us == 0)
		return;
	if (pid &&
	    (!text_number(text_of(pid), INT32_MAX, &watched) || watched != (uint64_t)getpid()))
		return;
	n->watchdog_every = (struct duration){(int64_t)us / 2};
	timer_set(&n->watchdog, n->watchdog_every);
}
