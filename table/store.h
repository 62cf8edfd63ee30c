/* SPDX-License-Identifier: ISC */
/*
 * The tables in memory. A file is looked at when a key is asked for and the
 * last look is a second old: master opens what stands under its name now, so
 * that a file that was replaced by rename is seen as well. A file that was
 * written within the last second is perhaps not whole, and waits; one that is
 * broken, or changes while it is read, leaves what was read before in force.
 * No answer is ever made up: where nothing is known, it is TABLE_FAILED. So it is
 * for who asks for a table that is not his (config_tables()), and for local where
 * a value has a $ in it.
 */
#ifndef TABLE_STORE_H
#define TABLE_STORE_H

#include "daemon.h"

struct store;

struct store *store_new(struct daemon *d);

/* The configuration has changed: tables that it does not name are forgotten. */
void store_reload(struct store *s);

/* Answers M to C, now or when master has opened the file. */
void store_lookup(struct store *s, struct channel *c, const struct msg_lookup *m);

/* Master's answer to a look; FD is ours. */
void store_handle(struct store *s, const struct msg_handle *m, int fd);

/* C is gone: nothing is answered to it any more. */
void store_forget(struct store *s, const struct channel *c);

#endif
