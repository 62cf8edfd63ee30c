/* SPDX-License-Identifier: ISC */
/* Reading the address lists of header fields. */
#include "mailboxes.h"

#include <string.h>

/* Words and dots in a row: a display name, or a local part, or a domain. */
struct phrase {
	size_t from, to; /* in the value */
	bool words;	 /* begins with a word */
	bool dotted;	 /* word *("." word): can be a local part */
	bool atoms;	 /* no quoted string in it: can be a domain */
	bool fits;
	size_t len;
	char text[ADDRESS_MAX + 1]; /* without comments and folding */
};

/* RFC 5322 3.2.3; everything above ASCII as RFC 6532 3.2 says. */
static bool is_atext(char c)
{
	return ascii_is_alnum(c) || (unsigned char)c >= 0x80 ||
	       (c && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static char peek(const struct mailboxes *m)
{
	return m->at < m->value.len ? m->value.data[m->at] : '\0';
}

static bool at_end(const struct mailboxes *m)
{
	return m->at >= m->value.len;
}

static bool broken(struct mailboxes *m)
{
	m->broken = true;
	return false;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A comment nests (RFC 5322 3.2.2): a counter, since a stack would be the sender's to fill. */
static bool skip_comment(struct mailboxes *m)
{
	size_t depth = 0;

	for (; !at_end(m); m->at++) {
		char c = peek(m);

		if (c == '\\')
			m->at++;
		else if (c == '(')
			depth++;
		else if (c == ')' && --depth == 0) {
			m->at++;
			return true;
		}
	}
	return broken(m);
}

static bool skip_blanks(struct mailboxes *m)
{
	for (;;) {
		while (!at_end(m) && is_blank(peek(m)))
			m->at++;
		if (peek(m) != '(')
			return true;
		if (!skip_comment(m))
			return false;
	}
}

static void phrase_put(struct phrase *p, char c)
{
	if (p->len < ADDRESS_MAX)
		p->text[p->len++] = c;
	else
		p->fits = false;
}

/* quoted-string; what folds it is no part of it (RFC 5322 3.2.4). */
static bool take_quoted(struct mailboxes *m, struct phrase *p)
{
	phrase_put(p, '"');
	for (m->at++; !at_end(m); m->at++) {
		char c = peek(m);

		if (c == '\r' || c == '\n')
			continue;
		phrase_put(p, c);
		if (c == '"') {
			m->at++;
			return true;
		}
		if (c == '\\' && m->at + 1 < m->value.len) {
			m->at++;
			phrase_put(p, peek(m));
		}
	}
	return broken(m);
}

/* As many words and dots as there are; none is no fault here. */
static bool take_phrase(struct mailboxes *m, struct phrase *p)
{
	bool word = false;

	*p = (struct phrase){.from = m->at, .to = m->at, .atoms = true, .fits = true};
	p->dotted = true;
	while (skip_blanks(m)) {
		char c = peek(m);
		bool begins = is_atext(c) || c == '"';

		if (!begins && c != '.')
			break;
		if (p->to == p->from) {
			p->from = m->at;
			p->words = begins;
		}
		/* Words follow dots, and dots words. */
		p->dotted = p->dotted && (begins ? !word : word);
		word = begins;
		if (c == '"') {
			p->atoms = false;
			if (!take_quoted(m, p))
				return false;
		} else {
			do {
				phrase_put(p, peek(m));
				m->at++;
			} while (begins && is_atext(peek(m)));
		}
		p->to = m->at;
	}
	p->dotted = p->dotted && word;
	return !m->broken;
}

static struct text span(const struct mailboxes *m, size_t from, size_t to)
{
	return (struct text){m->value.data + from, to - from};
}

/* "[" *([FWS] dtext) [FWS] "]" */
static bool take_literal(struct mailboxes *m, struct phrase *p)
{
	*p = (struct phrase){.from = m->at, .fits = true, .dotted = true, .atoms = true};
	for (; !at_end(m); m->at++) {
		char c = peek(m);

		if (is_blank(c))
			continue;
		if (c == '\\' || (c == '[' && p->len))
			return broken(m);
		phrase_put(p, c);
		if (c == ']') {
			p->to = ++m->at;
			return true;
		}
	}
	return broken(m);
}

static bool take_domain(struct mailboxes *m, struct phrase *p)
{
	if (!skip_blanks(m))
		return false;
	if (peek(m) == '[')
		return take_literal(m, p);
	if (!take_phrase(m, p))
		return false;
	return (p->dotted && p->atoms) || broken(m);
}

/* The canonical form, when there is one. */
static void settle(struct mailbox *to, const struct phrase *local, const struct phrase *domain)
{
	char text[2 * ADDRESS_MAX + 2];
	size_t len = local->len;
	enum address_result r = ADDRESS_LONG;

	memcpy(text, local->text, local->len);
	if (domain->len) {
		text[len++] = '@';
		memcpy(text + len, domain->text, domain->len);
		len += domain->len;
	}
	if (local->fits && domain->fits)
		r = address_read((struct text){text, len}, &to->address);
	to->alone = r == ADDRESS_ALONE;
	if (r != ADDRESS_FINE && r != ADDRESS_ALONE)
		to->address.len = to->address.at = 0;
}

/* LOCAL is read, the cursor behind it: with "@" a domain follows. */
static bool take_rest(struct mailboxes *m, const struct phrase *local, struct mailbox *to)
{
	struct phrase domain = {.fits = true};

	if (!local->dotted)
		return broken(m);
	to->local = span(m, local->from, local->to);
	to->domain = (struct text){NULL, 0};
	if (peek(m) == '@') {
		m->at++;
		if (!take_domain(m, &domain))
			return false;
		to->domain = span(m, domain.from, domain.to);
	}
	settle(to, local, &domain);
	return skip_blanks(m);
}

/* obs-route = obs-domain-list ":" (RFC 5322 4.4): read over. A comma stands between two domains:
 * "@ceo@bank.example:" would be somebody else's address to other readers. */
static bool skip_route(struct mailboxes *m)
{
	struct phrase domain;
	bool comma = true;

	while ((peek(m) == '@' && comma) || peek(m) == ',') {
		comma = peek(m) == ',';
		m->at++;
		if ((!comma && !take_domain(m, &domain)) || !skip_blanks(m))
			return false;
	}
	if (peek(m) != ':')
		return broken(m);
	m->at++;
	return skip_blanks(m);
}

/* Behind "<". */
static bool take_angle(struct mailboxes *m, struct mailbox *to)
{
	struct phrase local;

	m->at++;
	if (!skip_blanks(m) || (peek(m) == '@' && !skip_route(m)))
		return false;
	if (peek(m) == '>') {
		*to = (struct mailbox){.local = {NULL, 0}};
	} else if (!take_phrase(m, &local) || !take_rest(m, &local, to)) {
		return false;
	}
	if (peek(m) != '>')
		return broken(m);
	m->at++;
	return skip_blanks(m);
}

/* Commas, of which several may follow each other (RFC 5322 4.4), and ends of groups. */
static bool skip_separators(struct mailboxes *m)
{
	while (skip_blanks(m)) {
		if (peek(m) == ';' && m->group)
			m->group = false;
		else if (peek(m) != ',')
			return true;
		m->at++;
	}
	return false;
}

void mailboxes_begin(struct mailboxes *m, struct text value)
{
	*m = (struct mailboxes){.value = value};
}

/* One mailbox, or the beginning of a group (then TAKEN stays false). */
static bool take_element(struct mailboxes *m, struct mailbox *to, bool *taken)
{
	struct phrase p;

	if (!take_phrase(m, &p))
		return false;
	if (peek(m) == ':' && p.words && !m->group) {
		m->group = true;
		m->at++;
		return true;
	}
	*taken = true;
	if (peek(m) == '<' && (p.words || p.to == p.from))
		return take_angle(m, to);
	return p.words ? take_rest(m, &p, to) : broken(m);
}

bool mailboxes_next(struct mailboxes *m, struct mailbox *to)
{
	bool taken = false;

	while (!taken) {
		if (m->broken || !skip_separators(m))
			return false;
		if (at_end(m))
			return m->group ? broken(m) : false;
		if (!take_element(m, to, &taken))
			return false;
	}
	return at_end(m) || peek(m) == ',' || (peek(m) == ';' && m->group) || broken(m);
}
