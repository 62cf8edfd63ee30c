/* SPDX-License-Identifier: ISC */
/* Who the other side of a TLS connection says it is: its certificate, for people to read. */
#ifndef LIB_TLS_PEER_H
#define LIB_TLS_PEER_H

#include "tls_link.h"

#include <stdint.h>

struct tls_peer {
	char subject[256], issuer[256]; /* RFC 4514, cut */
	char names[1024];		/* DNS names, a blank apart; those that fit */
	int64_t until;			/* seconds since 1970: it is valid so long; 0: not known */
};

/* False: it showed none. Printable in all parts. */
bool tls_link_peer(struct tls_link *link, struct tls_peer *to);

#endif
