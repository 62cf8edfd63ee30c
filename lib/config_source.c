/* SPDX-License-Identifier: ISC */
/* Sources and pools. */
#include "config_source.h"

#include "config_value.h"
#include "envelope.h"
#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

enum { SOURCES_MAX = 1000, POOL_SOURCES_MAX = 1000 };

/* -- looking up ------------------------------------------------------------------------ */

const struct config_source *config_source(const struct config *config, struct text name)
{
	for (size_t i = 0; i < config->source_count && name.len; i++)
		if (text_equal(config->sources[i].label, name))
			return &config->sources[i];
	return NULL;
}

static const struct config_pool *pool_named(const struct config *config, struct text name)
{
	for (size_t i = 0; i < config->pool_count && name.len; i++)
		if (text_equal(config->pools[i].label, name))
			return &config->pools[i];
	return NULL;
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

bool config_has_source(const struct config *config, struct text name)
{
	return config_source(config, name) || pool_named(config, name);
}

static const struct config_source *pick(const struct config *config, struct text name, uint64_t id)
{
	const struct config_source *source = config_source(config, name);
	const struct config_pool *pool = source ? NULL : pool_named(config, name);

	return pool ? pool_pick(pool, id) : source;
}

const struct config_source *config_source_of(const struct config *config,
					     const struct config_route *route, struct text chosen,
					     uint64_t id)
{
	bool default_route = text_equals(route->label, "*") || route_is_named(route);
	const struct config_source *source = NULL;

	/* Nothing has an address of ours on the way to a mailbox, or a socket, here. */
	if (route->kind != ROUTE_HOP || route->how == HOP_LMTP_UNIX)
		return NULL;
	if (!default_route && route->source.len)
		return pick(config, route->source, id);
	if (chosen.len)
		source = pick(config, chosen, id);
	return source ? source : pick(config, route->source, id);
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

static const struct config_sender *login_named(const struct config *config, struct text login)
{
	char label[sizeof SENDER_LOGIN + SUBMITTER_MAX];

	if (!login.len || login.len > SUBMITTER_MAX)
		return NULL;
	memcpy(label, SENDER_LOGIN, sizeof SENDER_LOGIN - 1);
	memcpy(label + sizeof SENDER_LOGIN - 1, login.data, login.len);
	return sender_named(config, (struct text){label, sizeof SENDER_LOGIN - 1 + login.len});
}

struct sender_choice config_sender_choice(const struct config *config, struct text sender,
					  struct text login)
{
	struct text domain = address_domain(sender);
	const struct config_sender *found = NULL;

	if (!config->sender_count)
		return (struct sender_choice){0};
	if (domain.len || !sender.len)
		found = sender_named(config, sender.len ? sender : (struct text)TEXT(SENDER_NULL));
	if (!found)
		found = login_named(config, login);
	if (!found && domain.len)
		found = sender_named(config, domain);
	/* ".b.c" of "a.b.c", then ".c" */
	for (size_t i = 1; !found && i < domain.len; i++)
		if (domain.data[i] == '.')
			found =
			    sender_named(config, (struct text){domain.data + i, domain.len - i});
	if (!found)
		found = sender_named(config, (struct text)TEXT("*"));
	return found ? (struct sender_choice){found->source, found->route}
		     : (struct sender_choice){0};
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

	if (name.len && !config_has_source(config, name))
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

/* A name is one thing: a source, or a pool. */
static void check_twice(const struct config *config, struct config_errors *errors, size_t at)
{
	bool pool = at >= config->source_count;
	const struct config_source *s = pool ? NULL : &config->sources[at];
	const struct config_pool *p = pool ? &config->pools[at - config->source_count] : NULL;
	struct text label = pool ? p->label : s->label;
	uint32_t first = 0;
	char word[SHOWN_BYTES];

	for (size_t i = 0; i < at && !first; i++) {
		bool other_pool = i >= config->source_count;
		size_t k = other_pool ? i - config->source_count : i;

		if (text_equal(other_pool ? config->pools[k].label : config->sources[k].label,
			       label))
			first = other_pool ? config->pools[k].line : config->sources[k].line;
	}
	if (first)
		config_errors_add(errors, false, pool ? p->line : s->line, 1,
				  "%s %s: that name stands on line %u already",
				  pool ? "pool" : "source", shown(word, label), first);
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
	for (size_t i = 0; i < config->source_count + config->pool_count; i++)
		check_twice(config, errors, i);
	for (size_t i = 0; i < config->pool_count; i++)
		finish_pool(config, &config->pools[i], errors);
	for (size_t i = 0; i < config->route_count; i++)
		check_name(config, errors, config->routes[i].line, "route",
			   config->routes[i].source);
	for (size_t i = 0; i < config->sender_count; i++)
		check_sender(config, errors, &config->senders[i]);
	finish_senders(config, errors);
}
