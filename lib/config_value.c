/* SPDX-License-Identifier: ISC */
/* A function for each type of setting: reading. Printing is in config_print.c. */
#include "config_value.h"

#include "envelope.h"
#include "must.h"
#include "nearest.h"
#include "passwd_file.h"
#include "tables.h"
#include "url.h"

#include <arpa/inet.h>
#include <string.h>

/* What the functions below work on: a word, and where its value goes. */
struct value {
	const struct setting_row *row;
	const struct token *word;
	struct arena *arena;
	struct config_errors *errors;
	void *to, *owner;
};

#define WRONG(v, ...)                                                                              \
	(config_errors_add((v)->errors, false, (v)->word->line, (v)->word->column, __VA_ARGS__),   \
	 false)

const char *shown(char *to, struct text t)
{
	if (text_printable(to, SHOWN_BYTES - 3, t) < t.len && t.len > SHOWN_BYTES - 4)
		strcat(to, "...");
	return to;
}

static struct text keep(struct arena *arena, struct text t)
{
	char *copy = arena_copy(arena, t.data, t.len);

	must(copy); /* the reader's arena is bounded far above what 1 MB of words can ask for */
	return (struct text){copy, t.len};
}

static struct text keep_lower(struct arena *arena, struct text t)
{
	char *copy = arena_copy(arena, t.data, t.len);

	must(copy);
	for (size_t i = 0; i < t.len; i++)
		copy[i] = ascii_lower(copy[i]);
	return (struct text){copy, t.len};
}

static struct text text_from(struct text t, size_t begin)
{
	return (struct text){t.data + begin, t.len - begin};
}

static struct text text_until(struct text t, size_t end)
{
	return (struct text){t.data, end};
}

/* -- domains --------------------------------------------------------------- */

/* RFC 1035 2.3.4 bounds the lengths; letters, digits and hyphens as in RFC 1123 2.1, and the _ of
 * real life. */
static const char *domain_fault(struct text t, bool underscore)
{
	size_t label = 0;

	if (!t.len)
		return "no name";
	if (t.len > 253)
		return "more than 253 characters";
	if (!text_is_ascii(t))
		return "not ASCII: write an international name in its xn-- form";
	for (size_t i = 0; i <= t.len; i++) {
		if (i == t.len || t.data[i] == '.') {
			if (!label)
				return i == t.len ? "a dot at the end"
						  : "an empty part between dots";
			if (t.data[i - 1] == '-')
				return "a part that ends in a hyphen";
			label = 0;
			continue;
		}
		if (++label > 63)
			return "a part of more than 63 characters";
		if (t.data[i] == '-' && label == 1)
			return "a part that begins with a hyphen";
		if (!ascii_is_alnum(t.data[i]) && t.data[i] != '-' &&
		    !(underscore && t.data[i] == '_'))
			return "a character that no name has";
	}
	return NULL;
}

bool domain_read(struct text t, struct arena *arena, struct text *to, const char **why)
{
	uint8_t address[16];

	*why = host_address_parse(t, address) ? "an address, where a name is wanted"
					      : domain_fault(t, true);
	if (*why)
		return false;
	*to = keep_lower(arena, t);
	return true;
}

bool pattern_read(struct text t, struct arena *arena, struct text *to, const char **why)
{
	size_t skip = text_starts_case(t, "*.") ? 2 : text_starts_case(t, ".") ? 1 : 0;
	struct text unused;

	if (!domain_read(text_from(t, skip), arena, &unused, why))
		return false;
	*to = keep_lower(arena, t);
	return true;
}

static bool read_host(struct value *v)
{
	struct text t = v->word->text;
	const char *why = domain_fault(t, false);
	char name[SHOWN_BYTES];
	uint8_t address[16];

	if (!why && host_address_parse(t, address))
		why = "an address, where a name is wanted";
	if (why)
		return WRONG(v, "%s: \"%s\" is no host name: %s", v->row->name, shown(name, t),
			     why);
	if (text_find(t, '.') < 0)
		config_errors_add(
		    v->errors, true, v->word->line, v->word->column,
		    "%s: \"%s\" has no domain; receivers want a fully qualified name such as "
		    "mail.example.net",
		    v->row->name, shown(name, t));
	*(struct text *)v->to = keep_lower(v->arena, t);
	return true;
}

