/* SPDX-License-Identifier: ISC */
/* Pieces of a report: text that strangers wrote, as lines and fields that are safe. */
#ifndef BOUNCE_REPORT_FIELD_H
#define BOUNCE_REPORT_FIELD_H

#include "bytes.h"
#include "text.h"

#include <stdbool.h>

enum { PRINTABLE_BYTES = 2560 }; /* 600 bytes of a field, each as \xNN at worst */

void put_text(struct bytes *b, const char *text);
void put_format(struct bytes *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As text_printable(); with ASCII_ONLY what is above 127 becomes \x{...} (RFC 6533 section 3) or
 * \xNN. */
size_t printable(char *to, size_t size, struct text t, bool ascii_only);

/*
 * "NAME: VALUE", folded: lines stay under 78 where there are blanks, and far
 * under 998 (RFC 5322 section 2.1.1) where there are none.
 */
void put_field(struct bytes *b, const char *name, const char *value);

/* VALUE as lines of at most 78 that begin with INDENT. */
void put_wrapped(struct bytes *b, const char *indent, const char *value);

/*
 * Decodes xtext (RFC 3461 section 4): "+" and two upper-case hexadecimal
 * digits. False for what is none, and for what is not printable ASCII when
 * decoded: such text is left out of a report. TO holds SIZE bytes with a NUL.
 */
bool xtext_decode(char *to, size_t size, struct text xtext);

/* Is it "D.D.D" of RFC 3463, beginning with 2, 4 or 5? */
bool status_is_good(struct text dsn);

#endif
