/* SPDX-License-Identifier: ISC */
/*
 * Routes that log in at their next hop: a relay with a name and a password,
 * or with tokens. Their files are opened by master and read by the checker.
 */
#ifndef LIB_ROUTE_LOGIN_H
#define LIB_ROUTE_LOGIN_H

#include "config.h"

enum {
	ROUTE_LOGINS_MAX = 4096,
	ROUTE_TOKENS_MAX = 256,	       /* of these, those that log in with tokens */
	ROUTE_PASSWORDS_AT_ONCE = 256, /* the checker asks for others when it needs them */
	ROUTE_STATE_BYTES = 40,
	ROUTE_SITE_BYTES = 256,
};

/* How many there are; the one with that number, NULL when there is none. */
unsigned route_logins(const struct config *config);
const struct config_route *route_login_at(const struct config *config, unsigned index);

/* The number of the route with that pattern; route_logins() when it is none. */
unsigned route_login_of(const struct config *config, struct text label);

/* Does one of them log in with tokens? */
bool route_logins_by_token(const struct config *config);

/* Which mechanisms may be used: a set of enum sasl_mechanism. */
unsigned route_login_mechanisms(const struct config_route *route);

/* LOGIN_KEY and the fingerprint, for the key of a connection, 23 octets; nothing without a login.
 */
#define LOGIN_KEY " login="
size_t route_login_key(const struct config_route *route, char *to);

/*
 * The limits' key: a relay counts and judges each login for itself. SITE, or
 * "SITE/LOGIN" in TO (ROUTE_SITE_BYTES).
 */
struct text route_login_site(const struct config_route *route, struct text site, char *to);
/* SITE without the login. */
struct text route_site_alone(struct text site);

/* What the file is called in which a refresh token that came later is kept; ROUTE_STATE_BYTES. */
const char *route_state_name(const struct config_route *route, char *to);

/* For config_read(): what does not fit together, and the fingerprints. */
void route_logins_finish(struct config *config, struct config_errors *errors);
/* For config_check_machine(): the files. */
void route_logins_check(const struct config *config, struct config_errors *errors);

#endif
