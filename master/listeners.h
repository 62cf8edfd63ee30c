/* SPDX-License-Identifier: ISC */
/*
 * Listening sockets: bound by master and held as long as they are
 * configured, so that no daemon's death and no reload ever refuses a
 * connection. Sockets that the service manager passed are used before any
 * is bound.
 */
#ifndef MASTER_LISTENERS_H
#define MASTER_LISTENERS_H

#include "config.h"

struct listener {
	struct endpoint address; /* of a UNIX socket: none */
	enum handle_role role;
	unsigned index; /* which listen block */
	int fd;
	char name[64]; /* "*:25", "[::1]:25" */
};

enum { LISTENERS_MAX = 512, INHERITED_MAX = 256 };

struct listeners {
	struct listener at[LISTENERS_MAX];
	size_t count;
	int inherited[INHERITED_MAX]; /* not yet matched */
	size_t inherited_count;
};

/* Takes over what LISTEN_FDS announces (sd_listen_fds(3)). */
void listeners_inherit(struct listeners *all);

/*
 * Makes ALL what CONFIG says: what is there already stays untouched, what is
 * new is bound, what is no longer named is closed. False with WHY when one
 * cannot be bound: then ALL is as it was.
 */
bool listeners_apply(struct listeners *all, const struct config *config, char *why, size_t size);

/* Inherited sockets that no listen block names are closed; returns how many. */
size_t listeners_close_unmatched(struct listeners *all);

/* QUEUE/control and QUEUE/hatch; anyone may connect, SO_PEERCRED decides what he may do, and who he
 * is. */
bool listeners_open_unix(struct listeners *all, const struct config *config, char *why,
			 size_t size);

void listeners_close(struct listeners *all);

/* "*:25, [::1]:2525" */
void listeners_print(const struct listeners *all, char *to, size_t size);

#endif
