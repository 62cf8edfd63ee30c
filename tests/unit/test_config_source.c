/* SPDX-License-Identifier: ISC */
/* Sources: what a configuration says of them, which mail leaves from which. */
#include "config_source.h"
#include "sender_find.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define SOURCES                                                                                    \
	"source a { ipv4 = 192.0.2.1 ipv6 = [2001:db8::1] helo = a.example.net }\n"                \
	"source B { ipv4 = 192.0.2.2 }\nsource c { ipv6 = 2001:DB8:0::3 }\n"                       \
	"pool out { sources = { a*3, b } }\n"

static struct config *config_of(const char *text, char *why, size_t size)
{
	struct config_errors errors = {0};
	struct config *c = config_read(text_of(text), &errors);

	*why = '\0';
	for (size_t i = 0; i < errors.count; i++)
		if (!errors.items[i].warning)
			snprintf(why + strlen(why), size - strlen(why), "%u: %s\n",
				 errors.items[i].line, errors.items[i].text);
	config_errors_free(&errors);
	return c;
}

static void test_errors(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
	    {"source a { }", "1: source a has neither ipv4 nor ipv6"},
	    {"source a { ipv4 = 2001:db8::1 }", "ipv4: \"2001:db8::1\" is no IPv4 address"},
	    {"source a { ipv6 = 192.0.2.1 }", "ipv6: \"192.0.2.1\" is no IPv6 address"},
	    {"source a { ipv4 = 192.0.2.256 }", "is no IPv4 address"},
	    {"source a { ipv4 = 0.0.0.0 }", "ipv4: from \"0.0.0.0\" no mail can leave"},
	    {"source a { ipv4 = 224.0.0.1 }", "no mail can leave"},
	    {"source a { ipv6 = :: }", "ipv6: from \"::\" no mail can leave"},
	    {"source a { ipv6 = ff02::1 }", "no mail can leave"},
	    {"source a b { ipv4 = 192.0.2.1 }", "1: "},
	    {"source a:b { ipv4 = 192.0.2.1 }", "source: the name \"a:b\" is not of letters"},
	    {"source a.234567890.234567890.234567890.23 { ipv4 = 192.0.2.1 }", "(at most 32)"},
	    {"source a { ipv4 = 192.0.2.1 }\nsource A { ipv4 = 192.0.2.1 }",
	     "2: source a: that name stands on line 1 already"},
	    {"source a { ipv4 = 192.0.2.1 }\npool a { sources = a }",
	     "2: pool a: that name stands on line 1 already"},
	    {"pool p { sources = nobody }", "1: pool p: there is no source nobody"},
	    {"pool p { sources = { } }", "1: pool p: it has 1 to 1000 sources"},
	    {"source a { ipv4 = 192.0.2.1 }\npool p { sources = a*0 }",
	     "\"a*0\" is no source, nor NAME*WEIGHT"},
	    {"source a { ipv4 = 192.0.2.1 }\npool p { sources = a*1000001 }", "is no source, nor"},
	    {"route * { to = mx source = nobody }", "1: route: there is no source or pool nobody"},
	    {"sender x.example { source = nobody }",
	     "1: sender: there is no source or pool nobody"},
	    {"sender x.example { }", "1: sender x.example: it says neither source nor route"},
	    {"sender x.example { route = @nobody }", "1: sender: there is no route @nobody"},
	    {"sender x.example { route = x.example }",
	     "\"x.example\" is no name of a route: @NAME"},
	    {"sender x.example { route = @ }", "\"@\" is no name of a route: @NAME"},
	    {"route @ { to = mx }", "route: \"@\" is no domain, .domain, * or @NAME"},
	    {"route @a/b { to = mx }", "is no domain, .domain, * or @NAME"},
	    {"route @a { to = mx }\nroute @A { to = mx }",
	     "2: route @a stands twice; the first is on line 1"},
	    {"route @a { to = local }", "1: route @a: one that senders name leads to a next hop"},
	    {"route @a { to = discard }", "one that senders name leads to a next hop"},
	    {"route @a { to = \"reject: no\" }", "one that senders name leads to a next hop"},
	    {SOURCES "sender x..example { source = a }",
	     "is no address, domain, .domain, login:NAME"},
	    {SOURCES "sender u@ { source = a }", "is no address, domain"},
	    {SOURCES "sender X.example { source = a }\nsender @x.example { source = b }",
	     "6: sender x.example stands twice; the first is on line 5"},
	    {"smtp_bind_address = 192.0.2.1", "what it is in Postfix is here source NAME"},
	};
	char why[2000];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct config *c = config_of(rows[i].text, why, sizeof why);

		if (c || !strstr(why, rows[i].error))
			fail_msg("%s: %s", rows[i].text, why);
	}
}

