/* SPDX-License-Identifier: ISC */
/* Header blocks rewritten: one pass to see what is signed, one to write what goes out. */
#include "rewrite_header.h"

#include "header.h"
#include "mailboxes.h"
#include "mem.h"

#include <stdio.h>
#include <string.h>

/* Fields of addresses; those of senders first. */
enum { SENDER_FIELDS = 5, LIST_FIELDS = 9, RULES_MAX = 64 };
static const struct text lists[LIST_FIELDS] = {
    TEXT("From"), TEXT("Sender"), TEXT("Reply-To"),  TEXT("Resent-From"), TEXT("Resent-Sender"),
    TEXT("To"),	  TEXT("Cc"),	  TEXT("Resent-To"), TEXT("Resent-Cc"),
};

static unsigned list_of(struct text name)
{
	unsigned i = 0;

	while (i < LIST_FIELDS && !text_equal_case(name, lists[i]))
		i++;
	return i;
}

/* -- what is signed ------------------------------------------------------------------ */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool value_names(struct text t, struct text name)
{
	for (size_t i = 0; i < t.len; i++) {
		size_t from = i;

		while (i < t.len && t.data[i] != ':' && !is_blank(t.data[i]))
			i++;
		if (text_equal_case((struct text){t.data + from, i - from}, name))
			return true;
	}
	return false;
}

/* Does h= of a signature (RFC 6376 3.5) name the field? */
static bool signature_names(struct text value, struct text name)
{
	for (size_t at = 0; at < value.len; at++) {
		size_t i = at;

		while (at < value.len && value.data[at] != ';')
			at++;
		while (i < at && is_blank(value.data[i]))
			i++;
		if (i == at || value.data[i++] != 'h')
			continue;
		while (i < at && is_blank(value.data[i]))
			i++;
		if (i < at && value.data[i] == '=' &&
		    value_names((struct text){value.data + i + 1, at - i - 1}, name))
			return true;
	}
	return false;
}

static bool is_signed(struct text block, struct text name)
{
	struct header_field h;

	while (header_next(&block, &h))
		if (text_equal_case(h.name, text_of("DKIM-Signature")) &&
		    signature_names(h.value, name))
			return true;
	return false;
}

/* -- addresses ------------------------------------------------------------------------- */

static const struct header_address *known(const struct header_addresses *list, struct text said,
					  bool sender)
{
	for (size_t i = 0; list && i < list->count; i++)
		if (list->items[i].sender == sender && text_equal(list->items[i].said, said))
			return &list->items[i];
	return NULL;
}

void header_addresses_read(struct header_addresses *list, struct text block, struct arena *arena)
{
	struct header_field h;
	struct mailboxes boxes;
	struct mailbox m;

	while (header_next(&block, &h) && list->count < list->most) {
		unsigned f = list_of(h.name);

		if (f == LIST_FIELDS)
			continue;
		for (mailboxes_begin(&boxes, h.value);
		     list->count < list->most && mailboxes_next(&boxes, &m);) {
			struct text said = address_text(&m.address);

			if (!said.len || m.address.at == m.address.len ||
			    known(list, said, f < SENDER_FIELDS))
				continue;
			char *copy = arena_copy(arena, said.data, said.len);

			if (!copy)
				return;
			list->items[list->count++] = (struct header_address){
			    .said = {copy, said.len}, .sender = f < SENDER_FIELDS};
		}
	}
}

static bool is_exempt(const struct config_header *rules, struct text local)
{
	for (size_t i = 0; i < rules->masquerade_except.count; i++)
		if (text_equal_case(rules->masquerade_except.items[i], local))
			return true;
	return false;
}

/* host.example.net to example.net: the longest of the names wins. */
bool header_masquerade(const struct config_header *rules, struct address *a)
{
	struct text best = {NULL, 0}, host = address_host(a);

	if (!rules || !rules->masquerade.count || a->at == a->len ||
	    is_exempt(rules, address_local(a)))
		return false;
	for (size_t i = 0; i < rules->masquerade.count; i++) {
		struct text name = rules->masquerade.items[i];

		if (host.len > name.len && host.data[host.len - name.len - 1] == '.' &&
		    text_ends_case(host, name) && name.len > best.len)
			best = name;
	}
	if (!best.len)
		return false;
	memcpy(a->text + a->at + 1, best.data, best.len);
	a->len = a->at + 1 + best.len;
	a->text[a->len] = '\0';
	return true;
}

