/* SPDX-License-Identifier: ISC */
/* From a next hop to its hosts and their addresses. */
#include "mx.h"

#include "idna.h"
#include "mem.h"
#include "must.h"
#include "next_hops.h"

#include <stdlib.h>
#include <string.h>

struct mx {
	struct loop *loop;
	struct lookups *lookups;
	const struct own *own;
	const struct config *config;
	void (*done)(void *arg, const struct mx_result *result);
	void *arg;
	struct timer deadline;
	struct turn_end soon;
	struct lookup set;
	enum hop_how how;
	bool want_addresses, want_tlsa, looped, late;
	struct mx_result result;
	struct mx_host *hosts;
	size_t under_way; /* lookups about hosts */
	uint32_t ttl_s;
	char name[DNS_NAME_BYTES]; /* as asked for */
	char reason[257];
	char canonical[DNS_NAME_BYTES];
};

/* Only the first KEEP are wanted any more. What is known of the others stays, for people to see. */
static void mx_keep_hosts(struct mx *mx, size_t keep)
{
	for (size_t i = keep; i < mx->result.count; i++) {
		lookup_cancel(&mx->hosts[i].v4.lookup);
		lookup_cancel(&mx->hosts[i].v6.lookup);
		dane_stop(&mx->hosts[i].dane);
	}
	mx->result.count = keep;
}

static void mx_free(struct mx *mx)
{
	timer_clear(&mx->deadline);
	turn_end_cancel(&mx->soon);
	lookup_cancel(&mx->set);
	mx_keep_hosts(mx, 0);
	for (size_t i = 0; i < mx->result.seen; i++) {
		free(mx->hosts[i].v4.why);
		free(mx->hosts[i].v6.why);
		free(mx->hosts[i].alias);
		dane_clear(&mx->hosts[i].dane);
	}
	free(mx->hosts);
	free(mx);
}

void mx_cancel(struct mx **mx)
{
	if (*mx)
		mx_free(*mx);
	*mx = NULL;
}

static void mx_finish(struct mx *mx)
{
	struct mx_result *r = &mx->result;
	uint32_t most = r->verdict == HOP_FOUND && !mx->late ? LIFETIME_MOST_S : LIFETIME_FAILED_S;

	if (r->verdict == HOP_TEMPORARY || mx->late)
		mx->ttl_s = LIFETIME_LEAST_S;
	r->lifetime_s = mx->ttl_s < LIFETIME_LEAST_S ? LIFETIME_LEAST_S
			: mx->ttl_s > most	     ? most
						     : mx->ttl_s;
	r->hosts = mx->hosts;
	r->reason = mx->reason;
	r->canonical = mx->canonical;
	mx->done(mx->arg, r);
	mx_free(mx);
}

static void mx_finish_soon(void *arg)
{
	mx_finish(arg);
}

/*
 * DSN without its first digit. What a route's host lacks is the operator's
 * to mend and no reason to return mail: such failures are always temporary.
 */
static void mx_fail(struct mx *mx, enum hop_verdict verdict, uint16_t code, const char *dsn,
		    const char *reason, const char *detail)
{
	if (mx->how != HOP_MX && verdict == HOP_PERMANENT) {
		verdict = HOP_TEMPORARY;
		code = 451;
		dsn = strcmp(dsn, "5.4.6") == 0 ? "4.4.6" : "4.4.4";
	}
	mx->result.verdict = verdict;
	mx->result.code = code;
	mx->result.dsn = dsn;
	snprintf(mx->reason, sizeof mx->reason, "%.100s: %s%s%s", mx->name, reason,
		 *detail ? ": " : "", detail);
	mx_keep_hosts(mx, 0);
	turn_end_schedule(&mx->soon, mx->loop, mx_finish_soon, mx);
}

static void mx_ttl(struct mx *mx, uint32_t ttl_s)
{
	if (ttl_s < mx->ttl_s)
		mx->ttl_s = ttl_s;
}

/* -- addresses ------------------------------------------------------------------------ */

static bool host_is_own(const struct mx *mx, const struct mx_host *h)
{
	for (size_t i = 0; i < h->v4.count; i++)
		if (own_is_address(mx->own, mx->config, h->v4.items[i], h->port))
			return true;
	for (size_t i = 0; i < h->v6.count; i++)
		if (own_is_address(mx->own, mx->config, h->v6.items[i], h->port))
			return true;
	return false;
}

/*
 * RFC 5321 section 5.1: if an address "corresponds to the SMTP server's own",
 * "all MX records with preference values greater than or equal to" it are
 * left out. Hosts are sorted, so that is the rest of the list.
 */
