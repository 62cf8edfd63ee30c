/* SPDX-License-Identifier: ISC */
/*
 * The hatch: a socket of everybody's, for the mails of processes to which the
 * maildrop is closed, since postdrop(1) gains no group there (no_new_privs) or
 * may write nowhere. What a guest passes in is written to the maildrop as
 * postdrop writes it, and then he is told. Who he is the kernel says.
 *
 * A guest sends the frames of one mail (drop.h), ends his side, and reads one
 * line: an exit status of sysexits.h, a blank, and the mail's number or why not.
 */
#ifndef PICKUP_HATCH_H
#define PICKUP_HATCH_H

#include "pickup.h"

enum {
	GUESTS_MAX = 64, /* at once; each takes 70 KB */
	GUESTS_EACH = 8, /* of one user; he makes room for those who have fewer */
	/* When all places are taken: who has said nothing for so long makes room. */
	GUEST_SILENT_US = 500000,
	GUEST_IDLE_S = 30,   /* between octets: postdrop has all of them when it connects */
	GUEST_WHOLE_S = 300, /* for one mail */
	SLOTS_TRIED = 64,    /* of a user's, until he is told that too many wait */
};

struct hatch;

/* FD listens, and is ours from here on; it takes the place of an older one. */
void hatch_open(struct pickup *self, int fd);

/* Takes nobody any more; who is here is told to come again. */
void hatch_close(struct pickup *self);

#endif
