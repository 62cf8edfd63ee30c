/* SPDX-License-Identifier: ISC */
/* ID.json of an export, read as what it is: a file from somewhere, of which nothing is believed. */
#ifndef CTL_IMPORT_ENVELOPE_H
#define CTL_IMPORT_ENVELOPE_H

#include "envelope.h"

#include <jansson.h>

struct import_envelope {
	struct bytes envelope;	  /* encoded */
	struct bytes state_items; /* of msg_import.states */
	uint32_t state_count;
	struct text origin; /* points into the JSON */
};

/* Fills TO, which the caller empties with import_envelope_free() in any case. False: WHY (SIZE
 * bytes) names the member and what is wrong with it. */
bool import_envelope_read(const json_t *file, struct import_envelope *to, char *why, size_t size);
void import_envelope_free(struct import_envelope *e);

#endif
