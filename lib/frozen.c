/* SPDX-License-Identifier: ISC */
/* Sorted names of at most FROZEN_MOST logins. */
#include "frozen.h"

#include "mem.h"

#include <stdlib.h>

struct frozen {
	char **names; /* each owned */
	size_t count;
	bool known;
};

struct frozen *frozen_new(void)
{
	return mem_new(1, sizeof(struct frozen));
}

static void forget(struct frozen *f)
{
	for (size_t i = 0; i < f->count; i++)
		free(f->names[i]);
	free(f->names);
	f->names = NULL;
	f->count = 0;
}

void frozen_free(struct frozen **f)
{
	if (!*f)
		return;
	forget(*f);
	free(*f);
	*f = NULL;
}

static int by_name(const void *a, const void *b)
{
	return text_order_case(text_of(*(char *const *)a), text_of(*(char *const *)b));
}

void frozen_take(struct frozen *f, struct wire_list logins)
{
	struct rec_frozen_login login;

	forget(f);
	f->known = true;
	f->names = mem_new(logins.count + 1, sizeof(char *));
	while (list_next_frozen_login(&logins, &login))
		if (login.frozen)
			f->names[f->count++] = mem_copy(login.login.data, login.login.len);
	qsort(f->names, f->count, sizeof(char *), by_name);
}

bool frozen_has(const struct frozen *f, struct text login)
{
	size_t low = 0, high = f->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = text_order_case(text_of(f->names[middle]), login);

		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

size_t frozen_count(const struct frozen *f)
{
	return f->count;
}

bool frozen_known(const struct frozen *f)
{
	return f->known;
}
