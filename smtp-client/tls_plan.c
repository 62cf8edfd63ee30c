/* SPDX-License-Identifier: ISC */
/* From policies and DNS to what is asked of a receiver. */
#include "tls_plan.h"

#include "envelope.h"
#include "next_hops.h"

#include <stdio.h>
#include <string.h>

/* -- needs ------------------------------------------------------------------------------- */

/*
 * RFC 7672 2.2: usable records are to be matched; with unusable ones alone
 * TLS is still mandatory; when it is not known whether there are any, the
 * host "MUST" not be used. Only their proven absence, or a host whose names
 * are not signed, leaves things as they were without DANE.
 */
static enum tls_need need_by_dane(const struct host *host, bool only, const char **why)
{
	if (host->dnssec == DNSSEC_BOGUS) {
		*why = "DNSSEC: its addresses are bogus";
		return NEED_IMPOSSIBLE;
	}
	switch (host->tlsa_state) {
	case TLSA_USABLE:
		return NEED_DANE;
	case TLSA_UNUSABLE:
		*why = "DANE is required, and none of its TLSA records is of use";
		return only ? NEED_IMPOSSIBLE : NEED_TLS;
	case TLSA_NONE:
		*why = host->dnssec == DNSSEC_SECURE
			   ? "DANE is required, and it has no TLSA records"
			   : "DANE is required, and its names are not signed by DNSSEC";
		return only ? NEED_IMPOSSIBLE : NEED_NOTHING;
	default:
		*why = "its TLSA records could not be looked up";
		return NEED_IMPOSSIBLE;
	}
}

enum tls_need tls_need(enum tls_policy policy, const struct host *host, const char **why)
{
	*why = "";
	switch (policy) {
	case POLICY_MAY:
		return NEED_NOTHING;
	case POLICY_ENCRYPT:
		return NEED_TLS;
	case POLICY_VERIFY:
		return NEED_CHAIN;
	case POLICY_FINGERPRINT:
		return NEED_FINGERPRINT;
	case POLICY_DANE_ONLY:
		return need_by_dane(host, true, why);
	case POLICY_DEFAULT:
	case POLICY_DANE:
		break;
	}
	return need_by_dane(host, false, why);
}

void tls_need_said(const struct host *host, const char *why, char *to, size_t size)
{
	bool more = host->tlsa_state == TLSA_FAILED && host->tlsa_why.len;

	snprintf(to, size, "%s%s%.*s", why, more ? ": " : "", more ? (int)host->tlsa_why.len : 0,
		 host->tlsa_why.data);
}

/* RFC 8689 section 3: "ignoring policy-based mechanisms (including MTA-STS and DANE), if any,
 * asserted by the recipient domain". What our administrator demands is none. */
static bool job_ignores_policies(const struct job *job)
{
	return job->tls_wish == MAIL_TLS_OPTIONAL && route_policy(job->route) == POLICY_DANE;
}

uint8_t sts_mode_of(const struct job *job)
{
	return route_asks_sts(job->route) && !job_ignores_policies(job) ? job->sts.mode : STS_NONE;
}

/*
 * RFC 8461 section 2: senders "MUST NOT allow MTA-STS Policy validation to
 * override a failing DANE validation", so a host whose TLSA records count has
 * nothing else. Section 5, of "enforce": no mail "to hosts that fail MX matching
 * or certificate validation or that do not support STARTTLS"; of "testing": "as
 * though there were no MTA-STS validation failure".
 */
static enum tls_need need_by_policies(const struct job *job, const struct host *host,
				      const char **why, enum sts_verdict *verdict)
{
	enum tls_need need = tls_need(route_policy(job->route), host, why);

	*verdict = STS_FREE;
	if (sts_mode_of(job) == STS_NONE || (need != NEED_NOTHING && need != NEED_TLS))
		return need;
	*verdict = sts_names(job->sts.mx, host->name) ? STS_OPEN : STS_UNNAMED;
	if (job->sts.mode != STS_ENFORCE)
		return need;
	if (*verdict == STS_OPEN)
		return NEED_CHAIN;
	*why = sts_verdict_text(*verdict);
	return NEED_IMPOSSIBLE;
}

/*
 * The extension is for relays, submission and LMTP (RFC 8689 section 2); a
 * mail store on this very machine is where the mail's way has ended.
 */
bool job_requires_tls(const struct job *job, const struct host *host)
{
	return job->tls_wish == MAIL_TLS_REQUIRED && !job->relaxed && job->how != HOP_LMTP_UNIX &&
	       !(job->how == HOP_LMTP && host_address_is_loopback(host->address));
}

/*
 * RFC 8689 section 2: "If the SMTP server to which the message is being
 * transmitted is identified through an MX record lookup, its name MUST be
 * validated via a DNSSEC signature on the recipient domain's MX record, or
 * the MX hostname MUST be validated by an MTA-STS policy". A host that has
 * the domain's own name needs neither: its certificate is for that.
 */
static bool host_is_validated(const struct job *job, const struct host *host,
			      enum sts_verdict verdict)
{
	return job->how != HOP_MX || host->vouched || verdict == STS_OPEN ||
	       text_equal_case(host->name, job->target);
}

