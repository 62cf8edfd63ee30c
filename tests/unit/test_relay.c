/* SPDX-License-Identifier: ISC */
/* Logins of ours: what is said by each mechanism, with GNU SASL's server at the other end of SCRAM;
 * and answers with access tokens. */
#include "checker/relay_talk.h"
#include "checker/token_answer.h"

#include "base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static Gsasl *context;

static struct text said(const struct talk *t)
{
	return bytes_text(&t->response);
}

static void said_is(const struct talk *t, struct text want)
{
	if (!text_equal(said(t), want))
		fail_msg("said \"%.*s\"", (int)bytes_len(&t->response),
			 (const char *)bytes_at(&t->response));
}

static struct talk_secret secret_of(const char *login, const char *secret, struct salted *kept)
{
	return (struct talk_secret){text_of(login), text_of(secret), {NULL, 0}, kept};
}

static void chooses(void **state)
{
	(void)state;
	assert_int_equal(talk_choose(SASL_PASSWORDS, true), SASL_SCRAM_SHA_256_PLUS);
	assert_int_equal(talk_choose(SASL_PASSWORDS, false), SASL_SCRAM_SHA_256);
	assert_int_equal(talk_choose(SASL_SCRAM_SHA_1_PLUS | SASL_PLAIN, false), SASL_PLAIN);
	assert_int_equal(talk_choose(SASL_SCRAM_SHA_1_PLUS | SASL_PLAIN, true),
			 SASL_SCRAM_SHA_1_PLUS);
	assert_int_equal(talk_choose(SASL_TOKENS, true), SASL_OAUTHBEARER);
	assert_int_equal(talk_choose(SASL_LOGIN | SASL_PLAIN, true), SASL_PLAIN);
	assert_int_equal(talk_choose(0, true), 0);
	assert_int_equal(talk_choose(SASL_SCRAM_SHA_256_PLUS, false), 0);
}

static void shows_passwords(void **state)
{
	struct salted kept = {0};
	struct talk_secret s = secret_of("ann@a.example", "pass word", &kept);
	struct talk t;

	(void)state;
	assert_true(talk_begin(&t, context, SASL_PLAIN, &s));
	said_is(&t, (struct text)TEXT("\0ann@a.example\0pass word"));
	assert_true(t.has_response && t.final);
	assert_false(talk_step(&t, &s, text_of("more?")));
	talk_end(&t);
	assert_true(talk_begin(&t, context, SASL_LOGIN, &s));
	assert_false(t.has_response || t.final);
	assert_true(talk_step(&t, &s, text_of("User Name\0")));
	said_is(&t, s.login);
	assert_false(t.final);
	assert_true(talk_step(&t, &s, text_of("")));
	said_is(&t, s.secret);
	assert_true(t.final);
	assert_false(talk_step(&t, &s, text_of("again")));
	talk_end(&t);
}

static void shows_tokens(void **state)
{
	struct salted kept = {0};
	struct talk_secret s = secret_of("ann,x=@a.example", "ya29.tok-en~+/==", &kept);
	struct talk t;

	(void)state;
	assert_true(talk_begin(&t, context, SASL_OAUTHBEARER, &s));
	said_is(&t,
		(struct text)TEXT("n,a=ann=2Cx=3D@a.example,\1auth=Bearer ya29.tok-en~+/==\1\1"));
	assert_true(t.final);
	assert_true(talk_step(&t, &s, text_of("{\"status\":\"invalid_token\"}")));
	said_is(&t, text_of("\1"));
	assert_false(t.final);
	assert_false(talk_step(&t, &s, text_of("{}")));
	talk_end(&t);
	assert_true(talk_begin(&t, context, SASL_XOAUTH2, &s));
	said_is(&t, (struct text)TEXT("user=ann,x=@a.example\1auth=Bearer ya29.tok-en~+/==\1\1"));
	assert_true(talk_step(&t, &s, text_of("{\"status\":\"401\"}")));
	said_is(&t, text_of(""));
	assert_true(t.has_response);
	talk_end(&t);
	for (const char *const *bad = (const char *const[]){"", "=", "a b", "a\1b", "a=b", NULL};
	     *bad; bad++) {
		s.secret = text_of(*bad);
		assert_false(talk_begin(&t, context, SASL_XOAUTH2, &s));
		talk_end(&t);
	}
}

/* RFC 4954 section 4: the command has 512 octets; what does not fit comes behind a challenge. */
static void holds_what_is_long(void **state)
{
	char token[400];
	struct salted kept = {0};
	struct talk t;

	(void)state;
	for (size_t n = 330; n < sizeof token; n++) {
		memset(token, 'x', n);
		token[n] = '\0';
		struct talk_secret s = secret_of("a", token, &kept);

		assert_true(talk_begin(&t, context, SASL_XOAUTH2, &s));
		size_t len = bytes_len(&t.response);

		assert_int_equal(t.has_response, 15 + BASE64_LEN(len) <= 512);
		if (!t.has_response) {
			assert_true(talk_step(&t, &s, text_of("")));
			assert_int_equal(bytes_len(&t.response), len);
			assert_true(t.has_response && t.final);
		}
		talk_end(&t);
	}
}

