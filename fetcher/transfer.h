/* SPDX-License-Identifier: ISC */
/*
 * Requests over HTTPS, many at once, by libcurl on the process's loop: HTTP/1.1,
 * no redirects, no proxy, certificates always checked. The addresses of a
 * host come from the caller; nothing here looks a name up or opens a file.
 */
#ifndef FETCHER_TRANSFER_H
#define FETCHER_TRANSFER_H

#include "loop.h"
#include "message.h"

#include <openssl/x509.h>

enum {
	TRANSFER_HEADER_MAX = 65536, /* octets of an answer's header */
	TRANSFER_BODY_MAX = 65536,
	TRANSFER_LIMIT_MAX_MS = 60000,
	TRANSFER_REASON_MAX = 256,
	TRANSFER_CONNECTIONS = 16, /* at once, and kept for the next request */
};

struct transfers;
struct transfer;

/* Copied by transfer_start(). */
struct transfer_request {
	struct text url, body;
	struct wire_list fields; /* rec_field */
	struct text resolve;	 /* "HOST:PORT:ADDRESS,ADDRESS", IPv6 in brackets; or empty */
	enum fetch_method method;
	size_t answer_max;
	struct duration limit;
	X509_STORE *authorities; /* who may sign; held until the end */
	bool once;		 /* the connection is for nothing else, before or after */
};

/* Texts live until the callback returns. */
struct transfer_result {
	enum fetch_outcome outcome;
	uint16_t status;
	struct text reason, type, body;
};

/*
 * At most CONNECTIONS at once. Before the jail: libcurl and OpenSSL read their
 * settings. NULL: libcurl cannot start.
 */
struct transfers *transfers_new(struct loop *loop, unsigned connections);

/* DONE follows once, never from within; the transfer is gone after it. NULL: it cannot be made. */
struct transfer *transfer_start(struct transfers *all, const struct transfer_request *request,
				void (*done)(void *arg, const struct transfer_result *result),
				void *arg);

/* Ends it without done(). Takes NULL, leaves NULL. */
void transfer_cancel(struct transfer **transfer);

#endif
