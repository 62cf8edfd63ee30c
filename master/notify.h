/* SPDX-License-Identifier: ISC */
/*
 * The service manager's side: sd_notify(3) and sd_listen_fds(3) as systemd
 * documents them, spoken without its library. Silent where nobody listens.
 */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H

#include "loop.h"

struct notify {
	struct loop *loop;
	struct timer watchdog;
	struct duration watchdog_every; /* 0: nobody watches */
	int fd;				/* -1: nobody listens */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. */
void notify_open(struct notify *n, struct loop *loop);

/* "READY=1" and the like, several divided by newlines. */
void notify_send(const struct notify *n, const char *state);

/* RELOADING=1 needs the time at which it was said. */
void notify_reloading(const struct notify *n);

#endif
