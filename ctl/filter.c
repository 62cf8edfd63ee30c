/* SPDX-License-Identifier: ISC */
/* Filters: a row a key, with a function to read its value and one to judge it. */
#include "filter.h"

#include "config_value.h"
#include "nearest.h"
#include "queue_id.h"

#include <stdio.h>
#include <string.h>

static const char *const state_texts[STATE_COUNT] = {"ready", "deferred", "held", "report"};

const char *filter_state_text(enum filter_state state)
{
	return state < STATE_COUNT ? state_texts[state] : "?";
}

bool filter_glob(struct text pattern, struct text t)
{
	size_t p = 0, i = 0, star = SIZE_MAX, back = 0;

	while (i < t.len) {
		if (p < pattern.len && pattern.data[p] == '*') {
			star = p++;
			back = i;
		} else if (p < pattern.len &&
			   ascii_lower(pattern.data[p]) == ascii_lower(t.data[i])) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++back;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.data[p] == '*')
		p++;
	return p == pattern.len;
}

/* -- networks ---------------------------------------------------------------------- */

bool filter_network_read(struct text t, struct network *to, char *error, size_t size)
{
	static const struct setting_row row = {.name = "source", .type = TYPE_NETWORKS};
	struct token word = {.text = t};
	struct config_errors errors = {0};
	/* The configuration's own reader, so that both say the same of a /33. */
	bool good = value_read(&row, &word, NULL, &errors, to, NULL);

	if (!good)
		snprintf(error, size, "%s", errors.count ? errors.items[0].text : "no network");
	config_errors_free(&errors);
	return good;
}

bool filter_in_network(const struct network *network, struct text host)
{
	uint8_t address[16];
	ptrdiff_t open = text_find(host, '[');
	struct network one = *network;
	struct networks list = {.items = &one, .count = 1};

	if (open >= 0 && host.data[host.len - 1] == ']')
		host = (struct text){host.data + open + 1, host.len - (size_t)open - 2};
	return host_address_parse(host, address) && networks_contain(&list, address);
}

/* -- reading values; NULL: fine, else what was expected --------------------------- */

static const char *read_any(struct condition *c)
{
	return c->value.len ? NULL : "a value";
}

static const char *read_sender(struct condition *c)
{
	if (text_equals(c->value, "<>"))
		c->value = text_of("");
	else if (!c->value.len)
		return "an address, or <> for the null sender";
	return NULL;
}

static const char *read_age(struct condition *c)
{
	static const char *const wanted =
	    "an age as 2h+ (older) or 30m- (younger), in s, m, h or d";
	struct text t = c->value;
	uint64_t n;

	if (t.len < 3)
		return wanted;
	char sign = t.data[t.len - 1], unit = t.data[t.len - 2];
	int64_t factor = unit == 's'   ? 1
			 : unit == 'm' ? 60
			 : unit == 'h' ? 3600
			 : unit == 'd' ? 86400
				       : 0;

	if ((sign != '+' && sign != '-') || !factor ||
	    !text_number((struct text){t.data, t.len - 2}, 36500, &n))
		return wanted;
	c->older = sign == '+';
	c->age = SECONDS((int64_t)n * factor);
	return NULL;
}

/* A person copies what status shows, and would hear that there is no such mail. */
static const char *read_site(struct condition *c)
{
	struct text t = c->value;
	bool path = t.len && t.data[0] == '/', network = false;
	ptrdiff_t colon = text_find(t, ':');
	struct network of;
	char why[160];
	uint64_t port;

	if (!path && text_find(t, '/') > 0)
		network = filter_network_read(t, &of, why, sizeof why);
	bool has_port =
	    colon > 0 && text_number((struct text){t.data + colon + 1, t.len - (size_t)colon - 1},
				     UINT16_MAX, &port);

	if (!network &&
	    (!t.len || has_port || text_find(t, ' ') >= 0 || text_find(t, ',') >= 0 ||
	     (t.data[0] == '[' && t.data[t.len - 1] != ']') || (!path && text_find(t, '/') >= 0)))
		return "a host, an address or a site block, without the port, /LOGIN and source= "
		       "that status shows";
	return NULL;
}

static const char *read_state(struct condition *c)
{
	for (unsigned i = 0; i < STATE_COUNT; i++)
		if (text_equals(c->value, state_texts[i])) {
			c->state = (enum filter_state)i;
			return NULL;
		}
	return "ready, deferred, held or report";
}

static const char *read_id(struct condition *c)
{
	return queue_id_parse(c->value, &c->id) ? NULL : "a queue ID";
}

/* -- judging -------------------------------------------------------------------------- */

static bool is_sender(const struct condition *c, const struct filter_subject *s)
{
	return c->value.len ? s->sender.len && filter_glob(c->value, s->sender) : !s->sender.len;
}

static bool is_login(const struct condition *c, const struct filter_subject *s)
{
	return s->login.len && filter_glob(c->value, s->login);
}

static bool is_recipient(const struct condition *c, const struct filter_subject *s)
{
	return filter_glob(c->value, s->recipient);
}

