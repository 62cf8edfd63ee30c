/* SPDX-License-Identifier: ISC */
/* Virtual domains: which there are, and what their tables may say. */
#include "config_virtual.h"

#include "config_value.h"

#include <stdlib.h>
#include <string.h>

enum { COMPONENT_MAX = 200 };

const struct config_virtual *config_mailboxes_of(const struct config *config, struct text domain)
{
	size_t low = 0, high = config->virtual_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int d = text_order_case(domain, config->virtuals[middle].label);

		if (!d)
			return &config->virtuals[middle];
		if (d < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* A path's component; the last one may be empty: "ann/" is a Maildir. */
static const char *component_fault(struct text c, bool last)
{
	if (!c.len)
		return last ? NULL : "it begins with /, or has // in it";
	if (c.data[0] == '.')
		return "a name in it begins with a dot";
	return c.len > COMPONENT_MAX ? "a name in it is too long" : NULL;
}

const char *virtual_path_fault(struct text path)
{
	const char *fault = NULL;

	if (!path.len || path.len > VIRTUAL_PATH_MAX)
		return path.len ? "it is too long" : "it is empty";
	for (size_t i = 0; i < path.len; i++)
		if ((unsigned char)path.data[i] <= ' ' || path.data[i] == 127)
			return "a blank or control character is in it";
	for (size_t from = 0; !fault && from <= path.len;) {
		const char *slash = memchr(path.data + from, '/', path.len - from);
		size_t end = slash ? (size_t)(slash - path.data) : path.len;

		/* Behind a / at the end stands an empty one; the first one is never empty. */
		fault = component_fault((struct text){path.data + from, end - from},
					from > 0 && end == path.len);
		from = end + 1;
	}
	return fault;
}

const char *virtual_value_read(struct text value, struct text *path, struct quota *quota)
{
	size_t end = 0;

	while (end < value.len && value.data[end] != ' ')
		end++;
	*path = (struct text){value.data, end};
	const char *fault = virtual_path_fault(*path);

	return fault ? fault : quota_read((struct text){value.data + end, value.len - end}, quota);
}

/* -- finishing -------------------------------------------------------------------------- */

static int compare_blocks(const void *a, const void *b)
{
	const struct config_virtual *x = a, *y = b;
	int d = text_order_case(x->label, y->label);

	return d ? d : (x->line > y->line) - (x->line < y->line);
}

static void finish_one(const struct config *config, struct config_virtual *v,
		       struct config_errors *errors)
{
	char word[SHOWN_BYTES];
	const char *why;

	if (!domain_read(v->label, config->arena, &v->label, &why)) {
		config_errors_add(errors, false, v->line, 1, "virtual: \"%s\" is no domain: %s",
				  shown(word, v->label), why);
		return;
	}
	/* There each address that the table does not have is refused, before one is looked up here.
	 */
	if (config_rewrites_all_of(config, v->label))
		config_errors_add(
		    errors, false, v->line, 1,
		    "virtual %s: rewrite { virtual-domains } has this domain, too: its "
		    "addresses are either rewritten or have mailboxes",
		    shown(word, v->label));
	/* Another route would take its mail elsewhere, and nobody would look into the table. */
	if (config_route(config, v->label)->kind != ROUTE_LOCAL)
		config_errors_add(errors, false, v->line, 1,
				  "virtual %s: its mail does not come here; add route %s { to = "
				  "local }",
				  shown(word, v->label), shown(word, v->label));
}

void config_virtual_finish(struct config *config, struct config_errors *errors)
{
	char word[SHOWN_BYTES];

	for (size_t i = 0; i < config->virtual_count; i++)
		finish_one(config, &config->virtuals[i], errors);
	if (config->virtual_count > 1)
		qsort(config->virtuals, config->virtual_count, sizeof *config->virtuals,
		      compare_blocks);
	for (size_t i = 1; i < config->virtual_count; i++) {
		const struct config_virtual *v = &config->virtuals[i];

		if (text_equal(v->label, v[-1].label))
			config_errors_add(errors, false, v->line, 1,
					  "virtual %s stands twice; the first is on line %u",
					  shown(word, v->label), v[-1].line);
	}
}
