/* SPDX-License-Identifier: ISC */
/* The answer of veredus route: its words, and as JSON. */
#ifndef CTL_ROUTE_VIEW_H
#define CTL_ROUTE_VIEW_H

#include "message.h"

#include <jansson.h>

struct route_view {
	const struct msg_route_is *is;
	const char *config_path;
	uint32_t line; /* of the route block in that file; 0: there is none */
	bool changed;  /* the file says something else than what is served */
	bool requires; /* of mail with REQUIRETLS (RFC 8689) */
};

const char *sender_by_word(uint8_t by);	    /* "sender", "sender-routes", or empty */
const char *policy_of(uint8_t policy);	    /* as the configuration spells it */
const char *dnssec_word(uint8_t state);	    /* "secure" */
const char *origin_word(uint8_t origin);    /* "MX", ... */
const char *tlsa_state_word(uint8_t state); /* "usable", for programs */
const char *tlsa_state_text(uint8_t state); /* for people */
const char *tlsa_fault_text(uint8_t fault);
const char *host_use_text(uint8_t use);

/* What the connection to a host will be, by the route's policy, the host's TLSA records, and the
 * domain's MTA-STS policy. */
enum tls_level {
	LEVEL_MAY,	   /* TLS if it is offered, else in the clear */
	LEVEL_ENCRYPTED,   /* TLS, with whatever certificate */
	LEVEL_VERIFIED,	   /* TLS, with a certificate that tls-authorities vouch for */
	LEVEL_FINGERPRINT, /* TLS, with a certificate or key that the route names */
	LEVEL_DANE,	   /* TLS, with a certificate that a TLSA record fits */
	LEVEL_STS,	   /* TLS, with a certificate for its name: the domain's MTA-STS policy */
	LEVEL_UNNAMED,	   /* no mail to it: that policy does not name it */
	LEVEL_NONE,	   /* no mail to it now */
	LEVEL_UNVOUCHED,   /* REQUIRETLS: nobody vouches for its name, and the mail comes back */
	LEVEL_UNNAMEABLE,  /* the same: it is an address, which no certificate is for */
};
enum tls_level host_level(const struct route_view *view, const struct rec_path_host *host);
const char *level_word(enum tls_level level); /* for programs */
const char *level_text(enum tls_level level); /* for people */

json_t *route_json(const struct route_view *view);

#endif
