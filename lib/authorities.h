/* SPDX-License-Identifier: ISC */
/* Authorities: the certificates that others' are proved by. */
#ifndef LIB_AUTHORITIES_H
#define LIB_AUTHORITIES_H

#include "text.h"

#include <openssl/x509.h>

/*
 * A store of the certificates in PEM, up to 1,000 of them and to the first
 * that cannot be read; COUNT says how many. It is the caller's, or NULL.
 */
X509_STORE *authorities_read(struct text pem, size_t *count);

#endif
