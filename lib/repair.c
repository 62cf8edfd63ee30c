/* SPDX-License-Identifier: ISC */
/* Settling header blocks: one pass to see what is there, one to write what goes out. */
#include "repair.h"

#include "header.h"
#include "header_form.h"
#include "mailboxes.h"
#include "rights.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum field {
	FIELD_DATE,
	FIELD_FROM,
	FIELD_SENDER,
	FIELD_REPLY_TO,
	FIELD_TO,
	FIELD_CC,
	FIELD_BCC,
	FIELD_MESSAGE_ID,
	FIELD_IN_REPLY_TO,
	FIELD_REFERENCES,
	FIELD_SUBJECT,
	FIELD_RESENT_FROM,
	FIELD_RESENT_SENDER,
	FIELD_RESENT_TO,
	FIELD_RESENT_CC,
	FIELD_RESENT_BCC,
	FIELD_DKIM,
	FIELD_OTHER
};

enum {
	ONCE = 1,  /* "1" or "0-1" in the table of RFC 5322 3.6 */
	LIST = 2,  /* addresses */
	BLIND = 4, /* not for the recipients to see */
};

static const struct {
	struct text name;
	unsigned flags;
} fields[FIELD_OTHER] = {
    [FIELD_DATE] = {TEXT("Date"), ONCE},
    [FIELD_FROM] = {TEXT("From"), ONCE | LIST},
    [FIELD_SENDER] = {TEXT("Sender"), ONCE | LIST},
    [FIELD_REPLY_TO] = {TEXT("Reply-To"), ONCE | LIST},
    [FIELD_TO] = {TEXT("To"), ONCE | LIST},
    [FIELD_CC] = {TEXT("Cc"), ONCE | LIST},
    [FIELD_BCC] = {TEXT("Bcc"), BLIND},
    [FIELD_MESSAGE_ID] = {TEXT("Message-ID"), ONCE},
    [FIELD_IN_REPLY_TO] = {TEXT("In-Reply-To"), ONCE},
    [FIELD_REFERENCES] = {TEXT("References"), ONCE},
    [FIELD_SUBJECT] = {TEXT("Subject"), ONCE},
    [FIELD_RESENT_FROM] = {TEXT("Resent-From"), LIST},
    [FIELD_RESENT_SENDER] = {TEXT("Resent-Sender"), LIST},
    [FIELD_RESENT_TO] = {TEXT("Resent-To"), LIST},
    [FIELD_RESENT_CC] = {TEXT("Resent-Cc"), LIST},
    [FIELD_RESENT_BCC] = {TEXT("Resent-Bcc"), BLIND},
    [FIELD_DKIM] = {TEXT("DKIM-Signature"), 0},
};

/* What the first pass finds. */
struct scan {
	struct repair *r;
	uint32_t covered; /* a bit for each field that a signature names */
	uint32_t broken;
	uint32_t replaced; /* dropped, and put anew in front */
	uint32_t counts[FIELD_OTHER];
	unsigned authors; /* mailboxes in From, most in one field */
	bool author_is_sender;
};

static enum field field_of(struct text name)
{
	unsigned i = 0;

	while (i < FIELD_OTHER && !text_equal_case(name, fields[i].name))
		i++;
	return (enum field)i;
}

static bool has(uint32_t set, enum field f)
{
	return (set >> f & 1) != 0;
}

__attribute__((format(printf, 4, 5))) static bool refuse(struct repair *r, uint16_t code,
							 const char *dsn, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->why, sizeof r->why, format, args);
	va_end(args);
	r->refusal = (struct reply){code, dsn, text_of(r->why)};
	return false;
}

/* -- addresses without a domain ------------------------------------------------ */

enum completion {
	COMPLETE_NOT,
	COMPLETE_DOMAIN,  /* "joe": "@" and our domain behind it */
	COMPLETE_PARENT,  /* "joe@sales": "." and our domain behind it (RFC 6409 4.2) */
	COMPLETE_INSTEAD, /* "joe@localhost": our domain in its place */
};

