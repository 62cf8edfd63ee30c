/* SPDX-License-Identifier: ISC */
/* The outbound engine where a login is due, by replays (dialog_play.h). */
#include "dialog_play.h"

#include "sasl.h"

#define EHLO_AUTH                                                                                  \
	"S 220 mx.example ESMTP\nC EHLO client.example\nS+ 250-mx.example\nS+ 250-PIPELINING\n"    \
	"S 250 AUTH PLAIN LOGIN\n= LOGIN\n"

static void login_begin(struct play *p)
{
	play_begin_tls(p, HOP_HOST, DIALOG_CLEAR);
	p->d.login = true;
}

static void say(struct play *p, const char *mechanism, const char *initial)
{
	const struct text response = text_of(initial);

	dialog_auth(&p->d, text_of(mechanism), initial ? &response : NULL);
}

static void respond(struct play *p, const char *response)
{
	const struct text t = text_of(response);

	dialog_auth_respond(&p->d, response ? &t : NULL);
}

static void logs_in(void **state)
{
	struct play p;

	(void)state;
	login_begin(&p);
	play_script(&p, EHLO_AUTH);
	assert_int_equal(p.d.offers.mechanisms, SASL_PLAIN | SASL_LOGIN);
	assert_false(dialog_is_free(&p.d));
	say(&p, "PLAIN", "\1a\1b");
	assert_int_equal(dialog_patience(&p.d).us, SECONDS(300).us);
	play_script(&p, "C AUTH PLAIN AWEBYg==\nS 235 2.7.0 in\n= JUDGED\n");
	assert_int_equal(dialog_trouble(&p.d)->code, 235);
	assert_false(dialog_is_free(&p.d));
	p.says = dialog_logged_in(&p.d);
	play_script(&p, "= READY\n");
	play_job(&p, &one);
	play_script(&p, ONE_COMMANDS "S 250 a\nS 250 b\nS 354 c\n" CONTENT "S 250 ok\n= SETTLED\n");
	/* No login for the next mail. */
	play_job(&p, &one);
	play_script(&p, ONE_COMMANDS "S 250 a\nS 250 b\nS 354 c\n" CONTENT "S 250 ok\n= SETTLED\n");
	play_end(&p);
}

static void answers_challenges(void **state)
{
	struct play p;

	(void)state;
	login_begin(&p);
	play_script(&p, EHLO_AUTH);
	say(&p, "LOGIN", NULL);
	play_script(&p, "C AUTH LOGIN\nS 334 VXNlcm5hbWU6\n= CHALLENGE\n");
	respond(&p, "ann");
	play_script(&p, "C YW5u\nS 334 \n= CHALLENGE\n");
	respond(&p, "");
	play_script(&p, "C \nS 334\n= CHALLENGE\n");
	respond(&p, NULL);
	play_script(&p, "C *\nS 501 cancelled\n= JUDGED\n");
	p.says = dialog_login_again(&p.d);
	play_script(&p, "= LOGIN\n");
	say(&p, "X", "");
	play_script(&p, "C AUTH X =\nS 535 5.7.8 no\n= JUDGED\n");
	assert_string_equal(dialog_trouble(&p.d)->dsn, "5.7.8");
	play_end(&p);
}

