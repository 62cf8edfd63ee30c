/* SPDX-License-Identifier: ISC */
/* Policy files over HTTPS. */
#include "sts_fetch.h"

#include "authorities.h"
#include "mem.h"
#include "resolve.h"
#include "transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum {
	PORT_HTTPS = 443,
	HOST_BYTES = 254,
	WHY_BYTES = 256,
	STATUS_FINE = 200,
	LOOKUPS_MAX = 1024, /* of addresses; a name server that says nothing holds no connection */
	HURRY_S = 10,	    /* a server has so long while others wait for its place */
};

/* Those of one stage, the oldest first. */
struct stage {
	TAILQ_HEAD(, sts_fetch) all;
	unsigned count;
};

struct sts_fetch {
	TAILQ_ENTRY(sts_fetch) line;
	struct stage *stage;
	struct sts_fetches *all;
	struct transfer *transfer;
	struct timer deadline;
	struct monotime until, begun; /* begun: the transfer */
	uint64_t lookup;
	char *resolve; /* as transfer_start() wants it */
	void (*done)(void *arg, const struct sts_fetched *result);
	void *arg;
	char host[HOST_BYTES], url[HOST_BYTES + 64];
};

struct sts_fetches {
	struct loop *loop;
	struct transfers *transfers;
	struct channel *resolver;
	X509_STORE *authorities;
	uint64_t *lookups;
	/* In this order: for a lookup, for its answer, for a connection, for the policy. */
	struct stage waiting, looking, ready, running;
	struct timer hurry;
	bool turning;
};

static void hurry_fired(void *arg);

struct sts_fetches *sts_fetches_new(struct loop *loop, uint64_t *lookups)
{
	struct sts_fetches *all = mem_new(1, sizeof *all);

	all->loop = loop;
	all->lookups = lookups;
	TAILQ_INIT(&all->waiting.all);
	TAILQ_INIT(&all->looking.all);
	TAILQ_INIT(&all->ready.all);
	TAILQ_INIT(&all->running.all);
	timer_init(&all->hurry, loop, hurry_fired, all);
	all->authorities = X509_STORE_new();
	all->transfers = transfers_new(loop, STS_FETCHES_MAX);
	if (all->authorities && all->transfers)
		return all;
	free(all);
	return NULL;
}

size_t sts_fetches_trust(struct sts_fetches *all, struct text pem)
{
	size_t count;
	X509_STORE *store = authorities_read(pem, &count);

	if (!store)
		return 0;
	X509_STORE_free(all->authorities);
	all->authorities = store;
	return count;
}

static void fetch_leave(struct sts_fetch *f)
{
	TAILQ_REMOVE(&f->stage->all, f, line);
	f->stage->count--;
}

static void fetch_enter(struct sts_fetch *f, struct stage *to)
{
	f->stage = to;
	TAILQ_INSERT_TAIL(&to->all, f, line);
	to->count++;
}

/* -- an end --------------------------------------------------------------------------------- */

static void turn_next(struct sts_fetches *all);

static void fetch_end(struct sts_fetch *f, const struct sts_fetched *result)
{
	struct sts_fetches *all = f->all;

	fetch_leave(f);
	timer_clear(&f->deadline);
	f->done(f->arg, result);
	transfer_cancel(&f->transfer);
	free(f->resolve);
	free(f);
	turn_next(all);
}

static void fetch_fail(struct sts_fetch *f, enum sts_fault fault, struct text what,
		       struct text detail)
{
	char why[WHY_BYTES];
	size_t n = text_copy(why, sizeof why, what);

	if (detail.len) {
		n += text_copy(why + n, sizeof why - n, text_of(": "));
		text_printable(why + n, sizeof why - n, detail);
	}
	fetch_end(f, &(struct sts_fetched){.fault = fault, .why = text_of(why)});
}

static void fetch_late(void *arg)
{
	struct sts_fetch *f = arg;

	fetch_fail(f, STS_FAULT_FETCH, text_of(f->host), text_of("no policy within a minute"));
}

static void body_take(struct sts_fetch *f, struct text body)
{
	struct sts_file file;
	const char *wrong = sts_file_read(body, &file);

	if (wrong)
		fetch_fail(f, STS_FAULT_INVALID, text_of("the policy is none"), text_of(wrong));
	else
		fetch_end(f, &(struct sts_fetched){.policy = &file.policy});
}

/*
 * RFC 8461 section 3.3: "HTTP 3xx redirects MUST NOT be followed"; what is not
 * 200 is no policy.
 */
static void transfer_done(void *arg, const struct transfer_result *r)
{
	struct sts_fetch *f = arg;
	char status[16];

	f->transfer = NULL;
	snprintf(status, sizeof status, "status %u", r->status);
	if (r->outcome != FETCH_ANSWERED)
		fetch_fail(f, r->outcome == FETCH_TLS ? STS_FAULT_WEBPKI : STS_FAULT_FETCH,
			   text_of(f->host), r->reason);
	else if (r->status != STATUS_FINE)
		fetch_fail(f, STS_FAULT_FETCH, text_of(f->host), text_of(status));
	else if (!sts_type_is_plain(r->type))
		fetch_fail(f, STS_FAULT_INVALID, text_of("the policy is not text/plain"), r->type);
	else
		body_take(f, r->body);
}

