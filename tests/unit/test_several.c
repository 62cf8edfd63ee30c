/* SPDX-License-Identifier: ISC */
/* Several whole mails under way on one connection: each reply is of the right one. */
#include "dialog_play.h"

#define EHLO_CHUNKS                                                                                \
	"S 220 mx.example ESMTP\nC EHLO client.example\nS+ 250-mx.example\nS+ 250-PIPELINING\n"    \
	"S 250 CHUNKING\n= READY\n"
#define CHUNK "C BDAT 21 LAST\nC Subject: x\nC \nC hello\n"
#define FIRST "C MAIL FROM:<s@a.example>\nC RCPT TO:<r@b.example>\n" CHUNK
#define NEXT "C RSET\n" FIRST
#define NEXT_TWO                                                                                   \
	"C RSET\nC MAIL FROM:<s@a.example>\nC RCPT TO:<r@b.example>\nC RCPT "                      \
	"TO:<q@b.example>\n" CHUNK
#define TAKEN "250 mail\r\n250 rcpt\r\n250 2.6.0 taken\r\n"

enum { FLEET_MAX = 10 };

/* Mails on one connection, in their order, and what the engine said of each. */
struct fleet {
	struct play p;
	struct job *jobs[FLEET_MAX];
	enum dialog_says said[FLEET_MAX];
	unsigned count, at;
};

static void fleet_begin(struct fleet *f, const char *ehlo)
{
	memset(f, 0, sizeof *f);
	play_begin(&f->p, HOP_MX);
	play_script(&f->p, ehlo);
	f->p.d.several = true;
}

/* The first is begun, the others go ahead. */
static void fleet_add(struct fleet *f, const struct mail *mail)
{
	struct job *job = mail_job(mail);

	f->said[f->count] = DIALOG_WAIT;
	f->jobs[f->count++] = job;
	if (f->count == 1)
		f->p.says = dialog_begin(&f->p.d, job);
	else
		assert_true(dialog_send_ahead(&f->p.d, job));
}

/* One, two recipients, one: A, B and C. */
static void three(struct fleet *f)
{
	fleet_begin(f, EHLO_CHUNKS);
	fleet_add(f, &one);
	fleet_add(f, &two);
	fleet_add(f, &one);
	play_script(&f->p, FIRST NEXT_TWO NEXT);
	dialog_flushed(&f->p.d);
}

static void fleet_end(struct fleet *f)
{
	for (unsigned i = 0; i < f->count; i++)
		job_free(&f->jobs[i]);
	play_end(&f->p);
}

/* What the engine said is of the present job; the next one, if it was sent, is begun. */
static void fleet_follow(struct fleet *f, enum dialog_says says)
{
	if (says == DIALOG_WAIT)
		return;
	assert_true(f->at < f->count);
	f->said[f->at++] = says;
	if (f->p.d.ahead_count && dialog_is_free(&f->p.d))
		assert_int_equal(dialog_begin(&f->p.d, f->jobs[f->at]), DIALOG_WAIT);
}

/* The receiver's replies, STEP octets a read. */
static void fleet_hear(struct fleet *f, const char *replies, size_t step)
{
	for (size_t len = strlen(replies), i = 0; i < len && !f->p.d.over; i += step) {
		size_t used = 1;

		bytes_add(&f->p.in, replies + i, len - i < step ? len - i : step);
		while (used && bytes_len(&f->p.in) && !f->p.d.over) {
			enum dialog_says says =
			    dialog_input(&f->p.d, bytes_at(&f->p.in), bytes_len(&f->p.in), &used);

			bytes_take(&f->p.in, used, 4096);
			fleet_follow(f, says);
		}
	}
}

static void of(struct fleet *f, unsigned i, uint32_t recipient, enum outcome_kind kind,
	       const char *dsn, const char *reply)
{
	struct play seen = {.job = f->jobs[i]};

	verdict_is(&seen, recipient, kind, dsn, reply);
}

