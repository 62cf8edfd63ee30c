/* SPDX-License-Identifier: ISC */
#include "authorities.h"

#include <openssl/err.h>
#include <openssl/pem.h>

enum { AUTHORITIES_MAX = 1000 };

X509_STORE *authorities_read(struct text pem, size_t *count)
{
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	X509_STORE *store = X509_STORE_new();
	X509 *one;

	*count = 0;
	while (bio && store && *count < AUTHORITIES_MAX &&
	       (one = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		*count += X509_STORE_add_cert(store, one) == 1;
		X509_free(one);
	}
	BIO_free(bio);
	/* That there is no further one is no error of whoever looks next. */
	ERR_clear_error();
	return store;
}
