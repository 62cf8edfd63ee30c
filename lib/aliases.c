/* SPDX-License-Identifier: ISC */
/* An aliases file in memory. */
#include "aliases.h"

#include "file.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 320 };

struct entry {
	struct text name, list;
	uint32_t line;
	bool broken;
};

struct aliases {
	struct bytes content;
	struct entry *entries; /* sorted by name, then by line */
	size_t count, size;
};

struct reader {
	struct aliases *to;
	table_fault *fault;
	void *owner;
	unsigned faults;
};

static void say(struct reader *r, uint32_t line, const char *what)
{
	if (r->fault && r->faults++ < TABLE_FAULTS_MAX)
		r->fault(r->owner, line, what);
}

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int d = text_order_case(x->name, y->name);

	return d ? d : (x->line > y->line) - (x->line < y->line);
}

static void entry_add(struct reader *r, const struct entry *e)
{
	struct aliases *to = r->to;

	if (to->count == to->size) {
		to->size = to->size ? to->size * 2 : 64;
		to->entries = mem_resize(to->entries, to->size, sizeof *to->entries);
	}
	to->entries[to->count++] = *e;
}

/* Each item now, so that a fault is known before mail comes. */
static void entry_check(struct reader *r, struct entry *e)
{
	struct alias_item item;
	struct text list = e->list;
	const char *why = NULL;
	enum alias_next next;
	bool any = false;

	while ((next = alias_next(&list, false, &item, &why)) != ALIAS_END) {
		any = true;
		if (next == ALIAS_ITEM)
			continue;
		e->broken = true;
		say(r, e->line, why);
	}
	if (any)
		return;
	e->broken = true;
	say(r, e->line, "nothing stands behind the name");
}

/* LINE is a logical one: its continuations are in it. */
static void read_line(struct reader *r, struct text line, uint32_t number)
{
	struct entry e = {.line = number};
	size_t i = 0;

	if (line.data[0] == '"') {
		for (i = 1; i < line.len && line.data[i] != '"' && line.data[i] != '\n'; i++)
			;
		e.name = (struct text){line.data + 1, i - 1};
		i = i < line.len && line.data[i] == '"' ? i + 1 : line.len;
	} else {
		while (i < line.len && line.data[i] != ':' && line.data[i] != '\n')
			i++;
		e.name = text_trim((struct text){line.data, i});
	}
	while (i < line.len && (line.data[i] == ' ' || line.data[i] == '\t'))
		i++;
	if (i >= line.len || line.data[i] != ':') {
		say(r, number, "no colon behind the name");
		return;
	}
	if (!e.name.len || e.name.len > NAME_MAX_BYTES) {
		say(r, number, "no name");
		return;
	}
	if (text_find(e.name, '@') >= 0)
		say(r, number, "a name with a domain: it never counts");
	e.list = (struct text){line.data + i + 1, line.len - i - 1};
	entry_check(r, &e);
	entry_add(r, &e);
}

static size_t line_end(struct text t, size_t at)
{
	while (at < t.len && t.data[at] != '\n')
		at++;
	return at < t.len ? at + 1 : at;
}

/* A line goes on over those that begin with a blank; comments between them are no end. */
static size_t logical_end(struct text t, size_t at)
{
	size_t end = line_end(t, at);

	for (size_t next = end; next < t.len; next = line_end(t, next)) {
		if (t.data[next] == ' ' || t.data[next] == '\t')
			end = line_end(t, next);
		else if (t.data[next] != '#')
			break;
	}
	return end;
}

static uint32_t count_lines(struct text t)
{
	uint32_t n = 0;

	for (size_t i = 0; i < t.len; i++)
		n += t.data[i] == '\n';
	return n;
}

static void read_all(struct reader *r, struct text t)
{
	uint32_t number = 1;

	for (size_t at = 0; at < t.len;) {
		char c = t.data[at];
		size_t end = c == '#' || c == '\n' ? line_end(t, at) : logical_end(t, at);
		struct text line = {t.data + at, end - at};
		bool empty = true;

		for (size_t i = 0; i < line.len && empty; i++)
			empty = strchr(" \t\r\n", line.data[i]) != NULL && line.data[i];
		if (c == '#' || empty)
			;
		else if (c == ' ' || c == '\t')
			say(r, number, "goes on with a line that is not there");
		else
			read_line(r, line, number);
		number += count_lines(line);
		at = end;
	}
}

static void sort(struct reader *r)
{
	struct aliases *to = r->to;

	if (to->count)
		qsort(to->entries, to->count, sizeof *to->entries, compare_entries);
	for (size_t i = 1; i < to->count; i++)
		if (text_order_case(to->entries[i - 1].name, to->entries[i].name) == 0)
			say(r, to->entries[i].line, "the name stands twice: the first one counts");
}

struct aliases *aliases_read(struct bytes *content, table_fault *fault, void *owner)
{
	struct aliases *to = mem_new(1, sizeof *to);
	struct reader r = {to, fault, owner, 0};

	to->content = *content;
	*content = (struct bytes){0};
	read_all(&r, bytes_text(&to->content));
	sort(&r);
	return to;
}

