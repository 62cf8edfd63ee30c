/* SPDX-License-Identifier: ISC */
/* The listening side of a server. */
#include "client.h"

#include "mem.h"
#include "must.h"
#include "stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	LISTENERS_MAX = 512,
	ACCEPTS_A_TURN = 64,   /* then the clients that are here get their turn */
	ACCEPT_PAUSE_MS = 100, /* when there is no descriptor left */
	/* At the start the first clients wait so long for certificates; then they get none. */
	KEEPER_WAIT_S = 5,
};

struct listener {
	struct watch watch;
	struct server *server;
	char name[64];
	enum handle_role role;
	int fd;
	bool fresh; /* named by the configuration that is coming */
};

struct server {
	struct clients clients; /* first: what the clients see */
	struct server_setup setup;
	struct listener *listeners[LISTENERS_MAX];
	size_t listener_count;
	struct timer pause, hold; /* while one of them is set nobody is accepted */
};

/* -- accepting ------------------------------------------------------------------------ */

static void listeners_want(struct server *server, bool in)
{
	for (size_t i = 0; i < server->listener_count; i++)
		watch_want(&server->listeners[i]->watch, in, false);
}

static bool is_accepting(const struct server *server)
{
	return !server->clients.draining && !timer_is_set(&server->pause) &&
	       !timer_is_set(&server->hold);
}

static void pause_over(void *arg)
{
	struct server *server = arg;

	listeners_want(server, is_accepting(server));
}

static void tls_changed(void *owner)
{
	struct server *server = owner;

	if (!tls_is_ready(server->clients.tls) || !timer_is_set(&server->hold))
		return;
	timer_clear(&server->hold);
	listeners_want(server, is_accepting(server));
}

