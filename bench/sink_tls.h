/* SPDX-License-Identifier: ISC */
/*
 * Part of sink.c: STARTTLS, with --certificate and --key (PEM, with its chain). A handshake with
 * --delay-ms or --away-ms takes that long once, as one with a receiver that is so far away does in
 * TLS 1.3. Tickets are given and taken, so a client may resume.
 */
#ifndef SINK_TLS_H
#define SINK_TLS_H

#include "sink_state.h"

#include <openssl/err.h>

static void tls_prepare(void)
{
	if (self.certificate == NULL && self.key == NULL)
		return;
	self.tls = SSL_CTX_new(TLS_server_method());
	if (self.tls == NULL || self.certificate == NULL || self.key == NULL ||
	    SSL_CTX_use_certificate_chain_file(self.tls, self.certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(self.tls, self.key, SSL_FILETYPE_PEM) != 1)
		bench_die("--certificate and --key: they cannot be used");
	SSL_CTX_set_mode(self.tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
				       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				       SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(self.tls, 1);
	SSL_CTX_set_options(self.tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* No state of its own: who comes back brings the ticket. */
	SSL_CTX_set_session_cache_mode(self.tls, SSL_SESS_CACHE_OFF);
	self.extensions |= EXT_STARTTLS;
}

/* As of send(2) and recv(2): what the library waits for is EAGAIN, an end is 0. */
static ssize_t tls_result(struct conn *conn, int returned, size_t n)
{
	int error = SSL_get_error(conn->ssl, returned);
	if (error == SSL_ERROR_NONE)
		return (ssize_t)n;
	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
	ERR_clear_error();
	return -1;
}

/* 1: done; -1 with EAGAIN: it waits. Its flights are smaller than any socket's buffer. */
static ssize_t tls_handshake(struct conn *conn)
{
	if (conn->ssl == NULL) {
		conn->ssl = SSL_new(self.tls);
		if (conn->ssl == NULL || SSL_set_fd(conn->ssl, conn->fd) != 1)
			bench_die("no TLS connection can be made");
		SSL_set_accept_state(conn->ssl);
	}
	ERR_clear_error();
	ssize_t n = tls_result(conn, SSL_do_handshake(conn->ssl), 1);
	if (n != 1)
		return n;
	conn->tls = TLS_ON;
	self.handshakes++;
	self.resumed += (uint64_t)SSL_session_reused(conn->ssl);
	return 1;
}

static void tls_free(struct conn *conn)
{
	/* Told of or not, the end is one: the ticket stays good. */
	if (conn->tls == TLS_ON)
		SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(conn->ssl);
	conn->ssl = NULL;
}

static ssize_t wire_send(struct conn *conn, const char *data, size_t length)
{
	size_t n = 0;
	if (conn->tls != TLS_ON)
		return send(conn->fd, data, length, MSG_NOSIGNAL);
	ERR_clear_error();
	int returned = SSL_write_ex(conn->ssl, data, length, &n);
	return tls_result(conn, returned, n);
}

static ssize_t wire_receive(struct conn *conn, char *to, size_t size)
{
	size_t n = 0;
	if (conn->tls != TLS_ON)
		return recv(conn->fd, to, size, 0);
	ERR_clear_error();
	int returned = SSL_read_ex(conn->ssl, to, size, &n);
	return tls_result(conn, returned, n);
}

/* Octets wait in the library, of which the socket says nothing. */
static bool wire_has_more(const struct conn *conn)
{
	return conn->tls == TLS_ON && SSL_has_pending(conn->ssl) == 1;
}

#endif
