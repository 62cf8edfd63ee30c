/* SPDX-License-Identifier: ISC */
/* Policies: what each needs of a host, which names count, and whose mail may share a connection. */
#include "mem.h"
#include "tls_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const states[] = {"none", "usable", "unusable", "failed"};

static void needs_by_table(void **state)
{
#define MAY NEED_NOTHING
#define TLS NEED_TLS
#define DANE NEED_DANE
#define NO NEED_IMPOSSIBLE
	static const struct {
		enum tls_policy policy;
		/* By tlsa_state, of a host whose names are signed; then none, not signed; bogus. */
		enum tls_need needs[6];
	} rows[] = {
	    {POLICY_DEFAULT, {MAY, DANE, TLS, NO, MAY, NO}},
	    {POLICY_MAY, {MAY, MAY, MAY, MAY, MAY, MAY}},
	    {POLICY_ENCRYPT, {TLS, TLS, TLS, TLS, TLS, TLS}},
	    {POLICY_VERIFY,
	     {NEED_CHAIN, NEED_CHAIN, NEED_CHAIN, NEED_CHAIN, NEED_CHAIN, NEED_CHAIN}},
	    {POLICY_DANE, {MAY, DANE, TLS, NO, MAY, NO}},
	    {POLICY_DANE_ONLY, {NO, DANE, NO, NO, NO, NO}},
	    {POLICY_FINGERPRINT,
	     {NEED_FINGERPRINT, NEED_FINGERPRINT, NEED_FINGERPRINT, NEED_FINGERPRINT,
	      NEED_FINGERPRINT, NEED_FINGERPRINT}},
	};
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (uint8_t k = 0; k < 6; k++) {
			struct host host = {.dnssec = DNSSEC_SECURE, .tlsa_state = k};

			if (k >= 4) {
				host.tlsa_state = TLSA_NONE;
				host.dnssec = k == 4 ? DNSSEC_INSECURE : DNSSEC_BOGUS;
			}
			enum tls_need need = tls_need(rows[i].policy, &host, &why);

			if (need != rows[i].needs[k])
				fail_msg("%s, %s: %d", policy_name(rows[i].policy),
					 k < 4 ? states[k] : "not signed", need);
			assert_true(need != NEED_IMPOSSIBLE || *why);
		}
	/* What nobody has defined is no permission. */
	struct host strange = {.dnssec = DNSSEC_SECURE, .tlsa_state = 200};

	assert_int_equal(tls_need(POLICY_DANE, &strange, &why), NEED_IMPOSSIBLE);
}

