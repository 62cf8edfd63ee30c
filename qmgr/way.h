/* SPDX-License-Identifier: ISC */
/*
 * The way of mail: from which of our addresses it leaves, by which route its
 * sender has it go in place of route *, and what he asked of TLS. Mail for one domain that goes
 * different ways hangs under a domain of its own each, with its own connections.
 *
 * A message keeps what its sender chose. At a restart nothing but the
 * submitter and the domains is read of it, so that this stands behind the
 * submitter there: a NUL, a letter for TLS, the source's name, and the route's, which its mark
 * begins.
 */
#ifndef QMGR_WAY_H
#define QMGR_WAY_H

#include "envelope.h"
#include "model.h"

struct way {
	struct text source; /* its name; empty: the system's choice */
	uint8_t tls;	    /* enum mail_tls */
	struct text route;  /* "@big"; empty: that of the domain */
};

bool way_equal(const struct way *a, const struct way *b);

/* What the queue stores as submitter: SUBMITTER itself for most mail, else written to TO, which
 * has QUEUE_SUBMITTER_MAX bytes. */
struct text way_store(char *to, struct text submitter, const struct way *way);
/* The opposite. Texts point into STORED; its submitter is returned. */
struct text way_load(struct text stored, struct way *way);

/* What the names of sites, which limits go by, are lengthened by: " source=NAME", or nothing. */
enum { WAY_SITE_BYTES = 80, WAY_HOP_BYTES = 96 };
size_t way_site_key(const struct way *way, char *to);
/* And those of hops, which connections go by: also " requiretls" or " tls-optional". */
size_t way_hop_key(const struct way *way, char *to);

/* The name without that: a site's own. */
struct text way_site_name(struct text site);

#endif
