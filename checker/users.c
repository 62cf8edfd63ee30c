/* SPDX-License-Identifier: ISC */
/* The index of the users file. */
#include "users.h"

#include "mem.h"
#include "must.h"
#include "siphash.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

struct row {
	struct row *next;
	struct text line;
};

struct users {
	struct bytes content;
	struct row *rows;
	struct row **buckets;
	size_t count, room, size, scram; /* size is a power of two */
	uint8_t key[SIPHASH_KEY_BYTES];
};

static struct row **bucket_of(const struct users *users, struct text name)
{
	char lower[LOGIN_MAX];
	size_t n = name.len < sizeof lower ? name.len : sizeof lower;

	for (size_t i = 0; i < n; i++)
		lower[i] = ascii_lower(name.data[i]);
	return &users->buckets[siphash(users->key, lower, n) & (users->size - 1)];
}

static void row_read(const struct row *row, struct passwd_user *user)
{
	const char *why;
	enum passwd_kind kind = passwd_line_read(row->line, user, &why);

	must(kind == PASSWD_USER);
}

bool users_find(const struct users *users, struct text name, struct passwd_user *user,
		struct text *line)
{
	if (!name.len || name.len > LOGIN_MAX)
		return false;
	for (const struct row *row = *bucket_of(users, name); row; row = row->next) {
		row_read(row, user);
		if (passwd_same_name(user->name, name)) {
			*line = row->line;
			return true;
		}
	}
	return false;
}

bool users_any(const struct users *users, uint64_t number, struct passwd_user *user)
{
	if (!users->count)
		return false;
	row_read(&users->rows[number % users->count], user);
	return true;
}

size_t users_count(const struct users *users)
{
	return users->count;
}

size_t users_scram(const struct users *users)
{
	return users->scram;
}

static size_t lines_count(struct text content)
{
	struct text line;
	size_t n = 0;

	while (passwd_next_line(&content, &line))
		n++;
	return n;
}

static void user_add(struct users *users, const struct passwd_user *user, struct text line)
{
	struct row *row = &users->rows[users->count++], **bucket = bucket_of(users, user->name);

	must(users->count <= users->room);
	row->line = line;
	row->next = *bucket;
	*bucket = row;
	/* Who cannot log in at all needs no SCRAM. */
	if (user->scheme == PASSWD_SCRAM || user->disabled)
		users->scram++;
}

struct users *users_new(struct bytes *content,
			void (*say)(void *arg, unsigned line, const char *why), void *arg)
{
	struct users *users = mem_new(1, sizeof *users);
	struct text rest, line, other;
	struct passwd_user user, known;
	const char *why;
	unsigned number = 0;

	users->content = *content;
	*content = (struct bytes){0};
	siphash_key_make(users->key);
	rest = (struct text){(const char *)bytes_at(&users->content), bytes_len(&users->content)};
	users->room = lines_count(rest);
	for (users->size = 64; users->size < users->room; users->size *= 2)
		;
	users->rows = mem_new(users->room + 1, sizeof *users->rows);
	users->buckets = mem_new(users->size, sizeof *users->buckets);
	while (passwd_next_line(&rest, &line)) {
		enum passwd_kind kind = passwd_line_read(line, &user, &why);

		number++;
		if (kind == PASSWD_USER && users_find(users, user.name, &known, &other))
			say(arg, number, "a user of that name stands above; this line is ignored");
		else if (kind == PASSWD_USER)
			user_add(users, &user, line);
		else if (kind == PASSWD_BROKEN)
			say(arg, number, why);
	}
	return users;
}

void users_free(struct users **users)
{
	struct users *u = *users;

	if (!u)
		return;
	if (u->content.data)
		OPENSSL_cleanse(u->content.data, u->content.size);
	bytes_free(&u->content);
	free(u->rows);
	free(u->buckets);
	free(u);
	*users = NULL;
}
