/* SPDX-License-Identifier: ISC */
/* Logins by token: what clients say, what authorization servers answer, and addresses of services.
 */
#include "checker/introspection.h"
#include "fetcher/permission.h"
#include "token_message.h"
#include "url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void messages(void **state)
{
	static const struct {
		unsigned mechanism;
		struct text said;
		enum token_reading reading;
		const char *name, *token;
	} rows[] = {
	    /* The example of RFC 7628 section 4.1. */
	    {SASL_OAUTHBEARER,
	     TEXT("n,a=user@example.com,\1host=server.example.com\1port=143\1"
		  "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1"),
	     TOKEN_READ, "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="},
	    {SASL_OAUTHBEARER, TEXT("n,,\1auth=bearer  x\1\1"), TOKEN_READ, "", "x"},
	    {SASL_OAUTHBEARER, TEXT("y,a=a=2Cb=3Dc,\1auth=Bearer x\1\1"), TOKEN_READ, "a,b=c", "x"},
	    {SASL_OAUTHBEARER, TEXT("n,,\1host=h\1\1"), TOKEN_NONE, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,,\1\1"), TOKEN_NONE, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,,\1auth=Bearer a b\1\1"), TOKEN_NONE, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,,\1auth=Bearer a\r\nb\1\1"), TOKEN_NONE, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,,\1auth=Bearer =\1\1"), TOKEN_NONE, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,,\1auth=\1\1"), TOKEN_NONE, "", ""},
	    {SASL_OAUTHBEARER, TEXT(""), TOKEN_MALFORMED, "", ""},
	    {SASL_OAUTHBEARER, TEXT("\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,,\1auth=Bearer x\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,,\1auth=Bearer x\1\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,,\1auth=Bearer x\1auth=Bearer y\1\1"), TOKEN_MALFORMED, "",
	     ""},
	    {SASL_OAUTHBEARER, TEXT("n,,auth=Bearer x\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_OAUTHBEARER, TEXT("p=tls-exporter,,\1auth=Bearer x\1\1"), TOKEN_MALFORMED, "",
	     ""},
	    {SASL_OAUTHBEARER, TEXT("n,a=,\1auth=Bearer x\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,a=a=2c,\1auth=Bearer x\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,a=a,b,\1auth=Bearer x\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,a=a\0b,\1auth=Bearer x\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,,\1au th=Bearer x\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_OAUTHBEARER, TEXT("n,,\1auth=Bearer \0x\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_XOAUTH2, TEXT("user=ann@example.net\1auth=Bearer ya29.x~\1\1"), TOKEN_READ,
	     "ann@example.net", "ya29.x~"},
	    {SASL_XOAUTH2, TEXT("user=ann\1auth=Basic eDp5\1\1"), TOKEN_NONE, "ann", ""},
	    {SASL_XOAUTH2, TEXT("user=\1auth=Bearer x\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_XOAUTH2, TEXT("user=ann\1auth=Bearer x\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_XOAUTH2, TEXT("user=ann\1auth=Bearer x\1y\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_XOAUTH2, TEXT("auth=Bearer x\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_XOAUTH2, TEXT("n,,\1auth=Bearer x\1\1"), TOKEN_MALFORMED, "", ""},
	    {SASL_XOAUTH2, TEXT(""), TOKEN_MALFORMED, "", ""},
	};
	struct token_message m;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		print_message("row %zu\n", i);
		assert_int_equal(token_message_read(rows[i].mechanism, rows[i].said, &m),
				 rows[i].reading);
		if (rows[i].reading == TOKEN_MALFORMED)
			continue;
		assert_string_equal(m.name, rows[i].name);
		assert_true(text_equals(m.token, rows[i].token));
	}
}

static void long_names(void **state)
{
	char said[LOGIN_MAX + 64];
	struct token_message m;

	(void)state;
	for (int more = 0; more < 2; more++) {
		int n = snprintf(said, sizeof said, "n,a=%0*d,\1auth=Bearer x\1\1",
				 LOGIN_MAX + more, 7);

		assert_int_equal(
		    token_message_read(SASL_OAUTHBEARER, (struct text){said, (size_t)n}, &m),
		    more ? TOKEN_MALFORMED : TOKEN_READ);
		n = snprintf(said, sizeof said, "user=%0*d\1auth=Bearer x\1\1", LOGIN_MAX + more,
			     7);
		assert_int_equal(
		    token_message_read(SASL_XOAUTH2, (struct text){said, (size_t)n}, &m),
		    more ? TOKEN_MALFORMED : TOKEN_READ);
	}
}

static void errors(void **state)
{
	static const struct {
		unsigned mechanism;
		enum token_error error;
		const char *scope, *want;
	} rows[] = {
	    {SASL_OAUTHBEARER, TOKEN_INVALID, "", "{\"status\":\"invalid_token\"}"},
	    {SASL_OAUTHBEARER, TOKEN_SCOPE, "a b",
	     "{\"status\":\"insufficient_scope\",\"scope\":\"a b\"}"},
	    {SASL_XOAUTH2, TOKEN_INVALID, "a",
	     "{\"status\":\"401\",\"schemes\":\"bearer\",\"scope\":\"a\"}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct bytes b = {0};

		token_error_put(rows[i].mechanism, rows[i].error, text_of(rows[i].scope), &b);
		assert_int_equal(bytes_len(&b), strlen(rows[i].want));
		assert_memory_equal(bytes_at(&b), rows[i].want, bytes_len(&b));
		bytes_free(&b);
	}
}

/* -- introspection --------------------------------------------------------------------- */

static struct config *config_of(const char *more)
{
	char text[1024];
	struct config_errors errors = {0};
	struct config *config;

	snprintf(text, sizeof text,
		 "hostname = mx.test\nlisten smtp { address = *:25 }\n"
		 "auth { introspection = https://idp.example/i %s }\n",
		 more);
	config = config_read(text_of(text), &errors);
	for (size_t i = 0; i < errors.count; i++)
		print_message("%s\n", errors.items[i].text);
	config_errors_free(&errors);
	assert_non_null(config);
	return config;
}

static const char scoped[] = "introspection-scope = \"smtp mail\"",
		  for_us[] = "introspection-audience = mx",
		  by_mail[] = "introspection-login = email";
static const struct {
	const char *config, *name, *answer;
	enum auth_verdict verdict;
} introspected[] = {
    {"", "", "{\"active\":true,\"username\":\"ann\"}", AUTH_GOOD},
    {"", "ANN", "{\"active\":true,\"username\":\"ann\"}", AUTH_GOOD},
    {"", "bob", "{\"active\":true,\"username\":\"ann\"}", AUTH_WRONG},
    {"", "", "{\"active\":false}", AUTH_WRONG},
    {"", "", "{\"active\":false,\"username\":\"ann\"}", AUTH_WRONG},
    {"", "", "{\"active\":true}", AUTH_WRONG},
    {"", "", "{\"active\":true,\"username\":7}", AUTH_WRONG},
    {"", "", "{\"active\":true,\"username\":\"a b\"}", AUTH_WRONG},
    {"", "", "{\"active\":\"true\",\"username\":\"ann\"}", AUTH_TEMPORARY},
    {"", "", "{\"active\":1,\"username\":\"ann\"}", AUTH_TEMPORARY},
    {"", "", "[]", AUTH_TEMPORARY},
    {"", "", "", AUTH_TEMPORARY},
    {"", "", "<html>", AUTH_TEMPORARY},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"exp\":1001}", AUTH_GOOD},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"exp\":1000}", AUTH_WRONG},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"exp\":1001.5}", AUTH_GOOD},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"exp\":\"1001\"}", AUTH_WRONG},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"exp\":-1}", AUTH_WRONG},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"exp\":1e300}", AUTH_WRONG},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"exp\":1e15}", AUTH_GOOD},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"exp\":0}", AUTH_WRONG},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"nbf\":0}", AUTH_GOOD},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"nbf\":-1}", AUTH_WRONG},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"nbf\":1029}", AUTH_GOOD},
    {"", "", "{\"active\":true,\"username\":\"ann\",\"nbf\":1031}", AUTH_WRONG},
    {scoped, "", "{\"active\":true,\"username\":\"ann\",\"scope\":\"mail x smtp\"}", AUTH_GOOD},
    {scoped, "", "{\"active\":true,\"username\":\"ann\",\"scope\":\"mail smtps\"}", AUTH_WRONG},
    {scoped, "", "{\"active\":true,\"username\":\"ann\"}", AUTH_WRONG},
    {for_us, "", "{\"active\":true,\"username\":\"ann\",\"aud\":\"mx\"}", AUTH_GOOD},
    {for_us, "", "{\"active\":true,\"username\":\"ann\",\"aud\":[\"imap\",\"mx\"]}", AUTH_GOOD},
    {for_us, "", "{\"active\":true,\"username\":\"ann\",\"aud\":[\"imap\"]}", AUTH_WRONG},
    {for_us, "", "{\"active\":true,\"username\":\"ann\"}", AUTH_WRONG},
    {by_mail, "", "{\"active\":true,\"username\":\"x\",\"email\":\"ann@a.example\"}", AUTH_GOOD},
    {by_mail, "", "{\"active\":true,\"username\":\"x\"}", AUTH_WRONG},
};