static void address_of(const struct sockaddr_storage *from, uint8_t *address)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	memset(address, 0, 16);
	if (from->ss_family == AF_INET6) {
		memcpy(address, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
	} else if (from->ss_family == AF_INET) {
		memcpy(address, mapped, 12);
		memcpy(address + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
	}
}

/* False when there is nobody more, or nothing to take him with. */
static bool accept_one(struct listener *l)
{
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof from;
	int fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	uint8_t address[16];

	if (fd >= 0) {
		address_of(&from, address);
		client_new(&l->server->clients, fd, address, l->role);
		return true;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		/* The connection stays in the kernel's queue and would wake us again at once. */
		listeners_want(l->server, false);
		timer_set(&l->server->pause, MILLISECONDS(ACCEPT_PAUSE_MS));
	}
	return errno == ECONNABORTED || errno == EINTR;
}

static void listener_ready(void *arg, bool readable, bool writable)
{
	struct listener *l = arg;

	(void)readable;
	(void)writable;
	for (int i = 0; i < ACCEPTS_A_TURN && accept_one(l); i++)
		;
}

static void listener_free(struct listener *l)
{
	watch_remove(&l->watch);
	close(l->fd);
	free(l);
}

static struct listener *listener_find(struct server *server, struct text name)
{
	for (size_t i = 0; i < server->listener_count; i++)
		if (text_equals(name, server->listeners[i]->name))
			return server->listeners[i];
	return NULL;
}

void server_handle(struct server *server, const struct msg_handle *m, int fd)
{
	struct listener *l = listener_find(server, m->name);

	if (m->role >= 32 || !(server->setup.roles & 1u << m->role) ||
	    (!l && server->listener_count == LISTENERS_MAX)) {
		close(fd);
		return;
	}
	if (l) {
		watch_remove(&l->watch);
		close(l->fd);
	} else {
		l = mem_new(1, sizeof *l);
		l->server = server;
		text_copy(l->name, sizeof l->name, m->name);
		server->listeners[server->listener_count++] = l;
	}
	stream_never_wait(fd);
	l->fd = fd;
	l->role = (enum handle_role)m->role;
	l->fresh = true;
	watch_add(&l->watch, server->setup.d->loop, fd, listener_ready, l);
	watch_want(&l->watch, is_accepting(server), false);
}

void server_start(struct server *server)
{
	for (size_t i = 0; i < server->listener_count; i++)
		server->listeners[i]->fresh = false;
	if (!server->setup.d->config->tls_count || tls_is_ready(server->clients.tls))
		return;
	timer_set(&server->hold, SECONDS(KEEPER_WAIT_S));
	listeners_want(server, false);
}

/* Master names all listeners again at a reload: the others are no longer ours. */
void server_reload(struct server *server)
{
	size_t kept = 0;

	for (size_t i = 0; i < server->listener_count; i++) {
		if (!server->listeners[i]->fresh) {
			listener_free(server->listeners[i]);
			continue;
		}
		server->listeners[i]->fresh = false;
		server->listeners[kept++] = server->listeners[i];
	}
	server->listener_count = kept;
	log_set_debug(server->setup.d->log, server->setup.d->config->log_connections);
}

/* -- neighbours ------------------------------------------------------------------------- */

void server_set_limits(struct server *server, struct channel *limits)
{
	server->clients.limits = limits;
	if (limits)
		clients_limits_open(&server->clients);
	else
		clients_limits_gone(&server->clients);
}

void server_set_checker(struct server *server, struct channel *checker)
{
	if (checker)
		auth_link_open(server->clients.logins, checker);
	else
		auth_link_gone(server->clients.logins);
}

void server_set_keeper(struct server *server, struct channel *keeper)
{
	if (server->clients.tls)
		tls_set_keeper(server->clients.tls, keeper);
}

void server_serve(struct server *server, struct channel *c, const struct message *m)
{
	if (m->type == MSG_client_verdict)
		client_verdict(&server->clients, m->client_verdict.session,
			       m->client_verdict.allowed != 0);
	else if (channel_peer(c) == PEER_CHECKER)
		auth_link_serve(server->clients.logins, m);
	else if (channel_peer(c) == PEER_KEEPER && server->clients.tls)
		tls_serve(server->clients.tls, c, m);
}

/* -- life ------------------------------------------------------------------------------- */

static void server_emptied(struct clients *all)
{
	struct server *server = (struct server *)all;
	void (*emptied)(struct daemon * d) = server->setup.emptied;

	server->setup.emptied = NULL;
	if (emptied)
		emptied(server->setup.d);
}

void server_drain(struct server *server)
{
	server->clients.draining = true;
	for (size_t i = 0; i < server->listener_count; i++)
		listener_free(server->listeners[i]);
	server->listener_count = 0;
	clients_drain(&server->clients);
	if (!server->clients.count)
		server_emptied(&server->clients);
}

uint32_t server_cut(struct server *server)
{
	server->setup.emptied = NULL;
	return clients_cut(&server->clients);
}

/* An eighth is for channels, bodies' files and clients that are still hearing their last words. */
static uint64_t files_for_clients(rlim_t limit)
{
	uint64_t most = limit == RLIM_INFINITY ? UINT32_MAX : (uint64_t)limit;

	return most > 64 ? most - most / 8 - 16 : 32;
}

struct server *server_new(const struct server_setup *setup)
{
	struct server *server = mem_new(1, sizeof *server);
	struct rlimit files = {.rlim_cur = 1024};

	must(setup->policy);
	server->setup = *setup;
	server->clients.d = setup->d;
	server->clients.intake = setup->intake;
	server->clients.policy = setup->policy;
	server->clients.seed = setup->seed;
	server->clients.logins = auth_link_new(&client_auth_face);
	server->clients.emptied = server_emptied;
	server->clients.tls = tls_new(setup->d->loop, setup->d->log, tls_changed, server);
	timer_init(&server->pause, setup->d->loop, pause_over, server);
	timer_init(&server->hold, setup->d->loop, pause_over, server);
	log_set_debug(setup->d->log, setup->d->config->log_connections);
	/* A descriptor per client: as many as we are let have. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	server->clients.files_most = files_for_clients(files.rlim_cur);
	return server;
}
