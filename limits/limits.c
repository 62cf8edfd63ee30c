/* SPDX-License-Identifier: ISC */
/*
 * limits: counts that hold across workers. Connections per client live in
 * memory, since they do not outlive their workers; a client_open above the
 * limit is answered with a refusal, is not counted and needs no client_close.
 * Messages and recipients per sender are kept on disk as well (ledger.h), and
 * so are the logins that look taken over (takeover.h) and what became of TLS
 * with receivers (tls_reports.h).
 */
#include "counter.h"
#include "daemon.h"
#include "ledger.h"
#include "mem.h"
#include "must.h"
#include "siphash.h"
#include "takeover.h"
#include "tls_reports.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const struct daemon_row row = {
    .name = "limits",
    .kind = PEER_LIMITS,
    .user = "veredus-limits",
    .root = JAIL_LIMITS,
    .capabilities = "",
    .system_calls = "openat renameat renameat2 fdatasync",
    .peers = PEER_SMTPD | PEER_SUBMISSION | PEER_CHECKER | PEER_QMGR | PEER_SMTP_CLIENT |
	     PEER_RESOLVER | PEER_FETCHER,
};

enum { WRITE_EVERY_S = 1 };

struct limits {
	struct daemon *d;
	struct counter *clients;
	struct ledger *ledger; /* NULL before start */
	struct takeover *takeover;
	struct tls_reports *tls_reports;
	struct timer write;
};

static struct limits *limits_of(struct daemon *d);

static void client_open_handle(struct channel *c, const struct message *m)
{
	const struct msg_client_open *ask = &m->client_open;
	const struct config *config = daemon_of(c)->config;
	uint64_t limit = config->limit_per_client;
	uint32_t count = 0;

	if (ask->address.len != 16) {
		channel_end(c, "sent an address that is none");
		return;
	}
	enum counter_verdict verdict =
	    holder_open(daemon_peer_state(c), ask->session, (const uint8_t *)ask->address.data,
			limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX, &count);

	if (verdict == COUNTER_BROKEN) {
		channel_end(c, "opened a session twice, or too many");
		return;
	}
	channel_send_client_verdict(c, &(struct msg_client_verdict){
					   .session = ask->session,
					   .allowed = verdict == COUNTER_TAKEN,
					   .count = count,
				       });
}

static void client_close_handle(struct channel *c, const struct message *m)
{
	/* One that was refused may be closed as well: nothing is counted for it. */
	(void)holder_close(daemon_peer_state(c), m->client_close.session);
}

/* -- messages and recipients ---------------------------------------------------------- */

/* A sender that a message counts for. */
struct sender {
	enum rate_who kind;
	struct text name;
	const struct config_rate *rule; /* NULL: there is none */
};

/* The login, and the client's network: IPv4 address or IPv6 /64. */
static size_t senders_of(const struct config *config, const struct msg_count_ask *ask,
			 char network[16], struct sender to[2])
{
	size_t count = 0;
	enum rate_who kind = ask->trusted || ask->login.len ? RATE_NETWORK : RATE_STRANGER;

	if (ask->login.len)
		to[count++] = (struct sender){RATE_LOGIN, ask->login, config->rate_of[RATE_LOGIN]};
	if (ask->address.len == 16) {
		memcpy(network, ask->address.data, 16);
		if (!host_address_is_ipv4((const uint8_t *)network))
			memset(network + 8, 0, 8);
		to[count++] = (struct sender){kind, {network, 16}, config->rate_of[kind]};
	}
	return count;
}

static void say_hit(char *to, size_t size, const struct tally_hit *hit)
{
	static const char *const words[RATE_PERIODS] = {"a minute", "an hour", "a day"};

	snprintf(to, size, "more than %llu %s %s from this %s", (unsigned long long)hit->rate.count,
		 hit->recipients ? "recipients" : "messages", words[hit->rate.period],
		 text_equals(hit->rule->label, "login") ? "login" : "network");
}

static void count_ask_handle(struct channel *c, const struct message *m)
{
	const struct msg_count_ask *ask = &m->count_ask;
	struct daemon *d = daemon_of(c);
	struct limits *self = limits_of(d);
	struct tallies *tallies = ledger_tallies(self->ledger);
	struct sender senders[2];
	struct tally_hit hit, worst = {0};
	char network[16], reason[160] = "";
	int64_t now = loop_wall(d->loop).us / 1000000;
	size_t count = senders_of(d->config, ask, network, senders);

	for (size_t i = 0; i < count; i++) {
		if (!senders[i].rule || !tally_passes(tallies, senders[i].kind, senders[i].name,
						      senders[i].rule, ask->recipients, now, &hit))
			continue;
		if (!worst.rule || hit.rule->action == ABOVE_REFUSE)
			worst = hit;
		if (senders[i].kind == RATE_LOGIN)
			takeover_limited(self->takeover, ask->login, ask->address);
	}
	uint8_t verdict = worst.rule ? (uint8_t)(COUNT_DEFER + worst.rule->action) : COUNT_FINE;

	if (worst.rule)
		say_hit(reason, sizeof reason, &worst);
	/* What is not taken is not counted: who tries again and again waits no longer for it. */
	for (size_t i = 0; i < count && (verdict == COUNT_FINE || verdict == COUNT_HOLD); i++)
		if (senders[i].rule)
			tally_count(tallies, senders[i].kind, senders[i].name, ask->recipients,
				    now);
	if (!timer_is_set(&self->write))
		timer_set(&self->write, SECONDS(WRITE_EVERY_S));
	channel_send_count_is(c, &(struct msg_count_is){ask->query, verdict, text_of(reason)});
}

