/* SPDX-License-Identifier: ISC */
/*
 * What the queue on disk does not know: which mail waits because its site is
 * down or its domain has no next hop now. qmgr is asked for it by domain, a
 * thousand at a time; with the daemons down nothing waits for a site.
 */
#ifndef CTL_WAITS_H
#define CTL_WAITS_H

#include "clock.h"
#include "ctl.h"

struct waits;

/* Why mail for a domain waits; valid as long as the waits. */
struct wait {
	struct text site;     /* that is down; empty: there is no next hop for the domain */
	struct text reason;   /* "site mx.example is down: Connection refused" */
	struct text error;    /* "Connection refused" */
	struct walltime next; /* attempt; 0: it is being tried now */
};

struct waits *waits_new(void);
void waits_free(struct waits **waits); /* takes NULL, leaves NULL */

/* This domain is to be asked for; its text is the caller's, and stays. */
void waits_want(struct waits *waits, struct text domain);

/* Asks for all that are wanted; once. */
void waits_ask(struct waits *waits, const struct ctl *ctl);

/* NULL: nothing is known that its mail waits for. */
const struct wait *waits_of(const struct waits *waits, struct text domain);

/* "; next attempt in 5m27s" */
enum { WAIT_NEXT_BYTES = 64 };
char *wait_next(const struct wait *wait, char *to);

#endif
