/* SPDX-License-Identifier: ISC */
/* The outbound engine, by replays (dialog_play.h). */
#include "dialog_play.h"

/* -- good days ------------------------------------------------------------------------ */

static void pipelines(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_PIPELINING);
	play_job(&p, &one);
	play_script(&p, ONE_COMMANDS "S+ 250 a\nS+ 250 b\nS 354 c\n= CONTENT\n" CONTENT
				     "S 250 2.6.0 taken\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_RELAYED, "2.6.0", "250 2.6.0 taken");
	assert_true(dialog_is_free(&p.d));
	assert_int_equal(p.job->scope, SCOPE_NONE);
	/* No RSET after a transaction that went well. */
	play_job(&p, &one);
	play_script(&p, ONE_COMMANDS "S 250 a\nS 250 b\nS 354 c\n" CONTENT "S 250 ok\n= SETTLED\n");
	dialog_quit(&p.d);
	play_script(&p, "C QUIT\nS 221 bye\n= OVER\n");
	play_end(&p);
}

static void goes_step_by_step(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_PLAIN);
	play_job(&p, &two);
	play_script(&p,
		    "C MAIL FROM:<s@a.example>\nS 250 a\nC RCPT TO:<r@b.example>\nS 250 b\n"
		    "C RCPT TO:<q@b.example>\nS 550 5.1.1 no\nC DATA\nS 354 c\n= CONTENT\n" CONTENT
		    "S 250 ok\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_RELAYED, "2.0.0", "250 ok");
	verdict_is(&p, 1, OUTCOME_FAILED, "5.1.1", "550 5.1.1 no");
	assert_int_equal(p.job->scope, SCOPE_RECIPIENT);
	play_end(&p);
}

static void falls_back_to_helo(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, "S 220 old\nC EHLO client.example\nS 502 what\nC HELO client.example\n"
			"S 250 hi\n= READY\n");
	play_end(&p);
}

static void passes_parameters_on(void **state)
{
	static const struct mail mail = {.to = {"r@b.example"},
					 .body_type = BODY_8BITMIME,
					 .envid = "QQ314159",
					 .ret = RET_HDRS,
					 .notify = NOTIFY_SUCCESS | NOTIFY_DELAY,
					 .orcpt = "rfc822;R@b.example"};
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_ALL);
	play_job(&p, &mail);
	play_script(&p, "C MAIL FROM:<s@a.example> SIZE=21 BODY=8BITMIME RET=HDRS ENVID=QQ314159\n"
			"C RCPT TO:<r@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;R@b.example\n"
			"C DATA\nS 250 a\nS 250 b\nS 354 c\n" CONTENT "S 250 ok\n= SETTLED\n");
	assert_int_equal(p.job->recipients[0].receiver_dsn, 1);
	play_end(&p);
}

static void sends_a_chunk(void **state)
{
	static const struct mail dots = {.to = {"r@b.example"}, .body = ".\r\n..\r\n"};
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, "S 220 x\nC EHLO client.example\nS+ 250-x\nS+ 250-CHUNKING\n"
			"S 250 PIPELINING\n= READY\n");
	play_job(&p, &dots);
	play_script(&p, "= CONTENT\nC MAIL FROM:<s@a.example>\nC RCPT TO:<r@b.example>\n"
			"C BDAT 21 LAST\nC Subject: x\nC \nC .\nC ..\n"
			"S 250 a\nS 250 b\nS 250 2.6.0 ok\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_RELAYED, "2.6.0", "250 2.6.0 ok");
	play_job(&p, &one);
	play_script(&p, "C MAIL FROM:<s@a.example>\nC RCPT TO:<r@b.example>\n"
			"C BDAT 21 LAST\nC Subject: x\nC \nC hello\n"
			"S 250 a\nS 450 4.2.1 busy\nS 503 no recipients\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_DEFERRED, "4.2.1", "450 4.2.1 busy");
	play_job(&p, &one);
	play_script(&p, "C RSET\nC MAIL FROM:<s@a.example>\nC RCPT TO:<r@b.example>\n"
			"C BDAT 21 LAST\nC Subject: x\nC \nC hello\n"
			"S 250 r\nS 250 a\nS 250 b\nS 250 c\n= SETTLED\n");
	play_end(&p);
}

static void doubles_dots(void **state)
{
	static const struct mail dots = {
	    .to = {"r@b.example"}, .prelude = ".odd: x\r\n\r\n", .body = ".\r\n..\r\na.\r\n.x\r\n"};
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_PIPELINING);
	play_job(&p, &dots);
	play_script(&p, ONE_COMMANDS
		    "S 250 a\nS 250 b\nS 354 c\nC ..odd: x\nC \nC ..\nC ...\nC a.\nC ..x\n"
		    "C .\nS 250 ok\n= SETTLED\n");
	play_end(&p);
}