static void mx_cut_own(struct mx *mx, bool (*is_own)(const struct mx *, const struct mx_host *))
{
	size_t keep = 0;

	while (keep < mx->result.count && !is_own(mx, &mx->hosts[keep]))
		keep++;
	if (keep == mx->result.count)
		return;
	mx->looped = true;
	while (keep > 0 && mx->hosts[keep - 1].preference == mx->hosts[keep].preference)
		keep--;
	mx_keep_hosts(mx, keep);
}

static void mx_fail_loop(struct mx *mx)
{
	mx_fail(mx, HOP_PERMANENT, 550, "5.4.6", "mail loops back to myself", "");
}

/* All that could be found out is here, or time is up. */
static void mx_settle_addresses(struct mx *mx)
{
	const char *why = mx->late ? "timed out" : "";
	bool failed = mx->late;
	size_t reachable = 0;

	mx_cut_own(mx, host_is_own);
	for (size_t i = 0; i < mx->result.count; i++) {
		const struct mx_host *h = &mx->hosts[i];

		reachable += h->v4.count + h->v6.count > 0;
		failed = failed || h->v4.failed || h->v6.failed;
		why = *why ? why : h->v4.why ? h->v4.why : h->v6.why ? h->v6.why : "";
	}
	if (!mx->result.count)
		mx_fail_loop(mx);
	else if (reachable)
		turn_end_schedule(&mx->soon, mx->loop, mx_finish_soon, mx);
	else if (failed)
		mx_fail(mx, HOP_TEMPORARY, 451, "4.4.3", "address lookup failed", why);
	else if (mx->looped)
		mx_fail_loop(mx);
	else
		mx_fail(mx, HOP_PERMANENT, 550, "5.4.4", "no mail host has an address", "");
}

static void mx_one_arrived(struct mx *mx)
{
	if (--mx->under_way == 0)
		mx_settle_addresses(mx);
}

static bool host_is_secure(const struct mx_host *h)
{
	return !(h->v4.count && h->v4.insecure) && !(h->v6.count && h->v6.insecure);
}

/*
 * RFC 7672 section 2.2.1: hosts of an MX set that is not "secure" may be anybody's,
 * and so are their certificates. A host that the configuration names is trusted (2.2.2).
 */
static bool host_may_have_tlsa(const struct mx_host *h)
{
	const struct mx *mx = h->mx;

	return mx->want_tlsa &&
	       (mx->how == HOP_MX || mx->how == HOP_HOST || mx->how == HOP_SMTPS) &&
	       (mx->result.secure || !mx->result.by_mx) && h->v4.count + h->v6.count > 0;
}

static void tlsa_arrived(void *arg)
{
	struct mx_host *h = arg;

	mx_ttl(h->mx, h->dane.state == TLSA_FAILED ? LIFETIME_LEAST_S : h->dane.ttl_s);
	mx_one_arrived(h->mx);
}

/*
 * Section 2.2.2: addresses come first, since some name servers of zones that are not
 * signed do not answer questions for TLSA, and such hosts would get no mail at all.
 */
static void host_ask_tlsa(struct mx_host *h)
{
	struct dane_host about = {h->name, h->alias, host_is_secure(h), h->port};

	if (host_may_have_tlsa(h) && dane_start(&h->dane, h->mx->lookups, &about, tlsa_arrived, h))
		h->mx->under_way++;
}

static void addresses_take(struct mx_host *h, struct mx_addresses *a, const struct lookup_result *r)
{
	struct mx *mx = h->mx;

	a->failed = r->status == LOOKUP_FAILED;
	a->insecure = !r->secure;
	a->bogus = r->bogus;
	if (a->failed)
		a->why = mem_copy(r->why, strlen(r->why));
	if (r->status == LOOKUP_FOUND) {
		mx_ttl(mx, r->ttl_s);
		for (size_t i = 0; i < r->answer->count && a->count < MX_ADDRESSES_MAX; i++)
			memcpy(a->items[a->count++], r->answer->records[i].address, 16);
		if (r->answer->aliased && !h->alias)
			h->alias = mem_copy(r->answer->canonical, strlen(r->answer->canonical));
	}
	if (--h->left == 0)
		host_ask_tlsa(h);
	mx_one_arrived(mx);
}

static void v4_arrived(void *arg, const struct lookup_result *r)
{
	struct mx_host *h = arg;

	addresses_take(h, &h->v4, r);
}

