/* SPDX-License-Identifier: ISC */
/*
 * The next hops of a route, of which several may stand in braces. One is the
 * route's own target; of several the target is their list (next_hops.h).
 */
#include "config_value.h"

#include "must.h"
#include "next_hops.h"

#include <stdio.h>
#include <string.h>

#define WRONG(word, ...)                                                                           \
	(config_errors_add(errors, false, (word)->line, (word)->column, __VA_ARGS__), false)

/* "smtp:a.example*3" is cut in front of its star; false: that is no weight. *WEIGHT 0: none. */
static bool weight_take(struct text *t, uint64_t *weight)
{
	ptrdiff_t star = text_find(*t, '*');

	*weight = 0;
	if (star < 0 || text_starts_case(*t, "reject:"))
		return true;
	struct text digits = {t->data + star + 1, t->len - (size_t)star - 1};

	t->len = (size_t)star;
	return text_number(digits, NEXT_HOP_WEIGHT_MAX, weight) && *weight;
}

static struct text keep(struct arena *arena, const char *data, size_t len)
{
	char *copy = arena_copy(arena, data, len);

	must(copy);
	return (struct text){copy, len};
}

/* Appends ROUTE's single target. */
static void item_add(struct bytes *to, const struct config_route *route, uint64_t weight)
{
	uint8_t address[16];
	bool literal = host_address_parse(route->target, address);
	char behind[40];

	bytes_add(to, literal ? "[" : "", literal);
	bytes_add(to, route->target.data, route->target.len);
	if (weight)
		snprintf(behind, sizeof behind, "%s:%u*%u", literal ? "]" : "", route->port,
			 (unsigned)weight);
	else
		snprintf(behind, sizeof behind, "%s:%u", literal ? "]" : "", route->port);
	bytes_add(to, behind, strlen(behind));
}

/* What of a list the whole of it is; HOP_MX where it has no place in one. */
static enum hop_how list_how(const struct config_route *route)
{
	if (route->kind != ROUTE_HOP)
		return HOP_MX;
	if (route->how == HOP_LMTP || route->how == HOP_SMTPS)
		return route->how;
	return route->how == HOP_HOST || route->how == HOP_LITERAL ? HOP_HOST : HOP_MX;
}

static bool is_of_lists(const struct config_route *route)
{
	return list_how(route) != HOP_MX;
}

/* BEFORE is the route without the hop that ROUTE now has as its target. */
static void list_join(struct arena *arena, const struct config_route *before,
		      struct config_route *route, uint64_t weight)
{
	struct bytes to = {0}, target = {0};
	struct text first = before->to;
	uint64_t first_weight;

	bytes_add(&to, before->to.data, before->to.len);
	bytes_add(&to, ", ", 2);
	bytes_add(&to, route->to.data, route->to.len);
	route->to = keep(arena, (const char *)bytes_at(&to), bytes_len(&to));
	if (target_is_list(before->target)) {
		bytes_add(&target, before->target.data, before->target.len);
	} else {
		weight_take(&first, &first_weight);
		item_add(&target, before, first_weight);
	}
	bytes_add(&target, ",", 1);
	item_add(&target, route, weight);
	route->target = keep(arena, (const char *)bytes_at(&target), bytes_len(&target));
	route->port = before->port;
	route->how = list_how(route);
	bytes_free(&to);
	bytes_free(&target);
}

bool route_to_add(const struct token *word, struct arena *arena, struct config_errors *errors,
		  struct config_route *route)
{
	const struct config_route before = *route;
	struct token bare = *word;
	uint64_t weight;
	char name[SHOWN_BYTES];

	if (!weight_take(&bare.text, &weight))
		return WRONG(word, "to: \"%s\": a weight is a number from 1 to %d",
			     shown(name, word->text), NEXT_HOP_WEIGHT_MAX);
	route->to = keep(arena, word->text.data, word->text.len);
	if (!route_to_read(&bare, arena, errors, route))
		return false;
	if (weight && !is_of_lists(route))
		return WRONG(word,
			     "to: \"%s\": only smtp:HOST, smtps:HOST and lmtp:HOST have a weight",
			     shown(name, word->text));
	if (!before.to.len || !before.target.len)
		return before.to.len == 0 || WRONG(word, "to: several next hops are all smtp:HOST, "
							 "all smtps:HOST, or all lmtp:HOST");
	if (!is_of_lists(&before) || !is_of_lists(route) || list_how(&before) != list_how(route))
		return WRONG(
		    word,
		    "to: several next hops are all smtp:HOST, all smtps:HOST, or all lmtp:HOST");
	list_join(arena, &before, route, weight);
	if (route->target.len > NEXT_HOPS_BYTES)
		return WRONG(word, "to: the next hops are more than %d bytes", NEXT_HOPS_BYTES);

	struct next_hops hops = next_hops_of(route->target);
	struct next_hop hop;

	while (next_hops_next(&hops, &hop))
		;
	return !hops.rest.len || WRONG(word, "to: more than %d next hops", NEXT_HOPS_MAX);
}
