/* SPDX-License-Identifier: ISC */
/* The configuration: what is wrong with a text and where, what a good one means, and writing it
 * back. */
#include "config_row.h"

#include "bytes.h"
#include "mem.h"
#include "nearest.h"
#include "next_hops.h"
#include "route_login.h"
#include "sasl.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define LISTEN "listen smtp { address = 127.0.0.1:2525 }\n"

/* -- what is wrong, and where ------------------------------------------------------- */

/* Each text has its one complaint at LINE and COLUMN, which contains WORDS. */
static const struct {
	const char *text;
	unsigned line, column;
	const char *words;
	bool warning;
} wrong[] = {
    {"mynetworks = 127.0.0.0/8", 1, 1, "here relay-from = {", false},
    {"relayhost = [a.example]:587", 1, 1, "here route * {", false},
    {"limits { mynetworks = 127.0.0.0/8 }", 1, 10, "here relay-from = {", false},
    {"hostnam = a.b", 1, 1, "did you mean hostname?", false},
    {"hostname = a.b\nhostname = c.d", 2, 1, "first is on line 1", false},
    {"hostname = -a.b", 1, 12, "no host name", false},
    {"hostname = a..b", 1, 12, "empty part", false},
    {"hostname = a.b.", 1, 12, "dot at the end", false},
    {"hostname = 192.0.2.1", 1, 12, "an address", false},
    {"hostname = m\xc3\xbcll.example", 1, 12, "xn--", false},
    {"hostname = \"\"", 1, 12, "empty", false},
    {"hostname = host", 1, 12, "no domain", true},
    {"hostname =", 1, 1, "no value", false},
    {"hostname =\nqueue = /a", 1, 1, "no value", false},
    {"hostname = { a.b }", 1, 12, "not a list", false},
    {"postmaster = joe", 1, 14, "no @domain", false},
    {"postmaster = a..b@c.d", 1, 14, "no mail address", false},
    {"postmaster = joe@c_d!", 1, 14, "no mail address", false},
    {"queue = var", 1, 9, "begin with /", false},
    {"tlsrpt { contact = joe }", 1, 20, "no @domain", false},
    {"tlsrpt { organization = x }", 1, 1, "without a contact no report is made", true},
    {"tlsrpt {\ninternal-hosts = yes }", 2, 1, "internal-hosts does nothing", true},
    {"tlsrpt { contact = \"m\xc3\xbcll@a.example\" }", 1, 20, "no mail address", false},
    {"queue-limit = 0", 1, 15, "out of bounds", false},
    {"queue-limit = 5K", 1, 15, "a whole number", false},
    {"queue-limit = -5", 1, 15, "a whole number", false},
    {"relay-from = { 10.0.0.0/33 }", 1, 16, "/0 to /32", false},
    {"relay-from = { ::/129 }", 1, 16, "/0 to /128", false},
    {"relay-from = { 10.0.0.1/8 }", 1, 16, "did you mean 10.0.0.0/8?", false},
    {"relay-from = { 2001:db8::1/32 }", 1, 16, "did you mean 2001:db8::/32?", false},
    {"relay-from = { 300.1.1.1 }", 1, 16, "no network", false},
    {"relay-from = { 10.0.0.0/ }", 1, 16, "/0 to /32", false},
    {"relay-from = { 0.0.0.0/0 }", 1, 16, "open relay", true},
    {"relay-from = { ,10.0.0.0/8 }", 1, 16, "no value before", false},
    {"relay-from = { 10.0.0.0/8", 1, 14, "} is missing", false},
    {"relay-to = a.example, b.example", 1, 21, "braces", false},
    {"relay-to = { * }", 1, 14, "open relay", false},
    {"route a.b { to = { } }", 1, 1, "no next hop", false},
    {"route a.b { to = { mx, smtp:c.example } }", 1, 24, "all smtp:HOST", false},
    {"route a.b { to = { smtp:c.example, lmtp:d.example:24 } }", 1, 36, "all lmtp:HOST", false},
    {"route a.b { to = { smtp:c.example, discard } }", 1, 36, "all smtp:HOST", false},
    {"route a.b { to = { smtp:c.example*0, smtp:d.example } }", 1, 20, "from 1 to 1000", false},
    {"route a.b { to = { smtp:c.example*x, smtp:d.example } }", 1, 20, "from 1 to 1000", false},
    {"route a.b { to = { smtp:c.example, smtps:d.example } }", 1, 36, "all smtps:HOST", false},
    {"route a.b { to = smtps:192.0.2.1 }", 1, 18, "in brackets", false},
    {"route a.b { to = smtp:c.example password-file = /p }", 1, 1, "nothing without login", true},
    {"route a.b { to = smtp:c.example login = x password-file = /p tls = encrypt }", 1, 1,
     "to whoever answers", true},
    {"route a.b { to = mx*3 }", 1, 18, "have a weight", false},
    {"route a.b { to = { smtp:c.example, smtp:[192.0.2.1] } tls = verify }", 1, 1,
     "needs tls-names", false},
    {"route a.b { to = { smtp:c.example, smtp:[192.0.2.1] } tls = dane-only }", 1, 1,
     "no TLSA records", false},
    {"route a.b { to = { smtp:a.b smtp:a.b smtp:a.b smtp:a.b smtp:a.b smtp:a.b smtp:a.b smtp:a.b "
     "smtp:a.b smtp:a.b smtp:a.b smtp:a.b smtp:a.b smtp:a.b smtp:a.b smtp:a.b smtp:a.b } }",
     1, 164, "more than 16", false},
    {"relay-to = { a..example }", 1, 14, "no domain", false},
    {"bare-newline = normalize", 1, 16, "did you mean normalise?", false},
    {"log = stdot", 1, 7, "did you mean stdout?", false},
    {"log = non", 1, 7, "did you mean none?", false},
    {"log-connections = true", 1, 19, "neither yes nor no", false},
    {"message = 5M", 1, 1, "into the block limits", false},
    {"limits { message = 50MB }", 1, 20, "K, M or G", false},
    {"limits { message = 1 }", 1, 20, "out of bounds", false},
    {"limits { mesage = 50M }", 1, 10, "did you mean message?", false},
    {"limits { recipients = 99 }", 1, 23, "out of bounds", false},
    {"limits { } limits { }", 1, 12, "stands twice; the first is on line 1", false},
    {"limts { }", 1, 1, "did you mean limits?", false},
    {"limits x { }", 1, 8, "takes no word", false},
    {"limits {", 1, 1, "} is missing", false},
    {"limits {\nretry { }", 2, 1, "limits of line 1: is the }", false},
    {"retry { first = 5 }", 1, 17, "did you mean 5s", false},
    {"retry { expire = 5 }", 1, 18, "or 5d?", false},
    {"limits { message = 3000000000 }", 1, 20, "out of bounds", false},
    {"limits { message = 18014398509481985K }", 1, 20, "not a whole number", false},
    {"retry { first = 5min }", 1, 17, "s, m, h or d", false},
    {"retry { first = 5h longest = 4h }", 1, 1, "longer than longest", false},
    {"}", 1, 1, "no block open", false},
    {"{ }", 1, 1, "no name before", false},
    {"= 5", 1, 1, "no name before", false},
    {"junk", 1, 1, "neither a setting", false},
    {"junk and more of it", 1, 1, "neither a setting", false},
    {"log = \"x", 1, 7, "closing quote", false},
    {"log = \"/a\\n\"", 1, 7, "only in front of", false},
    {"log = /a\"b\"", 1, 7, "around the whole value", false},
    {"log = /a b", 1, 10, "stands in quotes", false},
    {"log = /a\x01", 1, 7, "control character", false},
    {"tls x.example { certificate = a key = /b }", 1, 31, "must begin with /", false},
    {"tls x.example { certificate = /a }", 1, 1, "lacks its setting key", false},
    {"tls .example { certificate = /a key = /b }", 1, 5, "no host name", false},
    {"tls a.example { certificate = /a key = /b }\ntls a.example { certificate = /c key = /d "
     "minimum "
     "= 1.3 }",
     2, 1, "another minimum than in the block of that name on line 1", false},
    {"tls a.example { certificate = /a key = /b client-ca = /x }\ntls a.example { certificate = /c "
     "key = /d }",
     2, 1, "another client-ca than", false},
    {"tls a.example { certificate = /a key = /b minimum = 1.1 }", 1, 53, "none of 1.2, 1.3", false},
    {"auth { users = a }", 1, 16, "must begin with /", false},
    {"auth { users = /a dovecot = /b }", 1, 1, "one of them", false},
    {"auth { users = /a pam = b }", 1, 1, "one of them", false},
    {"auth { pam = ../b }", 1, 1, "no name of a service", false},
    {"auth { introspection = http://a.example/ }", 1, 24, "does not begin with https", false},
    {"auth { introspection = https://a.example/ introspection-scope = \"a\\\"b\" }", 1, 1,
     "neither quotes", false},
    {"auth { users = /a introspection-client = b }", 1, 1, "without introspection", true},
    {"auth { clear = always }", 1, 16, "never, loopback", false},
    {"listen submission { address = *:587 }", 1, 1, "needs a tls block", false},
    {"listen smpt { address = *:26 }", 1, 8, "did you mean smtp?", false},
    {"listen smtps { address = *:465 }", 1, 8, "did you mean submissions?", false},
    {"listen smtp { address = 25 }", 1, 25, "did you mean *:25?", false},
    {"listen smtp { }", 1, 1, "lacks its setting address", false},
    {"listen { address = *:26 }", 1, 1, "listen smtp {", false},
    {"listen smtp { address = *:0 }", 1, 25, "no port", false},
    {"listen smtp { address = *:65536 }", 1, 25, "no port", false},
    {"listen smtp { address = * }", 1, 25, "did you mean *:25?", false},
    {"listen smtp { address = ::1:25 }", 1, 25, "in brackets", false},
    {"listen smtp { address = [::1] }", 1, 25, "no port", false},
    {"listen smtp { address = [127.0.0.1]:25 }", 1, 25, "IPv4", false},
    {"listen smtp { address = localhost:25 }", 1, 25, "IPv4", false},
    {"listen smtp { address = *:2525 }", 1, 25, "taken already", false},
    {"listen smtp { address = 0.0.0.0:2525 }", 1, 25, "taken already", false},
    {"listen smtp { address = { [::]:26 [::1]:26 } }", 1, 35, "taken already", false},
    {"resolver { forward = { dns.example } }", 1, 24, "no address", false},
    {"resolver { forward = { 127.0.0.1@0 } }", 1, 24, "no port", false},
    {"resolver { prefer = ipv5 }", 1, 21, "did you mean ipv4?", false},
    {"route a.example { to = lokal }", 1, 24, "did you mean local?", false},
    {"route a.example { to = stmp:x }", 1, 24, "did you mean smtp:?", false},
    {"route a.example { to = relay.example }", 1, 24, "did you mean smtp:relay.example?", false},
    {"route a.example { to = 192.0.2.1 }", 1, 24, "did you mean smtp:[192.0.2.1]?", false},
    {"route a.example { to = smtp:192.0.2.1:26 }", 1, 24, "in brackets", false},
    {"route a.example { to = smtp:[foo] }", 1, 24, "no IPv4 or IPv6", false},
    {"route a.example { to = smtp:[::1 }", 1, 24, "lacks a ]", false},
    {"route a.example { to = smtp:a:0 }", 1, 24, "no port", false},
    {"route a.example { to = smtp: }", 1, 24, "no host name", false},
    {"route a.example { to = mx:99999 }", 1, 24, "no port", false},
    {"route a.example { to = lmtp:a }", 1, 24, "did you mean lmtp:a:24?", false},
    {"route a.example { to = lmtp:unix:x }", 1, 24, "a path from / on", false},
    {"route a.example { to = reject: }", 1, 24, "no text", false},
    {"route a.example { to = \"reject: \xc3\xbc\" }", 1, 24, "plain ASCII", false},
    {"route a.example { }", 1, 1, "lacks its setting to", false},
    {"route a.example { to = mx }\nroute A.example { to = mx }", 2, 1, "first is on line 1", false},
    {"route a_b!c { to = mx }", 1, 7, "no domain", false},
    {"site a/b { mx = x.example }", 1, 6, "letters, digits", false},
    {"site a { mx = x.example }\nsite a { mx = y.example }", 2, 1, "first is on line 1", false},
    {"site a { rate = 5 }", 1, 1, "lacks its setting mx", false},
};