static void v6_arrived(void *arg, const struct lookup_result *r)
{
	struct mx_host *h = arg;

	addresses_take(h, &h->v6, r);
}

static void mx_ask_addresses(struct mx *mx)
{
	uint8_t prefer = mx->config->resolver_prefer;

	for (size_t i = 0; i < mx->result.count; i++) {
		struct mx_host *h = &mx->hosts[i];

		h->mx = mx;
		if (h->v4.count + h->v6.count) /* the route says it */
			continue;
		if (prefer != FAMILY_IPV6_ONLY) {
			h->left++;
			mx->under_way++;
			lookup_start(mx->lookups, &h->v4.lookup, h->name, DNS_A, v4_arrived, h);
		}
		if (prefer != FAMILY_IPV4_ONLY) {
			h->left++;
			mx->under_way++;
			lookup_start(mx->lookups, &h->v6.lookup, h->name, DNS_AAAA, v6_arrived, h);
		}
	}
	if (!mx->under_way)
		mx_settle_addresses(mx);
}

/* The hosts are known. */
static void mx_settle_hosts(struct mx *mx)
{
	if (mx->want_addresses)
		mx_ask_addresses(mx);
	else
		turn_end_schedule(&mx->soon, mx->loop, mx_finish_soon, mx);
}

/* -- the MX set ------------------------------------------------------------------------ */

static bool host_has_own_name(const struct mx *mx, const struct mx_host *h)
{
	return own_is_name(mx->config, h->name);
}

static void mx_one_host(struct mx *mx, const char *name)
{
	mx->hosts = mem_new(1, sizeof *mx->hosts);
	snprintf(mx->hosts[0].name, sizeof mx->hosts[0].name, "%s", name);
	mx->hosts[0].port = mx->result.port;
	mx->result.count = mx->result.seen = 1;
}

static int record_compare(const void *a, const void *b)
{
	const struct dns_record *x = a, *y = b;

	if (x->preference != y->preference)
		return x->preference < y->preference ? -1 : 1;
	return strcmp(x->name, y->name);
}

static bool host_known(const struct mx *mx, const char *name)
{
	for (size_t i = 0; i < mx->result.count; i++)
		if (strcmp(mx->hosts[i].name, name) == 0)
			return true;
	return false;
}

/* The best MX_HOSTS_MAX, each once; the root, which is no host, left out. */
static void mx_take_records(struct mx *mx, const struct dns_answer *answer)
{
	struct dns_record sorted[DNS_RECORDS_MAX];

	must(answer->count > 0 && answer->count <= DNS_RECORDS_MAX);
	memcpy(sorted, answer->records, answer->count * sizeof *sorted);
	qsort(sorted, answer->count, sizeof *sorted, record_compare);
	mx->hosts =
	    mem_new(answer->count < MX_HOSTS_MAX ? answer->count : MX_HOSTS_MAX, sizeof *mx->hosts);
	for (size_t i = 0; i < answer->count && mx->result.count < MX_HOSTS_MAX; i++) {
		struct mx_host *h = &mx->hosts[mx->result.count];

		if (!*sorted[i].name || host_known(mx, sorted[i].name))
			continue;
		snprintf(h->name, sizeof h->name, "%s", sorted[i].name);
		h->preference = sorted[i].preference;
		h->port = mx->result.port;
		mx->result.seen = ++mx->result.count;
	}
}

static void set_arrived(void *arg, const struct lookup_result *r)
{
	struct mx *mx = arg;

	mx_ttl(mx, r->ttl_s);
	mx->result.secure = r->secure;
	mx->result.bogus = r->bogus;
	if (r->secure && r->answer && r->answer->aliased && dns_name_is_host(r->answer->canonical))
		snprintf(mx->canonical, sizeof mx->canonical, "%s", r->answer->canonical);
	switch (r->status) {
	case LOOKUP_FAILED:
		mx_fail(mx, HOP_TEMPORARY, 451, "4.4.3", "MX lookup failed", r->why);
		return;
	case LOOKUP_NO_NAME:
		mx_fail(mx, HOP_PERMANENT, 550, "5.1.2", "no such domain", "");
		return;
	case LOOKUP_EMPTY:
		/* "If an empty list of MXs is returned, the address is treated as if it was
		 * associated with an implicit MX RR" */
		mx_one_host(mx, mx->name);
		mx->result.implicit = true;
		break;
	case LOOKUP_FOUND:
		if (r->answer && r->answer->count)
			mx_take_records(mx, r->answer);
		break;
	}
	if (!mx->result.count && r->answer && r->answer->count && !r->answer->unusable) {
		/* RFC 7505 section 3: a single record whose exchange is the root */
		mx_fail(mx, HOP_PERMANENT, 556, "5.1.10", "the domain takes no mail (null MX)", "");
		return;
	}
	if (!mx->result.count) {
		mx_fail(mx, HOP_PERMANENT, 550, "5.4.4", "no MX record names a host", "");
		return;
	}
	mx_cut_own(mx, host_has_own_name);
	if (!mx->result.count)
		mx_fail_loop(mx);
	else
		mx_settle_hosts(mx);
}

