/* SPDX-License-Identifier: ISC */
/*
 * The strict readers of what a domain publishes: the TXT record of _mta-sts
 * (RFC 8461 section 3.1) and the policy file (section 3.2). Untrusted bytes in, a
 * bounded policy out.
 */
#ifndef FETCHER_STS_POLICY_H
#define FETCHER_STS_POLICY_H

#include "sts.h"

/* Is it a record of ours, good or bad ("v=STSv1" up to a delimiter)? Others are not counted. */
bool sts_txt_is_ours(struct text record);

/* Its id, within RECORD; NULL when it is one, else what is wrong with it. */
const char *sts_txt_read(struct text record, struct text *id);

/* Domain of RFC 5321 section 4.1.2: letters, digits, and hyphens within labels. */
bool sts_is_domain(struct text t);

/* A policy's own memory. */
struct sts_file {
	struct sts_policy policy; /* without an id; mx is MX */
	char mx[STS_MX_BYTES + 1];
};

/* NULL when BODY is a policy, else what is wrong with it. */
const char *sts_file_read(struct text body, struct sts_file *to);

/* Section 3.3: is TYPE, an answer's Content-Type, text/plain, whatever its parameters? */
bool sts_type_is_plain(struct text type);

#endif
