/* SPDX-License-Identifier: ISC */
/* Sources and pools. */
#include "config_source.h"

#include "config_value.h"
#include "envelope.h"
#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

enum { SOURCES_MAX = 10000, POOL_SOURCES_MAX = 1000 };

/* -- looking up ------------------------------------------------------------------------ */

static const struct source_named *named(const struct config *config, struct text name)
{
	size_t low = 0, high = config->source_name_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int d = text_order_case(name, config->sources_by_name[middle].name);

		if (!d)
			return &config->sources_by_name[middle];
		if (d < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

const struct config_source *config_source(const struct config *config, struct text name)
{
	const struct source_named *found = named(config, name);

	return found ? found->source : NULL;
}

/* Of 64 bits, each of which depends on each of ID: no row of messages goes one way. */
static uint64_t mixed(uint64_t id)
{
	id = (id ^ id >> 30) * 0xbf58476d1ce4e5b9u;
	id = (id ^ id >> 27) * 0x94d049bb133111ebu;
	return id ^ id >> 31;
}

static const struct config_source *pool_pick(const struct config_pool *pool, uint64_t id)
{
	uint64_t sum = 0, at;

	for (size_t i = 0; i < pool->sources.count; i++)
		sum += pool->sources.items[i].weight;
	at = sum ? mixed(id) % sum : 0;
	for (size_t i = 0; i < pool->sources.count; i++) {
		const struct source_share *share = &pool->sources.items[i];

		if (at < share->weight)
			return share->source;
		at -= share->weight;
	}
	return NULL;
}

struct text config_source_name(const struct config *config, struct text name)
{
	const struct source_named *found = named(config, name);

	return found ? found->name : (struct text){NULL, 0};
}

static const struct config_source *pick(const struct config *config, struct text name, uint64_t id)
{
	const struct source_named *found = named(config, name);

	return !found ? NULL : found->pool ? pool_pick(found->pool, id) : found->source;
}

struct text config_source_chosen(const struct config *config, const struct config_route *route,
				 struct text chosen)
{
	bool default_route = text_equals(route->label, "*") || route_is_named(route);

	/* Nothing has an address of ours on the way to a mailbox, or a socket, here. */
	if (route->kind != ROUTE_HOP || route->how == HOP_LMTP_UNIX)
		return (struct text){NULL, 0};
	/* What a sender's mail leaves from is for receivers who judge it, and no mail store does.
	 */
	if (!hop_is_lmtp(route->how) && (default_route || !route->source.len) &&
	    config_source_name(config, chosen).len)
		return chosen;
	return route->source;
}

const struct config_source *config_source_of(const struct config *config,
					     const struct config_route *route, struct text chosen,
					     uint64_t id)
{
	return pick(config, config_source_chosen(config, route, chosen), id);
}

/* -- senders --------------------------------------------------------------------------- */

static const struct config_sender *sender_named(const struct config *config, struct text label)
{
	size_t low = 0, high = config->sender_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int d = text_order_case(label, config->senders_by_name[middle]->label);

		if (!d)
			return config->senders_by_name[middle];
		if (d < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

bool config_sender_named(const struct config *config, struct text label, struct sender_choice *to)
{
	const struct config_sender *found = sender_named(config, label);

	if (found)
		*to = (struct sender_choice){found->source, found->route};
	return found != NULL;
}

struct sender_choice config_sender_choice(const struct config *config, struct text sender,
					  struct text login)
{
	struct sender_keys keys;
	struct sender_choice choice = {0};

	if (!config->sender_count)
		return choice;
	sender_keys_begin(&keys, sender, login);
	while (sender_keys_next(&keys) && !config_sender_named(config, keys.key, &choice))
		;
	return choice;
}

/* -- what a sender is looked for under ------------------------------------------------------ */

static struct text lowered(char *to, size_t size, const char *before, struct text t)
{
	size_t len = text_copy(to, size, text_of(before));

	len += text_copy(to + len, size - len, t);
	for (size_t i = 0; i < len; i++)
		to[i] = ascii_lower(to[i]);
	return (struct text){to, len};
}

void sender_keys_begin(struct sender_keys *k, struct text sender, struct text login)
{
	*k = (struct sender_keys){0};
	k->sender = sender.len ? lowered(k->sender_room, sizeof k->sender_room, "", sender)
			       : (struct text)TEXT(SENDER_NULL);
	k->domain = sender.len ? address_domain(k->sender) : sender;
	if (login.len && login.len <= SUBMITTER_MAX)
		k->login = lowered(k->login_room, sizeof k->login_room, SENDER_LOGIN, login);
}

/* ".b.c" of "a.b.c", then ".c"; false: there is no more. */
static bool domain_shorten(struct text *domain)
{
	do {
		if (!domain->len)
			return false;
		domain->data++;
		domain->len--;
	} while (!domain->len || domain->data[0] != '.');
	return true;
}

bool sender_keys_next(struct sender_keys *k)
{
	for (;;)
		switch (k->step++) {
		case 0:
			k->key = k->sender;
			return true;
		case 1:
			k->key = k->login;
			if (k->key.len)
				return true;
			break;
		case 2:
			k->key = k->domain;
			if (k->key.len)
				return true;
			break;
		case 3:
			if (domain_shorten(&k->domain)) {
				k->key = k->domain;
				k->step = 3;
				return true;
			}
			break;
		case 4:
			k->key = (struct text)TEXT("*");
			return true;
		default:
			return false;
		}
}

/* -- labels ---------------------------------------------------------------------------- */

bool sender_label_read(struct text t, struct arena *arena, struct text *to, const char **why)
{
	struct text domain = address_domain(t);
	bool address = domain.data && domain.len + 1 < t.len;
	char *lower = arena_copy(arena, t.data, t.len);

	must(lower);
	for (size_t i = 0; i < t.len; i++)
		lower[i] = ascii_lower(lower[i]);
	*to = (struct text){lower, t.len};
	if (text_equals(t, "*") || text_equals(t, SENDER_NULL) ||
	    (text_starts_case(t, SENDER_LOGIN) && t.len > sizeof SENDER_LOGIN - 1))
		return true;
	if (t.data[0] == '@') /* as Postfix's tables have it */
		*to = (struct text){lower + 1, t.len - 1};
	if (!pattern_read(address ? domain : *to, arena, to, why))
		return false;
	if (address)
		*to = (struct text){lower, t.len};
	else if (to->data[0] == '*')
		*to = (struct text){to->data + 1, to->len - 1};
	return true;
}

/* -- finishing ------------------------------------------------------------------------- */

static int compare_senders(const void *a, const void *b)
{
	const struct config_sender *const *x = a, *const *y = b;
	int d = text_order_case((*x)->label, (*y)->label);

	return d ? d : ((*x)->line > (*y)->line) - ((*x)->line < (*y)->line);
}

static void finish_senders(struct config *config, struct config_errors *errors)
{
	size_t count = config->sender_count;
	const struct config_sender **by_name =
	    arena_alloc(config->arena, (count + 1) * sizeof(struct config_sender *));
	char word[SHOWN_BYTES];

	must(by_name);
	for (size_t i = 0; i < count; i++)
		by_name[i] = &config->senders[i];
	qsort(by_name, count, sizeof(struct config_sender *), compare_senders);
	for (size_t i = 1; i < count; i++)
		if (text_equal(by_name[i]->label, by_name[i - 1]->label))
			config_errors_add(errors, false, by_name[i]->line, 1,
					  "sender %s stands twice; the first is on line %u",
					  shown(word, by_name[i]->label), by_name[i - 1]->line);
	config->senders_by_name = by_name;
}

static void check_name(const struct config *config, struct config_errors *errors, uint32_t line,
		       const char *where, struct text name)
{
	char word[SHOWN_BYTES];

	if (name.len && !config_source_name(config, name).len)
		config_errors_add(errors, false, line, 1, "%s: there is no source or pool %s",
				  where, shown(word, name));
}

static void check_sender(const struct config *config, struct config_errors *errors,
			 const struct config_sender *s)
{
	char word[SHOWN_BYTES];

	if (!s->source.len && !s->route.len)
		config_errors_add(errors, false, s->line, 1,
				  "sender %s: it says neither source nor route",
				  shown(word, s->label));
	check_name(config, errors, s->line, "sender", s->source);
	if (s->route.len && !config_route_named(config, s->route))
		config_errors_add(errors, false, s->line, 1, "sender: there is no route %s",
				  shown(word, s->route));
}

static int compare_names(const void *a, const void *b)
{
	const struct source_named *x = a, *y = b;
	int d = text_order_case(x->name, y->name);

	return d ? d : (x->line > y->line) - (x->line < y->line);
}

/* A name is one thing: a source, or a pool. */
static void finish_names(struct config *config, struct config_errors *errors)
{
	size_t count = config->source_count + config->pool_count;
	struct source_named *names = arena_alloc(config->arena, (count + 1) * sizeof *names);
	char word[SHOWN_BYTES];

	must(names);
	for (size_t i = 0; i < config->source_count; i++) {
		const struct config_source *s = &config->sources[i];

		names[i] = (struct source_named){s->label, s, NULL, s->line};
	}
	for (size_t i = 0; i < config->pool_count; i++) {
		const struct config_pool *p = &config->pools[i];

		names[config->source_count + i] = (struct source_named){p->label, NULL, p, p->line};
	}
	if (count)
		qsort(names, count, sizeof *names, compare_names);
	for (size_t i = 1; i < count; i++)
		if (text_equal(names[i].name, names[i - 1].name))
			config_errors_add(errors, false, names[i].line, 1,
					  "%s %s: that name stands on line %u already",
					  names[i].pool ? "pool" : "source",
					  shown(word, names[i].name), names[i - 1].line);
	config->sources_by_name = names;
	config->source_name_count = count;
}

static void finish_pool(const struct config *config, struct config_pool *pool,
			struct config_errors *errors)
{
	char word[SHOWN_BYTES], name[SHOWN_BYTES];

	if (!pool->sources.count || pool->sources.count > POOL_SOURCES_MAX)
		config_errors_add(errors, false, pool->line, 1, "pool %s: it has 1 to %d sources",
				  shown(word, pool->label), POOL_SOURCES_MAX);
	for (size_t i = 0; i < pool->sources.count; i++) {
		struct source_share *share = &pool->sources.items[i];

		share->source = config_source(config, share->name);
		if (!share->source)
			config_errors_add(errors, false, pool->line, 1,
					  "pool %s: there is no source %s",
					  shown(word, pool->label), shown(name, share->name));
	}
}

void config_source_finish(struct config *config, struct config_errors *errors)
{
	char word[SHOWN_BYTES];

	if (config->source_count + config->pool_count > SOURCES_MAX) {
		config_errors_add(errors, false, 0, 0, "more than %d sources and pools",
				  SOURCES_MAX);
		return;
	}
	for (size_t i = 0; i < config->source_count; i++)
		if (!config->sources[i].ipv4.len && !config->sources[i].ipv6.len)
			config_errors_add(errors, false, config->sources[i].line, 1,
					  "source %s has neither ipv4 nor ipv6",
					  shown(word, config->sources[i].label));
	finish_names(config, errors);
	for (size_t i = 0; i < config->pool_count; i++)
		finish_pool(config, &config->pools[i], errors);
	for (size_t i = 0; i < config->route_count; i++)
		check_name(config, errors, config->routes[i].line, "route",
			   config->routes[i].source);
	for (size_t i = 0; i < config->sender_count; i++)
		check_sender(config, errors, &config->senders[i]);
	finish_senders(config, errors);
}