static void answers(void **state)
{
	struct introspection found;

	(void)state;
	for (size_t i = 0; i < sizeof introspected / sizeof *introspected; i++) {
		struct config *config = config_of(introspected[i].config);

		print_message("row %zu\n", i);
		introspection_read(config, text_of(introspected[i].answer), introspected[i].name,
				   1000, &found);
		assert_int_equal(found.verdict, introspected[i].verdict);
		/* Its keeper counts in microseconds. */
		assert_true(found.expires_s <= INT64_MAX / 1000000);
		if (found.verdict == AUTH_GOOD)
			assert_string_equal(found.login, introspected[i].config == by_mail
							     ? "ann@a.example"
							     : "ann");
		else
			assert_string_equal(found.login, "");
		config_drop(&config);
	}
}

static void check_bytes(struct bytes *b, const char *want)
{
	assert_int_equal(bytes_len(b), strlen(want));
	assert_memory_equal(bytes_at(b), want, strlen(want));
	bytes_free(b);
}

static void requests(void **state)
{
	struct bytes b = {0};
	struct config *config = config_of("introspection-client = \"a:b c\"");

	(void)state;
	introspection_put_body(text_of("x~+/=%&"), &b);
	check_bytes(&b, "token=x%7E%2B%2F%3D%25%26&token_type_hint=access_token");
	introspection_put_authorization(config, text_of("p:w"), &b);
	check_bytes(&b, "Basic YSUzQWIlMjBjOnAlM0F3"); /* a%3Ab%20c:p%3Aw */
	config_drop(&config);
	config = config_of("");
	introspection_put_authorization(config, text_of("tok"), &b);
	check_bytes(&b, "Bearer tok");
	config_drop(&config);
}

