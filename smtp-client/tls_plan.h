/* SPDX-License-Identifier: ISC */
/*
 * What TLS has to be towards one host: the route's policy (lib/route_tls.h)
 * together with what DNS says of the host, and the domain's MTA-STS policy. No
 * I/O.
 */
#ifndef SMTP_CLIENT_TLS_PLAN_H
#define SMTP_CLIENT_TLS_PLAN_H

#include "hosts.h"
#include "job.h"
#include "route_tls.h"
#include "tls_client.h"

enum tls_need {
	NEED_NOTHING,	  /* TLS where it is offered and works, else the clear */
	NEED_TLS,	  /* with whomever */
	NEED_CHAIN,	  /* a certificate that leads to an authority, and for the right name */
	NEED_DANE,	  /* one that a TLSA record matches */
	NEED_FINGERPRINT, /* one of those that the route names */
	NEED_IMPOSSIBLE,  /* this host gets no mail now */
};

/* How a host fares under the domain's MTA-STS policy, be it enforced or in testing. */
enum sts_verdict {
	STS_FREE,	/* there is none, or the host goes by DANE */
	STS_OPEN,	/* the policy names it; all else is to be seen */
	STS_FITS,	/* it has proved that it is that host */
	STS_UNNAMED,	/* no mx of the policy names it */
	STS_NO_TLS,	/* it offers no STARTTLS, or refuses it */
	STS_HANDSHAKE,	/* there is no TLS with it */
	STS_OTHER_NAME, /* its certificate is for another name */
	STS_UNTRUSTED,	/* its certificate leads to nobody who is trusted, or is out of its time */
};

/* What a delivery to HOST needs. *WHY it is impossible, for people. */
enum tls_need tls_need(enum tls_policy policy, const struct host *host, const char **why);

/* Must TLS prove who HOST is before the job goes there, and REQUIRETLS be used where mail is passed
 * on (RFC 8689 section 4.2.1)? */
bool job_requires_tls(const struct job *job, const struct host *host);

/* The same for JOB, by its route, the policy of its domain, and what its sender asked for. *VERDICT
 * is FREE, OPEN or UNNAMED. *FINAL: what makes it impossible will not pass. */
enum tls_need tls_need_of(const struct job *job, const struct host *host, const char **why,
			  enum sts_verdict *verdict, bool *final);

/* What enum tls_fault comes to. */
enum sts_verdict sts_verdict_of(unsigned fault);

/* For people, in lower case: "its certificate ...". */
const char *sts_verdict_text(enum sts_verdict verdict);

/* What is asked of its TLS; CANONICAL is that of the host list; texts are those of ROUTE, JOB (its
 * configuration too) and HOST. NEED is not NEED_IMPOSSIBLE. Under a policy in testing the
 * certificate is looked at, whatever it proves.
 */
void tls_wish_make(struct tls_wish *to, enum tls_need need, const struct config_route *route,
		   const struct job *job, const struct host *host, struct text canonical);

/* WHY, which tls_need() gave, and what resolver says of it; TO has SIZE bytes. */
void tls_need_said(const struct host *host, const char *why, char *to, size_t size);

/* That of the policy which the job goes under: STS_NONE as well where its route, or the message,
 * wants none obeyed. */
uint8_t sts_mode_of(const struct job *job);

/* Are all recipients of one domain? */
bool job_has_one_domain(const struct job *job);

/* Was the name of the job's domain among those that were asked for, so that no other's mail may go
 * over the connection? */
bool tls_wish_names_domain(const struct tls_wish *w, const struct job *job);

/* For the log: "dane/default", "verify/partner.example", "sts/enforce/ID" where VERDICT is not
 * STS_FREE; "TLSv1.3/SUITE/GROUP/dane-ee". FACTS may be NULL: "none". */
enum { TLS_SAID_BYTES = 300 };
size_t tls_policy_said(const struct job *job, enum sts_verdict verdict, char *to);
size_t tls_facts_said(const struct tls_facts *facts, char *to);

/* "the certificate is for another name: WHY"; TO has SIZE bytes. */
void tls_fault_said(unsigned fault, const char *why, char *to, size_t size);

#endif
