/* SPDX-License-Identifier: ISC */
/* Lines of a mail that Veredus writes itself. */
#ifndef LIB_MAIL_LINE_H
#define LIB_MAIL_LINE_H

#include "bytes.h"
#include "text.h"

/* RFC 5322 section 2.1.1 allows 998 octets; what is beyond MAIL_LINE_BYTES - 1 is cut off. */
enum { MAIL_LINE_BYTES = 4096 };

/* One, with its CRLF; an empty one is "%s", "". */
void mail_line(struct bytes *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As text_printable(), and "?" for what is not ASCII: text that was never ours. Returns TO. */
const char *mail_plain(char *to, size_t size, struct text t);

#endif
