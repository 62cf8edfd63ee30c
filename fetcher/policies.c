/* SPDX-License-Identifier: ISC */
/*
 * The discovery of policies. A domain that is asked for, or was of late, has
 * a struct find; its policy is in the store.
 */
#include "policies.h"

#include "file.h"
#include "mem.h"
#include "siphash.h"
#include "sts_disk.h"
#include "sts_domain.h"
#include "sts_failure.h"
#include "sts_fetch.h"
#include "sts_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum {
	BUCKETS = 4096,
	FINDS_MAX = 8192,   /* known of; those that rest make room */
	ASKS_MAX = 8192,    /* of a peer, unanswered */
	LOOKUPS_MAX = 1024, /* of TXT records under way; others wait */
	AUTHORITIES_BYTES_MAX = 4 * 1024 * 1024,
	BACKLOG_MAX = 8 * 1024 * 1024,
	/* RFC 8461 section 3.3: "A suggested timeout is one minute". */
	LIMIT_S = 60,
	LOOKUP_S = 15,	    /* of it for the TXT record */
	KNOWN_LIMIT_S = 5,  /* who has a policy waits no longer for a newer one */
	CHECK_LEAST_S = 60, /* the TXT record is looked at once in that time, and in that: */
	CHECK_MOST_S = 3600,
	/* "limit further attempts to a period of five minutes or longer per version ID" */
	FAILED_S = 300,
	NO_ANSWER_S = 600, /* a name server that says nothing is not asked each minute */
	/* Section 10.2: "a suggested refresh frequency is once per day". */
	REFRESH_S = 86400,
	MAIL_OF_LATE_S = 7 * 86400, /* without any for longer a policy is left to grow old */
	SAID_S = 3600,		    /* once in that time, for a domain */
	SWEEP_S = 60,
	SWEEP_MOST = 100,
	SAVE_S = 2,
	SAVE_BYTES_A_SECOND = 100 * 1024,
	WHY_BYTES = 257,
};

enum find_state {
	FIND_RESTS,
	FIND_WAITS, /* for its turn to ask for the TXT record */
	FIND_ASKED, /* for that */
	FIND_FETCHES,
};

struct waiter {
	TAILQ_ENTRY(waiter) line;
	struct channel *channel;
	uint64_t query;
};

struct find {
	TAILQ_ENTRY(find) line; /* in the list of its state */
	struct find *next;	/* in its bucket */
	struct policies *all;
	TAILQ_HEAD(, waiter) waiters;
	struct timer timer; /* the nearest of the limits below */
	struct monotime known_limit, lookup_limit, limit;
	struct monotime check; /* the TXT record is fresh until then */
	struct monotime failed_until;
	struct monotime said; /* when a failure was last logged */
	uint32_t ttl_s;
	uint64_t lookup;
	enum find_state state;
	enum sts_fault fault;
	char id[STS_ID_MAX + 1];     /* of the TXT record that was read last, while it fetches */
	char failed[STS_ID_MAX + 1]; /* for this one no policy could be fetched */
	char why[WHY_BYTES];	     /* of the last attempt; empty: it was fine */
	size_t domain_len;
	char domain[]; /* lower case, A-labels; NUL behind it */
};

TAILQ_HEAD(find_list, find);

struct policies {
	struct daemon *d;
	struct sts_store *store;
	struct sts_fetches *fetches;
	struct channel *resolver;
	struct channel *limits; /* NULL while there is none */
	uint64_t *lookups;
	const char *folder; /* NULL before policies_open() */
	struct timer save, sweep;
	uint8_t key[SIPHASH_KEY_BYTES];
	struct find *buckets[BUCKETS];
	struct find_list rests, waits, asked, fetches_list;
	size_t count, asked_count, waiter_count;
	bool trusts; /* somebody's signatures */
};

static int64_t wall_s(const struct policies *s)
{
	return loop_wall(s->d->loop).us / 1000000;
}