static void says_what_is_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		char text[512];
		struct config_errors errors;

		/* A good listener behind it, so that its lack is no second complaint. */
		bool open = strstr(wrong[i].words, "} is missing") != NULL;

		if (open)
			snprintf(text, sizeof text, "%s", wrong[i].text);
		else
			snprintf(text, sizeof text, "%s\n%s", wrong[i].text, LISTEN);
		/* An overlap is said of the later one. */
		if (strstr(wrong[i].words, "taken") && !strchr(wrong[i].text, '['))
			snprintf(text, sizeof text, "%s%s", LISTEN, wrong[i].text);
		struct config *c = config_read(text_of(text), &errors);
		size_t found = 0, first = 0;

		for (size_t j = 0; j < errors.count; j++)
			if (errors.items[j].line) {
				first = found ? first : j;
				found++;
			}
		unsigned line = wrong[i].line + (strncmp(text, LISTEN, strlen(LISTEN)) == 0);

		if (found != 1 || errors.items[first].line != line ||
		    errors.items[first].column != wrong[i].column ||
		    errors.items[first].warning != wrong[i].warning ||
		    !strstr(errors.items[first].text, wrong[i].words))
			fail_msg("\"%s\": %zu complaints, the first %u:%u: %s", wrong[i].text,
				 found, found ? errors.items[first].line : 0,
				 found ? errors.items[first].column : 0,
				 found ? errors.items[first].text : "none");
		assert_int_equal(c != NULL, wrong[i].warning);
		config_drop(&c);
		config_errors_free(&errors);
	}
}