/* -- beginnings -------------------------------------------------------------------------- */

/* "192.0.2.1", "2001:db8::1", and as in a mailbox "[192.0.2.1]", "[IPv6:2001:db8::1]". */
static bool literal_parse(struct text t, uint8_t *address)
{
	if (t.len > 2 && t.data[0] == '[' && t.data[t.len - 1] == ']') {
		t = (struct text){t.data + 1, t.len - 2};
		if (text_starts_case(t, "IPv6:"))
			t = (struct text){t.data + 5, t.len - 5};
	}
	return host_address_parse(t, address);
}

static void host_has_address(struct mx_host *h, const uint8_t *address)
{
	struct mx_addresses *a = host_address_is_ipv4(address) ? &h->v4 : &h->v6;

	a->insecure = true;
	a->count = 1;
	memcpy(a->items[0], address, 16);
}

static void mx_start_literal(struct mx *mx, const uint8_t *address)
{
	host_address_print(address, mx->name);
	mx_one_host(mx, mx->name);
	host_has_address(&mx->hosts[0], address);
	mx_settle_addresses(mx);
}

/* In lower case, A-labels for what is not ASCII (RFC 5891); false: no host name. */
static bool name_make(struct text t, char *name)
{
	char given[DNS_NAME_BYTES], ascii[IDNA_BYTES];

	if (t.len && t.data[t.len - 1] == '.')
		t.len--;
	t = idna_ascii(t, ascii);
	if (!t.len || t.len >= sizeof given || memchr(t.data, 0, t.len))
		return false;
	text_copy(given, sizeof given, t);
	if (!dns_name_is_host(given))
		return false;
	for (size_t i = 0; (name[i] = ascii_lower(given[i])) != '\0'; i++)
		;
	return true;
}

static bool host_is_given(struct mx_host *h, const struct next_hop *hop)
{
	uint8_t address[16];

	h->preference = hop->order;
	h->port = hop->port;
	h->weight = hop->weight;
	if (!hop->literal)
		return name_make(hop->host, h->name);
	if (!host_address_parse(hop->host, address))
		return false;
	host_address_print(address, h->name);
	host_has_address(h, address);
	return true;
}

/* The route names several hosts. */
static void mx_start_list(struct mx *mx, struct text target)
{
	struct next_hops hops = next_hops_of(target);
	struct next_hop hop;
	bool fine = true;

	mx->hosts = mem_new(NEXT_HOPS_MAX, sizeof *mx->hosts);
	while (fine && next_hops_next(&hops, &hop))
		fine = host_is_given(&mx->hosts[mx->result.count++], &hop);
	mx->result.seen = mx->result.count;
	if (fine && !hops.rest.len)
		mx_settle_hosts(mx);
	else
		mx_fail(mx, HOP_PERMANENT, 550, "5.1.2", "no list of next hops", "");
}

static void mx_begin(struct mx *mx, struct text target)
{
	uint8_t address[16];

	text_printable(mx->name, sizeof mx->name, target);
	if (mx->how == HOP_LMTP_UNIX) {
		text_copy(mx->name, sizeof mx->name, target);
		mx_one_host(mx, mx->name);
		turn_end_schedule(&mx->soon, mx->loop, mx_finish_soon, mx);
	} else if (mx->how != HOP_MX && target_is_list(target)) {
		mx_start_list(mx, target);
	} else if (literal_parse(target, address)) {
		mx->result.by_mx = false;
		mx_start_literal(mx, address);
	} else if (!name_make(target, mx->name)) {
		mx_fail(mx, HOP_PERMANENT, 550, "5.1.2", "no domain name", "");
	} else if (mx->how == HOP_MX) {
		lookup_start(mx->lookups, &mx->set, mx->name, DNS_MX, set_arrived, mx);
	} else {
		mx_one_host(mx, mx->name);
		mx_settle_hosts(mx);
	}
}

