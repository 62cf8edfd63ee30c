/* SPDX-License-Identifier: ISC */
/* The kinds of processes, as bits so that a set of them is a number. */
#ifndef LIB_PEER_H
#define LIB_PEER_H

#include <stdint.h>

enum peer_kind {
	PEER_MASTER = 1 << 0,
	PEER_SMTPD = 1 << 1,
	PEER_SUBMISSION = 1 << 2,
	PEER_PICKUP = 1 << 3,
	PEER_QMGR = 1 << 4,
	PEER_BOUNCE = 1 << 5,
	PEER_RESOLVER = 1 << 6,
	PEER_SMTP_CLIENT = 1 << 7,
	PEER_LOCAL = 1 << 8,
	PEER_LIMITS = 1 << 9,
	PEER_LOGGER = 1 << 10,
	PEER_CONTROL = 1 << 11, /* who connected to the control socket */
	PEER_KEEPER = 1 << 12,
	PEER_CHECKER = 1 << 13,
	PEER_TABLE = 1 << 14,
	PEER_FETCHER = 1 << 15,
};

#define PEER_ALL ((1 << 16) - 1)

/* "smtp-client" for PEER_SMTP_CLIENT; "?" for what is no kind. */
const char *peer_name(unsigned kind);

/* The kind with that name, 0 when there is none. */
unsigned peer_kind_of(const char *name);

#endif
