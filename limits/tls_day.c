/* SPDX-License-Identifier: ISC */
/* Domains in a table, everything else below them. */
#include "tls_day.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

enum {
	BUCKETS = 4096,
	NAME_MAX = 255,
	TEXT_MAX = 4096,
	REASON_MAX = 200,
	LOOKS = 64, /* at others, for one that makes room */
	DOMAIN_BYTES = 128,
	POLICY_BYTES = 64,
	ROW_BYTES = 64,
};

struct tls_day {
	int64_t number;
	uint8_t key[SIPHASH_KEY_BYTES];
	struct tls_domain *buckets[BUCKETS];
	struct tls_domain **all;
	size_t count, room, bytes;
	size_t hand; /* in all: where one is looked for that makes room */
	uint64_t lost;
};

/* Of sessions: what no machine has; what is said to be more stays that, so that it can be read
 * back. */
static const uint64_t count_most = UINT64_MAX / 1024 / TLS_DOMAINS_MOST;

static void count_add(uint64_t *to, uint64_t more)
{
	*to = *to < count_most && more < count_most - *to ? *to + more : count_most;
}

struct tls_day *tls_day_new(const uint8_t *key, int64_t number)
{
	struct tls_day *d = mem_new(1, sizeof *d);

	d->number = number;
	memcpy(d->key, key, sizeof d->key);
	return d;
}

static void domain_free(struct tls_domain *domain)
{
	for (size_t i = 0; i < domain->policy_count; i++) {
		struct tls_applied *p = &domain->policies[i];

		for (size_t k = 0; k < p->row_count; k++) {
			free(p->rows[k].mx);
			free(p->rows[k].reason);
		}
		free(p->rows);
		free(p->domain);
		free(p->text);
	}
	free(domain->policies);
	free(domain->name);
	free(domain);
}

void tls_day_free(struct tls_day **day)
{
	struct tls_day *d = *day;

	*day = NULL;
	if (!d)
		return;
	for (size_t i = 0; i < d->count; i++)
		domain_free(d->all[i]);
	free(d->all);
	free(d);
}

int64_t tls_day_number(const struct tls_day *d)
{
	return d->number;
}

void tls_day_renumber(struct tls_day *d, int64_t number)
{
	d->number = number;
}

size_t tls_day_count(const struct tls_day *d)
{
	return d->count;
}

uint64_t tls_day_lost(const struct tls_day *d)
{
	return d->lost;
}

struct tls_domain *tls_day_domain(const struct tls_day *d, size_t i)
{
	must(i < d->count);
	return d->all[i];
}

/* -- names ---------------------------------------------------------------------------------- */

static uint64_t name_hash(const struct tls_day *d, struct text name)
{
	char lower[NAME_MAX];

	must(name.len <= sizeof lower);
	for (size_t i = 0; i < name.len; i++)
		lower[i] = ascii_lower(name.data[i]);
	return siphash(d->key, lower, name.len);
}

struct tls_domain *tls_day_find(const struct tls_day *d, struct text name)
{
	if (name.len > NAME_MAX)
		return NULL;
	struct tls_domain *at = d->buckets[name_hash(d, name) % BUCKETS];

	while (at && !text_equal_case(text_of(at->name), name))
		at = at->next;
	return at;
}

/* Printable ASCII without blanks, as the names of hosts are. */
static bool is_name(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (t.data[i] <= ' ' || t.data[i] > '~')
			return false;
	return t.len <= NAME_MAX;
}

static bool is_domain(struct text t)
{
	static const struct text others = TEXT("-_.");

	for (size_t i = 0; i < t.len; i++)
		if (!ascii_is_alnum(t.data[i]) && text_find(others, t.data[i]) < 0)
			return false;
	return t.len > 0 && t.len <= NAME_MAX;
}

/* -- room ----------------------------------------------------------------------------------- */

uint64_t tls_domain_sessions(const struct tls_domain *domain, uint64_t *failed)
{
	uint64_t n = 0;

	*failed = 0;
	for (size_t i = 0; i < domain->policy_count; i++) {
		n += domain->policies[i].fine + domain->policies[i].failed;
		*failed += domain->policies[i].failed;
	}
	return n;
}

