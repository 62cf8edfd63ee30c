/* SPDX-License-Identifier: ISC */
/* Certificates for people. */
#include "tls_peer.h"

#include "tls_private.h"

#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

static void name_print(char *to, size_t size, const X509_NAME *name)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;

	if (!bio)
		return;
	X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
	long len = BIO_get_mem_data(bio, &data);

	if (len > 0)
		text_printable(to, size, (struct text){data, (size_t)len});
	BIO_free(bio);
}

static void names_print(char *to, size_t size, const X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	size_t at = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char one[256];

		if (name->type != GEN_DNS)
			continue;
		int len = ASN1_STRING_length(name->d.dNSName);
		const char *data = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
		size_t n =
		    text_printable(one, sizeof one, (struct text){data, len > 0 ? (size_t)len : 0});

		if (n + 2 > size - at)
			break;
		if (at)
			to[at++] = ' ';
		memcpy(to + at, one, n + 1);
		at += n;
	}
	GENERAL_NAMES_free(names);
}

bool tls_link_peer(struct tls_link *link, struct tls_peer *to)
{
	const X509 *certificate = SSL_get0_peer_certificate(link->ssl);
	struct tm tm;

	*to = (struct tls_peer){0};
	if (!certificate)
		return false;
	name_print(to->subject, sizeof to->subject, X509_get_subject_name(certificate));
	name_print(to->issuer, sizeof to->issuer, X509_get_issuer_name(certificate));
	names_print(to->names, sizeof to->names, certificate);
	if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) == 1)
		to->until = (int64_t)timegm(&tm);
	return true;
}