static void taken(struct fleet *f, unsigned i)
{
	assert_int_equal(f->said[i], DIALOG_SETTLED);
	of(f, i, 0, OUTCOME_RELAYED, "2.6.0", "250 2.6.0 taken");
}

/* Nothing is settled of it, and nothing was said. */
static void untouched(const struct fleet *f, unsigned i)
{
	assert_int_equal(f->said[i], DIALOG_WAIT);
	assert_int_equal(f->jobs[i]->open, f->jobs[i]->recipient_count);
	assert_int_equal(f->jobs[i]->words.end, 0);
}

/* What B is answered; A and C are taken. A verdict's reply is NULL where there is none yet. */
static const struct {
	const char *what, *replies;
	enum dialog_says says;
	struct {
		enum outcome_kind kind;
		const char *dsn, *reply;
	} verdicts[2];
} answers[] = {
    {"taken",
     "250 r\r\n250 m\r\n250 a\r\n250 b\r\n250 2.0.0 ok\r\n",
     DIALOG_SETTLED,
     {{OUTCOME_RELAYED, "2.0.0", "250 2.0.0 ok"}, {OUTCOME_RELAYED, "2.0.0", "250 2.0.0 ok"}}},
    {"MAIL refused: the answer that counts is one to it alone",
     "250 r\r\n550 5.1.8 no\r\n503 a\r\n503 b\r\n503 5.5.1 c\r\n",
     DIALOG_LATER,
     {{0, 0, 0}, {0, 0, 0}}},
    {"MAIL refused for now",
     "250 r\r\n451 4.7.1 slowly\r\n503 a\r\n503 b\r\n554 5.5.1 c\r\n",
     DIALOG_LATER,
     {{0, 0, 0}, {0, 0, 0}}},
    {"one RCPT refused",
     "250 r\r\n250 m\r\n250 a\r\n550 5.1.1 who?\r\n250 2.0.0 ok\r\n",
     DIALOG_SETTLED,
     {{OUTCOME_RELAYED, "2.0.0", "250 2.0.0 ok"}, {OUTCOME_FAILED, "5.1.1", "550 5.1.1 who?"}}},
    {"the other one",
     "250 r\r\n250 m\r\n450 4.2.1 full\r\n250 b\r\n250 2.0.0 ok\r\n",
     DIALOG_SETTLED,
     {{OUTCOME_DEFERRED, "4.2.1", "450 4.2.1 full"}, {OUTCOME_RELAYED, "2.0.0", "250 2.0.0 ok"}}},
    {"all RCPT refused, then BDAT 503",
     "250 r\r\n250 m\r\n550 5.1.1 who?\r\n450 4.2.1 full\r\n503 5.5.1 RCPT first\r\n",
     DIALOG_SETTLED,
     {{OUTCOME_FAILED, "5.1.1", "550 5.1.1 who?"}, {OUTCOME_DEFERRED, "4.2.1", "450 4.2.1 full"}}},
    {"all RCPT refused, then BDAT 554",
     "250 r\r\n250 m\r\n550 5.1.1 a\r\n550 5.1.1 b\r\n554 5.5.1 no valid recipients\r\n",
     DIALOG_SETTLED,
     {{OUTCOME_FAILED, "5.1.1", "550 5.1.1 a"}, {OUTCOME_FAILED, "5.1.1", "550 5.1.1 b"}}},
    {"BDAT 4xx",
     "250 r\r\n250 m\r\n250 a\r\n250 b\r\n451 4.3.0 disk\r\n",
     DIALOG_SETTLED,
     {{OUTCOME_DEFERRED, "4.3.0", "451 4.3.0 disk"},
      {OUTCOME_DEFERRED, "4.3.0", "451 4.3.0 disk"}}},
    {"BDAT 5xx",
     "250 r\r\n250 m\r\n250 a\r\n250 b\r\n550-5.7.1 spam\r\n550 5.7.1 go\r\n",
     DIALOG_SETTLED,
     {{OUTCOME_FAILED, "5.7.1", "550 5.7.1 spam go"},
      {OUTCOME_FAILED, "5.7.1", "550 5.7.1 spam go"}}},
    {"BDAT 452",
     "250 r\r\n250 m\r\n250 a\r\n250 b\r\n452 4.3.1 no room\r\n",
     DIALOG_SETTLED,
     {{OUTCOME_DEFERRED, "4.3.1", "452 4.3.1 no room"},
      {OUTCOME_DEFERRED, "4.3.1", "452 4.3.1 no room"}}},
    {"too many recipients: the rest comes behind the others",
     "250 r\r\n250 m\r\n250 a\r\n452 4.5.3 too many\r\n250 2.0.0 ok\r\n",
     DIALOG_LATER,
     {{OUTCOME_RELAYED, "2.0.0", "250 2.0.0 ok"}, {0, 0, 0}}},
};