static enum completion completion_of(const struct config *config, struct text domain)
{
	if (!domain.len)
		return COMPLETE_DOMAIN;
	if (domain.data[0] == '[' || text_find(domain, '.') >= 0)
		return COMPLETE_NOT;
	/* A name without a dot that the configuration knows is whole. */
	if (config_relays_to(config, domain) ||
	    text_equal_case(config_route(config, domain)->label, domain))
		return COMPLETE_NOT;
	return text_equal_case(domain, text_of("localhost")) ? COMPLETE_INSTEAD : COMPLETE_PARENT;
}

bool repair_address(const struct config *config, struct address *a)
{
	char text[ADDRESS_MAX + 1];
	enum completion how = completion_of(config, address_host(a));
	struct text keep = how == COMPLETE_PARENT ? address_text(a) : address_local(a);
	struct text domain = config_own_domain(config);

	if (how == COMPLETE_NOT || config->submission_unqualified == RULE_KEEP)
		return a->at < a->len;
	if (config->submission_unqualified == RULE_REFUSE || keep.len > ADDRESS_MAX - 1 ||
	    domain.len > ADDRESS_MAX - 1 - keep.len)
		return false;
	memcpy(text, keep.data, keep.len);
	text[keep.len] = how == COMPLETE_PARENT ? '.' : '@';
	memcpy(text + keep.len + 1, domain.data, domain.len);
	return address_read((struct text){text, keep.len + 1 + domain.len}, a) == ADDRESS_FINE;
}

/* How a mailbox of a header field is to be completed. A domain that is none is left alone. */
static enum completion mailbox_completion(const struct config *config, const struct mailbox *m)
{
	return m->address.len ? completion_of(config, address_host(&m->address)) : COMPLETE_NOT;
}

/* -- the first pass ------------------------------------------------------------- */

static bool is_identity(const struct repair *r, struct text address)
{
	return rights_is_own(r->login, address) || text_equal_case(r->sender, address) ||
	       rights_is_own(r->sender, address);
}

/* The mailbox as it will be read when its domain is complete; false: it will be none. */
static bool author_address(const struct repair *r, const struct mailbox *m, struct address *to)
{
	*to = m->address;
	if (r->config->submission_unqualified == RULE_REPAIR && to->len)
		return repair_address(r->config, to);
	return to->len > 0;
}

/* False: no address list, or of From and Sender not what these must be. */
static bool scan_list(struct scan *s, enum field f, struct text value)
{
	struct mailboxes list;
	struct mailbox m;
	struct address a;
	unsigned count = 0;
	bool fine = true;

	for (mailboxes_begin(&list, value); mailboxes_next(&list, &m); count++) {
		if (f != FIELD_FROM && f != FIELD_SENDER)
			continue;
		fine = author_address(s->r, &m, &a) && fine;
		if (f == FIELD_FROM && a.len && is_identity(s->r, address_text(&a)))
			s->author_is_sender = true;
	}
	if (f == FIELD_FROM && count > s->authors)
		s->authors = count;
	if (list.broken || !fine)
		return false;
	return f == FIELD_FROM ? count > 0 : f != FIELD_SENDER || count == 1;
}

/* The names in a signature's h= (RFC 6376 3.5); folding may stand everywhere but in a name. */
static void scan_signature(struct scan *s, struct text value)
{
	size_t at = 0;

	while (at < value.len) {
		size_t tag = at;

		while (at < value.len && value.data[at] != ';')
			at++;
		struct text t = {value.data + tag, at++ - tag};
		size_t i = 0, from;

		while (i < t.len && strchr(" \t\r\n", t.data[i]) && t.data[i])
			i++;
		if (i == t.len || t.data[i] != 'h')
			continue;
		for (i++; i < t.len && strchr(" \t\r\n", t.data[i]) && t.data[i];)
			i++;
		if (i == t.len || t.data[i++] != '=')
			continue;
		for (; i < t.len; i++) {
			for (from = i; i < t.len && t.data[i] && !strchr(": \t\r\n", t.data[i]);)
				i++;
			enum field f = field_of((struct text){t.data + from, i - from});

			if (f < FIELD_OTHER)
				s->covered |= 1u << f;
		}
	}
}

