/* SPDX-License-Identifier: ISC */
/* Probes. */
#include "probe.h"

#include "dialog.h"
#include "mem.h"
#include "route_login.h"
#include "tls_peer.h"
#include "tls_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	PROBES_MAX = 8,
	HOSTS_MAX = 16, /* addresses, as probe_is has it */
	HOST_S = 10,	/* for one of them */
	ALL_S = 45,	/* for all: less than the veredus command waits */
	OFFERS_BYTES = 2000,
};

struct probe {
	struct probe *next, **prev; /* of the worker */
	struct worker *worker;
	uint64_t query;
	struct job *job; /* of no message: where to, and under which policy */
	struct hosts_waiter waiter;
	struct attempt attempt;
	uint32_t at; /* of attempt.order: the one under way */
	const struct host *host;
	enum tls_need need;
	struct stream *stream;
	struct dialog dialog;
	bool open; /* the dialog runs */
	struct timer timer;
	struct monotime until, host_until, began;
	struct bytes heard; /* the present host's answer to EHLO */
	struct bytes rows;
	uint32_t count;
};

static struct loop *probe_loop(const struct probe *p)
{
	return p->worker->daemon->loop;
}

static void probe_free(struct probe *p)
{
	*p->prev = p->next;
	if (p->next)
		p->next->prev = p->prev;
	hosts_cancel(&p->waiter);
	attempt_end(&p->attempt);
	stream_free(&p->stream);
	timer_clear(&p->timer);
	bytes_free(&p->heard);
	bytes_free(&p->rows);
	job_free(&p->job);
	p->worker->probe_count--;
	free(p);
}

static void probe_tell(struct probe *p, const char *error)
{
	if (p->worker->qmgr)
		channel_send_probe_is(p->worker->qmgr,
				      &(struct msg_probe_is){
					  .query = p->query,
					  .error = text_of(error),
					  .hosts = {p->count, bytes_text(&p->rows)},
				      });
	probe_free(p);
}

static struct text cut(struct text t, size_t most)
{
	return (struct text){t.data, t.len < most ? t.len : most};
}

/* -- a host ------------------------------------------------------------------------------ */

static void probe_next(struct probe *p);

/* What came of the present host: a row, and the next one. */
static void host_done(struct probe *p, enum probe_result result, const char *why)
{
	const struct tls_facts *facts = p->stream ? stream_tls(p->stream) : NULL;
	struct tls_link *link = facts ? stream_tls_link(p->stream) : NULL;
	struct tls_peer peer = {0};
	char tls[TLS_SAID_BYTES] = "";
	struct duration took = monotime_since(loop_now(probe_loop(p)), p->began);

	if (facts)
		tls_facts_said(facts, tls);
	if (link)
		tls_link_peer(link, &peer);
	rec_probe_host_encode(
	    &p->rows, &(struct rec_probe_host){
			  .name = p->host->name,
			  .address = {(const char *)p->host->address, sizeof p->host->address},
			  .port = p->host->port,
			  .result = (uint8_t)result,
			  .why = cut(text_of(why), 512),
			  .tls = text_of(tls),
			  .subject = text_of(peer.subject),
			  .issuer = text_of(peer.issuer),
			  .names = text_of(peer.names),
			  .until = (uint64_t)peer.until,
			  .offers = bytes_text(&p->heard),
			  .took_us = (uint64_t)took.us,
		      });
	p->count++;
	p->at++;
	if (p->stream && p->open && (result == PROBE_FINE || p->dialog.declined))
		stream_finish(&p->stream, SECONDS(1), false);
	stream_free(&p->stream);
	p->open = false;
	probe_next(p);
}

static void host_tls_failed(struct probe *p, const char *why)
{
	char text[REPLY_TEXT_MAX];

	tls_fault_said(p->stream ? stream_tls_fault(p->stream) : FAULT_HANDSHAKE, why, text,
		       sizeof text);
	host_done(p, p->need == NEED_NOTHING ? PROBE_CLEAR : PROBE_TLS_FAILED, text);
}

static void host_secure(struct probe *p)
{
	struct tls_wish wish;

	tls_wish_make(&wish, p->need, p->job->route, p->job, p->host, p->attempt.list->canonical);
	if (!p->worker->tls ||
	    !stream_connect_tls(p->stream, p->worker->tls, &wish, SECONDS(HOST_S)))
		host_tls_failed(p, "TLS can't be begun");
}

/* Lines of EHLO's answer are gathered as they come; TLS begins anew. */
static void host_hears(void *arg, struct text line)
{
	struct probe *p = arg;
	char shown[256];

	if (bytes_len(&p->heard) + sizeof shown + 1 > OFFERS_BYTES)
		return;
	size_t n = text_printable(shown, sizeof shown, line);

	if (bytes_len(&p->heard))
		bytes_add(&p->heard, "\n", 1);
	bytes_add(&p->heard, shown, n);
}

