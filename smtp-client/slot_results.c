/* SPDX-License-Identifier: ISC */
/* From a slot's sessions to rows of results. */
#include "slot_results.h"

#include "envelope.h"
#include "mem.h"
#include "next_hops.h"
#include "results.h"
#include "tls_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	COUNTED_MAX = 64,	/* domains of one connection; those beyond are not counted */
	POLICY_TEXT_MAX = 4096, /* what does not fit is left out */
	REASON_MAX = 200,
};

/* The domains that a connection was counted for, as hashes. */
struct slot_counted {
	size_t count;
	uint64_t seen[COUNTED_MAX];
};

static uint64_t hash_of(struct text domain)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < domain.len; i++)
		hash = (hash ^ (uint8_t)ascii_lower(domain.data[i])) * 1099511628211u;
	return hash;
}

/* True the first time. */
static bool is_first(struct slot *s, struct text domain)
{
	struct slot_counted *c = s->counted;
	uint64_t hash = hash_of(domain);

	if (!c)
		c = s->counted = mem_new(1, sizeof *c);
	for (size_t i = c->count; i-- > 0;)
		if (c->seen[i] == hash)
			return false;
	if (c->count == COUNTED_MAX)
		return false;
	c->seen[c->count++] = hash;
	return true;
}

void slot_forget_counted(struct slot *s)
{
	free(s->counted);
	s->counted = NULL;
}

/* -- what is counted ----------------------------------------------------------------------- */

/* RFC 8460 section 3: senders "SHOULD NOT include this SMTP session in the next report". */
static bool is_report(const struct job *job)
{
	static const char field[] = "\nTLS-Report-Domain:";

	return memmem(job->content.data, job->prelude_bytes, field, sizeof field - 1) != NULL;
}

/*
 * RFC 8460 section 1.1: where mail goes to a "smarthost" by the route, the
 * policy domain is the name of that.
 */
static struct text hop_name(const struct slot *s)
{
	static const struct text none = TEXT("");
	struct text name = target_is_list(s->job->target) ? s->attempt.host->name : s->job->target;
	uint8_t address[16];

	return host_address_parse(name, address) ? none : name;
}

/* Names in UTF-8 would have to be looked up in another form, and literals have no records. */
static bool is_plain(struct text domain)
{
	static const struct text others = TEXT("-_.");

	for (size_t i = 0; i < domain.len; i++)
		if (!ascii_is_alnum(domain.data[i]) && text_find(others, domain.data[i]) < 0)
			return false;
	return domain.len > 0 && domain.len <= 253;
}

static bool is_of_interest(const struct slot *s, const struct config_route *route)
{
	const struct job *job = s->job;

	return s->worker->daemon->config->tlsrpt_contact.len &&
	       (job->how == HOP_MX || job->how == HOP_HOST) && job->tls_wish == MAIL_TLS_ANY &&
	       policy_asks_tlsa(route_policy(route));
}

static int tlsa_compare(const void *a, const void *b)
{
	const struct tls_tlsa *const *x = a, *const *y = b;
	const uint8_t left[3] = {(*x)->usage, (*x)->selector, (*x)->matching};
	const uint8_t right[3] = {(*y)->usage, (*y)->selector, (*y)->matching};
	int d = memcmp(left, right, sizeof left);

	if (!d && (*x)->data.len != (*y)->data.len)
		d = (*x)->data.len < (*y)->data.len ? -1 : 1;
	return d || !(*x)->data.len ? d : memcmp((*x)->data.data, (*y)->data.data, (*x)->data.len);
}

/*
 * RFC 6698 section 2.2: "3 1 1 0123...", a line each. Name servers turn them
 * round with each answer, and it is one policy all the same: they are sorted.
 */
