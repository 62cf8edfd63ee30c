/* SPDX-License-Identifier: ISC */
/*
 * May this login send from these addresses (RFC 6409 6.1)? Asks the tables
 * that the configuration names, and answers with nothing or a refusal:
 *
 *   the login's list in `senders`, else that of "*": what it names, and no more
 *   no list, and the login is an address: that address and its plus forms
 *   no list, and the login is a local user ("uid:1000"), or there is no table: all addresses
 *   no list, but a table: none
 *
 * An address that `aliases` gives for one of these is allowed as well. A table
 * that can't be read is 451, never a refusal. The null sender is always
 * allowed (RFC 6409 3.2), and what From says is asked about all the same.
 *
 * In the header that is From and Sender, and of mail that is sent again
 * Resent-From and Resent-Sender of the latest time (RFC 5322 3.6.6) beside
 * them: to send an address's mail on under its From takes the right to it, or
 * "Resent-From:" would give everybody every From. A source route before an
 * address (<@a,@b:c@d>, RFC 5322 4.4) is nobody: c@d is asked about.
 */
#ifndef LIB_RIGHTS_CHECK_H
#define LIB_RIGHTS_CHECK_H

#include "config.h"
#include "lookup.h"
#include "reply.h"

struct rights_check;

/* R is NULL when all is allowed, and lives until it returns. */
typedef void rights_done(void *owner, const struct reply *r);

struct rights_ask {
	const struct config *config; /* outlives the check */
	struct lookups *lookups;
	struct text login;  /* empty: nobody, who needs no rights */
	struct text sender; /* of the envelope; empty: not asked about */
	struct text header; /* whose authors are asked about; empty: none */
	rights_done *done;
	void *owner;
};

enum { RIGHTS_ADDRESSES_MAX = 100 }; /* authors of a message */

/* Texts are copied. NULL: DONE was called from within. */
struct rights_check *rights_check_start(const struct rights_ask *ask);

/* Takes NULL, leaves NULL; DONE is not called. */
void rights_check_cancel(struct rights_check **check);

#endif
