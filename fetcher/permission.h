/* SPDX-License-Identifier: ISC */
/* Who may ask for what: a row a purpose. */
#ifndef FETCHER_PERMISSION_H
#define FETCHER_PERMISSION_H

#include "config.h"
#include "message.h"

/* May a process of kind PEER make this request? The configuration names what it may. */
bool fetch_is_allowed(const struct config *config, unsigned peer, const struct msg_fetch *m);

/*
 * May a request go to addresses that are internal? One to a host that a
 * stranger names must not end at a neighbour of ours that trusts us.
 */
bool fetch_goes_inside(const struct config *config, enum fetch_purpose purpose);

/* Loopback, private, link-local and their like; ADDRESS is 16 bytes. */
bool fetch_is_internal(const uint8_t *address);

/* The file with those who may sign a server's certificate. */
struct text fetch_authorities(const struct config *config, enum fetch_purpose purpose);

#endif
