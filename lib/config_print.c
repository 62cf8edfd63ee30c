/* SPDX-License-Identifier: ISC */
/* Writes a configuration back: as canonical text for the daemons, and for people. */
#include "config_row.h"
#include "config_value.h"

#include "must.h"

#include <string.h>

static void put(struct bytes *to, const char *s)
{
	bytes_add(to, s, strlen(s));
}

void word_print(struct text word, struct bytes *to)
{
	bool quotes = word.len == 0;

	for (size_t i = 0; i < word.len; i++)
		quotes = quotes || strchr(" \t#{},=\"", word.data[i]) || !word.data[i];
	if (!quotes) {
		bytes_add(to, word.data, word.len);
		return;
	}
	put(to, "\"");
	for (size_t i = 0; i < word.len; i++) {
		if (word.data[i] == '"' || word.data[i] == '\\')
			put(to, "\\");
		bytes_add(to, &word.data[i], 1);
	}
	put(to, "\"");
}

/* One next hop, or several: those have a comma between them, which a single one never has. */
static void print_route_to(struct text t, struct bytes *to)
{
	bool list = text_find(t, ',') >= 0 && !text_starts_case(t, "reject:");

	if (!list) {
		word_print(t, to);
		return;
	}
	put(to, "{ ");
	bytes_add(to, t.data, t.len);
	put(to, " }");
}

/* The largest unit that leaves a whole number. */
static void print_number(uint64_t n, enum setting_type type, struct bytes *to)
{
	static const struct {
		enum setting_type type;
		uint64_t factor;
		const char *unit;
	} units[] = {
	    {TYPE_SIZE, 1073741824, "G"}, {TYPE_SIZE, 1048576, "M"}, {TYPE_SIZE, 1024, "K"},
	    {TYPE_TIME, 86400, "d"},	  {TYPE_TIME, 3600, "h"},    {TYPE_TIME, 60, "m"},
	    {TYPE_TIME, 1, "s"},
	};

	for (size_t i = 0; n && i < sizeof units / sizeof *units; i++)
		if (units[i].type == type && n % units[i].factor == 0) {
			bytes_add_number(to, n / units[i].factor);
			put(to, units[i].unit);
			return;
		}
	bytes_add_number(to, n);
}

static void print_network(const struct network *n, struct bytes *to)
{
	char address[46];
	bool ipv4 = host_address_is_ipv4(n->address) && n->bits >= 96;

	put(to, host_address_print(n->address, address));
	put(to, "/");
	bytes_add_number(to, ipv4 ? n->bits - 96u : n->bits);
}

static void print_endpoint(const struct endpoint *e, bool server, struct bytes *to)
{
	char address[46];
	bool brackets = !server && !e->any && !host_address_is_ipv4(e->address);

	put(to, brackets ? "[" : "");
	put(to, e->any ? "*" : host_address_print(e->address, address));
	put(to, brackets ? "]" : "");
	put(to, server ? "@" : ":");
	bytes_add_number(to, e->port);
}

static void print_rate(const struct rate *r, struct bytes *to)
{
	bytes_add_number(to, r->count);
	put(to, r->period == PER_MINUTE ? "/m" : r->period == PER_HOUR ? "/h" : "/d");
}

static void print_share(const struct source_share *s, struct bytes *to)
{
	word_print(s->name, to);
	if (s->weight == 1)
		return;
	put(to, "*");
	bytes_add_number(to, s->weight);
}

static void print_item(enum setting_type type, const char *item, struct bytes *to)
{
	if (type == TYPE_NETWORKS)
		print_network((const void *)item, to);
	else if (type == TYPE_RATES)
		print_rate((const void *)item, to);
	else if (type == TYPE_SHARES)
		print_share((const void *)item, to);
	else if (type == TYPE_DOMAINS || type == TYPE_LOGINS || type == TYPE_TEXTS ||
		 type == TYPE_DIGESTS)
		word_print(*(const struct text *)(const void *)item, to);
	else
		print_endpoint((const void *)item, type == TYPE_SERVERS, to);
}

static void print_list(enum setting_type type, const void *from, struct bytes *to)
{
	struct setting_list list;

	memcpy(&list, from, sizeof list);
	put(to, "{ ");
	for (size_t i = 0; i < list.count; i++) {
		put(to, i ? ", " : "");
		print_item(type, (const char *)list.items + i * setting_item_size(type), to);
	}
	put(to, list.count ? " }" : "}");
}

bool value_is_unset(const struct setting_row *row, const void *from)
{
	bool text = row->type <= TYPE_ROUTE_TO;

	return text && !((const struct text *)from)->len;
}