/* -- writing ------------------------------------------------------------------------------ */

static void put(struct header_change *c, struct text t)
{
	bytes_add(&c->header, t.data, t.len);
}

/* What stands in place of M; false: itself. */
static bool replacement(const struct header_change *c, const struct mailbox *m, bool sender,
			struct address *to)
{
	const struct header_address *a = known(c->addresses, address_text(&m->address), sender);
	bool changed = a && a->to.len;

	*to = m->address;
	if (!to->len || to->at == to->len)
		return false;
	if (changed && address_read(a->to, to) != ADDRESS_FINE)
		return false;
	changed = header_masquerade(c->rules, to) || changed;
	return changed && (c->utf8 || !to->utf8);
}

static void put_list(struct header_change *c, unsigned f, const struct header_field *h)
{
	struct text rest = h->whole;
	size_t from = c->header.end;
	struct mailboxes boxes;
	struct mailbox m;
	struct address to;

	for (mailboxes_begin(&boxes, h->value); mailboxes_next(&boxes, &m);) {
		if (!replacement(c, &m, f < SENDER_FIELDS, &to))
			continue;
		put(c, (struct text){rest.data, (size_t)(m.local.data - rest.data)});
		put(c, address_text(&to));
		const char *behind = m.domain.data + m.domain.len;

		rest = (struct text){behind, rest.len - (size_t)(behind - rest.data)};
	}
	put(c, rest);
	if (!boxes.broken && header_lines_fit((struct text){(const char *)c->header.data + from,
							    c->header.end - from},
					      c->line_most))
		return;
	c->header.end = from;
	put(c, h->whole);
}

static bool is_removed(const struct config_header *rules, struct text name, const bool *kept)
{
	for (size_t i = 0; rules && i < rules->remove.count && i < RULES_MAX; i++)
		if (text_equal_case(rules->remove.items[i], name))
			return !kept[i];
	return false;
}

static struct text name_of(struct text field)
{
	ptrdiff_t colon = text_find(field, ':');

	return (struct text){field.data, colon < 0 ? 0 : (size_t)colon};
}

void header_change(struct header_change *c, struct text block)
{
	bool closed[LIST_FIELDS], kept[RULES_MAX] = {false};
	struct header_field h;

	for (size_t i = 0; i < LIST_FIELDS; i++)
		closed[i] = is_signed(block, lists[i]);
	bytes_room(&c->header, block.len + 512);
	for (size_t i = 0; c->rules && i < c->rules->remove.count && i < RULES_MAX; i++)
		kept[i] = is_signed(block, c->rules->remove.items[i]);
	for (size_t i = 0; c->rules && i < c->rules->add.count && i < RULES_MAX; i++) {
		if (is_signed(block, name_of(c->rules->add.items[i])))
			continue;
		put(c, c->rules->add.items[i]);
		put(c, text_of("\r\n"));
	}
	while (header_next(&block, &h)) {
		unsigned f = list_of(h.name);

		if (is_removed(c->rules, h.name, kept))
			continue;
		if (f < LIST_FIELDS && !closed[f])
			put_list(c, f, &h);
		else
			put(c, h.whole);
	}
	put(c, block); /* the empty line */
}

const char *header_rule_fault(struct text word, bool add)
{
	static const struct text never[] = {TEXT("Received"), TEXT("From"), TEXT("Date"),
					    TEXT("DKIM-Signature"), TEXT("Return-Path")};
	struct text name = add ? name_of(word) : word;

	if (!name.len || (add && name.len + 2 > word.len))
		return add ? "no field: NAME: VALUE" : "no name of a field";
	for (size_t i = 0; i < name.len; i++)
		if (name.data[i] <= ' ' || name.data[i] > '~' || name.data[i] == ':')
			return "no name of a field";
	if (add && (word.len > 900 || !text_is_ascii(word)))
		return "longer than a line may be, or not ASCII";
	for (size_t i = 0; i < sizeof never / sizeof *never; i++)
		if (text_equal_case(name, never[i]))
			return "not a field to be ruled over";
	return NULL;
}
