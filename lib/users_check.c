/* SPDX-License-Identifier: ISC */
/* Looking through a users file. */
#include "users_check.h"

#include "mem.h"
#include "passwd_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct name {
	struct text text;
	uint32_t line;
};

struct names {
	struct name *items;
	size_t count, room;
};

static int compare(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	int d = text_order_case(x->text, y->text);

	if (d)
		return d;
	return (x->line > y->line) - (x->line < y->line);
}

static void name_add(struct names *names, struct text text, uint32_t line)
{
	if (names->count == names->room) {
		names->room = names->room ? names->room * 2 : 64;
		names->items = mem_resize(names->items, names->room, sizeof *names->items);
	}
	names->items[names->count++] = (struct name){text, line};
}

static void lines_check(struct text content, struct names *names,
			void (*say)(void *arg, uint32_t line, size_t column, const char *why),
			void *arg)
{
	struct passwd_user user;
	struct text one;
	uint32_t number = 0;
	const char *why;

	while (passwd_next_line(&content, &one)) {
		enum passwd_kind kind = passwd_line_read(one, &user, &why);

		number++;
		if (kind == PASSWD_BROKEN)
			say(arg, number, user.fault_at + 1, why);
		else if (kind == PASSWD_USER)
			name_add(names, user.name, number);
	}
}

/* The first of a name is the user; sorted, it stands before the others. */
static void names_check(struct names *names,
			void (*say)(void *arg, uint32_t line, size_t column, const char *why),
			void *arg)
{
	size_t first = 0;
	char why[120];

	if (names->count)
		qsort(names->items, names->count, sizeof *names->items, compare);
	for (size_t i = 1; i < names->count; i++) {
		if (!passwd_same_name(names->items[i].text, names->items[first].text)) {
			first = i;
			continue;
		}
		snprintf(why, sizeof why,
			 "a user of that name stands on line %u; this line is ignored",
			 (unsigned)names->items[first].line);
		say(arg, names->items[i].line, 1, why);
	}
}

static const char *content_read(FILE *f, struct bytes *to)
{
	size_t n;

	do {
		n = fread(bytes_room(to, 65536), 1, 65536, f);
		to->end += n;
	} while (n && bytes_len(to) <= PASSWD_FILE_MAX);
	if (ferror(f))
		return strerror(errno);
	return n ? "too large" : NULL;
}

const char *users_check(const char *path,
			void (*say)(void *arg, uint32_t line, size_t column, const char *why),
			void *arg)
{
	struct bytes content = {0};
	struct names names = {0};
	struct stat st;
	FILE *f = fopen(path, "re");
	const char *why = f ? NULL : strerror(errno);

	if (f) {
		why = content_read(f, &content);
		if (!why) {
			lines_check(bytes_text(&content), &names, say, arg);
			names_check(&names, say, arg);
		}
		if (!why && fstat(fileno(f), &st) == 0 && st.st_mode & 077)
			why = "can be read or written by others than its owner; chmod 600";
		fclose(f);
	}
	free(names.items);
	if (content.data)
		explicit_bzero(content.data, content.size);
	bytes_free(&content);
	return why;
}
