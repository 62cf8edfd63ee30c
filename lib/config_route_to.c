/* SPDX-License-Identifier: ISC */
/* The target of a route: a form a row, tried in order. */
#include "config_value.h"

#include "must.h"
#include "nearest.h"

#include <string.h>

struct target {
	const struct token *word;
	struct arena *arena;
	struct config_errors *errors;
	struct config_route *route;
	struct text rest; /* behind the form's name and its colon */
};

#define WRONG(t, ...)                                                                              \
	(config_errors_add((t)->errors, false, (t)->word->line, (t)->word->column, __VA_ARGS__),   \
	 false)

enum { SOCKET_PATH_MAX = 107, REJECT_MAX_BYTES = 200 };

static bool take_port(struct target *t, struct text digits)
{
	uint64_t port;
	char name[SHOWN_BYTES];

	if (!text_number(digits, UINT16_MAX, &port) || !port)
		return WRONG(t, "to: \"%s\" is no port: 1 to 65535", shown(name, digits));
	t->route->port = (uint16_t)port;
	return true;
}

/* "[ADDRESS]" or "[ADDRESS]:PORT" */
static bool take_literal(struct target *t, enum hop_how how)
{
	ptrdiff_t close = text_find(t->rest, ']');
	uint8_t address[16];
	char name[SHOWN_BYTES], *copy;

	if (close < 0)
		return WRONG(t, "to: \"%s\" lacks a ]", shown(name, t->word->text));
	struct text inside = {t->rest.data + 1, (size_t)close - 1};
	struct text behind = {t->rest.data + close + 1, t->rest.len - (size_t)close - 1};

	if (!host_address_parse(inside, address))
		return WRONG(t, "to: \"%s\" is no IPv4 or IPv6 address", shown(name, inside));
	copy = arena_alloc(t->arena, 46);
	must(copy);
	t->route->how = how;
	t->route->target = text_of(host_address_print(address, copy));
	if (!behind.len)
		return true;
	if (behind.data[0] != ':')
		return WRONG(t, "to: a port behind ] begins with a colon: [%s]:26",
			     shown(name, inside));
	return take_port(t, (struct text){behind.data + 1, behind.len - 1});
}

static bool take_host(struct target *t, enum hop_how how)
{
	ptrdiff_t colon = text_find(t->rest, ':');
	struct text host = colon < 0 ? t->rest : (struct text){t->rest.data, (size_t)colon};
	uint8_t address[16];
	char name[SHOWN_BYTES];
	const char *why;

	if (host_address_parse(host, address) || host_address_parse(t->rest, address))
		return WRONG(t, "to: an address stands in brackets, as in smtp:[192.0.2.1]:26");
	if (!domain_read(host, t->arena, &t->route->target, &why))
		return WRONG(t, "to: \"%s\" is no host name: %s", shown(name, host), why);
	t->route->how = how;
	return colon < 0 ||
	       take_port(t, (struct text){host.data + host.len + 1, t->rest.len - host.len - 1});
}

static bool to_mx(struct target *t)
{
	t->route->how = HOP_MX;
	return true;
}

static bool to_mx_port(struct target *t)
{
	t->route->how = HOP_MX;
	return take_port(t, t->rest);
}

static bool to_smtp(struct target *t)
{
	if (t->rest.len && t->rest.data[0] == '[')
		return take_literal(t, HOP_LITERAL);
	return take_host(t, HOP_HOST);
}

/* RFC 8314 section 7.3: the port of "Implicit TLS" submission. */
static bool to_smtps(struct target *t)
{
	t->route->port = 465;
	if (t->rest.len && t->rest.data[0] == '[')
		return take_literal(t, HOP_SMTPS);
	return take_host(t, HOP_SMTPS);
}

static bool to_lmtp_unix(struct target *t)
{
	char name[SHOWN_BYTES];

	if (!t->rest.len || t->rest.data[0] != '/')
		return WRONG(t, "to: \"%s\": behind lmtp:unix: stands a path from / on",
			     shown(name, t->word->text));
	if (t->rest.len > SOCKET_PATH_MAX)
		return WRONG(t, "to: a socket's path has at most %d bytes", SOCKET_PATH_MAX);
	char *copy = arena_copy(t->arena, t->rest.data, t->rest.len);

	must(copy);
	t->route->how = HOP_LMTP_UNIX;
	t->route->port = 0;
	t->route->target = (struct text){copy, t->rest.len};
	return true;
}

