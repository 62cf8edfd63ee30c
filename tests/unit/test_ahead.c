/* SPDX-License-Identifier: ISC */
/* Jobs whose commands go behind the content of the one before. */
#include "dialog_play.h"

/* The first job up to its content, and whether the next one's commands may follow it. */
static bool play_ahead(struct play *p, const char *ehlo, const struct mail *first,
		       const char *answers, struct job *next)
{
	play_begin(p, HOP_MX);
	play_script(p, ehlo);
	play_job(p, first);
	play_script(p, answers);
	return dialog_send_ahead(&p->d, next);
}

/* The next job is the play's own now. */
static void play_next(struct play *p, struct job *next)
{
	job_free(&p->job);
	p->job = next;
	p->says = dialog_begin(&p->d, next);
}

#define FIRST ONE_COMMANDS "S 250 a\nS 250 b\nS 354 c\n= CONTENT\n"
#define BEHIND CONTENT TWO_COMMANDS

static void a_transaction_takes_a_round_trip(void **state)
{
	struct job *next = mail_job(&two), *third = mail_job(&one);
	struct play p;

	(void)state;
	assert_true(play_ahead(&p, EHLO_PIPELINING, &one, FIRST, next));
	assert_true(dialog_past_dot(&p.d));
	/* One read brings the end of the first and the answers of the second. */
	play_script(&p, BEHIND "S+ 250 2.6.0 first\nS+ 250 a\nS+ 250 b\nS+ 450 4.2.1 no\n"
			       "S 354 c\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_RELAYED, "2.6.0", "250 2.6.0 first");
	play_next(&p, next);
	assert_int_equal(p.says, DIALOG_WAIT);
	assert_int_equal(bytes_len(&p.out), 0);
	play_feed(&p);
	assert_int_equal(p.says, DIALOG_CONTENT);
	assert_true(dialog_send_ahead(&p.d, third));
	play_script(&p, CONTENT ONE_COMMANDS "S 550 5.7.1 spam\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_FAILED, "5.7.1", "550 5.7.1 spam");
	verdict_is(&p, 1, OUTCOME_DEFERRED, "4.2.1", "450 4.2.1 no");
	/* What failed before it is no matter of the third. */
	play_next(&p, third);
	play_script(&p, "S 250 a\nS 250 b\nS 354 c\n= CONTENT\n" CONTENT "S 250 ok\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_RELAYED, "2.0.0", "250 ok");
	dialog_quit(&p.d);
	play_script(&p, "C QUIT\nS 221 bye\n= OVER\n");
	play_end(&p);
}

static const struct {
	const char *what, *ehlo, *answers;
	struct mail first, next;
} never[] = {
    {"without PIPELINING",
     EHLO_PLAIN,
     "C MAIL FROM:<s@a.example>\nS 250 a\nC RCPT TO:<r@b.example>\nS 250 b\nC DATA\nS 354 c\n"
     "= CONTENT\n",
     {.to = {"r@b.example"}},
     {.to = {"r@b.example"}}},
    {"the first needs a further transaction",
     EHLO_PIPELINING,
     TWO_COMMANDS "S 250 a\nS 250 b\nS 452 4.5.3 too many\nS 354 c\n= CONTENT\n",
     {.to = {"r@b.example", "q@b.example"}},
     {.to = {"r@b.example"}}},
    {"a bare LF",
     EHLO_PIPELINING,
     FIRST,
     {.to = {"r@b.example"}},
     {.to = {"r@b.example"}, .body = "bare\nline\r\n"}},
    {"8-bit content",
     EHLO_PIPELINING,
     FIRST,
     {.to = {"r@b.example"}},
     {.to = {"r@b.example"}, .body = "\xc3\xbc\r\n", .body_type = BODY_8BITMIME}},
    {"MAILMAX",
     "S 220 x\nC EHLO client.example\nS+ 250-x\nS+ 250-LIMITS MAILMAX=1\nS 250 PIPELINING\n"
     "= READY\n",
     FIRST,
     {.to = {"r@b.example"}},
     {.to = {"r@b.example"}}},
    {"SIZE",
     "S 220 x\nC EHLO client.example\nS+ 250-x\nS+ 250-SIZE 30\nS 250 PIPELINING\n= READY\n",
     "C MAIL FROM:<s@a.example> SIZE=21\nC RCPT TO:<r@b.example>\nC DATA\n"
     "S 250 a\nS 250 b\nS 354 c\n= CONTENT\n",
     {.to = {"r@b.example"}},
     {.to = {"r@b.example"}, .body = "longer than that\r\n"}},
};

static void some_wait_for_their_turn(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
		struct job *next = mail_job(&never[i].next);
		struct play p;

		if (play_ahead(&p, never[i].ehlo, &never[i].first, never[i].answers, next))
			fail_msg("went ahead: %s", never[i].what);
		play_script(&p, CONTENT);
		job_free(&next);
		play_end(&p);
	}
}

/* A receiver that chokes on what was sent ahead is asked again, on a connection of its own. */
static void a_refused_sender_is_asked_again(void **state)
{
	struct job *next = mail_job(&two);
	struct play p;

	(void)state;
	assert_true(play_ahead(&p, EHLO_PIPELINING, &one, FIRST, next));
	play_script(&p, BEHIND "S 250 ok\n= SETTLED\n");
	play_next(&p, next);
	play_script(&p, "S 503 5.5.1 synchronization error\n= AGAIN\n");
	assert_int_equal(next->open, 2);
	assert_false(dialog_is_free(&p.d));
	dialog_start(&p.d, &p.config, HOP_MX, DIALOG_CLEAR, &p.out);
	play_script(&p, EHLO_PIPELINING);
	p.says = dialog_begin(&p.d, next);
	play_script(&p, TWO_COMMANDS "S 550 5.1.8 not from you\nS 503 x\nS 503 x\nS 503 x\n"
				     "= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_FAILED, "5.1.8", "550 5.1.8 not from you");
	play_end(&p);
}

static void a_lost_connection_loses_nothing(void **state)
{
	struct job *next = mail_job(&two);
	struct play p;

	(void)state;
	/* Before the first is answered: it is deferred, and the next was never begun. */
	assert_true(play_ahead(&p, EHLO_PIPELINING, &one, FIRST, next));
	play_script(&p, BEHIND);
	p.says = dialog_ended(&p.d, "reset");
	play_script(&p, "= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_DEFERRED, "4.4.2",
		   "lost the connection (reset) while waiting for the reply to the final dot");
	assert_int_equal(p.job->scope, SCOPE_MESSAGE);
	assert_false(dialog_is_free(&p.d));
	assert_int_equal(next->open, 2);
	job_free(&next);
	play_end(&p);
	/* And behind it, or when no answer comes: the next is begun elsewhere. */
	for (int expires = 0; expires < 2; expires++) {
		next = mail_job(&two);
		assert_true(play_ahead(&p, EHLO_PIPELINING, &one, FIRST, next));
		play_script(&p, BEHIND "S 250 ok\n= SETTLED\n");
		play_next(&p, next);
		p.says = expires ? dialog_expired(&p.d) : dialog_ended(&p.d, "reset");
		play_script(&p, "= STALE\n");
		assert_int_equal(next->open, 2);
		play_end(&p);
	}
}

static void a_forgotten_one_ends_the_connection(void **state)
{
	struct job *next = mail_job(&two);
	struct play p;

	(void)state;
	assert_true(play_ahead(&p, EHLO_PIPELINING, &one, FIRST, next));
	dialog_forget_ahead(&p.d);
	job_free(&next);
	play_script(&p, BEHIND "S 250 ok\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_RELAYED, "2.0.0", "250 ok");
	assert_false(dialog_is_free(&p.d));
	play_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_transaction_takes_a_round_trip),
	    cmocka_unit_test(some_wait_for_their_turn),
	    cmocka_unit_test(a_refused_sender_is_asked_again),
	    cmocka_unit_test(a_lost_connection_loses_nothing),
	    cmocka_unit_test(a_forgotten_one_ends_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
