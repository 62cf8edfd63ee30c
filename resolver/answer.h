/* SPDX-License-Identifier: ISC */
/* What was found out about a next hop, as the lists of hosts_are and path_is (messages.def). */
#ifndef RESOLVER_ANSWER_H
#define RESOLVER_ANSWER_H

#include "bytes.h"
#include "mx.h"

/*
 * COUNT records of RECORD(host). A set of TLSA records stands with each address of its
 * host; beyond ANSWER_TLSA_BYTES in all a host with such a set is TLSA_FAILED, so that
 * many large ones are no way to make us, and who asks, hold megabytes.
 */
enum { ANSWER_TLSA_BYTES = 65536 };
void answer_hosts(struct bytes *to, const struct mx_told *told, size_t count);

/* RESULT's seen records of RECORD(path_host). */
void answer_path(struct bytes *to, const struct mx_result *result);

uint8_t answer_origin(const struct mx_result *result); /* enum path_origin */
uint8_t answer_dnssec(const struct mx_result *result); /* enum dnssec_state, of the MX set */

#endif
