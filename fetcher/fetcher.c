/* SPDX-License-Identifier: ISC */
/*
 * fetcher: makes requests over HTTPS for processes that have no network of
 * their own, and only those that the configuration names (permission.c); and
 * finds the MTA-STS policies of recipient domains for qmgr (policies.h). It asks the
 * resolver for addresses and TXT records, and touches nothing but its
 * connections and the folder with the policies.
 */
#include "daemon.h"
#include "mem.h"
#include "permission.h"
#include "route_login.h"
#include "resolve.h"
#include "policies.h"
#include "transfer.h"
#include "url.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sysexits.h>
#include <unistd.h>

/* libcurl's own: TCP to servers. And the file of policies, in a folder of its own. */
static const struct daemon_row row = {
    .name = "fetcher",
    .kind = PEER_FETCHER,
    .user = "veredus-fetcher",
    .root = JAIL_FETCHER,
    .capabilities = "",
    .system_calls = "socket connect getsockopt setsockopt getsockname getpeername poll "
		    "pread64 openat renameat renameat2 fdatasync",
    .peers = PEER_CHECKER | PEER_RESOLVER | PEER_QMGR | PEER_LIMITS,
};

enum {
	ASKS_MAX = 256, /* of a peer under way; above it the answer is FETCH_BUSY */
	BACKLOG_MAX = 8 * 1024 * 1024,
};

struct ask {
	TAILQ_ENTRY(ask) line;
	struct fetcher *self;
	struct channel *asker;
	struct transfer *transfer;
	struct timer deadline; /* of the lookup */
	uint64_t query, lookup;
	struct bytes body, fields;
	uint32_t field_count;
	struct monotime until;
	size_t answer_max;
	uint8_t purpose, method;
	char url[URL_MAX_BYTES + 1];
};

struct fetcher {
	struct daemon *d;
	/* Each purpose has connections of its own: servers that strangers name for reports may
	 * hang, and what is open was checked against the authorities of its purpose. */
	struct transfers *transfers[FETCH_PURPOSES];
	struct policies *policies;
	struct channel *resolver, *limits;
	TAILQ_HEAD(, ask) asks;
	uint64_t lookups;
	X509_STORE *authorities[FETCH_PURPOSES];
	char *authority_files[FETCH_PURPOSES]; /* as they were read */
};

static struct fetcher *fetcher_of(const struct channel *c)
{
	return daemon_of(c)->self;
}

/* -- an ask's life ------------------------------------------------------------------------ */

static void ask_free(struct ask *ask)
{
	struct fetcher *self = ask->self;

	transfer_cancel(&ask->transfer);
	timer_clear(&ask->deadline);
	TAILQ_REMOVE(&self->asks, ask, line);
	if (ask->body.data)
		explicit_bzero(ask->body.data, ask->body.size);
	if (ask->fields.data)
		explicit_bzero(ask->fields.data, ask->fields.size);
	bytes_free(&ask->body);
	bytes_free(&ask->fields);
	free(ask);
}

static struct text cut(struct text t, size_t most)
{
	return (struct text){t.data, t.len < most ? t.len : most};
}

static void say(struct channel *c, uint64_t query, const struct transfer_result *r)
{
	channel_send_fetched(c, &(struct msg_fetched){
				    .query = query,
				    .outcome = (uint8_t)r->outcome,
				    .status = r->status,
				    .reason = cut(r->reason, TRANSFER_REASON_MAX),
				    .type = cut(r->type, 128),
				    .body = r->body,
				});
	if (channel_backlog(c) > BACKLOG_MAX)
		channel_end(c, "does not read its answers");
}

static void say_failed(struct channel *c, uint64_t query, enum fetch_outcome outcome,
		       struct text reason)
{
	say(c, query, &(struct transfer_result){.outcome = outcome, .reason = reason});
}

static void ask_fail(struct ask *ask, enum fetch_outcome outcome, struct text reason)
{
	say_failed(ask->asker, ask->query, outcome, reason);
	ask_free(ask);
}

static void transfer_done(void *arg, const struct transfer_result *r)
{
	struct ask *ask = arg;

	ask->transfer = NULL;
	say(ask->asker, ask->query, r);
	ask_free(ask);
}

/* -- addresses ------------------------------------------------------------------------------ */

static void lookup_late(void *arg)
{
	ask_fail(arg, FETCH_TIMEOUT, text_of("its address was not found in time"));
}

static struct ask *ask_of_lookup(struct fetcher *self, uint64_t lookup)
{
	struct ask *ask;

	TAILQ_FOREACH(ask, &self->asks, line)
	if (ask->lookup == lookup && !ask->transfer)
		return ask;
	return NULL;
}