static void each_reply_is_of_one_mail(void **state)
{
	static const size_t steps[] = {1, 2, 7, 100000};

	(void)state;
	for (size_t i = 0; i < 4 * (sizeof answers / sizeof *answers); i++) {
		const size_t row = i / 4;
		char replies[512];
		struct fleet f;

		three(&f);
		snprintf(replies, sizeof replies, TAKEN "%s250 r\r\n" TAKEN, answers[row].replies);
		fleet_hear(&f, replies, steps[i % 4]);
		if (f.at != 3 || f.said[1] != answers[row].says)
			fail_msg("%s: %u settled, %d", answers[row].what, f.at, f.said[1]);
		taken(&f, 0);
		taken(&f, 2);
		for (uint32_t k = 0; k < 2; k++) {
			if (answers[row].verdicts[k].reply)
				of(&f, 1, k, answers[row].verdicts[k].kind,
				   answers[row].verdicts[k].dsn, answers[row].verdicts[k].reply);
			else
				assert_int_not_equal(f.jobs[1]->recipients[k].stage,
						     RECIPIENT_SETTLED);
		}
		assert_true(dialog_is_free(&f.p.d));
		assert_int_equal(f.p.d.ring_count, 0);
		assert_false(f.p.d.needs_rset);
		fleet_end(&f);
	}
}

/* It gets an answer of its own, without others before or behind it, and nothing is sent to whoever
 * has it already. */
static void what_is_put_off_goes_alone(void **state)
{
	static const size_t rows[] = {1, 10};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct job *behind = mail_job(&one);
		char replies[512];
		struct fleet f;

		three(&f);
		snprintf(replies, sizeof replies, TAKEN "%s250 r\r\n" TAKEN,
			 answers[rows[i]].replies);
		fleet_hear(&f, replies, 100000);
		f.p.says = dialog_begin(&f.p.d, f.jobs[1]);
		assert_false(dialog_send_ahead(&f.p.d, behind));
		play_script(&f.p, i ? "C MAIL FROM:<s@a.example>\nC RCPT TO:<q@b.example>\n" CHUNK
				      "S 250 m\nS 250 a\nS 250 2.0.0 ok\n= SETTLED\n"
				    : "C MAIL FROM:<s@a.example>\nC RCPT TO:<r@b.example>\n"
				      "C RCPT TO:<q@b.example>\n" CHUNK "S 550 5.1.8 no\nS 503 a\n"
				      "S 503 b\nS 503 c\n= SETTLED\n");
		if (i)
			of(&f, 1, 1, OUTCOME_RELAYED, "2.0.0", "250 2.0.0 ok");
		else
			of(&f, 1, 0, OUTCOME_FAILED, "5.1.8", "550 5.1.8 no");
		/* Nor does it go ahead of another, once it is put off. */
		assert_int_equal(dialog_begin(&f.p.d, behind), DIALOG_CONTENT);
		assert_false(dialog_send_ahead(&f.p.d, f.jobs[1]));
		play_script(&f.p, i ? FIRST : NEXT);
		job_free(&behind);
		fleet_end(&f);
	}
}