static const char *source_of(const struct config *c, const char *domain, const char *sender,
			     const char *login, uint64_t id)
{
	static char name[64];
	struct sender_choice chosen = config_sender_choice(c, text_of(sender), text_of(login));
	const struct config_source *s = config_source_of(
	    c, config_route_of(c, text_of(domain), chosen.route), chosen.source, id);

	text_copy(name, sizeof name, s ? s->label : text_of("-"));
	return name;
}

/* Route of that name, then sender, then route *; among senders the most exact. */
static void test_choice(void **state)
{
	static const struct {
		const char *domain, *sender, *login, *source;
	} rows[] = {
	    {"d.example", "u@x.example", "", "-"},
	    {"d.example", "u@news.example", "", "b"},
	    {"d.example", "u@NEWS.example", "", "b"},
	    {"d.example", "u@deep.news.example", "", "-"},
	    {"d.example", "u@deep.sub.example", "", "c"},
	    {"d.example", "u@sub.example", "", "-"},
	    {"d.example", "ann@news.example", "", "a"},
	    {"d.example", "Ann@news.example", "", "a"},
	    {"d.example", "u@x.example", "Bob", "c"},
	    {"d.example", "u@news.example", "bob", "c"},
	    {"d.example", "ann@news.example", "bob", "a"},
	    {"d.example", "", "", "-"},
	    {"d.example", "", "bob", "c"},
	    {"fixed.example", "ann@news.example", "bob", "b"},
	    {"any.fixed.example", "ann@news.example", "bob", "a"},
	    {"free.example", "ann@news.example", "bob", "a"},
	};
	char why[2000];
	const char *text =
	    SOURCES "sender news.example { source = b }\nsender Ann@News.example { source = a }\n"
		    "sender login:Bob { source = c }\nsender *.sub.example { source = c }\n"
		    "route fixed.example { to = mx source = b }\nroute free.example { to = mx }\n";
	struct config *c = config_of(text, why, sizeof why);

	(void)state;
	if (!c)
		fail_msg("%s", why);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_string_equal(source_of(c, rows[i].domain, rows[i].sender, rows[i].login, 1),
				    rows[i].source);
	config_drop(&c);
}

/* What stays on this machine has none. */
static void test_stays(void **state)
{
	char why[2000];
	struct config *c = config_of(
	    SOURCES "sender * { source = a }\nroute s.example { to = lmtp:unix:/run/lmtp }\n"
		    "route h.example { to = local }\n"
		    "route l.example { to = lmtp:store.example:24 }\n"
		    "route m.example { to = lmtp:store.example:24 source = b }\n",
	    why, sizeof why);

	(void)state;
	if (!c)
		fail_msg("%s", why);
	assert_string_equal(source_of(c, "s.example", "u@x.example", "", 1), "-");
	assert_string_equal(source_of(c, "h.example", "u@x.example", "", 1), "-");
	assert_string_equal(source_of(c, "l.example", "u@x.example", "", 1), "-");
	assert_string_equal(source_of(c, "m.example", "u@x.example", "", 1), "b");
	assert_string_equal(source_of(c, "d.example", "u@x.example", "", 1), "a");
	config_drop(&c);
}

