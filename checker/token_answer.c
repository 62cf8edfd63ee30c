/* SPDX-License-Identifier: ISC */
/* Asking for access tokens, and reading the answers. */
#include "token_answer.h"

#include "relay_talk.h"
#include "url.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum { LIFETIME_DEFAULT_S = 300, LIFETIME_MOST_S = 86400 };

/* -- the request ---------------------------------------------------------------------- */

static void put_z(struct bytes *to, const char *text)
{
	bytes_add(to, text, strlen(text));
}

static void put(struct bytes *to, const char *name, struct text value)
{
	put_z(to, name);
	url_put_encoded(to, value);
}

void token_request_put(const struct config_route *route, struct text client_secret,
		       struct text refresh, struct bytes *to)
{
	if (refresh.len) {
		put(to, "grant_type=refresh_token&refresh_token=", refresh);
	} else {
		put_z(to, "grant_type=client_credentials");
	}
	/* RFC 6749 section 2.3.1 has them in the body, too; it is what the big providers document.
	 */
	put(to, "&client_id=", route->client_id);
	if (client_secret.len)
		put(to, "&client_secret=", client_secret);
	if (route->token_scope.len)
		put(to, "&scope=", route->token_scope);
}

/* -- the answer ------------------------------------------------------------------------- */

static void wipe(struct bytes *b)
{
	if (b->data)
		OPENSSL_cleanse(b->data, b->size);
	bytes_free(b);
}

void token_answer_free(struct token_answer *a)
{
	wipe(&a->access);
	wipe(&a->refresh);
}

static struct text string_of(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_string(value)
		   ? (struct text){json_string_value(value), json_string_length(value)}
		   : (struct text){NULL, 0};
}

/* A number of seconds; some servers write it as a string. */
static int64_t lifetime_of(const json_t *answer)
{
	const json_t *value = json_object_get(answer, "expires_in");
	double seconds = json_number_value(value);
	uint64_t digits;

	if (text_number(string_of(answer, "expires_in"), LIFETIME_MOST_S, &digits))
		return (int64_t)digits;
	if (!json_is_number(value) || !(seconds >= 0))
		return LIFETIME_DEFAULT_S;
	return seconds < LIFETIME_MOST_S ? (int64_t)seconds : LIFETIME_MOST_S;
}

/* For a reply, a log line and a person: without what steers a terminal. */
static void say(char *to, size_t size, struct text t)
{
	size_t n = text_copy(to, size, t);

	if (!text_is_utf8((struct text){to, n}))
		n = text_copy(to, size, (struct text)TEXT("(no UTF-8)"));
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)to[i] < ' ' || to[i] == 0x7f)
			to[i] = ' ';
}

static void trouble(struct token_answer *to, const char *why)
{
	to->given = TOKEN_TROUBLE;
	snprintf(to->why, sizeof to->why, "%s", why);
}

/* RFC 6749 section 5.2. What is wrong with the request, client or grant does not heal by itself. */
static void read_error(unsigned status, const json_t *answer, struct token_answer *to)
{
	struct text error = string_of(answer, "error"),
		    words = string_of(answer, "error_description");
	char name[48], said[120];

	to->given =
	    (status == 400 || status == 401 || status == 403) ? TOKEN_DENIED : TOKEN_TROUBLE;
	if (!error.len) {
		snprintf(to->why, sizeof to->why, "the server answers %u", status);
		return;
	}
	if (text_equals(error, "temporarily_unavailable") || text_equals(error, "slow_down"))
		to->given = TOKEN_TROUBLE;
	say(name, sizeof name, error);
	say(said, sizeof said, words);
	snprintf(to->why, sizeof to->why, "%s%s%s", name, *said ? ": " : "", said);
}

/* Section 5.1. */
static void read_token(const json_t *answer, struct token_answer *to)
{
	struct text access = string_of(answer, "access_token"),
		    refresh = string_of(answer, "refresh_token"),
		    type = string_of(answer, "token_type");

	if (!access.len || access.len > TOKEN_MAX || !talk_token_fits(access)) {
		trouble(to, "the server's answer has no access token that can be used");
	} else if (type.len && !text_equal_case(type, (struct text)TEXT("Bearer"))) {
		trouble(to, "the server gives tokens of another type than Bearer");
	} else {
		to->given = TOKEN_GIVEN;
		to->lifetime_s = lifetime_of(answer);
		bytes_add(&to->access, access.data, access.len);
		/* Section 6: "the client MUST discard the old refresh token and replace it". */
		if (refresh.len <= REFRESH_MAX &&
		    !memchr(refresh.data ? refresh.data : "", '\0', refresh.len))
			bytes_add(&to->refresh, refresh.data, refresh.len);
	}
}

void token_answer_read(unsigned status, struct text body, struct token_answer *to)
{
	json_t *answer = json_loadb(body.data ? body.data : "", body.len, 0, NULL);

	*to = (struct token_answer){.given = TOKEN_TROUBLE};
	if (status == 200 && json_is_object(answer))
		read_token(answer, to);
	else if (status == 200)
		trouble(to, "the server's answer is no JSON object");
	else
		read_error(status, answer, to);
	json_decref(answer);
}
