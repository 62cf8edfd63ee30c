/* SPDX-License-Identifier: ISC */
/* One connection's TLS. */
#include "tls_private.h"

#include "mem.h"
#include "passwd_file.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { SUBJECT_MAX = 255 };

struct tls_link *tls_link_accept(struct tls *tls, int fd, void (*woken)(void *arg), void *arg)
{
	if (!tls_is_ready(tls))
		return NULL;
	SSL *ssl = SSL_new(tls->now.at[0].context);
	struct tls_link *link = mem_new(1, sizeof *link);

	*link = (struct tls_link){.tls = tls,
				  .remote = &tls->remote,
				  .ssl = ssl,
				  .fd = fd,
				  .readable = true,
				  .woken = woken,
				  .arg = arg};
	if (!ssl || !tls_wire_put(link, tls->wire)) {
		SSL_free(ssl);
		free(link);
		ERR_clear_error();
		return NULL;
	}
	SSL_set_accept_state(ssl);
	SSL_set_app_data(ssl, link);
	return link;
}

/* -- facts --------------------------------------------------------------------------------- */

/* As a login may be called, and without a NUL that hides its end. */
static char *identity_copy(const unsigned char *data, int len)
{
	struct text t = {(const char *)data, len > 0 ? (size_t)len : 0};

	return passwd_name_fault(t) ? NULL : mem_copy(t.data, t.len);
}

/* The first mail address of subjectAltName (RFC 5280 4.2.1.6), else the common name. */
static char *identity_make(const X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	const X509_NAME *subject = X509_get_subject_name(certificate);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	char *found = NULL;
	unsigned char *utf8 = NULL;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_EMAIL)
			found = identity_copy(ASN1_STRING_get0_data(name->d.rfc822Name),
					      ASN1_STRING_length(name->d.rfc822Name));
	}
	GENERAL_NAMES_free(names);
	if (found || at < 0)
		return found;
	int len =
	    ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));

	if (len > 0)
		found = identity_copy(utf8, len);
	OPENSSL_free(utf8);
	return found;
}

static void take_subject(struct tls_link *link)
{
	X509 *certificate = SSL_get0_peer_certificate(link->ssl);
	BIO *bio = certificate ? BIO_new(BIO_s_mem()) : NULL;
	char *data = NULL;

	if (!bio)
		return;
	X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
	long len = BIO_get_mem_data(bio, &data);

	if (len > 0) {
		link->subject = mem_copy(data, (size_t)(len < SUBJECT_MAX ? len : SUBJECT_MAX));
		link->facts.subject = text_of(link->subject);
	}
	link->facts.verified = SSL_get_verify_result(link->ssl) == X509_V_OK;
	if (link->facts.verified) {
		link->identity = identity_make(certificate);
		link->facts.identity = text_of(link->identity);
	}
	BIO_free(bio);
}

static void take_facts(struct tls_link *link)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(link->ssl);

	link->facts.version = text_of(SSL_get_version(link->ssl));
	link->facts.cipher = text_of(SSL_CIPHER_standard_name(cipher));
	link->facts.bits = SSL_CIPHER_get_bits(cipher, NULL);
	link->facts.resumed = SSL_session_reused(link->ssl) == 1;
	/* RFC 9266 4.2: below TLS 1.3 only with the extended master secret. */
	link->facts.binds =
	    SSL_version(link->ssl) >= TLS1_3_VERSION || SSL_get_extms_support(link->ssl) == 1;
}

static enum tls_result handshake_done(struct tls_link *link)
{
	take_facts(link);
	/* Only a handshake waits for others; what follows needs no stack of its own. */
	SSL_clear_mode(link->ssl, SSL_MODE_ASYNC);
	if (link->goal)
		return tls_goal_judge(link);
	take_subject(link);
	return TLS_FINE;
}

const struct tls_facts *tls_link_facts(const struct tls_link *link)
{
	return &link->facts;
}

enum tls_fault tls_link_fault(const struct tls_link *link)
{
	return link->fault;
}

const char *tls_link_why(const struct tls_link *link)
{
	return link->why ? link->why : "closed";
}

bool tls_link_exporter(struct tls_link *link, uint8_t to[32])
{
	static const char label[] = "EXPORTER-Channel-Binding";

	return link->facts.binds &&
	       SSL_export_keying_material(link->ssl, to, 32, label, sizeof label - 1,
					  (const unsigned char *)"", 0, 1) == 1;
}

/* -- moving bytes ---------------------------------------------------------------------------- */

static enum tls_result broken(struct tls_link *link)
{
	unsigned long error = ERR_peek_error();
	const char *why = error ? ERR_reason_error_string(error) : NULL;

	link->why = why ? why : "the connection broke";
	if (link->goal && !SSL_is_init_finished(link->ssl))
		tls_goal_failed(link);
	ERR_clear_error();
	return TLS_BROKEN;
}

static enum tls_result result_of(struct tls_link *link, int returned)
{
	switch (SSL_get_error(link->ssl, returned)) {
	case SSL_ERROR_NONE:
		return TLS_FINE;
	case SSL_ERROR_WANT_READ:
		return TLS_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WRITE;
	case SSL_ERROR_WANT_ASYNC:
		return TLS_SIGN;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_ENDED;
	default:
		return broken(link);
	}
}

enum tls_result tls_link_handshake(struct tls_link *link)
{
	if (link->query)
		return TLS_SIGN;
	ERR_clear_error();
	if (link->remote)
		link->remote->running = link;
	int returned = SSL_do_handshake(link->ssl);

	if (link->remote)
		link->remote->running = NULL;
	enum tls_result r = result_of(link, returned), sent;

	if (r == TLS_FINE)
		r = handshake_done(link);
	if (r == TLS_FINE || r == TLS_SIGN)
		return r;
	/* Its flight, or the alert that says why there is none. */
	sent = tls_link_flush(link);
	return r == TLS_READ && sent != TLS_FINE ? sent : r;
}

enum tls_result tls_link_read(struct tls_link *link, uint8_t *to, size_t size, size_t *len)
{
	ERR_clear_error();
	*len = 0;
	return result_of(link, SSL_read_ex(link->ssl, to, size, len));
}

enum tls_result tls_link_write(struct tls_link *link, const uint8_t *data, size_t len,
			       size_t *taken)
{
	ERR_clear_error();
	*taken = 0;
	return result_of(link, SSL_write_ex(link->ssl, data, len, taken));
}

bool tls_link_has_more(const struct tls_link *link)
{
	return SSL_has_pending(link->ssl) == 1;
}

void tls_link_close(struct tls_link *link)
{
	ERR_clear_error();
	if (SSL_is_init_finished(link->ssl) && !(SSL_get_shutdown(link->ssl) & SSL_SENT_SHUTDOWN))
		SSL_shutdown(link->ssl);
	ERR_clear_error();
}

/* A handshake that waits on a stack of its own must come to its end, or the stack is lost. */
static void unwind(struct tls_link *link)
{
	tls_remote_forget(link);
	if (link->ssl && SSL_waiting_for_async(link->ssl))
		SSL_do_handshake(link->ssl);
	ERR_clear_error();
}

void tls_link_free(struct tls_link **at)
{
	struct tls_link *link = *at;

	if (!link)
		return;
	*at = NULL;
	unwind(link);
	SSL_free(link->ssl);
	bytes_free(&link->out);
	tls_goal_free(&link->goal);
	free(link->name);
	free(link->subject);
	free(link->identity);
	free(link);
}
