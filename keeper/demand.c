/* SPDX-License-Identifier: ISC */
/* Reading what is to be signed. */
#include "demand.h"

#include <string.h>

enum {
	SPACES = 64,
	RANDOMS = 64, /* the client's and the server's */
	NAMED_CURVE = 3,
	UNCOMPRESSED = 4,
};

static bool scheme_is_pkcs1(uint16_t scheme)
{
	return scheme == 0x0401 || scheme == 0x0501 || scheme == 0x0601;
}

/* RSA-PSS with rsaEncryption keys, ECDSA, Ed25519; SHA-256 and longer. */
static bool scheme_is_modern(uint16_t scheme)
{
	static const uint16_t schemes[] = {0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0807};

	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
		if (scheme == schemes[i])
			return true;
	return false;
}

/*
 * RFC 8446 4.4.3: "A string that consists of octet 32 (0x20) repeated 64
 * times", "The context string", "A single 0 byte which serves as the
 * separator", "The content to be signed": the hash of the transcript.
 */
static bool is_certificate_verify(struct text t, const char *context)
{
	size_t with_zero = strlen(context) + 1, before = SPACES + with_zero;

	if (t.len != before + 32 && t.len != before + 48)
		return false;
	for (size_t i = 0; i < SPACES; i++)
		if (t.data[i] != ' ')
			return false;
	return memcmp(t.data + SPACES, context, with_zero) == 0;
}

/* How long a point of a named group is (RFC 8422 5.1.1 and 5.4.1); 0: none that we speak. */
static size_t point_len(unsigned group)
{
	switch (group) {
	case 23: /* secp256r1 */
		return 65;
	case 24: /* secp384r1 */
		return 97;
	case 25: /* secp521r1 */
		return 133;
	case 29: /* x25519 */
		return 32;
	case 30: /* x448 */
		return 56;
	default:
		return 0;
	}
}

static bool is_key_exchange(struct text t)
{
	const uint8_t *at = (const uint8_t *)t.data + RANDOMS;

	if (t.len < RANDOMS + 5 || at[0] != NAMED_CURVE)
		return false;
	unsigned group = (unsigned)at[1] << 8 | at[2];
	size_t len = point_len(group);

	return len && at[3] == len && t.len - RANDOMS - 4 == len &&
	       (group > 25 || at[4] == UNCOMPRESSED);
}

/*
 * RFC 5246 7.4.8: what a client signs is "all handshake messages sent or
 * received, starting at client hello and up to, but not including, this
 * message", which is the one behind client_key_exchange.
 */
static bool is_handshake_so_far(struct text t)
{
	enum { CLIENT_HELLO = 1, CLIENT_KEY_EXCHANGE = 16 };
	static const uint8_t between[] = {2, 4, 11, 12, 13, 14, 22};
	const uint8_t *at = (const uint8_t *)t.data;
	size_t left = t.len;

	for (bool first = true; left >= 4; first = false) {
		size_t len = 4 + ((size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3]);

		if (len > left || (*at == CLIENT_HELLO) != first)
			return false;
		if (*at == CLIENT_KEY_EXCHANGE)
			return len == left;
		if (!first && !memchr(between, *at, sizeof between))
			return false;
		at += len;
		left -= len;
	}
	return false;
}

enum demand demand_read(uint16_t scheme, struct text text)
{
	if (scheme_is_modern(scheme) &&
	    is_certificate_verify(text, "TLS 1.3, server CertificateVerify"))
		return DEMAND_CERTIFICATE_VERIFY;
	if (scheme_is_modern(scheme) &&
	    is_certificate_verify(text, "TLS 1.3, client CertificateVerify"))
		return DEMAND_CLIENT;
	if ((scheme_is_modern(scheme) || scheme_is_pkcs1(scheme)) && is_key_exchange(text))
		return DEMAND_KEY_EXCHANGE;
	/* Last: of a key exchange a stranger chooses the first octets, and could have them taken
	 * for another's. */
	if ((scheme_is_modern(scheme) || scheme_is_pkcs1(scheme)) && is_handshake_so_far(text))
		return DEMAND_CLIENT;
	return DEMAND_NONE;
}
