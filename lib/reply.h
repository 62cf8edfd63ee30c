/* SPDX-License-Identifier: ISC */
/*
 * An SMTP reply (RFC 5321 section 4.2): code, enhanced status code (RFC 3463)
 * and one line of text. The session engine writes them; whoever answers one
 * of its questions hands one in.
 */
#ifndef LIB_REPLY_H
#define LIB_REPLY_H

#include "bytes.h"
#include "text.h"

#include <stdbool.h>
#include <stdint.h>

/* 512 octets with code, enhanced code and CRLF (RFC 5321 4.5.3.1.5). */
enum { REPLY_TEXT_MAX = 480, REPLY_LINE_MAX = 512 };

/* Owns nothing: whoever keeps one copies the text. */
struct reply {
	uint16_t code;
	const char *dsn;  /* "5.7.1"; NULL where RFC 2034 wants none */
	struct text text; /* cut to REPLY_TEXT_MAX when written */
};

#define REPLY(code, dsn, literal)                                                                  \
	{                                                                                          \
		(code), (dsn), TEXT(literal)                                                       \
	}

/*
 * 451 while it is not known yet whether mail is taken. A session that hears it from its host says
 * nothing and asks again soon; who hands mail in takes it for the refusal that it is.
 */
extern const struct reply reply_not_yet;

/* Appends "CODE DSN TEXT" CRLF, or "CODE-DSN TEXT" when MORE lines follow. What is not printable
 * ASCII becomes "?". */
void reply_write(struct bytes *out, const struct reply *r, bool more);

/* The same line without CRLF, for the log; TO holds REPLY_LINE_MAX. */
struct text reply_line(const struct reply *r, char *to);

#endif
