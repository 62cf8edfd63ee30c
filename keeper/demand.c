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
static bool is_certificate_verify(struct text t)
{
	static const char context[] = "TLS 1.3, server CertificateVerify"; /* its NUL is the 0 */
	size_t before = SPACES + sizeof context;

	if (t.len != before + 32 && t.len != before + 48)
		return false;
	for (size_t i = 0; i < SPACES; i++)
		if (t.data[i] != ' ')
			return false;
	return memcmp(t.data + SPACES, context, sizeof context) == 0;
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

enum demand demand_read(uint16_t scheme, struct text text)
{
	if (scheme_is_modern(scheme) && is_certificate_verify(text))
		return DEMAND_CERTIFICATE_VERIFY;
	if ((scheme_is_modern(scheme) || scheme_is_pkcs1(scheme)) && is_key_exchange(text))
		return DEMAND_KEY_EXCHANGE;
	return DEMAND_NONE;
}
