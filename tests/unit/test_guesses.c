/* SPDX-License-Identifier: ISC */
/* Who guesses waits, who owns a name does not; and good passwords are known for a while. */
#include "guesses.h"

#include "config.h"
#include "memory.h"
#include "siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const uint8_t key[SIPHASH_KEY_BYTES] = {1};
static struct monotime now = {INT64_C(1000000000000)};

static uint64_t client(const struct guesses *g, const char *address)
{
	uint8_t bytes[16];

	assert_true(host_address_parse(text_of(address), bytes));
	return guesses_client(g, bytes);
}

static int64_t wait_ms(struct guesses *g, uint64_t c, const char *name)
{
	struct duration d = guesses_admit(g, now, c, text_of(name));

	return d.us < 0 ? -1 : d.us / 1000;
}

static void fails(struct guesses *g, uint64_t c, const char *name, int times)
{
	while (times-- > 0)
		guesses_failed(g, now, c, text_of(name));
}

static void networks(void **state)
{
	struct guesses *g = guesses_new(key);

	(void)state;
	assert_true(client(g, "192.0.2.1") != client(g, "192.0.2.2"));
	assert_true(client(g, "2001:db8::1") == client(g, "2001:db8::2"));
	assert_true(client(g, "2001:db8::1") != client(g, "2001:db8:0:1::1"));
	guesses_free(&g);
	guesses_free(&g);
}

static void a_client_takes_turns(void **state)
{
	struct guesses *g = guesses_new(key);
	uint64_t c = client(g, "192.0.2.1");
	char name[16];

	(void)state;
	/* Another name each time: the client is who pays. */
	for (int i = 0; i < GUESSES_FREE; i++) {
		snprintf(name, sizeof name, "name%d", i);
		assert_int_equal(wait_ms(g, c, name), 0);
		fails(g, c, name, 1);
	}
	assert_int_equal(wait_ms(g, c, "x"), 500);
	assert_int_equal(wait_ms(g, c, "y"), 1000); /* behind the one before */
	fails(g, c, "x", 1);
	assert_int_equal(wait_ms(g, c, "z"), 2000);
	fails(g, c, "x", 20);
	assert_int_equal(wait_ms(g, c, "z"), 12000);
	assert_int_equal(wait_ms(g, c, "z"), 22000);
	assert_int_equal(wait_ms(g, c, "z"), -1);
	/* Nobody else pays. */
	assert_int_equal(wait_ms(g, client(g, "192.0.2.2"), "w"), 0);
	/* Half of it is forgotten in ten minutes, and all in some hours. */
	now.us += SECONDS(4 * 3600).us;
	assert_int_equal(wait_ms(g, c, "z"), 0);
	guesses_free(&g);
}

static void a_name_only_waits(void **state)
{
	struct guesses *g = guesses_new(key);
	char address[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(address, sizeof address, "198.51.%d.%d", i / 250, i % 250);
		int64_t wait = wait_ms(g, client(g, address), i & 1 ? "ann" : "ANN");

		assert_true(wait >= 0 && wait <= 5000);
		assert_true(i < 20 || wait == 5000);
		fails(g, client(g, address), "Ann", 1);
	}
	assert_int_equal(wait_ms(g, client(g, "203.0.113.1"), "bob"), 0);
	guesses_free(&g);
}

static void the_owner_passes(void **state)
{
	struct guesses *g = guesses_new(key);
	uint64_t home = client(g, "192.0.2.1"), other = client(g, "203.0.113.9");

	(void)state;
	assert_false(guesses_knows(g, now, home, text_of("ann")));
	guesses_succeeded(g, now, home, text_of("ann"));
	assert_true(guesses_knows(g, now, home, text_of("Ann")));
	assert_false(guesses_knows(g, now, home, text_of("bob")));
	assert_false(guesses_knows(g, now, other, text_of("ann")));
	fails(g, other, "ann", 500);
	assert_int_equal(wait_ms(g, home, "ann"), 0);
	/* Nor do others of his network count, who guess at other names. */
	fails(g, home, "eve", 500);
	assert_int_equal(wait_ms(g, home, "ann"), 0);
	assert_true(wait_ms(g, home, "eve") > 0);
	/* Who guesses at his name from his network is slowed as any client. */
	fails(g, home, "ann", 5);
	assert_int_equal(wait_ms(g, home, "ann"), 500);
	guesses_succeeded(g, now, home, text_of("ann"));
	now.us += SECONDS(10).us;
	assert_int_equal(wait_ms(g, home, "ann"), 0);
	now.us += SECONDS(31 * 86400).us;
	assert_false(guesses_knows(g, now, home, text_of("ann")));
	guesses_free(&g);
}

static void floods_do_not_push_the_owner_out(void **state)
{
	struct guesses *g = guesses_new(key);
	uint64_t home = client(g, "192.0.2.1");
	char text[32];

	(void)state;
	guesses_succeeded(g, now, home, text_of("ann"));
	for (int i = 0; i < 300000; i++) {
		snprintf(text, sizeof text, "2001:db8:%x:%x::1", i >> 16, i & 0xffff);
		uint64_t c = client(g, text);

		snprintf(text, sizeof text, "name%d", i);
		fails(g, c, text, 1);
	}
	assert_true(guesses_knows(g, now, home, text_of("ann")));
	assert_int_equal(wait_ms(g, home, "ann"), 0);
	guesses_free(&g);
}

static void good_passwords_are_known(void **state)
{
	struct memory *m = memory_new();
	struct text line = TEXT("ann:{CRYPT}$y$1"), changed = TEXT("ann:{CRYPT}$y$2"),
		    pw = TEXT("pw");
	static char large[9000];

	(void)state;
	memset(large, 'x', sizeof large);
	assert_false(memory_has(m, now, line, pw));
	memory_keep(m, now, SECONDS(300), line, pw);
	assert_true(memory_has(m, now, line, pw));
	assert_false(memory_has(m, now, line, text_of("pw ")));
	assert_false(memory_has(m, now, changed, pw));
	now.us += SECONDS(301).us;
	assert_false(memory_has(m, now, line, pw));
	memory_keep(m, now, SECONDS(0), line, pw);
	assert_false(memory_has(m, now, line, pw));
	memory_keep(m, now, SECONDS(300), line, (struct text){large, sizeof large});
	assert_false(memory_has(m, now, line, (struct text){large, sizeof large}));
	memory_free(&m);
	memory_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(networks),
	    cmocka_unit_test(a_client_takes_turns),
	    cmocka_unit_test(a_name_only_waits),
	    cmocka_unit_test(the_owner_passes),
	    cmocka_unit_test(floods_do_not_push_the_owner_out),
	    cmocka_unit_test(good_passwords_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
