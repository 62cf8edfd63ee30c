/* SPDX-License-Identifier: ISC */
/* The reader of DNS answers. */
#include "dns_packet.h"

#include "mem.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = 12, CLASS_IN = 1, LABEL_MAX = 63, WIRE_NAME_BYTES = 255 };

struct reader {
	const uint8_t *data;
	size_t len, at;
	bool bad;
};

/* A name in wire form, uncompressed, in lower case. */
struct wire_name {
	uint8_t len; /* with the root's zero */
	uint8_t data[WIRE_NAME_BYTES];
};

struct wire_record {
	struct wire_name owner;
	uint16_t type, class;
	uint32_t ttl_s;
	size_t rdata, rdata_len;
};

/* What is found, before it is packed into one allocation. */
struct findings {
	struct dns_answer head;
	uint16_t type;
	struct dns_record records[DNS_RECORDS_MAX];
	char names[DNS_RECORDS_MAX][DNS_NAME_BYTES];
	char canonical[DNS_NAME_BYTES];
};

static uint16_t read_u16(struct reader *r)
{
	if (r->bad || r->len - r->at < 2) {
		r->bad = true;
		return 0;
	}
	r->at += 2;
	return (uint16_t)(r->data[r->at - 2] << 8 | r->data[r->at - 1]);
}

static uint32_t read_u32(struct reader *r)
{
	uint32_t high = read_u16(r);

	return high << 16 | read_u16(r);
}

/* Adds the label at AT to NAME; false when it does not fit. */
static bool label_add(const struct reader *r, size_t at, size_t label, struct wire_name *name)
{
	if (r->len - at <= label || label + 2 > WIRE_NAME_BYTES - (size_t)name->len)
		return false;
	name->data[name->len++] = (uint8_t)label;
	for (size_t i = 1; i <= label; i++)
		name->data[name->len++] = (uint8_t)ascii_lower((char)r->data[at + i]);
	return true;
}

/*
 * RFC 1035 section 4.1.4: a pointer names "a prior occurance". Each must
 * point before the one that led to it, so a walk always ends.
 */
static void read_name(struct reader *r, struct wire_name *name)
{
	size_t at = r->at, before = r->at;
	bool jumped = false;

	name->len = 0;
	while (!r->bad && at < r->len) {
		size_t label = r->data[at];

		if (label == 0) {
			name->data[name->len++] = 0;
			r->at = jumped ? r->at : at + 1;
			return;
		}
		if (label <= LABEL_MAX) {
			if (!label_add(r, at, label, name))
				break;
			at += 1 + label;
			continue;
		}
		if (label < 0xc0 || r->len - at < 2)
			break;
		size_t to = (label & 0x3f) << 8 | r->data[at + 1];

		if (to >= before)
			break;
		r->at = jumped ? r->at : at + 2;
		jumped = true;
		at = before = to;
	}
	r->bad = true;
}

static bool name_equal(const struct wire_name *a, const struct wire_name *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static bool is_host_char(char c)
{
	return ascii_is_alnum(c) || c == '-' || c == '_';
}

/* As text; false for a name with bytes that no host name has (a dot within a label above all). */
static bool name_print(const struct wire_name *name, char *to)
{
	size_t out = 0;

	for (size_t at = 0; name->data[at]; at += 1u + name->data[at]) {
		if (out)
			to[out++] = '.';
		for (size_t i = 1; i <= name->data[at]; i++) {
			char c = (char)name->data[at + i];

			if (!is_host_char(c))
				return false;
			to[out++] = c;
		}
	}
	to[out] = '\0';
	return true;
}

bool dns_name_is_host(const char *name)
{
	size_t label = 0, len = strlen(name);

	if (len == 0 || len > 253)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if (name[i] != '.' && name[i] != '\0') {
			if (!is_host_char(name[i]) || ++label > LABEL_MAX)
				return false;
			continue;
		}
		if (label == 0)
			return false;
		label = 0;
	}
	return true;
}

static void read_record(struct reader *r, struct wire_record *rr)
{
	read_name(r, &rr->owner);
	rr->type = read_u16(r);
	rr->class = read_u16(r);
	rr->ttl_s = read_u32(r);
	rr->rdata_len = read_u16(r);
	rr->rdata = r->at;
	if (rr->ttl_s > INT32_MAX) /* RFC 2181 section 8: as if it were zero */
		rr->ttl_s = 0;
	if (r->bad || r->len - r->at < rr->rdata_len)
		r->bad = true;
	else
		r->at += rr->rdata_len;
}

