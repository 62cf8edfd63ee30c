/* SPDX-License-Identifier: ISC */
/*
 * The filter language: any words end in a complaint of one line or in a
 * condition that can be judged. Lines of the input; the first ones are what
 * is judged (sender, login, source, recipient, domain, reply), the others words.
 */
#include "../../ctl/filter.h"
#include "must.h"
#include "queue_id.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS_MAX = FILTER_MAX + 2 };

static bool goes_to(void *arg, struct text domain, struct text route, struct text pattern)
{
	(void)route;
	(void)arg;
	return filter_glob(pattern, domain);
}

static struct text take_line(struct text *t)
{
	ptrdiff_t at = text_find(*t, '\n');
	size_t n = at < 0 ? t->len : (size_t)at;
	struct text line = {t->data, n};

	t->data += n + (at >= 0);
	t->len -= n + (at >= 0);
	return line;
}

static void check_id(struct text t)
{
	char again[QUEUE_ID_BYTES];
	uint64_t id, same;

	if (!queue_id_parse(t, &id))
		return;
	must(strlen(queue_id_print(id, again)) <= t.len);
	must(queue_id_parse(text_of(again), &same) && same == id);
}

static void add_word(struct filter *f, const char *word)
{
	size_t count = f->count;
	char error[512] = "";

	if (filter_add(f, word, error, sizeof error)) {
		must(f->count == count + 1 && !*error);
		return;
	}
	must(f->count == count && *error);
	for (const char *p = error; *p; p++)
		must((unsigned char)*p >= ' ' && *p != 0x7f);
}

static void judge(const struct filter *f, const struct filter_subject *s)
{
	bool all = filter_matches(f, filter_keys(f), s), each = true;

	for (unsigned key = 0; key < FILTER_KEYS; key++)
		each = filter_matches(f, FILTER_BIT(key), s) && each;
	must(all == each);
	must(filter_matches(f, 0, s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text t = {(const char *)data, size};
	struct filter_subject s = {.id = size, .age = SECONDS(7200), .site = goes_to};
	struct filter f = {0};
	char *words[WORDS_MAX];
	size_t count = 0;

	s.sender = take_line(&t);
	s.login = take_line(&t);
	s.source = take_line(&t);
	s.recipient = take_line(&t);
	s.domain = take_line(&t);
	s.reply = take_line(&t);
	s.state = (enum filter_state)(size % STATE_COUNT);
	must(filter_glob(text_of("*"), s.sender));
	must(strcmp(filter_state_text(s.state), "?") != 0);
	must(strcmp(filter_state_text(STATE_COUNT), "?") == 0);
	check_id(s.login);
	while (t.len && count < WORDS_MAX) {
		struct text line = take_line(&t);
		char *word = malloc(line.len + 1);

		must(word);
		text_copy(word, line.len + 1, line);
		words[count++] = word;
		add_word(&f, word);
	}
	judge(&f, &s);
	while (count)
		free(words[--count]);
	return 0;
}