/* -- SCRAM ------------------------------------------------------------------------------- */

static const uint8_t binding[32] = "thirty-two octets of an exporter";

static int server_asks(Gsasl *c, Gsasl_session *s, Gsasl_property property)
{
	struct bytes b = {0};

	(void)c;
	if (property == GSASL_PASSWORD) {
		gsasl_property_set(s, property, "pencil");
		return GSASL_OK;
	}
	if (property == GSASL_CB_TLS_EXPORTER && gsasl_session_hook_get(s)) {
		base64_put(&b, binding, sizeof binding);
		gsasl_property_set_raw(s, property, (const char *)bytes_at(&b), bytes_len(&b));
		bytes_free(&b);
		return GSASL_OK;
	}
	return GSASL_NO_CALLBACK;
}

/* Says what the talk said to the server, and the server's answer to the talk. */
static bool pass_on(struct talk *t, const struct talk_secret *s, Gsasl_session *server, int *result)
{
	char *out = NULL;
	size_t len = 0;

	*result = gsasl_step(server, (const char *)bytes_at(&t->response), bytes_len(&t->response),
			     &out, &len);
	bool good = (*result == GSASL_OK || *result == GSASL_NEEDS_MORE) &&
		    talk_step(t, s, (struct text){out, len});

	gsasl_free(out);
	return good;
}

static void proves(void **state)
{
	static const unsigned mechanisms[] = {SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_256_PLUS,
					      SASL_SCRAM_SHA_1, SASL_SCRAM_SHA_1_PLUS};
	Gsasl *servers;

	(void)state;
	assert_int_equal(gsasl_init(&servers), GSASL_OK);
	gsasl_callback_set(servers, server_asks);
	for (size_t i = 0; i < 8; i++) {
		bool right = i < 4;
		struct salted kept = {0};
		struct talk_secret s = secret_of("user", right ? "pencil" : "crayon", &kept);
		struct talk t;
		Gsasl_session *server;
		int result;

		s.binding = (struct text){(const char *)binding, sizeof binding};
		assert_int_equal(gsasl_server_start(servers, sasl_name(mechanisms[i % 4]), &server),
				 GSASL_OK);
		gsasl_session_hook_set(server, mechanisms[i % 4] & SASL_BOUND ? servers : NULL);
		assert_true(talk_begin(&t, context, mechanisms[i % 4], &s));
		assert_true(t.has_response && !t.final);
		assert_true(pass_on(&t, &s, server, &result));
		assert_true(kept.mechanism && strlen(kept.hex) == (i % 4 < 2 ? 64 : 40));
		assert_int_equal(pass_on(&t, &s, server, &result), right);
		assert_int_equal(result, right ? GSASL_OK : GSASL_AUTHENTICATION_ERROR);
		assert_int_equal(t.final, right);
		assert_int_equal(bytes_len(&t.response), right ? 0 : bytes_len(&t.response));
		assert_false(right && talk_step(&t, &s, text_of("more")));
		talk_end(&t);
		gsasl_finish(server);
	}
	gsasl_done(servers);
}

/* The client's nonce is in its first message, "n,,n=user,r=NONCE". */
static void first_message(const struct talk *t, const char *before, const char *behind, char *to,
			  size_t size)
{
	struct text m = said(t);
	size_t skip = strlen("n,,n=user,r=");

	snprintf(to, size, "%s%.*s%s", before, (int)(m.len - skip), m.data + skip, behind);
}

static void is_not_taken_in(void **state)
{
	static const struct {
		const char *before, *behind, *why;
	} rows[] = {
	    {"r=", "x,s=c2FsdA==,i=4095", "less than 4096"},
	    {"r=", "x,s=c2FsdA==,i=1000001", "more than 1000000"},
	    {"r=", "x,s=c2FsdA==,i=99999999999999999999", "no SCRAM"},
	    {"r=", "x,s=c2FsdA==,i=", "no SCRAM"},
	    {"r=", "x,s=c2Fsd,i=4096", "no SCRAM"},
	    {"r=", "x,s=,i=4096", "no SCRAM"},
	    {"r=", "x,i=4096", "no SCRAM"},
	    {"m=x,r=", "x,s=c2FsdA==,i=4096", "no SCRAM"},
	    {"", "", "no SCRAM"},
	    {"r=another", ",s=c2FsdA==,i=4096", ""},
	};
	struct salted kept = {0};
	struct talk_secret s = secret_of("user", "pencil", &kept);
	struct talk t;
	char message[200];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_true(talk_begin(&t, context, SASL_SCRAM_SHA_256, &s));
		first_message(&t, rows[i].before, rows[i].behind, message, sizeof message);
		assert_false(talk_step(&t, &s, text_of(message)));
		if (!strstr(t.why, rows[i].why))
			fail_msg("row %zu: %s", i, t.why);
		talk_end(&t);
	}
	/* A server that does not know the password. */
	assert_true(talk_begin(&t, context, SASL_SCRAM_SHA_256, &s));
	first_message(&t, "r=", "x,s=c2FsdA==,i=4096", message, sizeof message);
	assert_true(talk_step(&t, &s, text_of(message)));
	assert_true(text_starts_case(said(&t), "c=biws,r="));
	assert_false(talk_step(&t, &s, text_of("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")));
	assert_non_null(strstr(t.why, "has not proved"));
	assert_false(t.final);
	talk_end(&t);
}

