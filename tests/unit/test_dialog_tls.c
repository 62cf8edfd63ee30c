/* SPDX-License-Identifier: ISC */
/* STARTTLS in the outbound engine, by replays (dialog_play.h). */
#include "dialog_play.h"

#define EHLO_STARTTLS                                                                              \
	"S 220 mx.example ESMTP\nC EHLO client.example\nS+ 250-mx.example\nS+ 250-SIZE 9\n"        \
	"S+ 250-PIPELINING\nS 250 STARTTLS\n"

static void secures(void **state)
{
	struct play p;

	(void)state;
	for (unsigned tls = DIALOG_TLS_MAY; tls <= DIALOG_TLS_NEEDED; tls++) {
		play_begin_tls(&p, HOP_MX, (enum dialog_tls)tls);
		play_script(&p, EHLO_STARTTLS "C STARTTLS\n");
		assert_true(dialog_asks_for_tls(&p.d));
		play_script(&p, "S 220 go\n= SECURE\n");
		assert_false(dialog_asks_for_tls(&p.d));
		assert_false(dialog_is_free(&p.d));
		dialog_secured(&p.d);
		/* What was offered in the clear is forgotten, and STARTTLS is not asked for twice.
		 */
		assert_int_equal(p.d.offers.set, 0);
		assert_int_equal(p.d.offers.size_limit, 0);
		play_script(&p,
			    "C EHLO client.example\nS+ 250-mx.example\nS 250 STARTTLS\n= READY\n");
		play_job(&p, &one);
		play_script(&p, "C MAIL FROM:<s@a.example>\nS 250 a\nC RCPT TO:<r@b.example>\n"
				"S 250 b\nC DATA\nS 354 c\n" CONTENT "S 250 d\n= SETTLED\n");
		verdict_is(&p, 0, OUTCOME_RELAYED, "2.0.0", "250 d");
		play_end(&p);
	}
	play_begin_tls(&p, HOP_LMTP, DIALOG_TLS_NEEDED);
	play_script(&p, "S 220 a\nC LHLO client.example\nS+ 250-a\nS 250 STARTTLS\nC STARTTLS\n"
			"S 220 go\n= SECURE\n");
	dialog_secured(&p.d);
	play_script(&p, "C LHLO client.example\nS 250 a\n= READY\n");
	play_end(&p);
}

/* In the clear where it may be, else nothing is said of the mail. */
static void goes_without_tls_or_not_at_all(void **state)
{
	static const struct {
		const char *script, *trouble;
		bool declined;
	} cases[] = {
	    {EHLO_PLAIN, "TLS is required, but the receiver does not offer it", false},
	    {"S 220 a\nC EHLO client.example\nS 502 what?\nC HELO client.example\nS 250 a\n",
	     "TLS is required, but the receiver does not offer it", false},
	    {EHLO_STARTTLS "C STARTTLS\nS 454 4.7.0 not now\n",
	     "TLS is required, but STARTTLS was refused: 454 4.7.0 not now", true},
	    {EHLO_STARTTLS "C STARTTLS\nS 502 5.5.1 what?\n",
	     "TLS is required, but STARTTLS was refused: 502 5.5.1 what?", true},
	};
	struct play p;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char script[512];

		text_copy(script, sizeof script, text_of(cases[i].script));
		if (i == 0)
			*strstr(script, "= READY") = '\0';
		play_begin_tls(&p, HOP_MX, DIALOG_TLS_MAY);
		play_script(&p, script);
		play_script(&p, "= READY\n");
		assert_int_equal(p.d.declined, cases[i].declined);
		assert_false(p.d.secured);
		play_end(&p);
		play_begin_tls(&p, HOP_MX, DIALOG_TLS_NEEDED);
		play_script(&p, script);
		play_script(&p, "= REFUSED\n");
		assert_true(p.d.lacks_tls);
		assert_string_equal(dialog_trouble(&p.d)->dsn, "4.7.4");
		assert_string_equal(dialog_trouble(&p.d)->text, cases[i].trouble);
		assert_false(dialog_is_free(&p.d));
		play_end(&p);
	}
}

static void answers_from_before_tls_are_none(void **state)
{
	struct play p;

	(void)state;
	for (unsigned tls = DIALOG_TLS_MAY; tls <= DIALOG_TLS_NEEDED; tls++) {
		play_begin_tls(&p, HOP_MX, (enum dialog_tls)tls);
		play_script(&p, EHLO_STARTTLS "C STARTTLS\nS+ 220 go\nS 250 injected\n= REFUSED\n");
		assert_string_equal(dialog_trouble(&p.d)->dsn, "4.5.0");
		play_end(&p);
	}
	/* A server that shuts down serves nobody, with TLS or without. */
	play_begin_tls(&p, HOP_MX, DIALOG_TLS_MAY);
	play_script(&p, EHLO_STARTTLS "C STARTTLS\nS 421 4.3.2 bye\n= REFUSED\n");
	assert_false(p.d.lacks_tls);
	play_end(&p);
	/* Not asked for: nobody is told. */
	play_begin_tls(&p, HOP_MX, DIALOG_CLEAR);
	play_script(&p, EHLO_STARTTLS "= READY\n");
	play_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(secures),
	    cmocka_unit_test(goes_without_tls_or_not_at_all),
	    cmocka_unit_test(answers_from_before_tls_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