static struct monotime in_seconds(const struct policies *s, int64_t seconds)
{
	return monotime_add(loop_now(s->d->loop), SECONDS(seconds));
}

static struct text domain_of(const struct find *f)
{
	return (struct text){f->domain, f->domain_len};
}

/* -- finds ------------------------------------------------------------------------------------ */

static struct find_list *list_of(struct policies *s, enum find_state state)
{
	return state == FIND_RESTS   ? &s->rests
	       : state == FIND_WAITS ? &s->waits
	       : state == FIND_ASKED ? &s->asked
				     : &s->fetches_list;
}

static void find_move(struct find *f, enum find_state to)
{
	struct policies *s = f->all;

	TAILQ_REMOVE(list_of(s, f->state), f, line);
	s->asked_count -= f->state == FIND_ASKED;
	f->state = to;
	s->asked_count += to == FIND_ASKED;
	TAILQ_INSERT_TAIL(list_of(s, to), f, line);
}

static struct find **bucket_of(struct policies *s, struct text domain)
{
	return &s->buckets[siphash(s->key, domain.data, domain.len) % BUCKETS];
}

static struct find *find_get(struct policies *s, struct text domain)
{
	struct find *f = *bucket_of(s, domain);

	while (f && !text_equal(domain_of(f), domain))
		f = f->next;
	return f;
}

/* One that rests. */
static void find_free(struct find *f)
{
	struct policies *s = f->all;
	struct find **at = bucket_of(s, domain_of(f));

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	TAILQ_REMOVE(&s->rests, f, line);
	timer_clear(&f->timer);
	s->count--;
	free(f);
}

static void find_fired(void *arg);

static struct find *find_new(struct policies *s, struct text domain)
{
	struct find **bucket = bucket_of(s, domain);
	struct find *f = mem_new(1, sizeof *f + domain.len + 1);

	if (s->count >= FINDS_MAX && TAILQ_FIRST(&s->rests))
		find_free(TAILQ_FIRST(&s->rests));
	f->all = s;
	memcpy(f->domain, domain.data, domain.len);
	f->domain_len = domain.len;
	TAILQ_INIT(&f->waiters);
	timer_init(&f->timer, s->d->loop, find_fired, f);
	f->next = *bucket;
	*bucket = f;
	TAILQ_INSERT_TAIL(&s->rests, f, line);
	s->count++;
	return f;
}

/* -- answers ---------------------------------------------------------------------------------- */

static int64_t seconds_until(const struct policies *s, struct monotime t)
{
	int64_t left = monotime_since(t, loop_now(s->d->loop)).us / 1000000;

	return left > 0 ? left : 0;
}

static uint32_t lifetime_of(const struct find *f, int64_t left_s)
{
	int64_t lifetime = seconds_until(f->all, f->check);

	if (lifetime < CHECK_LEAST_S)
		lifetime = CHECK_LEAST_S;
	return (uint32_t)(lifetime < left_s ? lifetime : left_s);
}

static void say(struct channel *c, const struct msg_sts_is *m)
{
	channel_send_sts_is(c, m);
	if (channel_backlog(c) > BACKLOG_MAX)
		channel_end(c, "does not read its answers");
}

static void find_say(struct find *f, struct channel *c, uint64_t query)
{
	struct policies *s = f->all;
	int64_t now = wall_s(s);
	struct sts_known *k = sts_store_find(s->store, domain_of(f), now);
	struct msg_sts_is m = {.query = query, .fault = (uint8_t)f->fault, .why = text_of(f->why)};
	int64_t left = CHECK_MOST_S;

	if (k) {
		sts_store_use(s->store, k, now);
		left = sts_store_left(s->store, k, now);
		m.mode = k->policy.mode;
		m.max_age_s = k->policy.max_age_s;
		m.id = k->policy.id;
		m.mx = k->policy.mx;
		m.fetched_wall = (uint64_t)k->fetched_s * 1000000;
		m.left_s = (uint32_t)left;
	}
	m.lifetime_s = lifetime_of(f, left);
	say(c, &m);
}

