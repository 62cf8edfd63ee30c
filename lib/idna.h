/* SPDX-License-Identifier: ISC */
/* Names of domains as DNS and certificates have them: A-labels (RFC 5890). */
#ifndef LIB_IDNA_H
#define LIB_IDNA_H

#include "text.h"

enum { IDNA_BYTES = 256 };

/*
 * NAME in ASCII (RFC 5891, as RFC 6531 section 3.5 wants it of what is looked up): itself, if it
 * is, else written to TO (IDNA_BYTES). Empty: there is no such name.
 */
struct text idna_ascii(struct text name, char *to);

#endif
