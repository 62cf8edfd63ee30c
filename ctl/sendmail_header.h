/* SPDX-License-Identifier: ISC */
/*
 * What sendmail(1) reads in a mail's header and writes into it: the recipients
 * of -t, and From when there is none. All other repairs are submission's, for
 * all mail alike.
 */
#ifndef CTL_SENDMAIL_HEADER_H
#define CTL_SENDMAIL_HEADER_H

#include "address.h"
#include "bytes.h"
#include "text.h"

#include <stdbool.h>

/* Addresses, each once; those without a domain are taken: submission gives them ours. */
struct recipients {
	char **items; /* owned */
	size_t count;
	bool utf8;     /* one of them is not ASCII */
	char why[256]; /* when false was returned */
};

/* False: it is no address, or one too many. */
bool recipients_add(struct recipients *r, struct text address);
/* A list as it stands on a command line: "ann@example.net, Bob <bob@example.net>". */
bool recipients_add_list(struct recipients *r, struct text list);
void recipients_free(struct recipients *r);

/*
 * Those of To, Cc and Bcc; where there are Resent-To, Resent-Cc or Resent-Bcc,
 * those of the first set of them alone (RFC 5322 3.6.6: the latest). False: a
 * field cannot be read.
 */
bool header_recipients(struct text header, struct recipients *r);

/* The header without Bcc and Resent-Bcc. */
void header_without_blind(struct text header, struct bytes *to);

/*
 * "From: NAME <SENDER>" in front of it, if it has no From. NAME is made harmless and, if it is not
 * ASCII, encoded (RFC 2047); empty: only the address. An empty SENDER is MAILER-DAEMON.
 */
void header_put_from(struct text header, struct text name, struct text sender, struct bytes *to);

bool header_has(struct text header, const char *name);

/* Index of a line that is longer than RFC 5322 2.1.1 lets it be, from 1; 0: there is none. */
size_t header_long_line(struct text header);

#endif