static void domain_drop(struct tls_day *d, size_t i)
{
	struct tls_domain *domain = d->all[i];
	struct tls_domain **at = &d->buckets[name_hash(d, text_of(domain->name)) % BUCKETS];

	while (*at != domain)
		at = &(*at)->next;
	*at = domain->next;
	d->all[i] = d->all[--d->count];
	d->bytes -= domain->bytes;
	uint64_t failed;

	count_add(&d->lost, tls_domain_sessions(domain, &failed));
	domain_free(domain);
}

/* One without failures makes room: it has the least to tell. False: there is none near. */
static bool make_room(struct tls_day *d)
{
	size_t looks = d->count < LOOKS ? d->count : LOOKS, best = d->count;
	uint64_t least = 0;

	for (size_t n = 0; n < looks; n++) {
		size_t i = d->hand++ % d->count;
		uint64_t failed, sessions = tls_domain_sessions(d->all[i], &failed);

		if (failed || (best < d->count && sessions >= least))
			continue;
		best = i;
		least = sessions;
	}
	if (best == d->count)
		return false;
	domain_drop(d, best);
	return true;
}

static bool has_room(const struct tls_day *d, size_t more)
{
	return more <= TLS_BYTES_MOST - d->bytes;
}

/* -- counting ------------------------------------------------------------------------------- */

static struct tls_domain *domain_add(struct tls_day *d, struct text name, bool failed)
{
	size_t bytes = DOMAIN_BYTES + name.len;

	if ((d->count == TLS_DOMAINS_MOST || !has_room(d, bytes)) && (!failed || !make_room(d)))
		return NULL;
	struct tls_domain *domain = mem_new(1, sizeof *domain);
	struct tls_domain **bucket = &d->buckets[name_hash(d, name) % BUCKETS];

	domain->name = mem_copy(name.data, name.len);
	for (char *c = domain->name; *c; c++)
		*c = ascii_lower(*c);
	domain->bytes = bytes;
	domain->next = *bucket;
	*bucket = domain;
	if (d->count == d->room) {
		d->room = d->room ? d->room * 2 : 64;
		d->all = mem_resize(d->all, d->room, sizeof(struct tls_domain *));
	}
	d->all[d->count++] = domain;
	d->bytes += bytes;
	return domain;
}

static void grow(struct tls_day *d, struct tls_domain *domain, size_t bytes)
{
	domain->bytes += bytes;
	d->bytes += bytes;
}

static struct tls_applied *policy_of(struct tls_day *d, struct tls_domain *domain, uint8_t found,
				     struct text name, struct text text)
{
	size_t bytes = POLICY_BYTES + name.len + text.len;

	for (size_t i = 0; i < domain->policy_count; i++) {
		struct tls_applied *p = &domain->policies[i];

		if (p->found == found && text_equal_case(text_of(p->domain), name) &&
		    text_equal(text_of(p->text), text))
			return p;
	}
	if (domain->policy_count == TLS_POLICIES_MOST || !has_room(d, bytes))
		return NULL;
	domain->policies =
	    mem_resize(domain->policies, domain->policy_count + 1, sizeof *domain->policies);
	struct tls_applied *p = &domain->policies[domain->policy_count++];

	*p = (struct tls_applied){.found = found,
				  .domain = mem_copy(name.data, name.len),
				  .text = mem_copy(text.data, text.len)};
	grow(d, domain, bytes);
	return p;
}

static bool row_is(const struct tls_row *row, const struct rec_tls_result *r)
{
	bool connected = r->receiver.len > 0;

	return row->type == r->result && row->connected == connected &&
	       text_equal_case(text_of(row->mx), r->mx) &&
	       text_equal(text_of(row->reason), r->reason) &&
	       (!connected || (memcmp(row->receiver, r->receiver.data, 16) == 0 &&
			       memcmp(row->own, r->own.data, 16) == 0));
}

