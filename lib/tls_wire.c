/* SPDX-License-Identifier: ISC */
/*
 * What OpenSSL reads from and writes to in place of a socket: octets that it
 * writes are kept until tls_link_flush(), so that a ticket, a greeting and
 * whatever else a turn has to say leave in one packet, and a socket that is
 * known to be empty is not asked again.
 */
#include "tls_private.h"

#include <errno.h>
#include <sys/socket.h>

/* Kept octets above which OpenSSL is told to wait; a record more may come on top. */
enum { UNSENT_MAX = 16384 };

static int wire_write(BIO *bio, const char *data, int len)
{
	struct tls_link *link = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (len <= 0)
		return 0;
	if (bytes_len(&link->out) >= UNSENT_MAX) {
		BIO_set_retry_write(bio);
		return -1;
	}
	bytes_add(&link->out, data, (size_t)len);
	return len;
}

/* Less than was asked for is all that there was: the loop says when there is more. */
static int wire_read(BIO *bio, char *to, int size)
{
	struct tls_link *link = BIO_get_data(bio);
	ssize_t n = -1;

	BIO_clear_retry_flags(bio);
	if (size <= 0)
		return 0;
	if (link->readable)
		n = recv(link->fd, to, (size_t)size, 0);
	else
		errno = EAGAIN;
	if (n < size)
		link->readable = false;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		BIO_set_retry_read(bio);
	link->at_end = n == 0;
	return (int)n;
}

static long wire_control(BIO *bio, int what, long number, void *pointer)
{
	const struct tls_link *link = BIO_get_data(bio);

	(void)number;
	(void)pointer;
	if (what == BIO_CTRL_EOF)
		return link->at_end;
	/* When it is to leave is the owner's decision. */
	return what == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_wire_method(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "veredus");

	if (method && BIO_meth_set_write(method, wire_write) == 1 &&
	    BIO_meth_set_read(method, wire_read) == 1 &&
	    BIO_meth_set_ctrl(method, wire_control) == 1)
		return method;
	BIO_meth_free(method);
	return NULL;
}

bool tls_wire_put(struct tls_link *link, const BIO_METHOD *wire)
{
	BIO *bio = BIO_new(wire);

	if (!bio)
		return false;
	BIO_set_data(bio, link);
	BIO_set_init(bio, 1);
	SSL_set_bio(link->ssl, bio, bio);
	return true;
}

void tls_link_readable(struct tls_link *link)
{
	link->readable = true;
}

size_t tls_link_unsent(const struct tls_link *link)
{
	return bytes_len(&link->out);
}

enum tls_result tls_link_flush(struct tls_link *link)
{
	while (bytes_len(&link->out)) {
		ssize_t n =
		    send(link->fd, bytes_at(&link->out), bytes_len(&link->out), MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return TLS_WRITE;
		if (n < 0) {
			bytes_free(&link->out);
			link->why = "the connection broke";
			return TLS_BROKEN;
		}
		bytes_take(&link->out, (size_t)n, 0);
	}
	return TLS_FINE;
}
