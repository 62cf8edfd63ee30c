/* SPDX-License-Identifier: ISC */
/* Slots. */
#include "slot.h"

#include "mem.h"
#include "must.h"
#include "slot_login.h"
#include "slot_results.h"
#include "slot_words.h"
#include "tls_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	FEED_BLOCKS_A_TURN = 8,
	/* A receiver that asks for the content within this is answered with the next job's commands
	 * in the same breath, if that job is there by then: it is asked for earlier. One that is
	 * farther away leaves time for that, and keeps no job waiting. */
	NEAR_US = 5000,
};

static void slot_begin(struct slot *s);
static void slot_connect(struct slot *s);
static void slot_advance(struct slot *s);
static bool slot_connect_host(struct slot *s);
static void slot_secure(struct slot *s);

static struct loop *slot_loop(const struct slot *s)
{
	return s->worker->daemon->loop;
}

/* -- deadlines -------------------------------------------------------------------- */

void slot_set_deadline(struct slot *s, struct duration after)
{
	s->deadline = monotime_add(loop_now(slot_loop(s)), after);
	if (s->job && s->job_deadline.us && s->deadline.us > s->job_deadline.us &&
	    !(s->state == SLOT_OPEN && dialog_past_dot(&s->dialog)))
		s->deadline = s->job_deadline;
	s->backlog = s->stream ? stream_backlog(s->stream) : 0;
	if (timer_is_set(&s->timer) && s->armed.us <= s->deadline.us)
		return;
	s->armed = s->deadline;
	timer_set(&s->timer, monotime_since(s->deadline, loop_now(slot_loop(s))));
}

/* After a step of the dialog: what was appended leaves, and the next step has its time. */
void slot_step_done(struct slot *s)
{
	if (!s->stream || s->state == SLOT_CONNECTING || s->state == SLOT_SECURING)
		return;
	if (stream_backlog(s->stream))
		stream_wrote(s->stream);
	slot_set_deadline(s, dialog_patience(&s->dialog));
}

/* -- ends -------------------------------------------------------------------------- */

static void slot_drop_connection(struct slot *s)
{
	login_end(&s->login, RELAY_GONE);
	stream_free(&s->stream);
	config_drop(&s->config);
	policy_row_drop(&s->own);
	slot_forget_counted(s);
	s->route = NULL;
	free(s->hop);
	free(s->bound);
	s->hop = s->bound = NULL;
	s->state = SLOT_EMPTY;
	timer_clear(&s->timer);
}

/* Leaves a host that is not wanted, without waiting for its goodbye. */
void slot_leave_host(struct slot *s)
{
	if (s->stream && s->state == SLOT_OPEN && dialog_is_answered(&s->dialog)) {
		PUT(stream_out(s->stream), "QUIT\r\n");
		stream_wrote(s->stream);
		stream_finish(&s->stream, SECONDS(1), false);
	}
	slot_drop_connection(s);
}

static void slot_want(struct slot *s)
{
	if (s->wanted || s->ahead || s->closing || !s->known || !s->worker->qmgr)
		return;
	s->wanted = true;
	channel_send_want(s->worker->qmgr, &(struct msg_want){s->number});
}

/* The running job has its verdicts. */
static void slot_job_done(struct slot *s)
{
	struct job *job = s->job;

	must(!job->open);
	slot_say_way(s);
	s->job = NULL;
	s->job_deadline.us = 0;
	slot_forget_trouble(s);
	worker_finish_job(s->worker, job);
	slot_want(s);
}

static void slot_settle(struct slot *s, const struct verdict *v, enum failure_scope scope)
{
	job_widen(s->job, scope);
	job_settle_open(s->job, v);
	slot_job_done(s);
}

/* -- connecting ---------------------------------------------------------------------- */

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
	if (s->job->source)
		s->dialog.helo = s->job->source->helo;
	/* Who takes over the mail for good passes it on to nobody. */
	s->dialog.requires = !hop_is_lmtp(s->job->how) && job_requires_tls(s->job, s->attempt.host);
	s->dialog.login = s->route->login.len > 0;
	s->login.tried = false;
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
static void slot_tls_failed(struct slot *s, unsigned fault, const char *why)
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
static bool slot_is_securing(const struct slot *s)
{
	return s->state == SLOT_SECURING ||
	       (s->state == SLOT_OPEN && dialog_asks_for_tls(&s->dialog));
}

