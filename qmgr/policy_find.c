/* SPDX-License-Identifier: ISC */
/* Asking the table of TLS policies, from the most exact key on. */
#include "policy_find.h"

#include "mem.h"
#include "policy_row.h"
#include "route_tls.h"

#include <stdlib.h>

struct policy_find {
	struct lookups *lookups;
	struct lookup *lookup;
	struct config *config; /* the one that it began with */
	const struct config_route *route;
	struct text key; /* within name: what is asked for */
	policy_done *done;
	void *arg;
	bool stepping, ended, again;
	char name[256];
};

bool policy_has_table(const struct config *config, const struct config_route *route)
{
	/* What a login may be said to is the route's to tell. */
	/* And what is said of a destination is not said of the relay that a sender has. */
	if (route_is_lost(route) || (route_is_named(route) && route->how != HOP_MX))
		return false;
	return config->tls_policies.len && route->kind == ROUTE_HOP && !route->login.len &&
	       (route->how == HOP_MX || route->how == HOP_HOST || route->how == HOP_LITERAL ||
		route->how == HOP_SMTPS);
}

static void find_free(struct policy_find *f)
{
	lookup_cancel(&f->lookup);
	config_drop(&f->config);
	free(f);
}

void policy_find_cancel(struct policy_find **find)
{
	if (*find)
		find_free(*find);
	*find = NULL;
}

static void find_end(struct policy_find *f, const struct policy_found *found)
{
	f->ended = true;
	f->done(f->arg, found);
	if (!f->stepping)
		find_free(f);
}

static void find_failed(struct policy_find *f, const char *why)
{
	find_end(f, &(struct policy_found){.verdict = TABLE_FAILED, .key = f->key, .why = why});
}

/* From "a.b.c" to ".b.c", ".c" and "*"; false: there is no further one. */
static bool key_shorten(struct policy_find *f)
{
	struct text t = f->key;

	if (text_equals(t, "*"))
		return false;
	while (t.len) {
		t.data++;
		t.len--;
		if (t.len && t.data[0] == '.')
			break;
	}
	f->key = t.len ? t : (struct text)TEXT("*");
	return true;
}

/* Is the route, which has a policy of its own, more exact than KEY? */
static bool route_is_closer(const struct policy_find *f)
{
	struct text label = f->route->label;

	if (f->route->tls == POLICY_DEFAULT || text_equals(label, "*"))
		return false;
	/* It is in the place of route *, and closer than what is said to all. */
	if (route_is_named(f->route))
		return text_equals(f->key, "*");
	return text_equals(f->key, "*") || (f->key.data[0] == '.' && label.data[0] != '.') ||
	       (f->key.data[0] == '.' && label.len > f->key.len);
}

static void find_take(struct policy_find *f, struct text words)
{
	char why[POLICY_WHY_BYTES];
	struct policy_row *row = policy_row_new(f->route, words, why);

	if (!row) {
		find_failed(f, why);
		return;
	}
	struct policy_found found = {.verdict = TABLE_FOUND,
				     .key = f->key,
				     .words = words,
				     .names_domain = route_names_domain(policy_row_route(row))};

	find_end(f, &found);
	policy_row_drop(&row);
}

static void find_answer(void *owner, uint8_t verdict, struct text value);

/* An answer may come from within, so the questions are a loop and no recursion. */
static void find_step(struct policy_find *f)
{
	f->stepping = true;
	do {
		f->again = false;
		f->lookup = lookup_ask(f->lookups, f->config->tls_policies, f->key, find_answer, f);
	} while (f->again && !f->ended);
	f->stepping = false;
}

static void find_answer(void *owner, uint8_t verdict, struct text value)
{
	struct policy_find *f = owner;

	f->lookup = NULL;
	if (verdict == TABLE_FOUND) {
		find_take(f, value);
	} else if (verdict != TABLE_ABSENT) {
		find_failed(f, "the table can't be read");
	} else if (!key_shorten(f) || route_is_closer(f)) {
		find_end(f, &(struct policy_found){.verdict = TABLE_ABSENT});
	} else if (f->stepping) {
		f->again = true;
	} else {
		find_step(f);
		if (f->ended)
			find_free(f);
	}
}

struct policy_find *policy_find_start(struct lookups *lookups, const struct config *config,
				      const struct config_route *route, struct text domain,
				      policy_done *done, void *arg)
{
	struct policy_find *f = mem_new(1, sizeof *f);

	f->lookups = lookups;
	f->config = config_keep(config);
	f->route = route;
	f->done = done;
	f->arg = arg;
	text_copy(f->name, sizeof f->name, domain);
	f->key = text_of(f->name);
	find_step(f);
	if (!f->ended)
		return f;
	find_free(f);
	return NULL;
}
