/* SPDX-License-Identifier: ISC */
/* How a slot comes to a host: which there are, the connection, TLS, and what goes through it. */
#include "slot_private.h"

#include "mem.h"
#include "must.h"
#include "slot_results.h"
#include "slot_words.h"
#include "tls_plan.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { FEED_BLOCKS_A_TURN = 8 };

static bool slot_connect_host(struct slot *s);

/* No host is left to try. */
void slot_exhausted(struct slot *s)
{
	struct verdict v;
	char dsn[REPLY_DSN_BYTES];

	if (slot_relaxes(s)) {
		slot_connect(s);
		return;
	}
	enum failure_scope scope = slot_verdict(s, &v, dsn);

	slot_settle(s, &v, scope);
	slot_advance(s);
}

static enum dialog_tls slot_dialog_tls(const struct slot *s)
{
	if (s->job->how == HOP_SMTPS)
		return DIALOG_TLS_DONE;
	if (s->need != NEED_NOTHING)
		return DIALOG_TLS_NEEDED;
	return s->clear || !s->worker->tls ? DIALOG_CLEAR : DIALOG_TLS_MAY;
}

static void slot_greet(struct slot *s)
{
	s->state = SLOT_OPEN;
	dialog_start(&s->dialog, s->config, s->job->how, slot_dialog_tls(s), stream_out(s->stream));
	/* That of the job is in the same configuration, which the connection holds. */
	const struct config_source *source = source_towards(s->job->source, s->attempt.host);

	if (source)
		s->dialog.helo = source->helo;
	/* Who takes over the mail for good passes it on to nobody. */
	s->dialog.requires = !hop_is_lmtp(s->job->how) && job_requires_tls(s->job, s->attempt.host);
	s->dialog.login = s->route->login.len > 0;
	s->login.tried = false;
	s->asked = loop_now(slot_loop(s));
	s->round_trip.us = s->spacing.us = INT64_MAX;
	s->behind = false;
	slot_set_deadline(s, dialog_patience(&s->dialog));
}

static void slot_connected(void *owner)
{
	struct slot *s = owner;

	failures_forget(s->worker->failures, s->attempt.host, s->job->source);
	if (s->job->how == HOP_SMTPS)
		slot_secure(s);
	else
		slot_greet(s);
}

/* There is no TLS with this host. */
void slot_tls_failed(struct slot *s, unsigned fault, const char *why)
{
	char text[REPLY_TEXT_MAX];

	slot_sts(s, sts_verdict_of(fault == FAULT_NONE ? FAULT_HANDSHAKE : fault));
	tls_fault_said(fault, why, text, sizeof text);
	slot_count_failed(s, fault, why);
	if (s->need == NEED_NOTHING) {
		slot_log_tls(s, text, "sent without TLS");
		slot_drop_connection(s);
		s->clear = true;
		if (!slot_connect_host(s))
			slot_try_next(s);
		return;
	}
	/* RFC 3463 3.8, X.7.5: "necessary information such as key was not available or such
	 * information was invalid". RFC 8689 section 4.2.1: 5.7.10, "Encryption needed". */
	const struct reply trouble = words_make("4.7.5", text);

	if (fault != FAULT_HANDSHAKE && fault != FAULT_NONE &&
	    job_requires_tls(s->job, s->attempt.host))
		slot_tls_final(s, "5.7.10", text);
	else
		slot_tls_trouble(s, &trouble);
	slot_drop_connection(s);
	slot_try_next(s);
}

/* From STARTTLS to the end of the handshake: what goes wrong here is TLS's fault. */
bool slot_is_securing(const struct slot *s)
{
	return s->state == SLOT_SECURING ||
	       (s->state == SLOT_OPEN && dialog_asks_for_tls(&s->dialog));
}

/* The receiver has said that it is ready for the handshake. */
void slot_secure(struct slot *s)
{
	struct duration limit = s->config->timeout_handshake;
	struct tls_wish wish;

	tls_wish_make(&wish, (enum tls_need)s->need, s->route, s->job, s->attempt.host,
		      s->attempt.list->canonical);
	if (!s->worker->tls || !stream_connect_tls(s->stream, s->worker->tls, &wish, limit)) {
		bool bare = wish.certificate.len && s->worker->tls &&
			    !tls_client_has(s->worker->tls, wish.certificate);

		slot_tls_failed(s, FAULT_HANDSHAKE,
				bare ? "our certificate for it is not there" : "OpenSSL refuses");
		return;
	}
	s->state = SLOT_SECURING;
	if (tls_wish_names_domain(&wish, s->job))
		s->bound = mem_copy(s->job->target.data, s->job->target.len);
	slot_set_deadline(s, (struct duration){limit.us + SECONDS(1).us});
}

