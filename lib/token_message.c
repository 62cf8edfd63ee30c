/* SPDX-License-Identifier: ISC */
/* The responses of OAUTHBEARER and XOAUTH2. */
#include "token_message.h"

#include <string.h>

static const char separator = '\1'; /* kvsep */

static struct text from(struct text t, size_t at)
{
	return at ? (struct text){t.data + at, t.len - at} : t;
}

static bool is_among(char c, const char *set)
{
	return c && strchr(set, c);
}

/* RFC 6750 section 2.1: b64token, 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" */
static bool is_token(struct text t)
{
	size_t n = 0, letters;

	while (n < t.len && (ascii_is_alnum(t.data[n]) || is_among(t.data[n], "-._~+/")))
		n++;
	letters = n;
	while (n < t.len && t.data[n] == '=')
		n++;
	return letters > 0 && n == t.len;
}

/* "Bearer" 1*SP b64token; the scheme's name is without case (RFC 9110 section 11.1). */
static enum token_reading authorization_read(struct text value, struct token_message *m)
{
	static const char scheme[] = "Bearer ";

	if (!value.len || !text_starts_case(value, scheme))
		return TOKEN_NONE;
	value = from(value, sizeof scheme - 1);
	while (value.len && value.data[0] == ' ')
		value = from(value, 1);
	if (!is_token(value))
		return TOKEN_NONE;
	m->token = value;
	return TOKEN_READ;
}

/* Takes "key=value" and its separator off T; false: it is none. An empty KEY: the list has ended.
 */
static bool pair_take(struct text *t, struct text *key, struct text *value)
{
	ptrdiff_t end = text_find(*t, separator), equals;

	*key = *value = (struct text){NULL, 0};
	if (end < 0)
		return false;
	struct text pair = {t->data, (size_t)end};

	*t = from(*t, (size_t)end + 1);
	if (!pair.len)
		return true;
	equals = text_find(pair, '=');
	if (equals <= 0)
		return false;
	*key = (struct text){pair.data, (size_t)equals};
	*value = from(pair, (size_t)equals + 1);
	/* key = 1*(ALPHA); value = *(VCHAR / SP / HTAB / CR / LF) */
	for (size_t i = 0; i < key->len; i++)
		if (ascii_lower(key->data[i]) < 'a' || ascii_lower(key->data[i]) > 'z')
			return false;
	for (size_t i = 0; i < value->len; i++)
		if ((unsigned char)value->data[i] > '~' ||
		    (value->data[i] < ' ' && !is_among(value->data[i], "\t\r\n")))
			return false;
	return true;
}

/* RFC 5801 section 4: a comma is =2C and an equals sign =3D, and neither stands there itself. */
static bool saslname_read(struct text t, char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < t.len; i++) {
		char c = t.data[i];

		if (c == '=' && i + 2 < t.len && memcmp(t.data + i, "=2C", 3) == 0)
			c = ',';
		else if (c == '=' && !(i + 2 < t.len && memcmp(t.data + i, "=3D", 3) == 0))
			return false;
		if (t.data[i] == '=')
			i += 2;
		if (!c || n == LOGIN_MAX)
			return false;
		name[n++] = c;
	}
	name[n] = '\0';
	return true;
}

/* gs2-header: "n," or "y," (there is no channel binding to "p="), an authzid if wanted, a comma. */
static bool header_take(struct text *t, struct token_message *m)
{
	ptrdiff_t end = text_find(*t, separator);
	struct text header;

	if (end < 0)
		return false;
	header = (struct text){t->data, (size_t)end};
	*t = from(*t, (size_t)end + 1);
	if (header.len < 3 || (header.data[0] != 'n' && header.data[0] != 'y') ||
	    header.data[1] != ',' || header.data[header.len - 1] != ',')
		return false;
	header = (struct text){header.data + 2, header.len - 3};
	if (!header.len)
		return true;
	return header.len > 2 && memcmp(header.data, "a=", 2) == 0 && text_find(header, ',') < 0 &&
	       saslname_read(from(header, 2), m->name);
}

/* RFC 7628 section 3.1: gs2-header kvsep *kvpair kvsep. Other keys than auth, such as host and
 * port, say nothing that would matter here. */
static enum token_reading bearer_read(struct text t, struct token_message *m)
{
	struct text key, value, authorization = {NULL, 0};
	bool seen = false;

	if (!header_take(&t, m))
		return TOKEN_MALFORMED;
	for (;;) {
		if (!pair_take(&t, &key, &value))
			return TOKEN_MALFORMED;
		if (!key.len)
			break;
		if (!text_equals(key, "auth"))
			continue;
		if (seen)
			return TOKEN_MALFORMED;
		seen = true;
		authorization = value;
	}
	return t.len ? TOKEN_MALFORMED : authorization_read(authorization, m);
}

/* "user=" NAME ^A "auth=Bearer " TOKEN ^A ^A */
static enum token_reading xoauth2_read(struct text t, struct token_message *m)
{
	static const char user[] = "user=", auth[] = "auth=";
	size_t before = sizeof user - 1;
	ptrdiff_t end;

	if (t.len < before || memcmp(t.data, user, before) != 0)
		return TOKEN_MALFORMED;
	t = from(t, before);
	end = text_find(t, separator);
	if (end <= 0 || end > LOGIN_MAX || memchr(t.data, '\0', (size_t)end))
		return TOKEN_MALFORMED;
	text_copy(m->name, sizeof m->name, (struct text){t.data, (size_t)end});
	t = from(t, (size_t)end + 1);
	before = sizeof auth - 1;
	if (t.len < before + 2 || memcmp(t.data, auth, before) != 0 ||
	    t.data[t.len - 1] != separator || t.data[t.len - 2] != separator)
		return TOKEN_MALFORMED;
	t = from(t, before);
	t.len -= 2;
	return text_find(t, separator) >= 0 ? TOKEN_MALFORMED : authorization_read(t, m);
}

enum token_reading token_message_read(unsigned mechanism, struct text response,
				      struct token_message *m)
{
	memset(m, 0, sizeof *m);
	return mechanism == SASL_XOAUTH2 ? xoauth2_read(response, m) : bearer_read(response, m);
}

static void put(struct bytes *to, const char *text)
{
	bytes_add(to, text, strlen(text));
}

/* RFC 7628 section 3.2.2; of XOAUTH2 as Google answers, whose clients look at status. */
void token_error_put(unsigned mechanism, enum token_error error, struct text scope,
		     struct bytes *to)
{
	if (mechanism == SASL_XOAUTH2)
		put(to, error == TOKEN_SCOPE ? "{\"status\":\"403\",\"schemes\":\"bearer\""
					     : "{\"status\":\"401\",\"schemes\":\"bearer\"");
	else
		put(to, error == TOKEN_SCOPE ? "{\"status\":\"insufficient_scope\""
					     : "{\"status\":\"invalid_token\"");
	if (scope.len) {
		put(to, ",\"scope\":\"");
		bytes_add(to, scope.data, scope.len);
		put(to, "\"");
	}
	put(to, "}");
}
