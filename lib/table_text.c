/* SPDX-License-Identifier: ISC */
/* Reading and searching text tables. */
#include "table_text.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From the key's first octet to the last line that goes on with its value. */
struct entry {
	uint32_t from, to;
};

struct table_text {
	struct bytes content;
	struct entry *entries; /* sorted by key, then by place */
	size_t count, room;
};

struct reading {
	struct table_text *table;
	table_fault *fault;
	void *owner;
	uint32_t line;
	unsigned faults;
};

static void wrong(struct reading *r, uint32_t line, const char *what)
{
	if (r->faults++ < TABLE_FAULTS_MAX && r->fault)
		r->fault(r->owner, line, what);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The line that begins at *AT, without its end; *AT moves behind it. */
static struct text line_take(struct text all, size_t *at)
{
	const char *from = all.data + *at, *lf = memchr(from, '\n', all.len - *at);
	size_t len = lf ? (size_t)(lf - from) : all.len - *at;

	*at += len + (lf != NULL);
	if (len && from[len - 1] == '\r')
		len--;
	return (struct text){from, len};
}

static bool is_skipped(struct text line)
{
	struct text t = text_trim(line);

	return !t.len || t.data[0] == '#';
}

static size_t key_length(struct text line)
{
	size_t n = 0;

	while (n < line.len && !is_blank(line.data[n]))
		n++;
	return n;
}

static const char *line_fault(const struct reading *r, struct text line, bool goes_on)
{
	for (size_t i = 0; i < line.len; i++) {
		unsigned char c = (unsigned char)line.data[i];

		if ((c < ' ' && c != '\t') || c == 127)
			return "a control character";
	}
	if (!text_is_utf8(line))
		return "no UTF-8";
	if (goes_on)
		return r->table->count ? NULL : "a blank at its beginning, and no line to go on";
	size_t key = key_length(line);

	if (key > TABLE_KEY_MAX)
		return "a key of more than 512 characters";
	/* Of "key # words", too, nothing would be left. */
	return is_skipped((struct text){line.data + key, line.len - key}) ? "a key without a value"
									  : NULL;
}

static void entry_add(struct table_text *t, size_t from, size_t to)
{
	if (t->count == t->room) {
		t->room = t->room ? t->room * 2 : 64;
		t->entries = mem_resize(t->entries, t->room, sizeof *t->entries);
	}
	t->entries[t->count++] = (struct entry){(uint32_t)from, (uint32_t)to};
}

static struct text content_of(const struct table_text *t)
{
	return bytes_text(&t->content);
}

static void read_lines(struct reading *r)
{
	struct table_text *t = r->table;
	struct text all = content_of(t);

	for (size_t at = 0; at < all.len;) {
		struct text line = line_take(all, &at);
		bool goes_on = line.len && is_blank(line.data[0]);
		size_t from = (size_t)(line.data - all.data);

		r->line++;
		if (is_skipped(line) && !memchr(line.data, '\0', line.len))
			continue;
		const char *what = line_fault(r, line, goes_on);

		if (what)
			wrong(r, r->line, what);
		else if (goes_on)
			t->entries[t->count - 1].to = (uint32_t)(from + line.len);
		else
			entry_add(t, from, from + line.len);
	}
}

static struct text entry_key(const struct table_text *t, const struct entry *e)
{
	struct text whole = {content_of(t).data + e->from, e->to - e->from};

	return (struct text){whole.data, key_length(whole)};
}

static int entry_compare(const void *a, const void *b, void *table)
{
	const struct entry *x = a, *y = b;
	int d = text_order_case(entry_key(table, x), entry_key(table, y));

	return d ? d : (x->from > y->from) - (x->from < y->from);
}

static uint32_t line_of(const struct table_text *t, size_t at)
{
	uint32_t line = 1;

	for (size_t i = 0; i < at; i++)
		line += content_of(t).data[i] == '\n';
	return line;
}

/* A value that could not be sent to who asks for it. */
static void check_lengths(struct reading *r)
{
	const struct table_text *t = r->table;
	size_t sum = 0;

	for (size_t i = 0; i < t->count && r->faults < TABLE_FAULTS_MAX; i++) {
		const struct entry *e = &t->entries[i];
		size_t len = e->to - e->from;

		if (!i || text_order_case(entry_key(t, e), entry_key(t, e - 1)) != 0)
			sum = 0;
		if (len > TABLE_VALUE_MAX - 1 || sum > TABLE_VALUE_MAX - 1 - len) {
			wrong(r, line_of(t, e->from), "a value of more than 16384 characters");
			sum = 0;
		} else {
			sum += len + 1;
		}
	}
}

struct table_text *table_text_read(struct bytes *content, table_fault *fault, void *owner)
{
	struct table_text *t = mem_new(1, sizeof *t);
	struct reading r = {.table = t, .fault = fault, .owner = owner};

	t->content = *content;
	*content = (struct bytes){0};
	if (bytes_len(&t->content) > UINT32_MAX / 2)
		wrong(&r, 1, "more than 2 GB");
	else
		read_lines(&r);
	if (!r.faults && t->count) {
		qsort_r(t->entries, t->count, sizeof *t->entries, entry_compare, t);
		check_lengths(&r);
	}
	if (r.faults)
		table_text_free(&t);
	return t;
}

void table_text_free(struct table_text **table)
{
	if (!*table)
		return;
	bytes_free(&(*table)->content);
	free((*table)->entries);
	free(*table);
	*table = NULL;
}

size_t table_text_count(const struct table_text *table)
{
	return table->count;
}

/* The value's lines without what stands between them. */
static void put_value(const struct table_text *t, const struct entry *e, struct bytes *value)
{
	struct text whole = {content_of(t).data + e->from, e->to - e->from};

	for (size_t at = key_length(whole); at < whole.len;) {
		struct text line = text_trim(line_take(whole, &at));

		if (is_skipped(line))
			continue;
		if (bytes_len(value))
			bytes_add(value, " ", 1);
		bytes_add(value, line.data, line.len);
	}
}

bool table_text_find(const struct table_text *table, struct text key, struct bytes *value)
{
	size_t low = 0, high = table->count, first;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (text_order_case(entry_key(table, &table->entries[middle]), key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (first = low; low < table->count; low++) {
		if (text_order_case(entry_key(table, &table->entries[low]), key) != 0)
			break;
		put_value(table, &table->entries[low], value);
	}
	return low > first;
}

bool table_text_next(const struct table_text *table, size_t *at, struct text *key,
		     struct bytes *value)
{
	if (*at >= table->count)
		return false;
	const struct entry *e = &table->entries[(*at)++];

	*key = entry_key(table, e);
	value->start = value->end = 0;
	put_value(table, e, value);
	return true;
}

uint32_t table_text_line(const struct table_text *table, struct text key)
{
	return line_of(table, (size_t)(key.data - content_of(table).data));
}

bool table_word_next(struct text *value, struct text *word)
{
	size_t from = 0, to;

	while (from < value->len && (is_blank(value->data[from]) || value->data[from] == ','))
		from++;
	for (to = from; to < value->len && !is_blank(value->data[to]) && value->data[to] != ',';)
		to++;
	*word = (struct text){value->data + from, to - from};
	*value = (struct text){value->data + to, value->len - to};
	return word->len > 0;
}