static bool scan_field(struct scan *s, const struct header_field *h)
{
	enum field f = field_of(h->name);
	bool fine = true;

	if (f == FIELD_OTHER)
		return true;
	s->counts[f]++;
	if (f == FIELD_DATE)
		fine = header_is_date(h->value);
	else if (f == FIELD_MESSAGE_ID)
		fine = header_is_message_id(h->value);
	else if (f == FIELD_DKIM)
		scan_signature(s, h->value);
	else if (fields[f].flags & LIST)
		fine = scan_list(s, f, h->value);
	if (!fine)
		s->broken |= 1u << f;
	if (fields[f].flags & ONCE && s->counts[f] > 1 && !s->r->ours &&
	    s->r->config->submission_duplicates == REFUSE_REFUSE)
		return refuse(s->r, 554, "5.6.0", "Error: more than one %s field in the header",
			      fields[f].name.data);
	return true;
}

static bool check_octets(struct repair *r, struct text block)
{
	if (r->ours || r->config->submission_eight_bit_header == REFUSE_KEEP ||
	    text_is_ascii(block))
		return true;
	if (!r->smtputf8)
		return refuse(r, 550, "5.6.9",
			      "Error: the header is not ASCII, and SMTPUTF8 was not given");
	return text_is_utf8(block) || refuse(r, 550, "5.6.9", "Error: the header is no UTF-8");
}

static bool scan_block(struct scan *s, struct text block)
{
	struct header_field h;

	while (header_next(&block, &h))
		if (!scan_field(s, &h))
			return false;
	return true;
}

/* -- what is to be done ------------------------------------------------------------ */

/* Date, Message-ID, From: missing or broken. False: refused. */
static bool decide(struct scan *s, enum field f, uint8_t rule)
{
	bool missing = !s->counts[f];

	if (!missing && (s->r->ours || !has(s->broken, f)))
		return true;
	if (s->r->ours)
		rule = RULE_REPAIR;
	if (rule == RULE_REFUSE)
		return refuse(s->r, 554, "5.6.0", "Error: the %s field is %s", fields[f].name.data,
			      missing ? "missing" : "broken");
	if (rule == RULE_REPAIR && !has(s->covered, f))
		s->replaced |= 1u << f;
	return true;
}

/* The address that stands for who hands the mail in; empty: not known. */
static struct text identity(const struct repair *r)
{
	struct address a;
	struct text own = address_read(r->login, &a) == ADDRESS_FINE ? r->login : r->sender;

	return text_is_ascii(own) || r->smtputf8 ? own : (struct text){NULL, 0};
}

static bool decide_author(struct scan *s)
{
	struct repair *r = s->r;
	bool replaced;

	if (r->ours)
		return true;
	/* A signature that covers no author is worth nothing (RFC 6376 5.4 and 6.1.1). */
	if (!s->counts[FIELD_FROM])
		s->covered &= ~(1u << FIELD_FROM);
	if (!decide(s, FIELD_FROM, r->config->submission_from))
		return false;
	replaced = has(s->replaced, FIELD_FROM);
	if (replaced && !identity(r).len)
		return refuse(r, 554, "5.6.0",
			      "Error: the From field is %s, and no sender can stand for it",
			      s->counts[FIELD_FROM] ? "broken" : "missing");
	/* RFC 5322 3.6.2: with several authors, Sender "MUST appear". */
	if (r->config->submission_add_sender && !s->counts[FIELD_SENDER] && !replaced &&
	    s->authors && (s->authors > 1 || !s->author_is_sender) && identity(r).len &&
	    !has(s->covered, FIELD_SENDER))
		s->replaced |= 1u << FIELD_SENDER;
	return true;
}

static bool decide_rest(struct scan *s)
{
	uint32_t lists = 0, blind = 0;

	for (unsigned f = 0; f < FIELD_OTHER; f++) {
		lists |= f != FIELD_FROM && fields[f].flags & LIST ? 1u << f : 0;
		blind |= fields[f].flags & BLIND && s->counts[f] ? 1u << f : 0;
	}
	if (s->r->ours)
		return true;
	for (unsigned f = 0; f < FIELD_OTHER; f++)
		if (has(s->broken & lists, (enum field)f) &&
		    s->r->config->submission_addresses == REFUSE_REFUSE)
			return refuse(s->r, 554, "5.6.0",
				      "Error: bad address syntax in the %s field",
				      fields[f].name.data);
	/* Taken off it would break the signature, left in it would tell. */
	if (blind & s->covered)
		return refuse(s->r, 554, "5.7.7", "Error: the Bcc field is part of a signature");
	return true;
}

