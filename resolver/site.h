/* SPDX-License-Identifier: ISC */
/*
 * The scheduler's keys of a set of hosts. The site bears the limits: a
 * configured or built-in rule for the best MX name, else the MX set itself.
 * The hop is a connection's key: whoever has the same one may share a connection.
 */
#ifndef RESOLVER_SITE_H
#define RESOLVER_SITE_H

#include "mx.h"

enum { SITE_BYTES = 256, HOP_BYTES = 321 };

/*
 * Write SITE (SITE_BYTES) and HOP (HOP_BYTES), NUL-terminated, of a result
 * that was found. KEY (SIPHASH_KEY_BYTES) is secret: names too long to stand
 * whole end in a keyed hash, so that nobody can make a set of hosts whose
 * key is another's, and with it get another's connection.
 */
void site_name(const struct config *config, const uint8_t *key, const struct mx_result *result,
	       enum hop_how how, char *site);
void hop_name(const uint8_t *key, const struct mx_result *result, enum hop_how how, char *hop);

#endif
