/* SPDX-License-Identifier: ISC */
/* Address lists of header fields, and the forms of Date and Message-ID. */
#include "header_form.h"
#include "mailboxes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* What was read: canonical addresses, or "local?" without a domain, "<>", "!" where it breaks. */
static void read_list(const char *value, char *to, size_t size)
{
	struct mailboxes list;
	struct mailbox m;

	*to = '\0';
	for (mailboxes_begin(&list, text_of(value)); mailboxes_next(&list, &m);) {
		size_t used = strlen(to);

		if (m.address.len && !m.alone)
			snprintf(to + used, size - used, "%s ", m.address.text);
		else
			snprintf(to + used, size - used, "%.*s%s%.*s? ",
				 m.local.len ? (int)m.local.len : 2,
				 m.local.len ? m.local.data : "<>", m.domain.len ? "@" : "",
				 (int)m.domain.len, m.domain.len ? m.domain.data : "");
	}
	if (list.broken)
		strncat(to, "! ", size - strlen(to) - 1);
	if (*to)
		to[strlen(to) - 1] = '\0';
}

static const struct {
	const char *value, *read;
} lists[] = {
    {"", ""},
    {" ,, , ", ""},
    {" joe@x.org", "joe@x.org"},
    {" Joe@X.Org (the \\) (nested) one)", "Joe@x.org"},
    {" Joe <joe@x.org>", "joe@x.org"},
    {" <joe@x.org>", "joe@x.org"},
    {" \"Doe, Joe\" <joe@x.org>,\r\n\tann@y.org , ", "joe@x.org ann@y.org"},
    {" John Q. Public <j@x.org>", "j@x.org"},
    {" =?utf-8?Q?J=C3=B6e?= <joe@x.org>", "joe@x.org"},
    {" J\xc3\xb6"
     "e <joe@x.org>",
     "joe@x.org"},
    {" Friends: joe@x.org, Ann <ann@y.org>;, bob@z.org", "joe@x.org ann@y.org bob@z.org"},
    {" undisclosed-recipients:;", ""},
    {" A: B: a@x.org;;", "!"},
    {" A: a@x.org", "a@x.org !"},
    {" :a@x.org;", "!"},
    {" joe", "joe?"},
    {" joe, ann (x)", "joe? ann?"},
    {" <joe>", "joe?"},
    {" \"joe doe\"@x.org", "\"joe doe\"@x.org"},
    {" \"joe\"@x.org", "joe@x.org"},
    {" \"a\".b@x.org", "\"a\".b@x.org?"},
    {" a . b @ x (c) . org", "a.b@x.org"},
    {" <@r.org,,@s.org:joe@x.org>", "joe@x.org"},
    {" <@r.org joe@x.org>", "!"},
    {" <@ceo@bank.org:joe@x.org>", "!"},
    {" <@r.org,@s.org@t.org:joe@x.org>", "!"},
    {" <@:joe@x.org>", "!"},
    {" joe@[192.0.2.1]", "joe@[192.0.2.1]"},
    {" joe@[ IPv6:2001:db8::1 ]", "joe@[ipv6:2001:db8::1]"},
    {" joe@[192.0.2.1", "!"},
    {" joe@[a\\b]", "!"},
    {" <>", "<>?"},
    {" joe@-x.org", "joe@-x.org?"},
    /* Others read these in another way. */
    {" a@x.org <b@y.org>", "!"},
    {" a@x.org b@y.org", "!"},
    {" Joe Doe", "!"},
    {" Joe Doe, a@x.org", "!"},
    {" a@x.org@y.org", "!"},
    {" <a@x.org> b", "!"},
    {" .joe@x.org", "!"},
    {" jo..e@x.org", "!"},
    {" joe.@x.org", "!"},
    {" joe@x..org", "!"},
    {" joe@\"x.org\"", "!"},
    {" joe@", "!"},
    {" @x.org", "!"},
    {" (open", "!"},
    {" joe@x.org (open\\", "!"},
    {" \"open", "!"},
    {" <joe@x.org", "!"},
    {" joe@x.org>", "!"},
    {" . <joe@x.org>", "!"},
    {" a@x.org; b@y.org", "!"},
    {" a\x01@x.org", "!"},
};

