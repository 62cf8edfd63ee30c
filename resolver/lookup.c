/* SPDX-License-Identifier: ISC */
/*
 * Lookups over libunbound's event interface. Its callback may run inside
 * ub_resolve_event(), so answers only settle the question there and are
 * handed out at the end of the turn.
 */
#include "lookup.h"

#include "cache.h"
#include "mem.h"
#include "must.h"
#include "siphash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unbound.h>
#include <unbound-event.h>
#include <unistd.h>

enum {
	UNDER_WAY_MAX = 4096, /* as outgoing-range */
	BURST_MAX = 128,      /* questions at once, and in each interval */
	BURST_US = 10 * 1000,
	CACHE_BYTES = 32 * 1024 * 1024, /* of answers read; libunbound's own caches come on top */
	FAILED_TTL_S = 5,		/* a failed question is not asked again at once */
	TTL_MAX_S = 3600,
	ANCHOR_BYTES = 65536,
	WHY_BYTES = 160,
};

enum question_state { QUESTION_WAITS, QUESTION_ASKED, QUESTION_ANSWERED };

struct question {
	struct cache_entry entry; /* first: the cache gives it back */
	TAILQ_ENTRY(question) line;
	struct lookups *lookups;
	struct lookup *waiting;
	struct turn_end hand_out;
	enum question_state state;
	bool handing_out; /* the answer is being read */
	struct dns_answer *answer;
	char *why; /* what the validator says of a bogus answer; else NULL */
	struct lookup_result result;
	uint16_t type;
	char *name; /* within key */
	char key[]; /* two octets of type, the name */
};

TAILQ_HEAD(question_line, question);

struct lookups {
	struct loop *loop;
	struct ub_ctx *unbound;
	bool closing; /* libunbound is told to go: it calls back with SERVFAIL for all under way */
	struct cache *cache;
	struct question_line waits, asked;
	size_t under_way;
	size_t burst;	   /* how many more may be asked now */
	struct timer pace; /* until it is refilled */
	char *anchors; /* the trust anchor file's text: a reload in the jail cannot read it again */
	struct endpoints forward;
};

static void question_forget(struct question *q)
{
	free(q->answer);
	free(q->why);
	q->answer = NULL;
	q->why = NULL;
}

static void question_free(struct cache_entry *e)
{
	struct question *q = (struct question *)e;

	turn_end_cancel(&q->hand_out);
	question_forget(q);
	free(q);
}

/* -- libunbound's context --------------------------------------------------------- */

static bool unbound_set_options(struct ub_ctx *ctx, bool forwards)
{
	/* Defaults are 16 sockets and 1 MB: measured six times slower against a slow server. */
	static const char *const options[][2] = {
	    {"outgoing-range:", "4096"},	{"num-queries-per-thread:", "4096"},
	    {"msg-cache-size:", "16m"},		{"rrset-cache-size:", "32m"},
	    {"key-cache-size:", "4m"},		{"neg-cache-size:", "4m"},
	    {"infra-cache-numhosts:", "20000"}, {"outgoing-num-tcp:", "256"},
	    {"cache-max-ttl:", "86400"},	{"val-log-level:", "2"},
	};
	/* A forwarder may be on this machine, and what private zones say is its business. */
	static const char *const forwarding[][2] = {
	    {"do-not-query-localhost:", "no"},
	    {"unblock-lan-zones:", "yes"},
	    {"insecure-lan-zones:", "yes"},
	};

	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if (ub_ctx_set_option(ctx, options[i][0], options[i][1]) != 0)
			return false;
	for (size_t i = 0; forwards && i < sizeof forwarding / sizeof *forwarding; i++)
		if (ub_ctx_set_option(ctx, forwarding[i][0], forwarding[i][1]) != 0)
			return false;
	return true;
}

static bool unbound_set_forward(struct ub_ctx *ctx, const struct endpoints *forward)
{
	for (size_t i = 0; i < forward->count; i++) {
		char address[46], full[64];

		host_address_print(forward->items[i].address, address);
		snprintf(full, sizeof full, "%s@%u", address, forward->items[i].port);
		if (ub_ctx_set_fwd(ctx, full) != 0)
			return false;
	}
	return true;
}

