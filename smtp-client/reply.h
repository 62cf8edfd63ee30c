/* SPDX-License-Identifier: ISC */
/*
 * A receiver's replies (RFC 5321 section 4.2), read line by line from bytes
 * that a stranger chose. Bounded in every direction; what comes out is one
 * printable line fit for logs, reports and the queue.
 */
#ifndef SMTP_CLIENT_REPLY_H
#define SMTP_CLIENT_REPLY_H

#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	REPLY_LINE_MAX = 2048,		 /* octets of a line; RFC 5321 4.5.3.1.5 asks for 512 */
	REPLY_CHALLENGE_MAX = 12288 + 8, /* RFC 4954 section 4: that much base64, a code and CRLF */
	REPLY_LINES_MAX = 128,
	REPLY_TEXT_MAX = 512,
	REPLY_DSN_BYTES = 12, /* "5.999.999" and a NUL */
};

struct reply {
	uint16_t code;		   /* 200 to 599 */
	bool enhanced;		   /* dsn was the receiver's, not made from the code */
	char dsn[REPLY_DSN_BYTES]; /* its class is the code's first digit */
	uint16_t len;
	/* "550 5.1.1 no such user": lines joined by blanks, no control characters, valid UTF-8. */
	char text[REPLY_TEXT_MAX + 1];
};

/* Zeroed at first. */
struct reply_reader {
	struct reply reply; /* whole after REPLY_LAST */
	struct text line;   /* the line just taken without its code; until the next call */
	uint16_t lines;	    /* of this reply so far */
	bool whole;	    /* the next line begins a new reply */
	bool challenges;    /* it may be a long challenge: REPLY_CHALLENGE_MAX counts */
};

enum reply_step {
	REPLY_MORE,   /* no whole line is there */
	REPLY_LINE,   /* a line was taken, others follow */
	REPLY_LAST,   /* the last line of a reply was taken */
	REPLY_BROKEN, /* too long, binary, or no reply at all: never read on */
};

/* Takes one line off DATA; returns how many bytes that was. */
size_t reply_read(struct reply_reader *r, const uint8_t *data, size_t len, enum reply_step *step);

/* 2 to 5. */
static inline unsigned reply_class(const struct reply *r)
{
	return r->code / 100u;
}

/* The second and third number of its status are these: reply_status_is(r, ".5.3"). */
bool reply_status_is(const struct reply *r, const char *rest);

#endif
