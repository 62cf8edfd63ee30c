/* SPDX-License-Identifier: ISC */
/*
 * The envelope of a message (RFC 5321 section 2.3.1), as it travels from the
 * session engine to qmgr and stands on disk: typed fields, each a u16 tag, a
 * u32 length and a value. Unknown tags are skipped by readers and kept on
 * disk, so that an older Veredus can carry what a newer one wrote.
 */
#ifndef LIB_ENVELOPE_H
#define LIB_ENVELOPE_H

#include "message.h"

enum {
	ADDRESS_MAX = 320, /* 64 + "@" + 255 (RFC 5321 4.5.3.1) */
	TARGET_MAX = 1000,
	ORCPT_MAX = 500, /* RFC 3461 section 4.2 */
	ENVID_MAX = 100, /* RFC 3461 section 4.4 */
	SUBMITTER_MAX = 255,
	SOURCE_MAX = 32,	/* of the name of a source, or a pool of them */
	ROUTE_NAME_MAX = 33,	/* of the name of a route, with its mark */
	RECIPIENTS_MAX = 10000, /* of one message, whatever the configuration says */
};

/* What the name of a route that senders name begins with. */
#define ROUTE_MARK "@"

struct envelope {
	struct text sender; /* reverse-path without brackets; empty is null */
	struct text
	    submitter; /* unit of fairness: "login:ann", "net:192.0.2.7", "uid:1000", "bounce" */
	struct text login;  /* authenticated as, or empty */
	struct text client; /* "192.0.2.7" or "[2001:db8::1]"... as the log prints it, or empty */
	struct text helo;
	struct text protocol; /* RFC 3848 name: "ESMTP" */
	struct text envid;    /* xtext as given, or empty */
	struct text
	    message_id;	    /* Message-ID of the header without <>, cut to 250 bytes; for trace */
	struct text hold;   /* why it is held as soon as it is taken; empty: it is not */
	struct text source; /* chosen for its sender: a source's name; empty: none */
	struct text route;  /* likewise: "@big" */
	uint8_t ret;	    /* enum dsn_ret */
	uint8_t body_type;  /* enum body_type */
	uint8_t smtputf8;   /* 1: SMTPUTF8 was given */
	uint8_t tls;	    /* enum mail_tls */
	uint64_t arrival_wall; /* us; when the transaction began */
	uint32_t recipient_count;
	bool own_senders; /* of some recipients; told by envelope_decode() */
};

struct envelope_recipient {
	struct text address;  /* local-part@domain, canonical: domain in lower case, no route */
	struct text original; /* before an expansion, else empty */
	struct text orcpt;    /* "rfc822;xtext" as given, or empty */
	uint8_t notify;	      /* enum dsn_notify bits, 0: not given */
	/*
	 * Of an expansion. PARENT is 1 and the number of the recipient whose place it has; 0: none.
	 * TARGET says what of ADDRESS it is. Whoever delivers to "|" or "/" looks first whether
	 * that still stands where it came from.
	 *   ""                 the address, as any
	 *   "~"                the user: no alias counts any more
	 *   "\"                the user's mailbox: no .forward counts, either
	 *   "|COMMAND" "/FILE" what an alias of the address says
	 *   ":include:/FILE"   the same
	 *   "~|COMMAND" "~/FILE" "~:include:/FILE"   the same of the user's .forward
	 *   "*N:/LIST|COMMAND" "*N:/LIST/FILE"   in the list /LIST, of N octets, that an alias
	 * names
	 *   "~*N:/LIST..."     in one that the user's .forward names
	 */
	struct text target;
	uint32_t parent;
	struct text sender; /* of the list that it stands for; empty: the message's */
};

/* Recipients in the order in which they were put: numbers count from 0. */
struct envelope_iter {
	struct wire_reader in;
	uint32_t next;
};

/* Appends the fields of E but for the recipients; recipient_count is not written but counted. */
void envelope_put_head(struct bytes *w, const struct envelope *e);
void envelope_put_recipient(struct bytes *w, const struct envelope_recipient *r);

/* Strict: known fields within bounds, count of recipients 1 to RECIPIENTS_MAX. Texts point into
 * DATA. */
bool envelope_decode(struct text data, struct envelope *e);

/* Over data that envelope_decode() accepted. */
struct envelope_iter envelope_recipients(struct text data);
bool envelope_next(struct envelope_iter *it, struct envelope_recipient *r);

/* The domain of an address: what follows the last "@"; empty when there is none. */
struct text address_domain(struct text address);

#endif