/* A name that must end where the record does; SKIP octets stand before it. */
static bool rdata_name(const struct reader *r, const struct wire_record *rr, size_t skip,
		       struct wire_name *name)
{
	struct reader in = {r->data, rr->rdata + rr->rdata_len, rr->rdata + skip, false};

	if (rr->rdata_len < skip)
		return false;
	read_name(&in, name);
	return !in.bad && in.at == in.len;
}

static bool take_address(const struct reader *r, const struct wire_record *rr, uint8_t *address)
{
	size_t want = rr->type == DNS_A ? 4 : 16;

	if (rr->rdata_len != want)
		return false;
	memset(address, 0, 16);
	if (want == 4)
		address[10] = address[11] = 0xff;
	memcpy(address + 16 - want, r->data + rr->rdata, want);
	return true;
}

/* RFC 6698 section 2.1: three octets, and the data is the rest, which may be anything. */
static bool take_tlsa(const struct reader *r, const struct wire_record *rr, struct dns_record *to)
{
	const uint8_t *at = r->data + rr->rdata;

	if (rr->rdata_len < 3)
		return false;
	to->usage = at[0];
	to->selector = at[1];
	to->matching = at[2];
	to->data = at + 3;
	to->len = rr->rdata_len - 3u;
	return true;
}

/*
 * RFC 1035 section 3.3.14: "One or more <character-string>s", each a length octet
 * and so many. DATA is all of it for now, LEN what is left without the lengths.
 */
static bool take_txt(const struct reader *r, const struct wire_record *rr, struct dns_record *to)
{
	const uint8_t *data = r->data + rr->rdata;
	size_t at = 0;

	to->data = data;
	while (at < rr->rdata_len) {
		if (data[at] > rr->rdata_len - at - 1)
			return false;
		to->len += data[at];
		at += 1u + data[at];
	}
	return at > 0;
}

static bool take_name(const struct reader *r, const struct wire_record *rr, struct findings *f)
{
	struct dns_record *to = &f->records[f->head.count];
	char *name_text = f->names[f->head.count];
	struct wire_name name;
	size_t skip = rr->type == DNS_MX ? 2 : 0;

	if (!rdata_name(r, rr, skip, &name))
		return false;
	if (!name_print(&name, name_text)) {
		f->head.unusable++;
		return true;
	}
	to->name = name_text;
	if (skip)
		to->preference = (uint16_t)(r->data[rr->rdata] << 8 | r->data[rr->rdata + 1]);
	f->head.count++;
	return true;
}

/* Takes one record of the wanted type; false: malformed. */
static bool take_record(const struct reader *r, const struct wire_record *rr, struct findings *f)
{
	struct dns_record *to = &f->records[f->head.count];
	bool is_address = rr->type == DNS_A || rr->type == DNS_AAAA;

	*to = (struct dns_record){0};
	if (!is_address && rr->type != DNS_TLSA && rr->type != DNS_TXT)
		return take_name(r, rr, f);
	if (is_address		   ? !take_address(r, rr, to->address)
	    : rr->type == DNS_TLSA ? !take_tlsa(r, rr, to)
				   : !take_txt(r, rr, to))
		return false;
	f->head.count++;
	return true;
}

static void ttl_lower(struct dns_answer *head, uint32_t ttl_s)
{
	if (ttl_s < head->ttl_s)
		head->ttl_s = ttl_s;
}

/* Looks for OWNER's CNAME; true when there is one, and OWNER is then its target. */
static bool follow_cname(struct reader r, unsigned records, struct wire_name *owner,
			 struct findings *f, bool *bad)
{
	struct wire_record rr;

	while (records-- > 0) {
		read_record(&r, &rr);
		if (r.bad)
			break;
		if (rr.type != DNS_CNAME || rr.class != CLASS_IN || !name_equal(&rr.owner, owner))
			continue;
		ttl_lower(&f->head, rr.ttl_s);
		*bad = !rdata_name(&r, &rr, 0, owner);
		return !*bad;
	}
	*bad = r.bad;
	return false;
}

static bool take_answers(struct reader *r, unsigned records, const struct wire_name *owner,
			 uint16_t type, struct findings *f)
{
	struct wire_record rr;

	while (records-- > 0) {
		read_record(r, &rr);
		if (r->bad)
			return false;
		if (rr.type != type || rr.class != CLASS_IN || !name_equal(&rr.owner, owner) ||
		    f->head.count == DNS_RECORDS_MAX)
			continue;
		ttl_lower(&f->head, rr.ttl_s);
		if (!take_record(r, &rr, f))
			return false;
	}
	return true;
}

