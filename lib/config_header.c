/* SPDX-License-Identifier: ISC */
/* The header blocks and rewrite, when all of the configuration is known. */
#include "config_finish.h"
#include "config_value.h"
#include "rewrite_header.h"

enum { RULES_MAX = 64 };

const struct config_header *config_header(const struct config *config, enum handle_role role)
{
	for (size_t i = 0; i < config->header_count; i++)
		if (config->headers[i].role == role)
			return &config->headers[i];
	return NULL;
}

static void check_rules(const struct config_header *h, const struct texts *rules, bool add,
			struct config_errors *errors)
{
	char word[SHOWN_BYTES];

	if (rules->count > RULES_MAX)
		config_errors_add(errors, false, h->line, 1, "header %s: %s has more than %d",
				  shown(word, h->label), add ? "add" : "remove", RULES_MAX);
	for (size_t i = 0; i < rules->count; i++) {
		const char *why = header_rule_fault(rules->items[i], add);

		if (why)
			config_errors_add(errors, false, h->line, 1, "header: %s: \"%s\" is %s",
					  add ? "add" : "remove", shown(word, rules->items[i]),
					  why);
	}
}

void config_headers_finish(struct config *config, struct config_errors *errors)
{
	static const struct text kinds[] = {TEXT("local"), TEXT("smtp"), TEXT("submission"),
					    TEXT("submissions")};
	char word[SHOWN_BYTES];

	for (size_t i = 0; i < config->header_count; i++) {
		struct config_header *h = &config->headers[i];
		unsigned kind = 0;

		while (kind < 4 && !text_equal(h->label, kinds[kind]))
			kind++;
		if (kind == 4)
			config_errors_add(
			    errors, false, h->line, 1,
			    "header: \"%s\" is none of smtp, submission, submissions, local",
			    shown(word, h->label));
		h->role = (enum handle_role)kind;
		for (size_t j = 0; j < i; j++)
			if (text_equal(config->headers[j].label, h->label))
				config_errors_add(errors, false, h->line, 1,
						  "header %s stands twice; the first is on line %u",
						  shown(word, h->label), config->headers[j].line);
		for (size_t j = 0; j < h->masquerade.count; j++)
			if (h->masquerade.items[j].data[0] == '.' ||
			    h->masquerade.items[j].data[0] == '*')
				config_errors_add(errors, false, h->line, 1,
						  "header: masquerade: \"%s\" is no plain name",
						  shown(word, h->masquerade.items[j]));
		check_rules(h, &h->remove, false, errors);
		check_rules(h, &h->add, true, errors);
	}
	if (config->rewrite_virtual_domains.count && !config->rewrite_virtual.len)
		config_errors_add(errors, false, 0, 0,
				  "rewrite: virtual-domains without virtual: nobody is there");
	config->rewrites = config->header_count || config->rewrite_canonical.len ||
			   config->rewrite_canonical_senders.len ||
			   config->rewrite_canonical_recipients.len ||
			   config->rewrite_virtual.len || config->rewrite_bcc.len ||
			   config->rewrite_bcc_senders.len || config->rewrite_bcc_recipients.len;
}
