/* SPDX-License-Identifier: ISC */
/* Binding, keeping and closing of listening sockets. */
#include "listeners.h"

#include "drop.h"
#include "must.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096, LISTEN_FDS_START = 3, UNIX_LISTENERS = 2 };

union socket_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_storage storage;
};

/* -- addresses --------------------------------------------------------------------- */

static void endpoint_print(const struct endpoint *e, char *to, size_t size)
{
	char address[46];

	if (e->any)
		snprintf(to, size, "*:%u", e->port);
	else
		snprintf(to, size, host_address_is_ipv4(e->address) ? "%s:%u" : "[%s]:%u",
			 host_address_print(e->address, address), e->port);
}

static socklen_t address_of(const struct endpoint *e, bool ipv4, union socket_address *to)
{
	memset(to, 0, sizeof *to);
	if (ipv4) {
		to->v4.sin_family = AF_INET;
		to->v4.sin_port = htons(e->port);
		if (!e->any)
			memcpy(&to->v4.sin_addr, e->address + 12, 4);
		return sizeof to->v4;
	}
	to->v6.sin6_family = AF_INET6;
	to->v6.sin6_port = htons(e->port);
	if (!e->any)
		memcpy(&to->v6.sin6_addr, e->address, 16);
	return sizeof to->v6;
}

/* What an inherited socket is bound to. */
static bool socket_endpoint(int fd, struct endpoint *e)
{
	union socket_address a;
	socklen_t len = sizeof a;
	static const uint8_t zero[16];

	memset(&a, 0, sizeof a);
	*e = (struct endpoint){0};
	if (getsockname(fd, &a.any, &len) != 0 || !host_address_of(&a.any, e->address))
		return false;
	bool ipv4 = a.any.sa_family == AF_INET;

	e->any = memcmp(e->address + (ipv4 ? 12 : 0), zero, ipv4 ? 4 : 16) == 0;
	e->port = ntohs(ipv4 ? a.v4.sin_port : a.v6.sin6_port);
	return true;
}

static bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && a->any == b->any &&
	       (a->any || memcmp(a->address, b->address, 16) == 0);
}

/* -- sockets ------------------------------------------------------------------------- */

static int listener_bind(const struct endpoint *e, bool ipv4)
{
	static const int on = 1, off = 0;
	union socket_address a;
	socklen_t len = address_of(e, ipv4, &a);
	int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (!ipv4)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, e->any ? &off : &on, sizeof on);
	if (bind(fd, &a.any, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static int listener_open(const struct endpoint *e)
{
	if (!e->any)
		return listener_bind(e, host_address_is_ipv4(e->address));
	/* One socket for both families; IPv4 alone where there is no IPv6. */
	int fd = listener_bind(e, false);

	if (fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL || errno == EPROTONOSUPPORT))
		fd = listener_bind(e, true);
	return fd;
}

static int inherited_take(struct listeners *all, const struct endpoint *wanted)
{
	for (size_t i = 0; i < all->inherited_count; i++) {
		struct endpoint e;
		int fd = all->inherited[i];

		if (!socket_endpoint(fd, &e) || !endpoint_equal(&e, wanted))
			continue;
		all->inherited[i] = all->inherited[--all->inherited_count];
		return fd;
	}
	return -1;
}

static unsigned long env_number(const char *name, unsigned long max)
{
	const char *value = getenv(name);
	uint64_t n = 0;

	return value && text_number(text_of(value), max, &n) ? (unsigned long)n : 0;
}

void listeners_inherit(struct listeners *all)
{
	unsigned long count = env_number("LISTEN_FDS", INHERITED_MAX);
	int is_listening;
	socklen_t len;

	if (env_number("LISTEN_PID", INT32_MAX) != (unsigned long)getpid())
		count = 0;
	for (int fd = LISTEN_FDS_START; fd < LISTEN_FDS_START + (int)count; fd++) {
		len = sizeof is_listening;
		is_listening = 0;
		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) != 0 ||
		    !is_listening)
			continue;
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		fcntl(fd, F_SETFL, O_NONBLOCK);
		all->inherited[all->inherited_count++] = fd;
	}
}

size_t listeners_close_unmatched(struct listeners *all)
{
	size_t count = all->inherited_count;

	while (all->inherited_count)
		close(all->inherited[--all->inherited_count]);
	return count;
}

/* -- the set --------------------------------------------------------------------------- */

/* One that no listen block names, and that no reload changes. */
static bool is_unix(const struct listener *l)
{
	return l->role == HANDLE_LISTEN_CONTROL || l->role == HANDLE_LISTEN_HATCH;
}