/* NULL: they are too various. */
static struct tls_row *row_of(struct tls_day *d, struct tls_domain *domain, struct tls_applied *p,
			      const struct rec_tls_result *r)
{
	size_t bytes = ROW_BYTES + r->mx.len + r->reason.len;

	for (size_t i = 0; i < p->row_count; i++)
		if (row_is(&p->rows[i], r))
			return &p->rows[i];
	if (domain->row_count == TLS_ROWS_MOST || !has_room(d, bytes))
		return NULL;
	p->rows = mem_resize(p->rows, p->row_count + 1, sizeof *p->rows);
	struct tls_row *row = &p->rows[p->row_count++];

	*row = (struct tls_row){.type = r->result,
				.mx = mem_copy(r->mx.data, r->mx.len),
				.reason = mem_copy(r->reason.data, r->reason.len),
				.connected = r->receiver.len > 0};
	if (row->connected) {
		memcpy(row->receiver, r->receiver.data, 16);
		memcpy(row->own, r->own.data, 16);
	}
	domain->row_count++;
	grow(d, domain, bytes);
	return row;
}

/* Lines of printable ASCII. */
static bool is_policy_text(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (t.data[i] != '\n' && (t.data[i] < ' ' || t.data[i] > '~'))
			return false;
	return t.len <= TEXT_MAX && (!t.len || t.data[t.len - 1] == '\n');
}

static bool is_result(const struct rec_tls_result *r)
{
	bool place =
	    (r->receiver.len == 16 && r->own.len == 16) || (!r->receiver.len && !r->own.len);

	return is_domain(r->domain) && is_name(r->policy_domain) && is_name(r->mx) && place &&
	       r->policy < TLS_FOUND_KINDS && r->result < TLS_RESULT_TYPES &&
	       is_policy_text(r->policy_text) && r->reason.len <= REASON_MAX &&
	       (!r->reason.len || !memchr(r->reason.data, '\0', r->reason.len));
}

bool tls_day_add(struct tls_day *d, const struct rec_tls_result *r)
{
	if (!is_result(r))
		return false;
	bool failed = r->result != TLS_RESULT_FINE;
	struct tls_domain *domain = tls_day_find(d, r->domain);

	if (!domain)
		domain = domain_add(d, r->domain, failed);
	struct tls_applied *p =
	    domain ? policy_of(d, domain, r->policy, r->policy_domain, r->policy_text) : NULL;

	if (!p) {
		count_add(&d->lost, r->count);
		return true;
	}
	if (!failed) {
		count_add(&p->fine, r->count);
		return true;
	}
	struct tls_row *row = row_of(d, domain, p, r);

	count_add(&p->failed, r->count);
	count_add(row ? &row->count : &p->rest, r->count);
	return true;
}

/* -- on disk -------------------------------------------------------------------------------- */

static void put_row(struct bytes *to, const struct tls_row *row)
{
	wire_put_u8(to, row->type);
	wire_put_u8(to, row->connected);
	wire_put_text(to, text_of(row->mx));
	wire_put_text(to, text_of(row->reason));
	wire_put_text(to, (struct text){(const char *)row->receiver, row->connected ? 16 : 0});
	wire_put_text(to, (struct text){(const char *)row->own, row->connected ? 16 : 0});
	wire_put_u64(to, row->count);
}

static void put_policy(struct bytes *to, const struct tls_applied *p)
{
	wire_put_u8(to, p->found);
	wire_put_text(to, text_of(p->domain));
	wire_put_text(to, text_of(p->text));
	wire_put_u64(to, p->fine);
	wire_put_u64(to, p->rest);
	wire_put_u32(to, (uint32_t)p->row_count);
	for (size_t i = 0; i < p->row_count; i++)
		put_row(to, &p->rows[i]);
}

