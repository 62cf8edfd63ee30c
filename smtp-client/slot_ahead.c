/* SPDX-License-Identifier: ISC */
/*
 * A slot's jobs behind the one that runs: how many it asks for, which of them
 * go over the connection before that one is answered, and what becomes of them
 * when the connection does not last.
 */
#include "slot_private.h"

#include <string.h>

enum {
	/* Below this a connection carries 50 mails a second one by one, and the receiver's own work
	 * is the larger part of it; and the fewer are under way, the fewer come twice when it
	 * breaks. */
	FAR_US = 20000,
	/* They are asked for together: one after the other each would wait for a turn of qmgr. */
	WANTS_AT_ONCE = 4,
	/* While it is not known yet how fast it is with what it has. */
	MOST_AT_FIRST = 2,
	SPACING_FOR = 100, /* mails a measured time counts */
};

/* Several whole mails at once; not beside one that is in a file, or goes alone. */
static bool carries_several(const struct slot *s)
{
	if (s->job && (s->job->fd >= 0 || s->job->alone))
		return false;
	return s->state == SLOT_OPEN && s->dialog.up && s->dialog.several && !s->step_by_step &&
	       dialog_chunks(&s->dialog);
}

void slot_clock(struct slot *s)
{
	struct monotime now = loop_now(slot_loop(s));
	struct duration took = monotime_since(now, s->asked);

	if (took.us < s->round_trip.us)
		s->round_trip = took;
	s->asked = now;
}

void slot_note_spacing(struct slot *s)
{
	struct monotime now = loop_now(slot_loop(s));
	struct duration took = monotime_since(now, s->answered);

	if (s->dialog.jobs % SPACING_FOR == 0)
		s->spacing.us = INT64_MAX;
	if (s->behind && took.us < s->spacing.us)
		s->spacing = took;
	s->answered = now;
}

/*
 * Is the way there the longer part of a mail's time? What is slow itself does one mail after the
 * other all the same: more connections serve it sooner, and a mail that is stuck has nobody behind
 * it. A connection of others to the same receiver may have broken meanwhile.
 */
static void judge_several(struct slot *s)
{
	bool is_slow = s->spacing.us != INT64_MAX && s->spacing.us >= s->round_trip.us;

	if (s->state == SLOT_OPEN)
		s->dialog.several = s->round_trip.us >= FAR_US && !is_slow &&
				    !failures_broke_off(s->worker->failures, s->attempt.host,
							loop_now(slot_loop(s)));
}

void slot_want(struct slot *s)
{
	unsigned have = s->ahead_count + s->wanted, most = 1;

	if (s->closing || !s->known || !s->worker->qmgr)
		return;
	judge_several(s);
	/* What cannot be sent before others are answered would better go over another connection.
	 */
	if (carries_several(s) && s->ahead_count == s->sent)
		most = s->spacing.us == INT64_MAX ? MOST_AT_FIRST : SLOT_JOBS_MAX - 1;
	for (; have < most && s->wanted < WANTS_AT_ONCE; have++) {
		s->wanted++;
		channel_send_want(s->worker->qmgr, &(struct msg_want){s->number});
	}
}

/* Has a part of it been settled? Then it was put off, and what became of that part must be told. */
static bool end_begun(struct slot *s, struct job *job)
{
	const struct verdict v = {OUTCOME_DEFERRED, 0, "4.3.2",
				  TEXT("the delivery was interrupted: its connection is to end")};

	if (job->open == job->recipient_count)
		return false;
	job_widen(job, SCOPE_RECIPIENT);
	job_settle_open(job, &v);
	worker_finish_job(s->worker, job);
	return true;
}

static void give_back_one(struct slot *s, struct job *job)
{
	if (end_begun(s, job))
		return;
	if (s->worker->qmgr)
		channel_send_job_back(s->worker->qmgr, &(struct msg_job_back){job->number});
	worker_forget_job(s->worker, job);
}

/* Those from FIRST to before END: qmgr has them sent by somebody, in their turn. */
static void give_back(struct slot *s, uint8_t first, uint8_t end)
{
	for (uint8_t i = first; i < end; i++)
		give_back_one(s, s->ahead[i]);
	memmove(s->ahead + first, s->ahead + end, (s->ahead_count - end) * sizeof *s->ahead);
	s->ahead_count = (uint8_t)(s->ahead_count - (end - first));
}

/* More than one that waits for this connection, where others may have one free. */
static void keep_one(struct slot *s)
{
	while (s->ahead_count > s->sent + 1 && !s->ahead[s->ahead_count - 1]->alone)
		give_back(s, (uint8_t)(s->ahead_count - 1), s->ahead_count);
}

static void send_those_that_can(struct slot *s)
{
	struct walltime now = loop_wall(slot_loop(s));

	judge_several(s);
	while (s->sent < s->ahead_count && slot_fits(s, s->ahead[s->sent]) &&
	       dialog_send_ahead(&s->dialog, s->ahead[s->sent]) && s->dialog.ahead_whole) {
		s->ahead[s->sent]->begun = s->ahead[s->sent]->sending = now;
		s->sent++;
	}
}

void slot_send_ahead(struct slot *s)
{
	if (s->job && !s->closing && !s->step_by_step)
		send_those_that_can(s);
	keep_one(s);
	if (s->state == SLOT_OPEN && stream_backlog(s->stream))
		stream_wrote(s->stream);
	if (s->sent)
		slot_want(s);
}

struct job *slot_next(struct slot *s, bool *was_sent)
{
	struct job *job = s->ahead[0];

	if (!s->ahead_count)
		return NULL;
	*was_sent = s->sent > 0;
	s->sent -= *was_sent;
	memmove(s->ahead, s->ahead + 1, --s->ahead_count * sizeof *s->ahead);
	return job;
}

void slot_judge_ahead(struct slot *s)
{
	/* Many end a connection with a 421 after so many mails, and mean nothing else by it. */
	bool enough = dialog_trouble(&s->dialog)->code == 421 && s->dialog.ahead_whole &&
		      s->dialog.jobs > SLOT_JOBS_MAX;

	s->step_by_step = s->step_by_step || (s->dialog.was_ahead && !enough);
}

/*
 * Whether they were taken nobody knows, so they are sent once more, as one is
 * whose final reply is missing. With a 421 it is known that they were not
 * (RFC 5321 section 3.8: it comes and the connection closes). A receiver that
 * went without one, or has answered what nobody asked, gets its mails one by
 * one for a while.
 */
void slot_take_back(struct slot *s)
{
	bool orderly = s->worker->draining || dialog_trouble(&s->dialog)->code == 421;

	if (s->state == SLOT_OPEN && ((s->sent && !orderly) || s->dialog.strange)) {
		s->step_by_step = true;
		failures_break_off(s->worker->failures, s->attempt.host, loop_now(slot_loop(s)));
	}
	uint8_t sent = s->sent;

	s->sent = 0;
	give_back(s, 0, sent);
}

void slot_hand_back(struct slot *s)
{
	if (s->state == SLOT_OPEN && s->ahead_count > s->sent)
		dialog_forget_ahead(&s->dialog);
	give_back(s, s->sent, s->ahead_count);
}

void slot_forget_ahead(struct slot *s)
{
	if (s->state == SLOT_OPEN && s->ahead_count > s->sent)
		dialog_forget_ahead(&s->dialog);
	while (s->ahead_count > s->sent) {
		struct job *job = s->ahead[--s->ahead_count];

		if (!end_begun(s, job))
			worker_forget_job(s->worker, job);
	}
}