static bool is_domain(const struct condition *c, const struct filter_subject *s)
{
	return domain_matches(c->value, s->domain) || filter_glob(c->value, s->domain);
}

static bool is_site(const struct condition *c, const struct filter_subject *s)
{
	return s->site && s->site(s->site_arg, s->domain, s->route, c->value);
}

/* The client is stored as name[address]: either part, or all of it. */
static bool is_source(const struct condition *c, const struct filter_subject *s)
{
	ptrdiff_t open = text_find(s->source, '[');

	if (c->network)
		return filter_in_network(&c->of, s->source);
	if (filter_glob(c->value, s->source))
		return s->source.len > 0;
	if (open < 0 || s->source.data[s->source.len - 1] != ']')
		return false;
	struct text name = {s->source.data, (size_t)open};
	struct text address = {s->source.data + open + 1, s->source.len - (size_t)open - 2};

	return (name.len && filter_glob(c->value, name)) || filter_glob(c->value, address);
}

static bool is_age(const struct condition *c, const struct filter_subject *s)
{
	return c->older ? s->age.us > c->age.us : s->age.us < c->age.us;
}

static bool is_state(const struct condition *c, const struct filter_subject *s)
{
	return s->state == c->state;
}

static bool contains(struct text whole, struct text part)
{
	for (size_t i = 0; part.len <= whole.len && i <= whole.len - part.len; i++)
		if (text_equal_case(part, (struct text){whole.data + i, part.len}))
			return true;
	return false;
}

static bool has_reply(const struct condition *c, const struct filter_subject *s)
{
	return contains(s->reply, c->value) || contains(s->waits, c->value);
}

static bool is_id(const struct condition *c, const struct filter_subject *s)
{
	return c->id == s->id;
}

static const struct {
	const char *name;
	const char *(*read)(struct condition *c);
	bool (*holds)(const struct condition *c, const struct filter_subject *s);
} keys[FILTER_KEYS] = {
    [FILTER_SENDER] = {"sender", read_sender, is_sender},
    [FILTER_LOGIN] = {"login", read_any, is_login},
    [FILTER_RECIPIENT] = {"recipient", read_any, is_recipient},
    [FILTER_DOMAIN] = {"domain", read_any, is_domain},
    [FILTER_SITE] = {"site", read_site, is_site},
    [FILTER_SOURCE] = {"source", read_any, is_source},
    [FILTER_AGE] = {"age", read_age, is_age},
    [FILTER_STATE] = {"state", read_state, is_state},
    [FILTER_REPLY] = {"reply", read_any, has_reply},
    [FILTER_ID] = {"id", read_id, is_id},
};

static bool unknown_key(struct text name, char *error, size_t size)
{
	const char *names[FILTER_KEYS];
	char word[64];

	for (unsigned i = 0; i < FILTER_KEYS; i++)
		names[i] = keys[i].name;
	const char *near = nearest_name(name, names, FILTER_KEYS);

	text_printable(word, sizeof word, name);
	if (near)
		snprintf(error, size, "unknown key \"%s\" in the filter; did you mean %s=?", word,
			 near);
	else
		snprintf(
		    error, size,
		    "unknown key \"%s\" in the filter: sender, login, recipient, domain, site, "
		    "source, age, state, reply, id",
		    word);
	return false;
}

bool filter_add(struct filter *filter, const char *word, char *error, size_t size)
{
	struct text t = text_of(word), name;
	ptrdiff_t equals = text_find(t, '=');
	char shown[64];

	text_printable(shown, sizeof shown, t);
	if (equals <= 0) {
		snprintf(error, size,
			 "\"%s\" is no KEY=VALUE of a filter, such as domain=example.com", shown);
		return false;
	}
	if (filter->count == FILTER_MAX || t.len > FILTER_VALUE_MAX) {
		snprintf(error, size, "the filter is too long");
		return false;
	}
	name = (struct text){t.data, (size_t)equals};
	for (unsigned i = 0; i < FILTER_KEYS; i++) {
		if (!text_equals(name, keys[i].name))
			continue;
		struct condition c = {.key = (enum filter_key)i,
				      .value = {t.data + equals + 1, t.len - (size_t)equals - 1}};

		c.network = c.key == FILTER_SOURCE && text_find(c.value, '/') >= 0;
		if (c.network && !filter_network_read(c.value, &c.of, error, size))
			return false;
		const char *wanted = keys[i].read(&c);

		if (wanted) {
			snprintf(error, size, "\"%s\": %s= takes %s", shown, keys[i].name, wanted);
			return false;
		}
		filter->items[filter->count++] = c;
		return true;
	}
	return unknown_key(name, error, size);
}

unsigned filter_keys(const struct filter *filter)
{
	unsigned set = 0;

	for (size_t i = 0; i < filter->count; i++)
		set |= FILTER_BIT(filter->items[i].key);
	return set;
}

bool filter_matches(const struct filter *filter, unsigned set, const struct filter_subject *s)
{
	for (size_t i = 0; i < filter->count; i++) {
		const struct condition *c = &filter->items[i];

		if ((set & FILTER_BIT(c->key)) && !keys[c->key].holds(c, s))
			return false;
	}
	return true;
}
