/* SPDX-License-Identifier: ISC */
/*
 * smtpd: the SMTP server on port 25. Accepts connections and glues each
 * client's stream, session (lib/session.h) and message (lib/intake.h)
 * together. Opens no file and asks no name server.
 */
#include "smtpd.h"

#include "mem.h"
#include "queue.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct daemon_row row = {
    .name = "smtpd",
    .kind = PEER_SMTPD,
    .user = "veredus-smtpd",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "accept4 setsockopt",
    .peers = PEER_QMGR | PEER_LIMITS | PEER_RESOLVER,
};

enum {
	LISTENERS_MAX = 512,
	ACCEPTS_A_TURN = 64,   /* then the clients that are here get their turn */
	ACCEPT_PAUSE_MS = 100, /* when there is no descriptor left */
};

struct listener {
	struct watch watch;
	struct door *door;
	char name[64];
	int fd;
	bool fresh; /* named by the configuration that is coming */
};

/* The listening side. */
struct door {
	struct smtpd smtpd; /* first: what the clients see */
	struct listener *listeners[LISTENERS_MAX];
	size_t listener_count;
	struct timer pause, drain;
};

static struct door *door_of(struct daemon *d)
{
	return d->self;
}

/* -- accepting ------------------------------------------------------------------------ */

static void listeners_want(struct door *door, bool in)
{
	for (size_t i = 0; i < door->listener_count; i++)
		watch_want(&door->listeners[i]->watch, in, false);
}

static void pause_over(void *arg)
{
	struct door *door = arg;

	if (!door->smtpd.draining)
		listeners_want(door, true);
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
		client_new(&l->door->smtpd, fd, address);
		return true;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		/* The connection stays in the kernel's queue and would wake us again at once. */
		listeners_want(l->door, false);
		timer_set(&l->door->pause, MILLISECONDS(ACCEPT_PAUSE_MS));
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

static struct listener *listener_find(struct door *door, struct text name)
{
	for (size_t i = 0; i < door->listener_count; i++)
		if (text_equals(name, door->listeners[i]->name))
			return door->listeners[i];
	return NULL;
}

static void smtpd_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	struct door *door = door_of(d);
	struct listener *l = listener_find(door, m->name);

	if (m->role != HANDLE_LISTEN_SMTP || (!l && door->listener_count == LISTENERS_MAX)) {
		close(fd);
		return;
	}
	if (l) {
		watch_remove(&l->watch);
		close(l->fd);
	} else {
		l = mem_new(1, sizeof *l);
		l->door = door;
		text_copy(l->name, sizeof l->name, m->name);
		door->listeners[door->listener_count++] = l;
	}
	l->fd = fd;
	l->fresh = true;
	watch_add(&l->watch, d->loop, fd, listener_ready, l);
	watch_want(&l->watch, !door->smtpd.draining, false);
}

/* Master names all listeners again at a reload: the others are no longer ours. */
static void smtpd_reload(struct daemon *d)
{
	struct door *door = door_of(d);
	size_t kept = 0;

	for (size_t i = 0; i < door->listener_count; i++) {
		if (!door->listeners[i]->fresh) {
			listener_free(door->listeners[i]);
			continue;
		}
		door->listeners[i]->fresh = false;
		door->listeners[kept++] = door->listeners[i];
	}
	door->listener_count = kept;
	log_set_debug(d->log, d->config->log_connections);
}

/* -- neighbours ------------------------------------------------------------------------ */

static void on_intake(struct channel *c, const struct message *m)
{
	intake_serve(door_of(daemon_of(c))->smtpd.intake, c, m);
}

static void on_verdict(struct channel *c, const struct message *m)
{
	client_verdict(&door_of(daemon_of(c))->smtpd, m->client_verdict.session,
		       m->client_verdict.allowed != 0);
}

static const struct serve serves[] = {
    {MSG_leased, PEER_QMGR, on_intake},
    {MSG_intake, PEER_QMGR, on_intake},
    {MSG_body_file, PEER_QMGR, on_intake},
    {MSG_settled, PEER_QMGR, on_intake},
    {MSG_client_verdict, PEER_LIMITS, on_verdict},
    {MSG_NONE, 0, NULL},
};

static void smtpd_peer(struct daemon *d, struct channel *c)
{
	struct smtpd *self = &door_of(d)->smtpd;

	if (channel_peer(c) == PEER_QMGR) {
		intake_open(self->intake, c);
	} else if (channel_peer(c) == PEER_LIMITS) {
		self->limits = c;
		client_limits_open(self);
	}
}

static void smtpd_gone(struct daemon *d, struct channel *c)
{
	struct smtpd *self = &door_of(d)->smtpd;

	if (channel_peer(c) == PEER_QMGR) {
		intake_gone(self->intake);
	} else if (channel_peer(c) == PEER_LIMITS) {
		self->limits = NULL;
		client_limits_gone(self);
	}
}

/* -- life ------------------------------------------------------------------------------- */

void smtpd_emptied(struct smtpd *self)
{
	if (self->drained)
		return;
	self->drained = true;
	daemon_drained(self->d, 0);
}

static void drain_over(void *arg)
{
	struct smtpd *self = arg;

	if (self->drained)
		return;
	self->drained = true;
	daemon_drained(self->d, client_cut_all(self));
}

static void smtpd_drain(struct daemon *d, struct duration limit)
{
	struct door *door = door_of(d);

	door->smtpd.draining = true;
	for (size_t i = 0; i < door->listener_count; i++)
		listener_free(door->listeners[i]);
	door->listener_count = 0;
	client_drain_all(&door->smtpd);
	if (!door->smtpd.count)
		smtpd_emptied(&door->smtpd);
	else
		timer_set(&door->drain, limit);
}

/* An eighth is for channels, bodies' files and clients that are still hearing their last words. */
static uint64_t files_for_clients(rlim_t limit)
{
	uint64_t most = limit == RLIM_INFINITY ? UINT32_MAX : (uint64_t)limit;

	return most > 64 ? most - most / 8 - 16 : 32;
}

static void smtpd_warm_up(struct daemon *d)
{
	struct door *door = mem_new(1, sizeof *door);
	struct rlimit files = {.rlim_cur = 1024};

	d->self = door;
	door->smtpd.d = d;
	if (getrandom(&door->smtpd.seed, sizeof door->smtpd.seed, 0) < 0)
		door->smtpd.seed = d->epoch;
	door->smtpd.intake = intake_new(d->loop, d->log, queue_crc32c);
	timer_init(&door->pause, d->loop, pause_over, door);
	timer_init(&door->drain, d->loop, drain_over, &door->smtpd);
	log_set_debug(d->log, d->config->log_connections);
	/* A descriptor per client: as many as we are let have. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	door->smtpd.files_most = files_for_clients(files.rlim_cur);
}

static void smtpd_start(struct daemon *d)
{
	struct door *door = door_of(d);

	for (size_t i = 0; i < door->listener_count; i++)
		door->listeners[i]->fresh = false;
}

static const struct daemon_face face = {
    .warm_up = smtpd_warm_up,
    .start = smtpd_start,
    .reload = smtpd_reload,
    .handle = smtpd_handle,
    .peer = smtpd_peer,
    .gone = smtpd_gone,
    .drain = smtpd_drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