/* Zones that libunbound would answer by itself, with rcode 0 and no data. */
static void unbound_open_zones(struct ub_ctx *ctx)
{
	static const char *const zones[] = {
	    "test.",	      "invalid.",      "onion.",	   "home.arpa.",
	    "resolver.arpa.", "service.arpa.", "127.in-addr.arpa."};

	for (size_t i = 0; i < sizeof zones / sizeof *zones; i++)
		(void)ub_ctx_zone_remove(ctx, zones[i]);
}

static bool unbound_add_anchors(struct ub_ctx *ctx, const char *anchors)
{
	const char *line = anchors;

	while (line && *line) {
		size_t len = strcspn(line, "\n");
		/* Comments begin at ";" in zone text. */
		size_t used = strcspn(line, ";\n");
		struct text t = text_trim((struct text){line, used < len ? used : len});

		if (t.len) {
			char *record = mem_copy(t.data, t.len);
			int error = ub_ctx_add_ta(ctx, record);

			free(record);
			if (error != 0)
				return false;
		}
		line += len + (line[len] == '\n');
	}
	return true;
}

static void primed(void *arg, int rcode, void *packet, int len, int sec, char *why, int limited)
{
	(void)arg, (void)rcode, (void)packet, (void)len, (void)sec, (void)why, (void)limited;
}

static struct ub_ctx *unbound_new(struct lookups *l, const char **error)
{
	struct ub_ctx *ctx = ub_ctx_create_event(loop_base(l->loop));
	int id;

	*error = "libunbound cannot start";
	if (!ctx)
		return NULL;
	/* val-log-level makes it say why an answer is bogus: to us, and nowhere else. */
	ub_ctx_debugout(ctx, NULL);
	if (!unbound_set_options(ctx, l->forward.count > 0)) {
		*error = "libunbound does not take an option";
	} else if (!unbound_set_forward(ctx, &l->forward)) {
		*error = "libunbound does not take a forwarder";
	} else if (!unbound_add_anchors(ctx, l->anchors)) {
		*error = "libunbound does not take the trust anchor";
	} else {
		if (l->forward.count)
			unbound_open_zones(ctx);
		/* The first lookup makes it read its settings and the trust anchor. */
		if (ub_resolve_event(ctx, "localhost", DNS_A, 1, NULL, primed, &id) == 0) {
			*error = NULL;
			return ctx;
		}
		*error = "libunbound cannot look up: is the trust anchor damaged?";
	}
	ub_ctx_delete(ctx);
	return NULL;
}

/* The text of the trust anchor file, or NULL when there is none that can be read. */
static char *anchors_read(struct text path)
{
	char *name = mem_copy(path.data, path.len);
	FILE *file = path.len ? fopen(name, "re") : NULL;
	char *anchors = NULL;

	if (file) {
		anchors = mem_new(1, ANCHOR_BYTES);
		anchors[fread(anchors, 1, ANCHOR_BYTES - 1, file)] = '\0';
		fclose(file);
	}
	free(name);
	return anchors;
}

static bool endpoints_equal(const struct endpoints *a, const struct endpoints *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (a->items[i].port != b->items[i].port ||
		    memcmp(a->items[i].address, b->items[i].address, 16) != 0)
			return false;
	return true;
}

static void forward_keep(struct lookups *l, const struct config *config)
{
	size_t count = config->resolver_forward.count;

	free(l->forward.items);
	l->forward = (struct endpoints){mem_new(count + 1, sizeof *l->forward.items), count};
	if (count)
		memcpy(l->forward.items, config->resolver_forward.items,
		       count * sizeof *l->forward.items);
}

static void burst_refill(void *arg);

struct lookups *lookups_new(struct loop *loop, const struct config *config, const char **error)
{
	struct lookups *l = mem_new(1, sizeof *l);
	uint8_t key[SIPHASH_KEY_BYTES];

	l->loop = loop;
	TAILQ_INIT(&l->waits);
	TAILQ_INIT(&l->asked);
	l->burst = BURST_MAX;
	timer_init(&l->pace, loop, burst_refill, l);
	siphash_key_make(key);
	l->cache = cache_new(key, CACHE_BYTES, question_free);
	l->anchors = anchors_read(config->resolver_trust_anchor);
	forward_keep(l, config);
	l->unbound = unbound_new(l, error);
	if (!l->unbound)
		lookups_free(&l);
	return l;
}