/* -- logins that look taken over -------------------------------------------------------- */

static void note_handle(struct channel *c, const struct message *m)
{
	takeover_note(limits_of(daemon_of(c))->takeover, &m->login_note);
}

static void failures_handle(struct channel *c, const struct message *m)
{
	takeover_failures(limits_of(daemon_of(c))->takeover, &m->failures);
}

static void settle_handle(struct channel *c, const struct message *m)
{
	takeover_settle(limits_of(daemon_of(c))->takeover, c, &m->login_settle);
}

static void handed_handle(struct channel *c, const struct message *m)
{
	struct limits *self = limits_of(daemon_of(c));

	if (!tls_reports_handed(self->tls_reports, &m->handed))
		takeover_handed(self->takeover, &m->handed);
}

/* -- reports on TLS ----------------------------------------------------------------------- */

static void results_handle(struct channel *c, const struct message *m)
{
	if (!tls_reports_results(limits_of(daemon_of(c))->tls_reports, &m->tls_results))
		channel_end(c, "told of TLS what can't be");
}

static void txt_handle(struct channel *c, const struct message *m)
{
	tls_reports_txt(limits_of(daemon_of(c))->tls_reports, &m->txt_is);
}

static void fetched_handle(struct channel *c, const struct message *m)
{
	tls_reports_fetched(limits_of(daemon_of(c))->tls_reports, &m->fetched);
}

static void counts_handle(struct channel *c, const struct message *m)
{
	tls_reports_look(limits_of(daemon_of(c))->tls_reports, c, &m->tls_counts_look);
}

static const struct serve serves[] = {
    {MSG_login_note, PEER_SMTPD | PEER_SUBMISSION, note_handle},
    {MSG_failures, PEER_QMGR, failures_handle},
    {MSG_login_settle, PEER_QMGR, settle_handle},
    {MSG_handed, PEER_SUBMISSION, handed_handle},
    {MSG_tls_results, PEER_SMTP_CLIENT | PEER_FETCHER, results_handle},
    {MSG_tls_counts_look, PEER_QMGR, counts_handle},
    {MSG_txt_is, PEER_RESOLVER, txt_handle},
    {MSG_fetched, PEER_FETCHER, fetched_handle},
    {MSG_count_ask, PEER_SMTPD | PEER_SUBMISSION, count_ask_handle},
    {MSG_client_open, PEER_SMTPD | PEER_SUBMISSION, client_open_handle},
    {MSG_client_close, PEER_SMTPD | PEER_SUBMISSION, client_close_handle},
    {MSG_NONE, 0, NULL},
};

static void write_fired(void *arg)
{
	struct limits *self = arg;

	ledger_write(self->ledger);
}

/* Neighbours are announced in the jail and before the start, so that the first of them makes it. */
static struct limits *limits_of(struct daemon *d)
{
	if (!d->self) {
		struct limits *self = mem_new(1, sizeof *self);
		uint8_t key[SIPHASH_KEY_BYTES];

		siphash_key_make(key);
		self->d = d;
		self->clients = counter_new(key);
		self->takeover = takeover_open(d, ".");
		self->tls_reports = tls_reports_open(d, ".");
		timer_init(&self->write, d->loop, write_fired, self);
		d->self = self;
	}
	return d->self;
}

/* jansson would open /dev/urandom at its first object, in the jail. */
static void limits_warm_up(struct daemon *d)
{
	size_t seed;

	(void)d;
	must(getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed);
	json_object_seed(seed | 1);
}

static void limits_start(struct daemon *d)
{
	limits_of(d)->ledger = ledger_open(".", loop_wall(d->loop).us / 1000000, d->log);
}

static void limits_drain(struct daemon *d, struct duration limit)
{
	(void)limit;
	ledger_write(limits_of(d)->ledger);
	takeover_write(limits_of(d)->takeover);
	tls_reports_write(limits_of(d)->tls_reports);
	daemon_drained(d, 0);
}

static void limits_peer(struct daemon *d, struct channel *c)
{
	if (channel_peer(c) & (PEER_SMTPD | PEER_SUBMISSION))
		daemon_set_peer_state(c, holder_new(limits_of(d)->clients));
	if (channel_peer(c) & (PEER_SMTPD | PEER_SUBMISSION | PEER_CHECKER | PEER_QMGR))
		takeover_peer(limits_of(d)->takeover, c);
	tls_reports_peer(limits_of(d)->tls_reports, c);
}

static void limits_gone(struct daemon *d, struct channel *c)
{
	struct holder *holder = daemon_peer_state(c);

	takeover_gone(limits_of(d)->takeover, c);
	tls_reports_gone(limits_of(d)->tls_reports, c);
	daemon_set_peer_state(c, NULL);
	holder_free(&holder);
}

static const struct daemon_face face = {
    .warm_up = limits_warm_up,
    .start = limits_start,
    .peer = limits_peer,
    .gone = limits_gone,
    .drain = limits_drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