static void slot_secured(void *owner)
{
	struct slot *s = owner;

	const struct tls_facts *facts = stream_tls(s->stream);

	slot_sts(s, s->need == NEED_CHAIN ? STS_FITS : sts_verdict_of(facts->noted));
	if (s->job->how == HOP_SMTPS) {
		slot_greet(s);
		s->dialog.proved = facts->proof != PROOF_NONE;
		return;
	}
	s->state = SLOT_OPEN;
	s->dialog.proved = stream_tls(s->stream)->proof != PROOF_NONE;
	dialog_secured(&s->dialog);
	slot_step_done(s);
}

static void slot_ended(void *owner, int error)
{
	struct slot *s = owner;
	const char *tls = stream_tls_why(s->stream);
	const char *why = tls ? tls : error ? strerror(error) : "closed by the receiver";

	if (s->state == SLOT_CONNECTING) {
		slot_unreachable(s, why);
		slot_drop_connection(s);
		slot_try_next(s);
		return;
	}
	/* In TLS 1.3 the receiver looks at our certificate when for us all is done already. */
	if (slot_is_securing(s) || (tls && s->dialog.secured && !s->dialog.up))
		slot_tls_failed(s, stream_tls_fault(s->stream), why);
	else
		slot_follow(s, dialog_ended(&s->dialog, why));
}

static size_t slot_input(void *owner, const uint8_t *data, size_t len)
{
	struct slot *s = owner;
	struct stream *stream = s->stream;
	size_t used = 0;

	while (used < len) {
		size_t n = 0, backlog = stream_backlog(stream);
		enum dialog_says says = dialog_input(&s->dialog, data + used, len - used, &n);

		used += n;
		/* The time is for a whole reply: a piece of one, now and then, gets no more of it,
		 * nor while what we sent is not taken. */
		if (says == DIALOG_WAIT && (!n || !s->dialog.reader.whole) &&
		    stream_backlog(stream) <= backlog)
			break;
		if (!s->dialog.jobs)
			slot_clock(s);
		slot_follow(s, says);
		if (s->stream != stream || says == DIALOG_SECURE)
			return len;
		if (says == DIALOG_WAIT)
			break;
	}
	return used;
}

/* The next block of a body in a file goes into the emptied buffer. */
void slot_feed(struct slot *s)
{
	uint64_t at, wanted = dialog_wants_body(&s->dialog, &at);
	char *block = s->worker->block;

	if (!wanted)
		return;
	ssize_t n = pread(s->job->fd, block, wanted < BODY_BLOCK_BYTES ? wanted : BODY_BLOCK_BYTES,
			  (off_t)at);

	slot_follow(s, dialog_body(&s->dialog, (struct text){block, n > 0 ? (size_t)n : 0}));
}

/* A receiver that takes a large body as fast as it is read must not stop the others: a share a
 * turn. */
static bool slot_may_feed(struct slot *s)
{
	struct monotime now = loop_now(slot_loop(s));

	if (s->feeding_turn.us != now.us) {
		s->feeding_turn = now;
		s->fed_blocks = 0;
	}
	if (s->fed_blocks++ < FEED_BLOCKS_A_TURN)
		return true;
	s->deadline = s->armed = now;
	timer_set(&s->timer, SECONDS(0));
	return false;
}

static void slot_flushed(void *owner)
{
	struct slot *s = owner;

	if (s->state != SLOT_OPEN || !s->dialog.unflushed)
		return;
	dialog_flushed(&s->dialog);
	if (!s->dialog.feeding)
		slot_set_deadline(s, dialog_patience(&s->dialog));
	else if (slot_may_feed(s))
		slot_feed(s);
}

static const struct stream_face face = {
    .input = slot_input,
    .ended = slot_ended,
    .connected = slot_connected,
    .flushed = slot_flushed,
    .secured = slot_secured,
};