void lookups_free(struct lookups **lookups)
{
	struct lookups *l = *lookups;

	if (!l)
		return;
	l->closing = true;
	timer_clear(&l->pace);
	if (l->unbound)
		ub_ctx_delete(l->unbound);
	cache_free(&l->cache);
	free(l->anchors);
	free(l->forward.items);
	free(l);
	*lookups = NULL;
}

/* -- questions ---------------------------------------------------------------------- */

static void question_answered(void *arg, int rcode, void *packet, int len, int sec, char *why,
			      int limited);
static void questions_ask(struct lookups *l);

/* Gives the result to all who wait. They may start and cancel others meanwhile. */
static void question_hand_out(void *arg)
{
	struct question *q = arg;
	struct lookups *l = q->lookups;
	struct lookup_result result = q->result;
	struct lookup *w;
	int64_t left_us = q->entry.expires.us - loop_now(l->loop).us;

	result.ttl_s = left_us > 0 ? (uint32_t)(left_us / 1000000) : 0;
	q->handing_out = true;
	while ((w = q->waiting)) {
		lookup_cancel(w);
		w->done(w->arg, &result);
	}
	q->handing_out = false;
	if (q->state == QUESTION_ANSWERED)
		cache_release(l->cache, &q->entry,
			      sizeof *q + q->entry.key.len + (q->answer ? q->answer->bytes : 0) +
				  (q->why ? WHY_BYTES : 0));
	questions_ask(l);
}

static void question_settle(struct question *q, struct lookup_result result, uint32_t ttl_s)
{
	struct lookups *l = q->lookups;

	must(q->state == QUESTION_ASKED);
	TAILQ_REMOVE(&l->asked, q, line);
	l->under_way--;
	q->state = QUESTION_ANSWERED;
	q->result = result;
	q->entry.expires =
	    monotime_add(loop_now(l->loop), SECONDS(ttl_s < TTL_MAX_S ? ttl_s : TTL_MAX_S));
	turn_end_schedule(&q->hand_out, l->loop, question_hand_out, q);
}

static const char *rcode_text(int rcode)
{
	switch (rcode) {
	case 1:
		return "FORMERR";
	case 2:
		return "SERVFAIL";
	case 4:
		return "NOTIMP";
	case 5:
		return "REFUSED";
	default:
		return "an error from the name server";
	}
}

static void question_fail(struct question *q, const char *why)
{
	question_settle(q, (struct lookup_result){.status = LOOKUP_FAILED, .why = why},
			FAILED_TTL_S);
}

/* "validation failure <mx.example. A IN>: signature expired ..." is ours from the colon on. */
static void question_bogus(struct question *q, const char *said)
{
	static const char begin[] = "DNSSEC validation failed";
	const char *detail = said ? strstr(said, ">: ") : NULL;
	char shown[WHY_BYTES - sizeof begin - 2] = "";

	if (detail)
		text_printable(shown, sizeof shown, text_of(detail + 3));
	free(q->why);
	q->why = mem_new(1, WHY_BYTES);
	snprintf(q->why, WHY_BYTES, "%s%s%s", begin, *shown ? ": " : "", shown);
	question_settle(
	    q, (struct lookup_result){.status = LOOKUP_FAILED, .bogus = true, .why = q->why},
	    FAILED_TTL_S);
}

static void question_answered(void *arg, int rcode, void *packet, int len, int sec, char *why,
			      int limited)
{
	struct question *q = arg;

	if (q->lookups->closing)
		return;
	/* 1 is bogus and comes with rcode 0 and data: never to be used (RFC 4035 section 4.7). */
	if (sec == 1) {
		question_bogus(q, why);
		return;
	}
	if (limited || rcode != DNS_NOERROR) {
		question_fail(q, rcode_text(rcode));
		return;
	}
	q->answer = packet && len > 0 ? dns_packet_read(packet, (size_t)len, q->type) : NULL;
	if (!q->answer) {
		question_fail(q, "malformed answer");
		return;
	}
	struct lookup_result result = {
	    .status = LOOKUP_FOUND, .secure = sec == 2, .answer = q->answer};

	/* An answer comes with rcode 0, whatever its own says. */
	if (q->answer->rcode == DNS_NXDOMAIN) {
		result.status = LOOKUP_NO_NAME;
	} else if (q->answer->rcode != DNS_NOERROR) {
		question_fail(q, rcode_text(q->answer->rcode));
		return;
	} else if (!q->answer->count && !q->answer->unusable) {
		result.status = LOOKUP_EMPTY;
	}
	question_settle(q, result, q->answer->ttl_s);
}

