/* SPDX-License-Identifier: ISC */
/* smtpd's state, and what its files say to each other. */
#ifndef SMTPD_SMTPD_H
#define SMTPD_SMTPD_H

#include "daemon.h"
#include "intake.h"
#include "session.h"

struct client;

struct smtpd {
	struct daemon *d;
	struct intake *intake;
	struct channel *limits; /* NULL while there is none: then everybody is let in */
	uint64_t seed;
	struct client **clients; /* by slot; NULL: free */
	uint64_t files_most;	 /* clients at once, as descriptors allow */
	uint32_t slots, count;
	uint32_t free_slot; /* no slot below is free */
	uint32_t serial;    /* tells a slot's clients apart */
	bool draining, drained;
};

/* client.c */

/* An accepted connection, FD ours from here on; ADDRESS is 16 bytes. */
void client_new(struct smtpd *self, int fd, const uint8_t *address);

/* limits' answer; an unknown or answered session is ignored. */
void client_verdict(struct smtpd *self, uint64_t session, bool allowed);

/* limits is gone: who waits for it is let in. */
void client_limits_gone(struct smtpd *self);

/* A fresh limits counts those who are here. */
void client_limits_open(struct smtpd *self);

/* Idle ones are told to go; the others finish their message. */
void client_drain_all(struct smtpd *self);

/* Cuts off who is left; returns how many. */
uint32_t client_cut_all(struct smtpd *self);

/* smtpd.c: the last client is gone while draining. */
void smtpd_emptied(struct smtpd *self);

#endif
