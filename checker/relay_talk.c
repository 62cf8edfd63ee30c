/* SPDX-License-Identifier: ISC */
/* Mechanisms, as a client speaks them. */
#include "relay_talk.h"

#include "base64.h"
#include "must.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { AUTH_LINE_MAX = 512 }; /* RFC 5321 section 4.5.3.1.4, with its CRLF */

enum stage {
	STAGE_BEGIN,
	STAGE_NAME, /* has been said */
	STAGE_GOES, /* SCRAM's first message has */
	STAGE_LAST, /* what comes now is the server's proof, or an error */
	STAGE_OVER,
};

static void put(struct bytes *to, struct text t)
{
	bytes_add(to, t.data, t.len);
}

static void put_z(struct bytes *to, const char *text)
{
	bytes_add(to, text, strlen(text));
}

static bool broken(struct talk *t, const char *why)
{
	t->why = why;
	return false;
}

static void response_wipe(struct talk *t)
{
	if (t->response.data)
		OPENSSL_cleanse(t->response.data, t->response.size);
	bytes_free(&t->response);
}

/* -- choosing ------------------------------------------------------------------------------ */

unsigned talk_choose(unsigned allowed, bool binding)
{
	/* Those that show the password last; of tokens, the standard's before what it grew from. */
	static const unsigned order[] = {
	    SASL_SCRAM_SHA_256_PLUS,
	    SASL_SCRAM_SHA_256,
	    SASL_SCRAM_SHA_1_PLUS,
	    SASL_SCRAM_SHA_1,
	    SASL_OAUTHBEARER,
	    SASL_XOAUTH2,
	    SASL_PLAIN,
	    SASL_LOGIN,
	};

	for (size_t i = 0; i < sizeof order / sizeof *order; i++)
		if ((allowed & order[i]) && (binding || !(order[i] & SASL_BOUND)))
			return order[i];
	return 0;
}

/* -- tokens -------------------------------------------------------------------------------- */

static bool is_of_token(char c)
{
	return ascii_is_alnum(c) || (c && strchr("-._~+/", c));
}

bool talk_token_fits(struct text token)
{
	size_t n = 0;

	/* b64token: 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" */
	while (n < token.len && is_of_token(token.data[n]))
		n++;
	if (!n)
		return false;
	while (n < token.len && token.data[n] == '=')
		n++;
	return n == token.len;
}

/* RFC 5801 section 4: saslname */
static void put_saslname(struct bytes *to, struct text name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.data[i] == ',')
			put_z(to, "=2C");
		else if (name.data[i] == '=')
			put_z(to, "=3D");
		else
			bytes_add(to, &name.data[i], 1);
}

static bool token_begin(struct talk *t, const struct talk_secret *s)
{
	if (!talk_token_fits(s->secret))
		return broken(t, "the access token has octets that none can have");
	bytes_room(&t->response, s->secret.len + 3 * s->login.len + 64);
	if (t->mechanism == SASL_XOAUTH2) {
		put_z(&t->response, "user=");
		put(&t->response, s->login);
	} else { /* RFC 7628 section 3.1 */
		put_z(&t->response, "n,a=");
		put_saslname(&t->response, s->login);
		put_z(&t->response, ",");
	}
	put_z(&t->response, "\1auth=Bearer ");
	put(&t->response, s->secret);
	put_z(&t->response, "\1\1");
	t->final = true;
	t->stage = STAGE_LAST;
	return true;
}

/* RFC 7628 section 3.2.3: an error is acknowledged by "a single %x01"; with XOAUTH2 by nothing. */
static bool token_step(struct talk *t)
{
	if (t->stage != STAGE_LAST)
		return broken(t, "the relay goes on behind its error");
	t->stage = STAGE_OVER;
	t->final = false;
	if (t->mechanism == SASL_OAUTHBEARER)
		put_z(&t->response, "\1");
	return true;
}

/* -- passwords, shown ------------------------------------------------------------------------ */

/* RFC 4616: no authorization identity. */
static void plain_begin(struct talk *t, const struct talk_secret *s)
{
	bytes_room(&t->response, s->secret.len + s->login.len + 2);
	bytes_add(&t->response, "", 1);
	put(&t->response, s->login);
	bytes_add(&t->response, "", 1);
	put(&t->response, s->secret);
	t->final = true;
	t->stage = STAGE_OVER;
}

