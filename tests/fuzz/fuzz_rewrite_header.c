/* SPDX-License-Identifier: ISC */
/*
 * Header blocks rewritten: the first byte picks rules, the rest is a header block. What goes out
 * has the fields that came, in their order, but for those that were to be taken off and the one in
 * front; what is no field of addresses, or is signed, is as it was.
 */
#include "header.h"
#include "mem.h"
#include "must.h"
#include "rewrite_header.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 20 };

static struct config *make_config(uint8_t choice)
{
	static const char masquerade[] =
	    "hostname = mx.test\nheader smtp { masquerade = { x.org b.x.org } "
	    "masquerade-except = { root } }\n";
	static const char *const rules[] = {
	    masquerade,
	    "hostname = mx.test\nheader smtp { remove = { X-A Subject } }\n",
	    "hostname = mx.test\nheader smtp { add = { \"X-B: new\" } remove = { X-A } }\n",
	    "hostname = mx.test\nheader smtp { }\n",
	};
	struct config_errors errors = {0};
	struct config *config = config_read(text_of(rules[choice & 3]), &errors);

	must(config);
	config_errors_free(&errors);
	return config;
}

static bool is_removed(const struct config_header *rules, struct text name)
{
	for (size_t i = 0; i < rules->remove.count; i++)
		if (text_equal_case(rules->remove.items[i], name))
			return true;
	return false;
}

static void compare(const struct config_header *rules, struct text before, struct text after)
{
	struct header_field old, new;

	if (rules->add.count && text_starts_case(after, "X-B: new\r\n"))
		must(header_next(&after, &new));
	while (header_next(&after, &new)) {
		do
			must(header_next(&before, &old));
		while (!text_equal(old.name, new.name) && is_removed(rules, old.name));
		must(text_equal(old.name, new.name));
		if (text_starts_case(old.name, "X-") || text_starts_case(old.name, "Subject"))
			must(text_equal(old.whole, new.whole));
	}
	while (header_next(&before, &old))
		must(is_removed(rules, old.name));
	must(text_equal(before, after));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct header_address items[MOST];
	struct header_addresses list = {items, 0, MOST};

	/* A first line that goes on with nothing is no header to the engine (lib/content.c). */
	if (!size || size > 20000 || (size > 1 && (data[1] == ' ' || data[1] == '\t')))
		return 0;
	struct config *config = make_config(data[0]);
	struct arena *arena = arena_new(1u << 20);
	struct text block = {(const char *)data + 1, size - 1};
	struct header_change change = {.addresses = &list,
				       .rules = &config->headers[0],
				       .line_most = 998,
				       .utf8 = (data[0] & 4) != 0};

	header_addresses_read(&list, block, arena);
	must(list.count <= MOST);
	for (size_t i = 0; i < list.count; i += 2)
		items[i].to = items[i].sender ? text_of("new@y.org") : text_of("\"a b\"@h.b.x.org");
	header_change(&change, block);
	compare(change.rules, block, bytes_text(&change.header));
	bytes_free(&change.header);
	arena_free(&arena);
	config_drop(&config);
	return 0;
}