static void splits_by_limits(void **state)
{
	static const struct mail three = {.to = {"r@b.example", "q@b.example", "p@b.example"}};
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p,
		    "S 220 x\nC EHLO client.example\nS+ 250-x\nS+ 250-LIMITS RCPTMAX=2 MAILMAX=2\n"
		    "S 250 PIPELINING\n= READY\n");
	play_job(&p, &three);
	play_script(&p, TWO_COMMANDS "S 250 a\nS 250 b\nS 250 c\nS 354 d\n= CONTENT\n" CONTENT
				     "S 250 ok\n"
				     "C MAIL FROM:<s@a.example>\nC RCPT TO:<p@b.example>\nC DATA\n"
				     "S 250 a\nS 250 b\nS 354 d\n" CONTENT "S 250 ok\n= SETTLED\n");
	/* The third transaction would be one too many. */
	play_job(&p, &one);
	play_script(&p, "= AGAIN\n");
	assert_int_equal(p.job->open, 1);
	play_end(&p);
}

static void sends_the_rest_later(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_PIPELINING);
	play_job(&p, &two);
	play_script(&p, TWO_COMMANDS
		    "S 250 a\nS 250 b\nS 452 4.5.3 too many recipients\nS 354 d\n" CONTENT
		    "S 250 ok\nC MAIL FROM:<s@a.example>\nC RCPT TO:<q@b.example>\nC DATA\n"
		    "S 250 a\nS 552 5.5.3 too many\nS 503 d\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_RELAYED, "2.0.0", "250 ok");
	/* 552 counts as 452 (RFC 5321 4.5.3.1.10). */
	verdict_is(&p, 1, OUTCOME_DEFERRED, "4.5.3", "552 5.5.3 too many");
	play_end(&p);
}

static void speaks_lmtp(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_LMTP);
	play_script(&p, "S 220 x\nC LHLO client.example\nS+ 250-x\nS 250 PIPELINING\n= READY\n");
	play_job(&p, &(struct mail){.to = {"a@b.example", "b@b.example", "c@b.example"}});
	play_script(
	    &p, "C MAIL FROM:<s@a.example>\nC RCPT TO:<a@b.example>\nC RCPT TO:<b@b.example>\n"
		"C RCPT TO:<c@b.example>\nC DATA\nS 250 a\nS 250 b\nS 550 no\nS 250 c\nS 354 d\n"
		"= CONTENT\n" CONTENT "S+ 250 first\nS 452 4.2.2 full\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_RELAYED, "2.0.0", "250 first");
	verdict_is(&p, 1, OUTCOME_FAILED, "5.0.0", "550 no");
	verdict_is(&p, 2, OUTCOME_DEFERRED, "4.2.2", "452 4.2.2 full");
	assert_true(dialog_is_free(&p.d));
	play_end(&p);
}

/* -- refusals ---------------------------------------------------------------------------- */

