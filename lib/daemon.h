/* SPDX-License-Identifier: ISC */
/*
 * What every daemon's main is: its privilege row, its callbacks, one call.
 * Master starts a daemon with its channel as descriptor 3. The daemon takes
 * configuration, descriptors and peers from there; at the first `begin` it
 * warms up, goes to jail for good, and starts to serve.
 */
#ifndef LIB_DAEMON_H
#define LIB_DAEMON_H

#include "channel.h"
#include "config.h"
#include "log.h"
#include "loop.h"

#include <stdbool.h>

enum jail_root {
	JAIL_EMPTY,    /* QUEUE/empty: nothing in it, not writable */
	JAIL_QUEUE,    /* QUEUE/queue */
	JAIL_LIMITS,   /* QUEUE/limits */
	JAIL_MAILDROP, /* QUEUE/maildrop */
	JAIL_FETCHER,  /* QUEUE/fetcher */
	JAIL_NONE,     /* no chroot */
};

/* A daemon's privileges: the row that a reviewer reads first. */
struct daemon_row {
	const char *name; /* folder, process and log name */
	unsigned kind;	  /* enum peer_kind */
	const char *user; /* system user and group when started by root */
	enum jail_root root;
	const char *capabilities; /* cap_from_text(3) of what is kept, "" for none */
	/* Names allowed beside the common ones, blank-separated; or "!" and JAIL_DENIED (jail.h).
	 */
	const char *system_calls;
	unsigned peers; /* kinds it has channels with, beside master and logger */
};

struct daemon;

struct daemon_face {
	/* Before the jail: open, load, prime what can't be later. The configuration is known. May
	 * be NULL. */
	void (*warm_up)(struct daemon *d);
	/* In the jail, at the first begin. Peers and handles so far were announced before. */
	void (*start)(struct daemon *d);
	/* A later begin: d->config is the new one. May be NULL. */
	void (*reload)(struct daemon *d);
	/* A descriptor from master, now ours (HANDLE_..., index, name). May be NULL. */
	void (*handle)(struct daemon *d, const struct msg_handle *m, int fd);
	/* A descriptor that was asked for (handle_ask) could not be had. May be NULL. */
	void (*handle_none)(struct daemon *d, const struct msg_handle_none *m);
	/* A fresh channel to a peer. The daemon keeps it until gone. May be NULL. */
	void (*peer)(struct daemon *d, struct channel *c);
	/* A channel to a peer ended (not master's: then the process ends). A fresh one is asked
	 * for without further ado, and comes by peer(). */
	void (*gone)(struct daemon *d, struct channel *c);
	/* Take nothing new, finish, then daemon_drained(). NULL: drained at once. */
	void (*drain)(struct daemon *d, struct duration limit);
	/* What peers may send, ends with MSG_NONE; handlers find the daemon in daemon_of(channel).
	 */
	const struct serve *serves;
};

struct daemon {
	const struct daemon_row *row;
	const struct daemon_face *face;
	struct loop *loop;
	struct log *log;
	struct config *config; /* the one in force; hold it with config_keep() */
	struct channel *master;
	struct channel *logger; /* NULL while there is none */
	void *self;		/* the daemon's own state */
	uint64_t epoch;
	unsigned instance; /* of this kind, from 0; argv[1] */
	bool unprivileged; /* started by an ordinary user */
};

/*
 * Runs the daemon until master ends it. Returns main's status. With the one
 * argument --privileges it prints ROW, a line a field, and ends.
 */
int daemon_main(int argc, char **argv, const struct daemon_row *row,
		const struct daemon_face *face);

/* The daemon behind a channel's serve handler. */
struct daemon *daemon_of(const struct channel *c);

/* State of the daemon's own per channel. */
void daemon_set_peer_state(struct channel *c, void *state);
void *daemon_peer_state(const struct channel *c);

void daemon_drained(struct daemon *d, uint32_t left);

/* A descriptor that became a channel outside of master's hands (control socket): serves as usual.
 */
struct channel *daemon_adopt(struct daemon *d, int fd, unsigned kind);

#endif