static void says_all_at_once(void **state)
{
	struct config_errors errors;
	char text[4096] = "";

	(void)state;
	assert_null(config_read(
	    text_of("hostnam = a\nqueue = x\nlimits { message = 5X }\nroute a { to = b }\n" LISTEN),
	    &errors));
	assert_int_equal(errors.count, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(errors.items[i].line, i + 1);
	config_errors_free(&errors);
	/* Never more than 200. */
	for (size_t i = 0; i < 1000; i++)
		strcat(text, "}\n");
	assert_null(config_read(text_of(text), &errors));
	assert_int_equal(errors.count, 200);
	config_errors_free(&errors);
}

static void refuses_what_is_too_large(void **state)
{
	struct config_errors errors;
	size_t size = 1048577;
	char *text = malloc(size);

	(void)state;
	assert_non_null(text);
	memset(text, ' ', size);
	assert_null(config_read((struct text){text, size}, &errors));
	config_errors_free(&errors);
	struct config *c = config_read((struct text){text, size - 1}, &errors);

	assert_non_null(c);
	config_drop(&c);
	config_errors_free(&errors);
	/* A word of 4095 bytes is taken, a longer one is not. */
	memset(text, 'a', size);
	memcpy(text, "log = /", 7);
	c = config_read((struct text){text, 6 + 4095}, &errors);
	assert_non_null(c);
	config_drop(&c);
	config_errors_free(&errors);
	assert_null(config_read((struct text){text, 6 + 4096}, &errors));
	config_errors_free(&errors);
	free(text);
}

/* -- what a good one means ------------------------------------------------------------- */

static const char good[] =
    "\xef\xbb\xbf# all of it\r\n"
    "hostname   = Mail.Example.net\r\n"
    "postmaster = HostMaster@Example.NET # kept before the @\n"
    "relay-from = { 127.0.0.0/8, ::1/128 2001:db8::/32, }\n"
    "relay-to   = { customer.example, .Sub.example, *.star.example }\n"
    "listen smtp { address = *:25 }\n"
    "listen smtp\n{\n address = { 127.0.0.1:2525\n[::1]:2525 } }\n"
    "resolver { forward = { 127.0.0.1@5353 ::1 }  trust-anchor = \"/a b/\\\"c\\\\\" }\n"
    "route partner.example { to = smtp:Relay.partner.example:26 }\n"
    "route .partner.example { to = smtp:[2001:db8::1] }\n"
    "route *.deep.partner.example { to = lmtp:[127.0.0.1]:24 }\n"
    "route a.example { to = lmtp:[127.0.0.1]:24 }\n"
    "route r.example { to = \"reject: not here\" }\n"
    "route d.example { to = discard }\n"
    "route * { to = mx:2626 }\n"
    "site big { mx = { *.mail.big.example, one.example } rate = 60 }\n"
    "limits{message=50M recipients=200 memory=300000000}\n"
    "retry { first=90s notice=0 }\n";

static struct config *read_good(const char *text)
{
	struct config_errors errors;
	struct config *c = config_read(text_of(text), &errors);

	if (!c)
		fail_msg("%u:%u: %s", errors.items[0].line, errors.items[0].column,
			 errors.items[0].text);
	assert_int_equal(errors.count, 0);
	config_errors_free(&errors);
	return c;
}

#define ASSERT_TEXT(t, s) assert_true(text_equals((t), (s)))

static void takes_values(void **state)
{
	struct config *c = read_good(good);

	(void)state;
	ASSERT_TEXT(c->hostname, "mail.example.net");
	ASSERT_TEXT(c->postmaster, "HostMaster@example.net");
	ASSERT_TEXT(c->queue, "/var/spool/veredus");
	ASSERT_TEXT(c->log, "stdout");
	ASSERT_TEXT(c->resolver_trust_anchor, "/a b/\"c\\");
	assert_int_equal(c->relay_from.count, 3);
	assert_int_equal(c->relay_from.items[0].bits, 104);
	assert_int_equal(c->listen_count, 2);
	assert_true(c->listens[0].address.items[0].any);
	assert_int_equal(c->listens[1].address.count, 2);
	assert_int_equal(c->listens[1].role, HANDLE_LISTEN_SMTP);
	assert_int_equal(c->resolver_forward.items[0].port, 5353);
	assert_int_equal(c->resolver_forward.items[1].port, 53);
	assert_int_equal(c->limit_message, 50 << 20);
	assert_int_equal(c->limit_recipients, 200);
	assert_int_equal(c->limit_memory, 300000000);
	assert_int_equal(c->limit_line, 998);
	assert_int_equal(c->retry_first.us, 90000000);
	assert_int_equal(c->retry_notice.us, 0);
	assert_int_equal(c->retry_expire.us, INT64_C(432000000000));
	assert_int_equal(c->site_count, 1);
	assert_int_equal(c->sites[0].rate, 60);
	assert_int_equal(c->sites[0].connections, 0);
	ASSERT_TEXT(c->sites[0].mx.items[0], "*.mail.big.example");
	config_drop(&c);
	assert_null(c);
}

static void the_most_exact_route_wins(void **state)
{
	static const struct {
		const char *domain, *label;
		enum route_to kind;
		enum hop_how how;
		const char *target;
		unsigned port;
	} rows[] = {
	    {"partner.example", "partner.example", ROUTE_HOP, HOP_HOST, "relay.partner.example",
	     26},
	    {"PARTNER.example", "partner.example", ROUTE_HOP, HOP_HOST, "relay.partner.example",
	     26},
	    {"x.partner.example", ".partner.example", ROUTE_HOP, HOP_LITERAL, "2001:db8::1", 25},
	    {"deep.partner.example", ".partner.example", ROUTE_HOP, HOP_LITERAL, "2001:db8::1", 25},
	    {"y.x.deep.partner.example", ".deep.partner.example", ROUTE_HOP, HOP_LMTP, "127.0.0.1",
	     24},
	    {"a.example", "a.example", ROUTE_HOP, HOP_LMTP, "127.0.0.1", 24},
	    {"xpartner.example", "*", ROUTE_HOP, HOP_MX, "", 2626},
	    {"r.example", "r.example", ROUTE_REJECT, HOP_MX, "", 25},
	    {"d.example", "d.example", ROUTE_DISCARD, HOP_MX, "", 25},
	    {"", "*", ROUTE_HOP, HOP_MX, "", 2626},
	    {"[192.0.2.1]", "*", ROUTE_HOP, HOP_MX, "", 2626},
	};
	struct config *c = read_good(good);

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct config_route *r = config_route(c, text_of(rows[i].domain));

		ASSERT_TEXT(r->label, rows[i].label);
		assert_int_equal(r->kind, rows[i].kind);
		if (r->kind != ROUTE_HOP)
			continue;
		assert_int_equal(r->how, rows[i].how);
		ASSERT_TEXT(r->target, rows[i].target);
		assert_int_equal(r->port, rows[i].port);
	}
	ASSERT_TEXT(config_route(c, text_of("r.example"))->reject, "not here");
	config_drop(&c);
	c = read_good(LISTEN);
	assert_int_equal(config_route(c, text_of("any.example"))->how, HOP_MX);
	assert_int_equal(config_route(c, text_of("any.example"))->port, 25);
	config_drop(&c);
}

