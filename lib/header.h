/* SPDX-License-Identifier: ISC */
/*
 * Reading a header block (RFC 5322 section 2.2): CRLF lines, a field may go
 * on over lines that begin with a blank. Nothing is changed or copied.
 */
#ifndef LIB_HEADER_H
#define LIB_HEADER_H

#include "text.h"

#include <stdbool.h>

struct header_field {
	struct text name;  /* without the colon */
	struct text value; /* behind the colon, folded lines and all, without the last CRLF */
	struct text whole; /* name to last CRLF */
};

/* Takes the next field off *BLOCK; false at its end, at the empty line, and before what is no
 * field. */
bool header_next(struct text *block, struct header_field *field);

/* Can LINE (with or without CRLF) begin a field: a name of printable ASCII, then a colon? */
bool header_is_field(struct text line);

/* Is none of LINES longer than MOST octets, its CRLF left out? */
bool header_lines_fit(struct text lines, size_t most);

/* What the session engine wants to know, in one pass. */
struct header_facts {
	struct text message_id; /* without <> and blanks around it; of the first such field */
	unsigned received;
	bool date, from;
	bool has_message_id;
	bool tls_optional; /* TLS-Required: No, and no second such field (RFC 8689 section 3) */
};
struct header_facts header_read_facts(struct text block);

#endif