/* The receiver has said that it is ready for the handshake. */
static void slot_secure(struct slot *s)
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
		size_t n = 0;
		enum dialog_says says = dialog_input(&s->dialog, data + used, len - used, &n);

		used += n;
		/* The time is for a whole reply: a piece of one, now and then, gets no more of it.
		 */
		if (says == DIALOG_WAIT && (!n || !s->dialog.reader.whole) &&
		    !stream_backlog(stream))
			break;
		slot_follow(s, says);
		if (s->stream != stream || says == DIALOG_SECURE)
			return len;
		if (says == DIALOG_WAIT)
			break;
	}
	return used;
}

/* The next block of a body in a file goes into the emptied buffer. */
static void slot_feed(struct slot *s)
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
	if (s->need == NEED_NOTHING && s->job->how == HOP_SMTPS)
		s->need = NEED_TLS;
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
static void slot_hosts(void *arg, struct host_list *list)
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

static void slot_connect(struct slot *s)
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

/* -- jobs ------------------------------------------------------------------------------- */

static void slot_quit(struct slot *s)
{
	s->state = SLOT_QUITTING;
	dialog_quit(&s->dialog);
	slot_step_done(s);
}

/* Nothing is under way, of no job. */
static bool slot_is_idle(const struct slot *s)
{
	return s->state == SLOT_OPEN && dialog_is_free(&s->dialog) &&
	       dialog_is_answered(&s->dialog);
}

/* The receiver has proved its name, or goes by DANE: it counts for whom it is one of the hosts. */
static bool slot_sts_fits(const struct slot *s, const struct job *job)
{
	if (sts_mode_of(job) != s->sts_mode)
		return false;
	return s->sts_mode != STS_ENFORCE || s->sts == STS_FREE ||
	       sts_names(job->sts.mx, s->attempt.host->name);
}

/* A connection carries only mail of the policy that it was opened under. */
static bool slot_policy_fits(const struct slot *s, const struct job *job)
{
	struct text bound = text_of(s->bound);

	if (s->bound && (!text_equal_case(bound, job->domain) || !job_has_one_domain(job)))
		return false;
	return route_policy_same(s->route, bound, job->route, job->domain) && slot_sts_fits(s, job);
}

/* May JOB go over the connection that there is, next? */
static bool slot_fits(const struct slot *s, const struct job *job)
{
	return s->state == SLOT_OPEN && text_equal((struct text){s->hop, s->hop_len}, job->hop) &&
	       s->dialog.how == job->how && s->relaxed == job->relaxed &&
	       s->dialog.jobs < s->config->limit_site_messages && slot_policy_fits(s, job);
}

/* The next job's commands go behind the content of the one that runs, as soon as both are there. */
static void slot_send_ahead(struct slot *s)
{
	if (s->ahead && !s->closing && !s->step_by_step && slot_fits(s, s->ahead) &&
	    dialog_send_ahead(&s->dialog, s->ahead) && stream_backlog(s->stream))
		stream_wrote(s->stream);
}

static void slot_give(struct slot *s)
{
	s->job->sending = loop_wall(slot_loop(s));
	s->given = loop_now(slot_loop(s));
	slot_count_given(s);
	if (s->near)
		slot_want(s);
	slot_follow(s, dialog_begin(&s->dialog, s->job));
}