static bool read_domains(struct value *v)
{
	struct text t = v->word->text;
	const char *why;
	char name[SHOWN_BYTES];

	if (text_equals(t, "*"))
		return WRONG(v, "%s: * is every domain there is%s", v->row->name,
			     v->row->block == BLOCK_top ? ": that would be an open relay" : "");
	if (!pattern_read(t, v->arena, v->to, &why))
		return WRONG(v, "%s: \"%s\" is no domain: %s", v->row->name, shown(name, t), why);
	return true;
}

/* RFC 5321 4.1.2: Dot-string; quoted local parts have no place in a setting. */
static bool is_dot_string(struct text t)
{
	bool dot = true;

	for (size_t i = 0; i < t.len; i++) {
		bool is_dot = t.data[i] == '.';

		if (is_dot
			? dot
			: !ascii_is_alnum(t.data[i]) && !strchr("!#$%&'*+-/=?^_`{|}~", t.data[i]))
			return false;
		dot = is_dot;
	}
	return t.len && t.len <= 64 && !dot;
}

static bool read_address(struct value *v)
{
	struct text t = v->word->text, domain;
	ptrdiff_t at = text_find(t, '@');
	const char *why;
	char name[SHOWN_BYTES];

	if (at < 0)
		return WRONG(v, "%s: \"%s\" has no @domain", v->row->name, shown(name, t));
	if (!is_dot_string(text_until(t, (size_t)at)))
		return WRONG(v, "%s: \"%s\" is no mail address: what stands before the @ is none",
			     v->row->name, shown(name, t));
	if (!domain_read(text_from(t, (size_t)at + 1), v->arena, &domain, &why))
		return WRONG(v, "%s: \"%s\" is no mail address: %s", v->row->name, shown(name, t),
			     why);
	char *copy = arena_copy(v->arena, t.data, t.len);

	must(copy);
	memcpy(copy + at + 1, domain.data, domain.len);
	*(struct text *)v->to = (struct text){copy, t.len};
	return true;
}

/* -- paths and words --------------------------------------------------------- */

static bool read_path(struct value *v)
{
	struct text t = v->word->text;
	char name[SHOWN_BYTES];

	if (!t.len || t.data[0] != '/')
		return WRONG(v, "%s: the path \"%s\" must begin with /", v->row->name,
			     shown(name, t));
	while (t.len > 1 && t.data[t.len - 1] == '/')
		t.len--;
	*(struct text *)v->to = keep(v->arena, t);
	return true;
}

static bool read_text(struct value *v)
{
	struct text t = v->word->text;

	for (size_t i = 0; i < t.len; i++)
		if ((unsigned char)t.data[i] < ' ' || t.data[i] == 127)
			return WRONG(v, "%s: control characters in its value", v->row->name);
	*(struct text *)v->to = keep(v->arena, t);
	return true;
}

static bool read_url(struct value *v)
{
	struct text t = v->word->text;
	char name[SHOWN_BYTES];
	struct url url;
	const char *fault = url_read(t, &url);

	if (fault)
		return WRONG(v, "%s: \"%s\" is no https address: %s", v->row->name, shown(name, t),
			     fault);
	*(struct text *)v->to = keep(v->arena, t);
	return true;
}

static bool read_log_to(struct value *v)
{
	static const char *const words[] = {"stdout", "syslog", "journal", "none"};
	enum { WORDS = sizeof words / sizeof *words };
	struct text t = v->word->text;
	char name[SHOWN_BYTES];

	for (size_t i = 0; i < WORDS; i++)
		if (text_equals(t, words[i])) {
			*(struct text *)v->to = keep(v->arena, t);
			return true;
		}
	if (t.len && t.data[0] == '/')
		return read_path(v);
	const char *near = nearest_name(t, words, WORDS);

	return WRONG(v,
		     "%s: \"%s\" is none of stdout, syslog, journal, none or a path that begins "
		     "with /%s%s%s",
		     v->row->name, shown(name, t), near ? "; did you mean " : "", near ? near : "",
		     near ? "?" : "");
}