/* RFC 2308 section 5: how long "none" holds is the lesser of the SOA's TTL and its MINIMUM field.
 */
static bool take_negative_ttl(struct reader *r, unsigned records, struct findings *f)
{
	struct wire_record rr;
	uint32_t ttl_s = 0;

	while (records-- > 0) {
		read_record(r, &rr);
		if (r->bad)
			return false;
		if (rr.type != DNS_SOA || rr.class != CLASS_IN || rr.rdata_len < 22)
			continue;
		struct reader in = {r->data, rr.rdata + rr.rdata_len, r->at - 4, false};
		uint32_t least = read_u32(&in);

		ttl_s = least < rr.ttl_s ? least : rr.ttl_s;
	}
	ttl_lower(&f->head, ttl_s);
	return true;
}

/* Copies LEN bytes to *AT and moves it behind them. */
static const void *pack(char **at, const void *data, size_t len)
{
	char *to = *at;

	if (len)
		memcpy(to, data, len);
	*at += len;
	return to;
}

/* The character-strings of a TXT record without their lengths; take_txt() has counted LEN. */
static const void *pack_strings(char **at, const uint8_t *data, size_t len)
{
	char *to = *at;

	for (size_t done = 0; done < len; done += *data, data += 1u + *data)
		(void)pack(at, data + 1, *data);
	return to;
}

static struct dns_answer *findings_pack(const struct findings *f)
{
	size_t count = f->head.count, text = strlen(f->canonical) + 1;

	for (size_t i = 0; i < count; i++)
		text += f->records[i].name ? strlen(f->records[i].name) + 1 : f->records[i].len;
	size_t bytes = sizeof(struct dns_answer) + count * sizeof(struct dns_record) + text;
	struct dns_answer *answer = mem_new(1, bytes);
	struct dns_record *records = (struct dns_record *)(answer + 1);
	char *at = (char *)(records + count);

	*answer = f->head;
	answer->bytes = bytes;
	answer->records = records;
	if (count)
		memcpy(records, f->records, count * sizeof *records);
	answer->canonical = pack(&at, f->canonical, strlen(f->canonical) + 1);
	for (size_t i = 0; i < count; i++) {
		const struct dns_record *from = &f->records[i];

		if (from->name)
			records[i].name = pack(&at, from->name, strlen(from->name) + 1);
		else if (from->data && f->type == DNS_TXT)
			records[i].data = pack_strings(&at, from->data, from->len);
		else if (from->data)
			records[i].data = pack(&at, from->data, from->len);
	}
	return answer;
}

/* Answer and authority sections; R stands behind the question about OWNER. */
static bool read_sections(struct reader *r, const uint16_t *counts, struct wire_name *owner,
			  uint16_t type, struct findings *f)
{
	bool bad = false;
	int links = 0;

	while (type != DNS_CNAME && follow_cname(*r, counts[1], owner, f, &bad))
		if (++links > DNS_CNAMES_MAX)
			return false;
	f->head.aliased = links > 0;
	if (links && !name_print(owner, f->canonical))
		f->canonical[0] = '\0';
	if (bad || !take_answers(r, counts[1], owner, type, f))
		return false;
	if (f->head.count || f->head.unusable)
		return true;
	return take_negative_ttl(r, counts[2], f);
}

struct dns_answer *dns_packet_read(const void *packet, size_t len, uint16_t type)
{
	struct reader r = {packet, len, 2, false};
	struct findings f = {.head = {.ttl_s = INT32_MAX}, .type = type};
	struct wire_name owner;
	uint16_t counts[4]; /* question, answer, authority, additional */

	if (len < HEADER_BYTES)
		return NULL;
	uint16_t flags = read_u16(&r);

	for (size_t i = 0; i < 4; i++)
		counts[i] = read_u16(&r);
	f.head.rcode = flags & 0xf;
	read_name(&r, &owner);
	uint16_t asked = read_u16(&r);
	uint16_t class = read_u16(&r);

	if (r.bad || counts[0] != 1 || asked != type || class != CLASS_IN)
		return NULL;
	if (!read_sections(&r, counts, &owner, type, &f))
		return NULL;
	return findings_pack(&f);
}
