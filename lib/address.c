/* SPDX-License-Identifier: ISC */
/* Reading mailboxes. */
#include "address.h"

#include <arpa/inet.h>
#include <string.h>

enum { DOMAIN_MAX = 255, LABEL_MAX = 63 };

/* RFC 5322 3.2.3; RFC 6531 3.3 adds everything above ASCII. */
static bool is_atext(char c)
{
	return ascii_is_alnum(c) || (unsigned char)c >= 0x80 ||
	       (c && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* One cursor over the text; nothing is read behind its end. */
struct cursor {
	struct text t;
	size_t at;
};

static char peek(const struct cursor *c)
{
	return c->at < c->t.len ? c->t.data[c->at] : '\0';
}

static bool put(struct address *a, char c)
{
	if (a->len >= ADDRESS_MAX)
		return false;
	a->text[a->len++] = c;
	if ((unsigned char)c >= 0x80)
		a->utf8 = true;
	return true;
}

/* Dot-string = Atom *("." Atom) */
static bool is_dot_string(struct text t)
{
	bool atom = false;

	for (size_t i = 0; i < t.len; i++) {
		if (t.data[i] == '.') {
			if (!atom)
				return false;
			atom = false;
		} else if (is_atext(t.data[i])) {
			atom = true;
		} else {
			return false;
		}
	}
	return atom;
}

/* Quoted-string = DQUOTE *QcontentSMTP DQUOTE; what it says goes to PLAIN without the quoting. */
static enum address_result read_quoted(struct cursor *c, char *plain, size_t *len)
{
	*len = 0;
	c->at++;
	for (; c->at < c->t.len; c->at++) {
		unsigned char ch = (unsigned char)c->t.data[c->at];

		if (ch == '"') {
			c->at++;
			return ADDRESS_FINE;
		}
		if (ch == '\\') {
			/* quoted-pairSMTP = %d92 %d32-126 */
			ch = ++c->at < c->t.len ? (unsigned char)c->t.data[c->at] : 0;
			if (ch > 126)
				return ADDRESS_SYNTAX;
		}
		if (ch < 32 || ch == 127)
			return ADDRESS_SYNTAX;
		if (*len >= ADDRESS_MAX)
			return ADDRESS_LONG;
		plain[(*len)++] = (char)ch;
	}
	return ADDRESS_SYNTAX;
}

/* "john"@x and john@x are one mailbox (RFC 5321 4.1.2): quotes stay only where they are needed. */
static enum address_result put_local(struct address *a, struct text plain)
{
	bool bare = is_dot_string(plain);
	bool fits = bare || put(a, '"');

	for (size_t i = 0; i < plain.len && fits; i++) {
		char ch = plain.data[i];

		if (ch == '@' || ch == '%' || ch == '!')
			a->routed = true;
		if (!bare && (ch == '"' || ch == '\\'))
			fits = put(a, '\\');
		fits = fits && put(a, ch);
	}
	fits = fits && (bare || put(a, '"'));
	return fits ? ADDRESS_FINE : ADDRESS_LONG;
}

static enum address_result read_local(struct cursor *c, struct address *a)
{
	char plain[ADDRESS_MAX];
	size_t len = 0;

	if (peek(c) == '"') {
		enum address_result r = read_quoted(c, plain, &len);

		return r == ADDRESS_FINE ? put_local(a, (struct text){plain, len}) : r;
	}
	size_t start = c->at;

	while (is_atext(peek(c)) || peek(c) == '.')
		c->at++;
	struct text local = {c->t.data + start, c->at - start};

	if (local.len > ADDRESS_MAX)
		return ADDRESS_LONG;
	return is_dot_string(local) ? put_local(a, local) : ADDRESS_SYNTAX;
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]"; other tags name protocols that nobody has. */
static bool is_literal(struct text t)
{
	char inside[64];
	struct in6_addr address;

	if (t.len < 3 || t.len > sizeof inside || t.data[0] != '[' || t.data[t.len - 1] != ']')
		return false;
	struct text in = {t.data + 1, t.len - 2};

	/* inet_pton() would stop at a NUL and never see what follows. */
	if (text_find(in, '\0') >= 0)
		return false;
	if (text_starts_case(in, "IPv6:")) {
		text_copy(inside, sizeof inside, (struct text){in.data + 5, in.len - 5});
		return inet_pton(AF_INET6, inside, &address) == 1;
	}
	text_copy(inside, sizeof inside, in);
	return inet_pton(AF_INET, inside, &address) == 1;
}

/* sub-domain *("." sub-domain); "_" is in no host's name but in some mail domains'. */
static bool is_domain(struct text t)
{
	size_t label = 0;

	for (size_t i = 0; i < t.len; i++) {
		char ch = t.data[i];
		bool last = i + 1 == t.len || t.data[i + 1] == '.';

		if (ch == '.') {
			if (!label)
				return false;
			label = 0;
			continue;
		}
		if (!ascii_is_alnum(ch) && ch != '-' && ch != '_' && (unsigned char)ch < 0x80)
			return false;
		if ((ch == '-' && (!label || last)) || ++label > LABEL_MAX)
			return false;
	}
	return label > 0 && t.len <= DOMAIN_MAX;
}

static struct text domain_span(struct cursor *c)
{
	size_t start = c->at;

	if (peek(c) == '[') {
		while (c->at < c->t.len && peek(c) != ']')
			c->at++;
		if (c->at < c->t.len)
			c->at++;
	} else {
		while (ascii_is_alnum(peek(c)) || (unsigned char)peek(c) >= 0x80 ||
		       peek(c) == '-' || peek(c) == '.' || peek(c) == '_')
			c->at++;
	}
	return (struct text){c->t.data + start, c->at - start};
}

static enum address_result read_domain(struct cursor *c, struct address *a)
{
	struct text domain = domain_span(c);

	if (!is_domain(domain) && !is_literal(domain))
		return domain.len > DOMAIN_MAX ? ADDRESS_LONG : ADDRESS_SYNTAX;
	for (size_t i = 0; i < domain.len; i++)
		if (!put(a, ascii_lower(domain.data[i])))
			return ADDRESS_LONG;
	return ADDRESS_FINE;
}

/* A-d-l ":" = At-domain *("," At-domain): "SHOULD be ignored" (RFC 5321 4.1.2). */
static bool skip_route(struct cursor *c)
{
	while (peek(c) == '@') {
		c->at++;
		struct text domain = domain_span(c);

		if (!is_domain(domain) && !is_literal(domain))
			return false;
		if (peek(c) == ':') {
			c->at++;
			return true;
		}
		if (peek(c) != ',')
			return false;
		c->at++;
	}
	return false;
}

static enum address_result read_mailbox(struct cursor *c, struct address *a)
{
	enum address_result r = read_local(c, a);

	if (r != ADDRESS_FINE)
		return r;
	a->at = a->len;
	if (peek(c) != '@')
		return ADDRESS_ALONE;
	c->at++;
	if (!put(a, '@'))
		return ADDRESS_LONG;
	return read_domain(c, a);
}

static enum address_result address_done(struct address *a, enum address_result r)
{
	a->text[a->len] = '\0';
	if (r == ADDRESS_ALONE)
		a->at = a->len;
	if ((r == ADDRESS_FINE || r == ADDRESS_ALONE) && a->utf8 &&
	    !text_is_utf8((struct text){a->text, a->len}))
		return ADDRESS_SYNTAX;
	return r;
}

enum address_result address_read_path(struct text *args, struct address *a)
{
	struct cursor c = {*args, 0};

	a->len = a->at = 0;
	a->utf8 = a->routed = false;
	a->text[0] = '\0';
	if (peek(&c) != '<')
		return ADDRESS_SYNTAX;
	c.at++;
	if (peek(&c) == '>') {
		*args = (struct text){args->data + 2, args->len - 2};
		return ADDRESS_NULL;
	}
	if (peek(&c) == '@' && !skip_route(&c))
		return ADDRESS_SYNTAX;
	enum address_result r = read_mailbox(&c, a);

	if (r != ADDRESS_FINE && r != ADDRESS_ALONE)
		return r;
	if (peek(&c) != '>')
		return ADDRESS_SYNTAX;
	c.at++;
	*args = (struct text){args->data + c.at, args->len - c.at};
	return address_done(a, r);
}

enum address_result address_read(struct text t, struct address *a)
{
	struct cursor c = {t, 0};

	a->len = a->at = 0;
	a->utf8 = a->routed = false;
	a->text[0] = '\0';
	if (!t.len)
		return ADDRESS_NULL;
	enum address_result r = read_mailbox(&c, a);

	if ((r == ADDRESS_FINE || r == ADDRESS_ALONE) && c.at != t.len)
		return ADDRESS_SYNTAX;
	return address_done(a, r);
}

struct text address_text(const struct address *a)
{
	return (struct text){a->text, a->len};
}

struct text address_local(const struct address *a)
{
	return (struct text){a->text, a->at};
}

struct text address_host(const struct address *a)
{
	size_t from = a->at < a->len ? a->at + 1 : a->len;

	return (struct text){a->text + from, a->len - from};
}

/*
 * It goes into Received and the log, so nothing that ends a comment or a
 * line; beyond that "the server MUST NOT refuse to accept a message" for a
 * name that it does not like (RFC 5321 4.1.4).
 */
bool address_is_greeting(struct text t)
{
	if (!t.len || t.len > DOMAIN_MAX)
		return false;
	for (size_t i = 0; i < t.len; i++) {
		unsigned char c = (unsigned char)t.data[i];

		if (c <= 0x20 || c > 0x7e || strchr("()<>,;\\\"@", c))
			return false;
	}
	return true;
}