/* The octets of all names and lists are one piece; while it grows, entries have their places. */
static void take_entries(struct reader *r, const struct table_kind *kind, const void *table)
{
	struct bytes *content = &r->to->content, value = {0};
	struct text key;

	for (size_t at = 0; kind->next(table, &at, &key, &value);) {
		struct entry e = {.name = {NULL, key.len}, .list = {NULL, bytes_len(&value)}};

		/* Sendmail's mark of a file that is whole, "@", is no name. */
		if (!key.len || key.len > NAME_MAX_BYTES || text_equals(key, "@"))
			continue;
		bytes_add(content, key.data, key.len);
		bytes_add(content, bytes_at(&value), bytes_len(&value));
		entry_add(r, &e);
	}
	const char *from = (const char *)bytes_at(content);

	for (size_t i = 0; i < r->to->count; i++) {
		struct entry *e = &r->to->entries[i];

		e->name.data = from;
		e->list.data = from + e->name.len;
		from = e->list.data + e->list.len;
		entry_check(r, e);
	}
	bytes_free(&value);
}

struct aliases *aliases_read_table(struct text table, struct bytes *content, table_fault *fault,
				   void *owner)
{
	enum table_type type;
	struct text path;

	if (!table_parse(table, &type, &path) || type == TABLE_TEXT)
		return aliases_read(content, fault, owner);
	const struct table_kind *kind = table_kind_of(table, &path);
	void *read = kind->read(content, fault, owner);
	struct reader r = {NULL, fault, owner, 0};

	bytes_free(content);
	if (!read)
		return NULL;
	r.to = mem_new(1, sizeof *r.to);
	take_entries(&r, kind, read);
	kind->free(&read);
	sort(&r);
	return r.to;
}

void aliases_free(struct aliases **aliases)
{
	if (!*aliases)
		return;
	bytes_free(&(*aliases)->content);
	free((*aliases)->entries);
	free(*aliases);
	*aliases = NULL;
}

enum aliases_found aliases_find(const struct aliases *a, struct text name, struct text *list)
{
	size_t low = 0, high = a->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (text_order_case(a->entries[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == a->count || text_order_case(a->entries[low].name, name) != 0)
		return ALIASES_ABSENT;
	*list = a->entries[low].list;
	return a->entries[low].broken ? ALIASES_BROKEN : ALIASES_FOUND;
}

size_t aliases_count(const struct aliases *aliases)
{
	return aliases->count;
}

bool aliases_next(const struct aliases *a, size_t *at, struct text *name, struct text *list)
{
	size_t i = *at;

	/* The first one of a name counts. */
	while (i && i < a->count &&
	       text_order_case(a->entries[i - 1].name, a->entries[i].name) == 0)
		i++;
	if (i >= a->count)
		return false;
	*name = a->entries[i].name;
	*list = a->entries[i].list;
	*at = i + 1;
	return true;
}

/* The content of TABLE's file; false with errno. */
static bool file_read(struct text table, size_t most, struct bytes *content)
{
	char file[TABLE_FILE_BYTES];
	struct stat st = {0};

	if (!table_file(table, file)) {
		errno = EINVAL;
		return false;
	}
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return false;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > most) {
		errno = S_ISREG(st.st_mode) ? EFBIG : S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		close(fd);
		return false;
	}
	if (!st.st_size) {
		close(fd);
	} else if (!file_take(fd, (size_t)st.st_size, content)) {
		errno = EAGAIN; /* it was changed just now */
		return false;
	}
	return true;
}

struct aliases *aliases_load(struct text table, size_t most, table_fault *fault, void *owner)
{
	struct bytes content = {0};

	if (!file_read(table, most, &content))
		return NULL;
	struct aliases *a = aliases_read_table(table, &content, fault, owner);

	if (!a)
		errno = EBADMSG;
	return a;
}

/* -- patterns ------------------------------------------------------------------------- */

const char *alias_pattern_fault(struct text list)
{
	struct alias_item item;
	const char *why;
	bool any = false;

	for (;; any = true)
		switch (alias_next(&list, false, &item, &why)) {
		case ALIAS_END:
			return any ? NULL : "nothing stands behind the pattern";
		case ALIAS_FAULT:
			return why;
		case ALIAS_ITEM:
			if (item.kind != ALIAS_ADDRESS && item.kind != ALIAS_OWN)
				return "no command, file or list may stand behind a pattern";
			break;
		}
}

ptrdiff_t alias_patterns_check(struct text table, size_t most, table_fault *fault, void *owner)
{
	struct bytes content = {0}, value = {0};
	struct text path, key;
	const struct table_kind *kind = table_kind_of(table, &path);
	ptrdiff_t count = 0;
	unsigned faults = 0;

	if (!kind || !file_read(table, most, &content))
		return -1;
	void *read = kind->read(&content, fault, owner);

	bytes_free(&content);
	if (!read) {
		errno = EBADMSG;
		return -1;
	}
	for (size_t at = 0; kind->next(read, &at, &key, &value); count++) {
		const char *why = table_plain_fault(kind, bytes_text(&value));

		if (!why)
			why = alias_pattern_fault(bytes_text(&value));
		if (why && faults++ < TABLE_FAULTS_MAX)
			fault(owner, kind->line(read, key), why);
	}
	bytes_free(&value);
	kind->free(&read);
	return count;
}
