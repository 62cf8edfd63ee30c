/* SPDX-License-Identifier: ISC */
/* Words for what a route leads to, and its JSON. */
#include "route_view.h"

#include "config_source.h"
#include "print.h"
#include "route_tls.h"
#include "sts.h"

#define WORD_OF(words, n) ((n) < sizeof(words) / sizeof *(words) ? (words)[n] : "?")

const char *policy_of(uint8_t policy)
{
	return policy <= POLICY_FINGERPRINT ? policy_name((enum tls_policy)policy) : "?";
}

const char *dnssec_word(uint8_t state)
{
	static const char *const words[] = {
	    [DNSSEC_INSECURE] = "insecure", [DNSSEC_SECURE] = "secure", [DNSSEC_BOGUS] = "bogus"};

	return WORD_OF(words, state);
}

const char *origin_word(uint8_t origin)
{
	static const char *const words[] = {
	    [ORIGIN_MX] = "MX", [ORIGIN_IMPLICIT] = "itself, without MX", [ORIGIN_ROUTE] = "route"};

	return WORD_OF(words, origin);
}

const char *tlsa_state_word(uint8_t state)
{
	static const char *const words[] = {[TLSA_NONE] = "none",
					    [TLSA_USABLE] = "usable",
					    [TLSA_UNUSABLE] = "unusable",
					    [TLSA_FAILED] = "failed"};

	return WORD_OF(words, state);
}

const char *tlsa_state_text(uint8_t state)
{
	static const char *const texts[] = {[TLSA_NONE] = "none",
					    [TLSA_USABLE] = "usable",
					    [TLSA_UNUSABLE] = "none of use",
					    [TLSA_FAILED] = "not known"};

	return WORD_OF(texts, state);
}

const char *tlsa_fault_text(uint8_t fault)
{
	static const char *const texts[] = {
	    [TLSA_FAULT_NONE] = "",
	    [TLSA_FAULT_PKIX] = "usages 0 and 1 are not for SMTP",
	    [TLSA_FAULT_USAGE] = "unknown usage",
	    [TLSA_FAULT_SELECTOR] = "unknown selector",
	    [TLSA_FAULT_MATCHING] = "unknown matching type",
	    [TLSA_FAULT_DATA] = "its data is not what the matching type says",
	    [TLSA_FAULT_LARGE] = "more than is held",
	};

	return WORD_OF(texts, fault);
}

const char *host_use_text(uint8_t use)
{
	static const char *const texts[] = {
	    [HOST_USED] = "",
	    [HOST_OURS] = "ourselves, or not preferred to ourselves",
	    [HOST_NO_ADDRESS] = "it has no address",
	    [HOST_FAILED] = "its addresses are not known now",
	    [HOST_UNSEEN] = "there is no next hop",
	};

	return WORD_OF(texts, use);
}

/* The same steps as need_by_dane() in smtp-client: a host gets what its records demand. */
static enum tls_level level_by_dane(const struct rec_path_host *h, bool only)
{
	switch (h->tlsa_state) {
	case TLSA_USABLE:
		return LEVEL_DANE;
	case TLSA_UNUSABLE:
		return only ? LEVEL_NONE : LEVEL_ENCRYPTED;
	case TLSA_NONE:
		return only ? LEVEL_NONE : LEVEL_MAY;
	default:
		return LEVEL_NONE;
	}
}

/* The same steps as tls_need_of() in smtp-client. */
static enum tls_level level_by_sts(const struct msg_route_is *m, const struct rec_path_host *h,
				   enum tls_level level)
{
	if (m->sts_mode != STS_ENFORCE || (level != LEVEL_MAY && level != LEVEL_ENCRYPTED))
		return level;
	return sts_names(m->sts_mx, h->name) ? LEVEL_STS : LEVEL_UNNAMED;
}

/* Mail for a mail store on this machine has arrived: the same as job_requires_tls(). */
static bool is_at_home(const struct msg_route_is *m, const struct rec_path_host *h)
{
	struct wire_list list = h->addresses;
	struct rec_path_address a;

	return m->how == HOP_LMTP_UNIX ||
	       (m->how == HOP_LMTP && list_next_path_address(&list, &a) && a.address.len == 16 &&
		host_address_is_loopback((const uint8_t *)a.address.data));
}