/* In the order in which they stand; neighbours with a weight are one step. */
static void next_hops_have_order_and_weight(void **state)
{
	static const struct {
		const char *host;
		unsigned port, weight, order;
		bool literal;
	} rows[] = {{"a.example", 587, 3, 0, false},
		    {"b.example", 25, 1, 0, false},
		    {"192.0.2.1", 26, 0, 1, true},
		    {"2001:db8::1", 25, 0, 2, true},
		    {"c.example", 25, 2, 3, false}};
	static const char text[] =
	    LISTEN "route * { to = { smtp:A.example:587*3, smtp:b.example*1 smtp:[192.0.2.1]:26, "
		   "smtp:[2001:db8::1], smtp:c.example*2 } }\n"
		   "route l.example { to = { lmtp:[127.0.0.1]:24, lmtp:store.example:24 } }\n";
	struct config *c = read_good(text);
	const struct config_route *r = config_route(c, text_of("x.example"));
	struct next_hops hops = next_hops_of(r->target);
	struct next_hop hop;
	struct bytes printed = {0};

	(void)state;
	assert_true(target_is_list(r->target));
	assert_int_equal(r->how, HOP_HOST);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_true(next_hops_next(&hops, &hop));
		ASSERT_TEXT(hop.host, rows[i].host);
		assert_int_equal(hop.port, rows[i].port);
		assert_int_equal(hop.weight, rows[i].weight);
		assert_int_equal(hop.order, rows[i].order);
		assert_int_equal(hop.literal, rows[i].literal);
	}
	assert_false(next_hops_next(&hops, &hop));
	assert_int_equal(hops.rest.len, 0);
	r = config_route(c, text_of("l.example"));
	assert_int_equal(r->how, HOP_LMTP);
	ASSERT_TEXT(r->target, "[127.0.0.1]:24,store.example:24");
	config_print(c, &printed);
	char *copy = mem_copy((const char *)bytes_at(&printed), bytes_len(&printed));
	struct config *again = read_good(copy);

	ASSERT_TEXT(config_route(again, text_of("l.example"))->target,
		    "[127.0.0.1]:24,store.example:24");
	assert_true(text_equal(config_route(again, text_of("x.example"))->target,
			       config_route(c, text_of("x.example"))->target));
	bytes_free(&printed);
	config_drop(&again);
	config_drop(&c);
	free(copy);
}

