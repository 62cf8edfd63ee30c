/* SPDX-License-Identifier: ISC */
/* Berkeley DB files as the library itself writes them, whole, cut off and damaged. */
#include "table_db.h"

#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <db.h>

enum { ENTRIES = 3000 };

struct shape {
	enum table_db_type type;
	uint32_t page_size;
	bool with_nul;
};

static const struct shape shapes[] = {
    {TABLE_DB_HASH, 512, true},	 {TABLE_DB_HASH, 4096, true},	{TABLE_DB_HASH, 65536, false},
    {TABLE_DB_BTREE, 512, true}, {TABLE_DB_BTREE, 4096, false}, {TABLE_DB_BTREE, 65536, true},
};

static void note(void *owner, uint32_t line, const char *what)
{
	assert_int_equal(line, 0);
	snprintf(owner, 200, "%s", what);
}

static void key_of(unsigned i, char *to, size_t size)
{
	snprintf(to, size, "Key%u@%s.example", i, i % 3 ? "some" : "a-longer-domain");
}

/* Some are longer than a page, and one is as long as may be. */
static size_t value_of(unsigned i, char *to)
{
	size_t len = i % 100 == 7 ? 700 + i : i == 1500 ? TABLE_VALUE_MAX : 1 + i % 40;

	memset(to, 'a' + (int)(i % 26), len);
	to[len] = '\0';
	return len;
}

static void put(DB *db, unsigned i, bool with_nul)
{
	char key[100], value[TABLE_VALUE_MAX + 1];
	DBT k = {0}, v = {0};

	key_of(i, key, sizeof key);
	k.data = key;
	k.size = (uint32_t)strlen(key) + with_nul;
	v.data = value;
	v.size = (uint32_t)value_of(i, value) + with_nul;
	assert_int_equal(db->put(db, NULL, &k, &v, 0), 0);
}

static void drop(DB *db, unsigned i, bool with_nul)
{
	char key[100];
	DBT k = {0};

	key_of(i, key, sizeof key);
	k.data = key;
	k.size = (uint32_t)strlen(key) + with_nul;
	assert_int_equal(db->del(db, NULL, &k, 0), 0);
}

static void file_read(const char *path, struct bytes *to)
{
	FILE *file = fopen(path, "rb");
	size_t n;

	assert_non_null(file);
	while ((n = fread(bytes_room(to, 65536), 1, 65536, file)) > 0)
		to->end += n;
	fclose(file);
}

/* Every fifth entry is taken out again, and every tenth put in anew: pages are freed, and used
 * again. */
static void file_make(const struct shape *shape, uint32_t flags, unsigned count, struct bytes *to)
{
	char path[] = "/tmp/test_table_db.XXXXXX";
	int fd = mkstemp(path);
	DB *db;

	assert_true(fd >= 0);
	assert_int_equal(db_create(&db, NULL, 0), 0);
	assert_int_equal(db->set_pagesize(db, shape->page_size), 0);
	if (flags)
		assert_int_equal(db->set_flags(db, flags), 0);
	assert_int_equal(db->open(db, NULL, path, NULL,
				  shape->type == TABLE_DB_HASH ? DB_HASH : DB_BTREE,
				  DB_CREATE | DB_TRUNCATE, 0600),
			 0);
	for (unsigned i = 0; i < count; i++)
		put(db, i, shape->with_nul);
	for (unsigned i = 0; i < count; i += 5)
		drop(db, i, shape->with_nul);
	for (unsigned i = 0; i < count; i += 10)
		put(db, i, shape->with_nul);
	assert_int_equal(db->close(db, 0), 0);
	file_read(path, to);
	unlink(path);
	close(fd);
}

static struct table_db *read_copy(enum table_db_type type, const struct bytes *file, char *said)
{
	struct bytes copy = {0};

	*said = '\0';
	bytes_add(&copy, file->data, file->end);
	struct table_db *t = table_db_read(type, &copy, note, said);

	assert_null(copy.data);
	return t;
}

