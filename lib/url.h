/* SPDX-License-Identifier: ISC */
/* Addresses of HTTPS services: https://HOST[:PORT][/PATH][?QUERY], and no other form (RFC 3986). */
#ifndef LIB_URL_H
#define LIB_URL_H

#include "bytes.h"
#include "text.h"

enum { URL_MAX_BYTES = 1024 };

struct url {
	struct text host; /* a name or an address, without brackets */
	uint16_t port;	  /* 443 unless said */
};

/* Texts of URL point into T. NULL when it is one, else what is wrong with it. */
const char *url_read(struct text t, struct url *url);

/* Appends T as a value of application/x-www-form-urlencoded. */
void url_put_encoded(struct bytes *to, struct text t);

#endif
