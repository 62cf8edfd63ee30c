/* SPDX-License-Identifier: ISC */
/*
 * MTA-STS policies of recipient domains (RFC 8461), for qmgr: found by a TXT
 * record and fetched over HTTPS, kept up to their max_age, in memory and on
 * disk, and fetched anew ahead of time while there is mail for the domain.
 * What fails costs that domain alone.
 */
#ifndef FETCHER_POLICIES_H
#define FETCHER_POLICIES_H

#include "daemon.h"

struct policies;

/* Before the jail. *LOOKUPS numbers the questions to resolver. NULL: libcurl cannot start. */
struct policies *policies_new(struct daemon *d, uint64_t *lookups);

/* In the jail: reads what is known from FOLDER, and keeps it there. */
void policies_open(struct policies *s, const char *folder);

/* Writes what is not on disk yet. */
void policies_save(struct policies *s);

/* FD, of tls-authorities, is ours. */
void policies_trust(struct policies *s, int fd);

/* The resolver came, or went (NULL); somebody who asks went. */
void policies_set_resolver(struct policies *s, struct channel *resolver);
void policies_asker_gone(struct policies *s, const struct channel *c);

/* limits came, or went (NULL): it hears of policies that could not be had, for reports on TLS. */
void policies_set_limits(struct policies *s, struct channel *limits);

/* sts_ask. */
void policies_ask(struct policies *s, struct channel *c, const struct msg_sts_ask *m);

/* Answers of resolver; false: to no question of these. */
bool policies_hosts(struct policies *s, const struct msg_hosts_are *m);
void policies_txt(struct policies *s, const struct msg_txt_is *m);

#endif
