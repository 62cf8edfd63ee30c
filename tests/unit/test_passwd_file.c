/* SPDX-License-Identifier: ISC */
/* The users file: what a line means, and how one is changed. */
#include "passwd_file.h"

#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SCRAM                                                                                      \
	"{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"                                            \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"                                            \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define YESCRYPT "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$tnSYvahCwPBHKZUspmcxMfb0.WiB9W.zEaKlOBL35rC"

static void lines(void **state)
{
	static const struct {
		const char *line;
		enum passwd_kind kind;
		enum passwd_scheme scheme;
		bool disabled;
		const char *name, *nets;
	} rows[] = {
	    {"ann:" SCRAM, PASSWD_USER, PASSWD_SCRAM, false, "ann", ""},
	    {"ann@example.net:" SCRAM ":1000:1000::/home/ann:/bin/sh:nologin=y", PASSWD_USER,
	     PASSWD_SCRAM, true, "ann@example.net", ""},
	    {"ann:" SCRAM "::::::nologin", PASSWD_USER, PASSWD_SCRAM, true, "ann", ""},
	    {"ann:" SCRAM "::::::nologins=1", PASSWD_USER, PASSWD_SCRAM, false, "ann", ""},
	    {"ann:" SCRAM "::::::userdb_mail=mbox:~/mail allow_nets=192.0.2.0/24,2001:db8::/32",
	     PASSWD_USER, PASSWD_SCRAM, false, "ann", "192.0.2.0/24,2001:db8::/32"},
	    {"bob:{CRYPT}" YESCRYPT, PASSWD_USER, PASSWD_CRYPT, false, "bob", ""},
	    {"bob:{crypt}" YESCRYPT "::::::", PASSWD_USER, PASSWD_CRYPT, false, "bob", ""},
	    {"bob:" YESCRYPT ":1:1", PASSWD_USER, PASSWD_CRYPT, false, "bob", ""},
	    {"bob:{BLF-CRYPT}$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe",
	     PASSWD_USER, PASSWD_CRYPT, false, "bob", ""},
	    {"bob:{CRYPT}!" YESCRYPT, PASSWD_USER, PASSWD_CRYPT, true, "bob", ""},
	    {"bob:*", PASSWD_USER, PASSWD_CRYPT, true, "bob", ""},
	    {"", PASSWD_NOTHING, 0, false, NULL, NULL},
	    {"  \t", PASSWD_NOTHING, 0, false, NULL, NULL},
	    {"# ann:" SCRAM, PASSWD_NOTHING, 0, false, NULL, NULL},
	    {"ann", PASSWD_BROKEN, 0, false, NULL, NULL},
	    {"ann:", PASSWD_BROKEN, 0, false, NULL, NULL},
	    {":" SCRAM, PASSWD_BROKEN, 0, false, NULL, NULL},
	    {"an n:" SCRAM, PASSWD_BROKEN, 0, false, NULL, NULL},
	    {"-ann:" SCRAM, PASSWD_BROKEN, 0, false, NULL, NULL},
	    {"a\xffn:" SCRAM, PASSWD_BROKEN, 0, false, NULL, NULL},
	    {"ann:{PLAIN}secret", PASSWD_BROKEN, 0, false, NULL, NULL},
	    {"ann:secret", PASSWD_BROKEN, 0, false, NULL, NULL},
	    {"ann:{SCRAM-SHA-256}4096", PASSWD_BROKEN, 0, false, NULL, NULL},
	    {"ann:{SCRAM-SHA-1}4096,a,b,c", PASSWD_BROKEN, 0, false, NULL, NULL},
	    {"ann:{CRYPT}abJnggxhB/yWI", PASSWD_BROKEN, 0, false, NULL, NULL},
	    {"ann:{CRYPT", PASSWD_BROKEN, 0, false, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct passwd_user user;
		const char *why;
		enum passwd_kind kind = passwd_line_read(text_of(rows[i].line), &user, &why);

		if (kind != rows[i].kind)
			fail_msg("%s: %d", rows[i].line, (int)kind);
		assert_true((why != NULL) == (kind == PASSWD_BROKEN));
		if (kind != PASSWD_USER)
			continue;
		assert_true(text_equals(user.name, rows[i].name));
		assert_true(text_equals(user.allow_nets, rows[i].nets));
		assert_int_equal(user.scheme, rows[i].scheme);
		assert_int_equal(user.disabled, rows[i].disabled);
	}
}

static void names(void **state)
{
	char name[LOGIN_MAX + 2];

	(void)state;
	memset(name, 'a', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	assert_non_null(passwd_name_fault(text_of(name)));
	name[LOGIN_MAX] = '\0';
	assert_null(passwd_name_fault(text_of(name)));
	assert_null(passwd_name_fault(text_of("j\xc3\xb6rg@example.net")));
	assert_non_null(passwd_name_fault((struct text){"a\0b", 3}));
	assert_non_null(passwd_name_fault(text_of("a\nb")));
	assert_non_null(passwd_name_fault(text_of("a:b")));
	assert_true(passwd_same_name(text_of("Ann@Example.NET"), text_of("ann@example.net")));
	assert_false(passwd_same_name(text_of("ann"), text_of("ann2")));
}

static void nets(void **state)
{
	static const struct {
		const char *nets, *address;
		bool allowed;
	} rows[] = {
	    {"192.0.2.0/24", "192.0.2.7", true},
	    {"192.0.2.0/24", "192.0.3.7", false},
	    {"192.0.2.7", "192.0.2.7", true},
	    {"192.0.2.7", "192.0.2.8", false},
	    {"2001:db8::/32", "2001:db8:1::1", true},
	    {"2001:db8::/32", "2001:db9::1", false},
	    {"nonsense,192.0.2.0/24", "192.0.2.7", true},
	    {"192.0.2.0/33", "192.0.2.0", false},
	    {"local,,", "192.0.2.0", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t address[16];

		assert_true(host_address_parse(text_of(rows[i].address), address));
		if (passwd_net_allows(text_of(rows[i].nets), address) != rows[i].allowed)
			fail_msg("%s %s", rows[i].nets, rows[i].address);
	}
}

static void expect(struct bytes *got, enum passwd_edit result, enum passwd_edit want,
		   const char *content)
{
	assert_int_equal(result, want);
	if (content) {
		bytes_add(got, "", 1);
		assert_string_equal((const char *)bytes_at(got), content);
	}
	bytes_free(got);
}

static void edits(void **state)
{
	static const char file[] =
	    "# ours\n\nann:old\r\nbob:x:1:2:g:/h:/s:a=b nologin=y c=d\nlast:y";
	struct text f = text_of(file), p = text_of("new");
	struct bytes b = {0};

	(void)state;
	expect(&b, passwd_add(f, text_of("eve"), p, &b), PASSWD_DONE,
	       "# ours\n\nann:old\r\nbob:x:1:2:g:/h:/s:a=b nologin=y c=d\nlast:y\neve:new\n");
	expect(&b, passwd_add((struct text){NULL, 0}, text_of("eve"), p, &b), PASSWD_DONE,
	       "eve:new\n");
	expect(&b, passwd_add(f, text_of("ANN"), p, &b), PASSWD_EXISTS, NULL);
	expect(&b, passwd_set_password(f, text_of("ann"), p, &b), PASSWD_DONE,
	       "# ours\n\nann:new\nbob:x:1:2:g:/h:/s:a=b nologin=y c=d\nlast:y");
	expect(&b, passwd_set_password(f, text_of("bob"), p, &b), PASSWD_DONE,
	       "# ours\n\nann:old\r\nbob:new:1:2:g:/h:/s:a=b nologin=y c=d\nlast:y");
	expect(&b, passwd_set_password(f, text_of("an"), p, &b), PASSWD_MISSING, NULL);
	expect(&b, passwd_set_disabled(f, text_of("last"), true, &b), PASSWD_DONE,
	       "# ours\n\nann:old\r\nbob:x:1:2:g:/h:/s:a=b nologin=y c=d\nlast:y::::::nologin=y\n");
	expect(&b, passwd_set_disabled(f, text_of("bob"), true, &b), PASSWD_SAME, NULL);
	expect(&b, passwd_set_disabled(f, text_of("bob"), false, &b), PASSWD_DONE,
	       "# ours\n\nann:old\r\nbob:x:1:2:g:/h:/s:a=b c=d\nlast:y");
	expect(&b, passwd_set_disabled(f, text_of("ann"), false, &b), PASSWD_SAME, NULL);
	expect(&b, passwd_set_disabled(f, text_of("eve"), true, &b), PASSWD_MISSING, NULL);
	/* A broken line in front of the one that counts. */
	expect(&b, passwd_set_disabled(text_of("ann:?\nann:x\n"), text_of("ann"), true, &b),
	       PASSWD_DONE, "ann:?::::::nologin=y\nann:x::::::nologin=y\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines),
	    cmocka_unit_test(names),
	    cmocka_unit_test(nets),
	    cmocka_unit_test(edits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
