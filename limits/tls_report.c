/* SPDX-License-Identifier: ISC */
/* Counts as JSON. */
#include "tls_report.h"

#include "clock.h"
#include "config.h"
#include "mem.h"
#include "must.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

enum { REASON_BYTES = 4 * 200 + 1, GZIP_BITS = 15 + 16, GZIP_MEMORY = 8 };

const char *tls_result_name(unsigned type)
{
	static const char *const names[TLS_RESULT_TYPES] = {
	    [TLS_RESULT_FINE] = "fine",
	    [TLS_RESULT_NO_STARTTLS] = "starttls-not-supported",
	    [TLS_RESULT_HOST_MISMATCH] = "certificate-host-mismatch",
	    [TLS_RESULT_EXPIRED] = "certificate-expired",
	    [TLS_RESULT_NOT_TRUSTED] = "certificate-not-trusted",
	    [TLS_RESULT_VALIDATION] = "validation-failure",
	    [TLS_RESULT_TLSA_INVALID] = "tlsa-invalid",
	    [TLS_RESULT_DNSSEC_INVALID] = "dnssec-invalid",
	    [TLS_RESULT_DANE_REQUIRED] = "dane-required",
	    [TLS_RESULT_STS_FETCH] = "sts-policy-fetch-error",
	    [TLS_RESULT_STS_INVALID] = "sts-policy-invalid",
	    [TLS_RESULT_STS_WEBPKI] = "sts-webpki-invalid",
	};

	return type < TLS_RESULT_TYPES ? names[type] : NULL;
}

/* Allocation failure ends the process, here as elsewhere. */
static void put(json_t *object, const char *name, json_t *value)
{
	must(object && value && json_object_set_new(object, name, value) == 0);
}

static void append(json_t *array, json_t *value)
{
	must(array && value && json_array_append_new(array, value) == 0);
}

/* What came from elsewhere is made UTF-8 first. */
static json_t *string_of(struct text t)
{
	char plain[REASON_BYTES];

	return json_stringn(plain, text_printable(plain, sizeof plain, t));
}

static json_t *address_of(const uint8_t *address)
{
	char text[46];

	return json_string(host_address_print(address, text));
}

/* RFC 3339 section 5.6. */
static json_t *moment_of(int64_t seconds)
{
	char text[64];
	time_t at = (time_t)seconds;
	struct tm tm;

	must(gmtime_r(&at, &tm));
	must(strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
	return json_string(text);
}

static json_t *failure_json(const struct tls_row *row)
{
	json_t *o = json_object();

	put(o, "result-type", json_string(tls_result_name(row->type)));
	if (row->connected)
		put(o, "sending-mta-ip", address_of(row->own));
	if (*row->mx)
		put(o, "receiving-mx-hostname", string_of(text_of(row->mx)));
	if (row->connected)
		put(o, "receiving-ip", address_of(row->receiver));
	put(o, "failed-session-count", json_integer((json_int_t)row->count));
	if (*row->reason)
		put(o, "failure-reason-code", string_of(text_of(row->reason)));
	return o;
}

static json_t *failures_json(const struct tls_applied *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->row_count; i++)
		append(list, failure_json(&p->rows[i]));
	if (p->rest) {
		json_t *o = json_object();

		put(o, "result-type", json_string(tls_result_name(TLS_RESULT_VALIDATION)));
		put(o, "failed-session-count", json_integer((json_int_t)p->rest));
		put(o, "failure-reason-code",
		    json_string("failures of more kinds than are told apart"));
		append(list, o);
	}
	return list;
}

/* "The type of policy that was applied", its lines, and of MTA-STS the patterns of its hosts. */
static json_t *policy_json(const struct tls_applied *p)
{
	static const char *const types[TLS_FOUND_KINDS] = {"no-policy-found", "tlsa", "sts"};
	json_t *o = json_object(), *lines = json_array(), *hosts = json_array();

	for (const char *at = p->text; *at;) {
		size_t len = strcspn(at, "\n");
		struct text line = {at, len};

		append(lines, json_stringn(at, len));
		if (p->found == TLS_FOUND_STS && text_starts_case(line, "mx:")) {
			line = text_trim((struct text){at + 3, len - 3});
			append(hosts, json_stringn(line.data, line.len));
		}
		at += len + (at[len] == '\n');
	}
	put(o, "policy-type", json_string(types[p->found]));
	if (json_array_size(lines))
		put(o, "policy-string", lines);
	else
		json_decref(lines);
	put(o, "policy-domain", string_of(text_of(p->domain)));
	if (json_array_size(hosts))
		put(o, "mx-host", hosts);
	else
		json_decref(hosts);
	return o;
}

static json_t *counts_json(const struct tls_applied *p)
{
	json_t *whole = json_object(), *summary = json_object();

	put(whole, "policy", policy_json(p));
	put(summary, "total-successful-session-count", json_integer((json_int_t)p->fine));
	put(summary, "total-failure-session-count", json_integer((json_int_t)p->failed));
	put(whole, "summary", summary);
	if (p->failed)
		put(whole, "failure-details", failures_json(p));
	return whole;
}

void tls_report_id(const struct tls_report_maker *m, const struct tls_domain *domain,
		   char to[TLS_REPORT_ID_BYTES])
{
	char day[64];
	time_t at = (time_t)(m->day * TLS_DAY_S);
	struct tm tm;

	must(gmtime_r(&at, &tm));
	must(strftime(day, sizeof day, "%Y%m%d", &tm) > 0);
	snprintf(to, TLS_REPORT_ID_BYTES, "%s.%s@%.*s", day, domain->name, (int)m->hostname.len,
		 m->hostname.data);
}

static int json_put(const char *data, size_t len, void *to)
{
	bytes_add(to, data, len);
	return 0;
}

void tls_report_json(const struct tls_report_maker *m, const struct tls_domain *domain,
		     struct bytes *to)
{
	json_t *whole = json_object(), *range = json_object(), *policies = json_array();
	char id[TLS_REPORT_ID_BYTES];

	tls_report_id(m, domain, id);
	put(range, "start-datetime", moment_of(m->day * TLS_DAY_S));
	put(range, "end-datetime", moment_of(m->day * TLS_DAY_S + TLS_DAY_S - 1));
	for (size_t i = 0; i < domain->policy_count; i++)
		append(policies, counts_json(&domain->policies[i]));
	put(whole, "organization-name", string_of(m->organization));
	put(whole, "date-range", range);
	put(whole, "contact-info", string_of(m->contact));
	put(whole, "report-id", json_string(id));
	put(whole, "policies", policies);
	must(json_dump_callback(whole, json_put, to, JSON_COMPACT) == 0);
	json_decref(whole);
}

static void *gzip_alloc(void *unused, unsigned count, unsigned size)
{
	(void)unused;
	return mem_new(count, size);
}

static void gzip_free(void *unused, void *memory)
{
	(void)unused;
	free(memory);
}

void tls_report_gzip(const struct bytes *data, struct bytes *to)
{
	z_stream z = {
	    .next_in = bytes_at(data),
	    .avail_in = (uInt)bytes_len(data),
	    .zalloc = gzip_alloc,
	    .zfree = gzip_free,
	};

	must(deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, GZIP_BITS, GZIP_MEMORY,
			  Z_DEFAULT_STRATEGY) == Z_OK);
	size_t most = deflateBound(&z, (uLong)bytes_len(data));

	z.next_out = bytes_room(to, most);
	z.avail_out = (uInt)most;
	must(deflate(&z, Z_FINISH) == Z_STREAM_END);
	to->end += most - z.avail_out;
	must(deflateEnd(&z) == Z_OK);
}
