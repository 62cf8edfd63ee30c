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
};

const char *dnssec_word(uint8_t state);	    /* "secure" */
const char *origin_word(uint8_t origin);    /* "MX", ... */
const char *tlsa_state_word(uint8_t state); /* "usable", for programs */
const char *tlsa_state_text(uint8_t state); /* for people */
const char *tlsa_fault_text(uint8_t fault);
const char *host_use_text(uint8_t use);

json_t *route_json(const struct route_view *view);

#endif