static void burst_refill(void *arg)
{
	struct lookups *l = arg;

	l->burst = BURST_MAX;
	questions_ask(l);
}

/*
 * Hands waiting questions to libunbound, as many as it is given at once. A
 * name server's or forwarder's socket holds a few hundred; what comes on top is
 * thrown away, and is asked again only when libunbound's time for it is up. By
 * time and not by answers: those that nobody answers must not keep others waiting.
 */
static void questions_ask(struct lookups *l)
{
	struct question *q;

	while (l->under_way < UNDER_WAY_MAX && l->burst && (q = TAILQ_FIRST(&l->waits))) {
		int id;

		TAILQ_REMOVE(&l->waits, q, line);
		if (!q->waiting) { /* all gave up before it was asked */
			cache_remove(l->cache, &q->entry);
			question_free(&q->entry);
			continue;
		}
		q->state = QUESTION_ASKED;
		TAILQ_INSERT_TAIL(&l->asked, q, line);
		l->under_way++;
		l->burst--;
		if (ub_resolve_event(l->unbound, q->name, q->type, 1, q, question_answered, &id) !=
			0 &&
		    q->state == QUESTION_ASKED)
			question_fail(q, "the resolver cannot ask");
	}
	if (l->burst < BURST_MAX && !timer_is_set(&l->pace))
		timer_set(&l->pace, (struct duration){BURST_US});
}

static struct question *question_new(struct lookups *l, struct text key)
{
	struct question *q = mem_new(1, sizeof *q + key.len + 1);

	q->lookups = l;
	memcpy(q->key, key.data, key.len);
	q->name = q->key + 2;
	q->type = (uint16_t)((uint8_t)q->key[0] << 8 | (uint8_t)q->key[1]);
	cache_add(l->cache, &q->entry, (struct text){q->key, key.len});
	TAILQ_INSERT_TAIL(&l->waits, q, line);
	return q;
}

/* An answer that is too old is asked for again in its place. */
static void question_refresh(struct lookups *l, struct question *q)
{
	if (q->state != QUESTION_ANSWERED || q->hand_out.prev || q->handing_out)
		return;
	if (q->entry.expires.us > loop_now(l->loop).us) {
		turn_end_schedule(&q->hand_out, l->loop, question_hand_out, q);
		return;
	}
	question_forget(q);
	q->state = QUESTION_WAITS;
	TAILQ_INSERT_TAIL(&l->waits, q, line);
}

void lookup_start(struct lookups *l, struct lookup *w, const char *name, uint16_t type,
		  void (*done)(void *arg, const struct lookup_result *result), void *arg)
{
	char key[2 + DNS_NAME_BYTES] = {(char)(type >> 8), (char)(type & 0xff)};
	size_t len = strlen(name);

	must(len < DNS_NAME_BYTES);
	for (size_t i = 0; i < len; i++)
		key[2 + i] = ascii_lower(name[i]);
	struct text k = {key, 2 + len};
	struct question *q = (struct question *)cache_find(l->cache, k);

	if (!q) {
		q = question_new(l, k);
	} else {
		cache_hold(l->cache, &q->entry);
		question_refresh(l, q);
	}
	*w = (struct lookup){
	    .next = q->waiting, .prev = &q->waiting, .question = q, .done = done, .arg = arg};
	if (w->next)
		w->next->prev = &w->next;
	q->waiting = w;
	questions_ask(l);
}

void lookup_cancel(struct lookup *w)
{
	if (!w->prev)
		return;
	*w->prev = w->next;
	if (w->next)
		w->next->prev = w->prev;
	w->next = NULL;
	w->prev = NULL;
}

bool lookups_reload(struct lookups *l, const struct config *config, const char **error)
{
	struct question *q;

	if (endpoints_equal(&l->forward, &config->resolver_forward))
		return true;
	forward_keep(l, config);
	l->closing = true;
	ub_ctx_delete(l->unbound);
	l->closing = false;
	l->unbound = unbound_new(l, error);
	if (!l->unbound)
		return false;
	while ((q = TAILQ_LAST(&l->asked, question_line))) {
		TAILQ_REMOVE(&l->asked, q, line);
		TAILQ_INSERT_HEAD(&l->waits, q, line);
		q->state = QUESTION_WAITS;
		l->under_way--;
	}
	questions_ask(l);
	return true;
}
