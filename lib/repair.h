/* SPDX-License-Identifier: ISC */
/*
 * The header block of mail from people and programs, settled as RFC 6409 wants
 * it and as `submission` in the configuration says: what is missing is added
 * in front, what is broken is replaced or refused, blind copies are taken off,
 * addresses without a domain get one. All other octets stay as they are.
 * Pure: reads no clock, does no I/O.
 *
 * What the author's client has signed stays valid: the body is not touched,
 * nor a field that begins with Content- or MIME-, nor one that the h= tag of a
 * DKIM-Signature names, not even to add one that is missing (RFC 6376 5.4.2);
 * but a message without From gets one, since no signature holds without it.
 */
#ifndef LIB_REPAIR_H
#define LIB_REPAIR_H

#include "address.h"
#include "bytes.h"
#include "config.h"
#include "reply.h"

/* Beyond this a header block is refused: completing addresses makes it longer. */
enum { REPAIR_HEADER_MAX = PRELUDE_MAX - 4096 };

struct repair {
	/* Given; texts live as long as the call. */
	const struct config *config;
	struct text sender;	/* of the envelope; empty: "<>" */
	struct text login;	/* empty: nobody has signed in */
	struct text date;	/* now, as a Date field says it */
	struct text message_id; /* without <> */
	bool smtputf8;
	bool ours; /* mail of our own making: only what is missing is added, nothing refused */

	/* Found. */
	struct bytes header;  /* the block with its empty line; the caller's to free */
	bool own_id;	      /* message_id was put in */
	struct reply refusal; /* when false was returned */
	char why[REPLY_TEXT_MAX + 1];
};

/* BLOCK: a header block as content.h leaves it. False: the mail is to be refused. */
bool repair_header(struct repair *r, struct text block);

/*
 * An address of the envelope: completed, when it has no domain or one without
 * a dot that is nobody's we know. False: it is to be refused (RFC 6409 4.2).
 */
bool repair_address(const struct config *config, struct address *a);

#endif