static bool login_step(struct talk *t, const struct talk_secret *s)
{
	if (t->stage == STAGE_BEGIN) {
		t->stage = STAGE_NAME;
		put(&t->response, s->login);
	} else if (t->stage == STAGE_NAME) {
		t->stage = STAGE_OVER;
		t->final = true;
		bytes_room(&t->response, s->secret.len + 1);
		put(&t->response, s->secret);
	} else {
		return broken(t, "the relay goes on behind the password");
	}
	return true;
}

/* -- SCRAM ------------------------------------------------------------------------------------ */

static bool is_sha_256(const struct talk *t)
{
	return t->mechanism == SASL_SCRAM_SHA_256 || t->mechanism == SASL_SCRAM_SHA_256_PLUS;
}

/*
 * RFC 5802 section 3: SaltedPassword := Hi(Normalize(password), salt, i). A
 * second of another's choice would hold up all who log in here, and fewer
 * rounds than 4096 (RFC 7677 section 4) would make guessing cheap for him.
 */
static bool salt_password(struct talk *t, const struct talk_secret *s, uint32_t iterations,
			  const uint8_t *salt, size_t salt_len)
{
	struct salted *k = s->kept;
	unsigned family = is_sha_256(t) ? SASL_SCRAM_SHA_256 : SASL_SCRAM_SHA_1;
	size_t size = is_sha_256(t) ? 32 : 20;
	char plain[PASSWORD_MAX + 1], *prepared = NULL;
	uint8_t key[SCRAM_KEY_BYTES];

	if (k->mechanism == family && k->iterations == iterations && k->salt_len == salt_len &&
	    memcmp(k->salt, salt, salt_len) == 0)
		return true;
	if (s->secret.len > PASSWORD_MAX)
		return broken(t, "the password is too long");
	text_copy(plain, sizeof plain, s->secret);
	if (gsasl_saslprep(plain, GSASL_ALLOW_UNASSIGNED, &prepared, NULL) != GSASL_OK)
		prepared = NULL;
	const char *used = prepared ? prepared : plain;

	must(PKCS5_PBKDF2_HMAC(used, (int)strlen(used), salt, (int)salt_len, (int)iterations,
			       is_sha_256(t) ? EVP_sha256() : EVP_sha1(), (int)size, key));
	*k = (struct salted){.mechanism = family, .iterations = iterations, .salt_len = salt_len};
	memcpy(k->salt, salt, salt_len);
	for (size_t i = 0; i < size; i++)
		snprintf(k->hex + 2 * i, 3, "%02x", key[i]);
	OPENSSL_cleanse(key, sizeof key);
	OPENSSL_cleanse(plain, sizeof plain);
	if (prepared) {
		OPENSSL_cleanse(prepared, strlen(prepared));
		gsasl_free(prepared);
	}
	return true;
}

/* The value of "X=..." up to a comma; false: it does not stand there. */
static bool attribute(struct text *t, char name, struct text *value)
{
	ptrdiff_t comma = text_find(*t, ',');
	size_t end = comma < 0 ? t->len : (size_t)comma;

	if (end < 2 || t->data[0] != name || t->data[1] != '=')
		return false;
	*value = (struct text){t->data + 2, end - 2};
	*t = (struct text){t->data + end + (comma >= 0), t->len - end - (comma >= 0)};
	return true;
}

/* RFC 5802 section 7, server-first-message: nonce, salt, iteration count, and extensions. */
static bool server_first(struct talk *t, const struct talk_secret *s, struct text m)
{
	struct text nonce, salt64, count;
	uint8_t salt[SCRAM_SALT_MAX];
	uint64_t iterations;
	size_t len;

	if (!attribute(&m, 'r', &nonce) || !attribute(&m, 's', &salt64) ||
	    !attribute(&m, 'i', &count) || !base64_read(salt64, salt, sizeof salt, &len) || !len ||
	    !text_number(count, UINT32_MAX, &iterations))
		return broken(t, "the relay's first message is no SCRAM that we know");
	if (iterations < SCRAM_ITERATIONS_LEAST)
		return broken(t, "the relay asks for less than 4096 iterations, which would make "
				 "the password easy to guess");
	if (iterations > SCRAM_ITERATIONS_MOST)
		return broken(t, "the relay asks for more than 1000000 iterations");
	if (!salt_password(t, s, (uint32_t)iterations, salt, len))
		return false;
	gsasl_property_set(t->sasl, GSASL_SCRAM_SALTED_PASSWORD, s->kept->hex);
	return true;
}

