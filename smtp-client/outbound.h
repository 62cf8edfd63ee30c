/* SPDX-License-Identifier: ISC */
/*
 * A mail transaction of a dialog: who is in it, its commands, and what they
 * are answered with. Within dialog.c's walls: nobody else includes this.
 */
#ifndef SMTP_CLIENT_OUTBOUND_H
#define SMTP_CLIENT_OUTBOUND_H

#include "dialog_private.h"

/* -- verdicts */

/* By the first digit alone (RFC 5321 4.2.1); what is neither 2 nor 5 counts as deferred. */
struct verdict outbound_verdict(const struct reply *r);

/* The job leaves the engine, all of it settled; the connection stays, if it can. */
enum dialog_says outbound_job_settled(struct dialog *d);

/* All in STAGE of this transaction get REPLY's verdict. */
void outbound_settle(struct dialog *d, enum recipient_stage stage, const struct reply *reply);

/* The next recipient of this transaction from *CURSOR that is in STAGE; NULL: none. */
struct recipient *outbound_next(const struct dialog *d, uint32_t *cursor,
				enum recipient_stage stage);

/* -- sending */

/*
 * Begins a transaction with the recipients that wait, if there are any. The
 * job is settled when there are none; a connection that may carry no more
 * says DIALOG_AGAIN.
 */
enum dialog_says outbound_begin(struct dialog *d);

/* JOB's content would go behind its commands, as a chunk. */
bool outbound_chunks(const struct dialog *d, const struct job *job);

/* Sends JOB as far as one may, beginning with VERB; what is under way stays. */
void outbound_send_behind(struct dialog *d, struct job *job, enum dialog_verb verb);

/* The rest of the job is for later, behind what was sent ahead. */
enum dialog_says outbound_later(struct dialog *d);

/* Sends on, as far as the receiver lets us: to the end with PIPELINING, a command without. */
enum dialog_says outbound_send(struct dialog *d);

/* A transaction is over, its failures have been settled: the next one, if need be. */
enum dialog_says outbound_end(struct dialog *d, bool fine);

/* After the 354: the content, or the prelude of one whose body is in a file. */
enum dialog_says outbound_content(struct dialog *d);
void outbound_content_end(struct dialog *d);

/* -- replies, a handler a verb */

enum dialog_says outbound_on_rset(struct dialog *d, struct reply *r);
enum dialog_says outbound_on_mail(struct dialog *d, struct reply *r);
enum dialog_says outbound_on_rcpt(struct dialog *d, struct reply *r);
enum dialog_says outbound_on_data(struct dialog *d, struct reply *r);
enum dialog_says outbound_on_content(struct dialog *d, struct reply *r);
enum dialog_says outbound_on_dot(struct dialog *d, struct reply *r);
enum dialog_says outbound_on_lone_dot(struct dialog *d, struct reply *r);

#endif