/* route * counts where no sender block does, sender * where none other does. */
static void test_any(void **state)
{
	char why[2000];
	struct config *c =
	    config_of(SOURCES "route * { to = mx source = a }\nsender x.example { source = b }\n",
		      why, sizeof why);

	(void)state;
	assert_non_null(c);
	assert_string_equal(source_of(c, "d.example", "u@y.example", "", 1), "a");
	assert_string_equal(source_of(c, "d.example", "u@x.example", "", 1), "b");
	/* A name that is gone since the mail came in counts as none. */
	assert_string_equal(
	    config_source_of(c, config_route(c, text_of("d.example")), text_of("gone"), 1)
		->label.data,
	    "a");
	config_drop(&c);
	c = config_of(SOURCES "sender * { source = c }\n", why, sizeof why);
	assert_non_null(c);
	assert_string_equal(source_of(c, "d.example", "", "", 1), "c");
	config_drop(&c);
}

#define RELAYS                                                                                     \
	"route @one { to = smtp:one.example:587 }\nroute @Two { to = smtp:two.example source = c " \
	"}\n"                                                                                      \
	"sender one.example { route = @one source = a }\nsender ann@one.example { route = @TWO "   \
	"}\n"                                                                                      \
	"sender login:bob { route = @two source = b }\nsender <> { route = @one }\n"

static const char *route_of(const struct config *c, const char *domain, const char *sender,
			    const char *login)
{
	static char name[64];
	struct sender_choice chosen = config_sender_choice(c, text_of(sender), text_of(login));

	text_copy(name, sizeof name, config_route_of(c, text_of(domain), chosen.route)->label);
	return name;
}

/* The route of a sender is in the place of route *, and of no other. */
static void test_routes(void **state)
{
	static const struct {
		const char *domain, *sender, *login, *route, *source;
	} rows[] = {
	    {"d.example", "u@x.example", "", "*", "-"},
	    {"d.example", "u@one.example", "", "@one", "a"},
	    {"d.example", "ann@one.example", "", "@two", "c"},
	    {"d.example", "u@one.example", "bob", "@two", "b"},
	    {"d.example", "", "", "@one", "-"},
	    {"d.example", "", "bob", "@one", "-"},
	    {"fixed.example", "u@one.example", "", "fixed.example", "a"},
	    {"x.fixed.example", "u@one.example", "", "@one", "a"},
	    {"x.below.example", "u@one.example", "", ".below.example", "a"},
	    {"here.example", "u@one.example", "", "here.example", "-"},
	};
	const char *text = SOURCES RELAYS
	    "route fixed.example { to = mx }\nroute .below.example { to = discard }\n"
	    "route here.example { to = local }\n";
	char why[2000];
	struct config *c = config_of(text, why, sizeof why);

	(void)state;
	if (!c)
		fail_msg("%s", why);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_string_equal(route_of(c, rows[i].domain, rows[i].sender, rows[i].login),
				    rows[i].route);
		if (strcmp(rows[i].domain, "x.below.example") != 0)
			assert_string_equal(
			    source_of(c, rows[i].domain, rows[i].sender, rows[i].login, 1),
			    rows[i].source);
	}
	config_drop(&c);
	/* Neither all that is local, nor what was chosen and is gone. */
	c = config_of(SOURCES RELAYS "route * { to = local }\n", why, sizeof why);
	assert_non_null(c);
	assert_string_equal(route_of(c, "d.example", "u@one.example", ""), "*");
	config_drop(&c);
	c = config_of("route * { to = \"reject: no\" }\nroute fixed.example { to = mx }\n", why,
		      sizeof why);
	assert_non_null(c);
	assert_true(route_is_lost(config_route_of(c, text_of("d.example"), text_of("@one"))));
	assert_false(route_is_lost(config_route_of(c, text_of("fixed.example"), text_of("@one"))));
	assert_false(route_is_lost(config_route_of(c, text_of("d.example"), text_of(""))));
	config_drop(&c);
}

