/* SPDX-License-Identifier: ISC */
/*
 * The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), RET,
 * ENVID, NOTIFY, ORCPT (RFC 3461), SMTPUTF8 (RFC 6531), AUTH (RFC 4954), REQUIRETLS (RFC 8689).
 */
#ifndef LIB_ESMTP_H
#define LIB_ESMTP_H

#include "envelope.h"
#include "text.h"

#include <stdbool.h>
#include <stdint.h>

enum esmtp_result {
	ESMTP_FINE,
	ESMTP_UNKNOWN, /* a parameter that we do not offer: 555 */
	ESMTP_VALUE,   /* a bad, missing or doubled value: 501 */
};

struct esmtp_mail {
	struct text envid; /* xtext as given */
	struct text auth;  /* RFC 4954 section 5: "<>" or xtext as given; data NULL: not given */
	uint64_t size;	   /* 0: not given */
	uint8_t body_type; /* enum body_type */
	uint8_t ret;	   /* enum dsn_ret */
	uint8_t smtputf8;
	bool requiretls; /* RFC 8689 section 2 */
	unsigned seen;
};

struct esmtp_rcpt {
	struct text orcpt; /* "type;xtext" as given */
	uint8_t notify;	   /* enum dsn_notify */
	unsigned seen;
};

/* ARGS is what follows the path. Texts of the result point into it. */
enum esmtp_result esmtp_read_mail(struct text args, struct esmtp_mail *m);
enum esmtp_result esmtp_read_rcpt(struct text args, struct esmtp_rcpt *r);

/* xtext (RFC 3461 section 4) that decodes to printable characters only. */
bool esmtp_is_xtext(struct text t);

/* "rfc822;xtext" or "utf-8;..." (RFC 6533), within ORCPT_MAX. */
bool esmtp_is_orcpt(struct text t);

#endif
