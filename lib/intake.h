/* SPDX-License-Identifier: ISC */
/*
 * The engine's side of qmgr's intake: queue IDs, message bodies on their way
 * in, the promise that 250 waits for, and what happens to it when qmgr goes
 * away. One per process of smtpd and submission.
 */
#ifndef LIB_INTAKE_H
#define LIB_INTAKE_H

#include "channel.h"
#include "log.h"
#include "loop.h"
#include "reply.h"

#include <stdbool.h>
#include <stdint.h>

struct intake;
struct intake_message;

/* To the owner of a message. Each of settled and lost comes last: the message is gone then. */
struct intake_face {
	/* Durable (250) or refused. */
	void (*settled)(void *owner, const struct reply *r);
	/* qmgr stayed away: whether the message was accepted is not known. */
	void (*lost)(void *owner);
	/* The body's file is there, or will not come: intake_is_waiting() is over. */
	void (*went_on)(void *owner);
};

/* CHECKSUM is CRC32C (queue_crc32c); CONFIG face outlives the intake. */
struct intake *intake_new(struct loop *loop, struct log *log,
			  uint32_t (*checksum)(uint32_t crc, const void *data, size_t len));

/* Frees it and all its messages; nobody is told. Takes NULL, leaves NULL. */
void intake_free(struct intake **in);

/* A fresh channel to qmgr; in doubt is what was submitted over the one before. */
void intake_open(struct intake *in, struct channel *qmgr);
/* The channel ended. */
void intake_gone(struct intake *in);

/* For MSG_leased, MSG_intake, MSG_body_file and MSG_settled from qmgr. */
void intake_serve(struct intake *in, struct channel *c, const struct message *m);

/* NULL when mail is taken, else the reply to MAIL: reply_not_yet while qmgr starts, is started
 * again or is about to lease more IDs, for 10 seconds. */
const struct reply *intake_refusal(const struct intake *in);

/* True while only queue-limit refuses mail: a report that is owed is taken all the same. */
bool intake_is_limited(const struct intake *in);

/* Begins a message: its ID is intake_id(). NULL: no ID is left or mail is not taken. */
struct intake_message *intake_begin(struct intake *in, const struct intake_face *face, void *owner);
uint64_t intake_id(const struct intake_message *m);

/* The next octets of its body. */
void intake_body(struct intake_message *m, const uint8_t *data, size_t len);

/* The body waits for its file: the owner stops feeding until went_on(). */
bool intake_is_waiting(const struct intake_message *m);

/*
 * End of data. settled() or lost() follows; false: it was called from within, and M is no more.
 * ENVELOPE and PRELUDE are copied. REPORT: of a message that bounce made, else 0.
 */
bool intake_submit(struct intake_message *m, uint64_t report, struct text envelope,
		   struct text prelude);

/* Its owner gives it up, before submitting or while it waits for the verdict. Takes NULL, leaves
 * NULL. */
void intake_drop(struct intake_message **m);

/* There is no memory for it: its body is given up, its end will be answered 452. */
void intake_shed(struct intake_message *m);

/* Octets of memory that a message takes, and that messages take on their way to qmgr. */
size_t intake_held(const struct intake_message *m);
size_t intake_backlog(const struct intake *in);

/* Messages submitted and not settled. */
size_t intake_unsettled(const struct intake *in);

#endif