static void put_tlsa(struct bytes *to, const struct host *host)
{
	static const char hex[] = "0123456789abcdef";
	const struct tls_tlsa *sorted[TLS_TLSA_MAX];
	uint32_t count = host->tlsa_count < TLS_TLSA_MAX ? host->tlsa_count : TLS_TLSA_MAX;
	char head[32];

	for (uint32_t i = 0; i < count; i++)
		sorted[i] = &host->tlsa[i];
	qsort(sorted, count, sizeof *sorted, tlsa_compare);
	for (uint32_t i = 0; i < count; i++) {
		const struct tls_tlsa *r = sorted[i];
		int n =
		    snprintf(head, sizeof head, "%u %u %u ", r->usage, r->selector, r->matching);

		if (r->data.len > (POLICY_TEXT_MAX - sizeof head) / 2 ||
		    (size_t)n + 2 * r->data.len + 1 > POLICY_TEXT_MAX - bytes_len(to))
			continue;
		bytes_add(to, head, (size_t)n);
		for (size_t k = 0; k < r->data.len; k++) {
			uint8_t octet = (uint8_t)r->data.data[k];
			const char two[2] = {hex[octet >> 4], hex[octet & 15]};

			bytes_add(to, two, sizeof two);
		}
		bytes_add(to, "\n", 1);
	}
}

/*
 * How the present host fares under the policy of the job's domain. The
 * connection may have been opened for a domain with another one in testing.
 */
static enum sts_verdict verdict_of(const struct slot *s)
{
	const struct tls_facts *facts = s->stream ? stream_tls(s->stream) : NULL;

	if (s->job->sts.mode == STS_NONE || s->sts == STS_FREE)
		return STS_FREE;
	if (!sts_names(s->job->sts.mx, s->attempt.host->name))
		return STS_UNNAMED;
	return s->sts == STS_UNNAMED && facts ? sts_verdict_of(facts->noted)
					      : (enum sts_verdict)s->sts;
}

/* RFC 8461 section 3.2, the lines of its file. */
static void put_sts(struct bytes *to, const struct sts_policy *policy)
{
	struct text mx = policy->mx, pattern;
	char line[320];

	bytes_add(to, line,
		  (size_t)snprintf(line, sizeof line, "version: STSv1\nmode: %s\nmax_age: %u\n",
				   sts_mode_name(policy->mode), policy->max_age_s));
	while (sts_next(&mx, &pattern) && pattern.len < 256) {
		int n = snprintf(line, sizeof line, "mx: %.*s\n", (int)pattern.len, pattern.data);

		if ((size_t)n <= POLICY_TEXT_MAX - bytes_len(to))
			bytes_add(to, line, (size_t)n);
	}
}

/*
 * Under which policy the present host is. RFC 8460 section 1.1: of DANE the
 * policy domain is the TLSA base domain. RFC 7672 section 2.2: records that
 * are there, and of no use, are a policy too.
 */
static void found_of(const struct slot *s, const struct config_route *route, struct text domain,
		     struct bytes *lines, struct rec_tls_result *to)
{
	const struct host *host = s->attempt.host;

	to->domain = to->policy_domain = domain;
	lines->start = lines->end = 0;
	if (verdict_of(s) != STS_FREE) {
		to->policy = TLS_FOUND_STS;
		put_sts(lines, &s->job->sts);
		to->policy_text = bytes_text(lines);
		return;
	}
	if (host->tlsa_state == TLSA_NONE && host->dnssec != DNSSEC_BOGUS &&
	    route_policy(route) != POLICY_DANE_ONLY)
		return;
	to->policy = TLS_FOUND_TLSA;
	to->policy_domain = host->tlsa_base.len ? host->tlsa_base : host->name;
	put_tlsa(lines, host);
	to->policy_text = bytes_text(lines);
}

/* Where it failed. */
static void place_of(const struct slot *s, const char *why, char own[16], struct rec_tls_result *to)
{
	const struct host *host = s->attempt.host;
	size_t len = strlen(why);

	to->mx = host->name;
	to->receiver = (struct text){(const char *)host->address, sizeof host->address};
	if (s->stream && stream_own_address(s->stream, (uint8_t *)own))
		to->own = (struct text){own, 16};
	else
		to->receiver.len = 0;
	to->reason = (struct text){why, len < REASON_MAX ? len : REASON_MAX};
}

/* -- domains ------------------------------------------------------------------------------- */

