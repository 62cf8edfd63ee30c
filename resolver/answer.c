/* SPDX-License-Identifier: ISC */
/* Results of mx.c as records of messages. */
#include "answer.h"

#include <string.h>

/* The texts of messages are bounded; ours for people may be cut. */
static struct text why_text(const char *why)
{
	struct text t = text_of(why);

	return (struct text){t.data, t.len < 256 ? t.len : 256};
}

/* -- for smtp-client -------------------------------------------------------------------- */

static void usable_encode(struct bytes *to, const struct tlsa_set *set)
{
	for (size_t i = 0; i < set->usable; i++) {
		const struct tlsa_record *r = &set->records[i];

		rec_tlsa_encode(to,
				&(struct rec_tlsa){r->usage, r->selector, r->matching, r->data});
	}
}

void answer_hosts(struct bytes *to, const struct mx_told *told, size_t count)
{
	size_t left = ANSWER_TLSA_BYTES;

	for (size_t i = 0; i < count; i++) {
		const struct mx_host *h = told[i].host;
		const struct dane *d = &h->dane;
		struct bytes tlsa = {0};
		struct rec_host row = {
		    .name = text_of(h->name),
		    .address = {(const char *)told[i].address, told[i].address ? 16 : 0},
		    .port = h->port,
		    .preference = h->preference,
		    .dnssec = told[i].secure ? DNSSEC_SECURE : DNSSEC_INSECURE,
		    .tlsa_state = (uint8_t)d->state,
		    .tlsa_base = text_of(d->base),
		    .weight = h->weight,
		    .tlsa_why = d->state == TLSA_FAILED ? why_text(d->why) : (struct text){NULL, 0},
		    .vouched = told[i].vouched,
		};

		if (d->state == TLSA_USABLE && d->set->bytes > left) {
			row.tlsa_state = TLSA_FAILED;
		} else if (d->state == TLSA_USABLE) {
			left -= d->set->bytes;
			usable_encode(&tlsa, d->set);
			row.tlsa.count = (uint32_t)d->set->usable;
			row.tlsa.items = bytes_text(&tlsa);
		}
		rec_host_encode(to, &row);
		bytes_free(&tlsa);
	}
}

/* -- for people -------------------------------------------------------------------------- */

static void addresses_encode(struct bytes *to, const struct mx_addresses *a)
{
	for (size_t i = 0; i < a->count; i++)
		rec_path_address_encode(
		    to, &(struct rec_path_address){{(const char *)a->items[i], 16}});
}

static void records_encode(struct bytes *to, const struct tlsa_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct tlsa_record *r = &set->records[i];
		size_t shown = r->data.len < TLSA_SHOWN_BYTES ? r->data.len : TLSA_SHOWN_BYTES;

		rec_path_tlsa_encode(to, &(struct rec_path_tlsa){
					     .usage = r->usage,
					     .selector = r->selector,
					     .matching = r->matching,
					     .fault = r->fault,
					     .length = r->given,
					     .data = {r->data.data, shown},
					 });
	}
}

/* Hosts from COUNT on were left out, all of them when there is no next hop. */
static enum host_use host_use(const struct mx_result *r, size_t i)
{
	const struct mx_host *h = &r->hosts[i];
	bool looped = r->verdict == HOP_FOUND || strcmp(r->dsn + 1, ".4.6") == 0;

	if (i >= r->count && looped)
		return HOST_OURS;
	if (h->v4.count + h->v6.count || !*h->name || *h->name == '/')
		return i < r->count ? HOST_USED : HOST_UNSEEN;
	return h->v4.failed || h->v6.failed || h->left ? HOST_FAILED : HOST_NO_ADDRESS;
}

static enum dnssec_state addresses_dnssec(const struct mx_host *h)
{
	if ((h->v4.bogus || h->v6.bogus) && !(h->v4.count + h->v6.count))
		return DNSSEC_BOGUS;
	if ((h->v4.count && h->v4.insecure) || (h->v6.count && h->v6.insecure))
		return DNSSEC_INSECURE;
	return h->v4.count + h->v6.count ? DNSSEC_SECURE : DNSSEC_INSECURE;
}

static void host_encode(struct bytes *to, const struct mx_result *r, size_t i)
{
	const struct mx_host *h = &r->hosts[i];
	const struct dane *d = &h->dane;
	struct bytes addresses = {0}, tlsa = {0};

	addresses_encode(&addresses, &h->v4);
	addresses_encode(&addresses, &h->v6);
	if (d->set)
		records_encode(&tlsa, d->set);
	rec_path_host_encode(
	    to, &(struct rec_path_host){
		    .name = text_of(h->name),
		    .preference = h->preference,
		    .use = (uint8_t)host_use(r, i),
		    .alias = text_of(h->alias),
		    .dnssec = (uint8_t)addresses_dnssec(h),
		    .why = why_text(h->v4.why ? h->v4.why : h->v6.why),
		    .addresses = {(uint32_t)(h->v4.count + h->v6.count), bytes_text(&addresses)},
		    .tlsa_state = (uint8_t)d->state,
		    .tlsa_asked = d->asked,
		    .tlsa_base = text_of(d->base),
		    .tlsa_why = why_text(d->why),
		    .tlsa = {d->set ? (uint32_t)d->set->count : 0, bytes_text(&tlsa)},
		    .port = h->port,
		    .weight = h->weight,
		});
	bytes_free(&addresses);
	bytes_free(&tlsa);
}

void answer_path(struct bytes *to, const struct mx_result *r)
{
	for (size_t i = 0; i < r->seen; i++)
		host_encode(to, r, i);
}

uint8_t answer_origin(const struct mx_result *r)
{
	return !r->by_mx ? ORIGIN_ROUTE : r->implicit ? ORIGIN_IMPLICIT : ORIGIN_MX;
}

uint8_t answer_dnssec(const struct mx_result *r)
{
	return r->bogus ? DNSSEC_BOGUS : r->secure ? DNSSEC_SECURE : DNSSEC_INSECURE;
}