/* A fingerprint tells two configurations' routes apart, and outlives being written and read. */
static void logins_have_fingerprints(void **state)
{
	static const char text[] =
	    LISTEN "route a.example { to = smtps:A.example login = \"ann b\" password-file = /p "
		   "mechanisms = { SCRAM-SHA-256, PLAIN } }\n"
		   "route b.example { to = smtp:b.example:587 login = bob "
		   "token-endpoint = https://h.example/t client-id = x refresh-token-file = /r }\n";
	struct config *c = read_good(text);
	const struct config_route *a = config_route(c, text_of("a.example")),
				  *b = config_route(c, text_of("b.example"));
	struct bytes printed = {0};
	char site[ROUTE_SITE_BYTES], name[ROUTE_STATE_BYTES];

	(void)state;
	assert_int_equal(a->how, HOP_SMTPS);
	assert_int_equal(a->port, 465);
	assert_int_equal(route_logins(c), 2);
	assert_ptr_equal(route_login_at(c, 1), b);
	assert_null(route_login_at(c, 2));
	assert_int_equal(route_login_of(c, text_of("b.example")), 1);
	assert_int_equal(route_login_of(c, text_of("c.example")), 2);
	assert_int_equal(route_login_mechanisms(a), SASL_SCRAM_SHA_256 | SASL_PLAIN);
	assert_int_equal(route_login_mechanisms(b), SASL_TOKENS);
	assert_true(a->fingerprint && b->fingerprint && a->fingerprint != b->fingerprint);
	config_print(c, &printed);
	char *copy = mem_copy((const char *)bytes_at(&printed), bytes_len(&printed));
	struct config *again = read_good(copy);

	assert_true(config_route(again, text_of("a.example"))->fingerprint == a->fingerprint);
	assert_true(config_route(again, text_of("b.example"))->fingerprint == b->fingerprint);
	config_drop(&again);
	memcpy(strstr(copy, "= /r"), "= /q", 4);
	again = read_good(copy);
	assert_true(config_route(again, text_of("a.example"))->fingerprint == a->fingerprint);
	assert_true(config_route(again, text_of("b.example"))->fingerprint != b->fingerprint);
	/* What was kept for the token goes by who it is of. */
	route_state_name(b, name);
	char *was = mem_copy(name, strlen(name));

	assert_string_equal(was, route_state_name(config_route(again, text_of("b.example")), name));
	ASSERT_TEXT(route_login_site(b, text_of("b.example:587"), site), "b.example:587/bob");
	ASSERT_TEXT(route_site_alone(text_of(site)), "b.example:587");
	ASSERT_TEXT(route_site_alone(text_of("unix:/run/x")), "unix:/run/x");
	free(was);
	free(copy);
	bytes_free(&printed);
	config_drop(&again);
	config_drop(&c);
}

