/* SPDX-License-Identifier: ISC */
/* Attempts as results. */
#include "sts_failure.h"

#include "message.h"

enum { REASON_MAX = 200 }; /* as limits takes it */

/* RFC 8460 section 4.3.2.2. */
static const uint8_t results[] = {[STS_FAULT_NONE] = TLS_RESULT_STS_FETCH,
				  [STS_FAULT_FETCH] = TLS_RESULT_STS_FETCH,
				  [STS_FAULT_INVALID] = TLS_RESULT_STS_INVALID,
				  [STS_FAULT_WEBPKI] = TLS_RESULT_STS_WEBPKI};

void sts_failure_count(struct channel *limits, struct text domain, const struct sts_fetched *r)
{
	const struct rec_tls_result result = {
	    .domain = domain,
	    .policy = TLS_FOUND_STS,
	    .policy_domain = domain,
	    .result = results[r->fault],
	    .reason = {r->why.data, r->why.len < REASON_MAX ? r->why.len : REASON_MAX},
	    .count = 1,
	};
	struct bytes row = {0};

	rec_tls_result_encode(&row, &result);
	channel_send_tls_results(limits, &(struct msg_tls_results){{1, bytes_text(&row)}});
	bytes_free(&row);
}
