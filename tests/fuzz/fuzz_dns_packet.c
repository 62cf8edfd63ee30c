/* SPDX-License-Identifier: ISC */
/*
 * DNS answers: whatever a name server sends, reading stays within it and what
 * comes out is bounded; and so is what is kept of TLSA records.
 */
#include "must.h"
#include "tlsa.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct dns_answer *a, uint16_t type)
{
	volatile uint8_t all = 0; /* every octet is ours to read */

	must(a->count <= DNS_RECORDS_MAX && a->rcode < 16 && a->ttl_s <= INT32_MAX);
	must(!*a->canonical || (a->aliased && dns_name_is_host(a->canonical)));
	must(type != DNS_CNAME || !a->aliased);
	for (size_t i = 0; i < a->count; i++) {
		const struct dns_record *r = &a->records[i];

		must((r->name != NULL) == (type == DNS_MX || type == DNS_PTR || type == DNS_CNAME));
		must(!r->name || !*r->name || dns_name_is_host(r->name));
		must((r->data != NULL) == (type == DNS_TLSA || type == DNS_TXT) &&
		     (r->data || !r->len));
		for (size_t k = 0; k < r->len; k++)
			all = (uint8_t)(all ^ r->data[k]);
	}
}

/* Usable ones stand first, whole; none is lost without a trace. */
static void check_tlsa(const struct dns_answer *a)
{
	struct tlsa_set *set = tlsa_set_new(a);
	volatile uint8_t all = 0; /* every octet kept is ours to read */
	size_t bytes = 0;

	must(set->count == (a->count < TLSA_KEPT_MAX ? a->count : TLSA_KEPT_MAX));
	must(set->usable <= TLSA_USABLE_MAX && set->usable <= set->count);
	must((set->state == TLSA_USABLE) == (set->usable > 0) && set->state != TLSA_NONE);
	for (size_t i = 0; i < set->count; i++) {
		const struct tlsa_record *r = &set->records[i];

		must((r->fault == TLSA_FAULT_NONE) == (i < set->usable));
		must(r->data.len == r->given || (r->fault && r->data.len == TLSA_SHOWN_BYTES));
		for (size_t j = 0; j < r->data.len; j++)
			all = (uint8_t)(all ^ (uint8_t)r->data.data[j]);
		bytes += i < set->usable ? r->data.len : 0;
		must(i >= set->usable || (r->usage >= 2 && r->usage <= 3 && r->selector <= 1 &&
					  r->matching <= 2 && r->given <= TLSA_DATA_MAX));
	}
	must(set->bytes <= TLSA_SET_BYTES && set->bytes == bytes);
	free(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t types[] = {DNS_A,	   DNS_AAAA, DNS_MX,   DNS_PTR,
					 DNS_TLSA, DNS_TXT,  DNS_CNAME};

	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		struct dns_answer *a = dns_packet_read(data, size, types[i]);

		if (a)
			check(a, types[i]);
		if (a && types[i] == DNS_TLSA && a->count)
			check_tlsa(a);
		free(a);
	}
	return 0;
}
