/* SPDX-License-Identifier: ISC */
/*
 * What the keeper is asked to sign: it must be one of the two texts that
 * a TLS server signs, or of the two that a client signs, whole and well-formed. Whoever takes over
 * a worker can so have handshakes signed for as long as it holds it, and nothing else: no
 * certificate request, no mail, no text that another protocol takes.
 */
#ifndef KEEPER_DEMAND_H
#define KEEPER_DEMAND_H

#include "text.h"

enum demand {
	DEMAND_NONE,		   /* neither */
	DEMAND_CERTIFICATE_VERIFY, /* TLS 1.3, RFC 8446 4.4.3 */
	DEMAND_KEY_EXCHANGE,	   /* TLS 1.2, RFC 5246 7.4.3 and RFC 8422 5.4 */
	DEMAND_CLIENT,		   /* a client's CertificateVerify: the same of TLS 1.3, or all of a
				      handshake of TLS 1.2 so far (RFC 5246 7.4.8) */
};

/* What TEXT is, to be signed by SCHEME (RFC 8446 4.2.3). */
enum demand demand_read(uint16_t scheme, struct text text);

#endif