static bool read_table(struct value *v)
{
	enum table_type type;
	struct text path;
	char name[SHOWN_BYTES];

	if (!table_parse(v->word->text, &type, &path))
		return WRONG(v,
			     "%s: \"%s\" is no table; write /PATH, text:/PATH, hash:/PATH, "
			     "btree:/PATH, cidr:/PATH or pcre:/PATH",
			     v->row->name, shown(name, v->word->text));
	if (v->word->text.len > TABLE_PATH_MAX)
		return WRONG(v, "%s: a path of more than %d characters", v->row->name,
			     TABLE_PATH_MAX);
	*(struct text *)v->to = keep(v->arena, v->word->text);
	return true;
}

static bool read_bool(struct value *v)
{
	struct text t = v->word->text;
	char name[SHOWN_BYTES];

	if (!text_equals(t, "yes") && !text_equals(t, "no"))
		return WRONG(v, "%s: \"%s\" is neither yes nor no", v->row->name, shown(name, t));
	*(uint8_t *)v->to = text_equals(t, "yes");
	return true;
}

static bool read_word(struct value *v)
{
	const char *const *words = setting_words(v->row->type);
	char name[SHOWN_BYTES], all[128] = "";
	size_t n = 0;

	for (; words[n]; n++) {
		if (text_equals(v->word->text, words[n])) {
			*(uint8_t *)v->to = (uint8_t)n;
			return true;
		}
		size_t used = strlen(all);

		snprintf(all + used, sizeof all - used, "%s%s", n ? ", " : "", words[n]);
	}
	const char *near = nearest_name(v->word->text, words, n);

	return WRONG(v, "%s: \"%s\" is none of %s%s%s%s", v->row->name, shown(name, v->word->text),
		     all, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* -- numbers ------------------------------------------------------------------- */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit no_units[] = {{NULL, 0}};
static const struct unit size_units[] = {{"K", 1024}, {"M", 1048576}, {"G", 1073741824}, {NULL, 0}};
static const struct unit time_units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {NULL, 0}};

static const struct unit *units_of(enum setting_type type)
{
	return type == TYPE_SIZE ? size_units : type == TYPE_TIME ? time_units : no_units;
}

static const char *units_text(enum setting_type type)
{
	return type == TYPE_SIZE   ? "a whole number, with K, M or G behind it if wanted: 50M"
	       : type == TYPE_TIME ? "a whole number with s, m, h or d behind it: 5m"
				   : "a whole number";
}

/* Digits and at most one unit; false: no such number. *FACTOR is 0 without a unit. */
static bool split_number(struct text t, const struct unit *units, uint64_t *number,
			 uint64_t *factor)
{
	*factor = 0;
	for (; t.len && units->name; units++)
		if (t.data[t.len - 1] == units->name[0] ||
		    (units->factor >= 1024 && t.data[t.len - 1] == ascii_lower(units->name[0]) &&
		     units->name[0] < 'a')) {
			*factor = units->factor;
			t.len--;
			break;
		}
	return text_number(t, UINT64_MAX / (*factor ? *factor : 1), number);
}

bool size_read(struct text t, uint64_t *to)
{
	uint64_t factor;

	if (!split_number(t, size_units, to, &factor))
		return false;
	*to *= factor ? factor : 1;
	return true;
}

static bool read_number(struct value *v)
{
	uint64_t number, factor;
	char name[SHOWN_BYTES];
	struct text t = v->word->text;
	enum setting_type type = v->row->type;

	if (!split_number(t, units_of(type), &number, &factor))
		return WRONG(v, "%s: \"%s\" is not %s", v->row->name, shown(name, t),
			     units_text(type));
	if (type == TYPE_TIME && !factor && number)
		return WRONG(v, "%s: \"%s\" has no unit; did you mean %ss, %sm, %sh or %sd?",
			     v->row->name, shown(name, t), name, name, name, name);
	number *= factor ? factor : 1;
	if (number < v->row->least || number > v->row->most)
		return WRONG(v, "%s: %s is out of bounds: %llu to %llu%s", v->row->name,
			     shown(name, t), (unsigned long long)v->row->least,
			     (unsigned long long)v->row->most, type == TYPE_TIME ? " seconds" : "");
	if (type == TYPE_TIME)
		*(struct duration *)v->to = SECONDS(number);
	else
		*(uint64_t *)v->to = number;
	return true;
}

/* "100/h" */
static bool read_rate(struct value *v)
{
	struct rate *to = v->to;
	struct text t = v->word->text;
	char name[SHOWN_BYTES];
	const char *unit = t.len > 2 && t.data[t.len - 2] == '/' && t.data[t.len - 1]
			       ? strchr("mhd", t.data[t.len - 1])
			       : NULL;

	if (!unit || !text_number(text_until(t, t.len - 2), 1000000000, &to->count) || !to->count)
		return WRONG(v, "%s: \"%s\" is no rate; write 10/m, 100/h or 1000/d", v->row->name,
			     shown(name, t));
	to->period = (uint8_t)(*unit == 'm' ? PER_MINUTE : *unit == 'h' ? PER_HOUR : PER_DAY);
	return true;
}

/* A login, or *REST for all that end so. */
static bool read_login(struct value *v)
{
	struct text t = v->word->text;
	char name[SHOWN_BYTES];

	if (t.len > LOGIN_MAX || memchr(t.data + 1, '*', t.len - 1))
		return WRONG(v, "%s: \"%s\" is no login, nor a * with what logins end in",
			     v->row->name, shown(name, t));
	*(struct text *)v->to = keep(v->arena, t);
	return true;
}

/* -- addresses -------------------------------------------------------------------- */

static void mask_address(uint8_t *address, unsigned bits)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep_bits = bits >= (i + 1) * 8 ? 8 : bits <= i * 8 ? 0 : bits - i * 8;

		address[i] &= (uint8_t)(0xff00u >> keep_bits);
	}
}

