/* SPDX-License-Identifier: ISC */
/*
 * Token introspection (RFC 7662): the request, and what the authorization
 * server's answer means for a login. No I/O and no clock of its own.
 */
#ifndef CHECKER_INTROSPECTION_H
#define CHECKER_INTROSPECTION_H

#include "config.h"
#include "passwd_file.h"
#include "sasl.h"
#include "token_message.h"

enum { TOKEN_SECRET_MAX = 1024 };

/* What the answer says. WHY is for the log, and never holds a word of the answer. */
struct introspection {
	enum auth_verdict verdict; /* AUTH_GOOD, AUTH_WRONG, or AUTH_TEMPORARY: it is no answer */
	enum token_error error;	   /* of AUTH_WRONG: what the client hears */
	const char *why;
	int64_t expires_s;	   /* since 1970; 0: it does not say */
	char login[LOGIN_MAX + 1]; /* of AUTH_GOOD */
};

/* Reads the body of an answer with status 200. NAME is whom the client says to be, or empty. */
void introspection_read(const struct config *config, struct text body, const char *name,
			int64_t now_s, struct introspection *to);

/* Appends the request's body; the value of its Authorization, if there is a secret. */
void introspection_put_body(struct text token, struct bytes *to);
void introspection_put_authorization(const struct config *config, struct text secret,
				     struct bytes *to);

#endif
