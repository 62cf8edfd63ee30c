/* SPDX-License-Identifier: ISC */
/*
 * A probe: what would be met on the way of a mail. Each host of a next hop is
 * connected to as a delivery would, as far as EHLO within TLS, and told QUIT;
 * nothing of a mail is said. Bounded in hosts and time.
 */
#ifndef SMTP_CLIENT_PROBE_H
#define SMTP_CLIENT_PROBE_H

#include "worker.h"

struct probe;

/* Begins it; probe_is follows to qmgr. */
void probe_begin(struct worker *w, const struct msg_probe_ask *m);

/* Nobody waits any more. */
void probes_end(struct worker *w);

#endif