/* The same steps as tls_need_of() in smtp-client (RFC 8689 section 4.2.1). */
static enum tls_level level_by_demand(const struct msg_route_is *m, const struct rec_path_host *h,
				      enum tls_level level)
{
	uint8_t address[16];
	bool vouched = m->how != HOP_MX || m->dnssec == DNSSEC_SECURE ||
		       text_equal_case(h->name, m->target) ||
		       (m->sts_mode != STS_NONE && sts_names(m->sts_mx, h->name));

	if (level == LEVEL_NONE || level == LEVEL_UNNAMED || is_at_home(m, h))
		return level;
	if (!vouched)
		return LEVEL_UNVOUCHED;
	if (level != LEVEL_MAY && level != LEVEL_ENCRYPTED)
		return level;
	return host_address_parse(h->name, address) ? LEVEL_UNNAMEABLE : LEVEL_STS;
}

static enum tls_level level_by_policies(const struct msg_route_is *m, const struct rec_path_host *h)
{
	uint8_t policy = m->tls;

	if (h->use != HOST_USED)
		return LEVEL_NONE;
	switch (policy) {
	case POLICY_MAY:
		return LEVEL_MAY;
	case POLICY_ENCRYPT:
		return LEVEL_ENCRYPTED;
	case POLICY_VERIFY:
		return LEVEL_VERIFIED;
	case POLICY_FINGERPRINT:
		return LEVEL_FINGERPRINT;
	default:
		return level_by_sts(m, h, level_by_dane(h, policy == POLICY_DANE_ONLY));
	}
}

enum tls_level host_level(const struct route_view *v, const struct rec_path_host *h)
{
	enum tls_level level = level_by_policies(v->is, h);

	return v->requires ? level_by_demand(v->is, h, level) : level;
}

const char *level_word(enum tls_level level)
{
	static const char *const words[] = {
	    [LEVEL_MAY] = "may",	   [LEVEL_ENCRYPTED] = "encrypted",
	    [LEVEL_VERIFIED] = "verified", [LEVEL_FINGERPRINT] = "fingerprint",
	    [LEVEL_DANE] = "dane",	   [LEVEL_NONE] = "none",
	    [LEVEL_STS] = "sts",	   [LEVEL_UNNAMED] = "none",
	    [LEVEL_UNVOUCHED] = "none",	   [LEVEL_UNNAMEABLE] = "none"};

	return words[level];
}

const char *level_text(enum tls_level level)
{
	static const char *const texts[] = {
	    [LEVEL_MAY] = "if it is offered, else in the clear",
	    [LEVEL_ENCRYPTED] = "required, with whatever certificate",
	    [LEVEL_VERIFIED] = "required, with a certificate that tls-authorities vouch for",
	    [LEVEL_FINGERPRINT] = "required, with a certificate or key that the route names",
	    [LEVEL_DANE] = "required, with a certificate that one of these records fits",
	    [LEVEL_STS] =
		"required, with a certificate for this name that tls-authorities vouch for",
	    [LEVEL_UNVOUCHED] = "REQUIRETLS: nobody vouches for its name: mail comes back (5.7.10)",
	    [LEVEL_UNNAMEABLE] = "REQUIRETLS: an address proves no name: mail comes back (5.7.10)",
	    [LEVEL_UNNAMED] = "no mx of the MTA-STS policy names it: no mail goes to this host",
	    [LEVEL_NONE] =
		"as the route demands it, is not to be had: no mail goes to this host now"};

	return texts[level];
}

/* -- JSON ------------------------------------------------------------------------------------ */

static json_t *hex_json(struct text data)
{
	static const char hex[] = "0123456789abcdef";
	char to[2 * 256 + 1];
	size_t len = data.len < 256 ? data.len : 256;

	for (size_t i = 0; i < len; i++) {
		to[2 * i] = hex[(unsigned char)data.data[i] >> 4];
		to[2 * i + 1] = hex[(unsigned char)data.data[i] & 15];
	}
	return json_stringn(to, 2 * len);
}

