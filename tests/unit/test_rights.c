/* SPDX-License-Identifier: ISC */
/* Which addresses a list names. */
#include "rights.h"
#include "rights_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void test_own(void **state)
{
	static const struct {
		const char *own, *address;
		bool is;
	} rows[] = {
	    {"ann@x.org", "ann@x.org", true},
	    {"Ann@X.org", "aNN@x.ORG", true},
	    {"ann@x.org", "ann+list@x.org", true},
	    {"ann@x.org", "ann+@x.org", true},
	    {"ann@x.org", "ann+a@b@x.org", true},
	    {"ann@x.org", "anne@x.org", false},
	    {"ann@x.org", "an@x.org", false},
	    {"ann@x.org", "ann@y.org", false},
	    {"ann@x.org", "ann@x.org.y", false},
	    {"ann+a@x.org", "ann@x.org", false},
	    {"ann", "ann", false},
	    {"ann", "ann@x.org", false},
	    {"", "", false},
	    {"@x.org", "+a@x.org", false},
	    {"ann@x.org", "", false},
	    {"ann@x.org", "bob+ann@x.org", false},
	    {"ann@x.org", "ann+x.org", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rights_is_own(text_of(rows[i].own), text_of(rows[i].address)) != rows[i].is)
			fail_msg("%s, %s", rows[i].own, rows[i].address);
}

static void test_lists(void **state)
{
	static const struct {
		const char *list, *address;
		bool has;
	} rows[] = {
	    {"ann@x.org", "ann@x.org", true},
	    {"bob@x.org, ann@x.org", "Ann@x.org", true},
	    {"ann@x.org", "ann+a@x.org", false},
	    {"ann+*@x.org", "ann+a@x.org", true},
	    {"@x.org", "any.one@x.org", true},
	    {"@x.org", "any@y.x.org", false},
	    {"@x.org", "any@ax.org", false},
	    {".x.org", "any@y.x.org", true},
	    {"@.x.org", "any@y.x.org", true},
	    {".x.org", "any@x.org", false},
	    {"@*", "any@x.org", true},
	    {"*", "any@x.org", true},
	    {"*@x.org", "any@x.org", true},
	    {"*@x.org", "any@x.org.evil", false},
	    {"sales-?@x.org", "sales-1@x.org", true},
	    {"sales-?@x.org", "sales-12@x.org", false},
	    {"*a*b*c@x.org", "aabbcc@x.org", true},
	    {"*a*b*c@x.org", "aabb@x.org", false},
	    {"", "ann@x.org", false},
	    {" , ", "ann@x.org", false},
	    {"@x.org", "", false},
	    {"ann@x.org", "ann@x.or", false},
	    {"@x.org", "\"a@y.org\"@x.org", true},
	    {"@y.org", "\"a@y.org\"@x.org", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rights_list_has(text_of(rows[i].list), text_of(rows[i].address)) != rows[i].has)
			fail_msg("[%s] [%s]", rows[i].list, rows[i].address);
}

/* Patterns and addresses are others' choice: no blow-up. */
static void test_cost(void **state)
{
	char pattern[600], address[600];

	(void)state;
	for (size_t i = 0; i < 500; i += 2)
		memcpy(pattern + i, "*a", 2);
	strcpy(pattern + 500, "b@x.org");
	memset(address, 'a', 500);
	strcpy(address + 500, "@x.org");
	for (int i = 0; i < 1000; i++)
		assert_false(rights_list_has(text_of(pattern), text_of(address)));
}

static void test_faults(void **state)
{
	static const char *const good[] = {"*", "a@b", "@b", ".b", "@.b", "*@b", "a?@b"};
	static const char *const bad[] = {"a", "a@", ".", "@", "**"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_null(rights_word_fault(text_of(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_non_null(rights_word_fault(text_of(bad[i])));
}

static void note(void *owner, const struct reply *r)
{
	char *said = owner;

	if (r)
		snprintf(said, 200, "%d %s %.*s", r->code, r->dsn, (int)r->text.len, r->text.data);
	else
		strcpy(said, "fine");
}

/* What needs no lookup: logins that are addresses, and such that have no list. */
#define NOT(address, where, login)                                                                 \
	"553 5.7.1 Error: <" address "> in " where " is not an address of " login
#define RESENT_BEFORE "Resent-From: eve@x.org\r\nFrom: ann@x.org\r\n"
static const struct {
	const char *login, *sender, *header, *said;
} answers[] = {
    {"", "any@x.org", "From: other@y.org\r\n", "fine"},
    {"ann", "any@x.org", "From: other@y.org\r\n", "fine"},
    {"ann@x.org", "ann@x.org", "From: Ann <ann+a@x.org>\r\nSender: ANN@x.org\r\n", "fine"},
    {"ann@x.org", "", "Subject: x\r\n", "fine"},
    {"ann@x.org", "", "", "fine"},
    {"ann@x.org", "bob@x.org", "", NOT("bob@x.org", "MAIL FROM", "ann@x.org")},
    {"ann@x.org", "", "From: bob@x.org\r\n", NOT("bob@x.org", "From", "ann@x.org")},
    {"ann@x.org", "", "From: ann@x.org\r\nsender: bob@x.org\r\n",
     NOT("bob@x.org", "Sender", "ann@x.org")},
    {"ann@x.org", "", "From: ann@x.org, bob\r\n", NOT("bob", "From", "ann@x.org")},
    {"ann@x.org", "", "From: ann@x.org x\r\n",
     "553 5.7.1 Error: the addresses in From can't be read, or are too many"},
    {"ann@x.org", "", "From: <>\r\n",
     "553 5.7.1 Error: the addresses in From can't be read, or are too many"},
    {"ann", "", "From: ann@x.org x\r\n", "fine"},
    /* The mailbox at its end is who is meant by a source route. */
    {"ann@x.org", "", "From: <@bob.org,@y.org:ann@x.org>\r\n", "fine"},
    {"ann@x.org", "", "From: Ann <@x.org:bob@x.org>\r\n", NOT("bob@x.org", "From", "ann@x.org")},
    {"ann@x.org", "", "From: <@x.org,ann@x.org:bob@x.org>\r\n",
     "553 5.7.1 Error: the addresses in From can't be read, or are too many"},
    /* Sent again: by whom, the last time. */
    {"ann@x.org", "", "Resent-From: ann@x.org\r\n" RESENT_BEFORE, "fine"},
    {"ann@x.org", "", "resent-from: bob@x.org\r\nFrom: ann@x.org\r\n",
     NOT("bob@x.org", "Resent-From", "ann@x.org")},
    {"ann@x.org", "", "Resent-From: ann@x.org\r\nResent-Sender: bob@x.org\r\nFrom: ann@x.org\r\n",
     NOT("bob@x.org", "Resent-Sender", "ann@x.org")},
    {"ann@x.org", "", "Resent-Sender: bob@x.org\r\nResent-From: ann@x.org\r\nFrom: ann@x.org\r\n",
     NOT("bob@x.org", "Resent-Sender", "ann@x.org")},
    {"ann@x.org", "", "Resent-From: ann@x.org\r\nFrom: bob@x.org\r\n",
     NOT("bob@x.org", "From", "ann@x.org")},
    /* Sets without anybody are none. */
    {"ann@x.org", "", "Resent-Date: x\r\nX: y\r\nResent-Date: x\r\n" RESENT_BEFORE,
     NOT("eve@x.org", "Resent-From", "ann@x.org")},
    {"ann@x.org", "", "From: ann@x.org\r\nX: y\r\nResent-From: eve@x.org\r\n",
     NOT("eve@x.org", "Resent-From", "ann@x.org")},
    /* Where one set ends. */
    {"ann@x.org", "", "Resent-From: ann@x.org\r\nX: y\r\n" RESENT_BEFORE, "fine"},
    {"ann@x.org", "",
     "Resent-Date: x\r\nResent-From: ann@x.org\r\nResent-To: c@d\r\n"
     "Resent-Date: x\r\nResent-Sender: eve@x.org\r\nFrom: ann@x.org\r\n",
     "fine"},
    {"ann@x.org", "", "Resent-From: ann@x.org x\r\nFrom: ann@x.org\r\n",
     "553 5.7.1 Error: the addresses in Resent-From can't be read, or are too many"},
};

static void test_without_tables(void **state)
{
	struct config_errors errors = {0};
	struct config *config = config_read(text_of("hostname = mx.test\n"), &errors);
	char said[200];

	(void)state;
	assert_non_null(config);
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
		assert_null(rights_check_start(&(struct rights_ask){
		    .config = config,
		    .login = text_of(answers[i].login),
		    .sender = text_of(answers[i].sender),
		    .header = text_of(answers[i].header),
		    .done = note,
		    .owner = said,
		}));
		assert_string_equal(said, answers[i].said);
	}
	config_drop(&config);
	config_errors_free(&errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_own),
	    cmocka_unit_test(test_lists),
	    cmocka_unit_test(test_cost),
	    cmocka_unit_test(test_faults),
	    cmocka_unit_test(test_without_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
