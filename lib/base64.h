/* SPDX-License-Identifier: ISC */
/* Base64 (RFC 4648 section 4): the one alphabet, with padding, without line ends. */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include "bytes.h"
#include "text.h"

#include <stdbool.h>

#define BASE64_LEN(n) (((n) + 2) / 3 * 4)

/* Appends the encoding of DATA. */
void base64_put(struct bytes *to, const void *data, size_t len);

/*
 * Decodes T to at most SIZE bytes at TO. Strict: whole groups of four, padding at the end only,
 * no unused bit set (RFC 4648 section 3.5). False when it is none, or larger.
 */
bool base64_read(struct text t, void *to, size_t size, size_t *len);

#endif
