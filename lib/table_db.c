/* SPDX-License-Identifier: ISC */
/* Pages of Berkeley DB, and the entries in them. */
#include "table_db.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum {
	META_BYTES = 72, /* what all kinds of first pages begin with */
	HASH_MAGIC = 0x061561,
	BTREE_MAGIC = 0x053162,
	HEADER_BYTES = 26, /* of a page, before the places of its items */
	OVERFLOW_BYTES = 12
};

/* Where things stand in the first page. */
enum {
	AT_MAGIC = 12,
	AT_VERSION = 16,
	AT_PAGE_SIZE = 20,
	AT_CIPHER = 24,
	AT_META_FLAGS = 26,
	AT_LAST_PAGE = 32,
	AT_PARTS = 36,
	AT_FLAGS = 48
};

/* And in all others. */
enum { AT_NUMBER = 8, AT_NEXT = 16, AT_ENTRIES = 20, AT_LENGTH = 22, AT_TYPE = 25 };

enum page_type {
	PAGE_FREE = 0,
	PAGE_HASH_UNSORTED = 2,
	PAGE_BTREE_INNER = 3,
	PAGE_BTREE_LEAF = 5,
	PAGE_OVERFLOW = 7,
	PAGE_HASH_META = 8,
	PAGE_BTREE_META = 9,
	PAGE_HASH = 13
};

enum { ITEM_KEYDATA = 1, ITEM_OVERFLOW = 3, ITEM_DELETED = 0x80 };

/* Text within the file; what runs over several pages is copied behind it, so 32 bits hold it. */
struct slice {
	uint32_t at, len;
};

struct entry {
	struct slice key, value;
};

struct table_db {
	struct bytes content; /* the file, then what was put together */
	struct entry *entries;
	size_t count, room;
};

struct reading {
	struct table_db *table;
	enum table_db_type type;
	uint32_t page_size, pages;
	uint32_t file;	/* its octets: nothing refers to what is behind them */
	uint32_t taken; /* of keys and values so far */
	const char *why;
};

static const uint8_t *file_at(const struct reading *r, size_t at)
{
	return r->table->content.data + at;
}

