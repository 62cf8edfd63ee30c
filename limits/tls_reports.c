/* SPDX-License-Identifier: ISC */
/* The day that is counted, the day that is reported on, and the reports under way. */
#include "tls_reports.h"

#include "mem.h"
#include "snapshot.h"
#include "tls_day.h"
#include "tls_record.h"
#include "tls_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TICK_S = 2,
	WRITE_EVERY_S = 30, /* if there is news */
	VERSION = 1,
	/* RFC 8460 section 4.1: "delivered after some delay, perhaps several hours". Each domain
	 * has a time of its own between the two. */
	DELAY_LEAST_S = 900,
	DELAY_MOST_S = 4 * 3600,
	UNDER_WAY_MOST = 32,
	/* To four places for each of 10,000 domains in a day, should all be late: a good four
	 * hours. Submission takes twice as many. */
	MAILS_AN_HOUR = 10000,
	COUNTS_TOLD = 1000, /* as messages have room */
	REPORT_TOLD = 524288,
	ANSWER_LIMIT_S = 120, /* of a neighbour */
	FETCH_LIMIT_MS = 60000,
	/* RFC 8460 section 5.5: "a sender SHOULD attempt redelivery for up to 24 hours": until
	 * the next day is over. */
	AGAIN_FIRST_S = 300,
	AGAIN_MOST_S = 4 * 3600,
};

/* Tokens of ours in `handed`: the highest bit, a serial number, and which one of those under way.
 */
static const uint64_t token_bit = UINT64_C(1) << 63;

static const char file_name[] = "tls-reports";

/* A report that is being brought. */
struct sending {
	struct tls_domain *domain; /* of the day that is reported on; NULL: free */
	struct tls_record record;
	size_t at;	    /* the target under way */
	bool asked, failed; /* the record is there; a target was not reached, and is tried again */
	uint64_t token;	    /* of the question that is out */
	struct monotime until;
	struct bytes report;
};

struct tls_reports {
	struct daemon *d;
	const char *folder;
	uint8_t key[SIPHASH_KEY_BYTES];
	struct tls_day *today, *closed; /* closed: what is reported on; NULL when all is done */
	struct channel *resolver, *submission, *fetcher;
	struct timer tick;
	unsigned ticks;
	bool fresh; /* there is news that is not on disk */
	size_t cursor;
	uint64_t serial;
	struct monotime hour; /* in which there were so many mails */
	unsigned mails;
	struct sending sendings[UNDER_WAY_MOST];
};

static int64_t now_s(const struct tls_reports *r)
{
	return loop_wall(r->d->loop).us / 1000000;
}

static bool is_on(const struct tls_reports *r)
{
	return r->d->config->tlsrpt_contact.len > 0;
}

/* The domain of an address. */
static struct text domain_of(struct text address)
{
	ptrdiff_t at = text_find(address, '@');

	return at < 0 ? address
		      : (struct text){address.data + at + 1, address.len - (size_t)at - 1};
}

static struct tls_report_maker maker_of(const struct tls_reports *r, const struct tls_day *day)
{
	const struct config *c = r->d->config;

	return (struct tls_report_maker){
	    .organization =
		c->tlsrpt_organization.len ? c->tlsrpt_organization : domain_of(c->tlsrpt_contact),
	    .contact = c->tlsrpt_contact,
	    .hostname = c->hostname,
	    .day = tls_day_number(day),
	};
}

/* -- those under way ------------------------------------------------------------------------ */

static void sending_end(struct tls_reports *r, struct sending *s)
{
	struct tls_domain *domain = s->domain;
	int64_t wait = (int64_t)AGAIN_FIRST_S << (domain->tries < 6 ? domain->tries : 6);

	domain->busy = false;
	domain->done = !s->failed;
	if (s->failed) {
		if (domain->tries < UINT8_MAX)
			domain->tries++;
		domain->again_s = now_s(r) + (wait < AGAIN_MOST_S ? wait : AGAIN_MOST_S);
	}
	bytes_free(&s->report);
	*s = (struct sending){.failed = false};
	r->fresh = true;
}

static void sending_fail(struct tls_reports *r, struct sending *s)
{
	s->failed = true;
	sending_end(r, s);
}

static uint64_t token_new(struct tls_reports *r, struct sending *s)
{
	s->token = token_bit | ++r->serial << 8 | (uint64_t)(s - r->sendings);
	s->until = monotime_add(loop_now(r->d->loop), SECONDS(ANSWER_LIMIT_S));
	return s->token;
}