static void records_are_usable_or_not(void **state)
{
	static const char data[80];
	static const struct {
		uint8_t usage, selector, matching, len;
		bool usable;
	} rows[] = {
	    {3, 1, 1, 32, true},  {2, 0, 1, 32, true},	{3, 0, 2, 64, true},
	    {3, 1, 0, 70, true},  {2, 1, 0, 1, true},	{0, 1, 1, 32, false},
	    {1, 0, 1, 32, false}, {4, 1, 1, 32, false}, {3, 2, 1, 32, false},
	    {3, 1, 3, 32, false}, {3, 1, 1, 31, false}, {3, 1, 1, 64, false},
	    {3, 1, 2, 32, false}, {3, 1, 0, 0, false},	{255, 0, 1, 32, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct tls_tlsa r = {
		    rows[i].usage, rows[i].selector, rows[i].matching, {data, rows[i].len}};

		if (tls_tlsa_is_usable(&r) != rows[i].usable)
			fail_msg("row %zu", i);
	}
}

/* -- wishes ------------------------------------------------------------------------------ */

static struct job *job_to(const char *domain, const char *other)
{
	struct job *job = mem_new(1, sizeof *job + 2 * sizeof(struct recipient));
	static char addresses[2][64];

	job->how = HOP_MX;
	job->domain = job->target = text_of(domain);
	job->recipient_count = other ? 2 : 1;
	snprintf(addresses[0], sizeof addresses[0], "a@%s", domain);
	snprintf(addresses[1], sizeof addresses[1], "b@%s", other ? other : "");
	for (uint32_t i = 0; i < job->recipient_count; i++)
		job->recipients[i].address = text_of(addresses[i]);
	return job;
}

static void names_are(const struct tls_wish *w, const char *expected)
{
	char all[256] = "";

	for (size_t i = 0; i < w->name_count; i++)
		snprintf(all + strlen(all), sizeof all - strlen(all), "%s%.*s", i ? " " : "",
			 (int)w->names[i].len, w->names[i].data);
	assert_string_equal(all, expected);
}

static void names_that_count(void **state)
{
	struct text given[] = {TEXT("mx.x.example"), TEXT("*.y.example")};
	struct config_route verify = {.tls = POLICY_VERIFY, .how = HOP_MX}, dane = {0};
	struct tls_tlsa anchor = {2, 1, 1, TEXT("")}, key = {3, 1, 1, TEXT("")};
	struct host host = {.name = TEXT("mx.dns.example"), .tlsa_base = TEXT("base.example")};
	struct job *job = job_to("rcpt.example", NULL), *two = job_to("rcpt.example", "b.example");
	struct text none = {NULL, 0};
	struct tls_wish w;

	(void)state;
	/* What DNS says without a signature is what an attacker says. */
	tls_wish_make(&w, NEED_CHAIN, &verify, job, &host, none);
	names_are(&w, "rcpt.example");
	assert_true(tls_wish_names_domain(&w, job));
	assert_true(text_equals(w.name, "mx.dns.example"));
	host.dnssec = DNSSEC_SECURE;
	tls_wish_make(&w, NEED_CHAIN, &verify, job, &host, none);
	names_are(&w, "rcpt.example mx.dns.example");
	verify.tls_names = (struct texts){given, 2};
	tls_wish_make(&w, NEED_CHAIN, &verify, job, &host, none);
	names_are(&w, "mx.x.example .y.example");
	assert_false(tls_wish_names_domain(&w, job));
	/* RFC 7672 3.2.2: the domain's own name counts with DANE-TA(2), for mail of it alone. */
	host.tlsa = &anchor;
	host.tlsa_count = 1;
	tls_wish_make(&w, NEED_DANE, &dane, job, &host, none);
	names_are(&w, "rcpt.example");
	assert_true(tls_wish_names_domain(&w, job));
	assert_true(text_equals(w.base, "base.example") && text_equals(w.name, "base.example"));
	tls_wish_make(&w, NEED_DANE, &dane, two, &host, none);
	names_are(&w, "");
	/* And where its CNAMEs end; of a route's host the host's own name. */
	tls_wish_make(&w, NEED_DANE, &dane, job, &host, text_of("end.example"));
	names_are(&w, "rcpt.example end.example");
	tls_wish_make(&w, NEED_DANE, &dane, job, &host, text_of("RCPT.example"));
	names_are(&w, "rcpt.example");
	job->how = HOP_HOST;
	tls_wish_make(&w, NEED_DANE, &dane, job, &host, none);
	names_are(&w, "mx.dns.example");
	job->how = HOP_MX;
	host.tlsa = &key;
	tls_wish_make(&w, NEED_DANE, &dane, job, &host, none);
	names_are(&w, "");
	host.name = text_of("192.0.2.1");
	tls_wish_make(&w, NEED_NOTHING, &dane, job, &host, none);
	assert_int_equal(w.name.len, 0);
	free(job);
	free(two);
}

/* An address may write its domain in another form: qmgr says that it is the same. */
static void one_domain_in_two_forms(void **state)
{
	struct job *job = job_to("xn--mller-kva.example", "m\xc3\xbcller.example");

	(void)state;
	assert_false(job_has_one_domain(job));
	job->one_domain = true;
	assert_true(job_has_one_domain(job));
	free(job);
	job = job_to("a.example", "b.example");
	job->one_domain = true;
	assert_false(job_has_one_domain(job));
	free(job);
}

/* -- connections ------------------------------------------------------------------------- */

static struct config *read_config(const char *text)
{
	struct config_errors errors;
	struct config *c = config_read(text_of(text), &errors);

	for (size_t i = 0; i < errors.count; i++)
		if (!errors.items[i].warning)
			fail_msg("%s", errors.items[i].text);
	config_errors_free(&errors);
	return c;
}

static const char routes[] =
    "listen smtp { address = *:25 }\n"
    "route may.example { to = mx tls = may }\nroute .may.example { to = mx tls = may }\n"
    "route enc.example { to = mx tls = encrypt }\nroute dane.example { to = mx tls = dane }\n"
    "route only.example { to = mx tls = dane-only }\n"
    "route .ver.example { to = mx tls = verify }\n"
    "route one.example { to = mx tls = verify tls-names = { mx.x.example } }\n"
    "route two.example { to = mx tls = verify tls-names = { mx.x.example } }\n"
    "route three.example { to = mx tls = verify tls-names = { mx.z.example } }\n"
    "route host.example { to = smtp:relay.example tls = verify }\n"
    "route lmtp.example { to = lmtp:store.example:24 }\n"
    "route plain.example { to = smtp:relay.example tls = verify }\n"
    "route ann.example { to = smtp:relay.example login = ann password-file = /p }\n"
    "route bob.example { to = smtp:relay.example login = bob password-file = /p }\n"
    "route .bob.example { to = smtp:relay.example login = bob password-file = /p }\n"
    "route fin.example { to = mx tls = fingerprint tls-fingerprints = { "
    "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:"
    "ff } }\n";

static void key_of(const struct config *c, const char *domain, char *to)
{
	struct text t = text_of(domain);

	size_t len = route_policy_key(c, config_route(c, t), t, to);

	assert_int_equal(len, strlen(to));
}

static void who_shares_a_connection(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} rows[] = {
	    {"may.example", "x.may.example", true},
	    {"may.example", "enc.example", false},
	    {"x.example", "y.example", true},
	    {"x.example", "dane.example", true}, /* the default */
	    {"dane.example", "only.example", false},
	    {"a.ver.example", "a.ver.example", true},
	    {"a.ver.example", "b.ver.example", false}, /* each proves itself by its own name */
	    {"one.example", "three.example", false},
	    {"one.example", "a.ver.example", false},
	    {"fin.example", "fin.example", true},
	    {"fin.example", "one.example", false},
	    {"host.example", "a.ver.example", false},
	    /* A login's connection is its own, and its route's. */
	    {"ann.example", "ann.example", true},
	    {"ann.example", "bob.example", false},
	    {"x.bob.example", "y.bob.example", true},
	    {"x.bob.example", "bob.example", false},
	    {"plain.example", "ann.example", false},
	};
	struct config *c = read_config(routes);
	char one[ROUTE_KEY_BYTES], two[ROUTE_KEY_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct text a = text_of(rows[i].a), b = text_of(rows[i].b);
		bool same = route_policy_same(config_route(c, a), a, config_route(c, b), b);

		key_of(c, rows[i].a, one);
		key_of(c, rows[i].b, two);
		if (same != rows[i].same || (strcmp(one, two) == 0) != rows[i].same)
			fail_msg("%s and %s: \"%s\" and \"%s\"", rows[i].a, rows[i].b, one, two);
	}
	/* Other routes with equal conditions may share; their keys are no proof of it. */
	struct text a = text_of("one.example"), b = text_of("two.example");

	assert_true(route_policy_same(config_route(c, a), a, config_route(c, b), b));
	key_of(c, "x.example", one);
	assert_string_equal(one, "");
	key_of(c, "lmtp.example", one);
	assert_string_equal(one, " tls=may");
	/* Never a password to whoever answers. */
	assert_int_equal(route_policy(config_route(c, text_of("ann.example"))), POLICY_VERIFY);
	config_drop(&c);
}

