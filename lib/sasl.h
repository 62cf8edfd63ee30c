/* SPDX-License-Identifier: ISC */
/* SASL (RFC 4422) as engines and the checker speak of it: mechanisms, and how an exchange ends. */
#ifndef LIB_SASL_H
#define LIB_SASL_H

#include "text.h"

#include <stdint.h>

/* Bits, so that a set of them is a number. Offered in this order. */
enum sasl_mechanism {
	SASL_SCRAM_SHA_256_PLUS = 1 << 0, /* RFC 7677, bound to the TLS channel (RFC 9266) */
	SASL_SCRAM_SHA_256 = 1 << 1,
	SASL_EXTERNAL = 1 << 2,	   /* the client's certificate (RFC 4422 appendix A) */
	SASL_PLAIN = 1 << 3,	   /* RFC 4616 */
	SASL_LOGIN = 1 << 4,	   /* draft-murchison-sasl-login: what old programs know */
	SASL_OAUTHBEARER = 1 << 5, /* RFC 7628 */
	SASL_XOAUTH2 = 1 << 6,	   /* Google's: what it grew from, and what most programs know */
	/* RFC 5802: only where we are the client, and the server has nothing newer. */
	SASL_SCRAM_SHA_1_PLUS = 1 << 7,
	SASL_SCRAM_SHA_1 = 1 << 8,
};

#define SASL_TOKENS (SASL_OAUTHBEARER | SASL_XOAUTH2)
#define SASL_ALL ((1 << 7) - 1) /* what a server of ours can do */
#define SASL_SCRAMS                                                                                \
	(SASL_SCRAM_SHA_256_PLUS | SASL_SCRAM_SHA_256 | SASL_SCRAM_SHA_1_PLUS | SASL_SCRAM_SHA_1)
#define SASL_BOUND (SASL_SCRAM_SHA_256_PLUS | SASL_SCRAM_SHA_1_PLUS)
#define SASL_PASSWORDS (SASL_SCRAMS | SASL_PLAIN | SASL_LOGIN) /* at a relay */
enum {
	SASL_MESSAGE_MAX = 9216, /* octets; 12,288 in base64 (RFC 4954 section 4) */
	SASL_BINDING_MAX = 64,	 /* octets of a channel binding; tls-exporter has 32 */
};

/* How an exchange ended. What the client hears is the engine's affair. */
enum auth_verdict {
	AUTH_GOOD,
	AUTH_WRONG,	/* name, password or proof */
	AUTH_DISABLED,	/* the right password of a disabled login */
	AUTH_MALFORMED, /* not what the mechanism says */
	AUTH_TEMPORARY, /* nothing could be checked */
	AUTH_LATER,	/* too many attempts: this one was not looked at */
	AUTH_VERDICTS
};

/* "SCRAM-SHA-256-PLUS"; "?" for what is none. */
const char *sasl_name(unsigned mechanism);

/* The mechanism with that name (in any case), 0 when there is none; of those that a server of ours
 * can do, or of all. */
unsigned sasl_mechanism_of(struct text name);
unsigned sasl_client_mechanism_of(struct text name);

/* How safe a connection is on which we log in, and how that went. */
enum relay_safety {
	RELAY_CLEAR,	 /* no TLS, and the receiver is this very machine */
	RELAY_ENCRYPTED, /* TLS with whomever, as the route wants it */
	RELAY_PROVED,	 /* the receiver has proved who it is */
	RELAY_SAFETIES
};
enum relay_outcome {
	RELAY_GOOD,
	RELAY_REFUSED, /* name, password or token: 535 and its kin */
	RELAY_GONE,    /* anything else ended it */
	RELAY_OUTCOMES
};

#endif
