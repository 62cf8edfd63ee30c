/* SPDX-License-Identifier: ISC */
/* Items of alias lists. */
#include "alias_list.h"

#include "address.h"

#include <string.h>

/* An item on its way from text to value. */
struct reading {
	struct alias_item *item;
	const char *why; /* NULL: nothing is wrong so far */
	bool own, quoted;
	char first;  /* as written */
	size_t kept; /* up to the last octet that is no unquoted blank */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Commas, blanks, empty lines and comments before an item. */
static struct text skip_between(struct text t)
{
	size_t i = 0;

	while (i < t.len && (is_blank(t.data[i]) || t.data[i] == ',')) {
		i++;
		while (t.data[i - 1] == '\n' && i < t.len && t.data[i] == '#')
			while (i < t.len && t.data[i++] != '\n')
				;
	}
	return (struct text){t.data + i, t.len - i};
}

static void put(struct reading *r, char c, bool blank)
{
	if ((unsigned char)c < ' ' || c == 0x7f) {
		if (c != '\t' && c != '\n' && c != '\r')
			r->why = "a control character";
		c = ' ';
	}
	if (r->item->len == ALIAS_VALUE_MAX) {
		r->why = "too long";
		return;
	}
	r->item->value[r->item->len++] = c;
	if (!blank)
		r->kept = r->item->len;
}

/* From behind a quote to behind the next one; returns where that is. */
static size_t read_quoted(struct reading *r, struct text t, size_t i)
{
	for (; i < t.len && t.data[i] != '"'; i++) {
		if (t.data[i] == '\n')
			break;
		if (t.data[i] == '\\' && i + 1 < t.len && t.data[i + 1] != '\n')
			i++;
		put(r, t.data[i], false);
	}
	if (i < t.len && t.data[i] == '"')
		return i + 1;
	r->why = "a quote that is not closed";
	return i;
}

/* The end of the last one of the comments that follow the line's end at I. */
static size_t comments_end(struct text t, size_t i)
{
	while (i + 1 < t.len && t.data[i] == '\n' && t.data[i + 1] == '#')
		for (i++; i < t.len && t.data[i] != '\n'; i++)
			;
	return i;
}

/* Reads up to the item's end; returns how much of T it is. */
static size_t read_raw(struct reading *r, struct text t, bool lines)
{
	size_t i = 0;

	r->first = t.data[0];
	if (t.data[0] == '\\') {
		r->own = true;
		i++;
	}
	while (i < t.len && t.data[i] != ',' && !(lines && t.data[i] == '\n')) {
		if (t.data[i] == '"') {
			r->quoted = true;
			i = read_quoted(r, t, i + 1);
		} else {
			i = comments_end(t, i);
			if (i < t.len) {
				put(r, t.data[i], is_blank(t.data[i]));
				i++;
			}
		}
	}
	r->item->len = r->kept;
	r->item->value[r->kept] = '\0';
	return i;
}

/* "Ann Example <ann@example.net>" */
static void take_angles(struct alias_item *item)
{
	char *open = strrchr(item->value, '<');

	if (!item->len || item->value[item->len - 1] != '>' || !open)
		return;
	item->len = (size_t)(item->value + item->len - 1 - (open + 1));
	memmove(item->value, open + 1, item->len);
	item->value[item->len] = '\0';
}

static const char *address_fault(struct alias_item *item)
{
	struct address a;

	take_angles(item);
	if (!item->len)
		return "an empty address";
	struct text t = {item->value, item->len};

	if (text_find(t, '@') >= 0)
		return address_read(t, &a) == ADDRESS_FINE ? NULL : "no address";
	for (size_t i = 0; i < item->len; i++)
		if ((unsigned char)item->value[i] <= ' ' || strchr("<>()[];:\"/|", item->value[i]))
			return "neither a user's name nor an address";
	return item->len <= 64 && item->value[0] != '-' ? NULL : "no user's name";
}

static void drop_front(struct alias_item *item, size_t n)
{
	while (n < item->len && item->value[n] == ' ')
		n++;
	item->len -= n;
	memmove(item->value, item->value + n, item->len + 1);
}

static const char *classify(struct reading *r)
{
	static const char include[] = ":include:";
	struct alias_item *item = r->item;

	item->kind = ALIAS_ADDRESS;
	if (r->own) {
		item->kind = ALIAS_OWN;
		return address_fault(item);
	}
	if (item->value[0] == '|') {
		item->kind = ALIAS_COMMAND;
		drop_front(item, 1);
		return item->len ? NULL : "| without a command";
	}
	if (text_starts_case((struct text){item->value, item->len}, include)) {
		item->kind = ALIAS_INCLUDE;
		drop_front(item, sizeof include - 1);
		return item->value[0] == '/' ? NULL : ":include: needs a path from / on";
	}
	if (item->value[0] != '/')
		return address_fault(item);
	item->kind = ALIAS_FILE;
	return item->value[item->len - 1] == '/' && item->len == 1 ? "no file" : NULL;
}

/* The quotes of an address ("a b"@example.net) are its own. */
static void keep_quotes(struct reading *r, struct text raw)
{
	struct alias_item *item = r->item;

	while (raw.len && is_blank(raw.data[raw.len - 1]))
		raw.len--;
	if (!r->quoted || r->first != '"' || text_find(raw, '@') < 0 || raw.len > ALIAS_VALUE_MAX ||
	    item->value[0] == '|' || item->value[0] == '/' || item->value[0] == ':')
		return;
	item->len = text_copy(item->value, sizeof item->value, raw);
}

enum alias_next alias_next(struct text *list, bool lines, struct alias_item *item, const char **why)
{
	struct text t = *list;
	struct reading r = {.item = item};

	/* A comment may be the first thing there is. */
	while (t.len && t.data[0] == '#') {
		ptrdiff_t end = text_find(t, '\n');
		size_t skip = end < 0 ? t.len : (size_t)end;

		t = (struct text){t.data + skip, t.len - skip};
	}
	t = skip_between(t);
	item->len = 0;
	*list = t;
	if (!t.len)
		return ALIAS_END;
	size_t used = read_raw(&r, t, lines);

	*list = (struct text){t.data + used, t.len - used};
	if (!r.why) {
		keep_quotes(&r, (struct text){t.data, used});
		r.why = classify(&r);
	}
	*why = r.why;
	return r.why ? ALIAS_FAULT : ALIAS_ITEM;
}
