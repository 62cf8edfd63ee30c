/* SPDX-License-Identifier: ISC */
/* Making channels between daemons. */
#include "links.h"

#include "must.h"
#include "state.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINK_EVERY_MS = 1000 }; /* a daemon that asks in a loop gets one in that time */

bool links_pair(int pair[2])
{
	/* Bodies travel inline: several fit, and a turn's frames leave in one write. */
	static const int size = 1024 * 1024;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return false;
	for (int i = 0; i < 2; i++) {
		setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
		setsockopt(pair[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	}
	return true;
}

static size_t child_index(const struct child *child)
{
	const struct children *all = &child->master->children;
	size_t i = 0;

	while (i < all->count && all->at[i] != child)
		i++;
	must(i < all->count);
	return i;
}

static void link_make(struct child *a, struct child *b)
{
	struct master *master = a->master;
	int pair[2];

	if (!links_pair(pair)) {
		log_error(master->log, "no channel between %s and %s: %s", peer_name(a->row->kind),
			  peer_name(b->row->kind), strerror(errno));
		return; /* they ask for one, and again */
	}
	a->linked[child_index(b)] = b->linked[child_index(a)] = loop_now(master->loop);
	child_post(a, MSG_peer, &(struct msg_peer){(uint16_t)b->row->kind, (uint16_t)b->instance},
		   pair[0]);
	child_post(b, MSG_peer, &(struct msg_peer){(uint16_t)a->row->kind, (uint16_t)a->instance},
		   pair[1]);
}

static void ours_gone(struct channel *c, const char *why)
{
	struct master *master = channel_owner(c);

	(void)why;
	master->logger = NULL;
	log_set_channel(master->log, NULL);
	if (master->phase != MASTER_STOPPING)
		timer_set(&master->logger_retry, MILLISECONDS(LINK_EVERY_MS));
}

void links_drop_ours(struct master *master)
{
	log_set_channel(master->log, NULL);
	channel_free(&master->logger);
}

void links_make_ours(struct master *master)
{
	static const struct serve nothing[] = {{MSG_NONE, 0, NULL}};
	struct child *logger = child_find(master, PEER_LOGGER, 0);
	struct channel_config config = {
	    .loop = master->loop,
	    .self_kind = PEER_MASTER,
	    .serves = nothing,
	    .gone = ours_gone,
	    .hello = {message_schema(), master->epoch, master->config->generation,
		      (uint32_t)getpid()},
	};
	int pair[2];

	if (!logger || !logger->channel)
		return;
	links_drop_ours(master);
	if (!links_pair(pair)) {
		timer_set(&master->logger_retry, MILLISECONDS(LINK_EVERY_MS));
		return;
	}
	child_post(logger, MSG_peer, &(struct msg_peer){PEER_MASTER, 0}, pair[1]);
	master->logger = channel_new(&config, pair[0], PEER_LOGGER, 0, master);
	log_set_channel(master->log, master->logger);
}

void links_make_all(struct child *child)
{
	struct master *master = child->master;

	if (child->row->kind == PEER_LOGGER)
		links_make_ours(master);
	for (size_t i = 0; i < master->children.count; i++) {
		struct child *other = master->children.at[i];

		if (other != child && other->channel &&
		    kinds_talk(child->row->kind, other->row->kind))
			link_make(child, other);
	}
}

bool links_make_one(struct child *child, unsigned kind, unsigned instance)
{
	struct master *master = child->master;
	struct child *other = child_find(master, kind, instance);

	if (child->row->kind == PEER_LOGGER && kind == PEER_MASTER)
		return true; /* ours_gone() sees to it */
	if ((kind & (kind - 1)) != 0 || !kinds_talk(child->row->kind, kind))
		return false;
	/* A peer that is down gets its channels when it starts; a worker that was retired never. */
	if (!other || other == child || !other->channel)
		return true;
	struct monotime last = child->linked[child_index(other)];

	/* Too soon: it asks again. */
	if (monotime_since(loop_now(master->loop), last).us >= MILLISECONDS(LINK_EVERY_MS).us)
		link_make(child, other);
	return true;
}