static json_t *records_json(struct wire_list list)
{
	json_t *records = json_array();
	struct rec_path_tlsa r;

	while (list_next_path_tlsa(&list, &r)) {
		json_t *o = json_object();

		json_object_set_new(o, "usage", json_integer(r.usage));
		json_object_set_new(o, "selector", json_integer(r.selector));
		json_object_set_new(o, "matching", json_integer(r.matching));
		json_object_set_new(o, "length", json_integer(r.length));
		json_object_set_new(o, "data", hex_json(r.data));
		json_object_set_new(o, "usable", json_boolean(!r.fault));
		if (r.fault)
			json_object_set_new(o, "why", json_string(tlsa_fault_text(r.fault)));
		json_array_append_new(records, o);
	}
	return records;
}

static json_t *tlsa_json(const struct rec_path_host *h)
{
	json_t *o = json_object();

	json_object_set_new(o, "state", json_string(tlsa_state_word(h->tlsa_state)));
	json_object_set_new(o, "asked", json_boolean(h->tlsa_asked));
	json_object_set_new(o, "base", json_text(h->tlsa_base));
	json_object_set_new(o, "why", json_text(h->tlsa_why));
	json_object_set_new(o, "records", records_json(h->tlsa));
	return o;
}

static json_t *host_json(const struct route_view *v, const struct rec_path_host *h)
{
	const struct msg_route_is *m = v->is;
	json_t *o = json_object(), *addresses = json_array();
	struct wire_list list = h->addresses;
	struct rec_path_address a;
	char address[46];

	while (list_next_path_address(&list, &a))
		if (a.address.len == 16)
			json_array_append_new(addresses,
					      json_string(host_address_print(
						  (const uint8_t *)a.address.data, address)));
	json_object_set_new(o, "name", json_text(h->name));
	json_object_set_new(o, "preference", json_integer(h->preference));
	json_object_set_new(o, "port", json_integer(h->port));
	json_object_set_new(o, "weight", json_integer(h->weight));
	json_object_set_new(o, "alias", json_text(h->alias));
	json_object_set_new(o, "used", json_boolean(h->use == HOST_USED));
	json_object_set_new(o, "left_out", json_string(host_use_text(h->use)));
	json_object_set_new(o, "dnssec", json_string(dnssec_word(h->dnssec)));
	json_object_set_new(o, "addresses", addresses);
	json_object_set_new(o, "why", json_text(h->why));
	json_object_set_new(o, "tlsa", tlsa_json(h));
	json_object_set_new(o, "sts_named",
			    json_boolean(m->sts_mode != STS_NONE && sts_names(m->sts_mx, h->name)));
	json_object_set_new(o, "tls", json_string(level_word(host_level(v, h))));
	return o;
}

static json_t *site_json(const struct msg_route_is *m)
{
	json_t *o = json_object();

	json_object_set_new(o, "name", json_text(m->site));
	json_object_set_new(o, "connections_limit", json_u64(m->site_connections));
	json_object_set_new(o, "messages_limit", json_u64(m->site_messages));
	json_object_set_new(o, "rate_limit", json_u64(m->site_rate));
	json_object_set_new(o, "known", json_boolean(m->site_known));
	json_object_set_new(o, "window", json_u64(m->window));
	json_object_set_new(o, "connections", json_u64(m->connections));
	json_object_set_new(o, "ready", json_u64(m->ready));
	json_object_set_new(o, "deferred", json_u64(m->deferred));
	json_object_set_new(o, "in_flight", json_u64(m->in_flight));
	json_object_set_new(o, "next_attempt", json_u64(m->next_wall / 1000000));
	json_object_set_new(o, "last_error", json_text(m->last_error));
	return o;
}

/* null: the route decides. */
static json_t *tls_table_json(const struct msg_route_is *m)
{
	if (!m->tls_key.len && !m->tls_why.len)
		return json_null();
	json_t *o = json_object();

	json_object_set_new(o, "key", json_text(m->tls_key));
	json_object_set_new(o, "row", json_text(m->tls_row));
	json_object_set_new(o, "why", json_text(m->tls_why));
	return o;
}