static void transfer_begin(struct ask *ask, struct text resolve)
{
	struct fetcher *self = ask->self;
	struct duration left = monotime_since(ask->until, loop_now(self->d->loop));
	struct transfer_request request = {
	    .url = text_of(ask->url),
	    .body = bytes_text(&ask->body),
	    .fields = {ask->field_count, bytes_text(&ask->fields)},
	    .resolve = resolve,
	    .method = (enum fetch_method)ask->method,
	    .answer_max = ask->answer_max,
	    .limit = left.us > 1000 ? left : MILLISECONDS(1),
	    .authorities = self->authorities[ask->purpose],
	};

	timer_clear(&ask->deadline);
	ask->transfer = transfer_start(self->transfers[ask->purpose], &request, transfer_done, ask);
	if (!ask->transfer)
		ask_fail(ask, FETCH_REFUSED, text_of("no request can be made of it"));
}

static void on_hosts(struct channel *c, const struct message *m)
{
	const struct msg_hosts_are *answer = &m->hosts_are;
	struct ask *ask = ask_of_lookup(fetcher_of(c), answer->query);
	char resolve[RESOLVE_BYTES];

	if (!ask) {
		/* To whom else it was, if not, has given up meanwhile. */
		(void)policies_hosts(fetcher_of(c)->policies, answer);
		return;
	}
	if (answer->verdict != HOP_FOUND ||
	    !resolve_make(text_of(ask->url), answer->hosts,
			  fetch_goes_inside(daemon_of(c)->config, (enum fetch_purpose)ask->purpose),
			  resolve))
		ask_fail(ask, FETCH_NO_HOST,
			 answer->reason.len ? answer->reason
					    : text_of("it has no address that may be used"));
	else
		transfer_begin(ask, text_of(resolve));
}

/* -- askers ------------------------------------------------------------------------------------ */

static bool fetch_is_fine(const struct msg_fetch *m)
{
	return m->purpose < FETCH_PURPOSES && m->answer_max <= TRANSFER_BODY_MAX && m->limit_ms &&
	       m->limit_ms <= TRANSFER_LIMIT_MAX_MS && m->url.len <= URL_MAX_BYTES;
}

static struct ask *ask_new(struct fetcher *self, struct channel *c, const struct msg_fetch *m)
{
	struct ask *ask = mem_new(1, sizeof *ask);

	ask->self = self;
	ask->asker = c;
	ask->query = m->query;
	ask->lookup = ++self->lookups;
	ask->purpose = m->purpose;
	ask->method = m->method;
	ask->answer_max = m->answer_max;
	ask->until = monotime_add(loop_now(self->d->loop), MILLISECONDS(m->limit_ms));
	text_copy(ask->url, sizeof ask->url, m->url);
	bytes_add(&ask->body, m->body.data, m->body.len);
	bytes_add(&ask->fields, m->fields.items.data, m->fields.items.len);
	ask->field_count = m->fields.count;
	timer_init(&ask->deadline, self->d->loop, lookup_late, ask);
	timer_set(&ask->deadline, MILLISECONDS(m->limit_ms));
	TAILQ_INSERT_TAIL(&self->asks, ask, line);
	return ask;
}

static size_t asks_of(const struct fetcher *self, const struct channel *c)
{
	const struct ask *ask;
	size_t n = 0;

	TAILQ_FOREACH(ask, &self->asks, line)
	n += ask->asker == c;
	return n;
}

static void on_fetch(struct channel *c, const struct message *m)
{
	struct fetcher *self = fetcher_of(c);
	struct url url;

	if (!fetch_is_fine(&m->fetch)) {
		channel_end(c, "made a request out of its bounds");
		return;
	}
	/* Across a reload an asker may be behind. */
	if (!fetch_is_allowed(daemon_of(c)->config, channel_peer(c), &m->fetch) ||
	    url_read(m->fetch.url, &url)) {
		say_failed(c, m->fetch.query, FETCH_REFUSED, text_of("not configured"));
	} else if (asks_of(self, c) >= ASKS_MAX) {
		say_failed(c, m->fetch.query, FETCH_BUSY, text_of("too many requests at once"));
	} else if (!self->resolver) {
		say_failed(c, m->fetch.query, FETCH_NO_HOST, text_of("there is no resolver now"));
	} else {
		struct ask *ask = ask_new(self, c, &m->fetch);

		channel_send_hosts_ask(
		    self->resolver,
		    &(struct msg_hosts_ask){ask->lookup, HOP_HOST, url.host, url.port, 0});
	}
}

/* -- policies ------------------------------------------------------------------------------------
 */

static void on_txt(struct channel *c, const struct message *m)
{
	policies_txt(fetcher_of(c)->policies, &m->txt_is);
}