static void check_all(const struct table_db *t, unsigned count)
{
	struct bytes value = {0};
	struct text text;
	size_t at = 0, entries = 0;
	char key[100], wanted[TABLE_VALUE_MAX + 1];

	for (unsigned i = 0; i < count; i++) {
		bool there = i % 5 || i % 10 == 0;

		key_of(i, key, sizeof key);
		entries += there;
		key[0] = 'k'; /* without case */
		value.start = value.end = 0;
		assert_int_equal(table_db_find(t, text_of(key), &value), there);
		assert_int_equal(value.end, there ? value_of(i, wanted) : 0);
		assert_true(!there || memcmp(value.data, wanted, value.end) == 0);
	}
	assert_false(table_db_find(t, text_of("key"), &value));
	assert_false(table_db_find(t, text_of("~"), &value));
	while (table_db_next(t, &at, &text, &value))
		;
	assert_int_equal(at, entries);
	bytes_free(&value);
}

static void test_whole(void **state)
{
	char said[200];

	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct bytes file = {0};

		file_make(&shapes[i], 0, ENTRIES, &file);
		struct table_db *t = read_copy(shapes[i].type, &file, said);

		if (!t)
			fail_msg("shape %zu: %s", i, said);
		check_all(t, ENTRIES);
		table_db_free(&t);
		table_db_free(&t);
		assert_null(read_copy(!shapes[i].type, &file, said));
		assert_non_null(strstr(said, "its kind is"));
		bytes_free(&file);
	}
}

static void test_empty(void **state)
{
	char said[200];

	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct bytes file = {0}, value = {0};

		file_make(&shapes[i], 0, 0, &file);
		struct table_db *t = read_copy(shapes[i].type, &file, said);

		assert_non_null(t);
		assert_false(table_db_find(t, text_of("ann"), &value));
		table_db_free(&t);
		bytes_free(&file);
	}
}

/* A file that ends early, wherever, is no table. */
static void test_cut(void **state)
{
	char said[200];

	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct bytes file = {0};

		file_make(&shapes[i], 0, 200, &file);
		for (size_t end = file.end - 1, whole = file.end; end < whole;
		     end -= 1 + end / 50) {
			file.end = end;
			if (read_copy(shapes[i].type, &file, said))
				fail_msg("shape %zu of %zu octets", i, end);
			assert_true(*said);
			if (!end)
				break;
		}
		bytes_free(&file);
	}
}

/* An octet changed, wherever: an answer or a fault, and no more memory than the file's. */
static void test_damaged(void **state)
{
	char said[200], key[100];

	(void)state;
	srand(1);
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct bytes file = {0}, value = {0};

		file_make(&shapes[i], 0, 60, &file);
		for (unsigned round = 0; round < 400; round++) {
			size_t at = (size_t)rand() % (round % 2 ? file.end : 600);
			uint8_t before = file.data[at];

			file.data[at] = (uint8_t)rand();
			struct table_db *t = read_copy(shapes[i].type, &file, said);

			value.start = value.end = 0;
			key_of(round % 60, key, sizeof key);
			if (t && table_db_find(t, text_of(key), &value))
				assert_true(value.end <= TABLE_VALUE_MAX);
			table_db_free(&t);
			file.data[at] = before;
		}
		bytes_free(&file);
		bytes_free(&value);
	}
}

/* What Postfix never makes is said, not guessed at. */
static void test_strange(void **state)
{
	char said[200];

	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct bytes file = {0};

		file_make(&shapes[i], DB_DUP, 30, &file);
		assert_null(read_copy(shapes[i].type, &file, said));
		assert_non_null(strstr(said, "keys that stand twice"));
		file.end = 0;
		file_make(&shapes[i], DB_CHKSUM, 30, &file);
		assert_null(read_copy(shapes[i].type, &file, said));
		assert_non_null(strstr(said, "checksums"));
		bytes_free(&file);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_whole),   cmocka_unit_test(test_empty),
	    cmocka_unit_test(test_cut),	    cmocka_unit_test(test_damaged),
	    cmocka_unit_test(test_strange),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
