/* SPDX-License-Identifier: ISC */
/* The listening side of a server. */
#include "client.h"

#include "mem.h"
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
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
	struct daemon *d;
	struct server_setup setup;
	struct listener *listeners[LISTENERS_MAX];
	size_t listener_count;
	struct timer pause, hold; /* while one of them is set nobody is accepted */
	struct timer drain;
	bool drained; /* and master was told */
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

/* False when there is nobody more, or nothing to take him with. */
static bool accept_one(struct listener *l)
{
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof from;
	int fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	uint8_t address[16];

	if (fd >= 0) {
		host_address_of((struct sockaddr *)&from, address);
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

void server_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	struct server *server = d->self;
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
	watch_add(&l->watch, d->loop, fd, listener_ready, l);
	watch_want(&l->watch, is_accepting(server), false);
}

void server_start(struct daemon *d)
{
	struct server *server = d->self;

	for (size_t i = 0; i < server->listener_count; i++)
		server->listeners[i]->fresh = false;
	if (!d->config->tls_count || tls_is_ready(server->clients.tls))
		return;
	timer_set(&server->hold, SECONDS(KEEPER_WAIT_S));
	listeners_want(server, false);
}

/* Master names all listeners again at a reload: the others are no longer ours. */
void server_reload(struct daemon *d)
{
	struct server *server = d->self;
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
	server->clients.budget.most = d->config->limit_memory;
	log_set_debug(d->log, d->config->log_connections);
}

/* -- neighbours ------------------------------------------------------------------------- */

/* Without limits everybody is let in. */
static void set_limits(struct server *server, struct channel *limits)
{
	server->clients.limits = limits;
	if (limits)
		clients_limits_open(&server->clients);
	else
		clients_limits_gone(&server->clients);
}

/* Without a keeper there is no TLS. */
static void set_keeper(struct server *server, struct channel *keeper)
{
	if (server->clients.tls)
		tls_set_keeper(server->clients.tls, keeper);
}

void server_peer(struct daemon *d, struct channel *c)
{
	struct server *server = d->self;

	policy_peer(server->clients.policy, c);
	if (channel_peer(c) == PEER_QMGR)
		intake_open(server->clients.intake, c);
	else if (channel_peer(c) == PEER_LIMITS)
		set_limits(server, c);
	else if (channel_peer(c) == PEER_CHECKER)
		auth_link_open(server->clients.logins, c);
	else if (channel_peer(c) == PEER_KEEPER)
		set_keeper(server, c);
}

void server_gone(struct daemon *d, struct channel *c)
{
	struct server *server = d->self;

	policy_gone(server->clients.policy, c);
	if (channel_peer(c) == PEER_QMGR)
		intake_gone(server->clients.intake);
	else if (channel_peer(c) == PEER_LIMITS)
		set_limits(server, NULL);
	else if (channel_peer(c) == PEER_CHECKER)
		auth_link_gone(server->clients.logins);
	else if (channel_peer(c) == PEER_KEEPER)
		set_keeper(server, NULL);
}

/* Who may not come in any more, nor go on. */
static void take_frozen(struct clients *clients, const struct message *m)
{
	policy_serve(clients->policy, m);
	clients_revoke(clients);
}

void server_serve(struct channel *c, const struct message *m)
{
	struct clients *clients = &((struct server *)daemon_of(c)->self)->clients;

	if (channel_peer(c) == PEER_QMGR)
		intake_serve(clients->intake, c, m);
	else if (m->type == MSG_client_verdict)
		client_verdict(clients, m->client_verdict.session, m->client_verdict.allowed != 0);
	else if (m->type == MSG_frozen)
		take_frozen(clients, m);
	else if (channel_peer(c) == PEER_CHECKER)
		auth_link_serve(clients->logins, m);
	else if (channel_peer(c) != PEER_KEEPER)
		policy_serve(clients->policy, m);
	else if (clients->tls)
		tls_serve(clients->tls, c, m);
}

void *server_own(const struct daemon *d)
{
	return ((struct server *)d->self)->setup.own;
}

struct intake *server_intake(const struct daemon *d)
{
	return ((struct server *)d->self)->clients.intake;
}

struct policy *server_policy(const struct daemon *d)
{
	return ((struct server *)d->self)->clients.policy;
}

struct budget *server_budget(const struct daemon *d)
{
	return &((struct server *)d->self)->clients.budget;
}

uint64_t server_seed(const struct daemon *d)
{
	return ((struct server *)d->self)->clients.seed;
}

/* -- life ------------------------------------------------------------------------------- */

/* Said once, in whatever order the last of each kind goes. */
static void drained(struct server *server, uint32_t left)
{
	server->drained = true;
	timer_clear(&server->drain);
	daemon_drained(server->d, left);
}

void server_settle(struct daemon *d)
{
	struct server *server = d->self;
	const struct server_setup *setup = &server->setup;

	if (server->clients.draining && !server->drained && !server->clients.count &&
	    !(setup->left && setup->left(setup->own)))
		drained(server, 0);
}

static void clients_emptied(struct clients *all)
{
	server_settle(all->d);
}

static void drain_over(void *arg)
{
	struct server *server = arg;

	if (server->drained)
		return;
	server->drained = true; /* the last one to be cut off is not the last one gone */
	uint32_t left = clients_cut(&server->clients);

	if (server->setup.cut)
		left += server->setup.cut(server->setup.own);
	drained(server, left);
}

bool server_is_draining(const struct daemon *d)
{
	return ((struct server *)d->self)->clients.draining;
}

void server_drain(struct daemon *d, struct duration limit)
{
	struct server *server = d->self;

	timer_set(&server->drain, limit);
	server->clients.draining = true;
	for (size_t i = 0; i < server->listener_count; i++)
		listener_free(server->listeners[i]);
	server->listener_count = 0;
	clients_drain(&server->clients);
	server_settle(d);
}

/* An eighth is for channels, bodies' files and clients that are still hearing their last words. */
static uint64_t files_for_clients(rlim_t limit)
{
	uint64_t most = limit == RLIM_INFINITY ? UINT32_MAX : (uint64_t)limit;

	return most > 64 ? most - most / 8 - 16 : 32;
}

void server_open(struct daemon *d, const struct server_setup *setup)
{
	struct server *server = mem_new(1, sizeof *server);
	struct clients *clients = &server->clients;
	struct rlimit files = {.rlim_cur = 1024};

	d->self = server;
	server->d = clients->d = d;
	server->setup = *setup;
	clients->intake = intake_new(d->loop, d->log, setup->checksum);
	clients->policy = policy_new(d->loop);
	clients->budget.most = d->config->limit_memory;
	clients->seed = d->epoch;
	(void)!getrandom(&clients->seed, sizeof clients->seed, 0);
	clients->logins = auth_link_new(&client_auth_face);
	clients->emptied = clients_emptied;
	clients->tls = tls_new(d->loop, d->log, tls_changed, server);
	timer_init(&server->pause, d->loop, pause_over, server);
	timer_init(&server->hold, d->loop, pause_over, server);
	timer_init(&server->drain, d->loop, drain_over, server);
	log_set_debug(d->log, d->config->log_connections);
	/* A descriptor per client: as many as we are let have. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	clients->files_most = files_for_clients(files.rlim_cur);
}