static void on_sts(struct channel *c, const struct message *m)
{
	policies_ask(fetcher_of(c)->policies, c, &m->sts_ask);
}

static const struct serve serves[] = {
    {MSG_fetch, PEER_CHECKER | PEER_LIMITS, on_fetch},
    {MSG_hosts_are, PEER_RESOLVER, on_hosts},
    {MSG_txt_is, PEER_RESOLVER, on_txt},
    {MSG_sts_ask, PEER_QMGR, on_sts},
    {MSG_NONE, 0, NULL},
};

/* -- the daemon -------------------------------------------------------------------------------- */

static void fetcher_peer(struct daemon *d, struct channel *c)
{
	struct fetcher *self = d->self;

	if (channel_peer(c) == PEER_RESOLVER) {
		self->resolver = c;
		policies_set_resolver(self->policies, c);
	} else if (channel_peer(c) == PEER_LIMITS) {
		self->limits = c;
		policies_set_limits(self->policies, c);
	}
}

static void fetcher_gone(struct daemon *d, struct channel *c)
{
	struct fetcher *self = d->self;
	bool resolver = channel_peer(c) == PEER_RESOLVER;

	policies_asker_gone(self->policies, c);
	if (self->limits == c) {
		self->limits = NULL;
		policies_set_limits(self->policies, NULL);
	}
	if (resolver && self->resolver == c) {
		self->resolver = NULL;
		policies_set_resolver(self->policies, NULL);
	}
	for (struct ask *ask = TAILQ_FIRST(&self->asks), *next; ask; ask = next) {
		next = TAILQ_NEXT(ask, line);
		if (ask->asker == c)
			ask_free(ask);
		else if (resolver && !ask->transfer)
			ask_fail(ask, FETCH_NO_HOST, text_of("there is no resolver now"));
	}
}

/* A store without anybody: every handshake fails, and the log said why. */
static void authorities_read(struct fetcher *self, enum fetch_purpose purpose)
{
	const struct config *config = self->d->config;
	struct text name = fetch_authorities(config, purpose);
	const bool used[FETCH_PURPOSES] = {
	    [FETCH_INTROSPECTION] = config->auth_introspection.len > 0,
	    [FETCH_TOKEN] = route_logins_by_token(config),
	    [FETCH_TLS_REPORT] = config->tlsrpt_contact.len > 0,
	};
	char *path = mem_copy(name.data, name.len);

	self->authorities[purpose] = X509_STORE_new();
	if (!self->authorities[purpose] ||
	    (X509_STORE_load_file(self->authorities[purpose], path) != 1 && used[purpose]))
		log_warning(self->d->log,
			    "%s: no certificates can be read there; no server is trusted", path);
	self->authority_files[purpose] = path;
}

static void fetcher_warm_up(struct daemon *d)
{
	struct fetcher *self = mem_new(1, sizeof *self);

	d->self = self;
	self->d = d;
	TAILQ_INIT(&self->asks);
	self->policies = policies_new(d, &self->lookups);
	bool fine = self->policies != NULL;

	for (unsigned i = 0; fine && i < FETCH_PURPOSES; i++) {
		self->transfers[i] = transfers_new(d->loop, TRANSFER_CONNECTIONS);
		fine = self->transfers[i] != NULL;
	}
	if (!fine) {
		log_error(d->log, "libcurl cannot start");
		exit(EX_SOFTWARE);
	}
	for (unsigned i = 0; i < FETCH_PURPOSES; i++)
		authorities_read(self, (enum fetch_purpose)i);
}

static void fetcher_start(struct daemon *d)
{
	struct fetcher *self = d->self;

	policies_open(self->policies, ".");
}

static void fetcher_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	struct fetcher *self = d->self;

	if (m->role == HANDLE_TLS_AUTHORITIES)
		policies_trust(self->policies, fd);
	else
		close(fd);
}

static void fetcher_drain(struct daemon *d, struct duration limit)
{
	struct fetcher *self = d->self;

	(void)limit;
	policies_save(self->policies);
	daemon_drained(d, 0);
}

/* Other authorities are another fetcher: the jail has no files. Master starts it. */
static void fetcher_reload(struct daemon *d)
{
	const struct fetcher *self = d->self;

	for (unsigned i = 0; i < FETCH_PURPOSES; i++)
		if (!text_equals(fetch_authorities(d->config, (enum fetch_purpose)i),
				 self->authority_files[i]))
			exit(EX_OK);
}

static const struct daemon_face face = {
    .warm_up = fetcher_warm_up,
    .start = fetcher_start,
    .reload = fetcher_reload,
    .handle = fetcher_handle,
    .drain = fetcher_drain,
    .peer = fetcher_peer,
    .gone = fetcher_gone,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