static enum tls_need need_of_mail(const struct job *job, const struct host *host, const char **why,
				  enum sts_verdict *verdict, bool *final)
{
	uint8_t address[16];

	*final = false;
	*verdict = STS_FREE;
	*why = "";
	if (job_ignores_policies(job))
		return NEED_NOTHING;
	enum tls_need need = need_by_policies(job, host, why, verdict);

	if (!job_requires_tls(job, host) || need == NEED_IMPOSSIBLE)
		return need;
	*final = true;
	if (!host_is_validated(job, host, *verdict)) {
		*why = "REQUIRETLS: neither DNSSEC nor MTA-STS vouches for its name";
		return NEED_IMPOSSIBLE;
	}
	if (need != NEED_NOTHING && need != NEED_TLS)
		return need;
	if (host_address_parse(host->name, address)) {
		*why = "REQUIRETLS: there is no name that its certificate could be for";
		return NEED_IMPOSSIBLE;
	}
	return NEED_CHAIN;
}

enum tls_need tls_need_of(const struct job *job, const struct host *host, const char **why,
			  enum sts_verdict *verdict, bool *final)
{
	enum tls_need need = need_of_mail(job, host, why, verdict, final);

	/* Nothing is said there before TLS, whatever a policy would allow. */
	return need == NEED_NOTHING && job->how == HOP_SMTPS ? NEED_TLS : need;
}

enum sts_verdict sts_verdict_of(unsigned fault)
{
	switch (fault) {
	case FAULT_NONE:
		return STS_FITS;
	case FAULT_NAME:
		return STS_OTHER_NAME;
	case FAULT_CHAIN:
	case FAULT_EXPIRED:
		return STS_UNTRUSTED;
	default:
		return STS_HANDSHAKE;
	}
}

const char *sts_verdict_text(enum sts_verdict verdict)
{
	static const char *const texts[] = {
	    [STS_FREE] = "no MTA-STS policy",
	    [STS_OPEN] = "not known",
	    [STS_FITS] = "as the domain's MTA-STS policy wants it",
	    [STS_UNNAMED] = "MTA-STS: no mx of the domain's policy names it",
	    [STS_NO_TLS] = "MTA-STS: it offers no TLS",
	    [STS_HANDSHAKE] = "MTA-STS: there is no TLS with it",
	    [STS_OTHER_NAME] = "MTA-STS: its certificate is for another name",
	    [STS_UNTRUSTED] = "MTA-STS: its certificate is not trusted",
	};

	return texts[verdict];
}

/* -- wishes ------------------------------------------------------------------------------ */

bool job_has_one_domain(const struct job *job)
{
	for (uint32_t i = 0; i < job->recipient_count; i++) {
		struct text domain = address_domain(job->recipients[i].address);

		/* What is written in another form than the job's own, qmgr has compared. */
		if (!text_equal_case(domain, job->domain) &&
		    (text_is_ascii(domain) || !job->one_domain))
			return false;
	}
	return true;
}

static void wish_name(struct tls_wish *w, struct text name)
{
	/* "*.example.net" is ".example.net" to OpenSSL. */
	if (text_starts_case(name, "*."))
		name = (struct text){name.data + 1, name.len - 1};
	if (name.len && w->name_count < TLS_NAMES_MAX)
		w->names[w->name_count++] = name;
}

/*
 * Names that nobody on the way could have put there: the configuration's, the
 * domain of the mail, and a name out of DNS only when DNSSEC vouches for it.
 */
static void wish_chain(struct tls_wish *w, const struct config_route *route, const struct job *job,
		       const struct host *host)
{
	w->proof = TLS_PROVE_CHAIN;
	/* RFC 8461 section 4.2: "a DNS-ID matching the hostname". That the name is the right one
	 * says the policy. RFC 8689 section 4.2.1: "The hostname
	 * from the MX record lookup [...] MUST match the DNS-ID or CN-ID of the certificate". */
	if (route_policy(route) != POLICY_VERIFY) {
		wish_name(w, host->name);
		return;
	}
	for (size_t i = 0; i < route->tls_names.count; i++)
		wish_name(w, route->tls_names.items[i]);
	if (w->name_count)
		return;
	/* Of several next hops each is looked for under its own name. */
	wish_name(w, target_is_list(job->target) ? host->name : job->target);
	if (job->how == HOP_MX && host->dnssec == DNSSEC_SECURE)
		wish_name(w, host->name);
}

/*
 * RFC 7672 3.2.2: with DANE-TA(2) the certificate may also be for the domain
 * that the MX belongs to, and for the name that its CNAMEs lead to. For mail of several domains
 * that would be the wrong one for some, so there only the host's own name counts.
 */
static void wish_dane(struct tls_wish *w, const struct job *job, const struct host *host,
		      struct text canonical)
{
	bool anchors = false;