static void sends_a_lone_dot(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_PIPELINING);
	play_job(&p, &two);
	play_script(
	    &p, TWO_COMMANDS
	    "S 250 a\nS 550 5.1.1 no\nS 450 no\nS 354 go on\nC .\nS 554 nobody\n= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_FAILED, "5.1.1", "550 5.1.1 no");
	verdict_is(&p, 1, OUTCOME_DEFERRED, "4.0.0", "450 no");
	play_job(&p, &one);
	play_script(&p, "C RSET\n" ONE_COMMANDS "S 250 r\nS 250 a\nS 250 b\nS 354 c\n" CONTENT
			"S 250 ok\n= SETTLED\n");
	play_end(&p);
}

static const struct {
	const char *script, *dsn, *reply;
	enum outcome_kind kind;
	enum failure_scope scope;
	bool over;
} refusals[] = {
    {"S 550 5.7.1 no\nS 503 x\nS 503 x\n", "5.7.1", "550 5.7.1 no", OUTCOME_FAILED, SCOPE_MESSAGE,
     false},
    {"S 451 4.3.0 later\nS 503 x\nS 503 x\n", "4.3.0", "451 4.3.0 later", OUTCOME_DEFERRED,
     SCOPE_MESSAGE, false},
    {"S 250 a\nS 451 4.7.1 grey\nS 503 x\n", "4.7.1", "451 4.7.1 grey", OUTCOME_DEFERRED,
     SCOPE_RECIPIENT, false},
    {"S 250 a\nS 250 b\nS 451 no data\n", "4.0.0", "451 no data", OUTCOME_DEFERRED, SCOPE_MESSAGE,
     false},
    {"S 250 a\nS 250 b\nS 554 5.6.0 no data\n", "5.6.0", "554 5.6.0 no data", OUTCOME_FAILED,
     SCOPE_MESSAGE, false},
    {"S 250 a\nS 250 b\nS 354 c\n" CONTENT "S 554 5.7.1 spam\n", "5.7.1", "554 5.7.1 spam",
     OUTCOME_FAILED, SCOPE_MESSAGE, false},
    {"S 250 a\nS 250 b\nS 354 c\n" CONTENT "S 421 bye\n", "4.0.0", "421 bye", OUTCOME_DEFERRED,
     SCOPE_SITE, true},
    /* Replies that make no sense end it, and never count as success. */
    {"S 250 a\nS 250 b\nS 250 c\n", "4.5.0", "protocol error: unexpected reply to DATA",
     OUTCOME_DEFERRED, SCOPE_MESSAGE, true},
    {"S 250 a\nS 354 b\n", "4.5.0", "protocol error: unexpected reply to RCPT", OUTCOME_DEFERRED,
     SCOPE_SITE, true},
    {"S 354 a\n", "4.5.0", "protocol error: unexpected reply to MAIL", OUTCOME_DEFERRED, SCOPE_SITE,
     true},
    {"S garbage\n", "4.5.0", "protocol error: the receiver's reply is malformed", OUTCOME_DEFERRED,
     SCOPE_SITE, true},
    {"S 999 x\n", "4.5.0", "protocol error: the receiver's reply is malformed", OUTCOME_DEFERRED,
     SCOPE_SITE, true},
    /* The reply to the dot came before the content: what was to be sent is taken back. */
    {"S+ 250 a\nS+ 250 b\nS+ 354 c\nS 250 ok\n", "4.5.0",
     "protocol error: a reply that was not asked for", OUTCOME_DEFERRED, SCOPE_MESSAGE, true},
    {"S 250 a\nS 250 b\nS 354 c\n" CONTENT "S 354 again\n", "4.5.0",
     "protocol error: unexpected reply to the content", OUTCOME_DEFERRED, SCOPE_MESSAGE, true},
};

static void judges_replies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		struct play p;

		play_begin(&p, HOP_MX);
		play_script(&p, EHLO_PIPELINING);
		play_job(&p, &one);
		play_script(&p, ONE_COMMANDS);
		play_script(&p, refusals[i].script);
		play_script(&p, "= SETTLED\n");
		verdict_is(&p, 0, refusals[i].kind, refusals[i].dsn, refusals[i].reply);
		assert_int_equal(p.job->scope, refusals[i].scope);
		assert_int_equal(dialog_is_free(&p.d), !refusals[i].over);
		play_end(&p);
	}
}

