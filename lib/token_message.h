/* SPDX-License-Identifier: ISC */
/*
 * What a client says who logs in with an OAuth token: the responses of
 * OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's, which it grew from), and the
 * errors that answer them. No I/O; the checker reads, fuzz_token_message plays.
 */
#ifndef LIB_TOKEN_MESSAGE_H
#define LIB_TOKEN_MESSAGE_H

#include "bytes.h"
#include "passwd_file.h"
#include "sasl.h"

enum token_reading {
	TOKEN_READ,
	TOKEN_MALFORMED, /* not what the mechanism says: 501 */
	TOKEN_NONE,	 /* well-formed, but it brings no bearer token: an error like a wrong one */
};

struct token_message {
	char name[LOGIN_MAX + 1]; /* as whom he logs in; may be empty (OAUTHBEARER) */
	struct text token;	  /* within the response; b64token of RFC 6750 section 2.1 */
};

/* MECHANISM is SASL_OAUTHBEARER or SASL_XOAUTH2. */
enum token_reading token_message_read(unsigned mechanism, struct text response,
				      struct token_message *m);

enum token_error { TOKEN_INVALID, TOKEN_SCOPE };

/* Appends the challenge that says what is wrong, in JSON; SCOPE is what would be needed, or empty.
 */
void token_error_put(unsigned mechanism, enum token_error error, struct text scope,
		     struct bytes *to);

#endif
