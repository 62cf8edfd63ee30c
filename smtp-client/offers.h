/* SPDX-License-Identifier: ISC */
/* What a receiver's answer to EHLO offers, and the commands that make use of it. */
#ifndef SMTP_CLIENT_OFFERS_H
#define SMTP_CLIENT_OFFERS_H

#include "job.h"

enum offer {
	OFFERS_PIPELINING = 1,	 /* RFC 2920 */
	OFFERS_8BITMIME = 2,	 /* RFC 6152 */
	OFFERS_SMTPUTF8 = 4,	 /* RFC 6531 */
	OFFERS_SIZE = 8,	 /* RFC 1870 */
	OFFERS_DSN = 16,	 /* RFC 3461 */
	OFFERS_CHUNKING = 32,	 /* RFC 3030 */
	OFFERS_STARTTLS = 64,	 /* RFC 3207 */
	OFFERS_REQUIRETLS = 128, /* RFC 8689; known only where it may be used */
};

struct offers {
	unsigned set;	     /* enum offer */
	uint64_t size_limit; /* octets of a message; 0: none told */
	/* RFC 9422; 0: none told. Transactions a connection, recipients and their domains a
	 * transaction. */
	uint32_t mail_max, rcpt_max, rcpt_domain_max;
	unsigned mechanisms; /* of AUTH (RFC 4954): set of enum sasl_mechanism */
};

/* A line of the answer but its first, without the code. What is not understood is not offered. */
void offers_take(struct offers *o, struct text line);

/* "MAIL FROM:<...>" with the parameters that JOB wants and the receiver knows. */
void offers_put_mail(const struct offers *o, struct bytes *out, const struct job *job);
void offers_put_rcpt(const struct offers *o, struct bytes *out, const struct recipient *r);

/* Appends a literal text. */
#define PUT(out, literal) bytes_add((out), (literal), sizeof(literal) - 1)

#endif
