/* SPDX-License-Identifier: ISC */
/*
 * A domain's report on TLS as JSON (RFC 8460 section 4.4), and compressed
 * (section 5.2). Pure: counts in, bytes out.
 */
#ifndef LIMITS_TLS_REPORT_H
#define LIMITS_TLS_REPORT_H

#include "tls_day.h"

enum {
	TLS_REPORT_MAX = 65536, /* compressed; as messages take */
	TLS_REPORT_ID_BYTES = 601,
	TLS_DAY_S = 86400,
};

struct tls_report_maker {
	struct text organization, contact, hostname;
	int64_t day; /* since 1970 */
};

/* "20261121.example.net@mail.example.com": the same whenever it is written again. */
void tls_report_id(const struct tls_report_maker *m, const struct tls_domain *domain,
		   char to[TLS_REPORT_ID_BYTES]);

/* Appends the JSON. */
void tls_report_json(const struct tls_report_maker *m, const struct tls_domain *domain,
		     struct bytes *to);

/* Appends DATA as a gzip file (RFC 1952). */
void tls_report_gzip(const struct bytes *data, struct bytes *to);

/* As RFC 8460 section 4.3 spells it; NULL for what is none. */
const char *tls_result_name(unsigned type);

#endif