static bool read_network(struct value *v)
{
	struct network *to = v->to;
	struct text t = v->word->text;
	ptrdiff_t slash = text_find(t, '/');
	struct text host = slash < 0 ? t : text_until(t, (size_t)slash);
	char name[SHOWN_BYTES], good[46];
	uint64_t bits;

	if (host.len > 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
		host = (struct text){host.data + 1, host.len - 2};
	if (!host_address_parse(host, to->address))
		return WRONG(
		    v, "%s: \"%s\" is no network; write 192.0.2.0/24, 2001:db8::/32 or an address",
		    v->row->name, shown(name, t));
	bool ipv4 = text_find(host, ':') < 0;
	unsigned most = ipv4 ? 32 : 128;

	bits = most;
	if (slash >= 0 && !text_number(text_from(t, (size_t)slash + 1), most, &bits))
		return WRONG(v, "%s: \"%s\": the length of an %s network is /0 to /%u",
			     v->row->name, shown(name, t), ipv4 ? "IPv4" : "IPv6", most);
	to->bits = (uint8_t)(ipv4 ? bits + 96 : bits);
	struct network whole = *to;

	mask_address(to->address, to->bits);
	if (memcmp(to->address, whole.address, 16) != 0)
		return WRONG(v, "%s: \"%s\" has bits set behind its length; did you mean %s/%u?",
			     v->row->name, shown(name, t), host_address_print(to->address, good),
			     (unsigned)bits);
	if (!bits)
		config_errors_add(v->errors, true, v->word->line, v->word->column,
				  "%s: \"%s\" is the whole internet: this is an open relay",
				  v->row->name, shown(name, t));
	return true;
}

static bool read_port(struct value *v, struct text t, uint16_t *port)
{
	uint64_t number;
	char name[SHOWN_BYTES];

	if (!text_number(t, UINT16_MAX, &number) || !number)
		return WRONG(v, "%s: \"%s\" is no port: 1 to 65535", v->row->name, shown(name, t));
	*port = (uint16_t)number;
	return true;
}

static struct text without_brackets(struct text t)
{
	if (t.len > 2 && t.data[0] == '[' && t.data[t.len - 1] == ']')
		return (struct text){t.data + 1, t.len - 2};
	return t;
}

/* ADDRESS:PORT, where an IPv6 address stands in brackets; *:PORT. */
static bool read_endpoint(struct value *v)
{
	struct endpoint *to = v->to;
	struct text t = v->word->text;
	char name[SHOWN_BYTES];
	uint64_t port;
	size_t colon = t.len;

	while (colon && t.data[colon - 1] != ':')
		colon--;
	if (!colon && text_number(t, 65535, &port))
		return WRONG(v, "%s: \"%s\" has no address; did you mean *:%s?", v->row->name,
			     shown(name, t), name);
	if (!colon || (t.data[0] == '[' && t.data[t.len - 1] == ']'))
		return WRONG(v, "%s: \"%s\" has no port; did you mean %s:25?", v->row->name,
			     shown(name, t), name);
	struct text host = text_until(t, colon - 1);

	to->any = text_equals(host, "*");
	if (!to->any && text_find(host, ':') >= 0 && host.data[0] != '[')
		return WRONG(v, "%s: \"%s\": an IPv6 address stands in brackets: [::1]:25",
			     v->row->name, shown(name, t));
	if (!to->any && (!host_address_parse(without_brackets(host), to->address) ||
			 (host.data[0] == '[') != (text_find(host, ':') >= 0)))
		return WRONG(
		    v,
		    "%s: \"%s\" does not begin with *, an IPv4 address, or an IPv6 address in "
		    "brackets",
		    v->row->name, shown(name, t));
	return read_port(v, text_from(t, colon), &to->port);
}

/* ADDRESS@PORT; port 53 unless said. */
static bool read_server(struct value *v)
{
	struct endpoint *to = v->to;
	struct text t = v->word->text;
	ptrdiff_t at = text_find(t, '@');
	struct text host = at < 0 ? t : text_until(t, (size_t)at);
	char name[SHOWN_BYTES];

	to->port = 53;
	if (!host_address_parse(without_brackets(host), to->address))
		return WRONG(v,
			     "%s: \"%s\" is no address of a name server; write 192.0.2.1, or "
			     "192.0.2.1@53 with a port",
			     v->row->name, shown(name, t));
	return at < 0 || read_port(v, text_from(t, (size_t)at + 1), &to->port);
}

/* "ab:cd:..." as openssl x509 -fingerprint writes it, or the digits alone. */
static bool read_digest(struct value *v)
{
	struct text t = v->word->text;
	char *copy = arena_alloc(v->arena, 64), name[SHOWN_BYTES];
	size_t n = 0;

	must(copy);
	for (size_t i = 0; i < t.len; i++) {
		char c = ascii_lower(t.data[i]);

		if (c == ':' && n % 2 == 0)
			continue;
		if (n == 64 || !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
			n = 0;
			break;
		}
		copy[n++] = c;
	}
	if (n != 64)
		return WRONG(v,
			     "%s: \"%s\" is no SHA-256 digest: 64 hexadecimal digits, as openssl "
			     "x509 -noout -fingerprint -sha256 writes them",
			     v->row->name, shown(name, t));
	*(struct text *)v->to = (struct text){copy, n};
	return true;
}

/* -- sources --------------------------------------------------------------------------- */

bool source_name_read(struct text t, struct arena *arena, struct text *to)
{
	bool fits = t.len && t.len <= SOURCE_MAX;

	for (size_t i = 0; fits && i < t.len; i++)
		fits = ascii_is_alnum(t.data[i]) || text_find(text_of("-_."), t.data[i]) >= 0;
	if (fits)
		*to = keep_lower(arena, t);
	return fits;
}

bool route_name_read(struct text t, struct arena *arena, struct text *to)
{
	struct text name;
	bool fits = text_starts_case(t, ROUTE_MARK) &&
		    source_name_read(text_from(t, strlen(ROUTE_MARK)), arena, &name);

	if (fits)
		*to = keep_lower(arena, t);
	return fits;
}

static bool read_route_name(struct value *v)
{
	char name[SHOWN_BYTES];

	if (!route_name_read(v->word->text, v->arena, v->to))
		return WRONG(v, "%s: \"%s\" is no name of a route: @NAME", v->row->name,
			     shown(name, v->word->text));
	return true;
}

static bool read_source_name(struct value *v)
{
	char name[SHOWN_BYTES];

	if (!source_name_read(v->word->text, v->arena, v->to))
		return WRONG(v, "%s: \"%s\" is no name of a source or pool", v->row->name,
			     shown(name, v->word->text));
	return true;
}

/* NAME or NAME*WEIGHT */
static bool read_share(struct value *v)
{
	struct source_share *to = v->to;
	struct text t = v->word->text;
	ptrdiff_t star = text_find(t, '*');
	uint64_t weight = 1;
	char name[SHOWN_BYTES];

	if ((star >= 0 &&
	     (!text_number(text_from(t, (size_t)star + 1), 1000000, &weight) || !weight)) ||
	    !source_name_read(star < 0 ? t : text_until(t, (size_t)star), v->arena, &to->name))
		return WRONG(v,
			     "%s: \"%s\" is no source, nor NAME*WEIGHT with a weight from 1 to "
			     "1000000",
			     v->row->name, shown(name, t));
	to->weight = (uint32_t)weight;
	return true;
}

/* Of this machine it can't be: all of it, or a group (RFC 1122 3.2.1.3, RFC 4291 2.5.2 and 2.7). */
static bool is_nobodys(const uint8_t *address)
{
	static const uint8_t none[16];

	if (host_address_is_ipv4(address))
		return address[12] == 0 || address[12] >= 224;
	return address[0] == 0xff || memcmp(address, none, sizeof none) == 0;
}

static bool read_source_address(struct value *v)
{
	struct text t = v->word->text;
	bool ipv4 = v->row->type == TYPE_IPV4;
	uint8_t address[16];
	char name[SHOWN_BYTES], *copy = arena_alloc(v->arena, 46);

	must(copy);
	if (t.len > 2 && t.data[0] == '[' && t.data[t.len - 1] == ']')
		t = (struct text){t.data + 1, t.len - 2};
	if (!host_address_parse(t, address) || host_address_is_ipv4(address) != ipv4)
		return WRONG(v, "%s: \"%s\" is no %s address", v->row->name, shown(name, t),
			     ipv4 ? "IPv4" : "IPv6");
	if (is_nobodys(address))
		return WRONG(v, "%s: from \"%s\" no mail can leave", v->row->name, shown(name, t));
	*(struct text *)v->to = text_of(host_address_print(address, copy));
	return true;
}

/* -- routes -------------------------------------------------------------------------- */

static bool read_route_to(struct value *v)
{
	return route_to_add(v->word, v->arena, v->errors, v->owner);
}

static bool (*const readers[TYPE_COUNT])(struct value *v) = {
    [TYPE_HOST] = read_host,	       [TYPE_ADDRESS] = read_address,
    [TYPE_PATH] = read_path,	       [TYPE_LOG_TO] = read_log_to,
    [TYPE_TEXT] = read_text,	       [TYPE_URL] = read_url,
    [TYPE_ROUTE_TO] = read_route_to,   [TYPE_BOOL] = read_bool,
    [TYPE_NUMBER] = read_number,       [TYPE_SIZE] = read_number,
    [TYPE_TIME] = read_number,	       [TYPE_WORD_NEWLINE] = read_word,
    [TYPE_WORD_LOG] = read_word,       [TYPE_WORD_FAMILY] = read_word,
    [TYPE_WORD_CLEAR] = read_word,     [TYPE_WORD_TLS] = read_word,
    [TYPE_NETWORKS] = read_network,    [TYPE_DOMAINS] = read_domains,
    [TYPE_ENDPOINTS] = read_endpoint,  [TYPE_SERVERS] = read_server,
    [TYPE_WORD_RULE] = read_word,      [TYPE_WORD_REFUSE] = read_word,
    [TYPE_TABLE] = read_table,	       [TYPE_RATES] = read_rate,
    [TYPE_WORD_ACTION] = read_word,    [TYPE_WORD_TAKEOVER] = read_word,
    [TYPE_LOGINS] = read_login,	       [TYPE_WORD_POLICY] = read_word,
    [TYPE_DIGESTS] = read_digest,      [TYPE_SHARES] = read_share,
    [TYPE_IPV4] = read_source_address, [TYPE_IPV6] = read_source_address,
    [TYPE_NAME] = read_source_name,    [TYPE_ROUTE] = read_route_name,
    [TYPE_TEXTS] = read_text,	       [TYPE_LOCAL_TABLE] = read_table,
};

bool value_read(const struct setting_row *row, const struct token *word, struct arena *arena,
		struct config_errors *errors, void *to, void *owner)
{
	struct value v = {row, word, arena, errors, to, owner};

	if (!word->text.len)
		return WRONG(&v, "%s: the value is empty", row->name);
	return readers[row->type](&v);
}
