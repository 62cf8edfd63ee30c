/* SPDX-License-Identifier: ISC */
/*
 * Access tokens from an authorization server (RFC 6749): the request, and
 * what the answer says. No I/O and no clock.
 */
#ifndef CHECKER_TOKEN_ANSWER_H
#define CHECKER_TOKEN_ANSWER_H

#include "bytes.h"
#include "config.h"

enum {
	TOKEN_MAX = 6144, /* octets of an access token: with its login it fits a response */
	REFRESH_MAX = 4096,
};

enum token_given {
	TOKEN_GIVEN,
	TOKEN_DENIED,  /* the server wants another secret, or never: a person has to look */
	TOKEN_TROUBLE, /* not now */
};

struct token_answer {
	enum token_given given;
	struct bytes access, refresh; /* refresh is empty when the old one stays */
	int64_t lifetime_s;
	char why[200]; /* for people; printable */
};

/* Appends the form: with a refresh token (RFC 6749 section 6), or as the client itself (4.4). */
void token_request_put(const struct config_route *route, struct text client_secret,
		       struct text refresh, struct bytes *to);

/* Reads an answer with that status of HTTP. token_answer_free() wipes what it holds. */
void token_answer_read(unsigned status, struct text body, struct token_answer *to);
void token_answer_free(struct token_answer *a);

#endif