static void find_answer(struct find *f)
{
	struct waiter *w;

	while ((w = TAILQ_FIRST(&f->waiters))) {
		TAILQ_REMOVE(&f->waiters, w, line);
		f->all->waiter_count--;
		find_say(f, w->channel, w->query);
		free(w);
	}
}

/* It is through for SECONDS. */
static void find_rest(struct find *f, int64_t seconds)
{
	f->check = in_seconds(f->all, seconds);
	timer_clear(&f->timer);
	find_move(f, FIND_RESTS);
	find_answer(f);
}

/* WHY there is no newer policy, or none; empty: all is well. */
static void find_why(struct find *f, enum sts_fault fault, const char *what, struct text detail)
{
	size_t n = text_copy(f->why, sizeof f->why, text_of(what));

	f->fault = fault;
	text_printable(f->why + n, sizeof f->why - n, detail);
}

/* -- the disk ---------------------------------------------------------------------------------- */

void policies_save(struct policies *s)
{
	timer_clear(&s->save);
	if (s->folder && sts_store_changed(s->store) &&
	    !sts_disk_save(s->store, s->folder, s->d->log))
		timer_set(&s->save, SECONDS(SWEEP_S));
}

static void save_fired(void *arg)
{
	policies_save(arg);
}

/* The larger the file, the less often it is written. */
static void save_later(struct policies *s)
{
	if (s->folder && !timer_is_set(&s->save))
		timer_set(&s->save,
			  SECONDS(SAVE_S + sts_store_bytes(s->store) / SAVE_BYTES_A_SECOND));
}

/* -- the policy itself ------------------------------------------------------------------------ */

/* Said once for each policy, and not when the same is fetched again. */
static void policy_say(struct find *f, const struct sts_known *old, const struct sts_policy *p)
{
	char age[16];

	if (old && text_equal(old->policy.id, p->id) && sts_same(&old->policy, p))
		return;
	snprintf(age, sizeof age, "%u", p->max_age_s);
	LOG(f->all->d->log, sts_policy, 0, domain_of(f), text_of(sts_mode_name(p->mode)), p->id,
	    text_of(age), p->mx);
}

/*
 * RFC 8461 section 10.2: "implementations SHOULD alert administrators ... when such
 * attempts fail, unless the cached policy mode is "none"".
 */
static void failure_say(struct find *f)
{
	struct policies *s = f->all;
	struct sts_known *k = sts_store_find(s->store, domain_of(f), wall_s(s));
	char days[48] = "mail goes without one";

	if (f->said.us && monotime_since(loop_now(s->d->loop), f->said).us < SECONDS(SAID_S).us)
		return;
	f->said = loop_now(s->d->loop);
	if (k && k->policy.mode != STS_NONE) {
		int64_t left = sts_store_left(s->store, k, wall_s(s));

		snprintf(days, sizeof days, "the known one counts for %lld s more",
			 (long long)left);
	}
	LOG(s->d->log, sts_failed, 0, domain_of(f), text_of(f->why), text_of(days));
}

static int64_t check_after(uint32_t ttl_s)
{
	return ttl_s < CHECK_LEAST_S ? CHECK_LEAST_S : ttl_s > CHECK_MOST_S ? CHECK_MOST_S : ttl_s;
}