/* "Not from you, for now" would be asked of another host; who leaves now sends the others twice. */
static void others_are_waited_for(void **state)
{
	struct fleet f;

	(void)state;
	three(&f);
	fleet_hear(&f,
		   "451 4.7.1 slowly\r\n503 a\r\n503 b\r\n"
		   "250 r\r\n250 m\r\n250 a\r\n250 b\r\n250 2.6.0 taken\r\n250 r\r\n" TAKEN,
		   1);
	assert_int_equal(f.said[0], DIALOG_LATER);
	taken(&f, 1);
	taken(&f, 2);
	f.p.says = dialog_begin(&f.p.d, f.jobs[0]);
	play_script(&f.p, FIRST "S 451 4.7.1 slowly\n= REFUSED\n");
	fleet_end(&f);
}

static const char *const all_replies[] = {
    "250 m\r\n", "250 a\r\n", "250 2.6.0 taken\r\n", "250 r\r\n",
    "250 m\r\n", "250 a\r\n", "250 b\r\n",	     "250 2.6.0 taken\r\n",
    "250 r\r\n", "250 m\r\n", "250 a\r\n",	     "250 2.6.0 taken\r\n"};

enum { REPLIES = sizeof all_replies / sizeof *all_replies };

/* How many mails are settled by the first so many replies, and whether the next one's MAIL is. */
static unsigned settled_by(unsigned replies, bool *begun)
{
	unsigned mails = replies >= 12 ? 3 : replies >= 8 ? 2 : replies >= 3 ? 1 : 0;
	static const unsigned first[] = {1, 5, 10, 99};

	*begun = replies >= first[mails];
	return mails;
}

/* The connection ends behind each reply, or no further one comes. */
static void a_break_concerns_what_is_open(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * REPLIES; i++) {
		bool begun, expires = i % 2, first;
		unsigned mails = settled_by(i / 2, &begun);
		struct fleet f;

		three(&f);
		for (unsigned k = 0; k < i / 2; k++)
			fleet_hear(&f, all_replies[k], 100000);
		assert_int_equal(f.at, mails);
		fleet_follow(&f, expires ? dialog_expired(&f.p.d) : dialog_ended(&f.p.d, "reset"));
		first = mails == 0;
		for (unsigned k = 0; k < mails; k++)
			taken(&f, k);
		if (begun || first) {
			assert_int_equal(f.said[mails], DIALOG_SETTLED);
			assert_int_equal(f.jobs[mails]->recipients[0].kind, OUTCOME_DEFERRED);
			assert_string_equal(f.jobs[mails]->recipients[0].dsn, "4.4.2");
		} else {
			assert_int_equal(f.said[mails], DIALOG_STALE);
			assert_int_equal(f.jobs[mails]->open, f.jobs[mails]->recipient_count);
			assert_true(f.jobs[mails]->retried);
		}
		for (unsigned k = mails + 1; k < 3; k++)
			untouched(&f, k);
		assert_false(dialog_is_free(&f.p.d));
		fleet_end(&f);
	}
}

/* RFC 5321 section 3.8: a 421 may come in place of any reply. */
static void a_421_ends_it_in_order(void **state)
{
	(void)state;
	for (unsigned i = 0; i < REPLIES; i++) {
		bool begun;
		unsigned mails = settled_by(i, &begun);
		struct fleet f;

		three(&f);
		for (unsigned k = 0; k < i; k++)
			fleet_hear(&f, all_replies[k], 100000);
		fleet_hear(&f, "421 4.3.2 enough for one connection\r\n", 3);
		for (unsigned k = 0; k < mails; k++)
			taken(&f, k);
		bool at_content = strstr(all_replies[i], "taken") != NULL;

		assert_int_equal(f.said[mails], at_content	  ? DIALOG_SETTLED
						: begun || !mails ? DIALOG_REFUSED
								  : DIALOG_STALE);
		assert_int_equal(f.jobs[mails]->open,
				 at_content ? 0 : f.jobs[mails]->recipient_count);
		for (unsigned k = mails + 1; k < 3; k++)
			untouched(&f, k);
		assert_int_equal(dialog_trouble(&f.p.d)->code, 421);
		assert_false(f.p.d.strange);
		fleet_end(&f);
	}
}

