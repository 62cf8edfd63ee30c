/* SPDX-License-Identifier: ISC */
/* From resolver's hosts to what libcurl is told of a server's addresses. */
#ifndef FETCHER_RESOLVE_H
#define FETCHER_RESOLVE_H

#include "message.h"

enum { RESOLVE_BYTES = 768 }; /* a host, a port and the addresses that are tried */

/*
 * As CURLOPT_RESOLVE wants it, empty for a host that is an address; false:
 * there is none. INSIDE: internal addresses will do as well. RESOLVE_BYTES at TO.
 */
bool resolve_make(struct text url, struct wire_list hosts, bool inside, char *to);

#endif
