/* SPDX-License-Identifier: ISC */
/* What is known of a connection once its handshake is done; for the log, Received and EXTERNAL. */
#ifndef LIB_TLS_FACTS_H
#define LIB_TLS_FACTS_H

#include "text.h"

/* What a receiver has proved to us. */
enum tls_proof { PROOF_NONE, PROOF_CHAIN, PROOF_DANE_TA, PROOF_DANE_EE, PROOF_FINGERPRINT };

/* Why there is no connection. */
enum tls_fault {
	FAULT_NONE,
	FAULT_HANDSHAKE,   /* no common ground, or the peer hung up */
	FAULT_NAME,	   /* the certificate is for somebody else */
	FAULT_CHAIN,	   /* nobody who is trusted has signed it, or its time has not come */
	FAULT_DANE,	   /* no TLSA record matches */
	FAULT_FINGERPRINT, /* no digest matches */
	FAULT_EXPIRED,	   /* as FAULT_CHAIN: it is no longer good */
};

struct tls_facts {
	struct text version;  /* "TLSv1.3" */
	struct text cipher;   /* "TLS_AES_128_GCM_SHA256", as the registry spells it */
	struct text group;    /* "X25519", of the key exchange, or empty; of receivers */
	struct text name;     /* the name that the client asked for (SNI), or empty */
	struct text subject;  /* of its certificate (RFC 4514), empty: it showed none */
	struct text identity; /* whom it names, if verified: EXTERNAL; else empty */
	int bits;	      /* of the cipher */
	bool verified;	      /* the certificate is one that client-ca signed, and is in date */
	bool resumed;
	bool binds;	      /* tls_link_exporter() has something to give */
	enum tls_proof proof; /* of a receiver */
	enum tls_fault noted; /* what a look at its certificate came to, where one was wished */
};

#endif