static void policy_fetched(void *arg, const struct sts_fetched *r)
{
	struct find *f = arg;
	struct policies *s = f->all;
	int64_t now = wall_s(s);

	if (!r->policy) {
		find_why(f, r->fault, "", r->why);
		memcpy(f->failed, f->id, sizeof f->failed);
		f->failed_until = in_seconds(s, FAILED_S);
		failure_say(f);
		if (s->limits && s->d->config->tlsrpt_contact.len)
			sts_failure_count(s->limits, domain_of(f), r);
		find_rest(f, FAILED_S);
		return;
	}
	struct sts_policy policy = *r->policy;
	struct sts_known *old = sts_store_find(s->store, domain_of(f), now);

	policy.id = text_of(f->id);
	find_why(f, STS_FAULT_NONE, "", (struct text){NULL, 0});
	policy_say(f, old, &policy);
	f->failed[0] = '\0';
	/* One of no time at all is not asked for with each mail. */
	if (!policy.max_age_s) {
		find_why(f, STS_FAULT_NONE, "its policy has a max_age of 0",
			 (struct text){NULL, 0});
		memcpy(f->failed, f->id, sizeof f->failed);
		f->failed_until = in_seconds(s, FAILED_S);
	}
	sts_store_put(s->store, domain_of(f), &policy, now);
	save_later(s);
	find_rest(f, check_after(f->ttl_s));
}

static bool is_due(const struct sts_known *k, int64_t now_s)
{
	int64_t age = (int64_t)k->policy.max_age_s / 2;

	return now_s - k->fetched_s >= (age < REFRESH_S ? age : REFRESH_S);
}

/* -- the TXT record ---------------------------------------------------------------------------- */

static void lookups_next(struct policies *s);

/*
 * RFC 8461 section 3.1: "If the number of resulting records is not one, or if the
 * resulting record is syntactically invalid, senders MUST assume the recipient
 * domain does not have an available MTA-STS Policy." What is known stays: "if no
 * "live" policy can be discovered ... but a valid (non-expired) policy exists in
 * the sender's cache, the sender MUST apply that cached policy".
 */
static bool record_take(struct find *f, const struct msg_txt_is *m)
{
	struct wire_list list = m->records;
	struct rec_txt txt;
	struct text id = {NULL, 0};
	const char *wrong = NULL;
	unsigned ours = 0;

	while (list_next_txt(&list, &txt)) {
		if (!sts_txt_is_ours(txt.data))
			continue;
		ours++;
		wrong = txt.length > txt.data.len ? "it is too long" : sts_txt_read(txt.data, &id);
	}
	if (m->total > m->records.count)
		wrong = "there are more than are read";
	else if (ours > 1)
		wrong = "there are several";
	if (ours == 1 && !wrong) {
		text_copy(f->id, sizeof f->id, id);
		return true;
	}
	if (ours || wrong)
		find_why(f, STS_FAULT_INVALID, "its TXT record: ", text_of(wrong));
	else
		find_why(f, STS_FAULT_NONE, "it has no TXT record of one", (struct text){NULL, 0});
	return false;
}

/* The record is good: is the policy that is known the one it speaks of? */
static void record_follow(struct find *f, uint32_t ttl_s)
{
	struct policies *s = f->all;
	int64_t now = wall_s(s);
	struct sts_known *k = sts_store_find(s->store, domain_of(f), now);

	f->ttl_s = ttl_s;
	bool same = k && text_equals(k->policy.id, f->id);

	if ((same && !is_due(k, now)) ||
	    (strcmp(f->failed, f->id) == 0 && loop_now(s->d->loop).us < f->failed_until.us)) {
		if (same)
			find_why(f, STS_FAULT_NONE, "", (struct text){NULL, 0});
		find_rest(f, check_after(ttl_s));
		return;
	}
	/* That is our own lack, and nothing to tell the domain or to say for each. */
	if (!s->trusts) {
		find_why(f, STS_FAULT_NONE, "tls-authorities has no certificates",
			 (struct text){NULL, 0});
		find_rest(f, check_after(ttl_s));
		return;
	}
	find_move(f, FIND_FETCHES);
	sts_fetch_start(s->fetches, domain_of(f), f->limit, policy_fetched, f);
	if (same)
		find_answer(f); /* the same, only older than it might be */
}

/* There is none that is good. */
static void record_lost(struct find *f, int64_t seconds)
{
	struct policies *s = f->all;
	const struct sts_known *k = sts_store_find(s->store, domain_of(f), wall_s(s));

	if (k && is_due(k, wall_s(s)))
		failure_say(f);
	find_rest(f, seconds);
}

