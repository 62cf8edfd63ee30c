/* SPDX-License-Identifier: ISC */
/* Header blocks rewritten: addresses, masquerading, rules, and what a signature closes. */
#include "mem.h"
#include "rewrite_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const char settings[] =
    "hostname = mx.test\n"
    "header submission { masquerade = { example.net deep.example.net } masquerade-except = { root "
    "} remove = { X-Originating-IP Cc } add = { \"X-Relay: one\" } }\n";

static struct config *make_config(const char *text)
{
	struct config_errors errors = {0};
	struct config *config = config_read(text_of(text), &errors);

	config_errors_free(&errors);
	return config;
}

static const struct {
	const char *before, *after;
} rows[] = {
    {"From: Ann <ann@host.example.net>\r\n\r\n",
     "X-Relay: one\r\nFrom: Ann <ann@example.net>\r\n\r\n"},
    {"From: root@host.example.net, a@example.net\r\n\r\n",
     "X-Relay: one\r\nFrom: root@host.example.net, a@example.net\r\n\r\n"},
    {"From: a@b.deep.example.net, a@notexample.net\r\n\r\n",
     "X-Relay: one\r\nFrom: a@deep.example.net, a@notexample.net\r\n\r\n"},
    /* By kind: as a sender, and as a recipient. */
    {"From: joe@old.example (Joe)\r\nTo: joe@old.example,\r\n g: <joe@old.example>, x@y.z;\r\n\r\n",
     "X-Relay: one\r\nFrom: joe.smith@new.example (Joe)\r\n"
     "To: joe@there.example,\r\n g: <joe@there.example>, x@y.z;\r\n\r\n"},
    {"x-originating-ip: [192.0.2.1]\r\n more\r\nSubject: joe@old.example\r\nCC: a@b.c\r\n\r\n",
     "X-Relay: one\r\nSubject: joe@old.example\r\n\r\n"},
    /* Broken lists stay. */
    {"From: joe@old.example <b@c.d>\r\nTo: joe@old.example, a b c\r\n\r\n",
     "X-Relay: one\r\nFrom: joe@old.example <b@c.d>\r\nTo: joe@old.example, a b c\r\n\r\n"},
    /* Signed: From is, To is not; nor may X-Relay be added, nor Cc be taken off. */
    {"DKIM-Signature: v=1; bh=x; h = from :\r\n x-relay:Cc; b=y\r\nFrom: joe@old.example\r\n"
     "To: joe@old.example\r\nCc: a@b.c\r\nX-Originating-IP: x\r\n\r\n",
     "DKIM-Signature: v=1; bh=x; h = from :\r\n x-relay:Cc; b=y\r\nFrom: joe@old.example\r\n"
     "To: joe@there.example\r\nCc: a@b.c\r\n\r\n"},
    {"", "X-Relay: one\r\n"},
};

static void blocks(void **state)
{
	struct config *config = make_config(settings);
	struct arena *arena = arena_new(100000);
	struct header_address items[8];

	(void)state;
	assert_non_null(config);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct header_addresses list = {items, 0, 8};
		struct header_change change = {
		    .addresses = &list, .rules = &config->headers[0], .line_most = 998};

		header_addresses_read(&list, text_of(rows[i].before), arena);
		for (size_t k = 0; k < list.count; k++)
			if (text_equals(items[k].said, "joe@old.example"))
				items[k].to = items[k].sender ? text_of("joe.smith@new.example")
							      : text_of("joe@there.example");
		header_change(&change, text_of(rows[i].before));
		bytes_add(&change.header, "", 1);
		assert_string_equal(bytes_at(&change.header), rows[i].after);
		bytes_free(&change.header);
	}
	arena_free(&arena);
	config_drop(&config);
}

/* A line that would be too long is none of ours to make. */
static void long_lines(void **state)
{
	struct header_address item = {.said = TEXT("a@b.c"), .to = TEXT("aaaaaaaaaaaa@b.c")};
	struct header_addresses list = {&item, 1, 1};
	struct header_change change = {.addresses = &list, .line_most = 20};

	(void)state;
	header_change(&change, text_of("To: x@y.z, a@b.c\r\nCc: a@b.c\r\n"));
	bytes_add(&change.header, "", 1);
	assert_string_equal(bytes_at(&change.header),
			    "To: x@y.z, a@b.c\r\nCc: aaaaaaaaaaaa@b.c\r\n");
	bytes_free(&change.header);
}

static void settings_refused(void **state)
{
	static const char *const bad[] = {
	    "header imap { }",
	    "header smtp { }\nheader smtp { }",
	    "header smtp { remove = { Received } }",
	    "header smtp { remove = { \"a b\" } }",
	    "header smtp { add = { nothing } }",
	    "header smtp { add = { \"From: me\" } }",
	    "header smtp { masquerade = { .example.net } }",
	    "rewrite { virtual-domains = { a.example } }",
	};
	struct config *config = make_config("hostname = mx.test\nheader local { }\n");

	(void)state;
	assert_non_null(config);
	assert_true(config->rewrites);
	config_drop(&config);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char text[300];

		snprintf(text, sizeof text, "hostname = mx.test\n%s\n", bad[i]);
		if (make_config(text))
			fail_msg("taken: %s", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(blocks),
	    cmocka_unit_test(long_lines),
	    cmocka_unit_test(settings_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