static void slot_begin(struct slot *s)
{
	const struct config *config = s->worker->daemon->config;
	struct job *job = s->job;
	/* A receiver may be slow, but not for ever: 1 KB/s and a reply every two seconds at the
	 * least. */
	int64_t slow_s = (int64_t)(job_size(job) / 1024 + job->recipient_count * UINT64_C(2));

	job->begun = loop_wall(slot_loop(s));
	s->job_deadline = monotime_add(monotime_add(loop_now(slot_loop(s)), SECONDS(slow_s)),
				       config->timeout_transaction);
	if (!job->open) {
		job_widen(job, SCOPE_NOBODY);
		slot_job_done(s);
		slot_advance(s);
	} else if (slot_fits(s, job) && dialog_is_free(&s->dialog)) {
		slot_give(s);
	} else if (slot_is_idle(s)) {
		slot_quit(s);
	} else if (s->state != SLOT_QUITTING) {
		slot_drop_connection(s);
		slot_connect(s);
	}
}

/* No job runs: the next one, or the end, or waiting. */
static void slot_advance(struct slot *s)
{
	uint64_t unused = 0;

	must(!s->job);
	if (!s->closing) {
		s->job = s->ahead;
		s->ahead = NULL;
		if (s->job)
			slot_begin(s);
		else if (s->state == SLOT_OPEN && s->dialog.over)
			slot_drop_connection(s);
		return;
	}
	if (slot_is_idle(s)) {
		slot_quit(s);
		return;
	}
	if (s->state == SLOT_QUITTING)
		return;
	if (s->ahead) {
		unused = s->ahead->number;
		slot_forget_ahead(s);
	}
	slot_drop_connection(s);
	s->state = SLOT_DEAD;
	worker_slot_ended(s->worker, s, unused);
}

/* The connection is over and closed. */
static void slot_over(struct slot *s)
{
	slot_drop_connection(s);
	if (s->job)
		slot_connect(s);
	else
		slot_advance(s);
}

static void slot_refused(struct slot *s)
{
	const struct reply *why = dialog_trouble(&s->dialog);
	bool reused = s->dialog.jobs > 1;

	if (s->dialog.lacks_tls) {
		slot_sts(s, STS_NO_TLS);
		if (s->dialog.lacks_for_good && job_requires_tls(s->job, s->attempt.host))
			slot_tls_final(s, "5.7.10", why->text);
		else
			slot_tls_trouble(s, why);
		slot_count_lacking(s, why->text);
	} else if (s->dialog.unlogged) {
		slot_login_trouble(s, why);
	} else {
		slot_host_failed(s, why);
	}
	slot_leave_host(s);
	/* Hosts that an earlier job could not reach count for this one. */
	if (reused)
		slot_connect(s);
	else
		slot_try_next(s);
}

static void slot_unfit(struct slot *s)
{
	bool reused = s->dialog.jobs > 0;

	if (s->job->unfit == UNFIT_REQUIRETLS) {
		s->job->unfit = UNFIT_NONE;
		slot_tls_final(s, "5.7.30", "REQUIRETLS support required, and not offered there");
	}
	slot_leave_host(s);
	/* Hosts that an earlier job could not reach count for this one. */
	if (reused)
		slot_connect(s);
	else
		slot_try_next(s);
}

/* Does what the dialog says, until it waits. */
void slot_follow(struct slot *s, enum dialog_says says)
{
	switch (says) {
	case DIALOG_WAIT:
		break;
	case DIALOG_SECURE:
		slot_secure(s);
		return;
	case DIALOG_READY:
		if (s->dialog.declined)
			slot_log_tls(s, dialog_trouble(&s->dialog)->text, "sent without TLS");
		if (!stream_tls(s->stream))
			slot_sts(s, STS_NO_TLS);
		slot_give(s);
		return;
	case DIALOG_CONTENT:
		s->near = monotime_since(loop_now(slot_loop(s)), s->given).us < NEAR_US;
		slot_want(s);
		slot_send_ahead(s);
		break;
	case DIALOG_SETTLED:
		slot_job_done(s);
		slot_advance(s);
		break;
	case DIALOG_UNFIT:
		slot_unfit(s);
		return;
	case DIALOG_AGAIN:
		s->step_by_step = s->step_by_step || s->dialog.was_ahead;
		slot_leave_host(s);
		slot_connect(s);
		return;
	case DIALOG_STALE:
		s->step_by_step = s->step_by_step || s->dialog.was_ahead;
		slot_drop_connection(s);
		slot_connect(s);
		return;
	case DIALOG_REFUSED:
		slot_refused(s);
		return;
	case DIALOG_OVER:
		slot_over(s);
		return;
	case DIALOG_LOGIN:
	case DIALOG_CHALLENGE:
	case DIALOG_JUDGED:
		slot_login_follow(s, says);
		return;
	}
	slot_step_done(s);
}

