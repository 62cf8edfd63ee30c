/* SPDX-License-Identifier: ISC */
/*
 * The record by which a domain asks for reports on TLS (RFC 8460 section 3):
 * the TXT records at _smtp._tls.DOMAIN in, whom to report to out. Strangers
 * write them: strict, bounded, no I/O.
 */
#ifndef LIMITS_TLS_RECORD_H
#define LIMITS_TLS_RECORD_H

#include "text.h"

#include <stdbool.h>

enum {
	TLS_RECORD_BYTES = 1024, /* of a longer one nothing is read */
	TLS_TARGETS_MOST = 4,	 /* of one domain; those beyond get nothing */
	TLS_TARGET_BYTES = 1024,
};

/* Who wants a report. */
struct tls_target {
	bool https; /* TO is a URL as url.h knows it; else an address of RFC 5321, ASCII */
	char to[TLS_TARGET_BYTES + 1];
};

struct tls_record {
	struct tls_target targets[TLS_TARGETS_MOST];
	size_t count;
};

/* One record, its strings joined. False: it is none, or names nobody who can be reported to. */
bool tls_record_read(struct text t, struct tls_record *to);

/* Does it begin as one? "records that do not begin with "v=TLSRPTv1;" are discarded". */
bool tls_record_begins(struct text t);

#endif
