/* SPDX-License-Identifier: ISC */
/*
 * Paths and mailboxes of RFC 5321 section 4.1.2, with RFC 6531's UTF-8. An
 * address is made canonical once, here, and the same form is used by every
 * check and by the delivery: no source route, the domain in lower case, no
 * quotes that are not needed.
 */
#ifndef LIB_ADDRESS_H
#define LIB_ADDRESS_H

#include "envelope.h"
#include "text.h"

#include <stdbool.h>

enum address_result {
	ADDRESS_FINE,
	ADDRESS_NULL,  /* "<>" */
	ADDRESS_ALONE, /* "<word>": no domain; only postmaster may come so */
	ADDRESS_SYNTAX,
	ADDRESS_LONG,
};

/* A mailbox in canonical form, without brackets. */
struct address {
	char text[ADDRESS_MAX + 1]; /* NUL-terminated */
	size_t len, at; /* at: index of the "@" before the domain; len when there is none */
	bool utf8;	/* something in it is not ASCII */
	bool routed; /* the local part holds "@", "%" or "!": somebody further on may take it for a
			route */
};

/*
 * Reads a path "<...>" at the start of *ARGS and moves *ARGS behind it.
 * Source routes are accepted and ignored (RFC 5321 4.1.2). UTF-8 is
 * read, and marked; whether it is allowed is the caller's to say.
 */
enum address_result address_read_path(struct text *args, struct address *a);

/* A mailbox without brackets, the whole of T. */
enum address_result address_read(struct text t, struct address *a);

struct text address_text(const struct address *a);
struct text address_local(const struct address *a);
struct text address_host(const struct address *a); /* the domain; a literal with its brackets */

/* A name for EHLO and HELO: a domain, a literal, or what harmless clients send in its place. */
bool address_is_greeting(struct text t);

#endif
