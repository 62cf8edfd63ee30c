/* SPDX-License-Identifier: ISC */
/*
 * Part of load.c: TLS as its sessions speak it. Version, cipher and group are the client's choice
 * and the only ones that it offers, so that every server is measured with the same: TLS 1.3,
 * AES-128-GCM and X25519. Certificates are not verified: that is no work of the server's.
 */
#ifndef LOAD_TLS_H
#define LOAD_TLS_H

#include "load_message.h"

#include <openssl/err.h>

/* With --resume the next connection of the same session shows the newest ticket. */
static int tls_ticket_came(SSL *ssl, SSL_SESSION *ticket)
{
	struct load_session *session = SSL_get_app_data(ssl);
	SSL_SESSION_free(session->ticket);
	session->ticket = ticket;
	return 1;
}

static void tls_prepare(void)
{
	self.context = SSL_CTX_new(TLS_client_method());
	if (self.context == NULL ||
	    SSL_CTX_set_min_proto_version(self.context, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(self.context, "TLS_AES_128_GCM_SHA256") != 1 ||
	    SSL_CTX_set1_groups_list(self.context, (char[]){"X25519"}) != 1)
		bench_die("OpenSSL cannot be used");
	SSL_CTX_set_mode(self.context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					   SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(self.context, 1);
	SSL_CTX_set_options(self.context, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_session_cache_mode(self.context,
				       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	if (self.resume)
		SSL_CTX_sess_set_new_cb(self.context, tls_ticket_came);
}

static void tls_open(struct load_session *session)
{
	session->ssl = SSL_new(self.context);
	if (session->ssl == NULL || SSL_set_fd(session->ssl, session->fd) != 1 ||
	    SSL_set_tlsext_host_name(session->ssl, (char[]){"relay.example"}) != 1)
		bench_die("no TLS connection can be made");
	SSL_set_app_data(session->ssl, session);
	SSL_set_connect_state(session->ssl);
	if (session->ticket == NULL)
		return;
	/* OpenSSL uses one up; a server that gives no new one gets the old one again. */
	SSL_SESSION *ticket = SSL_SESSION_dup(session->ticket);
	SSL_set_session(session->ssl, ticket);
	SSL_SESSION_free(ticket);
}

static void tls_close(struct load_session *session)
{
	/* QUIT has been answered: nothing is cut off, and the ticket stays good. */
	if (session->secure)
		SSL_set_shutdown(session->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(session->ssl);
	session->ssl = NULL;
	session->secure = false;
}

static void tls_done(struct load_session *session)
{
	session->secure = true;
	self.handshakes++;
	self.resumed += (uint64_t)SSL_session_reused(session->ssl);
	if (self.handshakes == 1)
		snprintf(self.tls_facts, sizeof self.tls_facts, "%s %s %s",
			 SSL_get_version(session->ssl), SSL_get_cipher(session->ssl),
			 OBJ_nid2sn((int)SSL_get_negotiated_group(session->ssl)));
}

/* As of send(2) and recv(2): what the library wants to wait for is EAGAIN, an end is 0. */
static ssize_t tls_result(struct load_session *session, int returned, const size_t *n)
{
	int error = SSL_get_error(session->ssl, returned);
	session->wants_write = error == SSL_ERROR_WANT_WRITE;
	if (error == SSL_ERROR_NONE)
		return (ssize_t)*n;
	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
	ERR_clear_error();
	return -1;
}

/* 1: done; -1 with EAGAIN: it waits. */
static ssize_t tls_handshake(struct load_session *session)
{
	const size_t one = 1;
	ERR_clear_error();
	return tls_result(session, SSL_do_handshake(session->ssl), &one);
}

static ssize_t wire_send(struct load_session *session, const char *data, size_t length)
{
	size_t n = 0;
	if (!session->secure)
		return send(session->fd, data, length, MSG_NOSIGNAL);
	ERR_clear_error();
	return tls_result(session, SSL_write_ex(session->ssl, data, length, &n), &n);
}

static ssize_t wire_receive(struct load_session *session, char *to, size_t size)
{
	size_t n = 0;
	if (!session->secure)
		return recv(session->fd, to, size, 0);
	ERR_clear_error();
	return tls_result(session, SSL_read_ex(session->ssl, to, size, &n), &n);
}

/* Octets wait in the library, of which the socket says nothing. */
static bool wire_has_more(const struct load_session *session)
{
	return session->secure && SSL_has_pending(session->ssl) == 1;
}

/* NAME:PASSWORD as AUTH PLAIN wants it (RFC 4616): an empty identity to act for, both behind NULs.
 */
static void auth_prepare(const char *text)
{
	char plain[512];
	size_t length = strlen(text);
	const char *colon = strchr(text, ':');
	if (colon == NULL || length + 1 > sizeof plain)
		bench_die("--auth: not NAME:PASSWORD");
	plain[0] = '\0';
	memcpy(plain + 1, text, length);
	plain[1 + (colon - text)] = '\0';
	int n = snprintf(self.auth, sizeof self.auth, "AUTH PLAIN ");
	n += EVP_EncodeBlock((unsigned char *)self.auth + n, (const unsigned char *)plain,
			     (int)length + 1);
	memcpy(self.auth + n, "\r\n", 3);
}

#endif