static const struct {
	const char *what, *replies;
	unsigned settled; /* taken before it is found out */
} strangers[] = {
    {"a reply too many", TAKEN "250 r\r\n550 5.5.1 what?\r\n250 r\r\n", 1},
    {"a content taken for commands", TAKEN "500 5.5.1 what?\r\n500 5.5.1 what?\r\n", 1},
    {"RSET refused", TAKEN "451 no\r\n", 1},
    {"a 3xx", TAKEN "250 r\r\n354 go\r\n", 1},
    {"a content without MAIL", TAKEN "250 r\r\n550 m\r\n503 a\r\n503 b\r\n250 2.6.0 taken\r\n", 1},
    {"no reply at all", TAKEN "250 r\r\nhello\r\n", 1},
};

static void a_stranger_is_left(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * (sizeof strangers / sizeof *strangers); i++) {
		struct fleet f;

		three(&f);
		fleet_hear(&f, strangers[i / 2].replies, i % 2 ? 1 : 100000);
		taken(&f, 0);
		if (i / 2 == 0) {
			/* MAIL's refusal was a stray; the RSET that follows tells nobody. */
			assert_false(f.p.d.over);
			fleet_end(&f);
			continue;
		}
		assert_int_equal(f.at, 2);
		assert_int_equal(f.said[1], DIALOG_SETTLED);
		assert_int_equal(f.jobs[1]->recipients[0].kind, OUTCOME_DEFERRED);
		assert_string_equal(f.jobs[1]->recipients[1].dsn, "4.5.0");
		untouched(&f, 2);
		assert_true(f.p.d.strange);
		assert_true(f.p.d.over);
		fleet_end(&f);
	}
	struct fleet f;

	/* Behind the last one. */
	three(&f);
	fleet_hear(&f,
		   TAKEN "250 r\r\n250 m\r\n250 a\r\n250 b\r\n250 2.6.0 taken\r\n250 r\r\n" TAKEN
			 "250 more\r\n",
		   100000);
	taken(&f, 2);
	assert_true(f.p.d.over);
	fleet_end(&f);
}

/* Each reply has its own time, also while more is on its way to one that does not read. */
static void each_reply_has_its_time(void **state)
{
	struct fleet f;

	(void)state;
	fleet_begin(&f, EHLO_CHUNKS);
	fleet_add(&f, &one);
	fleet_add(&f, &two);
	assert_int_equal(dialog_patience(&f.p.d).us, SECONDS(180).us);
	play_script(&f.p, FIRST);
	assert_false(dialog_is_sending(&f.p.d));
	assert_int_equal(dialog_patience(&f.p.d).us, SECONDS(300).us);
	/* Its content has left, and the replies before the last one are not waited for for ever. */
	assert_true(dialog_past_dot(&f.p.d) && !dialog_awaits_end(&f.p.d));
	fleet_hear(&f, "250 m\r\n250 a\r\n", 1);
	assert_true(dialog_past_dot(&f.p.d) && dialog_awaits_end(&f.p.d));
	assert_int_equal(dialog_patience(&f.p.d).us, SECONDS(600).us);
	fleet_hear(&f, "250 2.6.0 taken\r\n", 1);
	/* Now it is the second that is being sent. */
	assert_int_equal(dialog_patience(&f.p.d).us, SECONDS(180).us);
	play_script(&f.p, NEXT_TWO);
	dialog_flushed(&f.p.d);
	assert_int_equal(dialog_patience(&f.p.d).us, SECONDS(300).us);
	fleet_hear(&f, "250 r\r\n250 m\r\n250 a\r\n250 b\r\n", 1);
	assert_int_equal(dialog_patience(&f.p.d).us, SECONDS(600).us);
	fleet_end(&f);
}

