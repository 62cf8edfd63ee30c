/* SPDX-License-Identifier: ISC */
/* A server's clients. Only server.c and client.c include this. */
#ifndef LIB_CLIENT_H
#define LIB_CLIENT_H

#include "auth_link.h"
#include "budget.h"
#include "server.h"
#include "session.h"
#include "tls.h"

struct client;

/* What clients need of their server; the listening side stands around it in server.c. */
struct clients {
	struct daemon *d;
	struct intake *intake;
	struct policy *policy;
	struct auth_link *logins;
	struct channel *limits; /* NULL while there is none: then everybody is let in */
	struct tls *tls;
	uint64_t seed;
	struct budget budget;
	size_t backlog;	     /* of the budget, what is on its way to qmgr */
	struct client **at;  /* by slot; NULL: free */
	uint64_t files_most; /* clients at once, as descriptors allow */
	uint32_t slots, count;
	uint32_t free_slot; /* no slot below is free */
	uint32_t serial;    /* tells a slot's clients apart */
	bool draining;
	void (*emptied)(struct clients *all); /* while draining: the last one is gone */
};

/* For auth_link_new(). */
extern const struct auth_face client_auth_face;

/* An accepted connection, FD ours from here on; ADDRESS is 16 bytes, ROLE its listener's. */
void client_new(struct clients *all, int fd, const uint8_t *address, enum handle_role role);

/* limits' answer; an unknown or answered session is ignored. */
void client_verdict(struct clients *all, uint64_t session, bool allowed);

/* Who has signed in by a login that is frozen now sends nothing more, also once it is released: it
 * is not known who he is. */
void clients_revoke(struct clients *all);

/* limits is gone: who waits for it is let in. */
void clients_limits_gone(struct clients *all);

/* A fresh limits counts those who are here. */
void clients_limits_open(struct clients *all);

/* Idle ones are told to go; the others finish their message. */
void clients_drain(struct clients *all);

/* Cuts off who is left; returns how many. */
uint32_t clients_cut(struct clients *all);

#endif