/* -- tokens -------------------------------------------------------------------------------- */

static void asks_for_tokens(void **state)
{
	struct config_route route = {.client_id = TEXT("a b"), .token_scope = TEXT("x/y z")};
	struct bytes b = {0};

	(void)state;
	token_request_put(&route, text_of("&="), text_of("1//r"), &b);
	assert_true(text_equals(bytes_text(&b),
				"grant_type=refresh_token&refresh_token=1%2F%2Fr&client_id=a%20b&"
				"client_secret=%26%3D&scope=x%2Fy%20z"));
	bytes_free(&b);
	route.token_scope.len = 0;
	token_request_put(&route, text_of("s"), text_of(""), &b);
	assert_true(text_equals(bytes_text(&b),
				"grant_type=client_credentials&client_id=a%20b&client_secret=s"));
	bytes_free(&b);
}

static void reads_answers(void **state)
{
	static const struct {
		unsigned status;
		const char *body;
		enum token_given given;
		const char *access, *refresh;
		int64_t lifetime_s;
		const char *why;
	} rows[] = {
	    {200, "{\"access_token\":\"t\",\"expires_in\":3599,\"token_type\":\"Bearer\"}",
	     TOKEN_GIVEN, "t", "", 3599, ""},
	    {200, "{\"access_token\":\"t\",\"expires_in\":\"3600\",\"refresh_token\":\"r\"}",
	     TOKEN_GIVEN, "t", "r", 3600, ""},
	    {200, "{\"access_token\":\"t\"}", TOKEN_GIVEN, "t", "", 300, ""},
	    {200, "{\"access_token\":\"t\",\"expires_in\":1e30}", TOKEN_GIVEN, "t", "", 86400, ""},
	    {200, "{\"access_token\":\"t\",\"expires_in\":-1}", TOKEN_GIVEN, "t", "", 300, ""},
	    {200, "{\"access_token\":\"t\",\"expires_in\":[]}", TOKEN_GIVEN, "t", "", 300, ""},
	    {200, "{\"access_token\":\"t\",\"token_type\":\"mac\"}", TOKEN_TROUBLE, "", "", 0,
	     "another type"},
	    {200, "{\"access_token\":\"a b\"}", TOKEN_TROUBLE, "", "", 0, "no access token"},
	    {200, "{\"access_token\":\"a\\u0001\"}", TOKEN_TROUBLE, "", "", 0, "no access token"},
	    {200, "{\"access_token\":7}", TOKEN_TROUBLE, "", "", 0, "no access token"},
	    {200, "{\"access_token\":\"t\",\"refresh_token\":\"a\\u0000b\"}", TOKEN_TROUBLE, "", "",
	     0, "no JSON"}, /* jansson takes no NUL */
	    {200, "[]", TOKEN_TROUBLE, "", "", 0, "no JSON object"},
	    {200, "", TOKEN_TROUBLE, "", "", 0, "no JSON object"},
	    {400,
	     "{\"error\":\"invalid_grant\",\"error_description\":\"Token has been\\nrevoked\"}",
	     TOKEN_DENIED, "", "", 0, "invalid_grant: Token has been revoked"},
	    {401, "{\"error\":\"invalid_client\"}", TOKEN_DENIED, "", "", 0, "invalid_client"},
	    {400, "{\"error\":\"slow_down\"}", TOKEN_TROUBLE, "", "", 0, "slow_down"},
	    {400, "<html>", TOKEN_DENIED, "", "", 0, "the server answers 400"},
	    {302, "", TOKEN_TROUBLE, "", "", 0, "the server answers 302"},
	    {503, "{\"error\":\"temporarily_unavailable\"}", TOKEN_TROUBLE, "", "", 0,
	     "temporarily_unavailable"},
	    {403, "{\"error\":7}", TOKEN_DENIED, "", "", 0, "the server answers 403"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct token_answer a;

		print_message("row %zu\n", i);
		token_answer_read(rows[i].status, text_of(rows[i].body), &a);
		assert_int_equal(a.given, rows[i].given);
		assert_true(text_equals(bytes_text(&a.access), rows[i].access));
		assert_true(text_equals(bytes_text(&a.refresh), rows[i].refresh));
		assert_int_equal(a.lifetime_s, rows[i].lifetime_s);
		if (!strstr(a.why, rows[i].why))
			fail_msg("%s", a.why);
		token_answer_free(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(chooses),	       cmocka_unit_test(shows_passwords),
	    cmocka_unit_test(shows_tokens),    cmocka_unit_test(holds_what_is_long),
	    cmocka_unit_test(proves),	       cmocka_unit_test(is_not_taken_in),
	    cmocka_unit_test(asks_for_tokens), cmocka_unit_test(reads_answers),
	};

	if (gsasl_init(&context) != GSASL_OK)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	gsasl_done(context);
	return failed;
}
