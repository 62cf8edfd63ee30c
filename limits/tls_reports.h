/* SPDX-License-Identifier: ISC */
/*
 * Reports on TLS (RFC 8460): counts what smtp-client tells, keeps it over
 * restarts, and after each UTC day writes to the domains that ask for it, by
 * mail through submission and by HTTPS through fetcher. Whether a domain asks
 * is looked up when its report is due.
 */
#ifndef LIMITS_TLS_REPORTS_H
#define LIMITS_TLS_REPORTS_H

#include "daemon.h"

struct tls_reports;

/* Reads FOLDER's file. Lives as long as the process. */
struct tls_reports *tls_reports_open(struct daemon *d, const char *folder);

void tls_reports_peer(struct tls_reports *r, struct channel *c);
void tls_reports_gone(struct tls_reports *r, struct channel *c);

/* smtp-client's news; false: it is nonsense, and the rest was left out. */
bool tls_reports_results(struct tls_reports *r, const struct msg_tls_results *m);

/* Answers to what was asked of resolver, submission and fetcher; late ones are ignored. */
void tls_reports_txt(struct tls_reports *r, const struct msg_txt_is *m);
bool tls_reports_handed(struct tls_reports *r, const struct msg_handed *m); /* false: not ours */
void tls_reports_fetched(struct tls_reports *r, const struct msg_fetched *m);

/* What was counted today, told to C. */
void tls_reports_look(struct tls_reports *r, struct channel *c,
		      const struct msg_tls_counts_look *m);

/* To disk, if there is news. */
void tls_reports_write(struct tls_reports *r);

#endif
