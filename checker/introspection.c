/* SPDX-License-Identifier: ISC */
/* Asking about tokens, and reading the answers. */
#include "introspection.h"

#include "base64.h"
#include "url.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <string.h>

/* Clocks of two machines are never quite the same. */
enum { LEEWAY_S = 30 };

/* The last second of the year 9999: in microseconds it is still a number. */
static const int64_t FAR_S = INT64_C(253402300799);

/* -- the request ---------------------------------------------------------------------- */

static void put(struct bytes *to, const char *text)
{
	bytes_add(to, text, strlen(text));
}

/* RFC 7662 section 2.1 */
void introspection_put_body(struct text token, struct bytes *to)
{
	put(to, "token=");
	url_put_encoded(to, token);
	put(to, "&token_type_hint=access_token");
}

void introspection_put_authorization(const struct config *config, struct text secret,
				     struct bytes *to)
{
	struct bytes pair = {0};

	if (!config->auth_introspection_client.len) {
		put(to, "Bearer ");
		bytes_add(to, secret.data, secret.len);
		return;
	}
	/* RFC 6749 section 2.3.1: both are encoded before they become a Basic pair. */
	url_put_encoded(&pair, config->auth_introspection_client);
	put(&pair, ":");
	url_put_encoded(&pair, secret);
	put(to, "Basic ");
	base64_put(to, bytes_at(&pair), bytes_len(&pair));
	OPENSSL_cleanse(pair.data, pair.size);
	bytes_free(&pair);
}

/* -- the answer --------------------------------------------------------------------------- */

/* Is WORD among WORDS, which are a blank apart? */
static bool has_word(struct text words, struct text word)
{
	while (words.len) {
		ptrdiff_t blank = text_find(words, ' ');
		struct text one = {words.data, blank < 0 ? words.len : (size_t)blank};

		if (text_equal(one, word))
			return true;
		if (blank < 0)
			return false;
		words = (struct text){words.data + blank + 1, words.len - (size_t)blank - 1};
	}
	return false;
}

/* Each scope that we want is there. */
static bool scope_fits(struct text wanted, const json_t *scope)
{
	struct text has = text_of(json_string_value(scope));

	while (wanted.len) {
		ptrdiff_t blank = text_find(wanted, ' ');
		struct text one = {wanted.data, blank < 0 ? wanted.len : (size_t)blank};

		if (one.len && !has_word(has, one))
			return false;
		if (blank < 0)
			break;
		wanted = (struct text){wanted.data + blank + 1, wanted.len - (size_t)blank - 1};
	}
	return true;
}

/* RFC 7662 section 2.2: "Service-specific string identifier or list of string identifiers" */
static bool audience_fits(struct text wanted, const json_t *audience)
{
	if (!wanted.len || text_equal(wanted, text_of(json_string_value(audience))))
		return true;
	for (size_t i = 0; i < json_array_size(audience); i++)
		if (text_equal(wanted, text_of(json_string_value(json_array_get(audience, i)))))
			return true;
	return false;
}

static void wrong(struct introspection *to, enum token_error error, const char *why)
{
	to->verdict = AUTH_WRONG;
	to->error = error;
	to->why = why;
}

/* A time since 1970, 0 when there is none, -1 when it is nonsense. */
static int64_t time_of(const json_t *value)
{
	double real = json_number_value(value);

	if (!value)
		return 0;
	if (!json_is_number(value) || !(real >= 0) || real > 1e15)
		return -1;
	if (real > (double)FAR_S)
		return FAR_S;
	return json_is_integer(value) ? json_integer_value(value) : (int64_t)real;
}

static bool times_fit(const json_t *answer, int64_t now_s, struct introspection *to)
{
	const json_t *exp = json_object_get(answer, "exp");
	int64_t expires = time_of(exp), begins = time_of(json_object_get(answer, "nbf"));

	to->expires_s = expires;
	/* Valid since 1970 may be meant, expired in 1970 is not valid. */
	return (expires > 0 || !exp) && begins >= 0 && (!exp || expires > now_s) &&
	       begins <= now_s + LEEWAY_S;
}

static void login_take(const struct config *config, const json_t *answer, const char *name,
		       struct introspection *to)
{
	char member[128];
	struct text login;

	text_copy(member, sizeof member, config->auth_introspection_login);
	login = text_of(json_string_value(json_object_get(answer, member)));
	if (passwd_name_fault(login))
		wrong(to, TOKEN_INVALID, "the answer names no login (introspection-login)");
	else if (*name && !passwd_same_name(login, text_of(name)))
		wrong(to, TOKEN_INVALID, "the token is another's");
	else
		text_copy(to->login, sizeof to->login, login);
}

void introspection_read(const struct config *config, struct text body, const char *name,
			int64_t now_s, struct introspection *to)
{
	json_t *answer =
	    json_loadb(body.data ? body.data : "", body.len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *active = json_object_get(answer, "active");

	*to = (struct introspection){.verdict = AUTH_GOOD};
	if (!json_is_boolean(active)) {
		to->verdict = AUTH_TEMPORARY;
		to->why = "the introspection server's answer is none (RFC 7662)";
	} else if (!json_is_true(active)) {
		wrong(to, TOKEN_INVALID, "the token is not active");
	} else if (!times_fit(answer, now_s, to)) {
		wrong(to, TOKEN_INVALID, "the token has expired, or is not valid yet");
	} else if (!audience_fits(config->auth_introspection_audience,
				  json_object_get(answer, "aud"))) {
		wrong(to, TOKEN_INVALID, "the token is for another audience");
	} else if (!scope_fits(config->auth_introspection_scope,
			       json_object_get(answer, "scope"))) {
		wrong(to, TOKEN_SCOPE, "the token has not the scope");
	} else {
		login_take(config, answer, name, to);
	}
	json_decref(answer);
}