static const struct listener *listener_find(const struct listeners *all, const struct endpoint *e)
{
	for (size_t i = 0; i < all->count; i++)
		if (!is_unix(&all->at[i]) && endpoint_equal(&all->at[i].address, e))
			return &all->at[i];
	return NULL;
}

static const char *bind_hint(int error)
{
	switch (error) {
	case EACCES:
		return " (ports below 1024 are root's)";
	case EADDRINUSE:
		return " (another server, or another Veredus, has it)";
	case EADDRNOTAVAIL:
		return " (no interface has this address)";
	default:
		return "";
	}
}

/* One address of a listen block: kept from OLD, inherited, or bound. */
static bool listener_add(struct listeners *next, struct listeners *old, const struct endpoint *e,
			 enum handle_role role, unsigned index, char *why, size_t size)
{
	const struct listener *kept = listener_find(old, e);
	struct listener *l = &next->at[next->count];

	if (next->count == LISTENERS_MAX - UNIX_LISTENERS) {
		snprintf(why, size, "more than %d listen addresses",
			 LISTENERS_MAX - UNIX_LISTENERS);
		return false;
	}
	*l = (struct listener){.address = *e, .role = role, .index = index};
	endpoint_print(e, l->name, sizeof l->name);
	if (listener_find(next, e)) {
		snprintf(why, size, "two listen blocks have the address %s", l->name);
		return false;
	}
	l->fd = kept ? kept->fd : inherited_take(old, e);
	if (l->fd < 0)
		l->fd = listener_open(e);
	if (l->fd < 0) {
		snprintf(why, size, "cannot listen on %s: %s%s", l->name, strerror(errno),
			 bind_hint(errno));
		return false;
	}
	next->count++;
	return true;
}

/* Closes what A has and B has not. */
static void listeners_close_others(const struct listeners *a, const struct listeners *b)
{
	for (size_t i = 0; i < a->count; i++)
		if (!is_unix(&a->at[i]) && !listener_find(b, &a->at[i].address))
			close(a->at[i].fd);
}

static void listeners_keep_unix(struct listeners *next, const struct listeners *old)
{
	for (size_t i = 0; i < old->count; i++)
		if (is_unix(&old->at[i]))
			next->at[next->count++] = old->at[i];
}

bool listeners_apply(struct listeners *all, const struct config *config, char *why, size_t size)
{
	static struct listeners next; /* too large for the stack; empty between calls */
	bool fine = true;

	next.count = 0;
	for (size_t i = 0; fine && i < config->listen_count; i++) {
		const struct config_listen *block = &config->listens[i];

		for (size_t k = 0; fine && k < block->address.count; k++)
			fine = listener_add(&next, all, &block->address.items[k], block->role,
					    (unsigned)i, why, size);
	}
	if (!fine) {
		listeners_close_others(&next, all);
		return false;
	}
	listeners_close_others(all, &next);
	listeners_keep_unix(&next, all);
	memcpy(all->at, next.at, sizeof all->at);
	all->count = next.count;
	return true;
}

/* QUEUE/NAME; anyone may connect. */
static bool unix_open(struct listeners *all, const struct config *config, const char *name,
		      enum handle_role role, char *why, size_t size)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct listener *l = &all->at[all->count];
	int n = snprintf(a.sun_path, sizeof a.sun_path, "%.*s/%s", (int)config->queue.len,
			 config->queue.data, name);
	int fd;

	if (n < 0 || (size_t)n >= sizeof a.sun_path) {
		snprintf(why, size, "queue: the path is too long for a socket in it");
		return false;
	}
	must(all->count < LISTENERS_MAX);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* What lies there is of a master that is gone: the lock is ours. */
	unlink(a.sun_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 ||
	    chmod(a.sun_path, 0666) != 0 || listen(fd, BACKLOG) != 0) {
		snprintf(why, size, "cannot listen on %s: %s", a.sun_path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	*l = (struct listener){.role = role, .fd = fd};
	snprintf(l->name, sizeof l->name, "%s", name);
	all->count++;
	return true;
}

bool listeners_open_unix(struct listeners *all, const struct config *config, char *why, size_t size)
{
	return unix_open(all, config, "control", HANDLE_LISTEN_CONTROL, why, size) &&
	       unix_open(all, config, DROP_HATCH, HANDLE_LISTEN_HATCH, why, size);
}

void listeners_close(struct listeners *all)
{
	while (all->count)
		close(all->at[--all->count].fd);
}

void listeners_print(const struct listeners *all, char *to, size_t size)
{
	size_t out = 0;

	*to = '\0';
	for (size_t i = 0; i < all->count && out < size - 1; i++) {
		if (is_unix(&all->at[i]))
			continue;
		int n = snprintf(to + out, size - out, "%s%s", out ? ", " : "", all->at[i].name);

		if (n > 0)
			out += (size_t)n;
	}
}
