/* SPDX-License-Identifier: ISC */
/*
 * The network side of the session engine: listening sockets and the clients
 * that come in over them, and what their sessions lean on: the way to qmgr,
 * the questions to table and limits, logins, TLS. smtpd and submission are
 * each a few lines over it. It opens no file and asks no name server.
 *
 * The server is such a daemon's d->self; what the daemon has beside it hangs
 * there as its own. All functions that take the daemon but server_open() are
 * callbacks of its face (daemon.h).
 */
#ifndef LIB_SERVER_H
#define LIB_SERVER_H

#include "budget.h"
#include "daemon.h"
#include "intake.h"
#include "policy.h"

struct server;

struct server_setup {
	/* CRC32C (queue_crc32c), of bodies. */
	uint32_t (*checksum)(uint32_t crc, const void *data, size_t len);
	unsigned roles; /* set of 1 << handle_role: the listeners that are ours */
	/* Beside clients; NULL: the daemon has nothing else. How much is left while draining; and
	 * gives up what is left, returning how much that was. */
	uint32_t (*left)(void *own);
	uint32_t (*cut)(void *own);
	void *own;
};

/* The neighbours that a server has channels with, for the daemon's row. */
#define SERVER_PEERS                                                                               \
	(PEER_QMGR | PEER_LIMITS | PEER_RESOLVER | PEER_CHECKER | PEER_KEEPER | PEER_TABLE |       \
	 PEER_LOCAL)

/* What it serves them, for the daemon's rows. */
#define SERVER_SERVES                                                                              \
	{MSG_leased, PEER_QMGR, server_serve}, {MSG_intake, PEER_QMGR, server_serve},              \
	    {MSG_body_file, PEER_QMGR, server_serve}, {MSG_settled, PEER_QMGR, server_serve},      \
	    {MSG_looked_up, PEER_TABLE, server_serve}, {MSG_count_is, PEER_LIMITS, server_serve},  \
	    {MSG_name_is, PEER_RESOLVER, server_serve}, {MSG_user_is, PEER_LOCAL, server_serve},   \
	    {MSG_client_verdict, PEER_LIMITS, server_serve},                                       \
	    {MSG_frozen, PEER_LIMITS, server_serve}, {MSG_auth_offer, PEER_CHECKER, server_serve}, \
	    {MSG_auth_challenge, PEER_CHECKER, server_serve},                                      \
	    {MSG_auth_done, PEER_CHECKER, server_serve},                                           \
	    {MSG_certificate, PEER_KEEPER, server_serve},                                          \
	    {MSG_certificates_end, PEER_KEEPER, server_serve},                                     \
	    {MSG_ticket_keys, PEER_KEEPER, server_serve},                                          \
	{                                                                                          \
		MSG_signature, PEER_KEEPER, server_serve                                           \
	}

/* In warm_up: makes the daemon a server. Takes as many descriptors as the process is let have. */
void server_open(struct daemon *d, const struct server_setup *setup);

void server_handle(struct daemon *d, const struct msg_handle *m, int fd);
void server_start(struct daemon *d);
void server_reload(struct daemon *d);
void server_peer(struct daemon *d, struct channel *c);
void server_gone(struct daemon *d, struct channel *c);
void server_serve(struct channel *c, const struct message *m);

/* Accepts nobody more; idle clients are told to go, the others finish their message. Who is left
 * when LIMIT is over is cut off. */
void server_drain(struct daemon *d, struct duration limit);

/* Something of the daemon's own is over: perhaps it was the last that draining waits for. */
void server_settle(struct daemon *d);
bool server_is_draining(const struct daemon *d);

/* What the daemon's own needs of it. */
void *server_own(const struct daemon *d);
struct intake *server_intake(const struct daemon *d);
struct policy *server_policy(const struct daemon *d);
struct budget *server_budget(const struct daemon *d);
uint64_t server_seed(const struct daemon *d); /* random, one for the process */

#endif