static bool relays_from(const struct config *c, const char *address)
{
	uint8_t a[16];

	assert_true(host_address_parse(text_of(address), a));
	return config_relays_from(c, a);
}

static void relays_for_whom_it_should(void **state)
{
	struct config *c = read_good(good);
	struct config_errors errors;

	(void)state;
	assert_true(relays_from(c, "127.0.0.1"));
	assert_true(relays_from(c, "127.255.255.255"));
	assert_true(relays_from(c, "::ffff:127.0.0.1"));
	assert_false(relays_from(c, "128.0.0.1"));
	assert_true(relays_from(c, "::1"));
	assert_false(relays_from(c, "::2"));
	assert_true(relays_from(c, "2001:db8:ffff::1"));
	assert_false(relays_from(c, "2001:db9::1"));
	assert_true(config_relays_to(c, text_of("customer.example")));
	assert_true(config_relays_to(c, text_of("Customer.Example")));
	assert_false(config_relays_to(c, text_of("x.customer.example")));
	assert_true(config_relays_to(c, text_of("x.sub.example")));
	assert_false(config_relays_to(c, text_of("sub.example")));
	assert_true(config_relays_to(c, text_of("a.b.star.example")));
	assert_false(config_relays_to(c, text_of("partner.example")));
	assert_false(config_relays_to(c, text_of("")));
	config_drop(&c);
	/* All of IPv6 is not all of IPv4, though that is written inside of it. */
	c = config_read(text_of("relay-from = ::/0\n" LISTEN), &errors);
	assert_non_null(c);
	assert_false(relays_from(c, "192.0.2.1"));
	assert_true(relays_from(c, "2001:db8::1"));
	config_errors_free(&errors);
	config_drop(&c);
	c = read_good(LISTEN);
	assert_false(relays_from(c, "127.0.0.1"));
	config_drop(&c);
}

