/* SPDX-License-Identifier: ISC */
/*
 * The network side of the session engine: listening sockets and the clients
 * that come in over them. smtpd and submission are each a few lines over it.
 * It submits through the daemon's intake, asks limits whether a client is let
 * in, and the keeper for what TLS needs; it opens no file and asks no name
 * server.
 */
#ifndef LIB_SERVER_H
#define LIB_SERVER_H

#include "daemon.h"
#include "intake.h"
#include "policy.h"

struct server;

struct server_setup {
	struct daemon *d;
	struct intake *intake;
	struct policy *policy; /* the daemon sees to its channels */
	uint64_t seed;	       /* random, one for the process */
	unsigned roles;	       /* set of 1 << handle_role: the listeners that are ours */
	/* While draining: the last client is gone. Called once, also from within server_drain(). */
	void (*emptied)(struct daemon *d);
};

/* In warm_up: takes as many descriptors as the process is let have. */
struct server *server_new(const struct server_setup *setup);

/* The daemon's callbacks of the same names (daemon.h). FD is the server's from here on. */
void server_handle(struct server *server, const struct msg_handle *m, int fd);
void server_start(struct server *server);
void server_reload(struct server *server);

/* The channel to limits, or NULL when it ended: then everybody is let in. */
void server_set_limits(struct server *server, struct channel *limits);

/* The channel to the checker, or NULL when it ended: then nobody can log in. */
void server_set_checker(struct server *server, struct channel *checker);

/* The channel to the keeper, or NULL when it ended: then there is no TLS. */
void server_set_keeper(struct server *server, struct channel *keeper);

/* What limits (client_verdict), the checker and the keeper say. */
void server_serve(struct server *server, struct channel *c, const struct message *m);

/* Accepts nobody more; idle clients are told to go, the others finish their message. */
void server_drain(struct server *server);

/* Cuts off who is left; returns how many. emptied() is not called. */
uint32_t server_cut(struct server *server);

#endif