/* What stands behind a sender in a table. */
static void test_words(void **state)
{
	static const struct {
		const char *words, *source, *route, *why;
	} rows[] = {
	    {"source=A", "a", "", NULL},
	    {"route=@TWO", "", "@two", NULL},
	    {"source=out route=@one", "out", "@one", NULL},
	    {" ,route=@one,\tSource=c ", "c", "@one", NULL},
	    {"", "", "", "there is neither source=NAME nor route=@NAME"},
	    {"source=", "", "", "\"source=\" names nothing that there is"},
	    {"source=@one", "", "", "\"source=@one\" names nothing"},
	    {"route=one", "", "", "\"route=one\" names nothing"},
	    {"route=*", "", "", "\"route=*\" names nothing"},
	    {"route=fixed.example", "", "", "names nothing"},
	    {"source=a source=b", "", "", "\"source=b\" is one too many"},
	    {"relay.example:587", "", "", "is neither source=NAME nor route=@NAME"},
	};
	char why[2000];
	struct config *c =
	    config_of(SOURCES RELAYS "route fixed.example { to = mx }\n", why, sizeof why);

	(void)state;
	assert_non_null(c);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sender_choice choice;
		bool fine = sender_words_read(c, text_of(rows[i].words), &choice, why);

		assert_int_equal(fine, !rows[i].why);
		if (!fine) {
			assert_non_null(strstr(why, rows[i].why));
			continue;
		}
		assert_true(text_equals(choice.source, rows[i].source));
		assert_true(text_equals(choice.route, rows[i].route));
	}
	config_drop(&c);
}

/* A message's source stays, and the parts are those of the weights, whatever rows of IDs come. */
static void test_pool(void **state)
{
	char why[2000];
	struct config *c = config_of(SOURCES "route * { to = mx source = out }\n", why, sizeof why);

	(void)state;
	assert_non_null(c);
	for (uint64_t step = 1; step < 70000; step = step * 7 + 1) {
		unsigned a = 0;

		for (uint64_t i = 0; i < 1000; i++) {
			const char *name = source_of(c, "d.example", "", "", 1000000 + i * step);

			a += *name == 'a';
			assert_true(*name == 'a' || *name == 'b');
			assert_string_equal(name,
					    source_of(c, "d.example", "", "", 1000000 + i * step));
		}
		/* 750 +- 4.4 standard deviations */
		assert_in_range(a, 690, 810);
	}
	config_drop(&c);
}

/* What is written is read as the same, its names and addresses in one form. */
static void test_printed(void **state)
{
	char why[2000];
	struct config *c = config_of(SOURCES "sender @X.example { source = OUT }\n" RELAYS
					     "route * { to = mx source = Out }\n",
				     why, sizeof why);
	struct bytes one = {0}, two = {0};

	(void)state;
	if (!c)
		fail_msg("%s", why);
	config_print(c, &one);
	config_drop(&c);
	wire_put_u8(&one, 0);
	const char *text = (const char *)bytes_at(&one);

	assert_non_null(strstr(text, "sources = { a*3, b }"));
	assert_non_null(strstr(text, "ipv6 = 2001:db8::1\n"));
	assert_non_null(strstr(text, "ipv6 = 2001:db8::3\n"));
	assert_non_null(strstr(text, "sender x.example {\n\tsource = out\n"));
	c = config_of(text, why, sizeof why);
	if (!c)
		fail_msg("%s", why);
	config_print(c, &two);
	assert_int_equal(bytes_len(&two), bytes_len(&one) - 1);
	assert_memory_equal(bytes_at(&one), bytes_at(&two), bytes_len(&two));
	config_drop(&c);
	bytes_free(&one);
	bytes_free(&two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_errors), cmocka_unit_test(test_choice),
	    cmocka_unit_test(test_stays),  cmocka_unit_test(test_any),
	    cmocka_unit_test(test_pool),   cmocka_unit_test(test_printed),
	    cmocka_unit_test(test_routes), cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