static void writes_what_it_reads(void **state)
{
	static const char *const texts[] = {good, LISTEN, "log = \"/a#{},=b\"\n" LISTEN};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct config *c = read_good(texts[i]);
		struct bytes once = {0}, twice = {0};

		config_print(c, &once);
		bytes_add(&once, "", 1);
		struct config *again = read_good((const char *)bytes_at(&once));

		config_print(again, &twice);
		bytes_add(&twice, "", 1);
		assert_string_equal((const char *)bytes_at(&once), (const char *)bytes_at(&twice));
		ASSERT_TEXT(again->log, i == 2 ? "/a#{},=b" : "stdout");
		assert_int_equal(again->route_count, c->route_count);
		config_drop(&c);
		config_drop(&again);
		bytes_free(&once);
		bytes_free(&twice);
	}
}

static void shows_where_values_came_from(void **state)
{
	struct config *c = read_good("hostname = a.b\n" LISTEN "limits { line = 1000 }\n");
	char *out = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&out, &size);

	(void)state;
	config_show(c, false, f);
	fclose(f);
	assert_string_equal(out, "hostname = a.b  # line 1\n"
				 "listen smtp {  # line 2\n"
				 "\taddress = { 127.0.0.1:2525 }\n"
				 "}\n"
				 "limits {\n"
				 "\tline = 1000  # line 3\n"
				 "}\n");
	free(out);
	out = NULL;
	f = open_memstream(&out, &size);
	config_show(c, true, f);
	fclose(f);
	assert_non_null(strstr(out, "log = stdout  # default\n"));
	assert_non_null(strstr(out, "\tmessage = 50M  # default\n"));
	free(out);
	config_drop(&c);
}

