/* SPDX-License-Identifier: ISC */
/* Jobs of qmgr under a configuration that qmgr does not have yet, or has no more. */
#include "job.h"
#include "route_login.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define HEAD "hostname = h.example\npostmaster = p@h.example\n"
#define LOGIN(TO, NAME)                                                                            \
	"{ to = smtp:" TO ":587  login = " NAME "  password-file = /etc/" NAME " }\n"

static struct config *configured(const char *text)
{
	struct config_errors errors = {0};
	struct config *config = config_read(text_of(text), &errors);

	if (!config)
		fail_msg("the configuration is not taken");
	config_errors_free(&errors);
	return config;
}

/* The key of a connection as qmgr makes it, of mail to far.example by its configuration. */
static const char *hop_of(const char *text, const char *chosen, char *to)
{
	struct config *config = configured(text);
	struct text domain = text_of("far.example");
	int n = sprintf(to, "to somewhere");

	route_login_key(config_route_of(config, domain, text_of(chosen)), to + n);
	config_drop(&config);
	return to;
}

/* How many recipients are open under TEXT of a job that came with that key. */
static uint32_t open_under(const char *text, const char *chosen, const char *hop)
{
	struct config *config = configured(text);
	struct bytes item = {0};

	rec_job_recipient_encode(&item,
				 &(struct rec_job_recipient){.address = text_of("r@far.example")});
	struct job *job = job_new(&(struct msg_job){.how = HOP_MX,
						    .target = text_of("far.example"),
						    .port = 25,
						    .domain = text_of("far.example"),
						    .hop = text_of(hop),
						    .route = text_of(chosen),
						    .prelude = text_of("\r\n"),
						    .recipients = {1, bytes_text(&item)}},
				  -1, false);

	bytes_free(&item);
	assert_non_null(job);
	job_set_config(job, config);
	uint32_t open = job->open;

	job_free(&job);
	config_drop(&config);
	return open;
}

static const char plain[] = HEAD;
static const char relay[] = HEAD "route * " LOGIN("relay.example", "one");
static const char other[] = HEAD "route * " LOGIN("other.example", "one");
static const char named[] = HEAD "route @a " LOGIN("relay.example", "one");
static const char moved[] = HEAD "route @a " LOGIN("other.example", "two");

static const char without[] = HEAD "route @a { to = smtp:relay.example:587 }\n";

/* What was to go to somebody's MX, or to the old relay, must not hear the new one's login. */
static void a_login_is_for_its_relay(void **state)
{
	char hop[200];

	(void)state;
	assert_int_equal(open_under(relay, "", hop_of(plain, "", hop)), 0);
	assert_int_equal(open_under(other, "", hop_of(relay, "", hop)), 0);
	assert_int_equal(open_under(moved, "@a", hop_of(named, "@a", hop)), 0);
	assert_int_equal(open_under(relay, "", hop_of(relay, "", hop)), 1);
	assert_int_equal(open_under(moved, "@a", hop_of(moved, "@a", hop)), 1);
}

/* A relay that wants one would say 550 to what comes without. */
static void without_its_login_it_waits(void **state)
{
	char hop[200];

	(void)state;
	assert_int_equal(open_under(plain, "", hop_of(relay, "", hop)), 0);
	assert_int_equal(open_under(without, "@a", hop_of(named, "@a", hop)), 0);
}

/* Where there is none nothing has to fit. */
static void without_a_login_it_goes(void **state)
{
	char hop[200];

	(void)state;
	assert_int_equal(open_under(plain, "", hop_of(plain, "", hop)), 1);
	assert_int_equal(open_under(plain, "@a", hop_of(plain, "@a", hop)), 0); /* it is lost */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_login_is_for_its_relay),
	    cmocka_unit_test(without_its_login_it_waits),
	    cmocka_unit_test(without_a_login_it_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