/* -- the way there ---------------------------------------------------------------------------- */

static void hosts_look(struct sts_fetch *f)
{
	if (f->all->resolver)
		channel_send_hosts_ask(f->all->resolver,
				       &(struct msg_hosts_ask){.query = f->lookup,
							       .how = HOP_HOST,
							       .target = text_of(f->host),
							       .port = PORT_HTTPS});
}

static void transfer_begin(struct sts_fetch *f)
{
	struct sts_fetches *all = f->all;
	struct duration left = monotime_since(f->until, loop_now(all->loop));
	const struct transfer_request request = {
	    .url = text_of(f->url),
	    .resolve = text_of(f->resolve),
	    .method = FETCH_GET,
	    .answer_max = TRANSFER_BODY_MAX,
	    .limit = left.us > 1000 ? left : MILLISECONDS(1),
	    .authorities = all->authorities,
	    .once = true,
	};

	f->begun = loop_now(all->loop);
	f->transfer = transfer_start(all->transfers, &request, transfer_done, f);
	if (!f->transfer)
		fetch_fail(f, STS_FAULT_FETCH, text_of(f->host), text_of("it cannot be asked"));
}

/*
 * A server may take a minute, but not while others wait for its place: who
 * names a hundred that hang would keep all policies from being found.
 */
static void hurry_begin(struct sts_fetches *all)
{
	const struct sts_fetch *oldest = TAILQ_FIRST(&all->running.all);

	timer_clear(&all->hurry);
	if (!oldest || !all->ready.count)
		return;
	struct monotime at = monotime_add(oldest->begun, SECONDS(HURRY_S));
	struct duration left = monotime_since(at, loop_now(all->loop));

	timer_set(&all->hurry, left.us > 0 ? left : SECONDS(0));
}

/* Those that wait have their turn, as far as there is room. */
static void turn_next(struct sts_fetches *all)
{
	struct sts_fetch *f;

	if (all->turning)
		return; /* one that ended within it */
	all->turning = true;
	while (all->looking.count < LOOKUPS_MAX && (f = TAILQ_FIRST(&all->waiting.all))) {
		fetch_leave(f);
		fetch_enter(f, &all->looking);
		f->lookup = ++*all->lookups;
		hosts_look(f);
	}
	while (all->running.count < STS_FETCHES_MAX && (f = TAILQ_FIRST(&all->ready.all))) {
		fetch_leave(f);
		fetch_enter(f, &all->running);
		transfer_begin(f);
	}
	all->turning = false;
	hurry_begin(all);
}

static void hurry_fired(void *arg)
{
	struct sts_fetches *all = arg;
	struct sts_fetch *oldest = TAILQ_FIRST(&all->running.all);

	if (all->ready.count && oldest &&
	    monotime_since(loop_now(all->loop), oldest->begun).us >= SECONDS(HURRY_S).us)
		fetch_fail(oldest, STS_FAULT_FETCH, text_of(oldest->host),
			   text_of("it is slow, and others wait"));
	else
		hurry_begin(all);
}

bool sts_fetches_hosts(struct sts_fetches *all, const struct msg_hosts_are *answer)
{
	char resolve[RESOLVE_BYTES];
	struct sts_fetch *f;

	TAILQ_FOREACH(f, &all->looking.all, line)
	if (f->lookup == answer->query)
		break;
	if (!f)
		return false;
	if (answer->verdict != HOP_FOUND ||
	    !resolve_make(text_of(f->url), answer->hosts, true, resolve)) {
		fetch_fail(f, STS_FAULT_FETCH, text_of(f->host),
			   answer->reason.len ? answer->reason : text_of("it has no address"));
		return true;
	}
	f->resolve = mem_copy(resolve, strlen(resolve));
	fetch_leave(f);
	fetch_enter(f, &all->ready);
	turn_next(all);
	return true;
}

void sts_fetches_set_resolver(struct sts_fetches *all, struct channel *resolver)
{
	struct sts_fetch *f;

	all->resolver = resolver;
	TAILQ_FOREACH(f, &all->looking.all, line)
	hosts_look(f);
}

struct sts_fetch *sts_fetch_start(struct sts_fetches *all, struct text domain,
				  struct monotime until,
				  void (*done)(void *arg, const struct sts_fetched *result),
				  void *arg)
{
	struct sts_fetch *f = mem_new(1, sizeof *f);
	struct duration left = monotime_since(until, loop_now(all->loop));

	f->all = all;
	f->until = until;
	f->done = done;
	f->arg = arg;
	snprintf(f->host, sizeof f->host, "mta-sts.%.*s", (int)domain.len, domain.data);
	snprintf(f->url, sizeof f->url, "https://%s/.well-known/mta-sts.txt", f->host);
	timer_init(&f->deadline, all->loop, fetch_late, f);
	timer_set(&f->deadline, left.us > 0 ? left : (struct duration){0});
	fetch_enter(f, &all->waiting);
	turn_next(all);
	return f;
}