/* A login is not tried: some relays count those, and an eye on a route changes nothing. */
static void host_ready(struct probe *p)
{
	const struct config_route *route = p->job->route;

	dialog_quit(&p->dialog);
	stream_wrote(p->stream);
	bool requires = !hop_is_lmtp(p->job->how) && job_requires_tls(p->job, p->host);

	if (p->dialog.declined)
		host_done(p, PROBE_CLEAR, dialog_trouble(&p->dialog)->text);
	else if (requires && !(p->dialog.offers.set & OFFERS_REQUIRETLS))
		host_done(p, PROBE_REFUSED,
			  "it does not offer REQUIRETLS: the mail comes back (5.7.30)");
	else if (!route->login.len)
		host_done(p, PROBE_FINE, "");
	else if (p->dialog.offers.mechanisms & route_login_mechanisms(route))
		host_done(p, PROBE_FINE, "the login was not tried");
	else
		host_done(p, PROBE_REFUSED, "it offers no login (AUTH) that the route may use");
}

static void host_follow(struct probe *p, enum dialog_says says)
{
	switch (says) {
	case DIALOG_SECURE:
		p->heard.start = p->heard.end = 0;
		host_secure(p);
		return;
	case DIALOG_READY:
		host_ready(p);
		return;
	case DIALOG_REFUSED:
	case DIALOG_OVER:
		host_done(p, p->dialog.lacks_tls ? PROBE_TLS_FAILED : PROBE_REFUSED,
			  dialog_trouble(&p->dialog)->text);
		return;
	case DIALOG_WAIT:
		if (stream_backlog(p->stream))
			stream_wrote(p->stream);
		return;
	case DIALOG_CONTENT:
	case DIALOG_SETTLED:
	case DIALOG_UNFIT:
	case DIALOG_LATER:
	case DIALOG_AGAIN:
	case DIALOG_STALE:
	case DIALOG_LOGIN:
	case DIALOG_CHALLENGE:
	case DIALOG_JUDGED:
		break;
	}
	host_done(p, PROBE_REFUSED, "it said what it was not asked for");
}

static void host_greet(struct probe *p)
{
	enum dialog_tls tls = p->job->how == HOP_SMTPS	? DIALOG_TLS_DONE
			      : p->need != NEED_NOTHING ? DIALOG_TLS_NEEDED
			      : p->worker->tls		? DIALOG_TLS_MAY
							: DIALOG_CLEAR;

	p->open = true;
	dialog_start(&p->dialog, p->job->config, p->job->how, tls, stream_out(p->stream));
	p->dialog.heard = host_hears;
	p->dialog.hearer = p;
	const struct config_source *source = source_towards(p->job->source, p->host);

	if (source)
		p->dialog.helo = source->helo;
}

static void on_connected(void *owner)
{
	struct probe *p = owner;

	if (p->job->how == HOP_SMTPS)
		host_secure(p);
	else
		host_greet(p);
}

static size_t on_input(void *owner, const uint8_t *data, size_t len)
{
	struct probe *p = owner;
	size_t used = 0;

	while (used < len) {
		size_t n = 0;
		enum dialog_says says = dialog_input(&p->dialog, data + used, len - used, &n);

		used += n;
		if (says == DIALOG_WAIT && !n)
			break;
		host_follow(p, says);
		/* The probe may be gone with its last host. */
		if (says != DIALOG_WAIT)
			return len;
	}
	return used;
}

static void on_secured(void *owner)
{
	struct probe *p = owner;
	bool proved = stream_tls(p->stream)->proof != PROOF_NONE;

	if (p->job->how == HOP_SMTPS) {
		host_greet(p);
		p->dialog.proved = proved;
		return;
	}
	p->dialog.proved = proved;
	dialog_secured(&p->dialog);
	stream_wrote(p->stream);
}

static void on_ended(void *owner, int error)
{
	struct probe *p = owner;
	const char *tls = stream_tls_why(p->stream);
	const char *why = tls ? tls : error ? strerror(error) : "closed by the receiver";

	if (!p->open && !tls)
		host_done(p, PROBE_UNREACHABLE, why);
	else if (tls || dialog_asks_for_tls(&p->dialog))
		host_tls_failed(p, why);
	else
		host_done(p, PROBE_REFUSED, why);
}

static const struct stream_face face = {
    .input = on_input,
    .ended = on_ended,
    .connected = on_connected,
    .secured = on_secured,
};