	w->proof = TLS_PROVE_DANE;
	w->name = w->base = host->tlsa_base;
	for (uint32_t i = 0; i < host->tlsa_count && i < TLS_TLSA_MAX; i++) {
		w->tlsa[w->tlsa_count++] = host->tlsa[i];
		anchors |= host->tlsa[i].usage == 2;
	}
	if (!anchors)
		return;
	/* The host of a route, found below the end of its CNAMEs: "the original next-hop domain"
	 * is a further name. */
	if (job->how == HOP_HOST)
		wish_name(w, host->name);
	if (job->how != HOP_MX || !job_has_one_domain(job))
		return;
	wish_name(w, job->target);
	if (canonical.len && !text_equal_case(canonical, job->target))
		wish_name(w, canonical);
}

void tls_wish_make(struct tls_wish *w, enum tls_need need, const struct config_route *route,
		   const struct job *job, const struct host *host, struct text canonical)
{
	uint8_t address[16];

	*w = (struct tls_wish){.proof = TLS_PROVE_NOTHING, .policy = route_policy(route)};
	w->peer = (struct text){(const char *)host->place, sizeof host->place};
	if (route->tls_key.len)
		w->certificate = config_shown(job->config, route);
	/* RFC 6066 3: no address is a name. */
	if (!host_address_parse(host->name, address))
		w->name = host->name;
	if (need == NEED_CHAIN)
		wish_chain(w, route, job, host);
	else if (need == NEED_DANE)
		wish_dane(w, job, host, canonical);
	else if (need != NEED_FINGERPRINT && job->sts.mode == STS_TESTING) {
		w->note = true;
		wish_name(w, host->name);
	}
	if (need != NEED_FINGERPRINT)
		return;
	w->proof = TLS_PROVE_FINGERPRINT;
	for (size_t i = 0; i < route->tls_fingerprints.count && i < TLS_NAMES_MAX; i++)
		w->fingerprints[w->fingerprint_count++] = route->tls_fingerprints.items[i];
}

bool tls_wish_names_domain(const struct tls_wish *w, const struct job *job)
{
	for (size_t i = 0; i < w->name_count && job->how == HOP_MX; i++)
		if (text_equal_case(w->names[i], job->target))
			return true;
	return false;
}

/* -- words ------------------------------------------------------------------------------- */

/* Once for each message: printf would be felt. */
static size_t said_add(char *to, size_t at, struct text t)
{
	size_t n = t.len < TLS_SAID_BYTES - 1 - at ? t.len : TLS_SAID_BYTES - 1 - at;

	if (n)
		memcpy(to + at, t.data, n);
	to[at + n] = '\0';
	return at + n;
}

size_t tls_policy_said(const struct job *job, enum sts_verdict verdict, char *to)
{
	const struct config_route *route = job->route;
	size_t n;

	if (job->tls_wish && !job->relaxed)
		return said_add(to, 0,
				job->tls_wish == MAIL_TLS_REQUIRED
				    ? (struct text)TEXT("requiretls/message")
				    : (struct text)TEXT("optional/message"));
	if (verdict != STS_FREE) {
		n = said_add(to, 0, (struct text)TEXT("sts/"));
		n = said_add(to, n, text_of(sts_mode_name(job->sts.mode)));
		n = said_add(to, n, (struct text)TEXT("/"));
		return said_add(to, n, job->sts.id);
	}
	n = said_add(to, 0, text_of(policy_name(route_policy(route))));

	n = said_add(to, n, (struct text)TEXT("/"));
	return said_add(to, n,
			route->tls == POLICY_DEFAULT ? (struct text)TEXT("default") : route->label);
}

size_t tls_facts_said(const struct tls_facts *f, char *to)
{
	static const struct text proofs[] = {
	    [PROOF_NONE] = TEXT("/unverified"),		[PROOF_CHAIN] = TEXT("/verified"),
	    [PROOF_DANE_TA] = TEXT("/dane-ta"),		[PROOF_DANE_EE] = TEXT("/dane-ee"),
	    [PROOF_FINGERPRINT] = TEXT("/fingerprint"),
	};

	if (!f)
		return said_add(to, 0, (struct text)TEXT("none"));
	size_t n = said_add(to, 0, f->version);

	n = said_add(to, n, (struct text)TEXT("/"));
	n = said_add(to, n, f->cipher);
	n = said_add(to, n, (struct text)TEXT("/"));
	n = said_add(to, n, f->group.len ? f->group : (struct text)TEXT("no"));
	n = said_add(to, n, proofs[f->proof]);
	return f->resumed ? said_add(to, n, (struct text)TEXT("/resumed")) : n;
}

void tls_fault_said(unsigned fault, const char *why, char *to, size_t size)
{
	static const char *const faults[] = {
	    [FAULT_NONE] = "TLS handshake failed",
	    [FAULT_HANDSHAKE] = "TLS handshake failed",
	    [FAULT_NAME] = "its certificate is for another name",
	    [FAULT_CHAIN] = "its certificate is not trusted",
	    [FAULT_DANE] = "its certificate matches no TLSA record",
	    [FAULT_FINGERPRINT] = "its certificate is another one",
	    [FAULT_EXPIRED] = "its certificate is not trusted",
	};

	snprintf(to, size, "%s: %s", faults[fault <= FAULT_EXPIRED ? fault : 0], why);
}
