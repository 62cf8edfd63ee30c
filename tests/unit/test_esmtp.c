/* SPDX-License-Identifier: ISC */
/* The parameters of MAIL and RCPT. */
#include "esmtp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

struct row {
	const char *args;
	enum esmtp_result result;
};

static void test_mail(void **state)
{
	static const struct row rows[] = {
	    {"", ESMTP_FINE},
	    {"SIZE=0", ESMTP_FINE},
	    {"size=12 body=7bit smtputf8 ret=full envid=a", ESMTP_FINE},
	    {"  SIZE=1   BODY=8BITMIME ", ESMTP_FINE},
	    {"SIZE=18446744073709551615", ESMTP_FINE},
	    {"SIZE=18446744073709551616", ESMTP_VALUE},
	    {"SIZE=000000000000000000001", ESMTP_VALUE},
	    {"SIZE=", ESMTP_VALUE},
	    {"SIZE", ESMTP_VALUE},
	    {"SIZE=+1", ESMTP_VALUE},
	    {"SIZE=0x1", ESMTP_VALUE},
	    {"SIZE=1 SIZE=1", ESMTP_VALUE},
	    {"BODY=BINARYMIME", ESMTP_VALUE},
	    {"BODY", ESMTP_VALUE},
	    {"SMTPUTF8=1", ESMTP_VALUE},
	    {"SMTPUTF8=", ESMTP_VALUE},
	    {"RET=HEADERS", ESMTP_VALUE},
	    {"ENVID=a+3", ESMTP_VALUE},
	    {"ENVID=a+0Ab", ESMTP_VALUE},
	    {"ENVID=a=b", ESMTP_VALUE},
	    {"ENVID=", ESMTP_VALUE},
	    {"AUTH=<>", ESMTP_FINE},
	    {"AUTH=e+3Dmc2", ESMTP_FINE},
	    {"AUTH", ESMTP_VALUE},
	    {"AUTH=", ESMTP_VALUE},
	    {"AUTH=a+0Ab", ESMTP_VALUE},
	    {"AUTH=<> AUTH=<>", ESMTP_VALUE},
	    {"AUTHX=<>", ESMTP_UNKNOWN},
	    {"RequireTLS SIZE=1", ESMTP_FINE},
	    {"REQUIRETLS=", ESMTP_VALUE},
	    {"REQUIRETLS=YES", ESMTP_VALUE},
	    {"REQUIRETLS REQUIRETLS", ESMTP_VALUE},
	    {"REQUIRETL", ESMTP_UNKNOWN},
	    {"=1", ESMTP_UNKNOWN},
	    {"SIZEX=1", ESMTP_UNKNOWN},
	};
	struct esmtp_mail m;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (esmtp_read_mail(text_of(rows[i].args), &m) != rows[i].result)
			fail_msg("MAIL %s", rows[i].args);
	assert_int_equal(
	    esmtp_read_mail(text_of("SIZE=12 BODY=8bitmime RET=HDRS ENVID=q+2Bq SMTPUTF8"), &m),
	    ESMTP_FINE);
	assert_int_equal(m.size, 12);
	assert_int_equal(m.body_type, BODY_8BITMIME);
	assert_int_equal(m.ret, RET_HDRS);
	assert_int_equal(m.smtputf8, 1);
	assert_true(text_equals(m.envid, "q+2Bq"));
	assert_false(m.requiretls);
	assert_int_equal(esmtp_read_mail(text_of("REQUIRETLS"), &m), ESMTP_FINE);
	assert_true(m.requiretls);
}

static void test_rcpt(void **state)
{
	static const struct {
		const char *args;
		enum esmtp_result result;
		uint8_t notify;
	} rows[] = {
	    {"", ESMTP_FINE, NOTIFY_UNSET},
	    {"NOTIFY=NEVER", ESMTP_FINE, NOTIFY_NEVER},
	    {"NOTIFY=success,failure,delay", ESMTP_FINE,
	     NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY},
	    {"NOTIFY=DELAY ORCPT=rfc822;a@b", ESMTP_FINE, NOTIFY_DELAY},
	    {"NOTIFY=NEVER,DELAY", ESMTP_VALUE, 0},
	    {"NOTIFY=DELAY,DELAY", ESMTP_VALUE, 0},
	    {"NOTIFY=DELAY,", ESMTP_VALUE, 0},
	    {"NOTIFY=", ESMTP_VALUE, 0},
	    {"NOTIFY=X", ESMTP_VALUE, 0},
	    {"NOTIFY=DELAY NOTIFY=DELAY", ESMTP_VALUE, 0},
	    {"ORCPT=a@b", ESMTP_VALUE, 0},
	    {"ORCPT=rfc822;", ESMTP_VALUE, 0},
	    {"ORCPT=;a", ESMTP_VALUE, 0},
	    {"ORCPT=rfc822;a+0Db", ESMTP_VALUE, 0},
	    {"ORCPT=rfc822;a+0ab", ESMTP_VALUE, 0},
	    {"ORCPT=rf c;a", ESMTP_VALUE, 0},
	    {"ORCPT=utf-8;\xc3\xa4@b", ESMTP_FINE, 0},
	    {"ORCPT=utf-8;\xc3", ESMTP_VALUE, 0},
	    {"ORCPT=rfc822;\xc3\xa4@b", ESMTP_VALUE, 0},
	    {"SIZE=1", ESMTP_UNKNOWN, 0},
	};
	struct esmtp_rcpt r;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (esmtp_read_rcpt(text_of(rows[i].args), &r) != rows[i].result)
			fail_msg("RCPT %s", rows[i].args);
		if (rows[i].result == ESMTP_FINE)
			assert_int_equal(r.notify, rows[i].notify);
	}
}

static void test_lengths(void **state)
{
	char value[700];

	(void)state;
	memset(value, 'a', sizeof value);
	memcpy(value, "rfc822;", 7);
	assert_true(esmtp_is_orcpt((struct text){value, ORCPT_MAX}));
	assert_false(esmtp_is_orcpt((struct text){value, ORCPT_MAX + 1}));
	memcpy(value, "ENVID=a", 7);
	struct esmtp_mail m;

	assert_int_equal(esmtp_read_mail((struct text){value, 6 + ENVID_MAX}, &m), ESMTP_FINE);
	assert_int_equal(esmtp_read_mail((struct text){value, 7 + ENVID_MAX}, &m), ESMTP_VALUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_mail),
	    cmocka_unit_test(test_rcpt),
	    cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