/* -- addresses ------------------------------------------------------------------------------ */

static void addresses(void **state)
{
	static const struct {
		const char *url, *host;
		unsigned port; /* 0: it is none */
	} rows[] = {
	    {"https://idp.example", "idp.example", 443},
	    {"https://idp.example/", "idp.example", 443},
	    {"HTTPS://idp.example:8443/a?b=c&d", "idp.example", 8443},
	    {"https://192.0.2.1?x", "192.0.2.1", 443},
	    {"https://[2001:db8::1]:65535/x", "2001:db8::1", 65535},
	    {"http://idp.example/", "", 0},
	    {"https:/idp.example/", "", 0},
	    {"https://", "", 0},
	    {"https:///x", "", 0},
	    {"https://idp.example:0/", "", 0},
	    {"https://idp.example:65536/", "", 0},
	    {"https://idp.example:/", "", 0},
	    {"https://user@idp.example/", "", 0},
	    {"https://user:word@idp.example/", "", 0},
	    {"https://idp.example/#x", "", 0},
	    {"https://idp.example/a b", "", 0},
	    {"https://idp.example/\n", "", 0},
	    {"https://[::1/", "", 0},
	    {"https://[]/", "", 0},
	    {"https://[idp.example]/", "", 0},
	    {"https://idp.example\\@evil.example/", "", 0},
	};
	struct url url;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		print_message("%s\n", rows[i].url);
		assert_int_equal(url_read(text_of(rows[i].url), &url) == NULL, rows[i].port != 0);
		if (!rows[i].port)
			continue;
		assert_true(text_equals(url.host, rows[i].host));
		assert_int_equal(url.port, rows[i].port);
	}
}