/* What the server says at the login that is no answer to it; nobody's mail is shown to it. */
static void ends_badly(void **state)
{
	static const struct {
		const char *script, *dsn;
	} rows[] = {
	    {"S 421 4.3.2 bye\n= REFUSED\n", "4.3.2"},
	    {"S 354 go on\n= REFUSED\n", "4.5.0"},
	    {"S+ 334-a\nS 334 b\n= REFUSED\n", "4.5.0"},
	    {"S what\n= REFUSED\n", "4.5.0"},
	    {"S+ 235 in\nS 250 and more\n= REFUSED\n", "4.5.0"},
	    {"S+ 334 YQ==\nS 235 in\n= REFUSED\n", "4.5.0"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct play p;

		login_begin(&p);
		play_script(&p, EHLO_AUTH);
		say(&p, "PLAIN", "x");
		play_script(&p, "C AUTH PLAIN eA==\n");
		play_script(&p, rows[i].script);
		assert_string_equal(dialog_trouble(&p.d)->dsn, rows[i].dsn);
		assert_false(p.d.up);
		play_end(&p);
	}
}

static void gives_up_waiting(void **state)
{
	struct play p;

	(void)state;
	login_begin(&p);
	play_script(&p, EHLO_AUTH);
	p.says = dialog_ended(&p.d, "reset");
	play_script(&p, "= REFUSED\n");
	assert_string_equal(dialog_trouble(&p.d)->text,
			    "lost the connection (reset) while logging in");
	play_end(&p);
	/* Before anything was asked nothing may be said. */
	login_begin(&p);
	play_script(&p, EHLO_AUTH "S 235 you are in\n= REFUSED\n");
	play_end(&p);
}

/* RFC 4954 section 4: 12288 octets of base64, while we log in and not otherwise. */
static void takes_long_challenges(void **state)
{
	(void)state;
	for (int more = 0; more < 2; more++) {
		char line[13000];
		struct play p;

		login_begin(&p);
		play_script(&p, EHLO_AUTH);
		say(&p, "X", "x");
		play_script(&p, "C AUTH X eA==\n");
		int n = snprintf(line, sizeof line, "S 334 %0*d\n= %s\n", 12288 + 16 * more, 0,
				 more ? "REFUSED" : "CHALLENGE");

		assert_true((size_t)n < sizeof line);
		play_script(&p, line);
		play_end(&p);
	}
}

/* The mail is not to blame, and goes back to the owner. */
static void is_logged_out(void **state)
{
	static const char *const replies[] = {"S 530 5.7.0 log in\n", "S 535 5.7.8 no\n"};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct play p;

		login_begin(&p);
		play_script(&p, EHLO_AUTH);
		say(&p, "X", "x");
		play_script(&p, "C AUTH X eA==\nS 235 in\n");
		dialog_logged_in(&p.d);
		p.d.login = i < 2;
		play_job(&p, &one);
		play_script(&p, ONE_COMMANDS);
		play_script(&p, replies[i % 2]);
		assert_int_equal(p.d.unlogged, i < 2);
		assert_int_equal(p.job->open, i < 2);
		if (i < 2)
			play_script(&p, "= REFUSED\n");
		play_end(&p);
	}
}

static void knows_offers(void **state)
{
	static const struct {
		const char *lines;
		unsigned mechanisms;
	} rows[] = {
	    {"S 250 AUTH=LOGIN PLAIN\n", SASL_LOGIN | SASL_PLAIN},
	    {"S+ 250-AUTH=PLAIN\nS 250 AUTH XOAUTH2 OAUTHBEARER\n",
	     SASL_PLAIN | SASL_XOAUTH2 | SASL_OAUTHBEARER},
	    {"S 250 auth scram-sha-1 SCRAM-SHA-256-PLUS CRAM-MD5\n",
	     SASL_SCRAM_SHA_1 | SASL_SCRAM_SHA_256_PLUS},
	    {"S 250 AUTHOR PLAIN\n", 0},
	    {"S 250 AUTH\n", 0},
	    {"S 250 AUTH=\n", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct play p;

		login_begin(&p);
		play_script(&p, "S 220 x\nC EHLO client.example\nS+ 250-x\n");
		play_script(&p, rows[i].lines);
		play_script(&p, "= LOGIN\n");
		assert_int_equal(p.d.offers.mechanisms, rows[i].mechanisms);
		play_end(&p);
	}
}

/* smtps: TLS was there before the greeting, so that STARTTLS is of no use. */
static void begins_secured(void **state)
{
	struct play p;

	(void)state;
	play_begin_tls(&p, HOP_SMTPS, DIALOG_TLS_DONE);
	play_script(&p, "S 220 x\nC EHLO client.example\nS+ 250-x\nS 250 STARTTLS\n= READY\n");
	play_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(logs_in),
	    cmocka_unit_test(answers_challenges),
	    cmocka_unit_test(ends_badly),
	    cmocka_unit_test(gives_up_waiting),
	    cmocka_unit_test(takes_long_challenges),
	    cmocka_unit_test(is_logged_out),
	    cmocka_unit_test(knows_offers),
	    cmocka_unit_test(begins_secured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