static json_t *policy_json(const struct msg_route_is *m)
{
	json_t *o = json_object(), *mx = json_array();
	struct text left = m->sts_mx, pattern;

	while (sts_next(&left, &pattern))
		json_array_append_new(mx, json_text(pattern));
	json_object_set_new(o, "asked", json_boolean(m->sts_asked));
	json_object_set_new(o, "mode", json_string(sts_mode_name(m->sts_mode)));
	json_object_set_new(o, "id", json_text(m->sts_id));
	json_object_set_new(o, "max_age", json_u64(m->sts_max_age_s));
	json_object_set_new(o, "fetched", json_u64(m->sts_fetched_wall / 1000000));
	json_object_set_new(o, "mx", mx);
	json_object_set_new(o, "why", json_text(m->sts_why));
	return o;
}

const char *sender_by_word(uint8_t by)
{
	static const char *const words[] = {[SENDER_NOT_ASKED] = "",
					    [SENDER_NOBODY] = "",
					    [SENDER_BLOCK] = "sender",
					    [SENDER_TABLE] = "sender-routes"};

	return WORD_OF(words, by);
}

static json_t *sender_json(const struct msg_route_is *m)
{
	json_t *o = json_object();

	json_object_set_new(o, "by", json_string(sender_by_word(m->sender_by)));
	json_object_set_new(o, "key", json_text(m->sender_key));
	json_object_set_new(o, "source", json_text(m->sender_source));
	json_object_set_new(o, "route", json_text(m->sender_route));
	return o;
}

static json_t *block_json(const struct route_view *v)
{
	static const char *const kinds[] = {[ROUTE_HOP] = "hop",
					    [ROUTE_REJECT] = "reject",
					    [ROUTE_DISCARD] = "discard",
					    [ROUTE_LOCAL] = "local"};
	json_t *o = json_object();

	json_object_set_new(o, "pattern", json_text(v->is->route));
	json_object_set_new(o, "to", json_text(v->is->to));
	json_object_set_new(o, "kind", json_string(WORD_OF(kinds, v->is->kind)));
	json_object_set_new(o, "line", json_integer(v->line));
	json_object_set_new(o, "file_differs", json_boolean(v->changed));
	return o;
}

json_t *route_json(const struct route_view *v)
{
	static const char *const verdicts[] = {
	    [HOP_FOUND] = "found", [HOP_TEMPORARY] = "temporary", [HOP_PERMANENT] = "permanent"};
	const struct msg_route_is *m = v->is;
	json_t *o = json_object(), *hosts = json_array();
	struct wire_list list = m->hosts;
	struct rec_path_host h;

	while (list_next_path_host(&list, &h))
		json_array_append_new(hosts, host_json(v, &h));
	json_object_set_new(o, "domain", json_text(m->domain));
	json_object_set_new(o, "route", block_json(v));
	if (m->sender_by != SENDER_NOT_ASKED)
		json_object_set_new(o, "sender", sender_json(m));
	if (m->kind == ROUTE_HOP) {
		json_object_set_new(o, "verdict", json_string(WORD_OF(verdicts, m->verdict)));
		json_object_set_new(o, "code", json_integer(m->code));
		json_object_set_new(o, "dsn", json_text(m->dsn));
		json_object_set_new(o, "reason", json_text(m->reason));
		json_object_set_new(o, "target", json_text(m->target));
		json_object_set_new(o, "port", json_integer(m->port));
		json_object_set_new(o, "tls", json_string(policy_of(m->tls)));
		json_object_set_new(o, "requiretls", json_boolean(v->requires));
		if (m->source.len)
			json_object_set_new(o, "source", json_text(m->source));
		json_object_set_new(o, "tls_table", tls_table_json(m));
		json_object_set_new(o, "sts", policy_json(m));
		json_object_set_new(o, "origin", json_string(origin_word(m->origin)));
		json_object_set_new(o, "dnssec", json_string(dnssec_word(m->dnssec)));
		json_object_set_new(o, "lifetime", json_u64(m->lifetime_s));
		json_object_set_new(o, "site", site_json(m));
		json_object_set_new(o, "hosts", hosts);
	} else {
		json_decref(hosts);
	}
	return o;
}
