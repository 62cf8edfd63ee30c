/* SPDX-License-Identifier: ISC */
/* veredus route --connect: what the hosts did when they were tried, for people and as JSON. */
#ifndef CTL_ROUTE_TRY_H
#define CTL_ROUTE_TRY_H

#include "message.h"

#include <jansson.h>

void tried_text(const struct msg_tried *tried);
json_t *tried_json(const struct msg_tried *tried);

/* Would some host take mail? */
bool tried_well(const struct msg_tried *tried);

#endif