void value_print(const struct setting_row *row, const void *from, struct bytes *to)
{
	switch (row->type) {
	case TYPE_HOST:
	case TYPE_ADDRESS:
	case TYPE_PATH:
	case TYPE_LOG_TO:
	case TYPE_TABLE:
	case TYPE_LOCAL_TABLE:
	case TYPE_TEXT:
	case TYPE_URL:
	case TYPE_IPV4:
	case TYPE_IPV6:
	case TYPE_NAME:
	case TYPE_ROUTE:
		word_print(*(const struct text *)from, to);
		break;
	case TYPE_ROUTE_TO:
		print_route_to(*(const struct text *)from, to);
		break;
	case TYPE_BOOL:
		put(to, *(const uint8_t *)from ? "yes" : "no");
		break;
	case TYPE_WORD_NEWLINE:
	case TYPE_WORD_LOG:
	case TYPE_WORD_FAMILY:
	case TYPE_WORD_CLEAR:
	case TYPE_WORD_TLS:
	case TYPE_WORD_RULE:
	case TYPE_WORD_REFUSE:
	case TYPE_WORD_ACTION:
	case TYPE_WORD_TAKEOVER:
	case TYPE_WORD_POLICY:
		put(to, setting_words(row->type)[*(const uint8_t *)from]);
		break;
	case TYPE_NUMBER:
	case TYPE_SIZE:
		print_number(*(const uint64_t *)from, row->type, to);
		break;
	case TYPE_TIME:
		print_number((uint64_t)seconds_of(*(const struct duration *)from), row->type, to);
		break;
	case TYPE_NETWORKS:
	case TYPE_DOMAINS:
	case TYPE_ENDPOINTS:
	case TYPE_SERVERS:
	case TYPE_RATES:
	case TYPE_LOGINS:
	case TYPE_TEXTS:
	case TYPE_DIGESTS:
	case TYPE_SHARES:
		print_list(row->type, from, to);
		break;
	case TYPE_COUNT:
		must(false); /* not a type */
	}
}

/* One NAME = VALUE for each row of BLOCK that PICKED says, each behind BEFORE. */
struct printing {
	const struct config *config;
	struct bytes *to;
	bool origins; /* comments say where values came from */
	bool all;     /* defaults as well */
};

static void print_origin(const struct printing *p, uint32_t line)
{
	char text[32];

	if (!p->origins)
		return;
	snprintf(text, sizeof text, line ? "  # line %u" : "  # default", line);
	put(p->to, text);
}

static void print_rows(const struct printing *p, enum setting_block block, const char *base)
{
	bool many = block_rows[block].many;

	for (size_t i = 0; i < setting_count; i++) {
		const struct setting_row *row = &setting_rows[i];
		uint32_t line = p->config->lines[i];

		if (row->block != block || value_is_unset(row, base + row->offset) ||
		    (!p->all && !many && !line))
			continue;
		put(p->to, block == BLOCK_top ? "" : "\t");
		put(p->to, row->name);
		put(p->to, " = ");
		value_print(row, base + row->offset, p->to);
		if (!many)
			print_origin(p, line);
		put(p->to, "\n");
	}
}

static bool block_has_rows(const struct printing *p, enum setting_block block)
{
	for (size_t i = 0; i < setting_count; i++)
		if (setting_rows[i].block == block && (p->all || p->config->lines[i]))
			return true;
	return false;
}

static void print_block(const struct printing *p, enum setting_block block)
{
	const struct block_row *row = &block_rows[block];
	const char *config = (const char *)p->config;
	struct setting_list list = {(void *)(uintptr_t)config, 1};

	if (row->many) {
		memcpy(&list.items, config + row->items, sizeof list.items);
		memcpy(&list.count, config + row->count, sizeof list.count);
	} else if (!block_has_rows(p, block)) {
		return;
	}
	for (size_t i = 0; i < list.count; i++) {
		const char *item = (const char *)list.items + i * row->size;
		uint32_t line = 0;

		put(p->to, row->name);
		put(p->to, " ");
		if (row->many) {
			word_print(*(const struct text *)(const void *)item, p->to);
			put(p->to, " ");
			memcpy(&line, item + row->line, sizeof line);
		}
		put(p->to, "{");
		if (row->many)
			print_origin(p, line);
		put(p->to, "\n");
		print_rows(p, block, item);
		put(p->to, "}\n");
	}
}

static void print_all(const struct printing *p)
{
	print_rows(p, BLOCK_top, (const char *)p->config);
	for (size_t i = 1; i < BLOCK_COUNT; i++)
		print_block(p, (enum setting_block)i);
}

void config_print(const struct config *config, struct bytes *to)
{
	print_all(&(struct printing){.config = config, .to = to, .all = true});
}

void config_show(const struct config *config, bool all, FILE *to)
{
	struct bytes text = {0};

	print_all(&(struct printing){.config = config, .to = &text, .origins = true, .all = all});
	if (bytes_len(&text))
		fwrite(bytes_at(&text), 1, bytes_len(&text), to);
	bytes_free(&text);
}
