/* SPDX-License-Identifier: ISC */
/*
 * Writes a delivery status notification (RFC 3461 section 6, RFC 3464, RFC
 * 6522, RFC 6533): a pure function from what qmgr tells to a whole message.
 * Everything in it that strangers wrote (addresses, replies, xtext) is made
 * printable and folded: it can neither add a line nor drive a terminal.
 */
#ifndef BOUNCE_REPORT_H
#define BOUNCE_REPORT_H

#include "clock.h"
#include "message.h"

enum {
	REPORT_CONTENT_MAX = 393216, /* as handin's content */
	REPORT_UNIQUE_BYTES = 33,    /* 32 hexadecimal digits and a NUL */
};

struct report_maker {
	struct text hostname;	/* ours */
	struct text postmaster; /* an address; takes double bounces */
	struct walltime now;
	char unique[REPORT_UNIQUE_BYTES]; /* random: nobody can write our boundary beforehand */
};

/* What must be known to send it. */
struct report_form {
	struct text to;	   /* the one recipient; the maker's or the report's memory */
	uint8_t body_type; /* BODY_7BIT or BODY_8BITMIME */
	uint8_t smtputf8;
	uint8_t tls; /* enum mail_tls */
};

/*
 * Appends the message to OUT, CRLF lines, at most REPORT_CONTENT_MAX bytes:
 * what does not fit is left out, of the original first, then of what is said
 * about each recipient beyond the fields that RFC 3464 requires.
 */
void report_build(const struct report_maker *maker, const struct msg_report *report,
		  struct bytes *out, struct report_form *form);

#endif
