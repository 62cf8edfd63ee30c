/* SPDX-License-Identifier: ISC */
/*
 * Entries of the table sender-routes. What is taken has one or both of its
 * words, each once, and names what there is, as the configuration has it.
 */
#include "must.h"
#include "sender_find.h"
#include "table_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct config *configuration(void)
{
	static struct config *config;
	struct config_errors errors = {0};

	if (!config)
		config = config_read((struct text)TEXT("source a { ipv4 = 192.0.2.1 }\n"
						       "pool out { sources = { a } }\n"
						       "route @big { to = smtp:relay.example }\n"),
				     &errors);
	config_errors_free(&errors);
	must(config);
	return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct config *config = configuration();
	struct text words = {(const char *)data, size}, left = words, word;
	struct sender_choice choice;
	char why[SENDER_WHY_BYTES] = "";
	size_t count = 0;

	if (!sender_words_read(config, words, &choice, why)) {
		must(*why);
		return 0;
	}
	while (table_word_next(&left, &word))
		count++;
	must(count == (choice.source.len > 0) + (size_t)(choice.route.len > 0) && count);
	must(!choice.source.len || text_equals(choice.source, "a") ||
	     text_equals(choice.source, "out"));
	must(!choice.route.len || text_equals(choice.route, "@big"));
	return 0;
}
