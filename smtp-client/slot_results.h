/* SPDX-License-Identifier: ISC */
/*
 * What a slot's sessions tell the reports on TLS (RFC 8460). RFC 8460 section
 * 4.2 counts sessions, and each for a domain's policy: a connection counts once
 * for each domain whose mail went over it, however much mail that was, and a
 * host that got none since TLS failed counts once for each domain that was
 * waiting. What is under a policy of the route's own (may, encrypt, verify,
 * fingerprint) is not the domain's affair and is not counted, nor is what the mail itself
 * asks for (RFC 8689); nor is LMTP, an
 * address literal, or the delivery of such reports themselves.
 *
 * A session under a policy of MTA-STS in testing counts as a failure where the
 * policy would have had it fail, though the mail goes.
 */
#ifndef SMTP_CLIENT_SLOT_RESULTS_H
#define SMTP_CLIENT_SLOT_RESULTS_H

#include "slot.h"

/* The connection is up, and the slot's job goes over it now. */
void slot_count_given(struct slot *s);

/* TLS with the present host failed: FAULT as in tls_facts.h. */
void slot_count_failed(struct slot *s, unsigned fault, const char *why);

/* The present host refused TLS, or does not have it, and the policy wants it. */
void slot_count_lacking(struct slot *s, const char *why);

/* The present host gets no mail: what DNS says of it makes TLS impossible. */
void slot_count_impossible(struct slot *s, const char *why);

/* The connection is over. */
void slot_forget_counted(struct slot *s);

#endif