/* NULL: nobody waits for it any more. */
static struct sending *sending_of(struct tls_reports *r, uint64_t token)
{
	struct sending *s = &r->sendings[token % UNDER_WAY_MOST];

	return s->domain && s->token == token ? s : NULL;
}

static uint64_t hash_of(const struct tls_target *target)
{
	uint64_t hash = 14695981039346656037u;

	for (const char *c = target->to; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 1099511628211u;
	return hash;
}

static bool is_told(const struct tls_domain *domain, const struct tls_target *target)
{
	uint64_t hash = hash_of(target);

	for (size_t i = 0; i < domain->told_count; i++)
		if (domain->told[i] == hash)
			return true;
	return false;
}

/* What became of the target under way, for people. */
static void say(const struct tls_reports *r, const struct sending *s, const char *what)
{
	char day[64], all[24], failed[24];
	uint64_t bad, sessions = tls_domain_sessions(s->domain, &bad);
	time_t at = (time_t)(tls_day_number(r->closed) * TLS_DAY_S);
	struct tm tm;

	if (!gmtime_r(&at, &tm) || !strftime(day, sizeof day, "%Y-%m-%d", &tm))
		*day = '\0';
	snprintf(all, sizeof all, "%llu", (unsigned long long)sessions);
	snprintf(failed, sizeof failed, "%llu", (unsigned long long)bad);
	LOG(r->d->log, tls_report, 0, text_of(s->domain->name), text_of(day), text_of(all),
	    text_of(failed), text_of(s->record.targets[s->at].to), text_of(what));
}

/* -- targets -------------------------------------------------------------------------------- */

static void mail_begin(struct tls_reports *r, struct sending *s)
{
	const struct tls_report_maker m = maker_of(r, r->closed);
	char id[TLS_REPORT_ID_BYTES];

	tls_report_id(&m, s->domain, id);
	r->mails++;
	channel_send_tls_report(r->submission,
				&(struct msg_tls_report){
				    .token = token_new(r, s),
				    .to = text_of(s->record.targets[s->at].to),
				    .domain = text_of(s->domain->name),
				    .report_id = text_of(id),
				    .begin_s = (uint64_t)(m.day * TLS_DAY_S),
				    .end_s = (uint64_t)(m.day * TLS_DAY_S + TLS_DAY_S - 1),
				    .report = bytes_text(&s->report),
				});
}

static void post_begin(struct tls_reports *r, struct sending *s)
{
	struct bytes fields = {0};

	/* RFC 8460 section 5.4: of a compressed one. */
	rec_field_encode(
	    &fields, &(struct rec_field){TEXT("Content-Type"), TEXT("application/tlsrpt+gzip")});
	channel_send_fetch(r->fetcher, &(struct msg_fetch){
					   .query = token_new(r, s),
					   .purpose = FETCH_TLS_REPORT,
					   .method = FETCH_POST,
					   .url = text_of(s->record.targets[s->at].to),
					   .fields = {1, bytes_text(&fields)},
					   .body = bytes_text(&s->report),
					   .answer_max = 4096,
					   .limit_ms = FETCH_LIMIT_MS,
				       });
	bytes_free(&fields);
}

/*
 * RFC 8460 section 3: "if there exists more than one, the reporter MAY attempt
 * to deliver to each of the supported rua destinations". Each gets it, one
 * after the other, and once.
 */
static void targets_go_on(struct tls_reports *r, struct sending *s)
{
	for (; s->at < s->record.count; s->at++) {
		const struct tls_target *target = &s->record.targets[s->at];
		const struct channel *way = target->https ? r->fetcher : r->submission;

		if (is_told(s->domain, target))
			continue;
		if (!way) {
			s->failed = true;
			continue;
		}
		if (target->https)
			post_begin(r, s);
		else
			mail_begin(r, s);
		return;
	}
	sending_end(r, s);
}

/* SETTLED: this target gets no more, whatever became of it. */
static void target_done(struct tls_reports *r, struct sending *s, bool settled, const char *what)
{
	struct tls_domain *domain = s->domain;

	say(r, s, what);
	if (!settled)
		s->failed = true;
	else if (domain->told_count < TLS_TOLD_MOST)
		domain->told[domain->told_count++] = hash_of(&s->record.targets[s->at]);
	s->at++;
	targets_go_on(r, s);
}

bool tls_reports_handed(struct tls_reports *r, const struct msg_handed *m)
{
	struct sending *s = sending_of(r, m->token);
	char what[128];

	if (!(m->token & token_bit))
		return false;
	if (!s || !s->asked)
		return true;
	snprintf(what, sizeof what, "%u %.*s", m->code,
		 m->reply.len < 100 ? (int)m->reply.len : 100, m->reply.data);
	target_done(r, s, m->taken || m->code >= 500, m->taken ? "queued" : what);
	return true;
}

void tls_reports_fetched(struct tls_reports *r, const struct msg_fetched *m)
{
	struct sending *s = sending_of(r, m->query);
	/* RFC 8460 section 5.4: a "successful" answer, "typically a 200 or 201 HTTP code"; others
	 * "may be retried". */
	bool taken = m->outcome == FETCH_ANSWERED && m->status >= 200 && m->status < 300;
	char what[128];

	if (!s || !s->asked)
		return;
	if (m->outcome == FETCH_ANSWERED)
		snprintf(what, sizeof what, "answer %u", m->status);
	else
		snprintf(what, sizeof what, "not delivered: %.*s",
			 m->reason.len < 100 ? (int)m->reason.len : 100, m->reason.data);
	target_done(r, s, taken || m->outcome == FETCH_REFUSED, what);
}

/* -- records -------------------------------------------------------------------------------- */

/*
 * "If the number of resulting records is not one, senders MUST assume the
 * recipient domain does not implement TLSRPT."
 */
static bool record_find(const struct msg_txt_is *m, struct tls_record *to)
{
	struct wire_list records = m->records;
	struct text only = {NULL, 0};
	struct rec_txt one;
	bool whole = m->total == m->records.count;
	size_t count = 0;

	while (list_next_txt(&records, &one))
		if (tls_record_begins(one.data)) {
			only = one.data;
			whole = whole && one.length == one.data.len;
			count++;
		}
	return whole && count == 1 && tls_record_read(only, to);
}

void tls_reports_txt(struct tls_reports *r, const struct msg_txt_is *m)
{
	struct sending *s = sending_of(r, m->query);
	struct bytes json = {0};

	if (!s || s->asked)
		return;
	if (m->verdict == HOP_TEMPORARY) {
		sending_fail(r, s);
		return;
	}
	if (m->verdict != HOP_FOUND || !record_find(m, &s->record)) {
		sending_end(r, s); /* it does not ask */
		return;
	}
	const struct tls_report_maker maker = maker_of(r, r->closed);

	s->asked = true;
	tls_report_json(&maker, s->domain, &json);
	tls_report_gzip(&json, &s->report);
	bytes_free(&json);
	if (bytes_len(&s->report) > TLS_REPORT_MAX) {
		say(r, s, "too large: not sent");
		sending_end(r, s);
		return;
	}
	targets_go_on(r, s);
}

/* -- when ----------------------------------------------------------------------------------- */

static bool is_due(const struct tls_reports *r, const struct tls_domain *domain, int64_t now)
{
	int64_t midnight = (tls_day_number(r->closed) + 1) * TLS_DAY_S;
	uint64_t chance = siphash(r->key, domain->name, strlen(domain->name));

	/* That is further away than it ever is set: the clock was ahead then. */
	bool again = now >= domain->again_s || domain->again_s - now > AGAIN_MOST_S;

	return !domain->done && !domain->busy && domain->policy_count && again &&
	       now >= midnight + DELAY_LEAST_S + (int64_t)(chance % (DELAY_MOST_S - DELAY_LEAST_S));
}

static void sending_begin(struct tls_reports *r, struct sending *s, struct tls_domain *domain)
{
	static const char prefix[] = "_smtp._tls.";
	char name[sizeof prefix + 255];

	*s = (struct sending){.domain = domain};
	domain->busy = true;
	snprintf(name, sizeof name, "%s%s", prefix, domain->name);
	channel_send_txt_ask(r->resolver, &(struct msg_txt_ask){.query = token_new(r, s),
								.name = {name, strlen(name)}});
}

/* After an hour or a day without us all would be due at once. */
static bool hour_has_room(struct tls_reports *r)
{
	struct monotime now = loop_now(r->d->loop);

	if (!r->hour.us || monotime_since(now, r->hour).us >= SECONDS(3600).us) {
		r->hour = now;
		r->mails = 0;
	}
	return r->mails + (unsigned)UNDER_WAY_MOST * TLS_TARGETS_MOST <= MAILS_AN_HOUR;
}

/* As many as there is room for; those looked at once a tick are bounded by the day's bound. */
static void begin_due(struct tls_reports *r)
{
	size_t free_at = 0, count = tls_day_count(r->closed);
	int64_t now = now_s(r);

	if (!hour_has_room(r))
		return;
	for (size_t looked = 0; looked < count && r->resolver; looked++) {
		while (free_at < UNDER_WAY_MOST && r->sendings[free_at].domain)
			free_at++;
		if (free_at == UNDER_WAY_MOST)
			return;
		struct tls_domain *domain = tls_day_domain(r->closed, r->cursor++ % count);

		/* RFC 1035 section 2.3.4: no name is longer. */
		if (is_due(r, domain, now) && strlen(domain->name) > 253 - 11)
			domain->done = true;
		else if (is_due(r, domain, now))
			sending_begin(r, &r->sendings[free_at], domain);
	}
}

static void expire(struct tls_reports *r)
{
	struct monotime now = loop_now(r->d->loop);

	for (size_t i = 0; i < UNDER_WAY_MOST; i++) {
		struct sending *s = &r->sendings[i];

		if (s->domain && now.us > s->until.us)
			sending_fail(r, s);
	}
}

/* The day that was reported on is over: what has not been brought by now never is. */
static void closed_drop(struct tls_reports *r)
{
	size_t left = 0;

	for (size_t i = 0; i < UNDER_WAY_MOST; i++)
		if (r->sendings[i].domain)
			sending_fail(r, &r->sendings[i]);
	for (size_t i = 0; r->closed && i < tls_day_count(r->closed); i++) {
		const struct tls_domain *domain = tls_day_domain(r->closed, i);

		left += !domain->done && domain->tries;
	}
	if (left)
		log_warning(r->d->log, "TLS reports for %zu domains were given up after a day",
			    left);
	tls_day_free(&r->closed);
	r->fresh = true;
}

/* The clock was far ahead, and is right again: such a day would not end for years. */
static void days_pull_back(struct tls_reports *r, int64_t day)
{
	tls_day_renumber(r->today, day);
	if (r->closed && tls_day_number(r->closed) >= day)
		tls_day_renumber(r->closed, day - 1);
	r->fresh = true;
}

static void turn_day(struct tls_reports *r)
{
	int64_t day = now_s(r) / TLS_DAY_S;

	if (r->today && day < tls_day_number(r->today) - 1)
		days_pull_back(r, day);
	/* A clock that was set back a little changes nothing. */
	if (r->today && day <= tls_day_number(r->today))
		return;
	if (r->today && (tls_day_count(r->today) || tls_day_lost(r->today))) {
		closed_drop(r);
		r->closed = r->today;
		r->today = NULL;
		r->cursor = 0;
		if (tls_day_lost(r->closed))
			log_warning(
			    r->d->log,
			    "%llu TLS sessions of the last day found no room, and are in no "
			    "report",
			    (unsigned long long)tls_day_lost(r->closed));
	}
	tls_day_free(&r->today);
	r->today = tls_day_new(r->key, day);
	r->fresh = true;
}

static void off(struct tls_reports *r)
{
	if (r->closed)
		closed_drop(r);
	if (r->today && tls_day_count(r->today))
		r->fresh = true;
	tls_day_free(&r->today);
}

static void tick(void *arg)
{
	struct tls_reports *r = arg;

	timer_set(&r->tick, SECONDS(TICK_S));
	if (is_on(r)) {
		turn_day(r);
		expire(r);
		if (r->closed)
			begin_due(r);
	} else {
		off(r);
	}
	if (++r->ticks % (WRITE_EVERY_S / TICK_S) == 0)
		tls_reports_write(r);
}

bool tls_reports_results(struct tls_reports *r, const struct msg_tls_results *m)
{
	struct wire_list list = m->results;
	struct rec_tls_result one;

	if (!is_on(r))
		return true;
	turn_day(r);
	r->fresh = true;
	while (list_next_tls_result(&list, &one))
		if (!tls_day_add(r->today, &one))
			return false;
	return true;
}

/* -- for people ------------------------------------------------------------------------------- */

static int compare_counts(const void *a, const void *b)
{
	const struct rec_tls_count *x = a, *y = b;

	if (x->failed != y->failed)
		return x->failed > y->failed ? -1 : 1;
	return (x->sessions < y->sessions) - (x->sessions > y->sessions);
}

/* All of them, sorted; as many as go into one message, those with failures first. */
static uint32_t put_counts(const struct tls_day *day, struct bytes *to)
{
	size_t count = tls_day_count(day);
	uint32_t told = count < COUNTS_TOLD ? (uint32_t)count : COUNTS_TOLD;
	struct rec_tls_count *all = mem_new(count + 1, sizeof *all);

	for (size_t i = 0; i < count; i++) {
		const struct tls_domain *domain = tls_day_domain(day, i);

		all[i].domain = text_of(domain->name);
		all[i].sessions = tls_domain_sessions(domain, &all[i].failed);
	}
	qsort(all, count, sizeof *all, compare_counts);
	for (uint32_t i = 0; i < told; i++)
		rec_tls_count_encode(to, &all[i]);
	free(all);
	return told;
}

void tls_reports_look(struct tls_reports *r, struct channel *c, const struct msg_tls_counts_look *m)
{
	struct msg_tls_counts_seen seen = {.query = m->query, .state = TLS_COUNTS_OFF};
	struct bytes rows = {0}, json = {0};

	if (is_on(r)) {
		turn_day(r);
		const struct tls_domain *domain = tls_day_find(r->today, m->domain);

		seen.state = !m->domain.len || domain ? TLS_COUNTS_FINE : TLS_COUNTS_NONE;
		seen.total = (uint32_t)tls_day_count(r->today);
		if (!m->domain.len)
			seen.domains.count = put_counts(r->today, &rows);
		if (domain) {
			const struct tls_report_maker maker = maker_of(r, r->today);

			tls_report_json(&maker, domain, &json);
		}
	}
	seen.domains.items = bytes_text(&rows);
	/* A domain's bounds leave room: eight policies of 4 KB, 48 failures of 1 KB. */
	if (bytes_len(&json) <= REPORT_TOLD)
		seen.report = bytes_text(&json);
	channel_send_tls_counts_seen(c, &seen);
	bytes_free(&rows);
	bytes_free(&json);
}

/* -- neighbours ----------------------------------------------------------------------------- */

static struct channel **place_of(struct tls_reports *r, unsigned kind)
{
	switch (kind) {
	case PEER_RESOLVER:
		return &r->resolver;
	case PEER_SUBMISSION:
		return &r->submission;
	case PEER_FETCHER:
		return &r->fetcher;
	default:
		return NULL;
	}
}

void tls_reports_peer(struct tls_reports *r, struct channel *c)
{
	struct channel **place = place_of(r, channel_peer(c));

	if (place)
		*place = c;
}

/* What was asked of it is not answered, and tried again when its time is up. */
void tls_reports_gone(struct tls_reports *r, struct channel *c)
{
	struct channel **place = place_of(r, channel_peer(c));

	if (place && *place == c)
		*place = NULL;
}

/* -- disk ------------------------------------------------------------------------------------ */

static void put_day(struct bytes *to, const struct tls_day *day)
{
	wire_put_u8(to, day != NULL);
	if (day)
		tls_day_encode(day, to);
}

void tls_reports_write(struct tls_reports *r)
{
	struct bytes content = {0};

	if (!r->fresh)
		return;
	r->fresh = false;
	wire_put_u8(&content, VERSION);
	put_day(&content, r->today);
	put_day(&content, r->closed);
	snapshot_write(r->folder, file_name, &content, false, r->d->log);
	bytes_free(&content);
}

/* False: it is broken. */
static bool take_day(struct tls_reports *r, struct wire_reader *in, struct tls_day **day)
{
	uint8_t there = wire_u8(in);

	if (there == 1)
		*day = tls_day_decode(r->key, in);
	return !in->bad && there <= 1 && (there == 0 || *day);
}

static void read_days(struct tls_reports *r, const struct bytes *content)
{
	struct wire_reader in = wire_reader_over(bytes_at(content), bytes_len(content));
	bool good = wire_u8(&in) == VERSION;

	good =
	    good && take_day(r, &in, &r->today) && take_day(r, &in, &r->closed) && wire_done(&in);
	if (good)
		return;
	log_error(r->d->log, "the counts of TLS sessions can't be read; they begin anew");
	tls_day_free(&r->today);
	tls_day_free(&r->closed);
}

struct tls_reports *tls_reports_open(struct daemon *d, const char *folder)
{
	struct tls_reports *r = mem_new(1, sizeof *r);
	struct bytes content = {0};

	r->d = d;
	r->folder = folder;
	siphash_key_make(r->key);
	if (snapshot_read(folder, file_name, 2 * (size_t)TLS_BYTES_MOST + 64, &content))
		read_days(r, &content);
	bytes_free(&content);
	timer_init(&r->tick, d->loop, tick, r);
	timer_set(&r->tick, SECONDS(TICK_S));
	return r;
}