static void settings_contradict(void **state)
{
	static const struct {
		const char *route, *words;
	} rows[] = {
	    {"to = mx tls = fingerprint", "needs tls-fingerprints"},
	    {"to = mx tls = fingerprint tls-fingerprints = { abc }", "is no SHA-256 digest"},
	    {"to = mx tls-names = { a.example }", "count with tls = verify only"},
	    {"to = smtp:[192.0.2.1] tls = verify", "needs tls-names"},
	    {"to = lmtp:[192.0.2.1]:24 tls = verify", "needs tls-names"},
	    {"to = smtp:[192.0.2.1] tls = dane-only", "has no TLSA records"},
	    {"to = smtp:[192.0.2.1] login = x password-file = /p", "needs tls-names"},
	    {"to = smtps:[192.0.2.1] login = x password-file = /p tls = may", "always encrypted"},
	    {"to = smtp:a.example login = x password-file = /p tls = may", "in the clear"},
	    {"to = { smtp:[127.0.0.1], smtp:b.example } login = x password-file = /p tls = may",
	     "in the clear"},
	    {"to = smtp:a.example login = x password-file = /p tls = dane", "in the clear"},
	    {"to = mx login = x password-file = /p", "smtp:HOST or smtps:HOST only"},
	    {"to = lmtp:a.example:24 login = x password-file = /p", "smtp:HOST or smtps:HOST only"},
	    {"to = discard login = x password-file = /p", "smtp:HOST or smtps:HOST only"},
	    {"to = smtp:a.example login = x", "needs password-file or token-endpoint"},
	    {"to = smtp:a.example login = x password-file = /p token-endpoint = https://h.example/",
	     "one of them"},
	    {"to = smtp:a.example login = x password-file = /p mechanisms = { XOAUTH2 }",
	     "with a password"},
	    {"to = smtp:a.example login = x password-file = /p mechanisms = { EXTERNAL }",
	     "with a password"},
	    {"to = smtp:a.example login = x token-endpoint = https://h.example/ client-id = x",
	     "needs refresh-token-file, or client-secret-file"},
	    {"to = smtp:a.example login = x token-endpoint = https://h.example/ client-id = x "
	     "client-secret-file = /s mechanisms = { PLAIN }",
	     "with token-endpoint"},
	    {"to = mx tls = encrpt", "did you mean encrypt?"},
	    {"to = mx tls = verify tls-names = { * }", "is every domain there is"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct config_errors errors;
		char text[512];

		snprintf(text, sizeof text,
			 "listen smtp { address = *:25 }\nroute x.example { %s }\n", rows[i].route);
		struct config *c = config_read(text_of(text), &errors);

		assert_null(c);
		bool said = false;

		for (size_t k = 0; k < errors.count; k++)
			said |= strstr(errors.items[k].text, rows[i].words) != NULL;
		if (!said)
			fail_msg("%s: %s", rows[i].route, errors.items[0].text);
		config_errors_free(&errors);
	}
}

/* -- RFC 8689 ---------------------------------------------------------------------------- */

/* Mail that wants something of TLS, by a route to a host that MX records name without a signature.
 */
struct wanting {
	struct config_route route;
	struct job *job;
	struct host host;
	/* What tls_need_of() said last. */
	const char *why;
	enum sts_verdict verdict;
	bool final;
};

static void wanting_make(struct wanting *w, enum mail_tls wish)
{
	*w = (struct wanting){.route = {.how = HOP_MX},
			      .job = job_to("rcpt.example", NULL),
			      .host = {.name = TEXT("mx.dns.example"), .dnssec = DNSSEC_INSECURE}};
	w->job->route = &w->route;
	w->job->tls_wish = (uint8_t)wish;
}

static enum tls_need need_of(struct wanting *w)
{
	return tls_need_of(w->job, &w->host, &w->why, &w->verdict, &w->final);
}

/* REQUIRETLS makes needs narrower, TLS-Required: No what the receiver's domain asserts none. */
static void needs_by_message(void **state)
{
	static const struct {
		enum tls_policy policy;
		/* With a name that is vouched for, and one that is not; the domain's own. */
		enum tls_need vouched, not, own, optional;
	} rows[] = {
	    {POLICY_DEFAULT, NEED_CHAIN, NO, NEED_CHAIN, MAY},
	    {POLICY_MAY, NEED_CHAIN, NO, NEED_CHAIN, MAY},
	    {POLICY_ENCRYPT, NEED_CHAIN, NO, NEED_CHAIN, TLS},
	    {POLICY_VERIFY, NEED_CHAIN, NO, NEED_CHAIN, NEED_CHAIN},
	    {POLICY_DANE, NEED_CHAIN, NO, NEED_CHAIN, MAY},
	    {POLICY_FINGERPRINT, NEED_FINGERPRINT, NO, NEED_FINGERPRINT, NEED_FINGERPRINT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct wanting w;
		const char *why;

		wanting_make(&w, MAIL_TLS_REQUIRED);
		w.route.tls = (uint8_t)rows[i].policy;
		w.host.vouched = true;
		assert_int_equal(need_of(&w), rows[i].vouched);
		w.host.vouched = false;
		assert_int_equal(need_of(&w), rows[i].not );
		assert_true(w.final && strstr(w.why, "REQUIRETLS: neither DNSSEC nor MTA-STS"));
		w.host.name = text_of("RCPT.example");
		assert_int_equal(need_of(&w), rows[i].own);
		w.host.name = text_of("mx.dns.example");
		w.job->relaxed = true;
		assert_int_equal(need_of(&w), tls_need(rows[i].policy, &w.host, &why));
		w.job->relaxed = false;
		w.job->tls_wish = MAIL_TLS_OPTIONAL;
		assert_int_equal(need_of(&w), rows[i].optional);
		free(w.job);
	}
}

/* Its records prove; what could not be looked up is waited for, unless it counts not. */
static void needs_by_message_and_dane(void **state)
{
	(void)state;
	for (int tls = MAIL_TLS_REQUIRED; tls <= MAIL_TLS_OPTIONAL; tls++) {
		bool required = tls == MAIL_TLS_REQUIRED;
		struct wanting w;

		wanting_make(&w, (enum mail_tls)tls);
		w.host.vouched = true;
		w.host.dnssec = DNSSEC_SECURE;
		w.host.tlsa_state = TLSA_USABLE;
		assert_int_equal(need_of(&w), required ? DANE : MAY);
		w.host.tlsa_state = TLSA_FAILED;
		assert_int_equal(need_of(&w), required ? NO : MAY);
		assert_false(w.final);
		free(w.job);
	}
}

/* A policy that names the host vouches for it, be it in testing; one that does not changes
 * nothing. */
static void needs_by_message_and_sts(void **state)
{
	struct wanting w;
	struct tls_wish wish;

	(void)state;
	wanting_make(&w, MAIL_TLS_REQUIRED);
	w.host.dnssec = DNSSEC_SECURE;
	w.route.sts = true;
	w.job->sts.mx = text_of("mx.dns.example");
	w.job->sts.mode = STS_TESTING;
	assert_int_equal(need_of(&w), NEED_CHAIN);
	w.job->sts.mode = STS_ENFORCE;
	assert_int_equal(need_of(&w), NEED_CHAIN);
	w.job->sts.mx = text_of("mx.other.example");
	assert_int_equal(need_of(&w), NO);
	w.job->tls_wish = MAIL_TLS_OPTIONAL;
	assert_int_equal(need_of(&w), MAY);
	assert_int_equal(w.verdict, STS_FREE);
	w.job->sts.mode = STS_NONE;
	/* The name is the MX host's. */
	w.job->tls_wish = MAIL_TLS_REQUIRED;
	tls_wish_make(&wish, NEED_CHAIN, &w.route, w.job, &w.host, (struct text){NULL, 0});
	names_are(&wish, "mx.dns.example");
	free(w.job);
}

/* A route's own host needs no DNS, an address has no name, a mail store here no TLS, smtps always
 * has it. */
static void needs_by_message_without_mx(void **state)
{
	struct wanting w;

	(void)state;
	wanting_make(&w, MAIL_TLS_REQUIRED);
	w.job->how = HOP_LITERAL;
	w.host.name = text_of("192.0.2.1");
	assert_int_equal(need_of(&w), NO);
	assert_true(w.final);
	w.job->how = HOP_LMTP;
	w.host.name = text_of("store.example");
	assert_int_equal(need_of(&w), NEED_CHAIN);
	assert_true(host_address_parse(text_of("127.0.0.1"), w.host.address));
	assert_int_equal(need_of(&w), MAY);
	assert_false(job_requires_tls(w.job, &w.host));
	w.job->how = HOP_LMTP_UNIX;
	w.host.name = text_of("/run/lmtp");
	memset(w.host.address, 0, sizeof w.host.address);
	assert_int_equal(need_of(&w), MAY);
	/* On the port that begins with TLS nothing goes without. */
	w.job->how = HOP_SMTPS;
	w.route.how = HOP_SMTPS;
	w.route.tls = POLICY_MAY;
	w.host.name = text_of("relay.example");
	w.job->tls_wish = MAIL_TLS_ANY;
	assert_int_equal(need_of(&w), TLS);
	w.job->tls_wish = MAIL_TLS_REQUIRED;
	assert_int_equal(need_of(&w), NEED_CHAIN);
	free(w.job);
}

/* -- the log, MTA-STS -------------------------------------------------------------------- */

static void words_for_the_log(void **state)
{
	struct config_route verify = {.label = TEXT(".x.example"), .tls = POLICY_VERIFY},
			    unsaid = {.label = TEXT("*")};
	struct tls_facts facts = {.version = TEXT("TLSv1.3"),
				  .cipher = TEXT("TLS_AES_128_GCM_SHA256"),
				  .group = TEXT("X25519"),
				  .proof = PROOF_DANE_EE};
	char said[TLS_SAID_BYTES];

	(void)state;
	struct job job = {.route = &verify, .sts = {.mode = STS_TESTING, .id = TEXT("2026")}};

	tls_policy_said(&job, STS_FREE, said);
	assert_string_equal(said, "verify/.x.example");
	job.route = &unsaid;
	tls_policy_said(&job, STS_FREE, said);
	assert_string_equal(said, "dane/default");
	tls_policy_said(&job, STS_UNNAMED, said);
	assert_string_equal(said, "sts/testing/2026");
	job.tls_wish = MAIL_TLS_REQUIRED;
	tls_policy_said(&job, STS_OPEN, said);
	assert_string_equal(said, "requiretls/message");
	job.tls_wish = MAIL_TLS_OPTIONAL;
	tls_policy_said(&job, STS_FREE, said);
	assert_string_equal(said, "optional/message");
	tls_facts_said(NULL, said);
	assert_string_equal(said, "none");
	tls_facts_said(&facts, said);
	assert_string_equal(said, "TLSv1.3/TLS_AES_128_GCM_SHA256/X25519/dane-ee");
	facts.resumed = true;
	facts.group.len = 0;
	tls_facts_said(&facts, said);
	assert_string_equal(said, "TLSv1.3/TLS_AES_128_GCM_SHA256/no/dane-ee/resumed");
}

static const struct {
	uint8_t mode, tlsa_state, dnssec, sts;
	const char *mx;
	enum tls_need need;
	enum sts_verdict verdict;
} sts_rows[] = {
    {STS_ENFORCE, TLSA_NONE, DNSSEC_INSECURE, 1, "mx.example", NEED_CHAIN, STS_OPEN},
    {STS_ENFORCE, TLSA_NONE, DNSSEC_SECURE, 1, "*.example", NEED_CHAIN, STS_OPEN},
    {STS_ENFORCE, TLSA_NONE, DNSSEC_INSECURE, 1, "b.example", NEED_IMPOSSIBLE, STS_UNNAMED},
    {STS_ENFORCE, TLSA_NONE, DNSSEC_INSECURE, 0, "b.example", NEED_NOTHING, STS_FREE},
    {STS_ENFORCE, TLSA_USABLE, DNSSEC_SECURE, 1, "b.example", NEED_DANE, STS_FREE},
    {STS_ENFORCE, TLSA_USABLE, DNSSEC_SECURE, 1, "mx.example", NEED_DANE, STS_FREE},
    {STS_ENFORCE, TLSA_UNUSABLE, DNSSEC_SECURE, 1, "mx.example", NEED_CHAIN, STS_OPEN},
    {STS_ENFORCE, TLSA_UNUSABLE, DNSSEC_SECURE, 1, "b.example", NEED_IMPOSSIBLE, STS_UNNAMED},
    {STS_ENFORCE, TLSA_FAILED, DNSSEC_SECURE, 1, "mx.example", NEED_IMPOSSIBLE, STS_FREE},
    {STS_ENFORCE, TLSA_NONE, DNSSEC_BOGUS, 1, "mx.example", NEED_IMPOSSIBLE, STS_FREE},
    {STS_TESTING, TLSA_NONE, DNSSEC_INSECURE, 1, "mx.example", NEED_NOTHING, STS_OPEN},
    {STS_TESTING, TLSA_NONE, DNSSEC_INSECURE, 1, "b.example", NEED_NOTHING, STS_UNNAMED},
    {STS_TESTING, TLSA_UNUSABLE, DNSSEC_SECURE, 1, "b.example", NEED_TLS, STS_UNNAMED},
    {STS_TESTING, TLSA_USABLE, DNSSEC_SECURE, 1, "b.example", NEED_DANE, STS_FREE},
    {STS_NONE, TLSA_NONE, DNSSEC_INSECURE, 1, "", NEED_NOTHING, STS_FREE},
};

static void sts_beside_the_route(void **state)
{
	struct tls_wish w;
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof sts_rows / sizeof *sts_rows; i++) {
		const struct config_route route = {
		    .kind = ROUTE_HOP, .how = HOP_MX, .sts = sts_rows[i].sts};
		const struct host host = {.name = TEXT("mx.example"),
					  .dnssec = sts_rows[i].dnssec,
					  .tlsa_state = sts_rows[i].tlsa_state};
		const struct job job = {
		    .how = HOP_MX,
		    .route = &route,
		    .target = TEXT("example"),
		    .domain = TEXT("example"),
		    .sts = {.mode = sts_rows[i].mode, .mx = text_of(sts_rows[i].mx)}};
		enum sts_verdict verdict;
		bool final;
		enum tls_need need = tls_need_of(&job, &host, &why, &verdict, &final);

		if (need != sts_rows[i].need || verdict != sts_rows[i].verdict)
			fail_msg("row %zu: %d, %d", i, need, verdict);
		assert_true(need != NEED_IMPOSSIBLE || *why);
		/* A connection counts as what it was opened under: not as a policy that was not
		 * asked for. */
		assert_int_equal(sts_mode_of(&job), route.sts ? sts_rows[i].mode : STS_NONE);
		if (need == NEED_IMPOSSIBLE)
			continue;
		tls_wish_make(&w, need, &route, &job, &host, (struct text){NULL, 0});
		/* The host's own name and no other; looked at, too, where nothing need be proved.
		 */
		assert_int_equal(w.note, sts_rows[i].mode == STS_TESTING && need != NEED_DANE);
		if (need == NEED_CHAIN || w.note) {
			assert_int_equal(w.name_count, 1);
			assert_true(text_equals(w.names[0], "mx.example"));
			assert_true(text_equals(w.name, "mx.example"));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(needs_by_table),
	    cmocka_unit_test(records_are_usable_or_not),
	    cmocka_unit_test(names_that_count),
	    cmocka_unit_test(one_domain_in_two_forms),
	    cmocka_unit_test(who_shares_a_connection),
	    cmocka_unit_test(settings_contradict),
	    cmocka_unit_test(words_for_the_log),
	    cmocka_unit_test(sts_beside_the_route),
	    cmocka_unit_test(needs_by_message),
	    cmocka_unit_test(needs_by_message_and_dane),
	    cmocka_unit_test(needs_by_message_and_sts),
	    cmocka_unit_test(needs_by_message_without_mx),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
