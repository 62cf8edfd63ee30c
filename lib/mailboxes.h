/* SPDX-License-Identifier: ISC */
/*
 * The address lists of a header field (RFC 5322 section 3.4): From, To, Cc and
 * their like, with groups, comments, quoted strings, folding and the obsolete
 * forms of section 4.4. Read in one pass, however long the field: nothing is
 * kept but a cursor, nothing is changed, comments nest without recursion.
 *
 * A list that other readers may understand in another way ("a@b <c@d>", two
 * addresses without a comma) is broken, not guessed at: who may send as whom
 * is decided by what is read here.
 */
#ifndef LIB_MAILBOXES_H
#define LIB_MAILBOXES_H

#include "address.h"

struct mailboxes {
	struct text value;
	size_t at;
	bool group;  /* between "name:" and ";" */
	bool broken; /* no address list from here on */
};

struct mailbox {
	struct text local;  /* as written, first octet to last; empty for "<>" */
	struct text domain; /* the same; empty when there is none */
	/* In canonical form; len 0 when it is no mailbox of RFC 5321: "<>", a local part of
	   several quoted strings. */
	struct address address;
	bool alone; /* the address has no domain, but with one it would be a mailbox */
};

/* VALUE is a field's value (header.h) and outlives the reading. */
void mailboxes_begin(struct mailboxes *m, struct text value);

/* The next mailbox, those in groups included; false at the end, and where the list breaks. */
bool mailboxes_next(struct mailboxes *m, struct mailbox *to);

#endif
