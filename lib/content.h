/* SPDX-License-Identifier: ISC */
/*
 * A message's content on its way in: checked line by line, its header block
 * kept, its body handed on. Takes octets in pieces of any size, as they come
 * out of DATA (dots already taken off), BDAT or a hand-in.
 */
#ifndef LIB_CONTENT_H
#define LIB_CONTENT_H

#include "bytes.h"
#include "text.h"

#include <stdbool.h>
#include <stdint.h>

/* The first thing that is wrong; everything behind it is thrown away. */
enum content_fault {
	CONTENT_FINE,
	CONTENT_BARE, /* LF without CR, or CR without LF (RFC 5321 2.3.8) */
	CONTENT_NUL,
	CONTENT_LINE,	/* a line above limit_line */
	CONTENT_HEADER, /* the header block is above limit_header */
	CONTENT_SIZE,	/* all of it is above limit_octets */
	CONTENT_SHED,	/* content_shed() was called */
};

struct content {
	/* Set by the owner before the first octet. */
	uint64_t limit_octets;
	size_t limit_header, limit_line;
	bool normalise; /* a bare CR or LF becomes CRLF instead of a fault */
	void (*body)(void *owner, const uint8_t *data, size_t len);
	void *owner;

	/* Read by the owner. */
	enum content_fault fault;
	struct bytes head; /* the header block with its empty line, if that has come */
	bool in_body;	   /* the header block is complete */
	bool headless;	   /* it ended without an empty line, before a line that is no field */
	uint64_t octets;   /* of all that came, CRLF counted (RFC 1870 section 5) */

	size_t line_used; /* octets of the line begun */
	size_t head_line; /* where it begins in head */
	bool cr;	  /* the last octet was a CR */
};

/*
 * Takes octets; returns how many: all of them, but for one stop behind the end
 * of the header block, so that its owner can look at it before any of the
 * body. That stop may be before the first octet, when it shows that a CR before was bare.
 */
size_t content_take(struct content *c, const uint8_t *data, size_t len);

/* There is no more: a last line without an end gets one. */
void content_end(struct content *c);

/* There is no memory for it: what is kept is given up, what still comes thrown away. */
void content_shed(struct content *c);

void content_free(struct content *c);

#endif