void policies_txt(struct policies *s, const struct msg_txt_is *m)
{
	struct find *f;

	TAILQ_FOREACH(f, &s->asked, line)
	if (f->lookup == m->query)
		break;
	if (!f)
		return; /* given up */
	if (m->verdict == HOP_TEMPORARY) {
		find_why(f, STS_FAULT_FETCH, "its TXT record: ", m->reason);
		record_lost(f, NO_ANSWER_S);
	} else if (record_take(f, m)) {
		record_follow(f, m->lifetime_s);
	} else {
		record_lost(f, check_after(m->lifetime_s));
	}
	lookups_next(s);
}

static void find_look(struct find *f)
{
	struct policies *s = f->all;
	char name[16 + STS_DOMAIN_MAX];
	int n = snprintf(name, sizeof name, "_mta-sts.%s", f->domain);

	if (s->resolver)
		channel_send_txt_ask(s->resolver, &(struct msg_txt_ask){.query = f->lookup,
									.name = {name, (size_t)n}});
}

static void lookups_next(struct policies *s)
{
	struct find *f;

	while (s->asked_count < LOOKUPS_MAX && (f = TAILQ_FIRST(&s->waits))) {
		f->lookup = ++*s->lookups;
		f->lookup_limit = in_seconds(s, LOOKUP_S);
		find_move(f, FIND_ASKED);
		find_look(f);
	}
}

/* -- limits ---------------------------------------------------------------------------------- */

static void find_time(struct find *f)
{
	struct monotime now = loop_now(f->all->d->loop), next = f->limit;

	if (f->known_limit.us > now.us && f->known_limit.us < next.us)
		next = f->known_limit;
	if (f->state <= FIND_ASKED && f->lookup_limit.us > now.us && f->lookup_limit.us < next.us)
		next = f->lookup_limit;
	timer_set(&f->timer,
		  monotime_since(next, now).us > 0 ? monotime_since(next, now) : SECONDS(0));
}

static void find_fired(void *arg)
{
	struct find *f = arg;
	struct policies *s = f->all;
	struct monotime now = loop_now(s->d->loop);

	if (f->state == FIND_WAITS || f->state == FIND_ASKED) {
		if (now.us >= f->limit.us || now.us >= f->lookup_limit.us) {
			find_why(f, STS_FAULT_FETCH, "its TXT record: no answer in time",
				 (struct text){NULL, 0});
			record_lost(f, NO_ANSWER_S);
			lookups_next(s);
			return;
		}
	} else if (now.us >= f->limit.us) {
		return; /* the fetch ends by itself */
	}
	if (f->known_limit.us && now.us >= f->known_limit.us &&
	    sts_store_find(s->store, domain_of(f), wall_s(s)))
		find_answer(f);
	find_time(f);
}

static void find_begin(struct find *f)
{
	struct policies *s = f->all;

	f->limit = in_seconds(s, LIMIT_S);
	f->lookup_limit = f->limit;
	f->known_limit = in_seconds(s, KNOWN_LIMIT_S);
	find_move(f, FIND_WAITS);
	lookups_next(s);
	if (f->state == FIND_WAITS || f->state == FIND_ASKED)
		find_time(f);
}

/* -- entry points ---------------------------------------------------------------------------- */

void policies_ask(struct policies *s, struct channel *c, const struct msg_sts_ask *m)
{
	char domain[STS_DOMAIN_MAX + 1];

	if (!sts_domain_make(m->domain, domain)) {
		say(c, &(struct msg_sts_is){.query = m->query,
					    .lifetime_s = CHECK_MOST_S,
					    .why = text_of("such a domain can have none")});
		return;
	}
	struct find *f = find_get(s, text_of(domain));

	if (!f)
		f = find_new(s, text_of(domain));
	int64_t now = loop_now(s->d->loop).us;

	if (f->state == FIND_RESTS
		? now < f->check.us
		: now >= f->known_limit.us && sts_store_find(s->store, domain_of(f), wall_s(s))) {
		find_say(f, c, m->query);
		return;
	}
	if (s->waiter_count >= ASKS_MAX) {
		channel_end(c, "asks for too many policies at once");
		return;
	}
	struct waiter *w = mem_new(1, sizeof *w);

	w->channel = c;
	w->query = m->query;
	s->waiter_count++;
	TAILQ_INSERT_TAIL(&f->waiters, w, line);
	channel_send_sts_heard(c, &(struct msg_sts_heard){m->query});
	if (f->state == FIND_RESTS)
		find_begin(f);
}

