/* SPDX-License-Identifier: ISC */
/* A dialog for mail with REQUIRETLS: where it is asked for, and where no mail is sent (RFC 8689).
 */
#include "dialog_play.h"

#define SECURED                                                                                    \
	"S 220 a\nC EHLO client.example\nS+ 250-a\nS+ 250-%s\nS 250 STARTTLS\nC STARTTLS\nS 220 "  \
	"go\n= SECURE\n"
#define PLAIN_COMMANDS "C MAIL FROM:<s@a.example>\nC RCPT TO:<r@b.example>\nC DATA\n"
#define REQUIRED_COMMANDS "C MAIL FROM:<s@a.example> REQUIRETLS\nC RCPT TO:<r@b.example>\nC DATA\n"

enum { ASKED = 1, PROVED = 2, REQUIRES = 4, OFFERED = 8 };

static void row(unsigned what, const char *says)
{
	struct mail mail = {.to = {"r@b.example"},
			    .tls = what & ASKED ? MAIL_TLS_REQUIRED : MAIL_TLS_ANY};
	struct play p;
	char script[256];

	play_begin_tls(&p, HOP_MX, DIALOG_TLS_NEEDED);
	p.d.requires = (what & REQUIRES) != 0;
	/* What is offered in the clear counts for nothing. */
	snprintf(script, sizeof script, SECURED, "REQUIRETLS");
	play_script(&p, script);
	p.d.proved = (what & PROVED) != 0;
	dialog_secured(&p.d);
	play_script(
	    &p,
	    what & OFFERED
		? "C EHLO client.example\nS+ 250-a\nS+ 250-requiretls\nS 250 PIPELINING\n= READY\n"
		: "C EHLO client.example\nS+ 250-a\nS 250 PIPELINING\n= READY\n");
	play_job(&p, &mail);
	play_script(&p, says);
	play_end(&p);
}

static void only_to_who_proved_himself_and_offers_it(void **state)
{
	static const char unfit[] = "= UNFIT\n";
	static const char plain[] = "= WAIT\n" PLAIN_COMMANDS;
	static const char required[] = "= WAIT\n" REQUIRED_COMMANDS;

	(void)state;
	row(ASKED | PROVED | REQUIRES | OFFERED, required);
	row(ASKED | PROVED | REQUIRES, unfit);
	row(ASKED | REQUIRES | OFFERED, unfit);
	/* A report that found no such way: with it where it can be, else without. */
	row(ASKED | PROVED | OFFERED, required);
	row(ASKED | OFFERED, plain);
	row(ASKED | PROVED, plain);
	/* Of others nothing is asked. */
	row(PROVED | OFFERED, plain);
}

static void never_in_the_clear(void **state)
{
	struct mail mail = {.to = {"r@b.example"}, .tls = MAIL_TLS_REQUIRED};
	struct play p;

	(void)state;
	for (int requires = 0; requires < 2; requires ++) {
		play_begin_tls(&p, HOP_MX, DIALOG_CLEAR);
		p.d.requires = requires;
		play_script(&p,
			    "S 220 a\nC EHLO client.example\nS+ 250-a\nS+ 250-REQUIRETLS\nS 250 "
			    "PIPELINING\n= READY\n");
		play_job(&p, &mail);
		play_script(&p, requires ? "= UNFIT\n" : "= WAIT\n" PLAIN_COMMANDS);
		play_end(&p);
	}
}

/* What has no TLS today may have it tomorrow only if the receiver says so. */
static void what_lacks_for_good(void **state)
{
	static const struct {
		const char *says;
		bool good;
	} rows[] = {
	    {"S 220 a\nC EHLO client.example\nS 250 a\n= REFUSED\n", true},
	    {"S 220 a\nC EHLO client.example\nS+ 250-a\nS 250 STARTTLS\nC STARTTLS\nS 454 4.7.0 "
	     "later\n= REFUSED\n",
	     false},
	    {"S 220 a\nC EHLO client.example\nS+ 250-a\nS 250 STARTTLS\nC STARTTLS\nS 502 5.5.1 "
	     "what\n= REFUSED\n",
	     true},
	};
	struct play p;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		play_begin_tls(&p, HOP_MX, DIALOG_TLS_NEEDED);
		play_script(&p, rows[i].says);
		assert_true(p.d.lacks_tls);
		assert_int_equal(p.d.lacks_for_good, rows[i].good);
		play_end(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_to_who_proved_himself_and_offers_it),
	    cmocka_unit_test(never_in_the_clear),
	    cmocka_unit_test(what_lacks_for_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
