/* SPDX-License-Identifier: ISC */
/*
 * resolver: answers where mail goes (site_ask and path_ask of qmgr, hosts_ask of
 * smtp-client and fetcher), what a client is called (name_ask) and what a name's TXT
 * records say (txt_ask), from one validating resolver and one cache. It touches name servers and
 * nothing else.
 */
#include "answer.h"
#include "client_name.h"
#include "daemon.h"
#include "mem.h"
#include "mx.h"
#include "siphash.h"
#include "site.h"
#include "txt.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sysexits.h>

/* libunbound's own: UDP and TCP to name servers, from random ports. */
static const struct daemon_row row = {
    .name = "resolver",
    .kind = PEER_RESOLVER,
    .user = "veredus-resolver",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "socket connect bind setsockopt getsockopt getsockname getpeername uname",
    .peers =
	PEER_QMGR | PEER_SMTP_CLIENT | PEER_SMTPD | PEER_SUBMISSION | PEER_FETCHER | PEER_LIMITS,
};

enum {
	ASKS_MAX = 4096, /* of one peer, unanswered; above it the peer is not read */
	ASKS_LOW = 2048,
	BACKLOG_MAX = 8 * 1024 * 1024, /* answers that a peer does not read: it ends */
	/* Hosts with their TLSA records may fill much of that in one turn, out of the cache:
	 * those answers wait above one bound, and are made anew, some at a time, below the other.
	 */
	BACKLOG_HIGH = 2 * 1024 * 1024,
	BACKLOG_LOW = 512 * 1024,
	BEGUN_AT_ONCE = 64,
};

/* One who asks. */
struct asker {
	struct channel *channel;
	TAILQ_HEAD(, ask) asks;
	size_t count;
	size_t put_off; /* of these: begun anew when the peer has read what it got */
	bool paused;
};

struct ask {
	TAILQ_ENTRY(ask) line;
	struct asker *asker;
	struct config *config; /* the one it began with */
	struct mx *mx;
	struct client_name *name;
	struct txt *txt;
	uint64_t query;
	struct mx_question question;
	char *target; /* its own copy of the question's */
	void (*done)(void *arg, const struct mx_result *result);
	bool put_off;
};

struct resolver {
	struct lookups *lookups;
	struct own own;
	uint8_t key[SIPHASH_KEY_BYTES];
};

static struct resolver *resolver_of(const struct channel *c)
{
	return daemon_of(c)->self;
}

static struct ask *ask_new(struct channel *c, uint64_t query)
{
	struct asker *asker = daemon_peer_state(c);
	struct ask *ask = mem_new(1, sizeof *ask);

	ask->asker = asker;
	ask->query = query;
	ask->config = config_keep(daemon_of(c)->config);
	TAILQ_INSERT_TAIL(&asker->asks, ask, line);
	if (++asker->count >= ASKS_MAX && !asker->paused) {
		asker->paused = true;
		channel_pause(c);
	}
	return ask;
}

static void hop_begin(struct ask *ask)
{
	struct channel *c = ask->asker->channel;
	struct resolver *self = resolver_of(c);

	ask->mx = mx_start(daemon_of(c)->loop, self->lookups, &self->own, ask->config,
			   &ask->question, ask->done, ask);
}

static bool asker_is_full(const struct asker *asker)
{
	return channel_backlog(asker->channel) > BACKLOG_HIGH;
}

static void answers_read(struct channel *c);

/* Begins at most MOST of those put off. */
static void asks_begin(struct asker *asker, size_t most)
{
	struct ask *ask;

	if (!asker->put_off)
		return;
	/* Those under way may all end before they would be put off, and nobody else comes back. */
	if (asker_is_full(asker)) {
		channel_when_drained(asker->channel, BACKLOG_LOW, answers_read);
		return;
	}
	TAILQ_FOREACH(ask, &asker->asks, line)
	{
		if (!ask->put_off)
			continue;
		ask->put_off = false;
		hop_begin(ask);
		if (!--asker->put_off || !--most)
			break;
	}
}

static void answers_read(struct channel *c)
{
	struct asker *asker = daemon_peer_state(c);

	if (asker)
		asks_begin(asker, BEGUN_AT_ONCE);
}

/* True: its answer would be too much now, and it will be begun anew. */
static bool ask_put_off(struct ask *ask)
{
	struct asker *asker = ask->asker;

	if (!asker_is_full(asker))
		return false;
	ask->put_off = true;
	asker->put_off++;
	channel_when_drained(asker->channel, BACKLOG_LOW, answers_read);
	return true;
}

static void ask_end(struct ask *ask)
{
	mx_cancel(&ask->mx);
	client_name_cancel(&ask->name);
	txt_cancel(&ask->txt);
	config_drop(&ask->config);
	TAILQ_REMOVE(&ask->asker->asks, ask, line);
	free(ask->target);
	free(ask);
}