/* LMTP has no port of its own, and must not be spoken on 25 (RFC 2033 section 5). */
static bool to_lmtp(struct target *t)
{
	char name[SHOWN_BYTES];

	t->route->port = 0;
	if (t->rest.len && t->rest.data[0] == '[' ? !take_literal(t, HOP_LMTP)
						  : !take_host(t, HOP_LMTP))
		return false;
	if (!t->route->port)
		return WRONG(t, "to: \"%s\" has no port; did you mean %s:24?",
			     shown(name, t->word->text), name);
	return true;
}

static bool to_reject(struct target *t)
{
	struct text text = text_trim(t->rest);

	if (!text.len)
		return WRONG(
		    t, "to: reject has no text; write it with quotes: \"reject: no mail is taken "
		       "here\"");
	if (text.len > REJECT_MAX_BYTES)
		return WRONG(t, "to: a reject text has at most %d bytes", REJECT_MAX_BYTES);
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] < 0x20 || text.data[i] > 0x7e)
			return WRONG(t, "to: a reject text is plain ASCII, as SMTP replies are");
	char *copy = arena_copy(t->arena, text.data, text.len);

	must(copy);
	t->route->kind = ROUTE_REJECT;
	t->route->reject = (struct text){copy, text.len};
	return true;
}

static bool to_discard(struct target *t)
{
	t->route->kind = ROUTE_DISCARD;
	return true;
}

static bool to_local(struct target *t)
{
	t->route->kind = ROUTE_LOCAL;
	return true;
}

/* A name that ends in a colon begins the target; others are the whole of it. */
static const struct {
	const char *name;
	bool (*read)(struct target *t);
} forms[] = {
    {"mx", to_mx},	    {"mx:", to_mx_port},	  {"smtp:", to_smtp},
    {"smtps:", to_smtps},   {"lmtp:unix:", to_lmtp_unix}, {"lmtp:", to_lmtp},
    {"reject:", to_reject}, {"discard", to_discard},	  {"local", to_local},
};
enum { FORM_COUNT = sizeof forms / sizeof *forms };

static bool no_form(struct target *t)
{
	const char *names[FORM_COUNT];
	struct text word = t->word->text;
	ptrdiff_t colon = text_find(word, ':');
	char name[SHOWN_BYTES];

	for (size_t i = 0; i < FORM_COUNT; i++)
		names[i] = forms[i].name;
	uint8_t address[16];

	if (host_address_parse(word, address))
		return WRONG(t, "to: \"%s\" is no way to deliver; did you mean smtp:[%s]?",
			     shown(name, word), name);
	if (colon < 0 && text_find(word, '.') > 0)
		return WRONG(t, "to: \"%s\" is no way to deliver; did you mean smtp:%s?",
			     shown(name, word), name);
	struct text first = {word.data, colon < 0 ? word.len : (size_t)colon + 1};
	const char *near = nearest_name(first, names, FORM_COUNT);

	return WRONG(t,
		     "to: \"%s\" is none of mx, mx:PORT, smtp:HOST[:PORT], smtp:[ADDRESS][:PORT], "
		     "smtps:HOST[:PORT], lmtp:HOST:PORT, local, \"reject: a text\", discard%s%s%s",
		     shown(name, word), near ? "; did you mean " : "", near ? near : "",
		     near ? "?" : "");
}

bool route_to_read(const struct token *word, struct arena *arena, struct config_errors *errors,
		   struct config_route *route)
{
	struct target t = {word, arena, errors, route, {0}};

	route->kind = ROUTE_HOP;
	route->port = 25;
	for (size_t i = 0; i < FORM_COUNT; i++) {
		struct text name = text_of(forms[i].name);
		bool prefix = name.data[name.len - 1] == ':';

		if (prefix ? !text_starts_case(word->text, forms[i].name)
			   : !text_equals(word->text, forms[i].name))
			continue;
		t.rest = (struct text){word->text.data + name.len, word->text.len - name.len};
		return forms[i].read(&t);
	}
	return no_form(&t);
}
