/* SPDX-License-Identifier: ISC */
/* What is known of a connection once its handshake is done; for the log, Received and EXTERNAL. */
#ifndef LIB_TLS_FACTS_H
#define LIB_TLS_FACTS_H

#include "text.h"

struct tls_facts {
	struct text version;  /* "TLSv1.3" */
	struct text cipher;   /* "TLS_AES_128_GCM_SHA256", as the registry spells it */
	struct text name;     /* the name that the client asked for (SNI), or empty */
	struct text subject;  /* of its certificate (RFC 4514), empty: it showed none */
	struct text identity; /* whom it names, if verified: EXTERNAL; else empty */
	int bits;	      /* of the cipher */
	bool verified;	      /* the certificate is one that client-ca signed, and is in date */
	bool resumed;
	bool binds; /* tls_link_exporter() has something to give */
};

#endif