/* False: not to this host. */
static bool slot_connect_host(struct slot *s)
{
	enum sts_verdict verdict;
	const char *why;
	bool final;

	s->need = (uint8_t)tls_need_of(s->job, s->attempt.host, &why, &verdict, &final);
	/* Once more in the clear: what it came to stands. */
	if (!s->clear) {
		s->sts = (uint8_t)verdict;
		s->sts_said = false;
	}
	s->sts_mode = sts_mode_of(s->job);
	if (s->need == NEED_IMPOSSIBLE) {
		char text[REPLY_TEXT_MAX];

		tls_need_said(s->attempt.host, why, text, sizeof text);
		const struct reply trouble = words_make("4.7.5", text);

		if (final)
			slot_tls_final(s, "5.7.10", why);
		else
			slot_tls_trouble(s, &trouble);
		slot_count_impossible(s, why);
		return false;
	}
	bool unbound;

	if (!s->attempt.host->port)
		worker_ask_socket(s->worker, s->attempt.host->name);
	else
		s->stream =
		    connect_host(slot_loop(s), s->attempt.host, s->job->source, &face, s, &unbound);
	if (!s->stream && s->attempt.host->port) {
		if (unbound)
			slot_unbound(s, strerror(errno));
		else
			slot_unreachable(s, strerror(errno));
		return false;
	}
	s->state = SLOT_CONNECTING;
	s->config = config_keep(s->job->config);
	s->route = s->job->route;
	s->own = s->job->own ? policy_row_keep(s->job->own) : NULL;
	s->hop = mem_copy(s->job->hop.data, s->job->hop.len);
	s->hop_len = s->job->hop.len;
	s->relaxed = s->job->relaxed;
	slot_set_deadline(s, s->config->timeout_connect);
	return true;
}

bool slot_awaits_socket(const struct slot *s, struct text path)
{
	return s->state == SLOT_CONNECTING && !s->stream && s->attempt.host &&
	       text_equal(s->attempt.host->name, path);
}

void slot_socket(struct slot *s, int fd, int error)
{
	if (!error) {
		s->stream = stream_new(slot_loop(s), fd, &face, s);
		slot_connected(s);
		slot_step_done(s);
		return;
	}
	close(fd);
	slot_unreachable(s, strerror(error));
	slot_drop_connection(s);
	slot_try_next(s);
}

void slot_try_next(struct slot *s)
{
	must(!s->stream && s->job);
	while (attempt_next(&s->attempt, s->worker->failures, s->job->source,
			    loop_now(slot_loop(s)))) {
		s->clear = false;
		if (slot_connect_host(s))
			return;
	}
	slot_exhausted(s);
}

/* LIST is ours. */
void slot_hosts(void *arg, struct host_list *list)
{
	struct slot *s = arg;

	s->state = SLOT_EMPTY;
	if (list->verdict == HOP_FOUND && list->count) {
		attempt_begin(&s->attempt, list);
		slot_try_next(s);
		return;
	}
	struct verdict v = {list->verdict == HOP_PERMANENT ? OUTCOME_FAILED : OUTCOME_DEFERRED,
			    list->code, list->dsn, list->reason};

	if (!list->dsn[0])
		v.dsn = v.kind == OUTCOME_FAILED ? "5.4.4" : "4.4.3";
	if (!list->reason.len)
		v.reply = (struct text)TEXT("no host was found");
	attempt_end(&s->attempt);
	slot_settle(s, &v, SCOPE_DOMAIN);
	host_list_drop(&list);
	slot_advance(s);
}

void slot_connect(struct slot *s)
{
	const struct job *job = s->job;

	if (job->how == HOP_LOCAL) {
		const struct verdict v = {OUTCOME_DEFERRED, 0, "4.3.5",
					  TEXT("smtp-client reaches no mailboxes")};

		attempt_end(&s->attempt);
		slot_settle(s, &v, SCOPE_SITE);
		slot_advance(s);
		return;
	}
	if (job->source_name.len && !job->source) {
		const struct verdict v = {
		    OUTCOME_DEFERRED, 0, "4.3.5",
		    TEXT("its source is not in the configuration of this process")};

		attempt_end(&s->attempt);
		slot_settle(s, &v, SCOPE_SITE);
		slot_advance(s);
		return;
	}
	bool tlsa = policy_asks_tlsa(route_policy(job->route));

	s->sts = STS_FREE;

	s->state = SLOT_ASKING;
	struct host_list *list =
	    hosts_ask(s->worker->hosts, &(struct hop_key){job->how, job->target, job->port, tlsa},
		      &s->waiter);

	if (list)
		slot_hosts(s, list);
}
