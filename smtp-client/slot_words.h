/* SPDX-License-Identifier: ISC */
/*
 * What a slot says of its hosts: to the log, and in the end in the verdict of
 * a job that none of them would take. Within slot.c's walls: nobody else
 * includes this.
 */
#ifndef SMTP_CLIENT_SLOT_WORDS_H
#define SMTP_CLIENT_SLOT_WORDS_H

#include "slot.h"
#include "tls_plan.h"

/* A reply that is ours and has no code. */
struct reply words_make(const char *dsn, const char *what);

/* Remembers what is wrong with the present host, for the end. */
void slot_trouble(struct slot *s, const struct reply *why);

/* The present host failed: said once a minute, and tried after the others for as long. */
void slot_host_failed(struct slot *s, const struct reply *why);
/* The same, since it could not be connected to. */
void slot_unreachable(struct slot *s, const char *what);

/* Our own address towards the present host can't be had. */
void slot_unbound(struct slot *s, const char *what);
/* No host was left that is of a family of which the source has an address. */
void slot_strange(struct slot *s);

/* The present host did not do what the TLS policy wants. */
void slot_tls_trouble(struct slot *s, const struct reply *why);

/* The same, of what REQUIRETLS asks for and will not be there tomorrow either. */
void slot_tls_final(struct slot *s, const char *dsn, const char *what);

/*
 * RFC 8689 section 5: "When the MAIL FROM return-path is empty, the REQUIRETLS
 * parameter SHOULD NOT cause a bounce message to be discarded even if the
 * next-hop relay does not advertise REQUIRETLS." True when that is so, and its
 * hosts are to be tried again.
 */
bool slot_relaxes(struct slot *s);
void slot_forget_trouble(struct slot *s);

/* What becomes of a job that no host would take; DSN has REPLY_DSN_BYTES for the verdict's. */
enum failure_scope slot_verdict(struct slot *s, struct verdict *v, char *dsn);

/* A line of what TLS there was not, and what was done THEN. */
void slot_log_tls(struct slot *s, const char *what, const char *then);

/* What the present host comes to under the domain's MTA-STS policy, if there is one; for a policy
 * in testing a line of what would have failed. Once a connection. */
void slot_sts(struct slot *s, enum sts_verdict verdict);

/* Where the job went, under what policy, and what TLS there was: into its outcome. */
void slot_say_way(struct slot *s);

#endif