/* Once for each domain that is new to this connection. */
static void count(struct slot *s, const struct config_route *route, enum tls_result_type result,
		  const char *why)
{
	const struct job *job = s->job;
	struct bytes lines = {0};
	bool skip = false;
	char own[16];

	for (uint32_t i = 0; i < job->recipient_count && !skip; i++) {
		struct text domain =
		    job->how == HOP_HOST ? hop_name(s) : address_domain(job->recipients[i].address);
		struct rec_tls_result row = {.result = (uint8_t)result};

		if (!is_plain(domain) || !is_first(s, domain))
			continue;
		skip = is_report(job);
		found_of(s, route, domain, &lines, &row);
		if (result != TLS_RESULT_FINE)
			place_of(s, why, own, &row);
		if (!skip)
			results_add(s->worker->results, &row);
	}
	bytes_free(&lines);
}

/* What a policy in testing would have refused is a failure, though the mail goes. */
static void count_sts(struct slot *s, enum sts_verdict verdict)
{
	const struct tls_facts *facts = stream_tls(s->stream);
	enum tls_result_type result = verdict == STS_FITS	  ? TLS_RESULT_FINE
				      : verdict == STS_OTHER_NAME ? TLS_RESULT_HOST_MISMATCH
				      : verdict == STS_UNTRUSTED && facts->noted == FAULT_EXPIRED
					  ? TLS_RESULT_EXPIRED
				      : verdict == STS_UNTRUSTED ? TLS_RESULT_NOT_TRUSTED
								 : TLS_RESULT_VALIDATION;

	count(s, s->route, result, verdict == STS_FITS ? "" : sts_verdict_text(verdict));
}

void slot_count_given(struct slot *s)
{
	const struct host *host = s->attempt.host;

	/* Behind a handshake that failed it was counted then. */
	if (!host || s->clear || !is_of_interest(s, s->route))
		return;
	if (!stream_tls(s->stream))
		count(s, s->route,
		      s->dialog.declined ? TLS_RESULT_VALIDATION : TLS_RESULT_NO_STARTTLS,
		      s->dialog.declined ? "STARTTLS was refused" : "");
	else if (verdict_of(s) != STS_FREE)
		count_sts(s, verdict_of(s));
	else if (host->tlsa_state == TLSA_UNUSABLE)
		count(s, s->route, TLS_RESULT_TLSA_INVALID,
		      "none of its TLSA records is of use; encrypted without authentication");
	else
		count(s, s->route, TLS_RESULT_FINE, "");
}

static enum tls_result_type result_of(unsigned fault)
{
	switch ((enum tls_fault)fault) {
	case FAULT_NAME:
		return TLS_RESULT_HOST_MISMATCH;
	case FAULT_EXPIRED:
		return TLS_RESULT_EXPIRED;
	case FAULT_CHAIN:
	case FAULT_DANE:
		return TLS_RESULT_NOT_TRUSTED;
	case FAULT_NONE:
	case FAULT_HANDSHAKE:
	case FAULT_FINGERPRINT:
		break;
	}
	return TLS_RESULT_VALIDATION;
}

void slot_count_failed(struct slot *s, unsigned fault, const char *why)
{
	if (s->job && is_of_interest(s, s->route))
		count(s, s->route, result_of(fault), why);
}

void slot_count_lacking(struct slot *s, const char *why)
{
	bool offered = s->dialog.offers.set & OFFERS_STARTTLS;

	if (s->job && is_of_interest(s, s->route))
		count(s, s->route, offered ? TLS_RESULT_VALIDATION : TLS_RESULT_NO_STARTTLS,
		      offered ? why : "");
}

void slot_count_impossible(struct slot *s, const char *why)
{
	const struct host *host = s->attempt.host;
	bool unknown = host->dnssec == DNSSEC_BOGUS || host->tlsa_state == TLSA_FAILED;

	if (!is_of_interest(s, s->job->route))
		return;
	count(s, s->job->route,
	      s->sts == STS_UNNAMED		  ? TLS_RESULT_VALIDATION
	      : unknown				  ? TLS_RESULT_DNSSEC_INVALID
	      : host->tlsa_state == TLSA_UNUSABLE ? TLS_RESULT_TLSA_INVALID
						  : TLS_RESULT_DANE_REQUIRED,
	      why);
	/* Nothing was opened: the next host is counted anew. */
	slot_forget_counted(s);
}