static void is_held_by_its_holders(void **state)
{
	struct config *c = read_good(LISTEN), *other = config_keep(c);

	(void)state;
	config_drop(&c);
	assert_null(c);
	ASSERT_TEXT(other->log, "stdout");
	config_drop(&other);
	config_drop(&other);
}

static void guesses_what_was_meant(void **state)
{
	static const char *const names[] = {"hostname", "queue", "log", "log-format"};

	(void)state;
	assert_string_equal(nearest_name(text_of("hsotname"), names, 4), "hostname");
	assert_string_equal(nearest_name(text_of("que"), names, 4), "queue");
	assert_string_equal(nearest_name(text_of("LOG"), names, 4), "log");
	assert_string_equal(nearest_name(text_of("logformat"), names, 4), "log-format");
	assert_null(nearest_name(text_of("something"), names, 4));
	assert_null(nearest_name(text_of("x"), names, 4));
	assert_null(nearest_name(text_of(""), names, 4));
}

static void patterns_fit_domains(void **state)
{
	(void)state;
	assert_true(domain_matches(text_of("*"), text_of("a.example")));
	assert_true(domain_matches(text_of(".example"), text_of("a.example")));
	assert_true(domain_matches(text_of("*.example"), text_of("a.EXAMPLE")));
	assert_false(domain_matches(text_of("*.example"), text_of("example")));
	assert_false(domain_matches(text_of(".example"), text_of(".example")));
	assert_false(domain_matches(text_of("a.example"), text_of("b.a.example")));
	assert_true(domain_matches(text_of("A.example"), text_of("a.example")));
}

/* What looks at all settings of a type meets those of repeated blocks, too. */
static void finds_a_setting_in_each_block(void **state)
{
	struct config *c = read_good("hostname = a.example\n"
				     "sender one.example { source = s }\n"
				     "source s { ipv4 = 192.0.2.1 helo = x.example }\n"
				     "sender two.example { source = t }\n"
				     "source t { ipv4 = 192.0.2.2 }\n" LISTEN);
	const struct setting_row *helo = NULL, *host = NULL;
	const struct text *text;
	uint32_t line;

	(void)state;
	for (size_t i = 0; i < setting_count; i++)
		if (setting_rows[i].block == BLOCK_source && !strcmp(setting_rows[i].name, "helo"))
			helo = &setting_rows[i];
		else if (setting_rows[i].block == BLOCK_top &&
			 !strcmp(setting_rows[i].name, "hostname"))
			host = &setting_rows[i];
	assert_true(helo && host);
	text = setting_field(c, helo, 0, &line);
	assert_true(text && text_equals(*text, "x.example"));
	assert_int_equal(line, 3);
	text = setting_field(c, helo, 1, &line);
	assert_true(text && !text->len);
	assert_int_equal(line, 5);
	assert_null(setting_field(c, helo, 2, &line));
	text = setting_field(c, host, 0, &line);
	assert_true(text && text_equals(*text, "a.example"));
	assert_int_equal(line, 1);
	assert_null(setting_field(c, host, 1, &line));
	config_drop(&c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(says_what_is_wrong),
	    cmocka_unit_test(says_all_at_once),
	    cmocka_unit_test(refuses_what_is_too_large),
	    cmocka_unit_test(takes_values),
	    cmocka_unit_test(the_most_exact_route_wins),
	    cmocka_unit_test(next_hops_have_order_and_weight),
	    cmocka_unit_test(logins_have_fingerprints),
	    cmocka_unit_test(relays_for_whom_it_should),
	    cmocka_unit_test(writes_what_it_reads),
	    cmocka_unit_test(shows_where_values_came_from),
	    cmocka_unit_test(is_held_by_its_holders),
	    cmocka_unit_test(guesses_what_was_meant),
	    cmocka_unit_test(finds_a_setting_in_each_block),
	    cmocka_unit_test(patterns_fit_domains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