static const struct {
	const char *what, *ehlo;
	enum hop_how how;
	bool near;
	struct mail next;
} never[] = {
    {"a receiver that is near", EHLO_CHUNKS, HOP_MX, true, {.to = {"r@b.example"}}},
    {"without CHUNKING", EHLO_PIPELINING, HOP_MX, false, {.to = {"r@b.example"}}},
    {"without PIPELINING",
     "S 220 x\nC EHLO client.example\nS+ 250-x\nS 250 CHUNKING\n= READY\n",
     HOP_MX,
     false,
     {.to = {"r@b.example"}}},
    {"LMTP",
     "S 220 x\nC LHLO client.example\nS+ 250-x\nS+ 250-PIPELINING\nS 250 CHUNKING\n= READY\n",
     HOP_LMTP,
     false,
     {.to = {"r@b.example"}}},
    {"MAILMAX",
     "S 220 x\nC EHLO client.example\nS+ 250-x\nS+ 250-LIMITS MAILMAX=1\nS+ 250-CHUNKING\n"
     "S 250 PIPELINING\n= READY\n",
     HOP_MX,
     false,
     {.to = {"r@b.example"}}},
    {"a bare LF", EHLO_CHUNKS, HOP_MX, false, {.to = {"r@b.example"}, .body = "bare\nline\r\n"}},
    {"8-bit content",
     EHLO_CHUNKS,
     HOP_MX,
     false,
     {.to = {"r@b.example"}, .body = "\xc3\xbc\r\n", .body_type = BODY_8BITMIME}},
};

static void others_go_one_by_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
		struct job *next = mail_job(&never[i].next);
		struct play p;

		play_begin(&p, never[i].how);
		play_script(&p, never[i].ehlo);
		p.d.several = !never[i].near;
		play_job(&p, &one);
		if (dialog_send_ahead(&p.d, next))
			fail_msg("went ahead: %s", never[i].what);
		bytes_take(&p.out, bytes_len(&p.out), 4096);
		job_free(&next);
		play_end(&p);
	}
}

/* Eight mails, and 256 KB. */
static void so_many_and_so_much(void **state)
{
	static char large[65000 + 1];
	struct fleet f;
	struct job *next = mail_job(&one);

	(void)state;
	fleet_begin(&f, EHLO_CHUNKS);
	for (unsigned i = 0; i < SLOT_JOBS_MAX; i++)
		fleet_add(&f, &one);
	assert_false(dialog_send_ahead(&f.p.d, next));
	fleet_hear(&f, TAKEN, 1);
	assert_true(dialog_send_ahead(&f.p.d, next));
	f.jobs[f.count++] = next;
	for (unsigned i = 0; i < SLOT_JOBS_MAX; i++)
		fleet_hear(&f, "250 r\r\n" TAKEN, 1);
	for (unsigned i = 0; i <= SLOT_JOBS_MAX; i++)
		taken(&f, i);
	bytes_take(&f.p.out, bytes_len(&f.p.out), 4096);
	fleet_end(&f);

	memset(large, 'x', sizeof large - 1);
	for (size_t i = 70; i < sizeof large - 1; i += 72)
		memcpy(large + i, "\r\n", 2);
	memcpy(large + sizeof large - 3, "\r\n", 3);
	fleet_begin(&f, EHLO_CHUNKS);
	for (unsigned i = 0; i < 4; i++)
		fleet_add(&f, &(struct mail){.to = {"r@b.example"}, .body = large});
	next = mail_job(&(struct mail){.to = {"r@b.example"}, .body = large});
	assert_false(dialog_send_ahead(&f.p.d, next));
	fleet_hear(&f, TAKEN, 1);
	assert_true(dialog_send_ahead(&f.p.d, next));
	f.jobs[f.count++] = next;
	bytes_take(&f.p.out, bytes_len(&f.p.out), 4096);
	fleet_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_reply_is_of_one_mail),
	    cmocka_unit_test(what_is_put_off_goes_alone),
	    cmocka_unit_test(others_are_waited_for),
	    cmocka_unit_test(a_break_concerns_what_is_open),
	    cmocka_unit_test(a_421_ends_it_in_order),
	    cmocka_unit_test(a_stranger_is_left),
	    cmocka_unit_test(each_reply_has_its_time),
	    cmocka_unit_test(others_go_one_by_one),
	    cmocka_unit_test(so_many_and_so_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