/* GNU SASL goes on with what the server said. */
static bool sasl_go(struct talk *t, struct text challenge)
{
	char *out = NULL;
	size_t len = 0;
	int result =
	    gsasl_step(t->sasl, challenge.data ? challenge.data : "", challenge.len, &out, &len);

	if (result == GSASL_OK || result == GSASL_NEEDS_MORE)
		bytes_add(&t->response, out, len);
	gsasl_free(out);
	if (result == GSASL_OK && t->stage == STAGE_LAST) {
		t->final = true; /* it has proved that it knows the password, too */
		t->stage = STAGE_OVER;
		return true;
	}
	if (result != GSASL_NEEDS_MORE && result != GSASL_OK)
		return broken(t, t->stage == STAGE_LAST
				     ? "the relay has not proved that it knows the password"
				     : gsasl_strerror(result));
	return true;
}

static bool scram_begin(struct talk *t, Gsasl *context, const struct talk_secret *s)
{
	char name[256];
	struct bytes binding = {0};

	if (s->login.len >= sizeof name)
		return broken(t, "the login is too long");
	if (gsasl_client_start(context, sasl_name(t->mechanism), &t->sasl) != GSASL_OK) {
		t->sasl = NULL;
		return broken(t, "GNU SASL does not know the mechanism");
	}
	text_copy(name, sizeof name, s->login);
	gsasl_property_set(t->sasl, GSASL_AUTHID, name);
	/*
	 * RFC 5802 section 6 has "y" for a client that could bind, where the server does not seem
	 * to; GNU SASL 2.2 has not, and refuses a binding that is of no use.
	 */
	if (t->mechanism & SASL_BOUND) {
		base64_put(&binding, s->binding.data, s->binding.len);
		gsasl_property_set_raw(t->sasl, GSASL_CB_TLS_EXPORTER,
				       (const char *)bytes_at(&binding), bytes_len(&binding));
		bytes_free(&binding);
	}
	t->stage = STAGE_GOES;
	return sasl_go(t, (struct text){NULL, 0});
}

static bool scram_step(struct talk *t, const struct talk_secret *s, struct text challenge)
{
	if (t->stage == STAGE_OVER)
		return broken(t, "the relay goes on behind its proof");
	if (t->stage == STAGE_GOES) {
		if (!server_first(t, s, challenge))
			return false;
		t->stage = STAGE_LAST;
		return sasl_go(t, challenge);
	}
	return sasl_go(t, challenge);
}

/* -- talks ----------------------------------------------------------------------------------- */

bool talk_begin(struct talk *t, Gsasl *context, unsigned mechanism, const struct talk_secret *s)
{
	bool good = true;

	*t = (struct talk){.mechanism = mechanism};
	if (mechanism & SASL_SCRAMS)
		good = scram_begin(t, context, s);
	else if (mechanism & SASL_TOKENS)
		good = token_begin(t, s);
	else if (mechanism == SASL_PLAIN)
		plain_begin(t, s);
	t->has_response = mechanism != SASL_LOGIN;
	/* RFC 4954 section 4: if the command with its initial response is longer than a command may
	 * be, "the client MUST NOT use" one. */
	size_t line = sizeof "AUTH  \r\n" - 1 + strlen(sasl_name(mechanism)) +
		      BASE64_LEN(bytes_len(&t->response));

	if (good && t->has_response && line > AUTH_LINE_MAX) {
		t->has_response = false;
		t->held = true;
	}
	return good;
}

bool talk_step(struct talk *t, const struct talk_secret *s, struct text challenge)
{
	t->has_response = true;
	if (t->held) {
		t->held = false;
		return true;
	}
	response_wipe(t);
	if (t->mechanism & SASL_SCRAMS)
		return scram_step(t, s, challenge);
	if (t->mechanism & SASL_TOKENS)
		return token_step(t);
	if (t->mechanism == SASL_LOGIN)
		return login_step(t, s);
	return broken(t, "the relay goes on behind the password");
}

void talk_end(struct talk *t)
{
	response_wipe(t);
	if (t->sasl)
		gsasl_finish(t->sasl);
	t->sasl = NULL;
}
