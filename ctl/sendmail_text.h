/* SPDX-License-Identifier: ISC */
/*
 * The mail on sendmail(1)'s standard input, made into lines that end in CRLF:
 * LF, CRLF and a CR alone each end a line, NULs are left out, and a line that
 * is one dot ends it all unless it is to be kept. Then its header, which is
 * kept whole to be read, and its body, whose longest lines are folded.
 */
#ifndef CTL_SENDMAIL_TEXT_H
#define CTL_SENDMAIL_TEXT_H

#include "bytes.h"
#include "text.h"

#include <stdbool.h>

enum {
	MAIL_HEADER_MAX = 131072,
	MAIL_LINE_MAX = 998, /* RFC 5322 2.1.1, without CRLF */
};

/* Raw octets to lines. Begins with DOTS set and all else zero. */
struct mail_lines {
	bool dots;  /* in: a lone dot is an end */
	bool ended; /* it came: nothing more is taken */
	bool eight; /* an octet was not ASCII */
	bool cr;    /* the last octet was a CR, not yet settled */
	bool inside, dot,
	    bare; /* in a line; a first dot is held; the line began behind a bare CR */
};

void mail_lines_take(struct mail_lines *l, const uint8_t *data, size_t len, struct bytes *to);
/* There is no more: a last line without an end gets one. */
void mail_lines_end(struct mail_lines *l, struct bytes *to);

/*
 * Takes the header off IN, which has whole lines but perhaps the last. True:
 * it is in HEADER, its empty line included, and IN begins with the body; also
 * when the mail has none. False: it goes on, or, with more than MAIL_HEADER_MAX in IN, is too
 * large. An mbox's "From " line in front is left out.
 */
bool mail_header_take(struct bytes *in, bool ended, struct bytes *header);

/* A body's lines on their way, those above MAIL_LINE_MAX folded by CRLF and a blank. Begins as
 * zero. */
struct mail_fold {
	size_t line;
};

void mail_fold_take(struct mail_fold *f, const uint8_t *data, size_t len, struct bytes *to);

#endif