/* What was not found out about its TLSA records might demand TLS. */
static void host_out_of_time(struct mx_host *h)
{
	bool cut = h->left && (host_is_secure(h) || h->alias);

	lookup_cancel(&h->v4.lookup);
	lookup_cancel(&h->v6.lookup);
	if (h->dane.under_way || (cut && host_may_have_tlsa(h)))
		dane_give_up(&h->dane, "timed out");
}

static void mx_out_of_time(void *arg)
{
	struct mx *mx = arg;

	mx->late = true;
	lookup_cancel(&mx->set);
	if (!mx->under_way) {
		if (!mx->soon.prev)
			mx_fail(mx, HOP_TEMPORARY, 451, "4.4.3", "MX lookup failed", "timed out");
		return;
	}
	for (size_t i = 0; i < mx->result.count; i++)
		host_out_of_time(&mx->hosts[i]);
	mx_settle_addresses(mx);
}

struct mx *mx_start(struct loop *loop, struct lookups *lookups, const struct own *own,
		    const struct config *config, const struct mx_question *question,
		    void (*done)(void *arg, const struct mx_result *result), void *arg)
{
	struct mx *mx = mem_new(1, sizeof *mx);

	mx->loop = loop;
	mx->lookups = lookups;
	mx->own = own;
	mx->config = config;
	mx->done = done;
	mx->arg = arg;
	mx->how = question->how;
	mx->want_addresses = question->addresses;
	mx->want_tlsa = question->tlsa;
	mx->ttl_s = LIFETIME_MOST_S;
	mx->result = (struct mx_result){
	    .port = question->port,
	    .by_mx = question->how == HOP_MX,
	    .dsn = "",
	};
	timer_init(&mx->deadline, loop, mx_out_of_time, mx);
	timer_set(&mx->deadline, config->resolver_timeout);
	mx_begin(mx, question->target);
	return mx;
}

/* -- telling ---------------------------------------------------------------------------- */

struct told_list {
	struct mx_told *items;
	size_t count;
};

/* COUNT addresses of A from a random one on. */
static void tell_family(struct told_list *told, const struct mx_result *r, const struct mx_host *h,
			const struct mx_addresses *a, size_t count)
{
	size_t first = a->count ? arc4random_uniform((uint32_t)a->count) : 0;

	for (size_t i = 0; i < count && told->count < MX_TOLD_MAX; i++)
		told->items[told->count++] = (struct mx_told){
		    .host = h,
		    .address = a->items[(first + i) % a->count],
		    .secure = (r->secure || !r->by_mx) && !a->insecure,
		    .vouched = r->secure || !r->by_mx,
		};
}

/* Both families get half of a host's places when they need them. */
static void tell_host(struct told_list *told, const struct mx_result *r, const struct mx_host *h,
		      enum family_word prefer)
{
	bool v4_first = prefer == FAMILY_IPV4 || prefer == FAMILY_IPV4_ONLY;
	const struct mx_addresses *one = v4_first ? &h->v4 : &h->v6;
	const struct mx_addresses *two = v4_first ? &h->v6 : &h->v4;
	size_t half = MX_ADDRESSES_MAX / 2;
	size_t left_to_two = two->count < half ? two->count : half;
	size_t n = one->count < MX_ADDRESSES_MAX - left_to_two ? one->count
							       : MX_ADDRESSES_MAX - left_to_two;
	size_t m = two->count < MX_ADDRESSES_MAX - n ? two->count : MX_ADDRESSES_MAX - n;

	tell_family(told, r, h, one, n);
	tell_family(told, r, h, two, m);
}

size_t mx_tell(const struct mx_result *r, enum family_word prefer, struct mx_told *items)
{
	struct told_list told = {items, 0};
	size_t order[MX_HOSTS_MAX];

	for (size_t i = 0; i < r->count; i++)
		order[i] = i;
	for (size_t i = 0; i < r->count; i++) {
		uint32_t equals = 1;

		while (i + equals < r->count &&
		       r->hosts[order[i + equals]].preference == r->hosts[order[i]].preference)
			equals++;
		size_t pick = i + arc4random_uniform(equals);
		size_t picked = order[pick];

		order[pick] = order[i];
		order[i] = picked;
		const struct mx_host *h = &r->hosts[picked];

		if (h->v4.count + h->v6.count)
			tell_host(&told, r, h, prefer);
		else if (*h->name == '/') /* a UNIX socket */
			told.items[told.count++] = (struct mx_told){h, NULL, false, true};
	}
	return told.count;
}