/* -- the second pass ---------------------------------------------------------------- */

static void put(struct repair *r, struct text t)
{
	bytes_add(&r->header, t.data, t.len);
}

static void put_field(struct repair *r, enum field f, const char *before, struct text value,
		      const char *after)
{
	put(r, fields[f].name);
	put(r, text_of(": "));
	put(r, text_of(before));
	put(r, value);
	put(r, text_of(after));
	put(r, text_of("\r\n"));
}

static void put_new(struct scan *s)
{
	struct repair *r = s->r;

	if (has(s->replaced, FIELD_DATE))
		put_field(r, FIELD_DATE, "", r->date, "");
	r->own_id = has(s->replaced, FIELD_MESSAGE_ID);
	if (r->own_id)
		put_field(r, FIELD_MESSAGE_ID, "<", r->message_id, ">");
	if (has(s->replaced, FIELD_FROM))
		put_field(r, FIELD_FROM, "<", identity(r), ">");
	if (has(s->replaced, FIELD_SENDER))
		put_field(r, FIELD_SENDER, "<", identity(r), ">");
}

/* A field of addresses, each completed where it stands. */
static bool put_list(struct scan *s, enum field f, const struct header_field *h)
{
	struct repair *r = s->r;
	struct mailboxes list;
	struct mailbox m;
	struct text domain = config_own_domain(r->config), rest = h->whole;
	size_t from = r->header.end;

	for (mailboxes_begin(&list, h->value); mailboxes_next(&list, &m);) {
		enum completion how = mailbox_completion(r->config, &m);

		if (how == COMPLETE_NOT)
			continue;
		if (r->config->submission_unqualified == RULE_REFUSE)
			return refuse(r, 554, "5.1.0",
				      "Error: an address in the %s field has no full domain",
				      fields[f].name.data);
		const struct text *before = how == COMPLETE_PARENT ? &m.domain : &m.local;
		size_t whole = (size_t)(before->data + before->len - rest.data);

		put(r, (struct text){rest.data, whole});
		put(r, text_of(how == COMPLETE_PARENT ? "." : "@"));
		put(r, domain);
		if (how == COMPLETE_INSTEAD)
			whole = (size_t)(m.domain.data + m.domain.len - rest.data);
		rest = (struct text){rest.data + whole, rest.len - whole};
		if (r->header.end > REPAIR_HEADER_MAX)
			break;
	}
	put(r, rest);
	return header_lines_fit(
		   (struct text){(const char *)r->header.data + from, r->header.end - from},
		   r->config->limit_line) ||
	       refuse(r, 554, "5.6.0", "Error: no room for domains in the %s field",
		      fields[f].name.data);
}

static bool put_block(struct scan *s, struct text block)
{
	struct repair *r = s->r;
	struct header_field h;
	uint8_t unqualified = r->config->submission_unqualified;

	while (header_next(&block, &h)) {
		enum field f = field_of(h.name);
		bool known = f < FIELD_OTHER && !r->ours;

		if (known && (fields[f].flags & BLIND || has(s->replaced, f)))
			continue;
		if (known && fields[f].flags & LIST && unqualified != RULE_KEEP &&
		    !has(s->broken, f) && (unqualified == RULE_REFUSE || !has(s->covered, f))) {
			if (!put_list(s, f, &h))
				return false;
		} else {
			put(r, h.whole);
		}
		if (r->header.end > REPAIR_HEADER_MAX && !r->ours)
			return refuse(r, 552, "5.3.4", "Error: the message's header is too large");
	}
	put(r, block); /* the empty line */
	return true;
}

bool repair_header(struct repair *r, struct text block)
{
	struct scan s = {.r = r};

	if (!check_octets(r, block) || !scan_block(&s, block) ||
	    !decide(&s, FIELD_DATE, r->config->submission_date) ||
	    !decide(&s, FIELD_MESSAGE_ID, r->config->submission_message_id) || !decide_author(&s) ||
	    !decide_rest(&s))
		return false;
	bytes_room(&r->header, block.len + 512);
	put_new(&s);
	return put_block(&s, block);
}