bool policies_hosts(struct policies *s, const struct msg_hosts_are *m)
{
	return sts_fetches_hosts(s->fetches, m);
}

void policies_set_limits(struct policies *s, struct channel *limits)
{
	s->limits = limits;
}

void policies_set_resolver(struct policies *s, struct channel *resolver)
{
	struct find *f;

	s->resolver = resolver;
	TAILQ_FOREACH(f, &s->asked, line)
	find_look(f);
	sts_fetches_set_resolver(s->fetches, resolver);
}

void policies_asker_gone(struct policies *s, const struct channel *c)
{
	const struct find_list *lists[] = {&s->waits, &s->asked, &s->fetches_list};
	struct waiter *w, *next;
	struct find *f;

	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
		TAILQ_FOREACH(f, lists[i], line)
	for (w = TAILQ_FIRST(&f->waiters); w; w = next) {
		next = TAILQ_NEXT(w, line);
		if (w->channel != c)
			continue;
		TAILQ_REMOVE(&f->waiters, w, line);
		s->waiter_count--;
		free(w);
	}
}

/* Policies that mail is still sent under are looked at, and fetched anew, before they are old. */
static void sweep_fired(void *arg)
{
	struct policies *s = arg;
	int64_t now = wall_s(s);
	unsigned begun = 0;

	for (struct sts_known *k = sts_store_first(s->store), *next; k; k = next) {
		next = TAILQ_NEXT(k, age);
		if (sts_store_left(s->store, k, now) <= 0) {
			sts_store_forget(s->store, k);
			save_later(s);
			continue;
		}
		if (begun >= SWEEP_MOST || now - k->asked_s > MAIL_OF_LATE_S || !is_due(k, now))
			continue;
		struct find *f = find_get(s, k->domain);

		if (!f)
			f = find_new(s, k->domain);
		if (f->state != FIND_RESTS || loop_now(s->d->loop).us < f->check.us)
			continue;
		begun++;
		find_begin(f);
	}
	timer_set(&s->sweep, SECONDS(SWEEP_S));
}

void policies_trust(struct policies *s, int fd)
{
	struct bytes pem = {0};

	bool read = file_take(fd, AUTHORITIES_BYTES_MAX, &pem);

	if (read)
		s->trusts = sts_fetches_trust(s->fetches, bytes_text(&pem)) > 0;
	if (!read || !s->trusts)
		log_error(s->d->log, "tls-authorities: there are no certificates in the file; no "
				     "MTA-STS policy can be fetched");
	bytes_free(&pem);
}

void policies_open(struct policies *s, const char *folder)
{
	s->folder = folder;
	sts_disk_load(s->store, folder, wall_s(s));
	timer_set(&s->sweep, SECONDS(SWEEP_S));
}

struct policies *policies_new(struct daemon *d, uint64_t *lookups)
{
	struct policies *s = mem_new(1, sizeof *s);

	s->d = d;
	s->lookups = lookups;
	s->store = sts_store_new();
	s->fetches = sts_fetches_new(d->loop, lookups);
	siphash_key_make(s->key);
	TAILQ_INIT(&s->rests);
	TAILQ_INIT(&s->waits);
	TAILQ_INIT(&s->asked);
	TAILQ_INIT(&s->fetches_list);
	timer_init(&s->save, d->loop, save_fired, s);
	timer_init(&s->sweep, d->loop, sweep_fired, s);
	return s->fetches ? s : NULL;
}