static uint32_t number16(const struct reading *r, size_t at)
{
	const uint8_t *p = file_at(r, at);

	return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t number32(const struct reading *r, size_t at)
{
	return number16(r, at) | number16(r, at + 2) << 16;
}

static bool wrong(struct reading *r, const char *why)
{
	if (!r->why)
		r->why = why;
	return false;
}

static bool is_power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

static bool check_kind(struct reading *r)
{
	uint32_t magic = number32(r, AT_MAGIC), version = number32(r, AT_VERSION);

	if (__builtin_bswap32(magic) == HASH_MAGIC || __builtin_bswap32(magic) == BTREE_MAGIC)
		return wrong(r, "of a machine with another byte order");
	if (magic != HASH_MAGIC && magic != BTREE_MAGIC)
		return wrong(r, "no Berkeley DB file of kind hash or btree");
	if (magic == BTREE_MAGIC && r->type == TABLE_DB_HASH)
		return wrong(r, "a btree, not a hash: its kind is btree:");
	if (magic == HASH_MAGIC && r->type == TABLE_DB_BTREE)
		return wrong(r, "a hash, not a btree: its kind is hash:");
	if (version < 8 || version > 10)
		return wrong(r, "of a version of Berkeley DB that is not known here");
	return true;
}

/* Of a hash bits 0 and 2 of its flags tell of keys that stand twice, 1 of several databases. */
static bool check_first(struct reading *r)
{
	static const uint32_t strange[] = {[TABLE_DB_HASH] = 0x7, [TABLE_DB_BTREE] = 0xff};

	if (r->file < META_BYTES)
		return wrong(r, r->file ? "cut off" : "empty");
	if (!check_kind(r))
		return false;
	r->page_size = number32(r, AT_PAGE_SIZE);
	if (r->page_size < 512 || r->page_size > 65536 || !is_power_of_two(r->page_size))
		return wrong(r, "damaged: the size of its pages");
	if (*file_at(r, AT_CIPHER) || *file_at(r, AT_META_FLAGS) || number32(r, AT_PARTS) ||
	    number32(r, AT_FLAGS) & strange[r->type])
		return wrong(r, "with checksums, ciphers, parts or keys that stand twice, which "
				"Postfix makes none of");
	r->pages = r->file / r->page_size;
	if (r->file % r->page_size || number32(r, AT_LAST_PAGE) >= r->pages)
		return wrong(r, "cut off");
	return true;
}

/* What is too long for a page: a chain of them, whose data is put behind the file. */
static bool chain_take(struct reading *r, uint32_t page, uint32_t len, struct slice *to)
{
	struct bytes *content = &r->table->content;

	if (len > TABLE_VALUE_MAX + 1)
		return wrong(r, "a key of more than 512 or a value of more than 16384 characters");
	*to = (struct slice){(uint32_t)content->end, 0};
	while (to->len < len) {
		size_t at = (size_t)page * r->page_size;

		if (page >= r->pages || *file_at(r, at + AT_TYPE) != PAGE_OVERFLOW)
			return wrong(r, "damaged: a long value has no end");
		uint32_t part = number16(r, at + AT_LENGTH);

		if (!part || part > r->page_size - HEADER_BYTES || part > len - to->len)
			return wrong(r, "damaged: the length of a long value");
		/* Two values may name one chain: what is put together is bounded as the file is. */
		if (content->end - r->file > r->file)
			return wrong(r, "damaged: long values share their pages");
		uint8_t *room = bytes_room(content, part);

		memcpy(room, file_at(r, at + HEADER_BYTES), part);
		content->end += part;
		to->len += part;
		page = number32(r, at + AT_NEXT);
	}
	return true;
}

/* The item in the octets [AT, AT + ROOM). */
static bool item_take(struct reading *r, size_t at, uint32_t room, bool *deleted, struct slice *to)
{
	bool hash = r->type == TABLE_DB_HASH;
	uint32_t head = hash ? 1 : 3;

	if (room < head)
		return wrong(r, "damaged: an item's place");
	uint8_t type = *file_at(r, at + (hash ? 0 : 2));
	uint32_t len = hash ? room - head : number16(r, at);

	*deleted = !hash && type & ITEM_DELETED;
	if (!hash)
		type &= (uint8_t)~ITEM_DELETED;
	if (type == ITEM_KEYDATA) {
		*to = (struct slice){(uint32_t)at + head, len};
		return len <= room - head || wrong(r, "damaged: an item's length");
	}
	if (type == ITEM_OVERFLOW && room >= OVERFLOW_BYTES)
		return chain_take(r, number32(r, at + 4), number32(r, at + 8), to);
	return wrong(r, "damaged: an item of no known type");
}

static struct text text_at(const struct table_db *t, struct slice s)
{
	return (struct text){(const char *)t->content.data + s.at, s.len};
}

static bool check_text(struct reading *r, struct slice *s, uint32_t most, const char *too_long)
{
	struct text t = text_at(r->table, *s);

	if (t.len && !t.data[t.len - 1])
		t.len = --s->len;
	if (t.len > most)
		return wrong(r, too_long);
	for (size_t i = 0; i < t.len; i++) {
		unsigned char c = (unsigned char)t.data[i];

		if ((c < ' ' && c != '\t') || c == 127)
			return wrong(r, "a control character in a key or a value");
	}
	return text_is_utf8(t) || wrong(r, "a key or a value that is no UTF-8");
}

static bool entry_add(struct reading *r, struct entry e)
{
	struct table_db *t = r->table;

	/* Items that lie upon each other would cost more than the file is long. */
	if (e.key.len > r->file - r->taken || e.value.len > r->file - r->taken - e.key.len)
		return wrong(r, "damaged: items lie upon each other");
	r->taken += e.key.len + e.value.len;
	if (!check_text(r, &e.key, TABLE_KEY_MAX, "a key of more than 512 characters") ||
	    !check_text(r, &e.value, TABLE_VALUE_MAX, "a value of more than 16384 characters"))
		return false;
	if (t->count == t->room) {
		t->room = t->room ? t->room * 2 : 64;
		t->entries = mem_resize(t->entries, t->room, sizeof *t->entries);
	}
	t->entries[t->count++] = e;
	return true;
}

/* The octets of item I of the page at AT: a hash has no lengths, an item ends where the one before
 * begins. */
static bool place_of(struct reading *r, size_t at, uint32_t entries, uint32_t i, size_t *from,
		     uint32_t *room)
{
	uint32_t places = HEADER_BYTES + 2 * entries, end = r->page_size;
	uint32_t place = number16(r, at + HEADER_BYTES + (size_t)2 * i);

	if (r->type == TABLE_DB_HASH && i)
		end = number16(r, at + HEADER_BYTES + (size_t)2 * (i - 1));
	if (place < places || place > end || end > r->page_size)
		return wrong(r, "damaged: an item's place");
	*from = at + place;
	*room = end - place;
	return true;
}

static bool leaf_read(struct reading *r, size_t at)
{
	uint32_t entries = number16(r, at + AT_ENTRIES);

	if (entries % 2 || entries > (r->page_size - HEADER_BYTES) / 2)
		return wrong(r, "damaged: the number of entries in a page");
	for (uint32_t i = 0; i < entries; i += 2) {
		struct entry e = {0};
		struct slice *parts[] = {&e.key, &e.value};
		bool deleted = false, gone = false;

		for (uint32_t j = 0; j < 2; j++) {
			size_t from;
			uint32_t room;

			if (!place_of(r, at, entries, i + j, &from, &room) ||
			    !item_take(r, from, room, &deleted, parts[j]))
				return false;
			gone = gone || deleted;
		}
		if (!gone && !entry_add(r, e))
			return false;
	}
	return true;
}

/* What hangs in no tree has been emptied by who took it out; so pages can be read in their order.
 */
static bool page_read(struct reading *r, uint32_t page)
{
	size_t at = (size_t)page * r->page_size;
	uint8_t type = *file_at(r, at + AT_TYPE);
	bool hash = r->type == TABLE_DB_HASH;

	if (type == PAGE_FREE)
		return true;
	if (number32(r, at + AT_NUMBER) != page)
		return wrong(r, "damaged: a page that is another's");
	if (type == PAGE_OVERFLOW || (!hash && type == PAGE_BTREE_INNER))
		return true;
	if (hash ? type == PAGE_HASH || type == PAGE_HASH_UNSORTED : type == PAGE_BTREE_LEAF)
		return leaf_read(r, at);
	return wrong(r, "damaged: a page of no known type");
}

static int entry_compare(const void *a, const void *b, void *table)
{
	const struct entry *x = a, *y = b;
	int d = text_order_case(text_at(table, x->key), text_at(table, y->key));

	return d ? d : (x->key.at > y->key.at) - (x->key.at < y->key.at);
}

struct table_db *table_db_read(enum table_db_type type, struct bytes *content, table_fault *fault,
			       void *owner)
{
	struct table_db *t = mem_new(1, sizeof *t);
	struct reading r = {.table = t, .type = type};
	size_t len = bytes_len(content);

	t->content = *content;
	*content = (struct bytes){0};
	if (t->content.start) {
		memmove(t->content.data, t->content.data + t->content.start, len);
		t->content.start = 0;
		t->content.end = len;
	}
	r.file = (uint32_t)len;
	if (len > UINT32_MAX / 4)
		wrong(&r, "more than 1 GB");
	else if (check_first(&r))
		for (uint32_t page = 1; page < r.pages && page_read(&r, page); page++)
			;
	if (r.why) {
		if (fault)
			fault(owner, 0, r.why);
		table_db_free(&t);
		return NULL;
	}
	if (t->count)
		qsort_r(t->entries, t->count, sizeof *t->entries, entry_compare, t);
	return t;
}

void table_db_free(struct table_db **table)
{
	if (!*table)
		return;
	bytes_free(&(*table)->content);
	free((*table)->entries);
	free(*table);
	*table = NULL;
}

bool table_db_find(const struct table_db *table, struct text key, struct bytes *value)
{
	size_t low = 0, high = table->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (text_order_case(text_at(table, table->entries[middle].key), key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == table->count ||
	    text_order_case(text_at(table, table->entries[low].key), key) != 0)
		return false;
	struct text found = text_at(table, table->entries[low].value);

	bytes_add(value, found.data, found.len);
	return true;
}

bool table_db_next(const struct table_db *table, size_t *at, struct text *key, struct bytes *value)
{
	if (*at >= table->count)
		return false;
	const struct entry *e = &table->entries[(*at)++];
	struct text found = text_at(table, e->value);

	*key = text_at(table, e->key);
	value->start = value->end = 0;
	bytes_add(value, found.data, found.len);
	return true;
}