static void test_lists(void **state)
{
	char read[1024];

	(void)state;
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		read_list(lists[i].value, read, sizeof read);
		if (strcmp(read, lists[i].read) != 0)
			fail_msg("[%s]: [%s], not [%s]", lists[i].value, read, lists[i].read);
	}
}

/* Depth and length are a stranger's choice. */
static void test_deep(void **state)
{
	enum { MANY = 100000 };
	static char value[2 * MANY + 16], read[64];

	(void)state;
	memset(value, '(', MANY);
	memset(value + MANY, ')', MANY);
	strcpy(value + (size_t)2 * MANY, "a@x.org");
	read_list(value, read, sizeof read);
	assert_string_equal(read, "a@x.org");
	memset(value, 'a', MANY);
	strcpy(value + MANY, "@x.org");
	read_list(value, read, sizeof read);
	assert_int_equal(strncmp(read, "aaaa", 4), 0);
}

static void test_dates(void **state)
{
	static const char *const good[] = {
	    " Sat, 21 Nov 2026 22:05:00 +0000",
	    "21 Nov 2026 22:05 GMT",
	    "Sat, 21 Nov 26 22:05:60 -0130 (EST)",
	    "sat , 1 nov 2026 2 : 05 : 00 Z",
	    " (a) Sat, (b) 21\r\n Nov 2026 22:05:00 +0000",
	    "29 Feb 2024 00:00:00 pdt",
	};
	static const char *const bad[] = {
	    "",
	    " ",
	    "now",
	    "Sat Nov 21 22:05:00 2026",
	    "2026-11-21T22:05:00Z",
	    "Sat, 21 Nov 2026 22:05:00",
	    "Sat, 32 Nov 2026 22:05:00 +0000",
	    "Sat, 31 Nov 2026 22:05:00 +0000",
	    "Sat, 21 Nov 2026 24:05:00 +0000",
	    "Sat, 21 Nov 2026 22:60:00 +0000",
	    "Sat, 21 Nov 2026 22:05:61 +0000",
	    "Sat, 21 Nov 2026 22:05:00 +000",
	    "Sat, 21 Nov 2026 22:05:00 +0060",
	    "Sat, 21 Nov 2026 22:05:00 +0000 x",
	    "Sat, 21 Nov 2026 22:05:00 +0000 (x",
	    "Sat, 21 Nov 2026 22:05:00 J",
	    "Xxx, 21 Nov 2026 22:05:00 +0000",
	    "Sat, 21 Xxx 2026 22:05:00 +0000",
	    "Sat, 21 Nov 1826 22:05:00 +0000",
	    "Sat, 21 Nov 20266 22:05:00 +0000",
	    "Sat, 0 Nov 2026 22:05:00 +0000",
	    "Sat 21 Nov 2026 22:05:00 +0000",
	    "Sat, 21 Nov 2026 22:5:00 +0000",
	};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		if (!header_is_date(text_of(good[i])))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (header_is_date(text_of(bad[i])))
			fail_msg("taken: %s", bad[i]);
}

static void test_message_ids(void **state)
{
	static const char *const good[] = {" <a@b>", "<a.b+c@[192.0.2.1]> (x)",
					   "\r\n <1@\xc3\xa4>\r\n"};
	static const char *const bad[] = {"",		"a@b",	   "<a>",     "<@b>",
					  "<a@>",	"<a@b@c>", "<a b@c>", "<a@b> x",
					  "<a@b><c@d>", "<a@b",	   "< a@b>",  "<a<b@c>"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		if (!header_is_message_id(text_of(good[i])))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (header_is_message_id(text_of(bad[i])))
			fail_msg("taken: %s", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lists),
	    cmocka_unit_test(test_deep),
	    cmocka_unit_test(test_dates),
	    cmocka_unit_test(test_message_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
