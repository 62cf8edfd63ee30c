/* SPDX-License-Identifier: ISC */
/* What is of use in a TLSA record set. */
#include "tlsa.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

enum { USAGE_PKIX_EE = 1, USAGE_DANE_TA = 2, USAGE_DANE_EE = 3, DER_SEQUENCE = 0x30 };

/*
 * Is it one DER SEQUENCE and nothing else, as certificates and public keys
 * are? What is in it only the handshake will tell.
 */
static bool is_der(const uint8_t *data, size_t len)
{
	size_t octets = len > 1 && data[1] & 0x80 ? data[1] & 0x7fu : 0, said = 0;

	if (len < 2 || data[0] != DER_SEQUENCE || octets > 3 || len - 2 < octets ||
	    (data[1] & 0x80 && !octets))
		return false;
	for (size_t i = 0; i < octets; i++)
		said = said << 8 | data[2 + i];
	return (octets ? said : data[1]) == len - 2 - octets;
}

/*
 * RFC 7672 section 3.1.3: PKIX-TA(0) and PKIX-EE(1) are not for SMTP, whose
 * clients have no common list of authorities. RFC 6698 section 4.1 has what is not
 * known, or malformed, be of no use.
 */
static enum tlsa_fault record_fault(const struct dns_record *r)
{
	static const size_t digest_bytes[] = {0, 32, 64};

	if (r->usage <= USAGE_PKIX_EE)
		return TLSA_FAULT_PKIX;
	if (r->usage > USAGE_DANE_EE)
		return TLSA_FAULT_USAGE;
	if (r->selector > 1)
		return TLSA_FAULT_SELECTOR;
	if (r->matching > 2)
		return TLSA_FAULT_MATCHING;
	if (r->matching ? r->len != digest_bytes[r->matching] : !is_der(r->data, r->len))
		return TLSA_FAULT_DATA;
	return r->len > TLSA_DATA_MAX ? TLSA_FAULT_LARGE : TLSA_FAULT_NONE;
}

struct candidate {
	const struct dns_record *record;
	enum tlsa_fault fault;
};

/* The usable before the others, short ones before long ones, the same order whatever the server's.
 */
static int candidate_compare(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	const struct dns_record *p = x->record, *q = y->record;

	if (!x->fault != !y->fault)
		return x->fault ? 1 : -1;
	if (p->len != q->len)
		return p->len < q->len ? -1 : 1;
	int order = memcmp((uint8_t[]){p->usage, p->selector, p->matching},
			   (uint8_t[]){q->usage, q->selector, q->matching}, 3);

	return order || !p->len ? order : memcmp(p->data, q->data, p->len);
}

/* What is of use beyond the bounds is none: a server that has it alone is not matched, and never
 * taken unauthenticated. */
static void candidates_bound(struct candidate *c, size_t count)
{
	size_t usable = 0, bytes = 0;

	for (size_t i = 0; i < count && !c[i].fault; i++) {
		if (usable == TLSA_USABLE_MAX || c[i].record->len > TLSA_SET_BYTES - bytes) {
			c[i].fault = TLSA_FAULT_LARGE;
			continue;
		}
		usable++;
		bytes += c[i].record->len;
	}
}

static size_t kept_bytes(const struct candidate *c)
{
	size_t len = c->record->len;

	return c->fault && len > TLSA_SHOWN_BYTES ? TLSA_SHOWN_BYTES : len;
}

static struct tlsa_set *set_make(const struct candidate *c, size_t count)
{
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++)
		bytes += kept_bytes(&c[i]);
	struct tlsa_set *set = mem_new(1, sizeof *set + count * sizeof *set->records + bytes);
	char *at = (char *)(set->records + count);

	for (size_t i = 0; i < count; i++) {
		const struct dns_record *r = c[i].record;
		size_t len = kept_bytes(&c[i]);

		if (len)
			memcpy(at, r->data, len);
		set->records[set->count++] = (struct tlsa_record){
		    r->usage,	      r->selector, r->matching, (uint8_t)c[i].fault,
		    (uint32_t)r->len, {at, len}};
		at += len;
		if (!c[i].fault) {
			set->usable++;
			set->bytes += len;
		}
	}
	return set;
}

struct tlsa_set *tlsa_set_new(const struct dns_answer *answer)
{
	struct candidate c[DNS_RECORDS_MAX];
	size_t count = answer->count;
	bool large = false;

	must(count > 0 && count <= DNS_RECORDS_MAX);
	for (size_t i = 0; i < count; i++)
		c[i] = (struct candidate){&answer->records[i], record_fault(&answer->records[i])};
	qsort(c, count, sizeof *c, candidate_compare);
	candidates_bound(c, count);
	for (size_t i = 0; i < count; i++)
		large = large || c[i].fault == TLSA_FAULT_LARGE;
	struct tlsa_set *set = set_make(c, count < TLSA_KEPT_MAX ? count : TLSA_KEPT_MAX);

	set->state = set->usable ? TLSA_USABLE : large ? TLSA_FAILED : TLSA_UNUSABLE;
	return set;
}