static void ask_free(struct ask *ask)
{
	struct asker *asker = ask->asker;

	ask_end(ask);
	asker->count--;
	asks_begin(asker, 1);
	if (channel_backlog(asker->channel) > BACKLOG_MAX) {
		channel_end(asker->channel, "does not read its answers");
	} else if (asker->paused && asker->count <= ASKS_LOW) {
		asker->paused = false;
		channel_resume(asker->channel);
	}
}

/* -- where mail goes ---------------------------------------------------------------- */

static void site_done(void *arg, const struct mx_result *r)
{
	struct ask *ask = arg;
	struct channel *c = ask->asker->channel;
	char site[SITE_BYTES] = "", hop[HOP_BYTES] = "";

	ask->mx = NULL;
	if (r->verdict == HOP_FOUND) {
		const uint8_t *key = resolver_of(c)->key;

		site_name(ask->config, key, r, ask->question.how, site);
		hop_name(key, r, ask->question.how, hop);
	}
	channel_send_site_is(c, &(struct msg_site_is){
				    .query = ask->query,
				    .verdict = (uint8_t)r->verdict,
				    .code = r->code,
				    .dsn = text_of(r->dsn),
				    .reason = text_of(r->reason),
				    .site = text_of(site),
				    .hop = text_of(hop),
				    .lifetime_s = r->lifetime_s,
				});
	ask_free(ask);
}

static void hosts_done(void *arg, const struct mx_result *r)
{
	struct ask *ask = arg;
	struct mx_told told[MX_TOLD_MAX];
	struct bytes items = {0};
	size_t count = 0;

	ask->mx = NULL;
	if (ask_put_off(ask))
		return;
	if (r->verdict == HOP_FOUND)
		count = mx_tell(r, (enum family_word)ask->config->resolver_prefer, told);
	answer_hosts(&items, told, count);
	channel_send_hosts_are(
	    ask->asker->channel,
	    &(struct msg_hosts_are){
		.query = ask->query,
		.verdict = (uint8_t)r->verdict,
		.code = r->code,
		.dsn = text_of(r->dsn),
		.reason = text_of(r->reason),
		.lifetime_s = r->lifetime_s,
		.hosts = {(uint32_t)count, {(const char *)items.data, bytes_len(&items)}},
		.canonical = text_of(r->canonical),
	    });
	bytes_free(&items);
	ask_free(ask);
}

static void path_done(void *arg, const struct mx_result *r)
{
	struct ask *ask = arg;
	struct channel *c = ask->asker->channel;
	char site[SITE_BYTES] = "", hop[HOP_BYTES] = "";
	struct bytes items = {0};

	ask->mx = NULL;
	if (r->verdict == HOP_FOUND) {
		const uint8_t *key = resolver_of(c)->key;

		site_name(ask->config, key, r, ask->question.how, site);
		hop_name(key, r, ask->question.how, hop);
	}
	answer_path(&items, r);
	channel_send_path_is(
	    c, &(struct msg_path_is){
		   .query = ask->query,
		   .verdict = (uint8_t)r->verdict,
		   .code = r->code,
		   .dsn = text_of(r->dsn),
		   .reason = text_of(r->reason),
		   .site = text_of(site),
		   .hop = text_of(hop),
		   .lifetime_s = r->lifetime_s,
		   .origin = answer_origin(r),
		   .dnssec = answer_dnssec(r),
		   .hosts = {(uint32_t)r->seen, {(const char *)items.data, bytes_len(&items)}},
	       });
	bytes_free(&items);
	ask_free(ask);
}

static void hop_ask(struct channel *c, uint64_t query, const struct mx_question *question,
		    void (*done)(void *arg, const struct mx_result *result))
{
	if (question->how > HOP_LMTP_UNIX && question->how != HOP_SMTPS) {
		channel_end(c, "asked for a hop that needs no resolver");
		return;
	}
	struct ask *ask = ask_new(c, query);

	ask->question = *question;
	ask->target = mem_copy(question->target.data, question->target.len);
	ask->question.target.data = ask->target;
	ask->done = done;
	hop_begin(ask);
}

static void site_ask_handle(struct channel *c, const struct message *m)
{
	const struct msg_site_ask *q = &m->site_ask;

	hop_ask(c, q->query,
		&(struct mx_question){
		    .how = (enum hop_how)q->how, .target = q->target, .port = q->port},
		site_done);
}

static void hosts_ask_handle(struct channel *c, const struct message *m)
{
	const struct msg_hosts_ask *q = &m->hosts_ask;

	hop_ask(c, q->query,
		&(struct mx_question){.how = (enum hop_how)q->how,
				      .target = q->target,
				      .port = q->port,
				      .addresses = true,
				      .tlsa = q->tlsa_wanted != 0},
		hosts_done);
}