static const struct {
	const char *script, *dsn;
} hosts[] = {
    {"S 554 no service\n", "5.0.0"},
    {"S 421 busy\n", "4.0.0"},
    {"S 354 what\n", "3.0.0"},
    {"S nonsense\n", "4.5.0"},
    {"S+ 220 x\nS 250 y\n", "4.5.0"},
    {"S 220 x\nC EHLO client.example\nS 450 no\n", "4.0.0"},
    {"S 220 x\nC EHLO client.example\nS 550 no\nC HELO client.example\nS 550 no\n", "5.0.0"},
    {"S 220 x\nC EHLO client.example\nS 250 CLIENT.example hello\n", "5.4.6"},
    {"S 220 x\nC EHLO client.example\nS+ 250 x\nS 250 y\n", "4.5.0"},
};

static void leaves_hosts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
		struct play p;

		play_begin(&p, HOP_MX);
		play_script(&p, hosts[i].script);
		play_script(&p, "= REFUSED\n");
		assert_string_equal(dialog_trouble(&p.d)->dsn, hosts[i].dsn);
		assert_false(dialog_is_free(&p.d));
		play_end(&p);
	}
}

static void reused_connections_may_be_dead(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_PIPELINING);
	play_job(&p, &one);
	play_script(&p, ONE_COMMANDS "S 250 a\nS 250 b\nS 354 c\n" CONTENT "S 250 ok\n= SETTLED\n");
	play_job(&p, &one);
	play_script(&p, ONE_COMMANDS "S 421 idle for too long\n= STALE\n");
	assert_int_equal(p.job->open, 1);
	assert_true(p.job->retried);
	/* Once only: the same job on another reused connection takes what comes. */
	struct job *again = p.job;

	p.job = NULL;
	play_end(&p);
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_PIPELINING);
	play_job(&p, &one);
	play_script(&p, ONE_COMMANDS "S 250 a\nS 250 b\nS 354 c\n" CONTENT "S 250 ok\n= SETTLED\n");
	job_free(&p.job);
	p.job = again;
	p.says = dialog_begin(&p.d, again);
	play_script(&p, ONE_COMMANDS);
	p.says = dialog_ended(&p.d, "reset");
	play_script(&p, "= REFUSED\n");
	assert_string_equal(dialog_trouble(&p.d)->text,
			    "lost the connection (reset) while waiting for the reply to MAIL");
	play_end(&p);
}

/* After MAIL was answered the host had its chance: the connection counts as its failure. */
static void answered_jobs_are_not_retried(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_PIPELINING);
	play_job(&p, &one);
	play_script(&p, ONE_COMMANDS "S 250 a\nS 250 b\nS 354 c\n" CONTENT "S 250 ok\n");
	play_job(&p, &one);
	play_script(&p, ONE_COMMANDS "S 250 a\n");
	p.says = dialog_ended(&p.d, "reset");
	play_script(&p, "= REFUSED\n");
	assert_false(p.job->retried);
	play_end(&p);
}

static const struct {
	const char *script, *dsn;
	bool ends;
} next_hosts[] = {
    {"S 421 4.3.2 bye\n", "4.3.2", false},
    {"S 451 4.7.1 later\n", "4.7.1", false},
    {"S 250 a\nS 421 4.3.2 bye\n", "4.3.2", false},
    {"S 250 a\nS 550 5.1.1 no\nS 421 4.3.2 bye\n", "4.3.2", false},
    {"S 250 a\nS 250 b\nS 250 c\nS 421 4.3.2 bye\n", "4.3.2", false},
    {"", "4.4.2", true},
    {"S 250 a\nS 250 b\n", "4.4.2", true},
};

