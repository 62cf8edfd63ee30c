/* SPDX-License-Identifier: ISC */
/*
 * A message's content on its way out: CRLF lines, checked so that nothing
 * leaves that another server could take for the end of data, and
 * dot-stuffed for DATA (RFC 5321 section 4.5.2).
 */
#ifndef SMTP_CLIENT_CONTENT_H
#define SMTP_CLIENT_CONTENT_H

#include "bytes.h"
#include "text.h"

#include <stdbool.h>

/* Where in a line the next byte stands. */
enum content_place { CONTENT_LINE_START, CONTENT_IN_LINE, CONTENT_AFTER_CR };

/*
 * True when every CR and LF of it is part of a CRLF, and the last line has
 * one. Empty is fine. *DOTTED tells whether a line begins with a dot.
 */
bool content_is_clean(struct text content, bool *dotted);

/*
 * Appends a block to OUT, dots doubled at the start of lines. *PLACE carries
 * over from block to block, CONTENT_LINE_START at first and, when all is
 * well, at the end. False at a bare CR or LF; OUT then holds a part of it.
 */
bool content_stuff(enum content_place *place, struct bytes *out, struct text block);

#endif
