/* SPDX-License-Identifier: ISC */
/*
 * The private keys. This is the only file of Veredus in whose process their
 * bytes ever are; nothing here gives them away.
 */
#ifndef KEEPER_KEYS_H
#define KEEPER_KEYS_H

#include "text.h"

enum { KEYS_MAX = 1024, SIGNATURE_MAX = 1024 };

struct keys;

/* Numbers begin at FIRST, so that those of a keeper that died name none of this one's. */
struct keys *keys_new(uint32_t first);

/* Wipes them all. Takes NULL, leaves NULL. */
void keys_free(struct keys **keys);

/*
 * Takes the key in FD (PEM; closed) if it fits the first certificate of
 * CHAIN. Returns its number; 0 with *WHY when it does not.
 */
uint32_t keys_take(struct keys *keys, int fd, struct text chain, const char **why);

/* No longer used for what is new; gone at the second keys_forget() from now. */
void keys_retire(struct keys *keys, uint32_t number);
void keys_forget(struct keys *keys);

/* The signature's length, 0 when there is no such key, or it does not sign by SCHEME. */
size_t keys_sign(const struct keys *keys, uint32_t number, uint16_t scheme, struct text text,
		 uint8_t to[SIGNATURE_MAX]);

#endif