/* What ended before the content goes on at the next host (RFC 5321 5.1), with who is still open. */
static void goes_on_at_the_next_host(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof next_hosts / sizeof *next_hosts; i++) {
		bool one_failed = strstr(next_hosts[i].script, "550") != NULL;
		struct play p;

		play_begin(&p, HOP_MX);
		play_script(&p, EHLO_PIPELINING);
		play_job(&p, &two);
		play_script(&p, TWO_COMMANDS);
		play_script(&p, next_hosts[i].script);
		if (next_hosts[i].ends)
			p.says = dialog_ended(&p.d, "reset");
		play_script(&p, "= REFUSED\n");
		assert_string_equal(dialog_trouble(&p.d)->dsn, next_hosts[i].dsn);
		assert_false(dialog_is_free(&p.d));
		assert_int_equal(p.job->open, one_failed ? 1 : 2);
		dialog_start(&p.d, &p.config, HOP_MX, DIALOG_CLEAR, &p.out);
		play_script(&p, EHLO_PLAIN);
		p.says = dialog_begin(&p.d, p.job);
		play_script(&p, "C MAIL FROM:<s@a.example>\nS 250 a\n");
		if (!one_failed)
			play_script(&p, "C RCPT TO:<r@b.example>\nS 250 b\n");
		play_script(&p, "C RCPT TO:<q@b.example>\nS 250 c\nC DATA\nS 354 d\n" CONTENT
				"S 250 ok\n= SETTLED\n");
		assert_int_equal(p.job->recipients[0].kind,
				 one_failed ? OUTCOME_FAILED : OUTCOME_RELAYED);
		verdict_is(&p, 1, OUTCOME_RELAYED, "2.0.0", "250 ok");
		play_end(&p);
	}
}

/* A chunk that has gone out may have arrived when no reply tells: not offered elsewhere at once. */
static void a_sent_chunk_stays(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, "S 220 x\nC EHLO client.example\nS+ 250-x\nS+ 250-PIPELINING\n"
			"S 250 CHUNKING\n= READY\n");
	play_job(&p, &one);
	bytes_take(&p.out, bytes_len(&p.out), 4096);
	p.says = dialog_ended(&p.d, "reset");
	play_script(&p, "= SETTLED\n");
	assert_int_equal(p.job->recipients[0].kind, OUTCOME_DEFERRED);
	play_end(&p);
}

static void timeouts_are_the_rfcs(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	assert_int_equal(dialog_patience(&p.d).us, SECONDS(299).us);
	play_script(&p, EHLO_PIPELINING);
	play_job(&p, &one);
	assert_int_equal(dialog_patience(&p.d).us, SECONDS(300).us);
	play_script(&p, ONE_COMMANDS "S 250 a\nS 250 b\n");
	assert_int_equal(dialog_patience(&p.d).us, SECONDS(120).us);
	play_script(&p, "S 354 c\n");
	assert_int_equal(dialog_patience(&p.d).us, SECONDS(180).us);
	play_script(&p, CONTENT);
	dialog_flushed(&p.d);
	assert_true(dialog_past_dot(&p.d));
	assert_int_equal(dialog_patience(&p.d).us, SECONDS(600).us);
	p.says = dialog_expired(&p.d);
	play_script(&p, "= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_DEFERRED, "4.4.2",
		   "timed out while waiting for the reply to the final dot");
	play_end(&p);
}

/* What has not left when a job counts as deferred must not leave afterwards. */
static void unsent_content_is_taken_back(void **state)
{
	struct play p;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_PIPELINING);
	play_job(&p, &one);
	play_script(&p, ONE_COMMANDS "S 250 a\nS 250 b\nS 354 c\n");
	assert_true(bytes_len(&p.out) > 0);
	p.says = dialog_expired(&p.d);
	assert_int_equal(bytes_len(&p.out), 0);
	play_end(&p);
}

/* -- what is never sent ---------------------------------------------------------------------- */

