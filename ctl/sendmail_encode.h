/* SPDX-License-Identifier: ISC */
/*
 * Octets that are not ASCII in the header of a program's mail, as encoded
 * words (RFC 2047): so the mail goes to receivers without SMTPUTF8 as well.
 */
#ifndef CTL_SENDMAIL_ENCODE_H
#define CTL_SENDMAIL_ENCODE_H

#include "bytes.h"
#include "text.h"

/*
 * Appends HEADER with names in From, To and their like, and the text of Subject and all fields
 * that have no structure, encoded. Addresses and what else has a structure stay as they are, and
 * all of it when it is signed. What is no UTF-8 is said to be "unknown-8bit" (RFC 1428).
 */
void header_encode(struct text header, struct bytes *to);

/* Encoded words for T, one or more, with a fold between two. */
void header_put_words(struct bytes *to, struct text t);

#endif
