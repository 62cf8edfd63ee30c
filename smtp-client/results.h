/* SPDX-License-Identifier: ISC */
/*
 * What became of TLS with receivers (RFC 8460), gathered for some seconds and
 * sent to limits in one message, which keeps it. Sessions that are alike are
 * one row with a number, so that a busy receiver costs no more than a quiet
 * one. Bounded: what finds no room while limits is away is lost, and counted.
 */
#ifndef SMTP_CLIENT_RESULTS_H
#define SMTP_CLIENT_RESULTS_H

#include "channel.h"
#include "log.h"

struct results;

/* Lives as long as the process. */
struct results *results_new(struct loop *loop, struct log *log);

/* limits came, or went (NULL): what is gathered waits for the next one. */
void results_set_limits(struct results *r, struct channel *limits);

/* One more session such as this; its count is nothing to us. Texts are copied. */
void results_add(struct results *r, const struct rec_tls_result *what);

/* All that is gathered leaves now, if there is somebody to take it. */
void results_send(struct results *r);

#endif
