/* SPDX-License-Identifier: ISC */
/*
 * The client's side of SASL (RFC 4422) at a relay: what is said, in answer to
 * what. No I/O; the password or token is the caller's.
 */
#ifndef CHECKER_RELAY_TALK_H
#define CHECKER_RELAY_TALK_H

#include "bytes.h"
#include "sasl.h"
#include "scram.h"

#include <gsasl.h>

/* What a password becomes for a server's salt; kept, since it is much work to make. */
struct salted {
	unsigned mechanism; /* SASL_SCRAM_SHA_256 or SASL_SCRAM_SHA_1; 0: empty */
	uint32_t iterations;
	uint8_t salt[SCRAM_SALT_MAX];
	size_t salt_len;
	char hex[2 * SCRAM_KEY_BYTES + 1];
};

/* Texts and KEPT outlive the talk's calls, not the talk. */
struct talk_secret {
	struct text login, secret; /* password or access token */
	struct text binding;	   /* tls-exporter (RFC 9266), or empty */
	struct salted *kept;
};

struct talk {
	unsigned mechanism;
	uint8_t stage;
	Gsasl_session *sasl;
	struct bytes response; /* to be said */
	bool held;	       /* it did not fit behind the command, and is still to be said */
	bool has_response;     /* false at the beginning only: the mechanism's name alone */
	bool final;	       /* a success is believed from here on */
	const char *why;       /* it failed */
};

/* The best of ALLOWED, a set, with a channel binding or without; 0: none. */
unsigned talk_choose(unsigned allowed, bool binding);

/* Begins. False: WHY. The response is wiped by the next call. */
bool talk_begin(struct talk *t, Gsasl *context, unsigned mechanism, const struct talk_secret *s);
bool talk_step(struct talk *t, const struct talk_secret *s, struct text challenge);
void talk_end(struct talk *t);

/* For token_message's kin: can it stand in a response as it is (RFC 6750 section 2.1)? */
bool talk_token_fits(struct text token);

#endif
