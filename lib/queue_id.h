/* SPDX-License-Identifier: ISC */
/* Queue IDs: 64-bit numbers, for people in upper-case letters and digits (base 36). */
#ifndef LIB_QUEUE_ID_H
#define LIB_QUEUE_ID_H

#include "text.h"

#include <stdbool.h>
#include <stdint.h>

enum { QUEUE_ID_BYTES = 14 }; /* 13 digits and a NUL */

/* Writes ID to TO (QUEUE_ID_BYTES), NUL-terminated; returns TO. */
char *queue_id_print(uint64_t id, char *to);

/* Reads one; false for anything else, also for 0. Lower case is taken too. */
bool queue_id_parse(struct text t, uint64_t *id);

#endif
