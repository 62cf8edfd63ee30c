/* SPDX-License-Identifier: ISC */
/* Slots: their jobs, and what the dialog says of them. */
#include "slot_private.h"

#include "mem.h"
#include "must.h"
#include "slot_login.h"
#include "slot_results.h"
#include "slot_words.h"

#include <stdlib.h>

enum {
	/* A receiver that asks for the content within this is answered with the next job's commands
	 * in the same breath, if that job is there by then: it is asked for earlier. One that is
	 * farther away leaves time for that, and keeps no job waiting. */
	NEAR_US = 5000,
};

static void slot_begin(struct slot *s);

/* -- deadlines -------------------------------------------------------------------- */

void slot_set_deadline(struct slot *s, struct duration after)
{
	s->deadline = monotime_add(loop_now(slot_loop(s)), after);
	if (s->job && s->job_deadline.us && s->deadline.us > s->job_deadline.us &&
	    !(s->state == SLOT_OPEN && dialog_awaits_end(&s->dialog)))
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
	if (!s->dialog.jobs)
		s->asked = loop_now(slot_loop(s));
	if (stream_backlog(s->stream))
		stream_wrote(s->stream);
	slot_set_deadline(s, dialog_patience(&s->dialog));
}

/* -- ends -------------------------------------------------------------------------- */

void slot_drop_connection(struct slot *s)
{
	slot_take_back(s);
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

void slot_settle(struct slot *s, const struct verdict *v, enum failure_scope scope)
{
	job_widen(s->job, scope);
	job_settle_open(s->job, v);
	slot_job_done(s);
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

bool slot_fits(const struct slot *s, const struct job *job)
{
	uint32_t messages = s->dialog.jobs + s->sent;

	return s->state == SLOT_OPEN && text_equal((struct text){s->hop, s->hop_len}, job->hop) &&
	       s->dialog.how == job->how && s->relaxed == job->relaxed &&
	       messages < s->config->limit_site_messages && slot_policy_fits(s, job);
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

static void slot_limit_job(struct slot *s)
{
	const struct job *job = s->job;
	/* A receiver may be slow, but not for ever: 1 KB/s and a reply every two seconds at the
	 * least. */
	int64_t slow_s = (int64_t)(job_size(job) / 1024 + job->recipient_count * UINT64_C(2));

	s->job_deadline = monotime_add(monotime_add(loop_now(slot_loop(s)), SECONDS(slow_s)),
				       s->worker->daemon->config->timeout_transaction);
}

/* It has been sent; now its replies come. */
static void slot_go_on(struct slot *s)
{
	slot_limit_job(s);
	s->given = loop_now(slot_loop(s));
	slot_count_given(s);
	slot_follow(s, dialog_begin(&s->dialog, s->job));
	slot_send_ahead(s);
}

static void slot_begin(struct slot *s)
{
	struct job *job = s->job;

	job->begun = loop_wall(slot_loop(s));
	slot_limit_job(s);
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
void slot_advance(struct slot *s)
{
	bool was_sent = false;

	must(!s->job);
	/* What was sent over a connection that ends is not begun on it. */
	if (s->sent && (s->state != SLOT_OPEN || s->dialog.over))
		slot_drop_connection(s);
	if (s->closing)
		slot_hand_back(s);
	s->job = slot_next(s, &was_sent);
	s->behind = was_sent;
	if (s->job && was_sent) {
		slot_go_on(s);
	} else if (s->job) {
		slot_begin(s);
	} else if (!s->closing) {
		if (s->state == SLOT_OPEN && s->dialog.over)
			slot_drop_connection(s);
		/* It has none, and asked for none if as many as may be went back just now. */
		slot_want(s);
	} else if (slot_is_idle(s)) {
		slot_quit(s);
	} else if (s->state != SLOT_QUITTING) {
		slot_drop_connection(s);
		s->state = SLOT_DEAD;
		worker_slot_ended(s->worker, s);
	}
}

/* The rest of the running job comes behind what has been sent. */
static void slot_put_off(struct slot *s)
{
	struct job *job = s->job;

	slot_judge_ahead(s);
	slot_say_way(s);
	s->job = NULL;
	s->ahead[s->ahead_count++] = job;
	slot_advance(s);
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
		slot_note_spacing(s);
		slot_job_done(s);
		slot_advance(s);
		break;
	case DIALOG_UNFIT:
		slot_unfit(s);
		return;
	case DIALOG_LATER:
		slot_put_off(s);
		return;
	case DIALOG_AGAIN:
		slot_judge_ahead(s);
		slot_leave_host(s);
		slot_connect(s);
		return;
	case DIALOG_STALE:
		slot_judge_ahead(s);
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
	} else if (s->state == SLOT_OPEN && dialog_is_sending(&s->dialog) &&
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
	s->wanted = 1;
	s->waiter.answered = slot_hosts;
	s->waiter.arg = s;
	slot_login_init(s);
	timer_init(&s->timer, slot_loop(s), slot_expired, s);
	return s;
}

void slot_free(struct slot *s)
{
	must(!s->job && !s->ahead_count);
	hosts_cancel(&s->waiter);
	slot_drop_connection(s);
	attempt_end(&s->attempt);
	free(s->trouble);
	free(s);
}

bool slot_take_job(struct slot *s, struct job *job)
{
	/* While we stop, a job that was on its way goes back unharmed. */
	if (!s->wanted || (s->closing && !s->worker->draining))
		return false;
	s->wanted--;
	if (s->job || s->closing) {
		s->ahead[s->ahead_count++] = job;
		if (s->closing)
			slot_hand_back(s);
		slot_send_ahead(s);
		return true;
	}
	s->job = job;
	slot_begin(s);
	return true;
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