/* -- entry points ------------------------------------------------------------------------ */

static void slot_expired(void *arg)
{
	struct slot *s = arg;
	struct duration left = monotime_since(s->deadline, loop_now(slot_loop(s)));

	if (left.us > 0) {
		s->armed = s->deadline;
		timer_set(&s->timer, left);
		return;
	}
	if (s->state == SLOT_OPEN && s->dialog.feeding && !s->dialog.unflushed) {
		slot_feed(s);
	} else if (s->state == SLOT_CONNECTING) {
		slot_unreachable(s, "connection timed out");
		slot_drop_connection(s);
		slot_try_next(s);
	} else if (slot_is_securing(s)) {
		slot_tls_failed(s, FAULT_HANDSHAKE, "it took too long");
	} else if (s->state == SLOT_QUITTING) {
		slot_over(s);
	} else if (s->state == SLOT_OPEN && s->dialog.unflushed &&
		   stream_backlog(s->stream) < s->backlog &&
		   (!s->job || loop_now(slot_loop(s)).us < s->job_deadline.us)) {
		/* A part of the block was taken: it moves. */
		slot_set_deadline(s, dialog_patience(&s->dialog));
	} else if (s->state == SLOT_OPEN && login_is_open(&s->login) &&
		   dialog_is_answered(&s->dialog)) {
		slot_login_late(s);
	} else if (s->state == SLOT_OPEN) {
		enum dialog_says says = dialog_expired(&s->dialog);

		if (says == DIALOG_WAIT)
			s->state = SLOT_QUITTING;
		slot_follow(s, says);
	}
}

struct slot *slot_new(struct worker *w, uint32_t number)
{
	struct slot *s = mem_new(1, sizeof *s);

	s->worker = w;
	s->number = number;
	s->known = true;
	s->wanted = true;
	s->waiter.answered = slot_hosts;
	s->waiter.arg = s;
	slot_login_init(s);
	timer_init(&s->timer, slot_loop(s), slot_expired, s);
	return s;
}

void slot_free(struct slot *s)
{
	must(!s->job && !s->ahead);
	hosts_cancel(&s->waiter);
	slot_drop_connection(s);
	attempt_end(&s->attempt);
	free(s->trouble);
	free(s);
}

bool slot_take_job(struct slot *s, struct job *job)
{
	/* While we stop, a job that was on its way goes back unharmed with slot_done. */
	if (!s->wanted || s->ahead || (s->closing && !s->worker->draining))
		return false;
	s->wanted = false;
	if (s->job || s->closing) {
		s->ahead = job;
		slot_send_ahead(s);
		return true;
	}
	s->job = job;
	slot_begin(s);
	return true;
}

void slot_forget_ahead(struct slot *s)
{
	if (s->state == SLOT_OPEN)
		dialog_forget_ahead(&s->dialog);
	worker_forget_job(s->worker, s->ahead);
	s->ahead = NULL;
}

void slot_close(struct slot *s)
{
	s->closing = true;
	if (!s->job)
		slot_advance(s);
}

bool slot_cut(struct slot *s, bool past_dot)
{
	const struct verdict v = {OUTCOME_DEFERRED, 0, "4.3.2",
				  TEXT("the delivery was interrupted: this server stops")};

	if (!s->job)
		return false;
	if (s->state == SLOT_OPEN && s->dialog.job) {
		if (dialog_past_dot(&s->dialog) && !past_dot)
			return false;
		slot_follow(s, dialog_cut(&s->dialog));
		return true;
	}
	hosts_cancel(&s->waiter);
	slot_drop_connection(s);
	slot_settle(s, &v, SCOPE_NOBODY);
	slot_advance(s);
	return true;
}
