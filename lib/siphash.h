/* SPDX-License-Identifier: ISC */
/*
 * SipHash-2-4 (Aumasson, Bernstein 2012): a keyed hash for tables whose keys
 * strangers choose. Without the key nobody can make names that collide.
 */
#ifndef LIB_SIPHASH_H
#define LIB_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

enum { SIPHASH_KEY_BYTES = 16 };

uint64_t siphash(const uint8_t *key, const void *data, size_t len);

/* A fresh key for this process; ends it when there is no randomness. */
void siphash_key_make(uint8_t *key);

#endif