static void host_begin(struct probe *p)
{
	enum sts_verdict verdict;
	bool final;
	const char *why;
	bool unbound;

	p->began = loop_now(probe_loop(p));
	p->host_until = monotime_add(p->began, SECONDS(HOST_S));
	if (p->host_until.us > p->until.us)
		p->host_until = p->until;
	timer_set(&p->timer, monotime_since(p->host_until, p->began));
	p->heard.start = p->heard.end = 0;
	p->need = tls_need_of(p->job, p->host, &why, &verdict, &final);
	if (p->need == NEED_IMPOSSIBLE) {
		char text[REPLY_TEXT_MAX];

		tls_need_said(p->host, why, text, sizeof text);
		host_done(p, PROBE_TLS_FAILED, text);
		return;
	}
	const struct config_source *source = source_towards(p->job->source, p->host);

	if (source && !source_address(source, p->host).len) {
		host_done(p, PROBE_UNTRIED, "the source has no address of its kind");
		return;
	}
	p->stream = connect_host(probe_loop(p), p->host, p->job->source, &face, p, &unbound);
	if (!p->stream)
		host_done(p, PROBE_UNREACHABLE, strerror(errno));
}

/* -- all of them ----------------------------------------------------------------------------- */

static void probe_next(struct probe *p)
{
	const struct host_list *list = p->attempt.list;
	bool late = loop_now(probe_loop(p)).us >= p->until.us;

	if (p->at >= list->count || p->at >= HOSTS_MAX) {
		probe_tell(p, "");
		return;
	}
	p->host = &list->items[p->attempt.order[p->at]];
	if (late)
		host_done(p, PROBE_UNTRIED, "there was no time left");
	else
		host_begin(p);
}

static void probe_late(void *arg)
{
	struct probe *p = arg;

	if (p->host)
		host_done(p, p->open ? PROBE_REFUSED : PROBE_UNREACHABLE, "it took too long");
	else
		probe_tell(p, "the resolver does not answer");
}

/* LIST is ours. */
static void probe_hosts(void *arg, struct host_list *list)
{
	struct probe *p = arg;
	char why[256];

	if (list->verdict != HOP_FOUND || !list->count) {
		text_copy(why, sizeof why, list->reason);
		host_list_drop(&list);
		probe_tell(p, *why ? why : "no host was found");
		return;
	}
	attempt_begin(&p->attempt, list);
	probe_next(p);
}

/* A job of one recipient whom nothing is ever said of. */
static struct job *job_made_up(const struct worker *w, const struct msg_probe_ask *m)
{
	struct bytes item = {0};
	char address[300];

	snprintf(address, sizeof address, "postmaster@%.*s", (int)m->domain.len, m->domain.data);
	rec_job_recipient_encode(&item, &(struct rec_job_recipient){.address = text_of(address)});
	const struct msg_job made = {
	    .how = m->how,
	    .target = m->target,
	    .port = m->port,
	    .domain = m->domain,
	    .tls_row = m->tls_row,
	    .source = m->source,
	    .route = m->route,
	    .tls = m->tls,
	    .sts_mode = m->sts_mode,
	    .sts_max_age_s = m->sts_max_age_s,
	    .sts_id = m->sts_id,
	    .sts_mx = m->sts_mx,
	    .prelude = TEXT("\r\n"),
	    .recipients = {1, bytes_text(&item)},
	};
	struct job *job = job_new(&made, -1, false);

	bytes_free(&item);
	if (job)
		job_set_config(job, w->daemon->config);
	return job;
}

void probe_begin(struct worker *w, const struct msg_probe_ask *m)
{
	struct probe *p = mem_new(1, sizeof *p);

	p->worker = w;
	p->query = m->query;
	p->next = w->probes;
	p->prev = &w->probes;
	if (p->next)
		p->next->prev = &p->next;
	w->probes = p;
	p->waiter.answered = probe_hosts;
	p->waiter.arg = p;
	timer_init(&p->timer, w->daemon->loop, probe_late, p);
	p->until = monotime_add(loop_now(w->daemon->loop), SECONDS(ALL_S));
	timer_set(&p->timer, SECONDS(ALL_S));
	if (++w->probe_count > PROBES_MAX) {
		probe_tell(p, "too many are under way");
		return;
	}
	p->job = job_made_up(w, m);
	if (!p->job || !p->job->open || p->job->how == HOP_LMTP_UNIX || p->job->how == HOP_LOCAL ||
	    (p->job->source_name.len && !p->job->source)) {
		probe_tell(p, "smtp-client can't try that");
		return;
	}
	bool tlsa = policy_asks_tlsa(route_policy(p->job->route));
	struct host_list *list =
	    hosts_ask(w->hosts, &(struct hop_key){p->job->how, p->job->target, p->job->port, tlsa},
		      &p->waiter);

	if (list)
		probe_hosts(p, list);
}

void probes_end(struct worker *w)
{
	while (w->probes)
		probe_free(w->probes);
}