void tls_day_encode(const struct tls_day *d, struct bytes *to)
{
	wire_put_u64(to, (uint64_t)d->number);
	wire_put_u64(to, d->lost);
	wire_put_u32(to, (uint32_t)d->count);
	for (size_t i = 0; i < d->count; i++) {
		const struct tls_domain *domain = d->all[i];

		wire_put_text(to, text_of(domain->name));
		wire_put_u8(to, domain->done);
		wire_put_u8(to, domain->told_count);
		for (size_t k = 0; k < domain->told_count; k++)
			wire_put_u64(to, domain->told[k]);
		wire_put_u32(to, (uint32_t)domain->policy_count);
		for (size_t k = 0; k < domain->policy_count; k++)
			put_policy(to, &domain->policies[k]);
	}
}

static uint64_t take_count(struct wire_reader *in)
{
	uint64_t n = wire_u64(in);

	if (n > count_most)
		in->bad = true;
	return in->bad ? 0 : n;
}

static bool take_row(struct tls_day *d, struct tls_domain *domain, struct tls_applied *p,
		     struct wire_reader *in)
{
	struct rec_tls_result r = {.policy = p->found,
				   .domain = text_of(domain->name),
				   .policy_domain = text_of(p->domain),
				   .policy_text = text_of(p->text),
				   .result = wire_u8(in)};
	uint8_t connected = wire_u8(in);

	r.mx = wire_text(in, NAME_MAX);
	r.reason = wire_text(in, REASON_MAX);
	r.receiver = wire_text(in, 16);
	r.own = wire_text(in, 16);
	uint64_t count = take_count(in);

	if (in->bad || connected != (r.receiver.len > 0) || r.result == TLS_RESULT_FINE ||
	    !is_result(&r))
		return false;
	size_t before = p->row_count;
	struct tls_row *row = row_of(d, domain, p, &r);

	if (!row || p->row_count == before)
		return false; /* one too many, or twice */
	row->count = count;
	count_add(&p->failed, count);
	return true;
}

static bool take_policy(struct tls_day *d, struct tls_domain *domain, struct wire_reader *in)
{
	uint8_t found = wire_u8(in);
	struct text name = wire_text(in, NAME_MAX), text = wire_text(in, TEXT_MAX);
	uint64_t fine = take_count(in), rest = take_count(in);
	uint32_t rows = wire_u32(in);
	size_t before = domain->policy_count;

	if (in->bad || found >= TLS_FOUND_KINDS || !is_name(name) || !is_policy_text(text) ||
	    rows > TLS_ROWS_MOST)
		return false;
	struct tls_applied *p = policy_of(d, domain, found, name, text);

	if (!p || domain->policy_count == before)
		return false;
	p->fine = fine;
	p->failed = p->rest = rest;
	for (uint32_t i = 0; i < rows; i++)
		if (!take_row(d, domain, p, in))
			return false;
	return true;
}

static bool take_domain(struct tls_day *d, struct wire_reader *in)
{
	struct text name = wire_text(in, NAME_MAX);
	uint8_t done = wire_u8(in), told = wire_u8(in);

	if (in->bad || !is_domain(name) || done > 1 || told > TLS_TOLD_MOST ||
	    tls_day_find(d, name))
		return false;
	struct tls_domain *domain = domain_add(d, name, false);

	if (!domain)
		return false;
	domain->done = done == 1;
	domain->told_count = told;
	for (size_t i = 0; i < told; i++)
		domain->told[i] = wire_u64(in);
	uint32_t policies = wire_u32(in);

	if (in->bad || policies > TLS_POLICIES_MOST)
		return false;
	for (uint32_t i = 0; i < policies; i++)
		if (!take_policy(d, domain, in))
			return false;
	return true;
}

struct tls_day *tls_day_decode(const uint8_t *key, struct wire_reader *in)
{
	uint64_t number = wire_u64(in), lost = take_count(in);
	uint32_t count = wire_u32(in);

	if (in->bad || number > INT32_MAX || count > TLS_DOMAINS_MOST)
		return NULL;
	struct tls_day *d = tls_day_new(key, (int64_t)number);

	d->lost = lost;
	for (uint32_t i = 0; i < count; i++)
		if (!take_domain(d, in)) {
			tls_day_free(&d);
			return NULL;
		}
	return d;
}
