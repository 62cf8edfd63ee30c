/* SPDX-License-Identifier: ISC */
/* What routes log in with, as master hands it over: never to the login of another route. */
#include "checker/relay.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUTE(NAME)                                                                                \
	"route " NAME ".example { to = smtp:" NAME                                                 \
	".example:587  login = me  password-file = /etc/" NAME " }\n"

static const char one_first[] =
    "hostname = h.example\npostmaster = p@h.example\n" ROUTE("one") ROUTE("two");
static const char two_first[] =
    "hostname = h.example\npostmaster = p@h.example\n" ROUTE("two") ROUTE("one");

static struct daemon daemon_here;
static struct checker checker;
static struct relays *relays, *made[3]; /* checker has one, for as long as it runs */
static size_t made_count;

static void configure(const char *text)
{
	struct config_errors errors = {0};
	struct config *config = config_read(text_of(text), &errors);

	config_drop(&daemon_here.config);
	daemon_here.config = config;
	if (!config)
		fail_msg("the configuration is not taken");
	config_errors_free(&errors);
}

/* What checker would log in with for that route. */
static struct text password_of(const char *label)
{
	struct relay *r = relays->list;

	while (r && strcmp(r->label, label) != 0)
		r = r->next;
	assert_non_null(r);
	return r ? bytes_text(&r->password) : (struct text){0};
}

static void hands_over(unsigned index, const char *name, const char *content)
{
	char path[] = "/tmp/veredus-secret.XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0 && unlink(path) == 0);
	assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
	relays_handle(relays,
		      &(struct msg_handle){HANDLE_RELAY_PASSWORD, (uint16_t)index, text_of(name)},
		      fd);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed, taken or not */
}

static void to_its_own_route(void **state)
{
	(void)state;
	configure(one_first);
	hands_over(0, "/etc/one", "secret of one\n");
	hands_over(1, "/etc/two", "secret of two\n");
	assert_true(text_equals(password_of("one.example"), "secret of one"));
	assert_true(text_equals(password_of("two.example"), "secret of two"));
}

/* Master counts by a configuration that has not come yet, or by one that is gone. */
static void to_no_other(void **state)
{
	(void)state;
	configure(two_first);
	hands_over(0, "/etc/one", "secret of one\n");
	hands_over(1, "/etc/two", "secret of two\n");
	assert_int_equal(password_of("one.example").len, 0);
	assert_int_equal(password_of("two.example").len, 0);
	hands_over(7, "/etc/two", "secret of two\n");
	hands_over(0, "/etc/two", "secret of two\n");
	assert_true(text_equals(password_of("two.example"), "secret of two"));
	assert_int_equal(password_of("one.example").len, 0);
}

/* That a file is missing is said of its own route only. */
static void nor_its_absence(void **state)
{
	(void)state;
	configure(one_first);
	relays_handle_none(relays, HANDLE_RELAY_PASSWORD, 0, text_of("/etc/two: is missing"));
	assert_null(strstr(relays->list->fault, "is missing"));
	relays_handle_none(relays, HANDLE_RELAY_PASSWORD, 0, text_of("/etc/one"));
	relays_handle_none(relays, HANDLE_RELAY_PASSWORD, 0, text_of("no such logins"));
	assert_null(strstr(relays->list->fault, "no such"));
	relays_handle_none(relays, HANDLE_RELAY_PASSWORD, 0, text_of("/etc/one: is missing"));
	assert_string_equal(relays->list->fault, "there is no password: /etc/one: is missing");
}

static int begin(void **state)
{
	(void)state;
	if (!daemon_here.loop) {
		daemon_here.loop = loop_new();
		daemon_here.log = log_new(daemon_here.loop, "test");
	}
	checker.d = &daemon_here;
	relays = made[made_count++] = relays_new(&checker);
	configure(one_first);
	relays_follow(relays);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(to_its_own_route, begin),
	    cmocka_unit_test_setup(to_no_other, begin),
	    cmocka_unit_test_setup(nor_its_absence, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