static void path_ask_handle(struct channel *c, const struct message *m)
{
	const struct msg_path_ask *q = &m->path_ask;

	hop_ask(c, q->query,
		&(struct mx_question){.how = (enum hop_how)q->how,
				      .target = q->target,
				      .port = q->port,
				      .addresses = true,
				      .tlsa = true},
		path_done);
}

/* -- what a client is called ---------------------------------------------------------- */

static void name_done(void *arg, const char *name, bool failed)
{
	struct ask *ask = arg;

	ask->name = NULL;
	channel_send_name_is(ask->asker->channel,
			     &(struct msg_name_is){
				 .query = ask->query,
				 .verdict = (uint8_t)(failed ? HOP_TEMPORARY : HOP_FOUND),
				 .name = text_of(name),
			     });
	ask_free(ask);
}

static void name_ask_handle(struct channel *c, const struct message *m)
{
	const struct msg_name_ask *q = &m->name_ask;

	if (q->address.len != 16) {
		channel_end(c, "sent an address that is none");
		return;
	}
	struct ask *ask = ask_new(c, q->query);

	ask->name = client_name_start(daemon_of(c)->loop, resolver_of(c)->lookups,
				      (const uint8_t *)q->address.data,
				      ask->config->resolver_timeout, name_done, ask);
}

/* -- TXT records ------------------------------------------------------------------------- */

static void txt_done(void *arg, const struct txt_result *r)
{
	struct ask *ask = arg;
	struct bytes items = {0};
	uint32_t count = r->answer ? txt_put(&items, r->answer) : 0;

	ask->txt = NULL;
	channel_send_txt_is(ask->asker->channel,
			    &(struct msg_txt_is){
				.query = ask->query,
				.verdict = (uint8_t)r->verdict,
				.reason = text_of(r->why),
				.lifetime_s = r->lifetime_s,
				.total = (uint16_t)(r->answer ? r->answer->count : 0),
				.records = {count, {(const char *)items.data, bytes_len(&items)}},
			    });
	bytes_free(&items);
	ask_free(ask);
}

static void txt_ask_handle(struct channel *c, const struct message *m)
{
	struct ask *ask = ask_new(c, m->txt_ask.query);

	ask->txt = txt_start(daemon_of(c)->loop, resolver_of(c)->lookups, m->txt_ask.name,
			     ask->config->resolver_timeout, txt_done, ask);
}

static const struct serve serves[] = {
    {MSG_site_ask, PEER_QMGR, site_ask_handle},
    {MSG_hosts_ask, PEER_SMTP_CLIENT | PEER_FETCHER, hosts_ask_handle},
    {MSG_path_ask, PEER_QMGR, path_ask_handle},
    {MSG_name_ask, PEER_SMTPD | PEER_SUBMISSION, name_ask_handle},
    {MSG_txt_ask, PEER_FETCHER | PEER_LIMITS, txt_ask_handle},
    {MSG_NONE, 0, NULL},
};

/* -- the daemon ------------------------------------------------------------------------ */

static _Noreturn void resolver_give_up(struct daemon *d, const char *why)
{
	log_error(d->log, "%s", why);
	exit(EX_CONFIG);
}

/* Priming reads the trust anchor's file, and interfaces are listed by a socket that the jail
 * forbids. */
static void resolver_warm_up(struct daemon *d)
{
	struct resolver *self = mem_new(1, sizeof *self);
	const char *error = NULL;

	siphash_key_make(self->key);
	own_read(&self->own);
	self->lookups = lookups_new(d->loop, d->config, &error);
	if (!self->lookups)
		resolver_give_up(d, error);
	d->self = self;
}

static void resolver_start(struct daemon *d)
{
	(void)d;
}

static void resolver_reload(struct daemon *d)
{
	struct resolver *self = d->self;
	const char *error = NULL;

	if (!lookups_reload(self->lookups, d->config, &error))
		resolver_give_up(d, error);
}

static void resolver_peer(struct daemon *d, struct channel *c)
{
	struct asker *asker = mem_new(1, sizeof *asker);

	(void)d;
	asker->channel = c;
	TAILQ_INIT(&asker->asks);
	daemon_set_peer_state(c, asker);
}

static void resolver_gone(struct daemon *d, struct channel *c)
{
	struct asker *asker = daemon_peer_state(c);
	struct ask *ask;

	(void)d;
	if (!asker)
		return;
	daemon_set_peer_state(c, NULL);
	while ((ask = TAILQ_FIRST(&asker->asks)))
		ask_end(ask);
	free(asker);
}

static const struct daemon_face face = {
    .warm_up = resolver_warm_up,
    .start = resolver_start,
    .reload = resolver_reload,
    .peer = resolver_peer,
    .gone = resolver_gone,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