static void never_sent(const struct mail *mail, const char *greeting, const char *dsn)
{
	struct play p;

	play_begin(&p, HOP_MX);
	play_script(&p, greeting);
	play_job(&p, mail);
	play_script(&p, "= SETTLED\n");
	assert_int_equal(p.job->recipients[0].kind, OUTCOME_FAILED);
	assert_string_equal(p.job->recipients[0].dsn, dsn);
	assert_true(dialog_is_free(&p.d));
	play_end(&p);
}

static void bare_newlines_are_never_sent(void **state)
{
	static const char *const bodies[] = {"a\n.\r\n", "a\r.\r\n", "a\r\n\n",
					     "a\r\r\n",	 "a",	     "a\r"};

	(void)state;
	for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
		never_sent(&(struct mail){.to = {"r@b.example"}, .body = bodies[i]},
			   EHLO_PIPELINING, "5.6.0");
}

static void bad_addresses_are_never_sent(void **state)
{
	(void)state;
	never_sent(&(struct mail){.to = {"r@b.example>\r\nDATA"}}, EHLO_PIPELINING, "5.1.3");
	never_sent(&(struct mail){.to = {"r> x@b.example"}}, EHLO_PIPELINING, "5.1.3");
	never_sent(&(struct mail){.to = {"r@b.example"}, .sender = "s\n@a.example"},
		   EHLO_PIPELINING, "5.1.7");
	never_sent(&(struct mail){.to = {"\"a\\\n\"@b.example"}}, EHLO_PIPELINING, "5.1.3");
}

static void too_large_is_never_sent(void **state)
{
	(void)state;
	never_sent(&one, "S 220 x\nC EHLO client.example\nS+ 250-x\nS 250 SIZE 20\n", "5.3.4");
}

static void hosts_may_be_unfit(void **state)
{
	static const struct mail eightbit = {
	    .to = {"r@b.example"}, .body = "\xfc\r\n", .body_type = BODY_8BITMIME};
	static const struct mail sevenbit = {.to = {"r@b.example"}, .body_type = BODY_8BITMIME};
	static const struct mail utf8 = {.to = {"r\xc3\xbc@b.example"}, .smtputf8 = 1};
	static const struct mail ascii = {.to = {"r@b.example"}, .smtputf8 = 1};
	static const struct {
		const struct mail *mail;
		const char *says;
	} rows[] = {
	    {&eightbit, "= UNFIT\n"},
	    {&utf8, "= UNFIT\n"},
	    {&sevenbit, "= WAIT\n" ONE_COMMANDS},
	    {&ascii, "= WAIT\n" ONE_COMMANDS},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct play p;

		play_begin(&p, HOP_MX);
		play_script(&p, EHLO_PIPELINING);
		play_job(&p, rows[i].mail);
		play_script(&p, rows[i].says);
		play_end(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pipelines),
	    cmocka_unit_test(goes_step_by_step),
	    cmocka_unit_test(falls_back_to_helo),
	    cmocka_unit_test(passes_parameters_on),
	    cmocka_unit_test(sends_a_chunk),
	    cmocka_unit_test(doubles_dots),
	    cmocka_unit_test(splits_by_limits),
	    cmocka_unit_test(sends_the_rest_later),
	    cmocka_unit_test(speaks_lmtp),
	    cmocka_unit_test(sends_a_lone_dot),
	    cmocka_unit_test(judges_replies),
	    cmocka_unit_test(leaves_hosts),
	    cmocka_unit_test(reused_connections_may_be_dead),
	    cmocka_unit_test(answered_jobs_are_not_retried),
	    cmocka_unit_test(goes_on_at_the_next_host),
	    cmocka_unit_test(a_sent_chunk_stays),
	    cmocka_unit_test(timeouts_are_the_rfcs),
	    cmocka_unit_test(unsent_content_is_taken_back),
	    cmocka_unit_test(bare_newlines_are_never_sent),
	    cmocka_unit_test(bad_addresses_are_never_sent),
	    cmocka_unit_test(too_large_is_never_sent),
	    cmocka_unit_test(hosts_may_be_unfit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