static void permissions(void **state)
{
	struct config *config = config_of("");
	struct msg_fetch m = {.purpose = FETCH_INTROSPECTION,
			      .method = FETCH_POST,
			      .url = TEXT("https://idp.example/i")};

	(void)state;
	assert_true(fetch_is_allowed(config, PEER_CHECKER, &m));
	assert_false(fetch_is_allowed(config, PEER_SMTPD, &m));
	m.method = FETCH_GET;
	assert_false(fetch_is_allowed(config, PEER_CHECKER, &m));
	m.method = FETCH_POST;
	m.url = text_of("https://idp.example/i/");
	assert_false(fetch_is_allowed(config, PEER_CHECKER, &m));
	m.purpose = FETCH_PURPOSES;
	assert_false(fetch_is_allowed(config, PEER_CHECKER, &m));
	config_drop(&config);
}

/* Our own tokens: from the endpoints of routes, and each purpose has its own addresses. */
static void permissions_of_routes(void **state)
{
	static const char text[] =
	    "hostname = mx.test\nlisten smtp { address = *:25 }\n"
	    "auth { introspection = https://idp.example/i }\n"
	    "route * { to = smtp:relay.example login = x token-endpoint = https://a.example/token "
	    "client-id = x refresh-token-file = /r }\n"
	    "route b.example { to = smtp:relay.example login = y token-endpoint = "
	    "https://b.example/token client-id = x refresh-token-file = /r }\n";
	struct config_errors errors;
	struct config *config = config_read(text_of(text), &errors);
	struct msg_fetch m = {
	    .purpose = FETCH_TOKEN, .method = FETCH_POST, .url = TEXT("https://b.example/token")};

	(void)state;
	config_errors_free(&errors);
	assert_non_null(config);
	assert_true(fetch_is_allowed(config, PEER_CHECKER, &m));
	assert_false(fetch_is_allowed(config, PEER_SMTP_CLIENT, &m));
	assert_true(text_equal(fetch_authorities(config, FETCH_TOKEN), config->tls_authorities));
	m.url = text_of("https://c.example/token");
	assert_false(fetch_is_allowed(config, PEER_CHECKER, &m));
	m.url = text_of("https://idp.example/i");
	assert_false(fetch_is_allowed(config, PEER_CHECKER, &m));
	m.url = text_of("https://b.example/token");
	m.purpose = FETCH_INTROSPECTION;
	assert_false(fetch_is_allowed(config, PEER_CHECKER, &m));
	config_drop(&config);
}

/* Where a report on TLS may go: not to those who are near us. */
static void near_addresses(void **state)
{
	static const struct {
		const char *address;
		bool far;
	} rows[] = {
	    {"192.0.2.1", true},
	    {"8.8.8.8", true},
	    {"100.63.255.255", true},
	    {"172.15.0.1", true},
	    {"172.32.0.1", true},
	    {"2a00::1", true},
	    {"2606:4700::1111", true},
	    {"0.0.0.0", false},
	    {"10.1.2.3", false},
	    {"100.64.0.1", false},
	    {"127.0.0.1", false},
	    {"169.254.1.1", false},
	    {"172.16.0.1", false},
	    {"172.31.255.255", false},
	    {"192.168.1.1", false},
	    {"192.0.0.8", false},
	    {"198.19.0.1", false},
	    {"224.0.0.1", false},
	    {"255.255.255.255", false},
	    {"::", false},
	    {"::1", false},
	    {"fe80::1", false},
	    {"fd00::1", false},
	    {"ff02::1", false},
	    {"64:ff9b::7f00:1", false},
	    {"2002:7f00:1::", false},
	    {"2001::1", false},
	};
	struct config *far = config_of("} tlsrpt { contact = a@b.example"),
		      *near = config_of("} tlsrpt { contact = a@b.example internal-hosts = yes");
	uint8_t address[16];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		print_message("%s\n", rows[i].address);
		assert_true(host_address_parse(text_of(rows[i].address), address));
		assert_int_equal(!fetch_is_internal(address), rows[i].far);
	}
	assert_false(fetch_goes_inside(far, FETCH_TLS_REPORT));
	assert_true(fetch_goes_inside(near, FETCH_TLS_REPORT));
	assert_true(fetch_goes_inside(far, FETCH_INTROSPECTION));
	config_drop(&far);
	config_drop(&near);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(messages),	      cmocka_unit_test(long_names),
	    cmocka_unit_test(errors),	      cmocka_unit_test(answers),
	    cmocka_unit_test(requests),	      cmocka_unit_test(addresses),
	    cmocka_unit_test(permissions),    cmocka_unit_test(permissions_of_routes),
	    cmocka_unit_test(near_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
